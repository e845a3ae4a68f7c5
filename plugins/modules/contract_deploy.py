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
  - Deploys a contract by CREATE2 through the well-known deployment proxy, which has to be on the chain,
    as M(smartenergy.clique.clique_genesis) puts it there.
  - The address follows from code, arguments and salt. What stands there is left alone, and a lost record is made anew.
  - Sending waits until the chain is at block 2. Earlier, sealers may drop transactions.
requirements:
  - web3
extends_documentation_fragment:
  - smartenergy.clique.attributes
  - smartenergy.clique.node
options:
  artifact:
    description: The artefact of the contract; V(abi) and V(bytecode) are used. Either this or O(artifact_file).
    type: dict
  artifact_file:
    description: A JSON file with the artefact, where the module runs.
    type: path
  name:
    description: What the contract is called in the record. By default the artefact's V(contractName).
    type: str
  arguments:
    description:
      - The arguments of the constructor. Numbers may be given as text, decimal or 0x.
      - In check mode an argument may be null, when it cannot be known yet. The results are null then, too.
    type: list
    elements: raw
    default: []
  salt:
    description: Hex of at most 32 bytes. The same contract with another salt has another address.
    type: str
    default: "0x00"
  keystore:
    description: Keystore directory with the one account that pays. It is read only when something has to be deployed.
    type: path
    required: true
  password_file:
    description: File with the password of that account.
    type: path
    required: true
  deployments_dir:
    description:
      - Directory of the records. A record is <chainId>/<name>.json in it, with a Truffle-style <name>.artifact.json.
    type: path
    required: true
  timeout_s:
    description: How many seconds to wait at most for the node to answer, and then for the transaction.
    type: float
    default: 120
attributes:
  check_mode:
    details: Predicts the address, also when no node answers yet. Block and transaction are null then.
    support: full
  diff_mode:
    details: Shows whether the contract stands and is recorded.
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
"""

RETURN = r"""
address:
  description: The address of the contract.
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

import json
import time
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule, missing_required_lib
from ansible_collections.smartenergy.clique.plugins.module_utils import _chain
from ansible_collections.smartenergy.clique.plugins.module_utils import _contract_deploy as backend
from ansible_collections.smartenergy.clique.plugins.module_utils._errors import CliqueError, reason, sentence
from ansible_collections.smartenergy.clique.plugins.module_utils._node import EITHER, NODE_OPTIONS, place_of

UNKNOWN = dict.fromkeys(["address", "chain_id", "block", "transaction", "record_file", "artifact_file"])


def run(given: dict[str, Any], *, check_mode: bool) -> dict[str, Any]:
    """Do, or predict, what the module is for."""
    artifact = given["artifact"] or _load(Path(given["artifact_file"]))
    name = given["name"] or artifact.get("contractName") or "contract"
    if check_mode and None in given["arguments"]:
        message = f"{name} would be deployed after the arguments of its constructor are known"
        return {**UNKNOWN, "changed": True, "message": message, "diff": _diff(None, stands=False, recorded=False)}
    place = place_of(given)
    planned = backend.plan(name, artifact, given["arguments"], given["salt"])
    try:
        web3 = _chain.connect(place, timeout_s=0 if check_mode else given["timeout_s"], clock=time)
    except _chain.NodeUnreachableError:
        if not check_mode:
            raise
        message = f"{name} would be deployed after a node answers at {place}"
        diff = _diff(planned.address, stands=False, recorded=False)
        return {**UNKNOWN, "address": planned.address, "changed": True, "message": message, "diff": diff}

    chain_id = web3.eth.chain_id
    directory = Path(given["deployments_dir"]) / str(chain_id)
    files = [f"{name}.json", f"{name}.artifact.json"]
    before = backend.read(directory, files)
    standing = deployment = backend.look(web3, planned, before[files[0]])
    if deployment is None and not check_mode:
        account = _chain.unlock(Path(given["keystore"]), Path(given["password_file"]))
        deployment = backend.deploy(web3, planned, account, timeout_s=given["timeout_s"], clock=time)
    wanted = backend.texts(planned, deployment, chain_id) if deployment else None
    recorded = standing is not None and before == wanted
    if wanted and not recorded and not check_mode:
        backend.write(wanted, directory)
    return {
        "changed": not recorded,
        "address": planned.address,
        "chain_id": chain_id,
        "block": deployment.block if deployment else None,
        "transaction": deployment.transaction if deployment else None,
        "record_file": str(directory / files[0]),
        "artifact_file": str(directory / files[1]),
        "diff": _diff(planned.address, stands=standing is not None, recorded=recorded),
    }


def _load(file: Path) -> dict[str, Any]:
    try:
        loaded = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CliqueError(f"the artefact {file} cannot be read: {reason(error)}") from error
    if not isinstance(loaded, dict):
        raise CliqueError(f"{file} is not an artefact: it has to be a JSON object")
    return loaded


def _diff(address: str | None, *, stands: bool, recorded: bool) -> dict[str, Any]:
    return {
        "before": {"address": address, "stands": stands, "recorded": recorded},
        "after": {"address": address, "stands": True, "recorded": True},
    }


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            **NODE_OPTIONS,
            "artifact": {"type": "dict"},
            "artifact_file": {"type": "path"},
            "name": {"type": "str"},
            "arguments": {"type": "list", "elements": "raw", "default": []},
            "salt": {"type": "str", "default": "0x00", "no_log": False},
            "keystore": {"type": "path", "required": True, "no_log": False},
            "password_file": {"type": "path", "required": True, "no_log": False},
            "deployments_dir": {"type": "path", "required": True},
            "timeout_s": {"type": "float", "default": 120},
        },
        mutually_exclusive=[EITHER, ("artifact", "artifact_file")],
        required_one_of=[EITHER, ("artifact", "artifact_file")],
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
