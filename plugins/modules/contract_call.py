#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a contract answers."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: contract_call
short_description: Ask a contract
version_added: "0.1.0"
author:
  - The smartenergy.clique authors (!UNKNOWN)
description:
  - Calls a function of a contract that only reads. Changes nothing, and needs no key.
requirements:
  - web3
extends_documentation_fragment:
  - smartenergy.clique.attributes
  - smartenergy.clique.node
  - smartenergy.clique.chain
  - smartenergy.clique.artifact
options:
  address:
    description: The address of the contract. In check mode it may be null, when it cannot be known yet.
    type: str
  abi:
    description: The interface of the contract, instead of O(artifact) or O(artifact_file).
    type: list
    elements: dict
  function:
    description: The function, by its name, or as C(name(type,type)) where several have it.
    type: str
    required: true
  arguments:
    description: Its arguments, as M(smartenergy.clique.contract_deploy) takes them.
    type: list
    elements: raw
    default: []
  block:
    description:
      - The state to ask about, by the number of a block, or V(latest), V(earliest), V(pending), V(safe), V(finalized).
      - A node that is no archive knows the last 128 blocks. A Clique chain has neither V(safe) nor V(finalized) blocks.
    type: str
    default: latest
  sender:
    description: The address that asks, for a function that answers each in another way.
    type: str
attributes:
  check_mode:
    details: Asks as ever. A contract or a node that is not there yet gives null, and RV(message) says so.
    support: full
  diff_mode:
    details: There is nothing to show.
    support: none
"""

EXAMPLES = r"""
- name: Ask what a kilowatt-hour costs
  smartenergy.clique.contract_call:
    rpc_url: http://127.0.0.1:30400
    address: "{{ tariff.address }}"
    artifact_file: "{{ tariff.artifact_file }}"
    function: priceOf
    arguments: ["0x71562b71999873DB5b286dF957af199Ec94617F7"]
  register: price
"""

RETURN = r"""
result:
  description:
    - What it answers. Numbers are whole at any size, bytes and addresses hex, a tuple is a dictionary by the names of
      its parts, or a list where they have none.
    - Of a function with several results they are a dictionary by their names, or a list.
  type: raw
  returned: always
  sample: 1000000000000000000000
message:
  description: In check mode, what has to be there first.
  type: str
  returned: when something is missing
"""

import time
from typing import Any

from ansible.module_utils.basic import AnsibleModule, missing_required_lib
from ansible_collections.smartenergy.clique.plugins.module_utils import _chain, _contract_artifact
from ansible_collections.smartenergy.clique.plugins.module_utils import _contract_calls as backend
from ansible_collections.smartenergy.clique.plugins.module_utils import _contract_options as options
from ansible_collections.smartenergy.clique.plugins.module_utils._errors import CliqueError, sentence
from ansible_collections.smartenergy.clique.plugins.module_utils._node import EITHER, place_of


def run(given: dict[str, Any], *, check_mode: bool) -> dict[str, Any]:
    """Do what the module is for."""
    place = place_of(given)
    name, abi = _contract_artifact.interface(given)
    if check_mode and options.has_null([given["address"], given["arguments"]]):
        return _later(f"{name} would be asked after its address and the arguments are known")
    block = backend.block_from(given["block"])
    function = backend.prepare(name, given["address"], abi, given["function"], given["arguments"], reads=True)
    try:
        timeout_s = 0 if check_mode else given["timeout_s"]
        web3 = _chain.connect(place, chain_id=given["chain_id"], timeout_s=timeout_s, clock=time)
    except _chain.NodeUnreachableError:
        if not check_mode:
            raise
        return _later(f"{name} would be asked after a node answers at {place}")
    if check_mode and not backend.stands(web3, function):
        return _later(f"{name} would be asked after it is deployed at {function.address}")
    return {"changed": False, "result": backend.ask(web3, function, block, given["sender"])}


def _later(message: str) -> dict[str, Any]:
    return {"changed": False, "result": None, "message": message}


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            **options.CHAIN,
            **options.ARTIFACT,
            "address": {"type": "str"},
            "abi": {"type": "list", "elements": "dict"},
            "function": {"type": "str", "required": True},
            "arguments": {"type": "list", "elements": "raw", "default": []},
            "block": {"type": "str", "default": "latest"},
            "sender": {"type": "str"},
        },
        mutually_exclusive=[EITHER, ("abi", "artifact", "artifact_file")],
        required_one_of=[EITHER, ("abi", "artifact", "artifact_file")],
        supports_check_mode=True,
    )
    if _chain.MISSING:
        module.fail_json(msg=missing_required_lib("web3"), exception=_chain.MISSING)
    try:
        with _chain.relying_on(place_of(module.params)):
            result = run(module.params, check_mode=module.check_mode)
    except (CliqueError, OSError) as error:
        module.fail_json(msg=sentence(error))
    module.exit_json(**result)


if __name__ == "__main__":
    main()
