# SPDX-License-Identifier: GPL-3.0-or-later
"""The node that a module asks and sends to."""

from __future__ import annotations


class ModuleDocFragment:
    """Options of every module that deals with a contract on a chain."""

    DOCUMENTATION = r"""
options:
  rpc_url:
    description: URL of a node's JSON-RPC interface.
    type: str
    required: true
  chain_id:
    description: The id of the chain that the node has to be on. By default any will do.
    type: int
  timeout_s:
    description: How many seconds to wait at most for the node to answer, and then for the transaction.
    type: float
    default: 120
"""
