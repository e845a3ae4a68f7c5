# SPDX-License-Identifier: GPL-3.0-or-later
"""The simulation is a household that one believes, the same for the same seed."""

from energy_bridge.model import Offer
from energy_bridge.simulate import ACTORS, BATTERY_CAPACITY_WH, START, State, data_set
from hypothesis import given
from hypothesis import strategies as st

SLOTS_PER_DAY = 96


def by_actor(offers: list[Offer]) -> dict[str, Offer]:
    assert tuple(offer.actor for offer in offers) == ACTORS
    return {offer.actor: offer for offer in offers}


def day(seed: int, first_slot: int = 20000 * SLOTS_PER_DAY) -> list[dict[str, Offer]]:
    state, sets = START, []
    for slot in range(first_slot, first_slot + SLOTS_PER_DAY):
        offers, state = data_set(slot, state, seed=seed, slot_s=900)
        sets.append(by_actor(offers))
    return sets


@given(slot=st.integers(0, 2**32 - 1), charge=st.integers(0, BATTERY_CAPACITY_WH), seed=st.integers())
def test_energy_adds_up_to_zero_and_the_battery_stays_within_its_capacity(slot: int, charge: int, seed: int) -> None:
    said, after = data_set(slot, State(charge), seed=seed, slot_s=900)
    offers = by_actor(said)
    assert sum(offer.energy_wh for offer in offers.values()) == 0
    assert after.charge_wh == charge - offers["battery"].energy_wh
    assert 0 <= after.charge_wh <= BATTERY_CAPACITY_WH
    assert offers["load"].energy_wh <= 0 <= min(offers["pv"].energy_wh, offers["chp"].energy_wh)


def test_the_same_seed_plays_the_same_day_and_another_one_another() -> None:
    assert day(1) == day(1)
    assert day(1) != day(2)


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
