# SPDX-License-Identifier: GPL-3.0-or-later
"""The account that signs what a module sends."""

from __future__ import annotations


class ModuleDocFragment:
    """Options of every module that sends a transaction."""

    DOCUMENTATION = r"""
options:
  keystore:
    description:
      - A keystore file, or a directory with one in it, of the account that pays. Either this or O(private_key).
      - It is opened only when something has to be sent.
    type: path
  password_file:
    description: File with the password of O(keystore) in its first line.
    type: path
  private_key:
    description: The key of the account that pays, 64 hex digits. Keep it in a vault; it is in no log and no result.
    type: str
"""
