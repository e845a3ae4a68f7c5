#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The module clique_signers."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: clique_signers
short_description: Vote on one sealer for a declared set of signers
version_added: "0.1.0"
description:
  - Compares the signers of a Clique chain with the declared set, and has this sealer vote for the next change towards
    it, one signer at a time, additions before removals. Every other proposal of this sealer is taken back, and all of
    them are when the chain agrees.
  - A change takes place when more than half of the signers have sealed a block with that vote, so the module has to run
    on as many. It does not wait; run it again until RV(agreed), as in the example. What a restart of geth forgot, and
    what an epoch block of the chain dropped, is then voted for again.
  - The module fails, and proposes nothing, where this node is down, does not seal or is not a signer, where the chain
    stands still, and where so few of the signers are known to be up that it would.
  - Needs nothing but Python's standard library.
extends_documentation_fragment:
  - smartenergy.clique.attributes
  - smartenergy.clique.node
options:
  signers:
    description: Addresses of all signers that the chain is to have. In quotes, or YAML takes them for numbers.
    type: list
    elements: str
    required: true
  ready:
    description:
      - Addresses whose nodes are known to run, such as one that is to be authorised and will seal at once.
      - Signers that sealed one of the last blocks (twice as many as there are signers) are known to be up anyway.
    type: list
    elements: str
    default: []
  timeout_s:
    description: How many seconds to wait at most for each answer of the node.
    type: float
    default: 10
attributes:
  check_mode:
    details:
      - Votes for nothing and shows what would be voted for.
      - Where no node answers, all but RV(message) is null, for a task before this one may start it in a real run.
    support: full
  diff_mode:
    details: Shows the proposals of this sealer before and after.
    support: full
author:
  - The smartenergy.clique authors (!UNKNOWN)
"""

EXAMPLES = r"""
- name: Vote until the chain has five signers; runs on at least three of the four that it has
  smartenergy.clique.clique_signers:
    ipc: /var/lib/clique/geth/geth.ipc
    signers: "{{ four_signers + ['0x52908400098527886E0F7030069857D2E4169EE7'] }}"
  register: vote
  until: vote.agreed | default(false)
  retries: 24
  delay: 5
"""

RETURN = r"""
agreed:
  description: Whether the chain has the declared signers.
  type: bool
  returned: success
signers:
  description: The signers that the chain has.
  type: list
  elements: str
  returned: success
head:
  description: The block at which it has them.
  type: int
  returned: success
change:
  description: The next change, and how the vote for it stands. Null when the chain agrees.
  type: dict
  returned: success
  contains:
    address:
      description: Whom it is about.
      type: str
    authorize:
      description: Whether the address is to seal, or to seal no more.
      type: bool
    voters:
      description: Signers whose vote is in the chain.
      type: list
      elements: str
    not_voted:
      description: The other signers.
      type: list
      elements: str
    needed:
      description: How many votes it needs.
      type: int
votes:
  description: The proposals of this sealer afterwards, true to authorise an address and false to remove it.
  type: dict
  returned: success
message:
  description: How the vote stands, in a sentence.
  type: str
  returned: success
  sample: "block 57: 2 of 3 votes to authorise 0x5290…; not voted yet: 0x5aAe…, 0xfB69…"
"""

import json
import time
from collections.abc import Mapping

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.smartenergy.clique.plugins.module_utils import _clique_signers
from ansible_collections.smartenergy.clique.plugins.module_utils._errors import CliqueError, sentence
from ansible_collections.smartenergy.clique.plugins.module_utils._keccak import checked_address
from ansible_collections.smartenergy.clique.plugins.module_utils._node import EITHER, NODE_OPTIONS, place_of
from ansible_collections.smartenergy.clique.plugins.module_utils._rpc import NodeSilentError, Rpc


def as_text(proposals: Mapping[str, bool]) -> str:
    """Proposals as a diff shows them."""
    return json.dumps({"votes": proposals}, indent=2, sort_keys=True) + "\n"


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            **NODE_OPTIONS,
            "signers": {"type": "list", "elements": "str", "required": True},
            "ready": {"type": "list", "elements": "str", "default": []},
            "timeout_s": {"type": "float", "default": 10},
        },
        mutually_exclusive=[EITHER],
        required_one_of=[EITHER],
        supports_check_mode=True,
    )
    given = module.params
    try:
        rpc = Rpc(place_of(given), timeout_s=given["timeout_s"])
        wanted = _clique_signers.wanted_from(given["signers"])
        ready = frozenset(checked_address(address, "the address") for address in given["ready"])
        state = _clique_signers.look(rpc, now_s=time.time())
        plan = _clique_signers.plan(state, wanted, ready)
        if plan.changed and not module.check_mode:
            _clique_signers.apply(rpc, plan)
    except NodeSilentError as error:
        if not module.check_mode:
            module.fail_json(msg=str(error))
        unknown = dict.fromkeys(("agreed", "signers", "head", "change", "votes"))
        module.exit_json(changed=True, **unknown, message=f"would be voted for after this node runs: {error}")
    except (CliqueError, OSError) as error:
        module.fail_json(msg=sentence(error))
    module.exit_json(
        changed=plan.changed,
        votes=plan.proposals,
        **_clique_signers.standing(state, plan.change),
        diff={"before": as_text(state.proposals), "after": as_text(plan.proposals)},
    )


if __name__ == "__main__":
    main()
