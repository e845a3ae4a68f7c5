# SPDX-License-Identifier: GPL-3.0-or-later
"""contract_call and contract_transaction on a real chain."""

import itertools
import json
from pathlib import Path
from typing import Any

import pytest
from eth_account import Account
from support.artifacts import FORMATS, of
from support.chain import Chain, unsteady
from support.modules import assert_check_mode_is_truthful, assert_refused, kill_module, run_module
from web3 import Web3
from web3.types import Wei

BACKEND = "ansible_collections.smartenergy.clique.plugins.module_utils"
LIMIT = 10**21
NAMES = itertools.count(1)


@pytest.fixture(scope="module")
def tariff(chain: Chain, compiled: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """A contract of a user's, and how to ask it."""
    given = {
        "rpc_url": chain.url,
        "private_key": Web3.to_hex(chain.admin.key),
        "deployments_dir": str(tmp_path_factory.mktemp("deployments")),
    }
    library = {**given, "artifact": compiled, "contract": "Rounding"}
    terms = {"owner": chain.admin.address, "open": [6, 22]}
    deployed = run_module(
        "contract_deploy",
        {
            **given,
            "artifact": FORMATS["Hardhat"](compiled, "Tariff"),
            "arguments": [str(LIMIT), "0xdeadbeef", terms, ["day", "night"]],
            "libraries": {"Rounding": run_module("contract_deploy", library)["address"]},
        },
    )
    return {"rpc_url": chain.url, "address": deployed["address"], "artifact_file": deployed["artifact_file"]}


@pytest.fixture
def setting(chain: Chain, tariff: dict[str, Any]) -> dict[str, Any]:
    """Setting a price that nobody has set yet."""
    asked = [next(NAMES) * 10]
    key = {"private_key": Web3.to_hex(chain.admin.key)}
    return {**tariff, **key, "function": "setPrice", "arguments": asked, "confirmations": 1}


def ask(tariff: dict[str, Any], function: str, *arguments: Any, **more: Any) -> Any:
    named = {name: tariff[name] for name in ("rpc_url", "address", "artifact_file")}
    answer = run_module("contract_call", {**named, "function": function, "arguments": list(arguments), **more})
    assert not answer.get("failed"), answer
    assert answer["changed"] is False
    return answer["result"]


def nonce_of(chain: Chain) -> int:
    return chain.web3.eth.get_transaction_count(chain.admin.address)


def test_answers_are_what_json_has(chain: Chain, tariff: dict[str, Any], compiled: dict[str, Any]) -> None:
    assert ask(tariff, "limit") == LIMIT
    assert ask(tariff, "region") == "0xdeadbeef"
    assert ask(tariff, "terms") == {"owner": chain.admin.address, "open": [6, 22]}
    assert ask(tariff, "quote(uint256)", "5") == {"total": 0, "cheap": True}
    assert ask(tariff, "quote(string)", "day") == [0, "day"]
    assert ask(tariff, "name", 1) == "night"
    asker = Account.create().address
    assert ask(tariff, "asker", sender=asker) == asker
    by_abi = {"artifact_file": None, "abi": of(compiled, "Tariff")["abi"]}
    named = {name: value for name, value in {**tariff, **by_abi}.items() if value is not None}
    assert run_module("contract_call", {**named, "function": "limit"}, check=True)["result"] == LIMIT


def test_the_past_is_asked_by_its_block(tariff: dict[str, Any], setting: dict[str, Any]) -> None:
    before = ask(tariff, "price")
    sent = run_module("contract_transaction", setting)
    assert ask(tariff, "price", block=str(sent["block"] - 1)) == before
    assert ask(tariff, "price", block=hex(sent["block"])) == setting["arguments"][0]


def test_what_is_not_there_yet_is_null_in_check_mode(tariff: dict[str, Any], setting: dict[str, Any]) -> None:
    nobody = Account.create().address
    for absent, words in (
        ({"address": None}, "after its address and the arguments are known"),
        ({"arguments": [None]}, "after its address and the arguments are known"),
        ({"address": nobody}, f"after it is deployed at {nobody}"),
        ({"rpc_url": "http://127.0.0.1:1"}, "after a node answers at http://127.0.0.1:1"),
    ):
        asked = run_module("contract_call", {**tariff, "function": "name", "arguments": [0], **absent}, check=True)
        assert (asked["changed"], asked["result"]) == (False, None)
        assert asked["message"] == f"Tariff would be asked {words}"
        sent = run_module("contract_transaction", {**setting, **absent}, check=True)
        assert (sent["changed"], sent["transaction"], sent["events"]) == (True, None, None)
        assert sent["message"] == f"Tariff would be called {words}"


def test_a_transaction_is_sent_confirmed_and_told(chain: Chain, setting: dict[str, Any]) -> None:
    asked = setting["arguments"][0]
    given = {**setting, "arguments": [str(asked - 3)], "value_wei": 0, "gas": 200_000, "confirmations": 2}
    sent = run_module("contract_transaction", given)
    receipt = chain.web3.eth.get_transaction_receipt(sent["transaction"])
    assert (sent["changed"], sent["block"], sent["gas_used"]) == (True, receipt["blockNumber"], receipt["gasUsed"])
    assert chain.web3.eth.block_number > sent["block"]
    terms = {"owner": chain.admin.address, "open": [6, 22]}
    hashed = Web3.to_hex(Web3.keccak(text="price"))
    told = {"by": chain.admin.address, "text": hashed, "price": asked, "terms": terms}
    assert sent["events"] == [{"event": "PriceSet", "address": setting["address"], "arguments": told}]
    assert ask(setting, "price") == asked
    assert chain.web3.eth.get_transaction(sent["transaction"])["gas"] == 200_000


def test_a_condition_that_holds_sends_nothing(chain: Chain, setting: dict[str, Any], tmp_path: Path) -> None:
    unless = {"function": "price", "result": str(setting["arguments"][0])}
    nonce = nonce_of(chain)
    real, again = assert_check_mode_is_truthful("contract_transaction", {**setting, "unless": unless}, tmp_path)
    assert nonce_of(chain) == nonce + 1
    assert real["diff"]["after"] == {"price()": setting["arguments"][0]} == again["diff"]["before"]
    assert (again["transaction"], again["block"], again["events"]) == (None, None, [])
    several = {"function": "quote(string)", "arguments": ["x"], "result": [str(setting["arguments"][0]), "x"]}
    keyless = {**setting, "unless": several, "private_key": None, "keystore": "/absent", "password_file": "/absent"}
    keyless.pop("private_key")
    assert run_module("contract_transaction", keyless)["changed"] is False


def test_a_record_sends_once_and_another_call_anew(chain: Chain, setting: dict[str, Any], tmp_path: Path) -> None:
    nonce = nonce_of(chain)
    given = {**setting, "record_file": str(tmp_path / "records/price.json")}
    real, again = assert_check_mode_is_truthful("contract_transaction", given, tmp_path)
    assert {name: again[name] for name in ("transaction", "block", "events")} == {
        name: real[name] for name in ("transaction", "block", "events")
    }
    record = json.loads((tmp_path / "records/price.json").read_text())
    assert (record["transaction"], record["block"], record["raw"]) == (real["transaction"], real["block"], None)
    other, _ = assert_check_mode_is_truthful(
        "contract_transaction", {**given, "arguments": [next(NAMES) * 10]}, tmp_path
    )
    assert other["changed"] is True
    assert nonce_of(chain) == nonce + 2
    # A record of another chain, and one whose transaction this chain does not have.
    for lie in ({"genesis_hash": "0x" + "12" * 32}, {"transaction": "0x" + "12" * 32}):
        (tmp_path / "records/price.json").write_text(json.dumps({**record, **lie}))
        assert run_module("contract_transaction", given, check=True)["changed"] is True


@pytest.mark.parametrize(
    ("where", "after"),
    [("_send_once:_send", False), ("_send_once:_send", True), ("_contract_transaction:_require_success", False)],
)
def test_a_run_that_is_killed_is_finished_by_the_next(
    chain: Chain, setting: dict[str, Any], tmp_path: Path, *, where: str, after: bool
) -> None:
    nonce = nonce_of(chain)
    given = {**setting, "record_file": str(tmp_path / "price.json")}
    kill_module("contract_transaction", given, f"{BACKEND}.{where}", after=after)
    assert run_module("contract_transaction", given)["changed"] is True
    assert run_module("contract_transaction", given)["changed"] is False
    assert nonce_of(chain) == nonce + 1
    assert ask(setting, "price") == setting["arguments"][0]


def test_the_same_call_that_is_under_way_is_waited_for(chain: Chain, setting: dict[str, Any]) -> None:
    """The sealer rests until the second run has asked for what is under way."""
    nonce = nonce_of(chain)
    web3 = chain.node.rpc
    web3.call("miner_stop")
    asked: list[str] = []

    def heard(request: str) -> None:
        asked.append(request)
        if sum("eth_getTransactionCount" in one for one in asked) == 3:
            web3.call("miner_start")

    try:
        kill_module("contract_transaction", setting, f"{BACKEND}._send_once:_send", after=True)
        with unsteady(chain, heard=heard) as url:
            sent = run_module("contract_transaction", {**setting, "rpc_url": url})
    finally:
        web3.call("miner_start")
    assert sent["changed"] is True, sent
    assert sent["events"][0]["arguments"]["price"] == setting["arguments"][0]
    assert not any("eth_sendRawTransaction" in one for one in asked)
    assert nonce_of(chain) == nonce + 1


def test_what_fails_after_it_was_sent_is_told_with_its_reason(
    chain: Chain, tariff: dict[str, Any], compiled: dict[str, Any], tmp_path: Path
) -> None:
    """Somebody else's transaction comes first in the block, so that the price is another."""
    web3, other = chain.web3, Account.create()
    chain.wait([chain.give(other.address, 10**18)])
    contract = web3.eth.contract(tariff["address"], abi=of(compiled, "Tariff")["abi"])
    price = contract.functions.price().call()
    new = next(NAMES) * 10

    def heard(request: str) -> None:
        if "eth_sendRawTransaction" in request:
            dear = {"from": chain.admin.address, "gas": 100_000, "gasPrice": Wei(10**11)}
            contract.functions["raise"](price, new).transact(dear)

    record = tmp_path / "raise.json"
    with unsteady(chain, heard=heard) as url:
        given = {
            **tariff,
            "rpc_url": url,
            "private_key": Web3.to_hex(other.key),
            "function": "raise",
            "arguments": [price, new + 1],
            "confirmations": 1,
            "record_file": str(record),
        }
        answer = run_module("contract_transaction", given)
    sent = json.loads(record.read_text())["transaction"]
    assert answer["msg"].startswith(f"raise(uint256,uint256) of Tariff failed, in {sent} of block ")
    assert answer["msg"].endswith(": the price is another by now")
    again = run_module("contract_transaction", {**given, "rpc_url": chain.url, "arguments": [new, new + 1]})
    assert again["changed"] is True, again


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (
            {"arguments": [LIMIT + 1]},
            f"setPrice(uint256) of Tariff refuses: TooDear(limit: {LIMIT}, asked: {LIMIT + 1})",
        ),
        ({"arguments": [LIMIT + 1], "gas": 100_000}, f"refuses: TooDear(limit: {LIMIT}, asked: {LIMIT + 1})"),
        ({"private_key": "0x" + "11" * 32}, "setPrice(uint256) of Tariff refuses: only the owner sets the price"),
        ({"value_wei": 10**30}, "setPrice(uint256) of Tariff refuses: insufficient funds"),
        ({"value_wei": -1}, "value_wei cannot be -1; give 0 or more"),
        ({"confirmations": 0}, "confirmations cannot be 0; give 1 or more"),
        ({"gas": -1}, "gas cannot be -1; give 21000 or more"),
        ({"gas": 10**8}, "exceeds block gas limit"),
        ({"arguments": ["many"]}, "setPrice(uint256) of Tariff cannot take 'many' as asked (uint256); give a whole"),
        ({"arguments": []}, "setPrice(uint256) of Tariff takes 1 arguments, not 0; give asked (uint256)"),
        ({"function": "limit", "arguments": []}, "limit() of Tariff only reads; use contract_call"),
        ({"function": "nothing"}, "Tariff has no function nothing; it has asker(), limit()"),
        ({"address": "0x12"}, "Tariff cannot have '0x12' as its address (address); give 0x and 40 hex digits"),
        ({"address": "0x5AAeb6053F3E94C9b9A09f33669435E7Ef1BeAed"}, "because its checksum is wrong"),
        ({"address": None}, "Tariff cannot have None as its address (address)"),
        (
            {"address": "0x" + "11" * 20},
            "no contract stands at 0x1111111111111111111111111111111111111111; deploy Tariff",
        ),
        (
            {"unless": {"function": "setPrice", "result": 1}},
            "setPrice(uint256) of Tariff changes the contract; use contract_transaction",
        ),
        ({"unless": {"function": "price", "result": "x"}}, "the result of price() of Tariff cannot take 'x'"),
        ({"record_file": "/proc/price.json"}, "/proc/price.json cannot be written"),
        ({"record_file": "/"}, "/ cannot be read: Is a directory"),
        ({"artifact_file": "/absent"}, "the artefact /absent cannot be read"),
        ({"chain_id": 1}, "is on chain 1337, not on 1; correct one of them"),
        ({"rpc_url": "http://127.0.0.1:1", "timeout_s": 0}, "no Ethereum node answers at http://127.0.0.1:1"),
        ({"private_key": "secret"}, "private_key is no key; give 0x and 64 hex digits"),
    ],
)
def test_what_cannot_be_sent_is_refused(
    chain: Chain, setting: dict[str, Any], tmp_path: Path, wrong: dict[str, Any], words: str
) -> None:
    nonce = nonce_of(chain)
    given = {**setting, "record_file": str(tmp_path / "price.json"), **wrong}
    assert_refused("contract_transaction", given, tmp_path, words)
    assert nonce_of(chain) == nonce


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (
            {"function": "setPrice", "arguments": [1]},
            "setPrice(uint256) of Tariff changes the contract; use contract_t",
        ),
        ({"function": "quote", "arguments": ["1"]}, "Tariff has several functions quote; name one of quote("),
        ({"function": "name", "arguments": [2]}, "name(uint256) of Tariff refuses: an index out of range"),
        ({"function": "name(uint8)", "arguments": [2]}, "Tariff has no function name(uint8); it has"),
        ({"block": "yesterday"}, "yesterday is no block; give a number, or one of latest, earliest, pending"),
        ({"block": "99999999"}, "refuses: "),
        ({"block": "0"}, "no contract stands at "),
        ({"sender": "me"}, "the call cannot have 'me' as sender (address)"),
        ({"abi": [], "artifact_file": None}, "has no function limit; it has none"),
        ({"abi": [{}], "artifact_file": None}, "the abi of the artefact is not a list of functions, events and errors"),
        ({"artifact_file": "/dev/null"}, "the artefact /dev/null cannot be read"),
        ({"artifact_file": None}, "one of the following is required: abi, artifact, artifact_file"),
    ],
)
def test_what_cannot_be_asked_is_refused(
    tariff: dict[str, Any], tmp_path: Path, wrong: dict[str, Any], words: str
) -> None:
    given = {name: value for name, value in {**tariff, "function": "limit", **wrong}.items() if value is not None}
    assert_refused("contract_call", given, tmp_path, words)


def test_the_interface_of_another_contract_is_suspected(chain: Chain, tariff: dict[str, Any], tmp_path: Path) -> None:
    output = [{"type": "string", "name": ""}]
    abi = [{"type": "function", "name": "limit", "inputs": [], "outputs": output, "stateMutability": "view"}]
    given = {"rpc_url": chain.url, "address": tariff["address"], "abi": abi, "function": "limit"}
    assert_refused("contract_call", given, tmp_path, f"what {tariff['address']} answers is not what limit() of the")


@pytest.mark.parametrize("module", ["contract_call", "contract_transaction"])
def test_a_node_that_stops_answering_ends_in_a_sentence(
    chain: Chain, setting: dict[str, Any], tmp_path: Path, module: str
) -> None:
    asked = {**setting, "function": "limit", "arguments": []}
    given = {"contract_call": asked, "contract_transaction": setting}[module]
    if module == "contract_call":
        given.pop("private_key")
        given.pop("confirmations")
    with unsteady(chain, lambda number: number <= 2) as url:
        words = [f"the node at {url} stopped answering: ", "; run this again"]
        assert_refused(module, {**given, "rpc_url": url}, tmp_path, *words)
