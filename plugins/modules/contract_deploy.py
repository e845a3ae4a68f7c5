#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A contract stands on a chain, at an address known in advance, and is recorded."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: contract_deploy
short_description: Make sure that a contract stands on a chain
version_added: "0.1.0"
author:
  - The smartenergy.clique authors (!UNKNOWN)
description:
  - Deploys a contract, of this collection or of your own, links its libraries, and records where it stands.
  - What stands as it is wanted is left alone. The code at the address is always looked at, and compared with the
    artefact's, but for immutables and a library's own address.
  - A record is believed only where chain id and genesis hash fit, this chain has its transaction, and code is there.
  - A transaction is written down before it is sent. A run that was interrupted is finished by the next one, which
    waits for what is under way and sends nothing twice.
  - Sending waits until the chain is at block 2. Earlier, sealers may drop transactions.
requirements:
  - web3
extends_documentation_fragment:
  - smartenergy.clique.attributes
  - smartenergy.clique.node
  - smartenergy.clique.chain
  - smartenergy.clique.artifact
  - smartenergy.clique.key
options:
  name:
    description:
      - What the contract is called in the record. By default what the artefact calls it.
      - The same contract with other arguments, beside the first, needs a name of its own.
    type: str
  arguments:
    description:
      - The arguments of the constructor, checked by their types. Numbers may be given as text, decimal or 0x;
        addresses and bytes are hex with 0x, in quotes; a tuple is a list, or a dictionary by the names of its parts.
      - In check mode what cannot be known yet may be null. The results are null then, too.
    type: list
    elements: raw
    default: []
  libraries:
    description: The addresses of the libraries that the contract is linked with, by C(Name) or C(file:Name).
    type: dict
    default: {}
  value_wei:
    description: How much the constructor is paid, in wei. It counts when the contract is deployed, and never again.
    type: int
    default: 0
  method:
    description:
      - V(create2) deploys through the well-known deployment proxy, which has to be on the chain, as
        M(smartenergy.clique.clique_genesis) puts it there. The address follows from code, arguments and O(salt), so it
        is known in advance, and a lost record is made anew. The constructor is called by the proxy.
      - V(create) deploys from the account itself. The address follows from who sends it and when, so that
        a contract whose record is lost is deployed anew.
    type: str
    choices: [create2, create]
    default: create2
  salt:
    description: Hex of at most 32 bytes. By V(create2) the same contract with another salt has another address.
    type: str
    default: "0x00"
  on_change:
    description:
      - What to do where another contract stands by this name on this chain, with other code or other arguments.
      - V(redeploy) puts the wanted one beside it and records that. The old one stays where it is, with what it holds.
    type: str
    choices: [fail, redeploy]
    default: fail
  deployments_dir:
    description:
      - Directory of the records. A record is <chainId>/<name>.json in it, with a Truffle-style <name>.artifact.json,
        which Truffle, ethers and web3.py open. <name>.pending.json is there for as long as a transaction is under way.
    type: path
    required: true
attributes:
  check_mode:
    details: With V(create2) predicts the address, also when no node answers yet. What the chain decides is null then.
    support: full
  diff_mode:
    details: Shows whether the contract stands and is recorded, and where.
    support: full
"""

EXAMPLES = r"""
- name: Deploy the market
  smartenergy.clique.contract_deploy:
    rpc_url: http://127.0.0.1:30400
    artifact_file: /opt/contracts/EnergyMarket.json
    arguments:
      - "{{ admin_address }}"
    keystore: /var/lib/clique/accounts/admin/keystore
    password_file: /var/lib/clique/accounts/admin/password
    deployments_dir: /var/lib/clique/deployments

- name: Deploy a contract of our own, built by Foundry, with a library
  smartenergy.clique.contract_deploy:
    rpc_url: http://127.0.0.1:30400
    chain_id: 1337
    artifact_file: "{{ playbook_dir }}/out/Tariff.sol/Tariff.json"
    arguments:
      - "1000000000000000000000"
      - {owner: "{{ admin_address }}", hours: [6, 22]}
    libraries:
      Rounding: "{{ rounding.address }}"
    method: create
    on_change: redeploy
    private_key: "{{ vault_deployer_key }}"
    deployments_dir: "{{ playbook_dir }}/deployments"
  register: tariff
"""

RETURN = r"""
address:
  description: The address of the contract; null in check mode where it cannot be known yet.
  type: str
  returned: always
  sample: "0x2b1e9fa1Ac1C6e9Aa4aD2fDc25bF4DE0C2a1B6cD"
chain_id:
  description: The chain's id.
  type: int
  returned: always
block:
  description: The block in which the contract came to be.
  type: int
  returned: always
transaction:
  description: The transaction that deployed it.
  type: str
  returned: always
record_file:
  description: The path of the record.
  type: str
  returned: always
artifact_file:
  description: The path of the artefact with the address in it.
  type: str
  returned: always
message:
  description: In check mode, what has to be there before the contract could be deployed.
  type: str
  returned: when something is missing
"""

import time
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule, missing_required_lib
from ansible_collections.smartenergy.clique.plugins.module_utils import (
    _chain,
    _contract_artifact,
    _send_once,
)
from ansible_collections.smartenergy.clique.plugins.module_utils import _contract_deploy as backend
from ansible_collections.smartenergy.clique.plugins.module_utils import _contract_options as options
from ansible_collections.smartenergy.clique.plugins.module_utils._errors import CliqueError, sentence
from ansible_collections.smartenergy.clique.plugins.module_utils._node import EITHER, place_of

UNKNOWN = dict.fromkeys(["address", "chain_id", "block", "transaction", "record_file", "artifact_file"])


def run(given: dict[str, Any], *, check_mode: bool) -> dict[str, Any]:
    """Do, or predict, what the module is for."""
    place = place_of(given)
    contract = _contract_artifact.given_contract(given)
    if check_mode and options.has_null([given["arguments"], given["libraries"]]):
        name = given["name"] or contract.name or "the contract"
        return _later(f"{name} would be deployed after its arguments and libraries are known", None)
    planned = backend.plan(
        given["name"],
        contract,
        given["arguments"],
        libraries=given["libraries"],
        salt=given["salt"] if given["method"] == "create2" else None,
        value_wei=given["value_wei"],
    )
    waiting: dict[str, Any] = {"timeout_s": 0 if check_mode else given["timeout_s"], "clock": time}
    try:
        web3 = _chain.connect(place, chain_id=given["chain_id"], **waiting)
    except _chain.NodeUnreachableError:
        if not check_mode:
            raise
        return _later(f"{planned.name} would be deployed after a node answers at {place}", planned.address)

    identity = _chain.identify(web3)
    files = backend.Files.of(Path(given["deployments_dir"]), identity, planned.name)
    before = files.read()
    seen = found = backend.look(web3, planned, identity, before)
    pending = _send_once.read(before["pending"], identity)
    if pending and not check_mode and _send_once.finish(web3, pending, f"deploy {planned.name}", **waiting):
        seen = backend.look(web3, planned, identity, before)
    if seen.other and given["on_change"] == "fail":
        backend.refuse_another(web3, planned, seen.other, identity)
    deployment = seen.standing
    if deployment is None and not check_mode:
        account = _chain.account_of(given["keystore"], given["password_file"], given["private_key"])
        deployment = backend.deploy(web3, planned, account, identity, keep=files.keep, **waiting)
    wanted = backend.texts(planned, deployment, identity) if deployment else None
    recorded = found.standing is not None and before == {**(wanted or {}), "pending": None}
    if wanted and not recorded and not check_mode:
        files.write(wanted)
    former = found.standing or found.other
    address = deployment.address if deployment else planned.address
    return {
        "changed": not recorded,
        "address": address,
        "chain_id": identity.chain_id,
        "block": deployment.block if deployment else None,
        "transaction": deployment.transaction if deployment else None,
        "record_file": str(files.record),
        "artifact_file": str(files.artifact),
        "diff": _diff(
            former.address if former else None,
            found.standing.address if found.standing else planned.address,
            recorded=recorded,
        ),
    }


def _later(message: str, address: str | None) -> dict[str, Any]:
    diff = _diff(None, address, recorded=False)
    return {**UNKNOWN, "address": address, "changed": True, "message": message, "diff": diff}


def _diff(former: str | None, address: str | None, *, recorded: bool) -> dict[str, Any]:
    return {
        "before": {"address": former, "stands": former is not None, "recorded": recorded},
        "after": {"address": address, "stands": True, "recorded": True},
    }


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            **options.CHAIN,
            **options.ARTIFACT,
            **options.KEY,
            "name": {"type": "str"},
            "arguments": {"type": "list", "elements": "raw", "default": []},
            "libraries": {"type": "dict", "default": {}},
            "value_wei": {"type": "int", "default": 0},
            "method": {"type": "str", "choices": ["create2", "create"], "default": "create2"},
            "salt": {"type": "str", "default": "0x00", "no_log": False},
            "on_change": {"type": "str", "choices": ["fail", "redeploy"], "default": "fail"},
            "deployments_dir": {"type": "path", "required": True},
        },
        mutually_exclusive=[EITHER, ("artifact", "artifact_file"), *options.KEY_RULES["mutually_exclusive"]],
        required_one_of=[EITHER, ("artifact", "artifact_file"), *options.KEY_RULES["required_one_of"]],
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
