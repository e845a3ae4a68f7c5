# SPDX-License-Identifier: GPL-3.0-or-later
"""Clearing: the offers of one slot become trades. Pure; the order in which offers come does not matter.

Another method is another function like `_merit_order`, named in `_METHODS`; batteries, fee and grid are common to all.
docs/clearing.md has an example of each.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import NamedTuple

from energy_bridge.model import UINT32_MAX, Offer, Trade

__all__ = ["Battery", "Method", "NoGridPrice", "Rules", "charges_after", "clear", "imbalance_trades"]


class NoGridPrice(ValueError):  # noqa: N818 - it names what is missing
    """The grid has to take or bring energy, and nobody ever said at what price."""


class Method(StrEnum):
    """How sellers and buyers of a slot find each other, and at what price."""

    PAY_AS_BID = "pay_as_bid"
    UNIFORM = "uniform"
    BILATERAL = "bilateral"


@dataclass(frozen=True, slots=True)
class Battery:
    """What a battery can hold and what it holds; ValueError unless 0 <= charge_wh <= capacity_wh."""

    capacity_wh: int
    charge_wh: int

    def __post_init__(self) -> None:
        if not 0 <= self.charge_wh <= self.capacity_wh:
            raise ValueError(f"A battery of {self.capacity_wh} Wh cannot hold {self.charge_wh} Wh.")

    def within(self, energy_wh: int) -> int:
        """As much of what it provides (positive) or takes (negative) as its charge and its free capacity allow."""
        return max(self.charge_wh - self.capacity_wh, min(self.charge_wh, energy_wh))


@dataclass(frozen=True, slots=True)
class Rules:
    """How a market is cleared; names are actors, prices wei per Wh.

    pairs are the (seller, buyer) that trade in the method bilateral. The grid buys and sells at its tariffs, where None
    is the price that it named itself; imbalances at theirs, where None is the price of any other trade with the grid.
    fee_wei_per_wh is not negative and goes to fee_account, which is not the grid. batteries are as before the slot.
    """

    grid: str
    method: Method = Method.PAY_AS_BID
    pairs: Sequence[tuple[str, str]] = ()
    grid_buys_wei_per_wh: int | None = None
    grid_sells_wei_per_wh: int | None = None
    imbalance_buys_wei_per_wh: int | None = None
    imbalance_sells_wei_per_wh: int | None = None
    fee_wei_per_wh: int = 0
    fee_account: str | None = None
    batteries: Mapping[str, Battery] = field(default_factory=dict)


@dataclass(slots=True)
class _Open:
    """One side of an offer, and how much of it has no trade yet."""

    actor: str
    price_wei_per_wh: int
    left_wh: int


class _Match(NamedTuple):
    seller: str
    buyer: str
    energy_wh: int
    price_wei_per_wh: int


def clear(slot: int, offers: Iterable[Offer], rules: Rules, *, grid_price_wei_per_wh: int | None) -> list[Trade]:
    """Trade what a slot's actors provide and need with each other, by the rules' method, and the rest with the grid.

    Two actors trade only where the seller asks no more than the buyer gives less the fee: nobody gets worse than its
    limit. Limits do not bind the grid: what is left trades with it at its price, whatever that is, because energy has
    to go somewhere. Its own quantity is the balance, and is ignored.
    Expects one offer per actor, all of this slot, and the price that the grid named last (None: it never did); raises
    NoGridPrice where one is needed and there is none. Every actor's sales less purchases equal its offer, to the Wh; a
    battery's equal what its charge and capacity allow of it.
    """
    asks, bids = _sides(offers, rules)
    trades = [trade for match in _METHODS[rules.method](asks, bids, rules) for trade in _with_fee(match, slot, rules)]
    buys = _first(rules.grid_buys_wei_per_wh, grid_price_wei_per_wh)
    sells = _first(rules.grid_sells_wei_per_wh, grid_price_wei_per_wh)
    rest = [(ask.actor, ask.left_wh) for ask in asks] + [(bid.actor, -bid.left_wh) for bid in bids]
    return trades + [
        _with_grid(slot, actor, left_wh, rules.grid, buys=buys, sells=sells) for actor, left_wh in rest if left_wh
    ]


def imbalance_trades(
    slot: int, actor: str, delta_wh: int, rules: Rules, *, grid_price_wei_per_wh: int | None
) -> list[Trade]:
    """Trade with the grid what an actor provides (positive) or needs (negative) beyond what its slot was cleared with.

    No trade for no difference, nor for the grid, which is the balance; more than one only where one cannot hold it. A
    battery trades what its charge and capacity allow. No fee. Raises NoGridPrice as `clear` does.
    """
    if actor == rules.grid:
        return []
    if actor in rules.batteries:
        delta_wh = rules.batteries[actor].within(delta_wh)
    buys = _first(rules.imbalance_buys_wei_per_wh, rules.grid_buys_wei_per_wh, grid_price_wei_per_wh)
    sells = _first(rules.imbalance_sells_wei_per_wh, rules.grid_sells_wei_per_wh, grid_price_wei_per_wh)
    step_wh = UINT32_MAX if delta_wh > 0 else -UINT32_MAX
    parts_wh = [max(-UINT32_MAX, min(UINT32_MAX, delta_wh - done_wh)) for done_wh in range(0, delta_wh, step_wh)]
    trades = [_with_grid(slot, actor, part_wh, rules.grid, buys=buys, sells=sells) for part_wh in parts_wh]
    return [replace(trade, imbalance=True) for trade in trades]


def charges_after(trades: Iterable[Trade], batteries: Mapping[str, Battery]) -> dict[str, Battery]:
    """The batteries after trades that were made with them: less what each sold, and with what it bought."""
    gained_wh: Counter[str] = Counter()
    for trade in trades:
        gained_wh[trade.seller] -= trade.energy_wh
        gained_wh[trade.buyer] += trade.energy_wh
    return {
        name: replace(battery, charge_wh=battery.charge_wh + gained_wh[name]) for name, battery in batteries.items()
    }


def _sides(offers: Iterable[Offer], rules: Rules) -> tuple[list[_Open], list[_Open]]:
    """Sellers by rising price and buyers by falling price, equal ones by actor; batteries with what they can do."""
    asks: list[_Open] = []
    bids: list[_Open] = []
    for offer in offers:
        battery = rules.batteries.get(offer.actor)
        energy_wh = battery.within(offer.energy_wh) if battery else offer.energy_wh
        if energy_wh and offer.actor != rules.grid:
            (asks if energy_wh > 0 else bids).append(_Open(offer.actor, offer.price_wei_per_wh, abs(energy_wh)))
    asks.sort(key=lambda ask: (ask.price_wei_per_wh, ask.actor))
    bids.sort(key=lambda bid: (-bid.price_wei_per_wh, bid.actor))
    return asks, bids


def _merit_order(asks: Iterable[_Open], bids: Iterable[_Open], rules: Rules) -> Iterator[_Match]:
    """Pay as bid: the cheapest seller with the buyer who gives most, and so on, each match at its seller's price."""
    asks, bids = deque(asks), deque(bids)
    while asks and bids and (match := _meet(asks[0], bids[0], rules)):
        yield match
        if not asks[0].left_wh:
            asks.popleft()
        if not bids[0].left_wh:
            bids.popleft()


def _uniform(asks: Iterable[_Open], bids: Iterable[_Open], rules: Rules) -> Iterator[_Match]:
    """The matches of the merit order, all at the price of its last seller, who is the dearest that was needed.

    It is somebody's own price, so nothing is rounded. No seller that is matched asks more; and the last buyer, who
    gives the least of those that are matched, gives that much and the fee.
    """
    matches = list(_merit_order(asks, bids, rules))
    return (match._replace(price_wei_per_wh=matches[-1].price_wei_per_wh) for match in matches)


def _bilateral(asks: Iterable[_Open], bids: Iterable[_Open], rules: Rules) -> Iterator[_Match]:
    """Nobody but the pairs that the rules name, in their order, each match at its seller's price."""
    sellers = {ask.actor: ask for ask in asks}
    buyers = {bid.actor: bid for bid in bids}
    for seller, buyer in rules.pairs:
        if seller in sellers and buyer in buyers and (match := _meet(sellers[seller], buyers[buyer], rules)):
            yield match


_METHODS: dict[Method, Callable[[Iterable[_Open], Iterable[_Open], Rules], Iterator[_Match]]] = {
    Method.PAY_AS_BID: _merit_order,
    Method.UNIFORM: _uniform,
    Method.BILATERAL: _bilateral,
}


def _meet(ask: _Open, bid: _Open, rules: Rules) -> _Match | None:
    """Take out of both what they trade with each other; None where the limits or what is left do not allow any."""
    energy_wh = min(ask.left_wh, bid.left_wh)
    if not energy_wh or ask.price_wei_per_wh + rules.fee_wei_per_wh > bid.price_wei_per_wh:
        return None
    ask.left_wh -= energy_wh
    bid.left_wh -= energy_wh
    return _Match(ask.actor, bid.actor, energy_wh, ask.price_wei_per_wh)


def _with_fee(match: _Match, slot: int, rules: Rules) -> list[Trade]:
    """The match as a trade, or, because money moves in trades only, as two through the account that keeps the fee.

    Where that account is itself seller or buyer, it trades once: the market takes no trade of somebody with itself.
    """
    seller, buyer, energy_wh, price = match
    account = rules.fee_account
    if account is None or not rules.fee_wei_per_wh:
        return [Trade(seller, buyer, energy_wh, price, slot)]
    legs = [
        Trade(seller, account, energy_wh, price, slot),
        Trade(account, buyer, energy_wh, price + rules.fee_wei_per_wh, slot),
    ]
    return [trade for trade in legs if trade.seller != trade.buyer]


def _with_grid(slot: int, actor: str, energy_wh: int, grid: str, *, buys: int | None, sells: int | None) -> Trade:
    """What an actor provides (positive) goes to the grid, what it needs (negative) comes from it."""
    seller, buyer, price, verb = (actor, grid, buys, "buys") if energy_wh > 0 else (grid, actor, sells, "sells")
    if price is None:
        raise NoGridPrice(f"The grid has named no price yet, and no tariff says what it {verb} at.")
    return Trade(seller, buyer, abs(energy_wh), price, slot)


def _first(*prices_wei_per_wh: int | None) -> int | None:
    return next((price for price in prices_wei_per_wh if price is not None), None)
