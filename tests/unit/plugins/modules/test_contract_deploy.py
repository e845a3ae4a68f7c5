# SPDX-License-Identifier: GPL-3.0-or-later
"""contract_deploy on a real chain."""

import itertools
import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.smartenergy.clique.plugins.module_utils import _contract_deploy, _genesis_choice
from eth_account import Account
from eth_typing import HexAddress, HexStr
from support.artifacts import FORMATS, of
from support.chain import ARTIFACT, Chain, one_sealer, unsteady, write_keystore
from support.modules import assert_check_mode_is_truthful, assert_refused, kill_module, run_module, tree
from web3 import Web3
from web3.types import Nonce
from web3.utils.address import get_create_address

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
    assert answer["message"] == "EnergyMarket would be deployed after its arguments and libraries are known"


def test_an_argument_that_is_not_known_yet_is_refused_but_in_check_mode(
    arguments: dict[str, Any], tmp_path: Path
) -> None:
    words = ["the constructor of EnergyMarket cannot take None as admin_ (address)"]
    assert_refused("contract_deploy", {**arguments, "arguments": [None, *TERMS]}, tmp_path, *words)
    words = ["the constructor of EnergyMarket cannot take None as ", "(bool); give true or false"]
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
        ({"arguments": ["0x12", *TERMS]}, ["the constructor of EnergyMarket cannot take '0x12' as admin_ (address)"]),
        ({"arguments": ["0x" + "00" * 20, *TERMS]}, ["the constructor of EnergyMarket fails"]),
        ({"salt": "0x" + "00" * 33}, ["at most 32 bytes"]),
        ({"artifact": {"contractName": "Nothing", "abi": [], "bytecode": ""}}, ["Nothing has no bytecode"]),
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


OPEN = Path(__file__).parents[3] / "support/open_artifact.mjs"
ARGUMENTS = (10**21, "0xdeadbeef")
BACKEND = "ansible_collections.smartenergy.clique.plugins.module_utils"


@pytest.fixture(scope="session")
def rounding(chain: Chain, compiled: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> str:
    """The address of a library, from the compiler's own output."""
    given = {
        "rpc_url": chain.url,
        "artifact": compiled,
        "contract": "Rounding",
        "keystore": str(chain.keystore),
        "password_file": str(chain.password_file),
        "deployments_dir": str(tmp_path_factory.mktemp("rounding")),
    }
    assert run_module("contract_deploy", given)["changed"] is True
    again = run_module("contract_deploy", {**given, "contract": "Tariff.sol:Rounding"})
    assert again["changed"] is False, again
    address: str = again["address"]
    return address


@pytest.fixture
def tariff(chain: Chain, compiled: dict[str, Any], rounding: str, tmp_path: Path) -> dict[str, Any]:
    """A contract of a user's, to be deployed from the account itself."""
    return {
        "rpc_url": chain.url,
        "chain_id": 1337,
        "artifact": FORMATS["Foundry"](compiled, "Tariff"),
        "arguments": [str(10**21), "0xdeadbeef", {"owner": chain.admin.address, "open": [6, "22"]}, ["day", "night"]],
        "libraries": {"Rounding": rounding},
        "method": "create",
        "private_key": Web3.to_hex(chain.admin.key),
        "deployments_dir": str(tmp_path / "deployments"),
    }


def nonce_of(chain: Chain) -> int:
    return chain.web3.eth.get_transaction_count(chain.admin.address)


def created(chain: Chain, nonce: int) -> str:
    return str(get_create_address(HexAddress(HexStr(chain.admin.address)), Nonce(nonce)))


@pytest.mark.parametrize("tool", FORMATS)
def test_an_artefact_of_each_tool_is_deployed_once(
    chain: Chain, compiled: dict[str, Any], tariff: dict[str, Any], tmp_path: Path, tool: str
) -> None:
    method = {"method": "create"} if tool in ("Hardhat", "Foundry") else {"method": "create2", "salt": hex(next(SALTS))}
    given = {**tariff, **method, "artifact": FORMATS[tool](compiled, "Tariff"), "contract": "Tariff", "value_wei": 5}
    before = nonce_of(chain)
    real, again = assert_check_mode_is_truthful("contract_deploy", given, tmp_path)
    assert nonce_of(chain) == before + 1
    assert again["address"] == real["address"]
    contract = chain.web3.eth.contract(real["address"], abi=of(compiled, "Tariff")["abi"])
    functions = contract.functions
    assert (functions.limit().call(), functions.region().call()) == (10**21, bytes.fromhex("deadbeef"))
    assert functions.terms().call() == (chain.admin.address, [6, 22])
    assert functions.name(1).call() == "night"
    assert chain.web3.eth.get_balance(real["address"]) == 5
    record = json.loads(Path(real["record_file"]).read_text())
    assert record["genesis_hash"] == Web3.to_hex(chain.web3.eth.get_block(0)["hash"])


def test_the_exported_artefact_opens_in_truffle_ethers_and_web3_unchanged(
    chain: Chain, tariff: dict[str, Any], contracts_script: dict[str, Any]
) -> None:
    real = run_module("contract_deploy", tariff)
    bundle, modules = contracts_script["bundle"]("@truffle/contract"), contracts_script["npm_packages"]()
    command = ["node", OPEN, bundle, modules, real["artifact_file"], chain.url]
    told = subprocess.run(command, capture_output=True, text=True, check=False)
    assert told.returncode == 0, told.stderr
    artifact = json.loads(Path(real["artifact_file"]).read_text())
    web3 = chain.web3
    functions = web3.eth.contract(artifact["networks"]["1337"]["address"], abi=artifact["abi"]).functions
    wanted = {
        "address": real["address"],
        "limit": str(functions.limit().call()),
        "open": [str(hour) for hour in functions.terms().call()[1]],
    }
    assert wanted["open"] == ["6", "22"]
    assert json.loads(told.stdout.splitlines()[-1]) == {"byTruffle": wanted, "byEthers": wanted}
    factory = web3.eth.contract(abi=artifact["abi"], bytecode=artifact["bytecode"])
    assert factory.constructor(*ARGUMENTS, (chain.admin.address, [6, 22]), []).estimate_gas() > 0


@pytest.mark.parametrize("method", ["create", "create2"])
def test_another_contract_of_the_name_is_refused_or_put_beside_it(
    chain: Chain, tariff: dict[str, Any], tmp_path: Path, method: str
) -> None:
    given = {**tariff, "method": method, "salt": hex(next(SALTS))}
    first = run_module("contract_deploy", given)
    changed = {**given, "arguments": ["7", *given["arguments"][1:]]}
    words = [
        f"Tariff stands at {first['address']} on chain 1337 with other",
        "set on_change to redeploy",
        "another name",
    ]
    assert "arguments" in assert_refused("contract_deploy", changed, tmp_path, *words)
    other = {**given, "artifact": json.loads(ARTIFACT.read_text()), "name": "Tariff", "libraries": {}}
    other["arguments"] = [chain.admin.address, *TERMS]
    assert "other code or libraries" in assert_refused("contract_deploy", other, tmp_path, *words)
    second, _ = assert_check_mode_is_truthful("contract_deploy", {**changed, "on_change": "redeploy"}, tmp_path)
    assert second["changed"] is True
    assert second["address"] != first["address"]
    assert json.loads(Path(second["record_file"]).read_text())["address"] == second["address"]
    assert all(chain.web3.eth.get_code(one["address"]) for one in (first, second))
    beside = run_module("contract_deploy", {**given, "name": "Former"})
    assert beside["changed"] is True
    assert (beside["address"] == first["address"]) is (method == "create2")


def test_a_record_that_this_chain_does_not_confirm_is_not_believed(
    chain: Chain, tariff: dict[str, Any], tmp_path: Path
) -> None:
    nonce = nonce_of(chain)
    first = run_module("contract_deploy", tariff)
    file = Path(first["record_file"])
    record = json.loads(file.read_text())
    for lie in (
        {"chain_id": 1},
        {"transaction": "0x" + "12" * 32},
        {"transaction": None},
        {"transaction": 7},
        {"address": "0x" + "11" * 20},
        {"address": "nowhere"},
        {"salt": 5, "address": None},
        {"genesis_hash": "0x" + "12" * 32},
    ):
        file.write_text(json.dumps({**record, **lie}))
        foretold = run_module("contract_deploy", tariff, check=True)
        assert (foretold["changed"], foretold["address"]) == (True, None), lie
    second, _ = assert_check_mode_is_truthful("contract_deploy", tariff, tmp_path)
    assert [first["address"], second["address"]] == [created(chain, nonce), created(chain, nonce + 1)]


def test_a_block_that_was_reorganised_is_corrected(tariff: dict[str, Any], tmp_path: Path) -> None:
    first = run_module("contract_deploy", tariff)
    file = Path(first["record_file"])
    record = json.loads(file.read_text())
    file.write_text(json.dumps({**record, "block": record["block"] - 1}))
    second, _ = assert_check_mode_is_truthful("contract_deploy", tariff, tmp_path)
    assert second["changed"] is True
    assert json.loads(file.read_text()) == record


def test_a_chain_that_was_reset_with_the_same_keys_gets_the_contract_again(
    chain: Chain, geth: Path, tariff: dict[str, Any], tmp_path: Path
) -> None:
    given = {**tariff, "artifact": json.loads(ARTIFACT.read_text()), "libraries": {}}
    given["arguments"] = [chain.admin.address, *TERMS]
    before = run_module("contract_deploy", given)
    (tmp_path / "reset").mkdir()
    with one_sealer(geth, tmp_path / "reset", admin=chain.admin) as reset:
        genesis = [one.web3.eth.get_block(0)["hash"] for one in (chain, reset)]
        assert genesis[0] == genesis[1]
        after, _ = assert_check_mode_is_truthful(
            "contract_deploy", {**given, "rpc_url": reset.url}, tmp_path / "deployments"
        )
        assert after["changed"] is True
        assert reset.web3.eth.get_code(after["address"]) == chain.web3.eth.get_code(before["address"])


@pytest.mark.parametrize(
    ("method", "where", "after"),
    [
        ("create", "_send_once:_send", False),
        ("create", "_send_once:_send", True),
        ("create", "_contract_deploy:Files.write", False),
        ("create", "_contract_deploy:Files.write", True),
        ("create2", "_send_once:_send", True),
    ],
)
def test_a_run_that_is_killed_is_finished_by_the_next_and_sends_nothing_twice(
    chain: Chain, tariff: dict[str, Any], *, method: str, where: str, after: bool
) -> None:
    nonce = nonce_of(chain)
    given = {**tariff, "method": method, "salt": hex(next(SALTS))}
    kill_module("contract_deploy", given, f"{BACKEND}.{where}", after=after)
    real = run_module("contract_deploy", given)
    assert real["changed"] is not (where == "_contract_deploy:Files.write" and after), real
    assert run_module("contract_deploy", given)["changed"] is False
    assert nonce_of(chain) == nonce + 1
    if method == "create":
        assert real["address"] == created(chain, nonce)
    assert {path.name for path in Path(real["record_file"]).parent.iterdir()} == {"Tariff.json", "Tariff.artifact.json"}


def test_what_was_sent_before_the_arguments_changed_is_not_forgotten(chain: Chain, tariff: dict[str, Any]) -> None:
    nonce = nonce_of(chain)
    kill_module("contract_deploy", tariff, f"{BACKEND}._send_once:_send", after=True)
    changed = {**tariff, "arguments": ["7", *tariff["arguments"][1:]]}
    answer = run_module("contract_deploy", changed)
    assert (
        f"Tariff stands at {created(chain, nonce)} on chain 1337 with other arguments, or another salt" in answer["msg"]
    )
    assert run_module("contract_deploy", tariff)["address"] == created(chain, nonce)
    assert nonce_of(chain) == nonce + 1


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"chain_id": 1}, ["is on chain 1337, not on 1; correct one of them"]),
        ({"private_key": "0x12"}, ["private_key is no key; give 0x and 64 hex digits"]),
        ({"private_key": None}, ["one of the following is required: keystore, private_key"]),
        ({"arguments": ["0", *["0xdeadbeef", ["0x" + "11" * 20, [1, 2]], []]]}, ["fails: a tariff without a limit"]),
        ({"libraries": {}}, ["Tariff needs the library Tariff.sol:Rounding; give its address in libraries"]),
        ({"libraries": {"Rounding": "0x12"}}, ["Tariff cannot have '0x12' as the library Rounding (address)"]),
        ({"method": "create3"}, ["value of method must be one of: create2, create"]),
        ({"contract": "Other"}, ["the artefact is of Tariff, not of Other"]),
        ({"value_wei": 10**30}, ["the constructor of Tariff fails: ", "insufficient funds"]),
        ({"deployments_dir": "/dev/null"}, ["/dev/null"]),
        ({"artifact": None, "artifact_file": "/"}, ["the artefact / cannot be read"]),
        ({"artifact": None, "artifact_file": "/dev/null"}, ["the artefact /dev/null cannot be read"]),
        ({"keystore": "/absent", "private_key": None, "password_file": "/absent"}, ["/absent cannot be read"]),
    ],
)
def test_what_cannot_be_of_a_users_own_is_refused(
    tariff: dict[str, Any], tmp_path: Path, wrong: dict[str, Any], words: list[str]
) -> None:
    given = {name: value for name, value in {**tariff, **wrong}.items() if value is not None}
    assert_refused("contract_deploy", given, tmp_path, *words)


def test_a_key_is_a_file_a_directory_or_a_value_and_never_told(
    chain: Chain, tariff: dict[str, Any], tmp_path: Path
) -> None:
    write_keystore(chain.admin, tmp_path / "keys", tmp_path / "password")
    (file,) = (tmp_path / "keys").iterdir()
    key = tariff.pop("private_key")
    for place in (file, tmp_path / "keys"):
        by_file = {
            **tariff,
            "name": f"By{place.name[:3]}",
            "keystore": str(place),
            "password_file": str(tmp_path / "password"),
        }
        assert run_module("contract_deploy", by_file)["changed"] is True
    for told in (key, key[2:]):
        answer = run_module("contract_deploy", {**tariff, "name": told, "private_key": told, "artifact": {}})
        assert key[2:] not in json.dumps(answer)
    wrong = {**tariff, "private_key": Web3.to_hex(Account.create().key)}
    assert "has 0 wei and needs" in assert_refused("contract_deploy", wrong, tmp_path)
