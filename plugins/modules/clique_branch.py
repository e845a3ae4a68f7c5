#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The module clique_branch."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: clique_branch
short_description: Take a node over to another branch of its Clique chain
version_added: "0.1.0"
description:
  - Where two branches of one difficulty stand against each other, each node keeps the one that it had first, and where
    nobody may continue the one that he holds the chain stands still. This module sets a node back to the last block
    that it shares with a branch, and has it fetch that branch from nodes that hold it.
  - For that while the node does not seal and has no other peers. A transaction that was in a block which is given up
    goes back to the node's pool.
  - Where the chain goes on while the module waits, on this branch or on another, the node is left on it.
  - Nothing is done where the node has the branch already. The module fails, and changes nothing, where the node shares
    none of the given blocks.
  - Which branch is to stay is said by the filter P(smartenergy.clique.clique_tie#filter). The playbook C(resolve_tie)
    does all of it.
  - Needs nothing but Python's standard library, and a node that offers C(admin), C(debug) and C(miner), as every geth
    does over its Unix socket.
extends_documentation_fragment:
  - smartenergy.clique.attributes
  - smartenergy.clique.node
options:
  blocks:
    description: The end of the branch, the newest block last, with at least one block that this node has, too.
    type: list
    elements: dict
    required: true
    suboptions:
      number:
        description: The height of the block.
        type: int
        required: true
      hash:
        description: Its hash.
        type: str
        required: true
  holders:
    description: Enodes of nodes that have the branch.
    type: list
    elements: str
    required: true
  peers:
    description: Enodes that the node is to have for peers afterwards.
    type: list
    elements: str
    default: []
  seal:
    description: Whether the node is to seal afterwards, also where it did not. Otherwise it does what it did.
    type: bool
    default: false
  timeout_s:
    description: How many seconds to wait at most for the branch.
    type: float
    default: 120
attributes:
  check_mode:
    support: full
  diff_mode:
    details: Shows the height to which the node is set back, and the head that it gets.
    support: full
author:
  - The smartenergy.clique authors (!UNKNOWN)
seealso:
  - module: smartenergy.clique.clique_info
"""

EXAMPLES = r"""
- name: Have the sealers that hold the other branch follow this one
  smartenergy.clique.clique_branch:
    ipc: /var/lib/clique/geth/geth.ipc
    blocks: "{{ tie.blocks }}"
    holders: "{{ enodes_of_holders }}"
    peers: "{{ enodes_of_all }}"
    seal: true
  when: inventory_hostname in tie.leave
"""

RETURN = r"""
set_back_to:
  description: The last block that was shared, above which the node's own blocks were given up. Null where none were.
  type: int
  returned: success
  sample: 251
"""

import time

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.smartenergy.clique.plugins.module_utils._clique_tie import follow, last_shared
from ansible_collections.smartenergy.clique.plugins.module_utils._errors import CliqueError, sentence
from ansible_collections.smartenergy.clique.plugins.module_utils._geth_peers import checked_enodes
from ansible_collections.smartenergy.clique.plugins.module_utils._node import EITHER, NODE_OPTIONS, place_of
from ansible_collections.smartenergy.clique.plugins.module_utils._rpc import Rpc

PATIENCE_S = 10  # with a node that takes a question and does not answer


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            **NODE_OPTIONS,
            "blocks": {
                "type": "list",
                "elements": "dict",
                "required": True,
                "options": {
                    "number": {"type": "int", "required": True},
                    "hash": {"type": "str", "required": True},
                },
            },
            "holders": {"type": "list", "elements": "str", "required": True},
            "peers": {"type": "list", "elements": "str", "default": []},
            "seal": {"type": "bool", "default": False},
            "timeout_s": {"type": "float", "default": 120},
        },
        mutually_exclusive=[EITHER],
        required_one_of=[EITHER],
        supports_check_mode=True,
    )
    given = module.params
    blocks = given["blocks"]
    if not given["holders"]:
        module.fail_json(msg="nobody is named who holds the branch: give the enode of one node at least")
    try:
        holders, peers = checked_enodes(given["holders"]), checked_enodes(given["peers"])
        rpc = Rpc(place_of(given), timeout_s=min(PATIENCE_S, given["timeout_s"]))
        shared = last_shared(rpc, blocks)
        changed = shared != blocks[-1]["number"]
        if changed and not module.check_mode:
            follow(
                rpc,
                blocks,
                holders=holders,
                peers=peers,
                seal=given["seal"],
                timeout_s=given["timeout_s"],
                clock=time,
            )
    except (CliqueError, OSError) as error:
        module.fail_json(msg=sentence(error))
    answer = {"changed": changed, "set_back_to": shared if changed else None}
    if changed:
        after = f"up to block {blocks[-1]['number']}, {blocks[-1]['hash']}"
        diff = {"before": f"above block {shared}: its own branch\n", "after": f"above block {shared}: {after}\n"}
        module.exit_json(**answer, diff=diff)
    module.exit_json(**answer, diff={"before": "", "after": ""})


if __name__ == "__main__":
    main()
