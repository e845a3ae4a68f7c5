# SPDX-License-Identifier: GPL-3.0-or-later
"""energy_market on a real chain."""

import json
import struct
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.smartenergy.clique.plugins.module_utils import _energy_market as backend
from eth_account import Account
from eth_account.signers.local import LocalAccount
from support.chain import CHECKOUT, KINDS, Chain, unsteady, write_keystore
from support.modules import assert_check_mode_is_truthful, assert_refused, run_module
from support.network import wait_until
from web3.contract import Contract
from web3.contract.contract import ContractFunction
from web3.types import TxParams

ETHER = 10**18


def set_up(chain: Chain, market: Contract | None = None) -> dict[str, Any]:
    """A market that stands and is empty, with an operator, a meter and five actors to come."""
    market = market or chain.empty_market()
    return {
        "keystore": str(chain.keystore),
        "password_file": str(chain.password_file),
        "rpc_url": chain.url,
        "address": market.address,
        "abi": market.abi,
        "operator": Account.create().address,
        "meter": Account.create().address,
        "operator_gas_wei": 2 * ETHER,
        "actors": [
            {"name": name, "kind": kind, "address": Account.create().address, "deposit_wei": 100 * ETHER}
            for name, kind in KINDS.items()
        ],
    }


@pytest.fixture
def arguments(chain: Chain) -> dict[str, Any]:
    return set_up(chain)


@pytest.fixture(scope="module")
def untouched(chain: Chain) -> dict[str, Any]:
    """The same for all tests that send nothing."""
    return set_up(chain)


def contract(chain: Chain, arguments: dict[str, Any]) -> Contract:
    market: Contract = chain.web3.eth.contract(arguments["address"], abi=arguments["abi"])
    return market


def send(chain: Chain, function: ContractFunction) -> None:
    """As the admin, whom the node has unlocked."""
    chain.wait([function.transact({"from": chain.admin.address})])


def make(chain: Chain, name: str, *arguments: Any) -> Contract:
    """Deploy one of the collection's contracts."""
    artifact = json.loads((CHECKOUT / f"contracts/artifacts/{name}.json").read_text())
    constructor = chain.web3.eth.contract(abi=artifact["abi"], bytecode=artifact["bytecode"]).constructor(*arguments)
    receipt = chain.wait([constructor.transact({"from": chain.admin.address})])
    assert receipt["contractAddress"]
    return chain.web3.eth.contract(receipt["contractAddress"], abi=artifact["abi"])


def make_factory(chain: Chain, market: str) -> str:
    return str(make(chain, "EnergyAgreementFactory", market).address)


def test_a_market_is_set_up_with_one_burst_of_transactions(
    chain: Chain, arguments: dict[str, Any], tmp_path: Path
) -> None:
    arguments["agreement_factory"] = make_factory(chain, arguments["address"])
    real, again = assert_check_mode_is_truthful("energy_market", arguments, tmp_path)
    market, web3 = contract(chain, arguments), chain.web3
    for place, actor in enumerate(arguments["actors"]):
        assert market.functions.actorAt(place).call() == [actor["address"], place, actor["name"]]
        assert market.functions.weiOf(actor["address"]).call() == 100 * ETHER
    assert market.functions.isOperator(arguments["operator"]).call() is True
    assert market.functions.meter().call() == arguments["meter"]
    assert market.functions.agreementFactory().call() == arguments["agreement_factory"]
    assert [web3.eth.get_balance(arguments[name]) for name in ("operator", "meter")] == [2 * ETHER] * 2
    assert again["market"] == real["market"]
    assert len(real["transactions"]) == 11
    blocks = [web3.eth.get_transaction(sent)["blockNumber"] for sent in real["transactions"]]
    assert max(blocks) - min(blocks) <= 1, "a block may come while they are sent, but none is waited for"


def test_only_what_is_missing_is_sent(chain: Chain, arguments: dict[str, Any], tmp_path: Path) -> None:
    few = {**arguments, "actors": arguments["actors"][:2]}
    run_module("energy_market", few)
    more = [dict(actor) for actor in arguments["actors"][:3]]
    more[0]["deposit_wei"] += 5
    more[1]["deposit_wei"] -= 5
    real, _ = assert_check_mode_is_truthful("energy_market", {**arguments, "actors": more}, tmp_path)
    assert len(real["transactions"]) == 3
    balance = contract(chain, arguments).functions.weiOf
    assert balance(more[0]["address"]).call() == 100 * ETHER + 5
    assert balance(more[1]["address"]).call() == 100 * ETHER


def test_the_operator_is_topped_up_below_half(arguments: dict[str, Any], tmp_path: Path) -> None:
    few = {**arguments, "actors": []}
    run_module("energy_market", few)
    enough = run_module("energy_market", {**few, "operator_gas_wei": 4 * ETHER})
    assert enough["changed"] is False
    real, _ = assert_check_mode_is_truthful("energy_market", {**few, "operator_gas_wei": 4 * ETHER + 2}, tmp_path)
    assert real["market"]["operator_wei"] == 4 * ETHER + 2


def test_an_actor_without_a_name_in_ascii_fits_its_gas(arguments: dict[str, Any]) -> None:
    actor = {**arguments["actors"][0], "name": "Wärme ✓ " * 40}
    answer = run_module("energy_market", {**arguments, "actors": [actor]})
    assert not answer.get("failed"), answer


@pytest.mark.parametrize(
    ("early", "words"),
    [
        ({"address": None}, "after the addresses"),
        ({"operator": None}, "after the addresses"),
        ({"meter": None}, "after the addresses"),
        ({"agreement_factory": "0x" + "12" * 20}, "after the agreement factory is deployed"),
        ({"rpc_url": "http://127.0.0.1:1"}, "after a node answers"),
        ({"address": "0x" + "12" * 20}, "after the market is deployed"),
    ],
)
def test_check_mode_says_what_has_to_be_there_first(
    untouched: dict[str, Any], early: dict[str, Any], words: str
) -> None:
    answer = run_module("energy_market", {**untouched, **early}, check=True)
    assert answer["changed"] is True
    assert words in answer["message"]


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"address": None}, ["an address is missing"]),
        ({"rpc_url": "http://127.0.0.1:1", "timeout_s": 0}, ["no Ethereum node answers"]),
        ({"address": "0x" + "12" * 20}, ["no market stands at"]),
        ({"meter": None}, ["an address is missing"]),
        ({"agreement_factory": "0x" + "12" * 20}, ["no agreement factory stands at 0x12"]),
        ({"operator": "0x12"}, ["the operator '0x12' is not an address"]),
        ({"keystore": "/absent"}, ["/absent cannot be read"]),
        ({"operator_gas_wei": 10**30}, ["and needs"]),
    ],
)
def test_what_cannot_be_is_refused(
    untouched: dict[str, Any], tmp_path: Path, wrong: dict[str, Any], words: list[str]
) -> None:
    assert_refused("energy_market", {**untouched, **wrong}, tmp_path, *words)


def test_an_actor_stays_what_it_is(arguments: dict[str, Any], tmp_path: Path) -> None:
    run_module("energy_market", arguments)
    actor = {**arguments["actors"][0], "kind": "PV"}
    words = ["is registered as Load load and cannot become PV load"]
    assert_refused("energy_market", {**arguments, "actors": [actor]}, tmp_path, *words)


def test_a_market_keeps_its_agreement_factory(chain: Chain, arguments: dict[str, Any], tmp_path: Path) -> None:
    own, other = (make_factory(chain, market) for market in (arguments["address"], chain.admin.address))
    few = {**arguments, "actors": [], "agreement_factory": other}
    words = [f"{other} makes no agreements for the market {arguments['address']}"]
    assert_refused("energy_market", few, tmp_path, *words)
    assert_refused("energy_market", {**few, "agreement_factory": arguments["address"]}, tmp_path, "makes no agreements")
    run_module("energy_market", {**few, "agreement_factory": own})
    kept = run_module("energy_market", {**few, "agreement_factory": None})
    assert (kept["changed"], kept["market"]["agreement_factory"]) == (False, own)
    assert_refused("energy_market", few, tmp_path, f"has the agreement factory {own} for ever")


def test_the_meter_gives_way_to_another_one(chain: Chain, arguments: dict[str, Any], tmp_path: Path) -> None:
    few = {**arguments, "actors": []}
    run_module("energy_market", few)
    swapped = {**few, "operator": few["meter"], "meter": Account.create().address}
    real, _ = assert_check_mode_is_truthful("energy_market", swapped, tmp_path)
    assert len(real["transactions"]) == 3
    assert contract(chain, arguments).functions.meter().call() == swapped["meter"]
    words = [f"{few['operator']} may settle batches and cannot be the meter as well"]
    assert_refused("energy_market", {**swapped, "meter": few["operator"]}, tmp_path, *words)


def test_an_operator_that_was_rotated_away_is_refused(chain: Chain, arguments: dict[str, Any], tmp_path: Path) -> None:
    few = {**arguments, "actors": []}
    run_module("energy_market", few)
    new = Account.create().address
    send(chain, contract(chain, arguments).functions.rotateOperator(few["operator"], new))
    assert_refused("energy_market", few, tmp_path, f"{new} came in the place of the operator {few['operator']}")
    answer = run_module("energy_market", {**few, "operator": new})
    assert len(answer["transactions"]) == 1, "it is topped up"


def test_an_actor_that_was_replaced_is_named(chain: Chain, tmp_path: Path) -> None:
    delay_s = 3
    market, new = chain.empty_market((delay_s, delay_s, delay_s)), Account.create().address
    arguments = {**set_up(chain, market), "operator_gas_wei": 0}
    run_module("energy_market", arguments)
    actor = arguments["actors"][0]
    send(chain, market.functions.requestReplacement(actor["address"], new))
    due_s = chain.block_time_s() + delay_s
    wait_until("the replacement to be due", lambda: chain.block_time_s() >= due_s, timeout_s=30)
    send(chain, market.functions.replaceActor(actor["address"]))
    assert_refused("energy_market", arguments, tmp_path, f"{new} came in the place of {actor['address']}", "give load")
    again = run_module("energy_market", {**arguments, "actors": [{**actor, "address": new}]})
    assert again["changed"] is False, "what was deposited before counts"


def settle(chain: Chain, arguments: dict[str, Any], operator: LocalAccount, wei_per_wh: int) -> None:
    """Let pv sell 1,000 Wh to load, in the next slot."""
    market, web3 = contract(chain, arguments), chain.web3
    seq = market.functions.nextSeq(operator.address).call()
    load, pv = (actor["address"] for actor in arguments["actors"][:2])
    accounts = sorted(bytes.fromhex(account[2:]) for account in (load, pv))
    seller = accounts.index(bytes.fromhex(pv[2:]))
    batch = struct.pack(">IH", 1_900_000 + seq, 2) + b"".join(accounts)
    batch += struct.pack(">HHIqH", seller, 1 - seller, 1000, wei_per_wh, 0)
    details: TxParams = {"from": operator.address, "nonce": web3.eth.get_transaction_count(operator.address)}
    sent: Any = market.functions.settleBatch(seq, bytes(32), batch).build_transaction(details)
    chain.wait([web3.eth.send_raw_transaction(operator.sign_transaction(sent).raw_transaction)])


def test_an_actor_whose_money_is_soon_gone_is_warned_of(
    chain: Chain, arguments: dict[str, Any], tmp_path: Path
) -> None:
    operator: LocalAccount = Account.create()
    arguments["operator"] = operator.address
    first = run_module("energy_market", arguments)
    assert "warnings" not in first
    for wei_per_wh in (ETHER // 1000, 3 * ETHER // 1000):
        settle(chain, arguments, operator, wei_per_wh)
    for check in (False, True):
        answer = run_module("energy_market", {**arguments, "warn_below_slots": 49}, check=check)
        (warning,) = (summary["event"]["msg"] for summary in answer["warnings"])
        assert warning.startswith(f"load has {96 * ETHER} wei left, which is gone in 48 slots"), warning
        assert f" {2 * ETHER} wei a slot" in warning
    assert "warnings" not in run_module("energy_market", {**arguments, "warn_below_slots": 48})
    assert "warnings" not in run_module("energy_market", {**arguments, "warn_below_slots": 0})
    more = [{**arguments["actors"][0], "deposit_wei": 200 * ETHER}]
    real, _ = assert_check_mode_is_truthful(
        "energy_market", {**arguments, "warn_below_slots": 49, "actors": more}, tmp_path
    )
    assert "warnings" not in real, "what it deposits counts"


def test_only_so_much_of_the_past_is_read(
    chain: Chain, arguments: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    operator: LocalAccount = Account.create()
    run_module("energy_market", {**arguments, "operator": operator.address})
    for wei_per_wh in range(1, 4):
        settle(chain, arguments, operator, wei_per_wh)
    market = contract(chain, arguments)

    def prices() -> list[int]:
        return [trade.price_wei_per_wh for trade in backend.recent_trades(market, from_block=0)]

    monkeypatch.setattr(backend, "FIRST_BLOCKS", 1)
    assert prices() == [3, 2, 1]
    monkeypatch.setattr(backend, "RECENT_BATCHES", 2)
    assert prices() == [3, 2]
    monkeypatch.setattr(backend, "RECENT_BYTES", 1)
    assert prices() == [3]
    assert backend.recent_trades(market, from_block=market.w3.eth.block_number + 1) == []


def test_only_the_admin_sets_it_up(chain: Chain, untouched: dict[str, Any], tmp_path: Path) -> None:
    stranger = Account.create()
    keystore, password_file = tmp_path / "keystore", tmp_path / "password"
    write_keystore(stranger, keystore, password_file)
    wrong = {**untouched, "keystore": str(keystore), "password_file": str(password_file)}
    assert_refused("energy_market", wrong, tmp_path, chain.admin.address, stranger.address)


def test_a_node_that_was_just_started_is_waited_for(chain: Chain, untouched: dict[str, Any]) -> None:
    with unsteady(chain, lambda number: number > 3) as url:
        answer = run_module("energy_market", {**untouched, "actors": [], "operator_gas_wei": 10**30, "rpc_url": url})
    assert "and needs" in answer["msg"]


@pytest.mark.parametrize("answers", [1, 3, 5])
def test_a_node_that_stops_answering_ends_in_a_sentence(
    chain: Chain, untouched: dict[str, Any], tmp_path: Path, answers: int
) -> None:
    with unsteady(chain, lambda number: number <= answers) as url:
        words = [f"the node at {url} stopped answering: ", "; run this again"]
        assert_refused("energy_market", {**untouched, "rpc_url": url}, tmp_path, *words)
