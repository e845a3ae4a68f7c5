# SPDX-License-Identifier: GPL-3.0-or-later
"""The simulation is a street that one believes, the same for the same seed."""

import hashlib
from typing import Any

import pytest
from energy_bridge.model import Kind, Offer
from energy_bridge.profiles import PROFILES
from energy_bridge.scenario import MICRO, Battery, Load, Scenario, Sun, built_in, parse_scenario
from energy_bridge.simulate import State, data_set, start
from hypothesis import given
from hypothesis import strategies as st

SLOTS_PER_DAY = 96
FIRST = 20000 * SLOTS_PER_DAY
HOUSEHOLD = built_in()
PRICES = {"buys_per_kwh": 0.1, "sells_per_kwh": 0.2}
STREET = parse_scenario(
    {
        "households": 3,
        "spread": 0.3,
        "household": [
            {"name": "load", "kind": "Load", "kwh_per_day": 9, "gives_per_kwh": 0.4},
            {"name": "pv", "kind": "PV", "kwp": 5, "asks_per_kwh": 0.08},
            {"name": "battery", "kind": "Battery", "kwh": 1, "kw": 3, "efficiency": 0.9} | PRICES,
        ],
        "actors": [
            {"name": "shop", "kind": "Load", "kwh_per_day": 30, "profile": "business", "gives_per_kwh": 0.4},
            {"name": "chp", "kind": "CHP", "kw": 2, "asks_per_kwh": 0.14},
            {"name": "store", "kind": "Battery", "kwh": 7.5, "kw": 1.1, "efficiency": 0.87, "share": 1} | PRICES,
            {"name": "grid", "kind": "Grid", "buys_per_kwh": 0.07, "sells_per_kwh": 0.32},
        ],
    }
)


def batteries(scenario: Scenario) -> dict[str, Battery]:
    return {actor.name: actor.made_of for actor in scenario.actors if isinstance(actor.made_of, Battery)}


def day(seed: int, scenario: Scenario = HOUSEHOLD, **more: Any) -> list[dict[str, Offer]]:
    state, sets = start(scenario), []
    for slot in range(FIRST, FIRST + SLOTS_PER_DAY):
        offers, state = data_set(scenario, slot, state, seed=seed, slot_s=900, **more)
        assert tuple(offer.actor for offer in offers) == scenario.names
        sets.append({offer.actor: offer for offer in offers})
    return sets


@given(slot=st.integers(0, 2**32 - 1), seed=st.integers(), slot_s=st.sampled_from([60, 900, 3600]), draw=st.data())
def test_energy_adds_up_to_zero_and_batteries_stay_within_capacity_and_power(
    slot: int, seed: int, slot_s: int, draw: st.DataObject
) -> None:
    scenario = draw.draw(st.sampled_from([HOUSEHOLD, STREET]))
    before = {
        name: draw.draw(st.integers(0, battery.capacity_wh * MICRO)) for name, battery in batteries(scenario).items()
    }
    said, after = data_set(scenario, slot, State(before), seed=seed, slot_s=slot_s)
    energy_wh = {offer.actor: offer.energy_wh for offer in said}
    assert sum(energy_wh.values()) == 0
    for name, battery in batteries(scenario).items():
        assert 0 <= after.charge_uwh[name] <= battery.capacity_wh * MICRO
        assert abs(energy_wh[name]) * 3600 <= battery.power_w * slot_s
        provided, taken = max(energy_wh[name], 0), max(-energy_wh[name], 0)
        assert after.charge_uwh[name] == before[name] - provided * MICRO + taken * battery.efficiency_ppm
    for actor in scenario.actors:
        if actor.kind is Kind.LOAD:
            assert energy_wh[actor.name] <= 0
        if actor.kind in (Kind.PV, Kind.CHP):
            assert energy_wh[actor.name] >= 0


def test_a_battery_gives_back_what_it_took_times_its_efficiency() -> None:
    sets, charge_uwh = day(1, STREET), {name: battery.charge_wh * MICRO for name, battery in batteries(STREET).items()}
    for name, battery in batteries(STREET).items():
        taken_wh = sum(-offers[name].energy_wh for offers in sets if offers[name].energy_wh < 0)
        given_wh = sum(offers[name].energy_wh for offers in sets if offers[name].energy_wh > 0)
        left_uwh = charge_uwh[name] + taken_wh * battery.efficiency_ppm - given_wh * MICRO
        assert taken_wh > 0 < given_wh
        assert 0 <= left_uwh <= battery.capacity_wh * MICRO


def test_the_tutorials_household_is_what_it_always_was() -> None:
    """These figures are of the version before scenarios; whoever changes them changes everybody's demo."""
    assert HOUSEHOLD.names == ("load", "pv", "chp", "battery", "grid")
    morning = day(2018)[31]
    assert [(offer.energy_wh, offer.price_wei_per_wh // 10**9) for offer in morning.values()] == [
        (-273, 400),
        (445, 80),
        (204, 140),
        (-226, 100),
        (-150, 241),
    ]
    digest, state = hashlib.sha256(), start(HOUSEHOLD)
    for slot in range(FIRST, FIRST + 10 * SLOTS_PER_DAY):
        offers, state = data_set(HOUSEHOLD, slot, state, seed=7, slot_s=900)
        rows = [(offer.actor, offer.energy_wh, offer.price_wei_per_wh) for offer in offers]
        digest.update(repr(rows).encode())
    assert digest.hexdigest() == "c6bbb376206b5fb011e25763870aabd33d50e0af35161b29969617ebc394cb34"


@pytest.mark.parametrize("scenario", [HOUSEHOLD, STREET])
def test_the_same_seed_plays_the_same_day_and_another_one_another(scenario: Scenario) -> None:
    assert day(1, scenario) == day(1, scenario)
    assert day(1, scenario) != day(2, scenario)


def test_a_day_looks_like_a_day() -> None:
    sets = day(2018)
    pv_wh = [offers["pv"].energy_wh for offers in sets]
    load_wh = [-offers["load"].energy_wh for offers in sets]
    assert not any(pv_wh[:24]) and not any(pv_wh[73:])
    assert max(pv_wh) == max(pv_wh[40:56])
    assert 12_000 < sum(load_wh) < 20_000
    assert max(load_wh) == max(load_wh[70:82])
    assert {-1, 1} <= {(wh > 0) - (wh < 0) for wh in (offers["battery"].energy_wh for offers in sets)}
    assert {-1, 1} <= {(wh > 0) - (wh < 0) for wh in (offers["grid"].energy_wh for offers in sets)}


@pytest.mark.parametrize("name", PROFILES)
def test_a_profile_comes_to_what_it_says(name: str) -> None:
    shape_kw, shape_kwh = PROFILES[name]
    assert sum(shape_kw((minute + 0.5) / 60) for minute in range(24 * 60)) / 60 == pytest.approx(shape_kwh, rel=1e-3)


def test_weights_of_a_day_are_a_profile() -> None:
    scenario = parse_scenario(
        {
            "actors": [
                {"name": "oven", "kind": "Load", "kwh_per_day": 24, "profile": [0, 3, 0, 1], "gives_wei_per_wh": 5},
                {"name": "grid", "kind": "Grid", "buys_wei_per_wh": -1, "sells_wei_per_wh": 7},
            ]
        }
    )
    needed_wh = [-offers["oven"].energy_wh for offers in day(1, scenario)]
    parts = [sum(needed_wh[quarter * 24 : quarter * 24 + 24]) for quarter in range(4)]
    assert parts[0] == parts[2] == 0
    assert parts[1] == pytest.approx(18_000, rel=0.06)
    assert parts[3] == pytest.approx(6_000, rel=0.06)


def test_households_differ_and_have_one_sky() -> None:
    loads = [actor.made_of for actor in STREET.actors if actor.household and actor.kind is Kind.LOAD]
    suns = [actor.made_of for actor in STREET.actors if actor.kind is Kind.PV]
    assert len({load.kwh_per_day for load in loads if isinstance(load, Load)}) == 3
    assert all(9 * 0.7 <= load.kwh_per_day <= 9 * 1.3 for load in loads if isinstance(load, Load))
    assert len({sun.asks_wei_per_wh for sun in suns if isinstance(sun, Sun)}) == 3
    noon = day(3, STREET)[48]
    per_kwp = [
        noon[actor.name].energy_wh / actor.made_of.kwp for actor in STREET.actors if isinstance(actor.made_of, Sun)
    ]
    assert max(per_kwp) / min(per_kwp) < 1.15 / 0.85 + 0.01


def test_the_grids_price_is_that_of_its_direction() -> None:
    prices = {offers["grid"].energy_wh < 0: offers["grid"].price_wei_per_wh for offers in day(4, STREET)}
    assert prices == {True: 70 * 10**9, False: 320 * 10**9}


def test_what_is_replayed_takes_the_place_of_what_is_simulated_and_changes_nobody_else() -> None:
    simulated, replayed = day(5)[40], day(5, replayed={"load": -1000})[40]
    assert replayed["load"].energy_wh == -1000
    assert (replayed["pv"], replayed["chp"]) == (simulated["pv"], simulated["chp"])
    assert sum(offer.energy_wh for offer in replayed.values()) == 0
    assert day(5, replayed={"battery": 250})[40]["battery"].energy_wh == 250
