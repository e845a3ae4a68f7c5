# SPDX-License-Identifier: GPL-3.0-or-later
"""Gate closure: a slot that is complete, or whose grace time is over, is cleared and becomes a batch."""

from __future__ import annotations

import logging
from collections.abc import Iterable

from energy_bridge.clearing import clear
from energy_bridge.model import BatchState, Fate, Reading
from energy_bridge.store import Store

__all__ = ["close_due_slots", "counted"]

log = logging.getLogger(__name__)


def counted(readings: Iterable[Reading]) -> list[Reading]:
    """The reading of each source that counts: the one that it sent last, by (boot, seq)."""
    last: dict[str, Reading] = {}
    for reading in sorted(readings, key=lambda reading: (reading.boot, reading.seq)):
        last[reading.source] = reading
    return sorted(last.values(), key=lambda reading: reading.source)


def close_due_slots(store: Store, *, actors: int, grid: str, grace_s: float, now: float) -> list[int]:
    """Close every slot that is due and return those that are settled at once, because there was nothing to trade.

    A grid that did not report in time trades at the price that it named last. A slot that needs the grid before it
    ever named a price is refused as a whole: nothing in it is traded.
    """
    settled = []
    for slot in store.due_slots(actors=actors, opened_before=now - grace_s):
        readings = counted(store.readings(slot, Fate.OPEN))
        price = store.last_price(grid, slot)
        trades = clear(readings, grid=grid, grid_price_wei_per_wh=price or 0)
        refusal = None
        if price is None and any(grid in (trade.seller, trade.buyer) for trade in trades):
            trades, refusal = [], "the grid has named no price yet"
            log.warning("slot_refused slot=%d reason=%s", slot, refusal)
        state = store.close_slot(slot, readings, trades, now, refusal=refusal)
        log.info("slot_closed slot=%d reported=%d of=%d trades=%d", slot, len(readings), actors, len(trades))
        if state is BatchState.FINAL:
            settled.append(slot)
    return settled
