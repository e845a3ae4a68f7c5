# SPDX-License-Identifier: GPL-3.0-or-later
"""However batches come into the chain and leave it, the sums are those of the trades that are in it."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import replace

import pytest
from energy_bridge.clearing import Rules, clear, imbalance_trades
from energy_bridge.ledger import ChainTrade, Figures, Ledger, Tariff, Totals
from energy_bridge.model import DAY_S, Offer
from hypothesis import given
from hypothesis import strategies as st

SLOT_S = 8 * 3600  # three slots a day
GRID, FEE = "grid", "club"
ACTORS = ("load", "pv", FEE, GRID)
TARIFF = Tariff(3, 10)
DEAR = 2**62  # sums are beyond what SQLite's integers hold


def ledger(fee_account: str | None = None) -> Ledger:
    return Ledger(grid=GRID, fee_account=fee_account, slot_s=SLOT_S)


def put(into: Ledger, batch: int, trades: Iterable[ChainTrade], tariffs: Mapping[int, Tariff] | None = None) -> None:
    trades = list(trades)
    untold = into.untold({trade.slot for trade in trades})
    into.put_in({batch: "here"}, trades, {slot: (tariffs or {}).get(slot, TARIFF) for slot in untold})


def expected(trades: Iterable[ChainTrade], tariffs: Mapping[int, Tariff]) -> dict[str, Figures]:
    """All of it at once, without a fee."""
    sums: defaultdict[str, Figures] = defaultdict(Figures)
    for _, slot, seller, buyer, wh, price in trades:
        buys, sells = tariffs[slot]
        sold, bought = sums[seller], sums[buyer]
        sums[seller] = replace(
            sold,
            sold_wh=sold.sold_wh + wh,
            received_wei=sold.received_wei + wh * price,
            sold_to_grid_wh=sold.sold_to_grid_wh + (wh if buyer == GRID else 0),
            grid_only_wei=sold.grid_only_wei + wh * (buys or 0),
            unpriced=sold.unpriced + (buys is None),
            trades=sold.trades + 1,
        )
        sums[buyer] = replace(
            bought,
            bought_wh=bought.bought_wh + wh,
            paid_wei=bought.paid_wei + wh * price,
            bought_from_grid_wh=bought.bought_from_grid_wh + (wh if seller == GRID else 0),
            grid_only_wei=bought.grid_only_wei - wh * (sells or 0),
            unpriced=bought.unpriced + (sells is None),
            trades=bought.trades + 1,
        )
    return dict(sums)


def day(trade: ChainTrade) -> int:
    return trade.slot * SLOT_S // DAY_S


prices = st.integers(-DEAR, DEAR)
trade_values = st.tuples(
    st.integers(0, 8),
    st.permutations(ACTORS).map(lambda names: tuple(names[:2])),
    st.integers(1, 2**32 - 1),
    prices,
)
batches = st.dictionaries(st.integers(1, 6), st.lists(trade_values, max_size=5), min_size=1)
# Which of the batches are in the chain, and in which block, at each look.
histories = st.lists(st.dictionaries(st.integers(1, 6), st.sampled_from(["a", "b"])), min_size=1, max_size=8)
tariff_values = st.builds(Tariff, st.none() | prices, st.none() | prices)


@given(batches=batches, history=histories, by_slot=st.lists(tariff_values, min_size=9, max_size=9))
def test_after_any_history_the_sums_are_those_of_what_is_in_the_chain(
    batches: dict[int, list[tuple[int, tuple[str, str], int, int]]],
    history: list[dict[int, str]],
    by_slot: list[Tariff],
) -> None:
    kept, tariffs = ledger(), dict(enumerate(by_slot))
    trades = {
        batch: [ChainTrade(batch, slot, *pair, wh, price) for slot, pair, wh, price in values]
        for batch, values in batches.items()
    }
    for places in history:
        here = {batch: place for batch, place in places.items() if batch in trades}
        out, into = kept.stale(here, whole=True)
        new = [trade for batch in into for trade in trades[batch]]
        untold = kept.untold({trade.slot for trade in new})
        kept.take_out(out)
        kept.put_in({batch: here[batch] for batch in into}, new, {slot: tariffs[slot] for slot in untold})

        present = [trade for batch in here for trade in trades[batch]]
        assert kept.actors == expected(present, tariffs)
        assert kept.days == sorted({day(trade) for trade in present}, reverse=True)
        for one in kept.days:
            of_day = [trade for trade in present if day(trade) == one]
            assert kept.of_day(one) == expected(of_day, tariffs)
            for actor in ACTORS:
                partners = kept.partners(one, actor)
                assert partners.keys() == {
                    ({trade.seller, trade.buyer} - {actor}).pop()
                    for trade in of_day
                    if actor in (trade.seller, trade.buyer)
                }
                own = kept.of_day(one).get(actor, Figures())
                for name in ("sold_wh", "bought_wh", "received_wei", "paid_wei", "trades"):
                    assert sum(getattr(partner, name) for partner in partners.values()) == getattr(own, name)
        with_grid_wh = sum(trade.energy_wh for trade in present if GRID in (trade.seller, trade.buyer))
        all_wh = sum(trade.energy_wh for trade in present)
        assert kept.totals() == Totals(all_wh, all_wh - with_grid_wh, with_grid_wh)


def test_only_what_changed_is_named() -> None:
    kept = ledger()
    put(kept, 1, [])
    put(kept, 2, [])
    assert kept.stale({1: "here", 3: "here", 4: None}, whole=False) == (set(), {3})
    assert kept.stale({1: "here"}, whole=True) == ({2}, set())
    assert kept.stale({1: "elsewhere", 2: None}, whole=False) == ({1, 2}, {1})


def test_the_shares_are_of_what_was_sold_and_bought() -> None:
    kept = ledger()
    trades = [("pv", "load", 30, 5), ("pv", GRID, 10, 3), (GRID, "load", 20, 10)]
    put(kept, 1, [ChainTrade(1, 0, *trade) for trade in trades])
    pv, load = kept.actors["pv"], kept.actors["load"]
    assert (pv.self_consumption, pv.self_sufficiency) == (0.75, None)
    assert (load.self_consumption, load.self_sufficiency) == (None, 0.6)
    assert (pv.received_wei, pv.grid_only_wei) == (180, 120)
    assert (load.paid_wei, load.grid_only_wei) == (350, -500)


@pytest.mark.parametrize("fee", [0, 1])
@given(
    slots=st.lists(
        st.dictionaries(st.sampled_from(("load", "pv", "chp", FEE)), st.integers(-50, 50)), min_size=1, max_size=4
    ),
    split=st.booleans(),
)
def test_of_the_fees_account_only_its_own_energy_counts(fee: int, slots: list[dict[str, int]], *, split: bool) -> None:
    """Each slot cleared with and without a fee comes to the same energy, and to the same for the grid alone."""
    with_fee, without = ledger(FEE), ledger()
    rules = Rules(grid=GRID, grid_buys_wei_per_wh=TARIFF[0], grid_sells_wei_per_wh=TARIFF[1])
    number = 0
    for slot, energies in enumerate(slots):
        offers = [Offer(name, wh, 5 if wh > 0 else 9) for name, wh in energies.items()]
        for kept, of in ((with_fee, replace(rules, fee_account=FEE, fee_wei_per_wh=fee)), (without, rules)):
            made = clear(slot, offers, of, grid_price_wei_per_wh=None)
            made += imbalance_trades(slot, FEE, -7, of, grid_price_wei_per_wh=None)
            trades = [(t.slot, t.seller, t.buyer, t.energy_wh, t.price_wei_per_wh) for t in made]
            # In mode agreement every trade comes alone.
            for part in [[trade] for trade in trades] if split else [trades]:
                number += 1
                put(kept, number, [ChainTrade(number, *trade) for trade in part])
    assert with_fee.totals() == without.totals()
    for name, figures in without.actors.items():
        assert with_fee.actors[name].grid_only_wei == figures.grid_only_wei
    with_fee.take_out(range(1, number + 1))
    assert (with_fee.actors, with_fee.days, with_fee.totals()) == ({}, [], Totals(0, 0, 0))
