# SPDX-License-Identifier: GPL-3.0-or-later
"""A slot closes when it is time, once, with what its sources said; nothing of what they measured is rounded away."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from energy_bridge.clearing import Battery, Rules
from energy_bridge.gate import Gate, close_due_slots, settle_late_readings, to_wh
from energy_bridge.model import NWH_PER_WH, Fate, Reading, Trade
from energy_bridge.store import OpenSlot, Store
from hypothesis import given
from hypothesis import strategies as st

RULES = Rules(grid="grid")
ACTORS = frozenset({"grid", "load", "pv"})
PLAYED = Gate(actors=ACTORS, slot_s=900, grace_s=30, simulated=True)
WALL = Gate(actors=ACTORS, slot_s=900, grace_s=30)


class Slots:
    """A database, and what is said into it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.store = Store(path)
        self._seq = 0

    def say(self, slot: int, now: float = 0.0, price: int = 7, **energies_wh: float) -> None:
        for source, energy_wh in energies_wh.items():
            self._seq += 1
            reading = Reading(source, 1, self._seq, now, slot, round(energy_wh * NWH_PER_WH), price)
            self.store.add([(reading, b"%d" % self._seq)], now)

    def close(self, gate: Gate = PLAYED, rules: Rules = RULES, now: float = 1e12) -> list[int]:
        before = {slot.slot for slot in self.store.open_slots()}
        close_due_slots(self.store, gate, rules, now=now)
        return sorted(before - {slot.slot for slot in self.store.open_slots()})

    def trades(self) -> list[Trade]:
        """All trades that were made and are in no batch yet."""
        trades = []
        while (batch := self.store.form_batch(slots_per_day=96, most_trades=100, now=0.0)) is not None:
            trades += [trade for _, trade in self.store.trades(batch)]
        return trades

    def missing(self, slot: int) -> str:
        with closing(sqlite3.connect(self.path)) as database:
            return str(database.execute("SELECT missing FROM slots WHERE slot = ?", (slot,)).fetchone()[0])


@pytest.fixture
def slots(tmp_path: Path) -> Iterator[Slots]:
    made = Slots(tmp_path / "bridge.sqlite")
    yield made
    made.store.close()


@pytest.mark.parametrize(
    ("gate", "first_at", "sources", "now", "due"),
    [
        pytest.param(PLAYED, 50.0, ACTORS, 50.0, True, id="played: all have reported"),
        pytest.param(PLAYED, 50.0, {"pv"}, 79.9, False, id="played: the others have time"),
        pytest.param(PLAYED, 50.0, {"pv"}, 80.0, True, id="played: their time is over"),
        pytest.param(WALL, 50.0, ACTORS, 899.9, False, id="wall: a forecast may still be changed"),
        pytest.param(WALL, 50.0, ACTORS, 900.0, True, id="wall: it begins, and all have reported"),
        pytest.param(WALL, 50.0, {"pv"}, 929.9, False, id="wall: the others have time"),
        pytest.param(WALL, 50.0, {"pv"}, 930.0, True, id="wall: their time is over"),
        pytest.param(WALL, 5000.0, {"pv"}, 5029.9, False, id="wall: one that nobody knew of gives it, too"),
        pytest.param(WALL, 5000.0, {"pv"}, 5030.0, True, id="wall: and closes then"),
        pytest.param(Gate(ACTORS, 900, 30, lead_s=300), 50.0, ACTORS, 600.0, True, id="wall: the gate is before"),
        pytest.param(Gate(ACTORS, 900, 30, lead_s=-900), 50.0, ACTORS, 1799.9, False, id="wall: the gate is after"),
    ],
)
def test_a_slot_is_due_when_its_gate_says_so(
    gate: Gate, first_at: float, sources: set[str], now: float, *, due: bool
) -> None:
    assert gate.is_due(OpenSlot(1, first_at, frozenset(sources)), now) is due


def test_a_slot_closes_once_with_what_was_said_last(slots: Slots) -> None:
    slots.say(5, pv=70, load=-100, grid=0)
    slots.say(5, pv=80)
    assert slots.close() == [5]
    assert slots.close() == []
    assert slots.trades() == [Trade("pv", "load", 80, 7, 5), Trade("grid", "load", 20, 7, 5)]
    assert [reading.energy_nwh for reading in slots.store.readings(5, Fate.SUPERSEDED)] == [70 * NWH_PER_WH]


def test_who_is_missing_counts_with_zero_and_is_named(slots: Slots) -> None:
    slots.say(5, pv=80, grid=0)
    assert slots.close(now=29.0) == []
    assert slots.close(now=30.0) == [5]
    assert slots.trades() == [Trade("pv", "grid", 80, 7, 5)]
    assert slots.missing(5) == '["load"]'


def test_a_grid_that_is_silent_trades_at_the_price_that_it_named_last(slots: Slots) -> None:
    slots.say(4, grid=0, price=3)
    slots.say(6, grid=0, price=9)
    slots.say(5, pv=80)
    slots.close()
    assert slots.trades() == [Trade("pv", "grid", 80, 3, 5)]


def test_a_slot_that_needs_a_price_that_nobody_named_is_refused(slots: Slots) -> None:
    slots.say(5, pv=80)
    slots.close()
    standing = slots.store.standing("pv", 1, 1)
    assert standing is not None
    assert (standing.settled, standing.reason) == (
        False,
        "The grid has named no price yet, and no tariff says what it buys at.",
    )
    assert slots.trades() == []


def test_the_remainder_of_a_wh_is_carried_to_the_next_slot(slots: Slots) -> None:
    for slot in range(5, 9):
        slots.say(slot, pv=100.3, grid=0, load=0)
        slots.close()
    assert [trade.energy_wh for trade in slots.trades()] == [100, 101, 100, 100]


@given(energies_nwh=st.lists(st.integers(-(10**13), 10**13), max_size=30))
def test_whole_wh_come_to_what_was_measured_but_for_half_a_wh(energies_nwh: list[int]) -> None:
    carry_nwh, total_wh = 0, 0
    for energy_nwh in energies_nwh:
        wh, carry_nwh = to_wh(energy_nwh, carry_nwh)
        total_wh += wh
        assert 2 * abs(carry_nwh) <= NWH_PER_WH
    assert sum(energies_nwh) == total_wh * NWH_PER_WH + carry_nwh


@pytest.mark.parametrize(("energy_nwh", "wh"), [(5 * 10**8, 0), (15 * 10**8, 2), (-5 * 10**8, 0), (-15 * 10**8, -2)])
def test_half_a_wh_is_rounded_to_even(energy_nwh: int, wh: int) -> None:
    assert to_wh(energy_nwh, 0)[0] == wh


@given(readings=st.permutations([("pv", 1, 9), ("pv", 2, 0), ("pv", 1, 10), ("load", 1, 1)]))
def test_the_order_of_arrival_does_not_matter(readings: list[tuple[str, int, int]]) -> None:
    with TemporaryDirectory() as folder, closing(Store(Path(folder) / "bridge.sqlite")) as store:
        store.add([(Reading(source, boot, seq, 0.0, 5, 1, 1), b"") for source, boot, seq in readings], 0.0)
        counted = store.newest(5)
    assert {source: (r.boot, r.seq) for source, r in counted.items()} == {"pv": (2, 0), "load": (1, 1)}


def test_a_battery_keeps_its_charge_from_slot_to_slot(slots: Slots) -> None:
    rules = Rules(grid="grid", batteries={"battery": Battery(capacity_wh=100, charge_wh=40)})
    for slot, energy_wh in ((5, 30), (6, 30), (7, -70), (8, -70)):
        slots.say(slot, battery=energy_wh, grid=0)
        slots.close(rules=rules)
    assert [(trade.seller, trade.energy_wh) for trade in slots.trades()] == [
        ("battery", 30),
        ("battery", 10),
        ("grid", 70),
        ("grid", 30),
    ]
    slots.say(8, battery=100)
    settle_late_readings(slots.store, rules)
    assert [(trade.seller, trade.energy_wh, trade.imbalance) for trade in slots.trades()] == [("battery", 100, True)]


def test_what_comes_late_waits_for_a_price(slots: Slots) -> None:
    slots.say(5, pv=0)
    slots.close()
    slots.say(5, pv=10)
    assert settle_late_readings(slots.store, RULES) == []
    assert slots.trades() == []
    slots.say(5, grid=0)
    settle_late_readings(slots.store, RULES)
    assert slots.trades() == [Trade("pv", "grid", 10, 7, 5, imbalance=True)]
