#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""An EnergyMarket has these actors, with these deposits, this operator and this meter."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: energy_market
short_description: Actors, deposits, operator and meter of an EnergyMarket
version_added: "0.1.0"
author:
  - The smartenergy.clique authors (!UNKNOWN)
description:
  - Registers actors and deposits for them, appoints an operator and a meter and tops up their gas money, and says once
    which contract makes agreements, all from the admin's account.
  - Sends only what is missing, all of it at once. Takes no money away and forbids no operator to settle; it only puts
    another meter in the place of the former.
  - Admin, operator, meter and actors have to be different accounts, because each of them keeps the others honest.
  - Warns of actors whose money will soon be gone.
requirements:
  - web3
extends_documentation_fragment:
  - smartenergy.clique.attributes
  - smartenergy.clique.node
options:
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
  meter:
    description:
      - The address that reports shortfalls and closes days. In check mode it may be null, when it cannot be known yet.
    type: str
  agreement_factory:
    description:
      - The address of the contract that makes agreements on this market; null leaves it as it is.
      - A market is told once; it has to stand, and to be made for this market.
    type: str
  operator_gas_wei:
    description:
      - Gas money of the operator and of the meter in wei.
        Each is filled up to this from the admin's account when it has less than half.
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
        description:
          - How much is to have been deposited for it in all, in wei. Only what is missing is sent.
          - What was deposited for an account that this one came in the place of counts.
        type: int
        default: 0
  warn_below_slots:
    description:
      - Warn of an actor whose money lasts for fewer slots than this at its recent rate; 0 never warns.
      - The rate is what it paid, less what it earned, in the last 96 batches of the last 32,768 blocks.
    type: int
    default: 96
  timeout_s:
    description: How many seconds to wait at most for the node to answer, and then for the transactions.
    type: float
    default: 120
attributes:
  check_mode:
    details: Predicts the state. A market that does not stand yet is taken as empty, and RV(message) says so.
    support: full
  diff_mode:
    details: Shows actors, deposits, the operator, the meter and the agreement factory.
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
    meter: "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed"
    agreement_factory: "{{ factory.address }}"
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
    meter: "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed"
    meter_wei: 10000000000000000000
    agreement_factory: "0xfB6916095ca1df60bB79Ce92cE3Ea74c37c5d359"
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
from contextlib import suppress
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule, missing_required_lib
from ansible_collections.smartenergy.clique.plugins.module_utils import _chain
from ansible_collections.smartenergy.clique.plugins.module_utils import _energy_market as backend
from ansible_collections.smartenergy.clique.plugins.module_utils._errors import CliqueError, sentence
from ansible_collections.smartenergy.clique.plugins.module_utils._node import EITHER, NODE_OPTIONS, place_of

with suppress(ImportError):  # _chain.MISSING has it
    from web3.contract import Contract


class _NotYetError(Exception):
    """What check mode would find, once that came to be."""


def run(given: dict[str, Any], *, check_mode: bool) -> tuple[dict[str, Any], list[str]]:
    """Do, or predict, what the module is for; the second is what to warn of."""
    try:
        wanted = _wanted(given, check_mode=check_mode)
        market = _find(given, check_mode=check_mode)
        admin = backend.admin_of(market)
        _chain.wait_until_idle(market.w3, admin, timeout_s=given["timeout_s"], clock=time)
        now = backend.observe(market, admin, wanted, from_block=given["from_block"])
        then = backend.wanted_state(now, wanted)
        if (factory := then.agreement_factory) and factory != now.agreement_factory:
            _require_factory(market, factory, check_mode=check_mode)
    except _NotYetError as error:
        message = f"the market would be set up after {error}"
        return {"changed": True, "market": None, "transactions": None, "message": message}, []

    todo = backend.calls(market, now, then, wanted)
    transactions: list[str] | None = None if todo else []
    if todo and not check_mode:
        account = _chain.unlock(Path(given["keystore"]), Path(given["password_file"]))
        if account.address != admin:
            raise CliqueError(f"the market's admin is {admin}, and {given['keystore']} holds {account.address}")
        receipts = _chain.send_all(market.w3, account, todo, timeout_s=given["timeout_s"], clock=time)
        transactions = [f"0x{receipt['transactionHash'].hex()}" for receipt in receipts]
    result = {
        "changed": bool(todo),
        "market": then.shown(),
        "transactions": transactions,
        "diff": {"before": now.shown(), "after": then.shown()},
    }
    if (below_slots := given["warn_below_slots"]) <= 0:
        return result, []
    trades = backend.recent_trades(market, from_block=given["from_block"])
    return result, backend.warnings(then, trades, below_slots=below_slots)


def _wanted(given: dict[str, Any], *, check_mode: bool) -> backend.Wanted:
    addresses = [given["address"], given["operator"], given["meter"], *(actor["address"] for actor in given["actors"])]
    if None in addresses:
        if check_mode:
            raise _NotYetError("the addresses of the market and its accounts are known")
        raise CliqueError("an address is missing; address, operator, meter and every actor's address have to be given")
    return backend.wanted_from(
        given["operator"], given["meter"], given["agreement_factory"], given["operator_gas_wei"], given["actors"]
    )


def _find(given: dict[str, Any], *, check_mode: bool) -> Contract:
    place = place_of(given)
    try:
        web3 = _chain.connect(place, timeout_s=0 if check_mode else given["timeout_s"], clock=time)
    except _chain.NodeUnreachableError as error:
        if not check_mode:
            raise
        raise _NotYetError(f"a node answers at {place}") from error
    if (market := backend.at(web3, given["address"], given["abi"])) is None:
        if check_mode:
            raise _NotYetError("the market is deployed")
        raise CliqueError(f"no market stands at {given['address']}; deploy it first, or correct the address")
    return market


def _require_factory(market: Contract, factory: str, *, check_mode: bool) -> None:
    """It is set for ever, so it had better be the right one."""
    if not backend.stands(market.w3, factory):
        if check_mode:
            raise _NotYetError("the agreement factory is deployed")
        raise CliqueError(f"no agreement factory stands at {factory}; deploy it first, or correct the address")
    if not backend.makes_agreements_for(market, factory):
        raise CliqueError(f"{factory} makes no agreements for the market {market.address}; correct its address")


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            **NODE_OPTIONS,
            "address": {"type": "str"},
            "abi": {"type": "list", "elements": "dict", "required": True},
            "from_block": {"type": "int", "default": 0},
            "keystore": {"type": "path", "required": True, "no_log": False},
            "password_file": {"type": "path", "required": True, "no_log": False},
            "operator": {"type": "str"},
            "meter": {"type": "str"},
            "agreement_factory": {"type": "str"},
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
            "warn_below_slots": {"type": "int", "default": 96},
            "timeout_s": {"type": "float", "default": 120},
        },
        mutually_exclusive=[EITHER],
        required_one_of=[EITHER],
        supports_check_mode=True,
    )
    if _chain.MISSING:
        module.fail_json(msg=missing_required_lib("web3"), exception=_chain.MISSING)
    try:
        with _chain.relying_on(place_of(module.params)):
            result, warnings = run(module.params, check_mode=module.check_mode)
    except (CliqueError, OSError) as error:
        module.fail_json(msg=sentence(error))
    for warning in warnings:
        module.warn(warning)
    module.exit_json(**result)


if __name__ == "__main__":
    main()
