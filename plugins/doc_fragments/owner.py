# SPDX-License-Identifier: GPL-3.0-or-later
"""Whom what a module makes on a node belongs to."""

from __future__ import annotations


class ModuleDocFragment:
    """Options that every module has which leaves something on a node."""

    DOCUMENTATION = r"""
options:
  owner:
    description:
      - User to give what is made to.
      - Without it, what is there stays whose it is, and what is new belongs to the user that runs the module.
    type: str
  group:
    description: Group to give what is made to, likewise.
    type: str
"""
