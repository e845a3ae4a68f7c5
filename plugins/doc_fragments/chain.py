# SPDX-License-Identifier: GPL-3.0-or-later
"""The chain that a contract is on."""

from __future__ import annotations


class ModuleDocFragment:
    """Options of every module that deals with a contract of any kind, beside those of its node."""

    DOCUMENTATION = r"""
options:
  chain_id:
    description: The id of the chain that the node has to be on. By default any will do.
    type: int
  timeout_s:
    description: How many seconds to wait at most for the node to answer, and then for the transaction.
    type: float
    default: 120
"""
