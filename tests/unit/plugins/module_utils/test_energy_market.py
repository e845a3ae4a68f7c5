# SPDX-License-Identifier: GPL-3.0-or-later
"""What has to be sent to a market, given what it is and what it is to be."""

import json
from dataclasses import replace
from typing import Any

import pytest
from ansible_collections.smartenergy.clique.plugins.module_utils._chain import Call
from ansible_collections.smartenergy.clique.plugins.module_utils._energy_market import (
    KINDS,
    LARGEST_WEI,
    Actor,
    MarketError,
    State,
    Trade,
    Wanted,
    calls,
    wanted_from,
    wanted_state,
    warnings,
)
from ansible_collections.smartenergy.clique.plugins.module_utils._errors import CliqueError
from hypothesis import given
from hypothesis import strategies as st
from support.chain import ARTIFACT
from web3 import Web3
from web3.contract import Contract

MARKET: Contract = Web3().eth.contract(
    Web3.to_checksum_address("0x" + "ee" * 20), abi=json.loads(ARTIFACT.read_text())["abi"]
)
OPERATOR, METER, ADMIN, FACTORY, ANN, BOB, CAT, DAN = (
    Web3.to_checksum_address("0x" + f"{number:02x}" * 20) for number in (0x0F, 0x1E, 0x2D, 0x3C, 0xA1, 0xB2, 0xC3, 0xD4)
)
LOAD, PV, GRID = Actor(ANN, "load", "Load", 10), Actor(BOB, "pv", "PV", 20), Actor(CAT, "grid", "Grid", 0)
APPOINT, MEASURE, AGREE = (
    f"appoint the operator {OPERATOR}",
    f"appoint the meter {METER}",
    f"let {FACTORY} make agreements",
)
EMPTY = State((), False, 0, meter=None, meter_wei=0, agreement_factory=None, admin=ADMIN)
READY = State((LOAD, PV), True, 50, meter=METER, meter_wei=50, agreement_factory=FACTORY, admin=ADMIN)
WANTED = Wanted((LOAD, PV), OPERATOR, METER, 100, FACTORY)


def become(now: State, todo: list[Call]) -> State:
    """What the contract makes of these calls."""
    actors = {actor.account: actor for actor in now.actors}
    for call in todo:
        if not call.data:
            assert call.to in {OPERATOR, METER}
            key = "operator_wei" if call.to == OPERATOR else "meter_wei"
            now = replace(now, **{key: getattr(now, key) + call.value_wei})
            continue
        assert call.to == MARKET.address
        function, arguments = MARKET.decode_function_input(call.data)
        match function.fn_name:
            case "registerActors":
                for row in arguments["actors"]:
                    assert row["account"] not in actors
                    actors[row["account"]] = Actor(row["account"], row["name"], KINDS[row["kind"]], 0)
            case "setMeter":
                now = replace(now, meter=arguments["meter_"])
            case "setAgreementFactory":
                assert now.agreement_factory is None
                now = replace(now, agreement_factory=arguments["factory"])
            case "setOperator":
                assert now.meter != OPERATOR
                now = replace(now, operator_allowed=list(arguments.values()) == [OPERATOR, True])
            case "depositFor":
                (account,) = arguments.values()
                before, wei = actors[account], call.value_wei
                actors[account] = replace(
                    before, deposited_wei=before.deposited_wei + wei, balance_wei=before.balance_wei + wei
                )
    return replace(now, actors=tuple(actors.values()))


ACTORS = st.lists(
    st.builds(
        lambda actor, wei: replace(actor, deposited_wei=wei), st.sampled_from([LOAD, PV, GRID]), st.integers(0, 9)
    ),
    unique_by=lambda actor: actor.account,
).map(tuple)


@given(
    st.builds(
        State,
        ACTORS,
        st.booleans(),
        st.integers(0, 9),
        meter=st.sampled_from([None, METER, DAN]),
        meter_wei=st.integers(0, 9),
        agreement_factory=st.sampled_from([None, FACTORY]),
        admin=st.just(ADMIN),
    ),
    st.builds(Wanted, ACTORS, st.just(OPERATOR), st.just(METER), st.integers(0, 9), st.sampled_from([None, FACTORY])),
)
def test_what_is_sent_leads_to_what_is_wanted(now: State, wanted: Wanted) -> None:
    then = wanted_state(now, wanted)
    todo = calls(MARKET, now, then, wanted)
    assert become(now, todo) == then
    deposits = {actor.account: actor.deposited_wei for actor in then.actors}
    assert all(deposits[actor.account] >= actor.deposited_wei for actor in wanted.actors)
    assert then.operator_allowed
    assert then.meter == METER
    assert then.agreement_factory == (wanted.agreement_factory or now.agreement_factory)
    assert 2 * min(then.operator_wei, then.meter_wei) >= wanted.gas_wei
    assert calls(MARKET, then, wanted_state(then, wanted), wanted) == []
    assert all(call.value_wei or call.data for call in todo)


@pytest.mark.parametrize(
    ("now", "purposes"),
    [
        (
            EMPTY,
            [
                *("register load, pv", MEASURE, AGREE, APPOINT, "deposit for load", "deposit for pv"),
                *("top up the operator", "top up the meter"),
            ],
        ),
        (READY, []),
        (replace(READY, operator_wei=49), ["top up the operator"]),
        (replace(READY, meter_wei=49, operator_wei=900), ["top up the meter"]),
        (replace(READY, operator_allowed=False), [APPOINT]),
        (replace(READY, operator_allowed=False, meter=OPERATOR), [MEASURE, APPOINT]),
        (replace(READY, agreement_factory=None), [AGREE]),
        (replace(READY, actors=(GRID, LOAD)), ["register pv", "deposit for pv"]),
        (replace(READY, actors=(LOAD, replace(PV, deposited_wei=5))), ["deposit for pv"]),
        (replace(READY, actors=(replace(LOAD, deposited_wei=99), PV)), []),
    ],
)
def test_only_what_is_missing_is_sent(now: State, purposes: list[str]) -> None:
    then = wanted_state(now, WANTED)
    assert [call.purpose for call in calls(MARKET, now, then, WANTED)] == purposes


def test_the_difference_is_what_is_deposited() -> None:
    wanted = replace(WANTED, actors=(replace(LOAD, deposited_wei=17), PV))
    then = wanted_state(READY, wanted)
    assert [call.value_wei for call in calls(MARKET, READY, then, wanted)] == [7]


def test_many_actors_are_not_registered_in_one_transaction() -> None:
    many = tuple(
        Actor(Web3.to_checksum_address(f"0x{number:040x}"), f"house {number}", "Load", 0) for number in range(1, 102)
    )
    wanted = replace(WANTED, actors=many)
    todo = calls(MARKET, EMPTY, wanted_state(EMPTY, wanted), wanted)
    gas = [call.gas for call in todo if call.purpose.startswith("register")]
    assert len(gas) == 3
    assert max(gas) < 10_000_000


def test_an_agreement_factory_that_is_not_given_stays() -> None:
    wanted = replace(WANTED, agreement_factory=None)
    assert wanted_state(READY, wanted) == READY
    assert wanted_state(replace(READY, agreement_factory=None), wanted).agreement_factory is None


@pytest.mark.parametrize("other", [replace(LOAD, name="house"), replace(LOAD, kind="Grid")])
def test_an_actor_stays_what_it_is(other: Actor) -> None:
    with pytest.raises(MarketError, match=f"{ANN} is registered as Load load and cannot become {other.kind}"):
        wanted_state(READY, replace(WANTED, actors=(other,)))


@pytest.mark.parametrize(
    ("now", "wanted", "words"),
    [
        (EMPTY, replace(WANTED, actors=(LOAD, replace(PV, account=ANN))), f"load and pv have one account, {ANN}; each"),
        (EMPTY, replace(WANTED, meter=OPERATOR), f"the operator and the meter have one account, {OPERATOR}; each"),
        (EMPTY, replace(WANTED, operator=ADMIN), f"the admin and the operator have one account, {ADMIN}; each"),
        (EMPTY, replace(WANTED, meter=ANN), f"the meter and load have one account, {ANN}; each"),
        (READY, replace(WANTED, actors=(), operator=BOB), f"the operator and pv have one account, {BOB}; each"),
    ],
)
def test_nobody_has_the_account_of_another_one(now: State, wanted: Wanted, words: str) -> None:
    with pytest.raises(MarketError, match=words):
        wanted_state(now, wanted)


@pytest.mark.parametrize(
    ("now", "wanted", "words"),
    [
        ({"meter_settles": True}, {}, f"{METER} may settle batches and cannot be the meter as well"),
        ({"rotated": {OPERATOR: CAT, CAT: DAN}}, {}, f"{DAN} came in the place of the operator {OPERATOR}"),
        ({"agreement_factory": DAN}, {}, f"has the agreement factory {DAN} for ever, and {FACTORY} cannot"),
        (
            {"replaced": {ANN: CAT, CAT: DAN}, "actors": (replace(LOAD, account=DAN), PV)},
            {},
            f"{DAN} came in the place of {ANN} in the market; give load that address",
        ),
        (
            {"actors": (replace(LOAD, balance_wei=LARGEST_WEI), PV)},
            {"actors": (replace(LOAD, deposited_wei=11),)},
            f"load has {LARGEST_WEI} wei, and with 1 more",
        ),
    ],
)
def test_what_the_market_would_refuse_is_refused_before(
    now: dict[str, Any], wanted: dict[str, Any], words: str
) -> None:
    with pytest.raises(MarketError, match=words):
        wanted_state(replace(READY, **now), replace(WANTED, **wanted))


def test_a_replaced_actor_is_known_by_its_new_account() -> None:
    now = replace(READY, replaced={ANN: DAN}, actors=(replace(LOAD, account=DAN), PV))
    assert wanted_state(now, replace(WANTED, actors=(replace(LOAD, account=DAN), PV))) == now


def row(**change: Any) -> dict[str, Any]:
    return {"name": "pv", "kind": "PV", "address": BOB.lower(), "deposit_wei": 20, **change}


def test_addresses_may_be_written_in_any_case() -> None:
    wanted = wanted_from(OPERATOR.lower(), METER.lower(), FACTORY.lower(), 5, [row()])
    assert wanted == Wanted((PV,), OPERATOR, METER, 5, FACTORY)
    assert wanted_from(OPERATOR, METER, None, 5, []).agreement_factory is None


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"operator": "0x12"}, "the operator '0x12' is not an address"),
        ({"meter": "0x" + "00" * 20}, "0x0+ is nobody's address; correct that of the meter"),
        ({"agreement_factory": "it"}, "the agreement factory 'it' is not an address"),
        ({"actors": [row(address="pv")]}, "pv 'pv' is not an address"),
        ({"actors": [row(deposit_wei=2**96)]}, f"pv cannot have a deposit of {2**96} wei; give it 0 to {2**96 - 1}"),
        ({"actors": [row(deposit_wei=-1)]}, "pv cannot have a deposit of -1 wei"),
    ],
)
def test_what_cannot_be_is_refused(change: dict[str, Any], words: str) -> None:
    given: dict[str, Any] = {
        "operator": OPERATOR,
        "meter": METER,
        "agreement_factory": None,
        "gas_wei": 5,
        "actors": [],
    }
    with pytest.raises(CliqueError, match=words):
        wanted_from(**{**given, **change})


def test_what_is_shown_has_names() -> None:
    assert replace(READY, actors=(PV,), operator_wei=3).shown() == {
        "actors": {"pv": {"address": BOB, "kind": "PV", "deposited_wei": 20}},
        "operator_allowed": True,
        "operator_wei": 3,
        "meter": METER,
        "meter_wei": 50,
        "agreement_factory": FACTORY,
    }


def trade(seller: str, buyer: str, wei: int, slot: int) -> Trade:
    """One for this much, sold if it is positive."""
    return Trade(seller, buyer, 10, wei // 10, slot, imbalance=False)


def rich(load_wei: int, pv_wei: int = 0) -> State:
    return replace(READY, actors=(replace(LOAD, balance_wei=load_wei), replace(PV, balance_wei=pv_wei)))


def test_who_pays_more_than_lasts_is_warned_of() -> None:
    # In two slots 300 less 100: 100 a slot.
    trades = [trade(BOB, ANN, 200, 7), trade(BOB, ANN, 100, 8), trade(ANN, BOB, 100, 8)]
    (warning,) = warnings(rich(999), trades, below_slots=10)
    assert "load has 999 wei left, which is gone in 9 slots at its recent rate of 100 wei a slot" in warning
    assert warnings(rich(1000), trades, below_slots=10) == []
    assert warnings(rich(0), trades, below_slots=0) == []


def test_a_seller_at_a_negative_price_pays() -> None:
    (warning,) = warnings(rich(0, 50), [trade(BOB, ANN, -100, 7)], below_slots=1)
    assert warning.startswith("pv has 50 wei left, which is gone in 0 slots at its recent rate of 100 wei a slot")


def test_what_an_account_paid_counts_for_the_one_that_replaced_it() -> None:
    then = replace(rich(50), replaced={DAN: CAT, CAT: ANN})
    assert len(warnings(then, [trade(BOB, DAN, 100, 7)], below_slots=1)) == 1


def test_nobody_is_warned_of_without_trades_or_where_it_comes_out_even() -> None:
    assert warnings(rich(0), [], below_slots=96) == []
    assert warnings(rich(0), [trade(BOB, ANN, 100, 7), trade(ANN, BOB, 100, 8)], below_slots=96) == []


@given(
    st.lists(
        st.builds(
            trade,
            st.sampled_from([ANN, BOB, CAT]),
            st.sampled_from([ANN, BOB, CAT]),
            st.integers(-9, 9).map(lambda wei: 10 * wei),
            st.integers(0, 5),
        )
    ),
    st.integers(0, 500),
)
def test_a_warning_says_how_long_money_lasts(trades: list[Trade], wei: int) -> None:
    slots = {trade.slot for trade in trades}
    bought = sum(trade.energy_wh * trade.price_wei_per_wh for trade in trades if trade.buyer == ANN)
    sold = sum(trade.energy_wh * trade.price_wei_per_wh for trade in trades if trade.seller == ANN)
    lasts = bought <= sold or wei >= 4 * (bought - sold) / len(slots)
    state = replace(READY, actors=(replace(LOAD, balance_wei=wei),))
    assert (warnings(state, trades, below_slots=4) == []) == lasts
