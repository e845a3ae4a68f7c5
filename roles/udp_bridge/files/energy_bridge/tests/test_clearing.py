# SPDX-License-Identifier: GPL-3.0-or-later
"""Clearing keeps energy to the Wh, money to the wei and everybody's limit, and favours nobody for coming first."""

import random
from collections import Counter
from collections.abc import Iterable
from dataclasses import replace

import pytest
from energy_bridge.clearing import Battery, Method, NoGridPrice, Rules, charges_after, clear, imbalance_trades
from energy_bridge.model import UINT32_MAX, Offer, Trade
from hypothesis import given
from hypothesis import strategies as st

SLOT = 1994950
GRID_PRICE = 7
PLAIN = Rules(grid="grid")
UNIFORM = replace(PLAIN, method=Method.UNIFORM)
FEE = replace(PLAIN, fee_wei_per_wh=1, fee_account="dso")
HOME = replace(PLAIN, batteries={"battery": Battery(capacity_wh=100, charge_wh=70)})
ACTORS = ("a", "b", "c", "d", "e", "f", "dso")

Case = tuple[list[Offer], Rules]


def settle(offers: Iterable[Offer], rules: Rules) -> list[Trade]:
    return clear(SLOT, offers, rules, grid_price_wei_per_wh=GRID_PRICE)


def gained(trades: Iterable[Trade]) -> tuple[Counter[str], Counter[str]]:
    """The Wh and the wei that each actor has more of after these trades."""
    energy_wh: Counter[str] = Counter()
    money_wei: Counter[str] = Counter()
    for trade in trades:
        price_wei = trade.energy_wh * trade.price_wei_per_wh
        energy_wh[trade.buyer] += trade.energy_wh
        energy_wh[trade.seller] -= trade.energy_wh
        money_wei[trade.buyer] -= price_wei
        money_wei[trade.seller] += price_wei
    return energy_wh, money_wei


def bilateral(*pairs: tuple[str, str]) -> Rules:
    return replace(PLAIN, method=Method.BILATERAL, pairs=pairs)


@pytest.mark.parametrize(
    ("rules", "offers", "trades"),
    [
        pytest.param(PLAIN, [], [], id="nothing"),
        pytest.param(PLAIN, [("load", 0, 5), ("grid", -40, 7)], [], id="a zero offer makes no trade"),
        pytest.param(
            PLAIN,
            [("load", -100, 9), ("pv", 60, 2), ("grid", 7, 1)],
            [("pv", "load", 60, 2), ("grid", "load", 40, 7)],
            id="the grid brings what is missing, whatever quantity it said",
        ),
        pytest.param(
            PLAIN,
            [("load", -100, 9), ("pv", 150, 2)],
            [("pv", "load", 100, 2), ("pv", "grid", 50, 7)],
            id="the grid takes what is left",
        ),
        pytest.param(
            PLAIN,
            [("load", -100, 9), ("pv", 60, 2), ("chp", 60, 3)],
            [("pv", "load", 60, 2), ("chp", "load", 40, 3), ("chp", "grid", 20, 7)],
            id="the cheapest seller first",
        ),
        pytest.param(
            PLAIN,
            [("battery", -50, 4), ("load", -50, 9), ("pv", 60, 2)],
            [("pv", "load", 50, 2), ("pv", "battery", 10, 2), ("grid", "battery", 40, 7)],
            id="the highest buyer first",
        ),
        pytest.param(
            PLAIN,
            [("battery", -50, 2), ("chp", 50, 3)],
            [("chp", "grid", 50, 7), ("grid", "battery", 50, 7)],
            id="who asks more than the other gives trades with the grid",
        ),
        pytest.param(
            PLAIN,
            [("b", 50, 2), ("a", 50, 2), ("load", -50, 2)],
            [("a", "load", 50, 2), ("b", "grid", 50, 7)],
            id="equal prices by actor",
        ),
        pytest.param(PLAIN, [("pv", 9, -3), ("load", -9, -3)], [("pv", "load", 9, -3)], id="a negative price"),
        pytest.param(
            UNIFORM,
            [("load", -100, 9), ("pv", 60, 2), ("chp", 60, 3)],
            [("pv", "load", 60, 3), ("chp", "load", 40, 3), ("chp", "grid", 20, 7)],
            id="uniform: the dearest seller that is needed sets the price of all",
        ),
        pytest.param(
            UNIFORM,
            [("load", -60, 9), ("battery", -40, 2), ("pv", 60, 2), ("chp", 60, 3)],
            [("pv", "load", 60, 2), ("chp", "grid", 60, 7), ("grid", "battery", 40, 7)],
            id="uniform: who finds no buyer sets no price",
        ),
        pytest.param(UNIFORM, [("pv", 5, 3)], [("pv", "grid", 5, 7)], id="uniform: nobody to agree on a price with"),
        pytest.param(
            bilateral(("chp", "load"), ("pv", "load")),
            [("load", -100, 9), ("pv", 60, 2), ("chp", 60, 3)],
            [("chp", "load", 60, 3), ("pv", "load", 40, 2), ("pv", "grid", 20, 7)],
            id="bilateral: in the order of the pairs, not of the prices",
        ),
        pytest.param(
            bilateral(("pv", "load"), ("chp", "battery"), ("pv", "nobody"), ("load", "pv")),
            [("load", -100, 1), ("pv", 60, 2), ("chp", 60, 3), ("battery", -100, 3)],
            [("chp", "battery", 60, 3), ("pv", "grid", 60, 7), ("grid", "battery", 40, 7), ("grid", "load", 100, 7)],
            id="bilateral: a pair without an offer, or whose limits do not meet, does not trade",
        ),
        pytest.param(
            FEE,
            [("load", -100, 9), ("battery", -50, 2), ("pv", 150, 2)],
            [("pv", "dso", 100, 2), ("dso", "load", 100, 3), ("pv", "grid", 50, 7), ("grid", "battery", 50, 7)],
            id="the fee comes on top, for the buyer, and its account keeps it; the grid takes none",
        ),
        pytest.param(
            FEE,
            [("dso", 10, 2), ("load", -10, 3)],
            [("dso", "load", 10, 3)],
            id="the fee's account sells at its price and the fee",
        ),
        pytest.param(
            FEE,
            [("dso", -10, 3), ("pv", 10, 2)],
            [("pv", "dso", 10, 2)],
            id="the fee's account buys, and pays the fee to itself",
        ),
        pytest.param(
            replace(UNIFORM, fee_wei_per_wh=1, fee_account="dso"),
            [("load", -20, 4), ("pv", 10, 2), ("chp", 10, 3)],
            [("pv", "dso", 10, 3), ("dso", "load", 10, 4), ("chp", "dso", 10, 3), ("dso", "load", 10, 4)],
            id="uniform, and the fee on top",
        ),
        pytest.param(
            replace(PLAIN, grid_buys_wei_per_wh=1, grid_sells_wei_per_wh=8),
            [("load", -50, 2), ("pv", 60, 3)],
            [("pv", "grid", 60, 1), ("grid", "load", 50, 8)],
            id="the grid's tariffs",
        ),
        pytest.param(HOME, [("battery", 90, 3)], [("battery", "grid", 70, 7)], id="a battery provides what it holds"),
        pytest.param(
            HOME, [("battery", -90, 3)], [("grid", "battery", 30, 7)], id="a battery takes what it has room for"
        ),
    ],
)
def test_worked_examples(
    rules: Rules, offers: list[tuple[str, int, int]], trades: list[tuple[str, str, int, int]]
) -> None:
    assert settle([Offer(*offer) for offer in offers], rules) == [Trade(*trade, slot=SLOT) for trade in trades]


def test_a_battery_is_charged_and_discharged_by_what_it_trades() -> None:
    sold = settle([Offer("battery", 90, 3), Offer("load", -100, 5)], HOME)
    assert charges_after(sold, HOME.batteries) == {"battery": Battery(capacity_wh=100, charge_wh=0)}
    bought = settle([Offer("battery", -90, 3)], HOME)
    assert charges_after(bought, HOME.batteries) == {"battery": Battery(capacity_wh=100, charge_wh=100)}


def test_a_battery_cannot_hold_more_than_its_capacity() -> None:
    with pytest.raises(ValueError, match="A battery of 100 Wh cannot hold 101 Wh"):
        Battery(capacity_wh=100, charge_wh=101)


def test_a_slot_needs_no_price_of_the_grid_until_it_needs_the_grid() -> None:
    offers = [Offer("pv", 10, 2), Offer("load", -10, 3)]
    assert clear(SLOT, offers, PLAIN, grid_price_wei_per_wh=None) == [Trade("pv", "load", 10, 2, SLOT)]


@pytest.mark.parametrize(("energy_wh", "verb"), [(10, "buys"), (-10, "sells")])
def test_a_grid_without_a_price_cannot_trade(energy_wh: int, verb: str) -> None:
    offer = Offer("a", energy_wh, 2)
    with pytest.raises(NoGridPrice, match=f"no tariff says what it {verb} at"):
        clear(SLOT, [offer], PLAIN, grid_price_wei_per_wh=None)
    with pytest.raises(NoGridPrice, match=f"no tariff says what it {verb} at"):
        imbalance_trades(SLOT, "a", energy_wh, PLAIN, grid_price_wei_per_wh=None)
    tariff = replace(PLAIN, grid_buys_wei_per_wh=0, grid_sells_wei_per_wh=0)
    assert [trade.price_wei_per_wh for trade in clear(SLOT, [offer], tariff, grid_price_wei_per_wh=None)] == [0]


@pytest.mark.parametrize(
    ("rules", "delta_wh", "trades"),
    [
        pytest.param(PLAIN, 0, [], id="no difference"),
        pytest.param(PLAIN, 5, [("battery", "grid", 5, 7)], id="more was provided"),
        pytest.param(PLAIN, -5, [("grid", "battery", 5, 7)], id="more was needed"),
        pytest.param(
            replace(PLAIN, grid_sells_wei_per_wh=8), -5, [("grid", "battery", 5, 8)], id="at the tariff of all trades"
        ),
        pytest.param(
            replace(PLAIN, grid_sells_wei_per_wh=8, imbalance_sells_wei_per_wh=20),
            -5,
            [("grid", "battery", 5, 20)],
            id="at the tariff for imbalances",
        ),
        pytest.param(
            replace(PLAIN, grid_buys_wei_per_wh=8, imbalance_buys_wei_per_wh=-2),
            5,
            [("battery", "grid", 5, -2)],
            id="at a price below zero",
        ),
        pytest.param(FEE, 5, [("battery", "grid", 5, 7)], id="without a fee"),
        pytest.param(HOME, -31, [("grid", "battery", 30, 7)], id="a battery has no more room"),
        pytest.param(
            PLAIN,
            2 * UINT32_MAX,
            [("battery", "grid", UINT32_MAX, 7), ("battery", "grid", UINT32_MAX, 7)],
            id="more than a trade can hold",
        ),
        pytest.param(
            PLAIN,
            -UINT32_MAX - 1,
            [("grid", "battery", UINT32_MAX, 7), ("grid", "battery", 1, 7)],
            id="needed more than a trade can hold",
        ),
    ],
)
def test_what_came_late_or_differs_is_traded_with_the_grid(
    rules: Rules, delta_wh: int, trades: list[tuple[str, str, int, int]]
) -> None:
    made = imbalance_trades(SLOT, "battery", delta_wh, rules, grid_price_wei_per_wh=GRID_PRICE)
    assert made == [Trade(*trade, slot=SLOT, imbalance=True) for trade in trades]


def test_the_grid_has_no_imbalance() -> None:
    assert imbalance_trades(SLOT, "grid", 5, PLAIN, grid_price_wei_per_wh=GRID_PRICE) == []


def charged() -> st.SearchStrategy[Battery]:
    return st.integers(0, 60).flatmap(lambda capacity: st.builds(Battery, st.just(capacity), st.integers(0, capacity)))


def prices() -> st.SearchStrategy[int]:
    return st.integers(-5, 5)


@st.composite
def cases(draw: st.DrawFn) -> Case:
    """A slot's offers, one per actor, and rules of any kind. Prices and energies are few, so that ties are many."""
    offer = st.builds(Offer, st.sampled_from([*ACTORS, "grid"]), st.integers(-40, 40), prices())
    name = st.sampled_from(ACTORS)
    rules = Rules(
        grid="grid",
        method=draw(st.sampled_from(Method)),
        pairs=draw(st.lists(st.tuples(name, name).filter(lambda pair: pair[0] != pair[1]), max_size=12)),
        grid_buys_wei_per_wh=draw(st.none() | prices()),
        grid_sells_wei_per_wh=draw(st.none() | prices()),
        fee_wei_per_wh=draw(st.integers(0, 3)),
        fee_account="dso",
        batteries=draw(st.dictionaries(name, charged(), max_size=3)),
    )
    return draw(st.lists(offer, unique_by=lambda offer: offer.actor)), rules


def possible_wh(offer: Offer, rules: Rules) -> int:
    """What of an offer a clearing is about: nothing of the grid's, of a battery's what it can do."""
    battery = rules.batteries.get(offer.actor)
    if offer.actor == rules.grid:
        return 0
    if battery is None:
        return offer.energy_wh
    if offer.energy_wh > 0:
        return min(offer.energy_wh, battery.charge_wh)
    return -min(-offer.energy_wh, battery.capacity_wh - battery.charge_wh)


def among_actors(trades: Iterable[Trade]) -> list[Trade]:
    return [trade for trade in trades if "grid" not in (trade.seller, trade.buyer)]


@given(cases())
def test_every_actor_sells_and_buys_exactly_what_it_said(case: Case) -> None:
    offers, rules = case
    trades = settle(offers, rules)
    assert all(trade.energy_wh > 0 and trade.seller != trade.buyer and not trade.imbalance for trade in trades)
    energy_wh, money_wei = gained(trades)
    said = {offer.actor: possible_wh(offer, rules) for offer in offers}
    assert {name: -energy_wh[name] for name in {*ACTORS} - {"grid"}} == {name: said.get(name, 0) for name in ACTORS}
    assert energy_wh.total() == 0
    assert money_wei.total() == 0


@given(cases())
def test_nobody_is_on_both_sides_of_a_slot_but_the_grid_and_the_fee_account(case: Case) -> None:
    trades = settle(*case)
    both = {trade.seller for trade in trades} & {trade.buyer for trade in trades}
    assert both <= {"grid", "dso"}


@given(cases())
def test_among_themselves_nobody_gets_worse_than_their_limit(case: Case) -> None:
    offers, rules = case
    limits = {offer.actor: offer.price_wei_per_wh for offer in offers}
    for trade in among_actors(settle(offers, rules)):
        # What passes through the fee's account has no limit there.
        if trade.seller != "dso":
            assert limits[trade.seller] <= trade.price_wei_per_wh
        if trade.buyer != "dso":
            assert trade.price_wei_per_wh <= limits[trade.buyer]


@given(cases(), st.randoms(use_true_random=False))
def test_the_order_of_arrival_does_not_matter(case: Case, shuffle: random.Random) -> None:
    offers, rules = case
    shuffled = list(offers)
    shuffle.shuffle(shuffled)
    assert settle(shuffled, rules) == settle(offers, rules)


@given(cases(), st.integers(-80, 80))
def test_a_battery_stays_within_its_capacity_whatever_is_asked_of_it(case: Case, late_wh: int) -> None:
    offers, rules = case
    trades = settle(offers, rules)
    after = charges_after(trades, rules.batteries)
    said = {offer.actor: possible_wh(offer, rules) for offer in offers}
    for name, battery in rules.batteries.items():
        assert after[name].capacity_wh == battery.capacity_wh
        assert after[name].charge_wh == battery.charge_wh - said.get(name, 0)
        late = imbalance_trades(SLOT, name, late_wh, replace(rules, batteries=after), grid_price_wei_per_wh=GRID_PRICE)
        assert 0 <= charges_after(late, after)[name].charge_wh <= battery.capacity_wh


@given(cases())
def test_the_fee_account_earns_the_fee_for_each_wh_and_keeps_no_energy(case: Case) -> None:
    offers, rules = case
    # The fee's account has no offer of its own here, so all that it trades passes through.
    trades = settle([offer for offer in offers if offer.actor != "dso"], rules)
    sold_wh = sum(trade.energy_wh for trade in among_actors(trades) if trade.seller != "dso")
    energy_wh, money_wei = gained(trades)
    assert energy_wh["dso"] == 0
    assert money_wei["dso"] == rules.fee_wei_per_wh * sold_wh


@given(cases())
def test_uniform_is_the_merit_order_at_one_price(case: Case) -> None:
    offers, rules = case
    rules = replace(rules, method=Method.UNIFORM)
    offers = [offer for offer in offers if offer.actor != "dso"]
    trades = among_actors(settle(offers, rules))
    assert len({trade.price_wei_per_wh for trade in trades if trade.seller != "dso"}) <= 1
    assert len({trade.price_wei_per_wh for trade in trades if trade.buyer != "dso"}) <= 1
    as_bid = among_actors(settle(offers, replace(rules, method=Method.PAY_AS_BID)))
    assert [replace(trade, price_wei_per_wh=0) for trade in trades] == [
        replace(trade, price_wei_per_wh=0) for trade in as_bid
    ]


@given(cases())
def test_bilateral_trades_between_the_named_pairs_only(case: Case) -> None:
    offers, rules = case
    rules = replace(rules, method=Method.BILATERAL, fee_wei_per_wh=0)
    trades = settle(offers, rules)
    assert {(trade.seller, trade.buyer) for trade in among_actors(trades)} <= set(rules.pairs)
    # No pair that could still trade is left to the grid.
    to_grid = {trade.seller for trade in trades if trade.buyer == "grid"}
    from_grid = {trade.buyer for trade in trades if trade.seller == "grid"}
    limits = {offer.actor: offer.price_wei_per_wh for offer in offers}
    assert not [(s, b) for s, b in rules.pairs if s in to_grid and b in from_grid and limits[s] <= limits[b]]


@given(cases())
def test_pay_as_bid_is_what_a_market_of_single_wh_comes_to(case: Case) -> None:
    offers, rules = case
    rules = replace(rules, method=Method.PAY_AS_BID)
    traded: Counter[tuple[str, str, int]] = Counter()
    for trade in settle(offers, rules):
        traded[trade.seller, trade.buyer, trade.price_wei_per_wh] += trade.energy_wh
    assert traded == naive(offers, rules)


def naive(offers: list[Offer], rules: Rules) -> Counter[tuple[str, str, int]]:
    """Every single Wh looks for a partner: the cheapest meets whoever gives most, and so on down both lists."""
    sold, needed = [], []
    for offer in offers:
        energy_wh = possible_wh(offer, rules)
        sold += [(offer.price_wei_per_wh, offer.actor)] * energy_wh
        needed += [(-offer.price_wei_per_wh, offer.actor)] * -energy_wh
    sold.sort()
    needed.sort()
    buys = GRID_PRICE if rules.grid_buys_wei_per_wh is None else rules.grid_buys_wei_per_wh
    sells = GRID_PRICE if rules.grid_sells_wei_per_wh is None else rules.grid_sells_wei_per_wh
    fee = rules.fee_wei_per_wh
    traded: Counter[tuple[str, str, int]] = Counter()
    while sold or needed:
        if sold and needed and sold[0][0] + fee <= -needed[0][0]:
            (ask, seller), (_, buyer) = sold.pop(0), needed.pop(0)
            legs = [(seller, "dso", ask), ("dso", buyer, ask + fee)] if fee else [(seller, buyer, ask)]
            traded.update(leg for leg in legs if leg[0] != leg[1])
        else:
            traded.update((seller, "grid", buys) for _, seller in sold)
            traded.update(("grid", buyer, sells) for _, buyer in needed)
            break
    return traded
