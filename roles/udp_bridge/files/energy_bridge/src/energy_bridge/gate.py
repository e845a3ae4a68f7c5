# SPDX-License-Identifier: GPL-3.0-or-later
"""Gate closure: a slot that is complete, or whose grace time is over, is cleared once; what is late is an imbalance."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace

from energy_bridge.clearing import Battery, NoGridPrice, Rules, charges_after, clear, imbalance_trades
from energy_bridge.model import NWH_PER_WH, UINT32_MAX, Fate, Offer, Reading
from energy_bridge.store import Closing, OpenSlot, Store

__all__ = ["Gate", "close_due_slots", "settle_late_readings", "to_wh"]

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Gate:
    """When a slot closes. Times are seconds.

    By the wall clock a slot's gate is at its beginning, less lead_s; it closes there if all whom it waits for (actors)
    have reported, and grace_s later if not. By a simulated clock slots have nothing to do with the time: a slot closes
    as soon as they have reported, or grace_s after its first reading.
    """

    actors: frozenset[str]
    slot_s: int
    grace_s: float
    lead_s: float = 0.0
    simulated: bool = False

    def newest_slot(self, now: float) -> int:
        """The last slot that may be due; before the wall clock came to a slot it is not."""
        return UINT32_MAX if self.simulated else max(0, int((now + self.lead_s) // self.slot_s))

    def is_due(self, slot: OpenSlot, now: float) -> bool:
        """Is it time to close this slot?"""
        opens = slot.first_at if self.simulated else max(slot.slot * self.slot_s - self.lead_s, slot.first_at)
        is_complete = self.actors <= slot.sources
        return now >= opens + self.grace_s or (is_complete and (self.simulated or now >= opens))


def to_wh(energy_nwh: int, carry_nwh: int) -> tuple[int, int]:
    """Round energy and what is carried, half to even, to whole Wh; and what is carried from there (nWh)."""
    whole, rest = divmod(energy_nwh + carry_nwh, NWH_PER_WH)
    if 2 * rest > NWH_PER_WH or (2 * rest == NWH_PER_WH and whole % 2):
        return whole + 1, rest - NWH_PER_WH
    return whole, rest


def close_due_slots(store: Store, gate: Gate, rules: Rules, *, now: float) -> list[Reading]:
    """Close every slot that is due; returns the readings that are settled by that, because there was nothing to trade.

    Who is missing counts with zero. A grid that did not report in time trades at the price that it named last; a slot
    that needs the grid before it ever named a price is refused as a whole: nothing in it is traded.
    """
    settled: list[Reading] = []
    for slot in store.open_slots(gate.newest_slot(now)):
        if gate.is_due(slot, now):
            with store.commit("close"):  # a reading that comes meanwhile waits, and is late
                readings = store.newest(slot.slot)
                closing = _clear(store, slot.slot, readings, gate, rules)
                store.close_slot(slot.slot, closing, now)
            log.info(
                "slot_closed slot=%d trades=%d missing=%s",
                slot.slot,
                len(closing.trades),
                ",".join(closing.missing) or "nobody",
            )
            if closing.refusal:
                log.warning("slot_refused slot=%d reason=%s", slot.slot, closing.refusal)
            if not closing.trades:
                settled += readings.values()
    return settled


def settle_late_readings(store: Store, rules: Rules) -> list[Reading]:
    """Trade what came after its slot had closed as imbalances; returns the readings of which there is nothing to trade.

    The newest reading of a source stands against what its slot has of it so far. What the grid says late is no trade:
    its quantity is the balance of the others.
    """
    done: list[Reading] = []
    for slot in store.late_slots():
        with store.commit("imbalance"):
            known, carries = store.counted(slot), store.carries_nwh()
            price = store.last_price(rules.grid, slot)
            for late in sorted(store.readings(slot, Fate.LATE), key=_age):
                before, before_wh = known.get(late.source, (None, store.baseline_wh(slot, late.source)))
                if before is not None and _age(before) > _age(late):
                    store.set_fate(late, Fate.SUPERSEDED)
                    done.append(late)
                    continue
                delta_nwh = late.energy_nwh - (before.energy_nwh if before else before_wh * NWH_PER_WH)
                delta_wh, carry_nwh = to_wh(delta_nwh, carries.get(late.source, 0))
                charged = _charged(store, rules)
                try:
                    trades = imbalance_trades(slot, late.source, delta_wh, charged, grid_price_wei_per_wh=price)
                except NoGridPrice:
                    break  # it waits for one
                known[late.source], carries[late.source] = (late, before_wh + delta_wh), carry_nwh
                store.settle_late(
                    late,
                    before_wh + delta_wh,
                    trades,
                    carries_nwh={late.source: carry_nwh},
                    charges_wh=_charges_wh(charges_after(trades, charged.batteries)),
                )
                log.info("imbalance slot=%d source=%s energy_wh=%d", slot, late.source, delta_wh)
                if not trades:
                    done.append(late)
    return done


def _clear(store: Store, slot: int, readings: Mapping[str, Reading], gate: Gate, rules: Rules) -> Closing:
    carries, rounded = store.carries_nwh(), {}
    for source, reading in readings.items():
        rounded[source], carries[source] = to_wh(reading.energy_nwh, carries.get(source, 0))
    offers = [Offer(source, rounded[source], reading.price_wei_per_wh) for source, reading in readings.items()]
    charged = _charged(store, rules)
    refusal = None
    try:
        trades = clear(slot, offers, charged, grid_price_wei_per_wh=store.last_price(rules.grid, slot))
    except NoGridPrice as error:
        trades, refusal = [], str(error)
    return Closing(
        counted={(r.source, r.boot, r.seq): rounded[r.source] for r in readings.values()},
        trades=trades,
        missing=sorted(gate.actors - readings.keys()),
        refusal=refusal,
        carries_nwh={source: carries[source] for source in readings},
        charges_wh=_charges_wh(charges_after(trades, charged.batteries)),
    )


def _charged(store: Store, rules: Rules) -> Rules:
    """The rules with the batteries as all closed slots have left them."""
    known = store.charges_wh()
    batteries = {
        name: replace(battery, charge_wh=min(known.get(name, battery.charge_wh), battery.capacity_wh))
        for name, battery in rules.batteries.items()
    }
    return replace(rules, batteries=batteries)


def _charges_wh(batteries: Mapping[str, Battery]) -> dict[str, int]:
    return {name: battery.charge_wh for name, battery in batteries.items()}


def _age(reading: Reading) -> tuple[int, int]:
    return reading.boot, reading.seq
