# SPDX-License-Identifier: GPL-3.0-or-later
"""Clearing keeps energy to the Wh, favours nobody for coming first, and trades in merit order."""

import random
from collections import Counter

import pytest
from energy_bridge.clearing import clear
from energy_bridge.model import Reading, Trade
from hypothesis import given
from hypothesis import strategies as st

SLOT = 1994950


def reading(source: str, energy_wh: int, price: int) -> Reading:
    return Reading(source, 1, 1, 0.0, SLOT, energy_wh, price)


def readings() -> st.SearchStrategy[list[Reading]]:
    offers = st.builds(
        reading,
        st.sampled_from(["a", "b", "c", "d", "e", "f", "g", "grid"]),
        st.integers(-2000, 2000),
        st.integers(-5, 5),
    )
    return st.lists(offers, unique_by=lambda offer: offer.source)


def settle(offers: list[Reading]) -> list[Trade]:
    return clear(offers, grid="grid", grid_price_wei_per_wh=7)


@pytest.mark.parametrize(
    ("offers", "trades"),
    [
        pytest.param([], [], id="nothing"),
        pytest.param([("load", 0, 5), ("grid", -40, 7)], [], id="a zero reading makes no trade"),
        pytest.param(
            [("load", -100, 9), ("pv", 60, 2)],
            [("pv", "load", 60, 2), ("grid", "load", 40, 7)],
            id="the grid brings what is missing",
        ),
        pytest.param(
            [("load", -100, 9), ("pv", 150, 2)],
            [("pv", "load", 100, 2), ("pv", "grid", 50, 7)],
            id="the grid takes what is left",
        ),
        pytest.param(
            [("load", -100, 9), ("pv", 60, 2), ("chp", 60, 3)],
            [("pv", "load", 60, 2), ("chp", "load", 40, 3), ("chp", "grid", 20, 7)],
            id="the cheapest seller first",
        ),
        pytest.param(
            [("battery", -50, 4), ("load", -50, 9), ("pv", 60, 2)],
            [("pv", "load", 50, 2), ("pv", "battery", 10, 2), ("grid", "battery", 40, 7)],
            id="the highest buyer first",
        ),
        pytest.param(
            [("battery", -50, 2), ("chp", 50, 3)],
            [("chp", "grid", 50, 7), ("grid", "battery", 50, 7)],
            id="who asks more than the other gives trades with the grid",
        ),
        pytest.param(
            [("b", 50, 2), ("a", 50, 2), ("load", -50, 2)],
            [("a", "load", 50, 2), ("b", "grid", 50, 7)],
            id="equal prices by actor",
        ),
        pytest.param([("pv", 9, -3), ("load", -9, -3)], [("pv", "load", 9, -3)], id="a negative price"),
    ],
)
def test_merit_order(offers: list[tuple[str, int, int]], trades: list[tuple[str, str, int, int]]) -> None:
    assert settle([reading(*offer) for offer in offers]) == [Trade(*trade, slot=SLOT) for trade in trades]


@given(readings())
def test_every_actor_sells_and_buys_exactly_what_it_said(offers: list[Reading]) -> None:
    net: Counter[str] = Counter()
    for trade in settle(offers):
        assert trade.energy_wh > 0
        assert trade.seller != trade.buyer
        net[trade.seller] += trade.energy_wh
        net[trade.buyer] -= trade.energy_wh
    said = {offer.source: offer.energy_wh for offer in offers if offer.source != "grid"}
    assert {name: net[name] for name in said} == said
    assert net["grid"] == -sum(said.values())


@given(readings())
def test_nobody_is_on_both_sides_of_a_slot_but_the_grid(offers: list[Reading]) -> None:
    trades = settle(offers)
    both = {trade.seller for trade in trades} & {trade.buyer for trade in trades}
    assert both <= {"grid"}


@given(readings())
def test_among_themselves_nobody_gets_worse_than_their_limit(offers: list[Reading]) -> None:
    limits = {offer.source: offer.price_wei_per_wh for offer in offers}
    for trade in settle(offers):
        if "grid" not in (trade.seller, trade.buyer):
            assert limits[trade.seller] == trade.price_wei_per_wh <= limits[trade.buyer]


@given(readings(), st.randoms(use_true_random=False))
def test_the_order_of_arrival_does_not_matter(offers: list[Reading], shuffle: random.Random) -> None:
    shuffled = list(offers)
    shuffle.shuffle(shuffled)
    assert settle(shuffled) == settle(offers)
