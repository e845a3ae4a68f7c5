# SPDX-License-Identifier: GPL-3.0-or-later
"""What everybody traded, by day and with whom: sums of the trades that are in the chain, kept up as it grows. Pure.

A batch comes in when the chain has it and is taken out again when it has not; nothing else is ever summed again.
"""

from __future__ import annotations

from array import array
from collections import defaultdict
from collections.abc import Hashable, Iterable, Iterator, Mapping
from dataclasses import dataclass, fields
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

    def sell(self, energy_wh: int, wei: int, *, to_grid: bool = False) -> None:
        """Add a trade in which the actor sells."""
        self.sold_wh += energy_wh
        self.received_wei += wei
        self.trades += 1
        if to_grid:
            self.sold_to_grid_wh += energy_wh

    def buy(self, energy_wh: int, wei: int, *, from_grid: bool = False) -> None:
        """Add a trade in which the actor buys."""
        self.bought_wh += energy_wh
        self.paid_wei += wei
        self.trades += 1
        if from_grid:
            self.bought_from_grid_wh += energy_wh

    def compare(self, energy_wh: int, price_wei_per_wh: int | None) -> None:
        """Add what the grid would have given for energy (or, where that is negative, taken), had it been asked."""
        if price_wei_per_wh is None:
            self.unpriced += 1
        else:
            self.grid_only_wei += energy_wh * price_wei_per_wh

    @property
    def self_consumption(self) -> float | None:
        """Of what it sold, the share that did not go to the grid; None where it sold nothing."""
        return 1 - self.sold_to_grid_wh / self.sold_wh if self.sold_wh else None

    @property
    def self_sufficiency(self) -> float | None:
        """Of what it bought, the share that did not come from the grid; None where it bought nothing."""
        return 1 - self.bought_from_grid_wh / self.bought_wh if self.bought_wh else None


_SUMS = tuple(field.name for field in fields(Figures))


class Totals(NamedTuple):
    """Energy of all trades, and of those with the grid and without; what passes through the fee's account is one."""

    traded_wh: int
    local_wh: int
    grid_wh: int


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
        self._batches_of: defaultdict[int, set[int]] = defaultdict(set)  # by day
        self._sold_wh = self._with_grid_wh = self._passed_wh = 0
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
        self._sum({batch: self._trades.pop(batch) for batch in gone}, sign=-1)
        for day, of_day in list(self._batches_of.items()):
            of_day.difference_update(gone)
            if not of_day:
                del self._batches_of[day]

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
        self._sum(new, sign=1)

    def _sum(self, kept: Mapping[int, array[int]], *, sign: int) -> None:
        days: defaultdict[int, defaultdict[int, Figures]] = defaultdict(lambda: defaultdict(Figures))
        through: defaultdict[int, list[int]] = defaultdict(lambda: [0, 0])
        grid, fee = (self._numbers.get(name or "", -1) for name in (self._grid, self._fee_account))
        for batch, columns in kept.items():
            for slot, seller, buyer, energy_wh, price in _rows(columns):
                day = slot * self._slot_s // DAY_S
                buys, sells = self._tariffs[slot]
                of_day, wei = days[day], energy_wh * price
                sold, bought = of_day[seller], of_day[buyer]
                sold.sell(energy_wh, wei, to_grid=buyer == grid)
                bought.buy(energy_wh, wei, from_grid=seller == grid)
                passes = fee in (seller, buyer) and grid not in (seller, buyer)
                if passes:
                    through[slot][buyer == fee] += energy_wh
                if not (passes and seller == fee):
                    sold.compare(energy_wh, buys)
                if not (passes and buyer == fee):
                    bought.compare(-energy_wh, sells)
                self._batches_of[day].add(batch)
        for day, of_numbers in days.items():
            for number, figures in of_numbers.items():
                self._add(day, self._names[number], figures, sign)
        for slot, (sold_wh, bought_wh) in through.items():
            self._pass_through(slot, sign * sold_wh, sign * bought_wh)

    def _add(self, day: int, actor: str, more: Figures, sign: int) -> None:
        of_day = self._days[day]
        for figures in (self._all[actor], of_day[actor]):
            for name in _SUMS:
                setattr(figures, name, getattr(figures, name) + sign * getattr(more, name))
        self._sold_wh += sign * more.sold_wh
        self._with_grid_wh += sign * (more.sold_to_grid_wh + more.bought_from_grid_wh)
        for figures_of in (self._all, of_day):
            if not figures_of[actor].trades:
                del figures_of[actor]
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
        traded_wh = self._sold_wh - self._passed_wh
        return Totals(traded_wh, traded_wh - self._with_grid_wh, self._with_grid_wh)

    def of_day(self, day: int) -> Mapping[str, Figures]:
        """Everybody who trades on a day, with the figures of that day."""
        return self._days.get(day, {})

    def partners(self, day: int, actor: str) -> Mapping[str, Figures]:
        """With whom an actor trades on a day, with the actor's energy and money of these trades."""
        partners: defaultdict[str, Figures] = defaultdict(Figures)
        number = self._numbers.get(actor)
        for batch in self._batches_of.get(day, ()):
            for slot, seller, buyer, energy_wh, price in _rows(self._trades[batch]):
                if number not in (seller, buyer) or day_of(slot, self._slot_s) != day:
                    continue
                if number == seller:
                    partners[self._names[buyer]].sell(energy_wh, energy_wh * price)
                else:
                    partners[self._names[seller]].buy(energy_wh, energy_wh * price)
        return partners


def day_of(slot: int, slot_s: int) -> int:
    """The day (since the epoch, UTC) in which a slot begins."""
    return slot * slot_s // DAY_S


def _at(tariff: Tariff, energy_wh: int) -> tuple[int, int]:
    """What energy that is provided (positive) or needed comes to with the grid, in wei; and 1 where nobody knows."""
    price = tariff.buys_wei_per_wh if energy_wh > 0 else tariff.sells_wei_per_wh
    if not energy_wh:
        return 0, 0
    return (0, 1) if price is None else (energy_wh * price, 0)


def _rows(columns: array[int]) -> Iterator[tuple[int, ...]]:
    """The trades that are kept, one after the other."""
    return zip(*[iter(columns)] * _COLUMNS, strict=True)
