#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A transaction calls a function of a contract, once."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: contract_transaction
short_description: Send a transaction to a contract
version_added: "0.1.0"
author:
  - The smartenergy.clique authors (!UNKNOWN)
description:
  - Calls a function of a contract that changes it, waits until that is confirmed, and tells what was logged.
  - What the contract would refuse now is not sent, and its reason is told.
  - Each run sends one transaction, unless O(unless) says that there is nothing left to do, or O(record_file) that it
    was sent already. Give at least one of them where a second transaction would do harm.
  - The very same call that is under way from the same account is waited for, and not sent again.
    A run that was killed after its transaction came into a block is only recognised by O(unless) and O(record_file).
requirements:
  - web3
extends_documentation_fragment:
  - smartenergy.clique.attributes
  - smartenergy.clique.node
  - smartenergy.clique.chain
  - smartenergy.clique.artifact
  - smartenergy.clique.key
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
  value_wei:
    description: How much the contract is paid, in wei.
    type: int
    default: 0
  gas:
    description: The most gas that it may use. By default a tenth more than it would use now.
    type: int
  confirmations:
    description: How many blocks to wait for, the transaction's own among them. Two sealers may seal one height at once.
    type: int
    default: 3
  unless:
    description: Sends nothing where a function of the contract that only reads gives this result.
    type: dict
    suboptions:
      function:
        description: That function, as in O(function).
        type: str
        required: true
      arguments:
        description: Its arguments.
        type: list
        elements: raw
        default: []
      result:
        description: What it answers when there is nothing left to do; a list of all results where it has several.
        type: raw
        required: true
  record_file:
    description:
      - A file in which the transaction is written down before it is sent, and where it was found afterwards.
      - While it is there, the same call with the same value is not sent again on this chain. Another call replaces it,
        and one that failed is sent again.
      - With O(unless) only that says whether to send; the file keeps an interrupted run from being repeated.
    type: path
attributes:
  check_mode:
    details: Predicts whether it would be sent, and where the key is there, whether the contract would refuse.
    support: full
  diff_mode:
    details: Shows the result that O(unless) is about, or else whether the call was sent.
    support: full
"""

EXAMPLES = r"""
- name: Set what a kilowatt-hour costs
  smartenergy.clique.contract_transaction:
    rpc_url: http://127.0.0.1:30400
    address: "{{ tariff.address }}"
    artifact_file: "{{ tariff.artifact_file }}"
    function: setPrice
    arguments: ["1000000000000000000000"]
    unless: {function: price, result: "1000000000000000000000"}
    keystore: /var/lib/clique/accounts/admin/keystore
    password_file: /var/lib/clique/accounts/admin/password

- name: Pay a deposit, once
  smartenergy.clique.contract_transaction:
    rpc_url: http://127.0.0.1:30400
    address: "{{ tariff.address }}"
    artifact_file: "{{ tariff.artifact_file }}"
    function: deposit
    value_wei: 1000000000000000000
    record_file: "{{ playbook_dir }}/deployments/1337/Tariff.deposit.json"
    private_key: "{{ vault_admin_key }}"
"""

RETURN = r"""
transaction:
  description: The hash of the transaction; null where none was sent.
  type: str
  returned: always
block:
  description: The number of the block that it is in, likewise.
  type: int
  returned: always
gas_used:
  description: The gas that it took, likewise.
  type: int
  returned: always
events:
  description:
    - What was logged, in its order. Each has the name of its RV(events[].event), the contract's RV(events[].address),
      and RV(events[].arguments) by their names.
    - RV(events[].event) is null where the interface has no such event; its arguments are topics and data then.
  type: list
  elements: dict
  returned: always
  contains:
    event:
      description: The name of the event.
      type: str
    address:
      description: The contract that logged it.
      type: str
    arguments:
      description: The values, as M(smartenergy.clique.contract_call) tells them.
      type: dict
message:
  description: In check mode, what has to be there first.
  type: str
  returned: when something is missing
"""

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule, missing_required_lib
from ansible_collections.smartenergy.clique.plugins.module_utils import _chain, _contract_artifact, _contract_calls
from ansible_collections.smartenergy.clique.plugins.module_utils import _contract_options as options
from ansible_collections.smartenergy.clique.plugins.module_utils import _contract_transaction as backend
from ansible_collections.smartenergy.clique.plugins.module_utils._errors import CliqueError, sentence
from ansible_collections.smartenergy.clique.plugins.module_utils._node import EITHER, place_of

with suppress(ImportError):  # _chain.MISSING has it
    from eth_account.signers.local import LocalAccount
    from web3 import Web3
    from web3.types import TxReceipt


def run(given: dict[str, Any], *, check_mode: bool) -> dict[str, Any]:
    """Do, or predict, what the module is for."""
    place = place_of(given)
    name, abi = _contract_artifact.interface(given)
    if check_mode and options.has_null([given["address"], given["arguments"], given["unless"] or {}]):
        return _later(f"{name} would be called after its address and the arguments are known")
    job = _job(given, name, abi)
    waiting: dict[str, Any] = {"timeout_s": 0 if check_mode else given["timeout_s"], "clock": time}
    try:
        web3 = _chain.connect(place, chain_id=given["chain_id"], **waiting)
    except _chain.NodeUnreachableError:
        if not check_mode:
            raise
        return _later(f"{name} would be called after a node answers at {place}")
    if check_mode and not _contract_calls.stands(web3, job.function):
        return _later(f"{name} would be called after it is deployed at {job.function.address}")
    _contract_calls.require_to_stand(web3, job.function)

    def unlock() -> LocalAccount:
        return _chain.account_of(given["keystore"], given["password_file"], given["private_key"])

    identity = _chain.identify(web3)
    seen = backend.look(web3, job, identity)
    receipt = seen.receipt
    if not seen.is_done and not check_mode:
        receipt = backend.carry_out(web3, job, identity, seen, unlock, **waiting)
    elif not seen.is_done and receipt is None:
        _foresee(web3, job, unlock)
    return _result(job, seen, receipt)


def _job(given: dict[str, Any], name: str, abi: Sequence[Mapping[str, Any]]) -> backend.Job:
    for option, least in (("value_wei", 0), ("confirmations", 1), ("gas", 21_000)):
        if given[option] is not None and given[option] < least:
            raise CliqueError(f"{option} cannot be {given[option]}; give {least} or more")
    address, unless = given["address"], given["unless"]
    function = _contract_calls.prepare(name, address, abi, given["function"], given["arguments"], reads=False)
    condition = None
    if unless:
        asked = _contract_calls.prepare(name, address, abi, unless["function"], unless["arguments"], reads=True)
        condition = _contract_calls.condition(asked, unless["result"])
    record = Path(given["record_file"]) if given["record_file"] else None
    return backend.Job(function, given["value_wei"], given["gas"], given["confirmations"], condition, record)


def _foresee(web3: Web3, job: backend.Job, unlock: Callable[[], LocalAccount]) -> None:
    """Ask the contract whether it would refuse, where the account that would send is there already."""
    try:
        account = unlock()
    except _chain.ChainError:
        return
    backend.foresee(web3, job, account)


def _result(job: backend.Job, seen: backend.Seen, receipt: TxReceipt | None) -> dict[str, Any]:
    if job.condition:
        before, after = job.condition.shown(seen.answer), job.condition.shown(job.condition.result)
    else:
        before, after = {"sent": seen.receipt is not None}, {"sent": True}
    nothing: dict[str, Any] = {
        "transaction": None,
        "block": None,
        "gas_used": None,
        "events": [] if seen.is_done else None,
    }
    told = (
        {
            "transaction": f"0x{receipt['transactionHash'].hex()}",
            "block": receipt["blockNumber"],
            "gas_used": receipt["gasUsed"],
            "events": backend.events(job.function, receipt),
        }
        if receipt
        else nothing
    )
    return {"changed": not seen.is_done, **told, "diff": {"before": before, "after": after}}


def _later(message: str) -> dict[str, Any]:
    unknown = dict.fromkeys(["transaction", "block", "gas_used", "events"])
    diff = {"before": {"sent": False}, "after": {"sent": True}}
    return {"changed": True, **unknown, "message": message, "diff": diff}


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            **options.CHAIN,
            **options.ARTIFACT,
            **options.KEY,
            "address": {"type": "str"},
            "abi": {"type": "list", "elements": "dict"},
            "function": {"type": "str", "required": True},
            "arguments": {"type": "list", "elements": "raw", "default": []},
            "value_wei": {"type": "int", "default": 0},
            "gas": {"type": "int"},
            "confirmations": {"type": "int", "default": 3},
            "unless": {
                "type": "dict",
                "options": {
                    "function": {"type": "str", "required": True},
                    "arguments": {"type": "list", "elements": "raw", "default": []},
                    "result": {"type": "raw", "required": True},
                },
            },
            "record_file": {"type": "path"},
        },
        mutually_exclusive=[EITHER, ("abi", "artifact", "artifact_file"), *options.KEY_RULES["mutually_exclusive"]],
        required_one_of=[EITHER, ("abi", "artifact", "artifact_file"), *options.KEY_RULES["required_one_of"]],
        required_together=options.KEY_RULES["required_together"],
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
