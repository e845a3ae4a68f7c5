# SPDX-License-Identifier: GPL-3.0-or-later
"""The filter clique_tie."""

from __future__ import annotations

DOCUMENTATION = r"""
---
name: clique_tie
short_description: Find the tie at which a Clique chain stands
version_added: "0.1.0"
description:
  - Two blocks of one height and difficulty can stand against each other on a Clique chain, with each sealer holding the
    one that it may not continue. Given what M(smartenergy.clique.clique_info) said of each sealer's node, this filter
    says which branch is to stay, and whose nodes have to be taken over to it with M(smartenergy.clique.clique_branch).
  - The heaviest branch stays; of several the shortest, to which every node goes over that hears of it, then the one
    that most of them hold, then that of the lower hash.
  - Where there is no tie, and where too few sealers answer, it says so.
positional: _input, addresses
options:
  _input:
    description: What M(smartenergy.clique.clique_info) returned, by the name of the host.
    type: dict
    required: true
  addresses:
    description: The address that each host seals with, by its name; also of hosts that do not answer.
    type: dict
    required: true
author:
  - The smartenergy.clique authors
seealso:
  - plugin: smartenergy.clique.clique_branch
    plugin_type: module
"""

EXAMPLES = r"""
- name: Find the branch that stays
  ansible.builtin.set_fact:
    tie: "{{ views | smartenergy.clique.clique_tie({'sealer1': '0x52908400098527886E0F7030069857D2E4169EE7'}) }}"
"""

RETURN = r"""
_value:
  description:
    - C(parted_at), the number of the last block that all nodes have; C(blocks), the end of the branch that stays, as
      M(smartenergy.clique.clique_branch) takes it; C(holders), the hosts that have it; C(leave), the hosts that have
      not.
    - C(problem), a sentence that says why nothing is to be done; then it is the only key. Null where there is a tie.
  type: dict
"""

from collections.abc import Callable, Mapping
from typing import Any

from ansible_collections.smartenergy.clique.plugins.module_utils._clique_tie import find_tie
from ansible_collections.smartenergy.clique.plugins.module_utils._errors import CliqueError


def clique_tie(views: Mapping[str, Mapping[str, Any]], addresses: Mapping[str, str]) -> dict[str, Any]:
    try:
        tie = find_tie(views, addresses)
    except CliqueError as error:
        return {"problem": str(error)}
    return {
        "problem": None,
        "parted_at": tie.parted_at,
        "blocks": [{"number": block["number"], "hash": block["hash"]} for block in tie.stays.blocks],
        "holders": list(tie.stays.holders),
        "leave": list(tie.leave),
    }


class FilterModule:
    """What Ansible looks for in a filter plugin."""

    def filters(self) -> dict[str, Callable[..., dict[str, Any]]]:
        return {"clique_tie": clique_tie}
