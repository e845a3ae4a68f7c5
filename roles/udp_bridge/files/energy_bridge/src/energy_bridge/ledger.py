# SPDX-License-Identifier: GPL-3.0-or-later
"""What everybody traded, by day and with whom: sums of the trades that are in the chain, kept up as it grows. Pure.

A batch comes in when the chain has it and is taken out again when it has not; nothing else is ever summed again.
"""

from __future__ import annotations

from array import array
from collections import defaultdict
from collections.abc import Collection, Hashable, Iterable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from energy_bridge.model import DAY_S

__all__ = ["ChainTrade", "Figures", "Ledger", "Tariff", "Totals", "day_of"]

_COLUMNS = 5  # of a trade that is kept: slot, seller, buyer, Wh, wei per Wh


class ChainTrade(NamedTuple):
    """A trade of a batch; energy_wh > 0."""

    batch: int
    slot: int
    seller: str
    buyer: str
    energy_wh: int
    price_wei_per_wh: int


class Tariff(NamedTuple):
    """At what the grid buys and sells in a slot; None where nobody said so."""

    buys_wei_per_wh: int | None
    sells_wei_per_wh: int | None


@dataclass(slots=True)
class Figures:
    """Sums of an actor's trades. Money is signed: at a negative price who sells receives less than nothing.

    grid_only_wei is what the actor would have gained (positive) or paid had it traded all of it with the grid, but for
    `unpriced` of its trades, of whose slots nobody knows the grid's price.
    """

    sold_wh: int = 0
    bought_wh: int = 0
    received_wei: int = 0
    paid_wei: int = 0
    sold_to_grid_wh: int = 0
    bought_from_grid_wh: int = 0
    grid_only_wei: int = 0
    unpriced: int = 0
    trades: int = 0

    @property
    def self_consumption(self) -> float | None:
        """Of what it sold, the share that did not go to the grid; None where it sold nothing."""
        return 1 - self.sold_to_grid_wh / self.sold_wh if self.sold_wh else None

    @property
    def self_sufficiency(self) -> float | None:
        """Of what it bought, the share that did not come from the grid; None where it bought nothing."""
        return 1 - self.bought_from_grid_wh / self.bought_wh if self.bought_wh else None


class Totals(NamedTuple):
    """Energy of all trades, and of those with the grid and without; what passes through the fee's account is one."""

    traded_wh: int
    local_wh: int
    grid_wh: int


@dataclass(slots=True)
class _Pair:
    """Sums of the trades from one seller to one buyer on one day."""

    energy_wh: int = 0
    paid_wei: int = 0
    trades: int = 0
    seller_grid_wei: int = 0
    seller_unpriced: int = 0
    buyer_grid_wei: int = 0
    buyer_unpriced: int = 0


class Ledger:
    """The sums, and what they are made of: which batches, each with where in the chain it was when it came in."""

    def __init__(self, *, grid: str, fee_account: str | None, slot_s: int) -> None:
        """The account of the fee buys and sells what others trade: that is not its own energy."""
        self._grid = grid
        self._fee_account = fee_account
        self._slot_s = slot_s
        self._places: dict[int, Hashable] = {}
        self._trades: dict[int, array[int]] = {}
        self._numbers: dict[str, int] = {}
        self._names: list[str] = []
        self._tariffs: dict[int, Tariff] = {}
        self._all: defaultdict[str, Figures] = defaultdict(Figures)
        self._days: defaultdict[int, defaultdict[str, Figures]] = defaultdict(lambda: defaultdict(Figures))
        self._partners: defaultdict[tuple[int, str], defaultdict[str, Figures]]
        self._partners = defaultdict(lambda: defaultdict(Figures))
        self._traded_wh = self._with_grid_wh = self._passed_wh = 0
        # By slot what the fee's account sold to others than the grid, and bought from them.
        self._through_wh: defaultdict[int, list[int]] = defaultdict(lambda: [0, 0])

    # ------------------------------------------------------------- keeping

    def stale(self, places: Mapping[int, Hashable | None], *, whole: bool) -> tuple[set[int], set[int]]:
        """Which batches have to be taken out, and which to be put in, by where in the chain they are (None: nowhere).

        whole says that batches which are not named are nowhere; else nothing is said of them.
        """
        out = {batch for batch in self._places if batch not in places} if whole else set()
        out |= {batch for batch, place in places.items() if batch in self._places and self._places[batch] != place}
        into = {batch for batch, place in places.items() if place is not None and self._places.get(batch) != place}
        return out, into

    def untold(self, slots: Iterable[int]) -> set[int]:
        """Those of these slots whose tariff put_in has to be told."""
        return set(slots) - self._tariffs.keys()

    def take_out(self, batches: Iterable[int]) -> None:
        """Take the trades of these batches out of all sums."""
        gone = [batch for batch in batches if self._places.pop(batch, None) is not None]
        self._sum([self._trades.pop(batch) for batch in gone], sign=-1)

    def put_in(
        self, places: Mapping[int, Hashable], trades: Iterable[ChainTrade], tariffs: Mapping[int, Tariff]
    ) -> None:
        """Add batches that are not in yet, with all of their trades; tariffs are of the slots that were untold."""
        self._tariffs.update(tariffs)
        new = {batch: array("q") for batch in places}
        numbers = self._numbers
        for batch, slot, seller, buyer, energy_wh, price in trades:
            for name in (seller, buyer):
                if name not in numbers:
                    numbers[name] = len(numbers)
                    self._names.append(name)
            new[batch].extend((slot, numbers[seller], numbers[buyer], energy_wh, price))
        self._places.update(places)
        self._trades.update(new)
        self._sum(new.values(), sign=1)

    def _sum(self, kept: Collection[array[int]], *, sign: int) -> None:
        pairs: defaultdict[tuple[int, int, int], _Pair] = defaultdict(_Pair)
        through: defaultdict[int, list[int]] = defaultdict(lambda: [0, 0])
        grid, fee = (self._numbers.get(name, -1) if name else -1 for name in (self._grid, self._fee_account))
        tariffs, slot_s = self._tariffs, self._slot_s
        for columns in kept:
            for place in range(0, len(columns), _COLUMNS):
                slot, seller, buyer, energy_wh, price = columns[place : place + _COLUMNS]
                pair = pairs[slot * slot_s // DAY_S, seller, buyer]
                pair.energy_wh += energy_wh
                pair.paid_wei += energy_wh * price
                pair.trades += 1
                buys, sells = tariffs[slot]
                is_local = grid not in (seller, buyer)
                if is_local and seller == fee:
                    through[slot][0] += energy_wh
                elif buys is None:
                    pair.seller_unpriced += 1
                else:
                    pair.seller_grid_wei += energy_wh * buys
                if is_local and buyer == fee:
                    through[slot][1] += energy_wh
                elif sells is None:
                    pair.buyer_unpriced += 1
                else:
                    pair.buyer_grid_wei += energy_wh * sells
        for (day, seller, buyer), pair in pairs.items():
            self._add(day, self._names[seller], self._names[buyer], pair, sign)
        for slot, (sold_wh, bought_wh) in through.items():
            self._pass_through(slot, sign * sold_wh, sign * bought_wh)

    def _add(self, day: int, seller: str, buyer: str, pair: _Pair, sign: int) -> None:
        energy_wh, wei, trades = sign * pair.energy_wh, sign * pair.paid_wei, sign * pair.trades
        of_day = self._days[day]
        for figures in (self._all[seller], of_day[seller], self._partners[day, seller][buyer]):
            figures.sold_wh += energy_wh
            figures.received_wei += wei
            figures.trades += trades
            figures.sold_to_grid_wh += energy_wh if buyer == self._grid else 0
            figures.grid_only_wei += sign * pair.seller_grid_wei
            figures.unpriced += sign * pair.seller_unpriced
        for figures in (self._all[buyer], of_day[buyer], self._partners[day, buyer][seller]):
            figures.bought_wh += energy_wh
            figures.paid_wei += wei
            figures.trades += trades
            figures.bought_from_grid_wh += energy_wh if seller == self._grid else 0
            figures.grid_only_wei -= sign * pair.buyer_grid_wei
            figures.unpriced += sign * pair.buyer_unpriced
        self._traded_wh += energy_wh
        self._with_grid_wh += energy_wh if self._grid in (seller, buyer) else 0
        for actor, partner in ((seller, buyer), (buyer, seller)):
            _drop_empty(self._partners[day, actor], partner)
            _drop_empty(of_day, actor)
            _drop_empty(self._all, actor)
            if not self._partners[day, actor]:
                del self._partners[day, actor]
        if not of_day:
            del self._days[day]

    def _pass_through(self, slot: int, sold_wh: int, bought_wh: int) -> None:
        """Of what the fee's account sold and bought in a slot only the difference is its own: it stands on one side."""
        account, day = str(self._fee_account), slot * self._slot_s // DAY_S
        sides = self._through_wh[slot]
        before_wh, passed_wh = sides[0] - sides[1], min(sides)
        sides[0] += sold_wh
        sides[1] += bought_wh
        after_wh = sides[0] - sides[1]
        self._passed_wh += min(sides) - passed_wh
        if not any(sides):
            del self._through_wh[slot]
        before_wei, before_unpriced = _at(self._tariffs[slot], before_wh)
        after_wei, after_unpriced = _at(self._tariffs[slot], after_wh)
        for figures in (self._all.get(account), self.of_day(day).get(account)):
            if figures is not None:
                figures.grid_only_wei += after_wei - before_wei
                figures.unpriced += after_unpriced - before_unpriced

    # ------------------------------------------------------------- reading

    @property
    def days(self) -> list[int]:
        """The days with trades (days since the epoch), the newest first."""
        return sorted(self._days, reverse=True)

    @property
    def actors(self) -> Mapping[str, Figures]:
        """Everybody who trades, with the figures of all days."""
        return self._all

    def totals(self) -> Totals:
        """The energy of all trades."""
        traded_wh = self._traded_wh - self._passed_wh
        return Totals(traded_wh, traded_wh - self._with_grid_wh, self._with_grid_wh)

    def of_day(self, day: int) -> Mapping[str, Figures]:
        """Everybody who trades on a day, with the figures of that day."""
        return self._days.get(day, {})

    def partners(self, day: int, actor: str) -> Mapping[str, Figures]:
        """With whom an actor trades on a day, with the actor's figures of these trades."""
        return self._partners.get((day, actor), {})


def day_of(slot: int, slot_s: int) -> int:
    """The day (since the epoch, UTC) in which a slot begins."""
    return slot * slot_s // DAY_S


def _at(tariff: Tariff, energy_wh: int) -> tuple[int, int]:
    """What energy that is provided (positive) or needed comes to with the grid, in wei; and 1 where nobody knows."""
    price = tariff.buys_wei_per_wh if energy_wh > 0 else tariff.sells_wei_per_wh
    if not energy_wh:
        return 0, 0
    return (0, 1) if price is None else (energy_wh * price, 0)


def _drop_empty(figures: dict[str, Figures], name: str) -> None:
    if name in figures and not figures[name].trades:
        del figures[name]
