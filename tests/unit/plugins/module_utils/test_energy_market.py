# SPDX-License-Identifier: GPL-3.0-or-later
"""What has to be sent to a market, given what it is and what it is to be."""

import json
from dataclasses import replace
from typing import Any

import pytest
from ansible_collections.smartenergy.clique.plugins.module_utils._chain import Call
from ansible_collections.smartenergy.clique.plugins.module_utils._energy_market import (
    KINDS,
    Actor,
    MarketError,
    State,
    Wanted,
    calls,
    wanted_from,
    wanted_state,
)
from hypothesis import given
from hypothesis import strategies as st
from support.chain import ARTIFACT
from web3 import Web3
from web3.contract import Contract

MARKET: Contract = Web3().eth.contract(
    Web3.to_checksum_address("0x" + "ee" * 20), abi=json.loads(ARTIFACT.read_text())["abi"]
)
OPERATOR, ANN, BOB, CAT = (Web3.to_checksum_address("0x" + f"{number:02x}" * 20) for number in (0x0F, 0xA1, 0xB2, 0xC3))
LOAD, PV, GRID = Actor(ANN, "load", "Load", 10), Actor(BOB, "pv", "PV", 20), Actor(CAT, "grid", "Grid", 0)
APPOINT = f"appoint the operator {OPERATOR}"
EMPTY = State((), operator_allowed=False, operator_wei=0)


def become(now: State, todo: list[Call]) -> State:
    """What the contract makes of these calls."""
    actors = {actor.account: actor for actor in now.actors}
    allowed, operator_wei = now.operator_allowed, now.operator_wei
    for call in todo:
        if not call.data:
            assert call.to == OPERATOR
            operator_wei += call.value_wei
            continue
        assert call.to == MARKET.address
        function, arguments = MARKET.decode_function_input(call.data)
        match function.fn_name:
            case "registerActors":
                for row in arguments["actors"]:
                    assert row["account"] not in actors
                    actors[row["account"]] = Actor(row["account"], row["name"], KINDS[row["kind"]], 0)
            case "setOperator":
                allowed = list(arguments.values()) == [OPERATOR, True]
            case "depositFor":
                (account,) = arguments.values()
                actors[account] = replace(actors[account], deposited_wei=actors[account].deposited_wei + call.value_wei)
    return State(tuple(actors.values()), allowed, operator_wei)


ACTORS = st.lists(
    st.builds(
        lambda actor, wei: replace(actor, deposited_wei=wei), st.sampled_from([LOAD, PV, GRID]), st.integers(0, 9)
    ),
    unique_by=lambda actor: actor.account,
).map(tuple)


@given(
    st.builds(State, ACTORS, st.booleans(), st.integers(0, 9)),
    st.builds(Wanted, ACTORS, st.just(OPERATOR), st.integers(0, 9)),
)
def test_what_is_sent_leads_to_what_is_wanted(now: State, wanted: Wanted) -> None:
    then = wanted_state(now, wanted)
    todo = calls(MARKET, now, then, OPERATOR)
    assert become(now, todo) == then
    deposits = {actor.account: actor.deposited_wei for actor in then.actors}
    assert all(deposits[actor.account] >= actor.deposited_wei for actor in wanted.actors)
    assert then.operator_allowed
    assert 2 * then.operator_wei >= wanted.operator_gas_wei
    assert calls(MARKET, then, wanted_state(then, wanted), OPERATOR) == []
    assert all(call.value_wei or call.data for call in todo)


@pytest.mark.parametrize(
    ("now", "purposes"),
    [
        (EMPTY, ["register load, pv", APPOINT, "deposit for load", "deposit for pv", "top up the operator"]),
        (State((LOAD, PV), operator_allowed=True, operator_wei=50), []),
        (State((LOAD, PV), operator_allowed=True, operator_wei=49), ["top up the operator"]),
        (State((LOAD, PV), operator_allowed=False, operator_wei=900), [APPOINT]),
        (State((GRID, LOAD), operator_allowed=True, operator_wei=50), ["register pv", "deposit for pv"]),
        (State((LOAD, replace(PV, deposited_wei=5)), operator_allowed=True, operator_wei=50), ["deposit for pv"]),
        (State((replace(LOAD, deposited_wei=99), PV), operator_allowed=True, operator_wei=50), []),
    ],
)
def test_only_what_is_missing_is_sent(now: State, purposes: list[str]) -> None:
    then = wanted_state(now, Wanted((LOAD, PV), OPERATOR, 100))
    assert [call.purpose for call in calls(MARKET, now, then, OPERATOR)] == purposes


def test_the_difference_is_what_is_deposited() -> None:
    now = State((LOAD,), operator_allowed=True, operator_wei=0)
    then = wanted_state(now, Wanted((replace(LOAD, deposited_wei=17),), OPERATOR, 0))
    assert [call.value_wei for call in calls(MARKET, now, then, OPERATOR)] == [7]


@pytest.mark.parametrize("other", [replace(LOAD, name="house"), replace(LOAD, kind="Grid")])
def test_an_actor_stays_what_it_is(other: Actor) -> None:
    with pytest.raises(MarketError, match=f"{ANN} is registered as Load load and cannot become {other.kind}"):
        wanted_state(replace(EMPTY, actors=(LOAD,)), Wanted((other,), OPERATOR, 0))


def test_two_actors_do_not_share_an_account() -> None:
    with pytest.raises(MarketError, match="two actors have one account; each needs its own"):
        wanted_state(EMPTY, Wanted((LOAD, replace(PV, account=ANN)), OPERATOR, 0))


def row(**change: Any) -> dict[str, Any]:
    return {"name": "pv", "kind": "PV", "address": BOB.lower(), "deposit_wei": 20, **change}


def test_addresses_may_be_written_in_any_case() -> None:
    assert wanted_from(OPERATOR.lower(), 5, [row()]) == Wanted((PV,), OPERATOR, 5)


@pytest.mark.parametrize(
    ("operator", "actor", "words"),
    [
        ("0x12", row(), "0x12 is not an address; correct that of the operator"),
        (OPERATOR, row(address="pv"), "pv is not an address; correct that of pv"),
    ],
)
def test_what_is_no_address_is_refused(operator: str, actor: dict[str, Any], words: str) -> None:
    with pytest.raises(MarketError, match=words):
        wanted_from(operator, 5, [actor])


def test_what_is_shown_has_names() -> None:
    assert State((PV,), operator_allowed=True, operator_wei=3).shown() == {
        "actors": {"pv": {"address": BOB, "kind": "PV", "deposited_wei": 20}},
        "operator_allowed": True,
        "operator_wei": 3,
    }
