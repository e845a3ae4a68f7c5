# SPDX-License-Identifier: GPL-3.0-or-later
"""energy_market on a real chain."""

from pathlib import Path
from typing import Any

import pytest
from eth_account import Account
from support.chain import KINDS, Chain, unsteady, write_keystore
from support.modules import assert_check_mode_is_truthful, assert_refused, run_module
from web3.contract import Contract

ETHER = 10**18


def set_up(chain: Chain) -> dict[str, Any]:
    """A market that stands and is empty, with an operator and five actors to come."""
    market = chain.empty_market()
    return {
        "keystore": str(chain.keystore),
        "password_file": str(chain.password_file),
        "rpc_url": chain.url,
        "address": market.address,
        "abi": market.abi,
        "operator": Account.create().address,
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


def test_a_market_is_set_up_in_one_block(chain: Chain, arguments: dict[str, Any], tmp_path: Path) -> None:
    real, again = assert_check_mode_is_truthful("energy_market", arguments, tmp_path)
    market, web3 = contract(chain, arguments), chain.web3
    for place, actor in enumerate(arguments["actors"]):
        assert market.functions.actorAt(place).call() == [actor["address"], place, actor["name"]]
        assert market.functions.balanceOf(actor["address"]).call() == 100 * ETHER
    assert market.functions.isOperator(arguments["operator"]).call() is True
    assert web3.eth.get_balance(arguments["operator"]) == 2 * ETHER
    assert again["market"] == real["market"]
    assert len(real["transactions"]) == 8
    assert len({web3.eth.get_transaction(sent)["blockNumber"] for sent in real["transactions"]}) == 1


def test_only_what_is_missing_is_sent(chain: Chain, arguments: dict[str, Any], tmp_path: Path) -> None:
    few = {**arguments, "actors": arguments["actors"][:2]}
    run_module("energy_market", few)
    more = [dict(actor) for actor in arguments["actors"][:3]]
    more[0]["deposit_wei"] += 5
    more[1]["deposit_wei"] -= 5
    real, _ = assert_check_mode_is_truthful("energy_market", {**arguments, "actors": more}, tmp_path)
    assert len(real["transactions"]) == 3
    balance = contract(chain, arguments).functions.balanceOf
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
        ({"operator": "0x12"}, ["0x12 is not an address; correct that of the operator"]),
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
