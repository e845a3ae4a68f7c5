# SPDX-License-Identifier: GPL-3.0-or-later
"""Which node a module asks."""

from __future__ import annotations


class ModuleDocFragment:
    """Options of every module that asks a node, or sends through one. They are in the action group."""

    DOCUMENTATION = r"""
options:
  ipc:
    description:
      - Path of the node's Unix socket, on the host where the module runs.
      - Either this or O(rpc_url). Where C(module_defaults) sets the other one, set that to V(omit) in the task.
    type: path
  rpc_url:
    description:
      - URL of the node's JSON-RPC interface, with C(http://) or C(https://).
      - What this interface does not offer (C(clique), C(net), C(admin)) is not asked, or null in a result.
    type: str
attributes:
  action_group:
    description:
      - Use C(group/smartenergy.clique.clique) in C(module_defaults) to say once which node to ask.
    support: full
    membership:
      - smartenergy.clique.clique
"""
