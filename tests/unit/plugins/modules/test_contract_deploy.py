# SPDX-License-Identifier: GPL-3.0-or-later
"""contract_deploy on a real chain."""

import itertools
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.smartenergy.clique.plugins.module_utils import _contract_deploy, _genesis_choice
from support.chain import ARTIFACT, Chain, unsteady
from support.modules import assert_check_mode_is_truthful, assert_refused, run_module, tree

SALTS = itertools.count(1)
"""Each test deploys at an address of its own."""
TERMS = [900, "3600", "0x93a80", False]


@pytest.fixture
def arguments(chain: Chain, tmp_path: Path) -> dict[str, Any]:
    return {
        "rpc_url": chain.url,
        "artifact": json.loads(ARTIFACT.read_text()),
        "arguments": [chain.admin.address, *TERMS],
        "salt": hex(next(SALTS)),
        "keystore": str(chain.keystore),
        "password_file": str(chain.password_file),
        "deployments_dir": str(tmp_path / "deployments"),
    }


def test_a_contract_is_deployed_once_and_recorded(chain: Chain, arguments: dict[str, Any], tmp_path: Path) -> None:
    real, again = assert_check_mode_is_truthful("contract_deploy", arguments, tmp_path)
    web3 = chain.web3
    assert web3.eth.contract(real["address"], abi=arguments["artifact"]["abi"]).functions.admin().call() == (
        chain.admin.address
    )
    receipt = web3.eth.get_transaction_receipt(real["transaction"])
    assert receipt["blockNumber"] == real["block"] == again["block"]
    assert real["record_file"] == str(tmp_path / "deployments/1337/EnergyMarket.json")
    record = json.loads(Path(real["record_file"]).read_text())
    assert {name: record[name] for name in ("address", "block", "transaction", "chain_id")} == {
        name: real[name] for name in ("address", "block", "transaction", "chain_id")
    }
    artifact = json.loads(Path(real["artifact_file"]).read_text())
    assert artifact["networks"] == {"1337": {"address": real["address"], "transactionHash": real["transaction"]}}


def test_a_lost_record_is_made_anew_as_it_was(arguments: dict[str, Any], tmp_path: Path) -> None:
    real = run_module("contract_deploy", arguments)
    before = tree(tmp_path)
    shutil.rmtree(arguments["deployments_dir"])
    healed, _ = assert_check_mode_is_truthful("contract_deploy", arguments, tmp_path)
    assert healed["changed"] is True
    assert healed["transaction"] == real["transaction"]
    assert tree(tmp_path) == before


def test_a_record_of_a_chain_that_was_reset_is_corrected(arguments: dict[str, Any], tmp_path: Path) -> None:
    real = run_module("contract_deploy", arguments)
    file = Path(real["record_file"])
    record = json.loads(file.read_text())
    file.write_text(json.dumps({**record, "block": 12345, "transaction": "0x" + "12" * 32}))
    healed, _ = assert_check_mode_is_truthful("contract_deploy", arguments, tmp_path)
    assert json.loads(file.read_text()) == record
    assert healed["block"] == real["block"]


def test_the_artifact_may_be_a_file(arguments: dict[str, Any]) -> None:
    by_value = run_module("contract_deploy", arguments, check=True)
    del arguments["artifact"]
    by_file = run_module("contract_deploy", {**arguments, "artifact_file": str(ARTIFACT)}, check=True)
    assert by_file == by_value


def test_check_mode_predicts_the_address_without_a_node(arguments: dict[str, Any]) -> None:
    with_node = run_module("contract_deploy", arguments, check=True)
    absent = {**arguments, "rpc_url": "http://127.0.0.1:1", "keystore": "/absent", "password_file": "/absent"}
    answer = run_module("contract_deploy", absent, check=True)
    assert answer["address"] == with_node["address"]
    assert answer["changed"] is True
    assert answer["block"] is None
    assert "would be deployed after a node answers" in answer["message"]


def test_check_mode_bears_an_argument_that_is_not_known_yet(arguments: dict[str, Any]) -> None:
    answer = run_module("contract_deploy", {**arguments, "arguments": [None, *TERMS]}, check=True)
    assert answer["changed"] is True
    assert answer["address"] is None
    assert answer["message"] == "EnergyMarket would be deployed after the arguments of its constructor are known"


def test_an_argument_that_is_not_known_yet_is_refused_but_in_check_mode(
    arguments: dict[str, Any], tmp_path: Path
) -> None:
    words = ["EnergyMarket cannot be deployed", "None is not an address"]
    assert_refused("contract_deploy", {**arguments, "arguments": [None, *TERMS]}, tmp_path, *words)
    words = ["EnergyMarket cannot be deployed"]
    assert_refused("contract_deploy", {**arguments, "arguments": [*arguments["arguments"][:4], None]}, tmp_path, *words)


def test_a_contract_on_another_one_is_foretold_with_it(arguments: dict[str, Any], tmp_path: Path) -> None:
    """Addresses follow from one another before anything stands."""
    factory = json.loads((ARTIFACT.parent / "EnergyAgreementFactory.json").read_text())
    market = run_module("contract_deploy", arguments, check=True)
    on_top = {**arguments, "artifact": factory, "arguments": [market["address"]]}
    foretold = run_module("contract_deploy", on_top, check=True)
    assert run_module("contract_deploy", arguments)["address"] == market["address"]
    real, _ = assert_check_mode_is_truthful("contract_deploy", on_top, tmp_path)
    assert real["address"] == foretold["address"]


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"rpc_url": "http://127.0.0.1:1", "timeout_s": 0}, ["no Ethereum node answers at http://127.0.0.1:1"]),
        ({"arguments": []}, ["takes 5 arguments, not 0"]),
        ({"arguments": ["0x12", *TERMS]}, ["EnergyMarket cannot be deployed"]),
        ({"arguments": ["0x" + "00" * 20, *TERMS]}, ["the constructor of EnergyMarket fails"]),
        ({"salt": "0x" + "00" * 33}, ["at most 32 bytes"]),
        ({"artifact": {"contractName": "Nothing", "abi": [{}], "bytecode": ""}}, ["Nothing has no bytecode"]),
        ({"keystore": "/absent"}, ["/absent cannot be read"]),
        ({"password_file": "/dev/null"}, ["cannot be unlocked with /dev/null"]),
    ],
)
def test_what_cannot_be_is_refused(
    arguments: dict[str, Any], tmp_path: Path, wrong: dict[str, Any], words: list[str]
) -> None:
    assert_refused("contract_deploy", {**arguments, **wrong}, tmp_path, *words)


def test_no_secret_is_in_an_answer(chain: Chain, arguments: dict[str, Any]) -> None:
    answer = json.dumps(run_module("contract_deploy", arguments))
    assert chain.admin.key.hex() not in answer
    assert chain.password_file.read_text().strip() not in answer


def test_the_genesis_has_the_proxy_that_is_used() -> None:
    assert _contract_deploy.PROXY.lower() == _genesis_choice.CREATE2_PROXY


def test_a_node_that_was_just_started_is_waited_for(chain: Chain, arguments: dict[str, Any]) -> None:
    with unsteady(chain, lambda number: number > 3) as url:
        answer = run_module("contract_deploy", {**arguments, "rpc_url": url})
    assert answer["block"] is not None, answer


@pytest.mark.parametrize("answers", [1, 3, 5])
def test_a_node_that_stops_answering_ends_in_a_sentence(
    chain: Chain, arguments: dict[str, Any], tmp_path: Path, answers: int
) -> None:
    with unsteady(chain, lambda number: number <= answers) as url:
        words = [f"the node at {url} stopped answering: ", "; run this again"]
        assert_refused("contract_deploy", {**arguments, "rpc_url": url}, tmp_path, *words)
