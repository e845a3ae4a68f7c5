#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Facts about a Clique chain as one node sees it, and waiting for them."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: clique_info
short_description: Facts about a Clique chain as one node sees it
version_added: "0.1.0"
author:
  - The smartenergy.clique authors (!UNKNOWN)
description:
  - Asks a running node for its head, genesis, chain config, signers, peers and votes, and who sealed how many of the
    last blocks.
  - Can wait until conditions hold, and fails with evidence when they do not in time.
  - Needs nothing but Python's standard library. Changes nothing.
extends_documentation_fragment:
  - smartenergy.clique.attributes
  - smartenergy.clique.node
options:
  signers_window:
    description: How many of the last blocks to look at for sealers. By default twice the number of signers.
    type: int
  wait_for:
    description:
      - What to wait for; all of it has to hold at the same time. Also waits for the node to answer.
      - In check mode nothing is waited for.
    type: dict
    suboptions:
      peers:
        description: At least this many peers.
        type: int
      head:
        description: At least this block number.
        type: int
      signers_seen:
        description: Each of these addresses sealed at least one block of the window.
        type: list
        elements: str
      signer_sealed:
        description: This address sealed a block above O(wait_for.since_head).
        type: str
      new_blocks:
        description: At least so many blocks above O(wait_for.since_head), so the chain goes on.
        type: int
      since_head:
        description:
          - A block number for O(wait_for.signer_sealed) and O(wait_for.new_blocks). By default the head when the wait
            begins.
        type: int
  timeout_s:
    description: How many seconds to wait at most.
    type: float
    default: 60
  log_file:
    description: The node's log, whose last lines are shown when a wait fails.
    type: path
attributes:
  check_mode:
    details: Changes nothing, so check mode shows the same, without waiting.
    support: full
  diff_mode:
    details: There is no difference to show.
    support: none
"""

EXAMPLES = r"""
- name: Wait until all four signers seal
  smartenergy.clique.clique_info:
    ipc: /var/lib/clique/geth/geth.ipc
    wait_for:
      peers: 3
      signers_seen: "{{ genesis_result.signers }}"
    timeout_s: 120
    log_file: /var/lib/clique/log/geth.log
"""

RETURN = r"""
running:
  description: Whether a node answered. If not, everything else is null.
  type: bool
  returned: always
client:
  description: What the node says it is; C(modified) is in it where geth was built with patches.
  type: str
  returned: always
  sample: Geth/v1.13.15-stable-modified/linux-arm64/go1.26.0
head:
  description: The newest block and its age in seconds.
  type: dict
  returned: always
  sample: {number: 1234, hash: "0x5f…", age_s: 3}
blocks:
  description:
    - The window's blocks, newest last, each with its number, hash, sealer, and whether it was sealed by the signer
      whose turn it was.
  type: list
  elements: dict
  returned: always
  sample: [{number: 1234, hash: "0x5f…", sealer: "0x71562b71999873DB5b286dF957af199Ec94617F7", in_turn: true}]
genesis_hash:
  description: Hash of block 0.
  type: str
  returned: always
chain_config:
  description: The chain config that the node runs with, as geth names its fields.
  type: dict
  returned: always
signers:
  description: The authorised signers at the head.
  type: list
  elements: str
  returned: always
sealed:
  description: How many blocks of the window each signer sealed.
  type: dict
  returned: always
  sample: {"0x71562b71999873DB5b286dF957af199Ec94617F7": 2}
in_turn_share:
  description: Share, from 0 to 1, of the window's blocks that were sealed by the signer whose turn it was.
  type: float
  returned: always
last_sealed_by:
  description: Who sealed the head; null at the genesis.
  type: str
  returned: always
peers:
  description: How many peers the node has.
  type: int
  returned: always
peer_public_keys:
  description: The node public keys of these peers, as M(smartenergy.clique.geth_node_key) names them.
  type: list
  elements: str
  returned: always
votes:
  description: The proposals that this node votes for, true to authorise an address and false to remove it.
  type: dict
  returned: always
problems:
  description:
    - What is wrong, one sentence each; empty where nothing is.
    - A sealer is named that has sealed none of the last blocks, of which there are four times as many as signers.
    - So are the newest blocks where they are too old by this node's clock, or ahead of it.
  type: list
  elements: str
  returned: always
  sample:
    - "Sealer 0x71562b71999873DB5b286dF957af199Ec94617F7 has sealed none of the last 16 blocks: it is off or cut off,
      its disk is full, or its clock is wrong."
"""

import time
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.smartenergy.clique.plugins.module_utils._clique_info import (
    View,
    WaitError,
    last_lines,
    look,
    summary,
    wait,
    wanted_from,
)
from ansible_collections.smartenergy.clique.plugins.module_utils._errors import CliqueError, sentence
from ansible_collections.smartenergy.clique.plugins.module_utils._node import EITHER, NODE_OPTIONS, place_of
from ansible_collections.smartenergy.clique.plugins.module_utils._rpc import NodeSilentError, Rpc

PATIENCE_S = 10  # with a node that takes a question and does not answer


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            **NODE_OPTIONS,
            "signers_window": {"type": "int"},
            "wait_for": {
                "type": "dict",
                "options": {
                    "peers": {"type": "int"},
                    "head": {"type": "int"},
                    "signers_seen": {"type": "list", "elements": "str"},
                    "signer_sealed": {"type": "str"},
                    "new_blocks": {"type": "int"},
                    "since_head": {"type": "int"},
                },
            },
            "timeout_s": {"type": "float", "default": 60},
            "log_file": {"type": "path"},
        },
        mutually_exclusive=[EITHER],
        required_one_of=[EITHER],
        supports_check_mode=True,
    )
    given = module.params

    def look_at(since: int | None) -> View:
        return look(rpc, window=given["signers_window"], since=since)

    try:
        rpc = Rpc(place_of(given), timeout_s=min(PATIENCE_S, given["timeout_s"]))
        wanted = wanted_from(given["wait_for"]) if given["wait_for"] else None
        if wanted and not module.check_mode:
            view = wait(look_at, wanted, timeout_s=given["timeout_s"], clock=time)
        else:
            view = look_at(None)
    except WaitError as error:
        evidence = last_lines(Path(given["log_file"])) if given["log_file"] else []
        heading = f"\nThe last lines of {given['log_file']}:\n" if evidence else ""
        module.fail_json(msg=f"{error}{heading}" + "\n".join(evidence), **summary(error.view, now_s=time.time()))
    except NodeSilentError:
        module.exit_json(changed=False, **summary(None, now_s=time.time()))
    except (CliqueError, OSError) as error:
        module.fail_json(msg=sentence(error))
    module.exit_json(changed=False, **summary(view, now_s=time.time()))


if __name__ == "__main__":
    main()
