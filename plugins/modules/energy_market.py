#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
"""An EnergyMarket has these actors, with these deposits, and this operator."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: energy_market
short_description: Actors, operator and deposits of an EnergyMarket
version_added: "0.1.0"
author: The smartenergy.clique authors (@smartenergy)
description:
  - Registers actors, appoints an operator, tops up its gas money and deposits for actors, all from the admin's account.
  - Sends only what is missing, all of it at once. Takes nothing away.
requirements:
  - web3
options:
  rpc_url:
    description: URL of a node's JSON-RPC interface.
    type: str
    required: true
  address:
    description: The address of the market. In check mode it may be null, when it cannot be known yet.
    type: str
  abi:
    description: The ABI of the market, as in its artefact.
    type: list
    elements: dict
    required: true
  from_block:
    description: The block in which the market was deployed; its log is read from there on.
    type: int
    default: 0
  keystore:
    description: Keystore directory with the admin's one account. It is read only when something has to be sent.
    type: path
    required: true
  password_file:
    description: File with the password of that account.
    type: path
    required: true
  operator:
    description: The address that settles batches. In check mode it may be null, when it cannot be known yet.
    type: str
  operator_gas_wei:
    description: Gas money of the operator in wei, filled up to this from the admin's account when it is below half.
    type: int
    default: 10000000000000000000
  actors:
    description: The actors of the market, in the order in which they are registered.
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description: What people call it.
        type: str
        required: true
      kind:
        description: What it is.
        type: str
        choices: [Load, PV, CHP, Battery, Grid]
        required: true
      address:
        description: Its account. In check mode it may be null, when it cannot be known yet.
        type: str
      deposit_wei:
        description: How much is to have been deposited for it in all, in wei. Only what is missing is sent.
        type: int
        default: 0
  timeout_s:
    description: How many seconds to wait at most for the node to answer, and then for the transactions.
    type: float
    default: 120
attributes:
  check_mode:
    description: Predicts the state. A market that does not stand yet is taken as empty, and RV(message) says so.
    support: full
  diff_mode:
    description: Shows actors, deposits and the operator.
    support: full
"""

EXAMPLES = r"""
- name: Let a household and a solar roof trade
  smartenergy.clique.energy_market:
    rpc_url: http://127.0.0.1:30400
    address: "{{ deployed.address }}"
    abi: "{{ (lookup('ansible.builtin.file', 'EnergyMarket.json') | from_json).abi }}"
    keystore: /var/lib/clique/accounts/admin/keystore
    password_file: /var/lib/clique/accounts/admin/password
    operator: "0x71562b71999873DB5b286dF957af199Ec94617F7"
    actors:
      - name: load
        kind: Load
        address: "0x703c4b2bD70c169f5717101CaeE543299Fc946C7"
        deposit_wei: 100000000000000000000
      - name: pv
        kind: PV
        address: "0x0D3ab14BBaD3D99F4203bd7a11aCB94882050E7e"
"""

RETURN = r"""
market:
  description: The state of the market, with all its actors.
  type: dict
  returned: always
  sample:
    actors:
      load: {address: "0x703c4b2bD70c169f5717101CaeE543299Fc946C7", kind: Load, deposited_wei: 100000000000000000000}
    operator_allowed: true
    operator_wei: 10000000000000000000
transactions:
  description: The hashes of what was sent; null in check mode when something would be.
  type: list
  elements: str
  returned: always
message:
  description: In check mode, what has to be there first.
  type: str
  returned: when something is missing
"""

import time
import traceback
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule, missing_required_lib
from ansible_collections.smartenergy.clique.plugins.module_utils._errors import CliqueError

try:
    from ansible_collections.smartenergy.clique.plugins.module_utils import _chain
    from ansible_collections.smartenergy.clique.plugins.module_utils import _energy_market as backend
except ImportError:
    MISSING: str | None = traceback.format_exc()
else:
    MISSING = None


def run(given: dict[str, Any], *, check_mode: bool) -> dict[str, Any]:
    """Do, or predict, what the module is for."""
    addresses = [given["address"], given["operator"], *(actor["address"] for actor in given["actors"])]
    if None in addresses:
        if check_mode:
            return _later("the addresses of the market and its accounts are known")
        raise CliqueError("an address is missing; address, operator and every actor's address have to be given")
    wanted = backend.wanted_from(given["operator"], given["operator_gas_wei"], given["actors"])
    try:
        web3 = _chain.connect(given["rpc_url"], timeout_s=0 if check_mode else given["timeout_s"], clock=time)
    except _chain.NodeUnreachableError:
        if not check_mode:
            raise
        return _later(f"a node answers at {given['rpc_url']}")
    if (market := backend.at(web3, given["address"], given["abi"])) is None:
        if not check_mode:
            raise CliqueError(f"no market stands at {given['address']}; deploy it first, or correct the address")
        return _later("the market is deployed")

    admin = market.functions.admin().call()
    _chain.wait_until_idle(web3, admin, timeout_s=given["timeout_s"], clock=time)
    now = backend.observe(market, wanted.operator, from_block=given["from_block"])
    then = backend.wanted_state(now, wanted)
    todo = backend.calls(market, now, then, wanted.operator)
    transactions: list[str] | None = None if todo else []
    if todo and not check_mode:
        account = _chain.unlock(Path(given["keystore"]), Path(given["password_file"]))
        if account.address != admin:
            raise CliqueError(f"the market's admin is {admin}, and {given['keystore']} holds {account.address}")
        receipts = _chain.send_all(web3, account, todo, timeout_s=given["timeout_s"], clock=time)
        transactions = [f"0x{receipt['transactionHash'].hex()}" for receipt in receipts]
    return {
        "changed": bool(todo),
        "market": then.shown(),
        "transactions": transactions,
        "diff": {"before": now.shown(), "after": then.shown()},
    }


def _later(condition: str) -> dict[str, Any]:
    message = f"the market would be set up after {condition}"
    return {"changed": True, "market": None, "transactions": None, "message": message}


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "rpc_url": {"type": "str", "required": True},
            "address": {"type": "str"},
            "abi": {"type": "list", "elements": "dict", "required": True},
            "from_block": {"type": "int", "default": 0},
            "keystore": {"type": "path", "required": True, "no_log": False},
            "password_file": {"type": "path", "required": True, "no_log": False},
            "operator": {"type": "str"},
            "operator_gas_wei": {"type": "int", "default": 10**19},
            "actors": {
                "type": "list",
                "elements": "dict",
                "default": [],
                "options": {
                    "name": {"type": "str", "required": True},
                    "kind": {"type": "str", "choices": ["Load", "PV", "CHP", "Battery", "Grid"], "required": True},
                    "address": {"type": "str"},
                    "deposit_wei": {"type": "int", "default": 0},
                },
            },
            "timeout_s": {"type": "float", "default": 120},
        },
        supports_check_mode=True,
    )
    if MISSING:
        module.fail_json(msg=missing_required_lib("web3"), exception=MISSING)
    try:
        with _chain.relying_on(module.params["rpc_url"]):
            result = run(module.params, check_mode=module.check_mode)
    except CliqueError as error:
        module.fail_json(msg=str(error))
    module.exit_json(**result)


if __name__ == "__main__":
    main()
