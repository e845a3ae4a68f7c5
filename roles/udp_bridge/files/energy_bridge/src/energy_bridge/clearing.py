# SPDX-License-Identifier: GPL-3.0-or-later
"""Clearing: the readings of one slot become trades. Pure; the order of arrival does not matter."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from energy_bridge.model import Reading, Trade

__all__ = ["clear"]


@dataclass(slots=True)
class _Offer:
    actor: str
    price_wei_per_wh: int
    left_wh: int


def clear(readings: Iterable[Reading], *, grid: str, grid_price_wei_per_wh: int) -> list[Trade]:
    """Match one slot's surplus with its demand, in merit order, each trade at its seller's price.

    Sellers come by rising price, buyers by falling price, equal ones by actor, as long as the seller asks no more than
    the buyer gives. What is left trades with the grid at the grid's price, whatever it is: energy has to go somewhere.
    The grid's own quantity is the balance and is ignored.
    Expects one reading per actor, all of one slot. Every actor's sales less purchases equal its reading, to the Wh.
    """
    others = [reading for reading in readings if reading.source != grid]
    sellers = [_Offer(r.source, r.price_wei_per_wh, r.energy_wh) for r in others if r.energy_wh > 0]
    buyers = [_Offer(r.source, r.price_wei_per_wh, -r.energy_wh) for r in others if r.energy_wh < 0]
    sellers.sort(key=lambda offer: (offer.price_wei_per_wh, offer.actor))
    buyers.sort(key=lambda offer: (-offer.price_wei_per_wh, offer.actor))
    slot = others[0].slot if others else 0
    trades = list(_match(sellers, buyers, slot))
    trades += [Trade(o.actor, grid, o.left_wh, grid_price_wei_per_wh, slot) for o in sellers if o.left_wh]
    trades += [Trade(grid, o.actor, o.left_wh, grid_price_wei_per_wh, slot) for o in buyers if o.left_wh]
    return trades


def _match(sellers: list[_Offer], buyers: list[_Offer], slot: int) -> Iterable[Trade]:
    asks, bids = iter(sellers), iter(buyers)
    ask, bid = next(asks, None), next(bids, None)
    while ask and bid and ask.price_wei_per_wh <= bid.price_wei_per_wh:
        energy_wh = min(ask.left_wh, bid.left_wh)
        yield Trade(ask.actor, bid.actor, energy_wh, ask.price_wei_per_wh, slot)
        ask.left_wh -= energy_wh
        bid.left_wh -= energy_wh
        ask = ask if ask.left_wh else next(asks, None)
        bid = bid if bid.left_wh else next(bids, None)
