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
    """Close every slot that is due and return those that need no settlement, because nothing was traded in them.

    A grid that did not report in time trades at the price that it named last.
    """
    settled = []
    for slot in store.due_slots(actors=actors, opened_before=now - grace_s):
        readings = counted(store.readings(slot, Fate.OPEN))
        trades = clear(readings, grid=grid, grid_price_wei_per_wh=store.last_price(grid, slot))
        state = store.close_slot(slot, readings, trades, now)
        log.info("slot_closed slot=%d reported=%d of=%d trades=%d", slot, len(readings), actors, len(trades))
        if state is BatchState.FINAL:
            settled.append(slot)
    return settled
