# SPDX-License-Identifier: GPL-3.0-or-later
"""What a source sees: an acknowledgement once a reading is durable, the same answer again, and how it ends."""

import contextlib
import hashlib
import os
import socket
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from energy_bridge.gate import close_due_slots
from energy_bridge.model import BatchState, Fate, Reading, Trade
from energy_bridge.receiver import DRAIN_LIMIT, Receiver
from energy_bridge.store import Store, StoreError
from energy_bridge.wire import decode_answer, encode_reading

SECRETS = {"load": b"l" * 32, "pv": b"p" * 32, "grid": b"g" * 32}
READING = Reading("pv", 1, 0, 1000.0, 5, 100, 2)


class Setup:
    """A receiver on a real socket, and a source's socket that talks to it."""

    def __init__(self, directory: Path) -> None:
        self.store = Store(directory / "bridge.sqlite")
        self.now = 1000.0
        self.server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.server.setblocking(False)
        self.server.bind(("127.0.0.1", 0))
        self.client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.client.connect(self.server.getsockname())
        self.client.settimeout(0.2)
        self.stored = 0
        self.receiver = Receiver(
            self.server, self.store, sources=SECRETS, secrets=SECRETS, clock=lambda: self.now, on_stored=self._count
        )

    def _count(self) -> None:
        self.stored += 1

    def send(self, reading: Reading) -> None:
        self.client.send(encode_reading(reading, SECRETS[reading.source]))

    def hear(self, source: str = "pv") -> dict[str, Any]:
        return decode_answer(self.client.recv(65536), SECRETS[source])

    def ask(self, reading: Reading) -> dict[str, Any]:
        self.send(reading)
        self.receiver.drain()
        return self.hear(reading.source)

    def close_slots(self) -> list[int]:
        return close_due_slots(self.store, actors=3, grid="grid", grace_s=30, now=self.now)


def damage(database: Path, *statements: str) -> None:
    with contextlib.closing(sqlite3.connect(database)) as db:
        for statement in statements:
            db.execute(statement)
        db.commit()


@pytest.fixture
def setup(tmp_path: Path) -> Iterator[Setup]:
    made = Setup(tmp_path)
    yield made
    made.store.close()
    made.server.close()
    made.client.close()


def test_a_reading_is_acknowledged_with_its_key(setup: Setup) -> None:
    answer = setup.ask(READING)
    assert answer == {"version": 1, "source": "pv", "boot": 1, "seq": 0, "status": "stored", "slot": 5}
    assert setup.stored == 1


def test_repeating_a_reading_stores_nothing_and_asks_where_it_stands(setup: Setup) -> None:
    assert setup.ask(READING) == setup.ask(READING)
    assert setup.stored == 1
    assert setup.store.status()["readings"]["stored"] == 1


def test_other_bytes_under_a_used_key_are_a_conflict(setup: Setup) -> None:
    setup.ask(READING)
    assert setup.ask(replace(READING, energy_wh=101))["status"] == "conflict"
    assert setup.ask(READING)["status"] == "stored"


def test_a_number_that_went_back_is_stored_too(setup: Setup) -> None:
    assert setup.ask(replace(READING, seq=9))["status"] == "stored"
    assert setup.ask(replace(READING, seq=3))["status"] == "stored"


def test_a_slot_closes_when_everyone_reported(setup: Setup) -> None:
    for source in SECRETS:
        assert setup.close_slots() == []
        setup.ask(replace(READING, source=source))
    setup.close_slots()
    assert setup.ask(READING)["status"] == "batched"


def test_a_slot_closes_after_its_grace_time_and_what_comes_then_is_late(setup: Setup) -> None:
    setup.ask(READING)
    setup.now += 29
    setup.close_slots()
    assert setup.ask(READING)["status"] == "stored"
    setup.now += 1
    setup.close_slots()
    assert setup.ask(replace(READING, source="load"))["status"] == "late"
    assert setup.store.status()["readings"] == {"stored": 2, "open": 0, "counted": 1, "superseded": 0, "late": 1}


def test_the_last_reading_of_a_source_counts(setup: Setup) -> None:
    setup.ask(replace(READING, boot=2, seq=0, energy_wh=0))
    setup.ask(replace(READING, boot=1, seq=8))
    setup.now += 30
    assert setup.close_slots() == [5], "the zero reading of the later start counts: nothing to trade"
    assert setup.ask(replace(READING, boot=1, seq=8))["status"] == "superseded"
    answer = setup.ask(replace(READING, boot=2, seq=0, energy_wh=0))
    assert (answer["status"], answer["transaction"], answer["deliver"]) == ("settled", None, True)


def test_a_grid_that_is_late_trades_at_its_last_price(setup: Setup) -> None:
    setup.ask(replace(READING, source="grid", slot=4, price_wei_per_wh=7))
    setup.ask(READING)
    setup.now += 30
    setup.close_slots()
    assert [trade for batch in setup.store.batches(*BatchState) for trade in setup.store.trades(batch.id)] == [
        Trade("pv", "grid", 100, 7, 5)
    ]


@pytest.mark.parametrize("needed_wh", [0, 60, 150])
def test_a_slot_that_needs_a_grid_which_never_named_a_price_is_refused_as_a_whole(setup: Setup, needed_wh: int) -> None:
    readings = [READING, replace(READING, source="load", energy_wh=-needed_wh, price_wei_per_wh=9)]
    for reading in readings:
        setup.ask(reading)
    setup.now += 30
    assert setup.close_slots() == []
    for reading in readings:
        answer = setup.ask(reading)
        assert (answer["status"], answer["reason"]) == ("refused", "the grid has named no price yet")
        assert "deliver" not in answer
    assert setup.store.status()["trades"] == {"made": 0, "settled": 0}
    assert [batch.state for batch in setup.store.batches(*BatchState)] == [BatchState.REFUSED]


def test_a_slot_that_needs_no_grid_trades_without_its_price(setup: Setup) -> None:
    setup.ask(READING)
    setup.ask(replace(READING, source="load", energy_wh=-100, price_wei_per_wh=9))
    setup.now += 30
    setup.close_slots()
    assert setup.ask(READING)["status"] == "batched"
    assert [trade for batch in setup.store.batches(*BatchState) for trade in setup.store.trades(batch.id)] == [
        Trade("pv", "load", 100, 2, 5)
    ]


def test_settled_is_pushed_to_where_the_source_last_was(setup: Setup) -> None:
    setup.ask(replace(READING, energy_wh=0))
    setup.receiver.notify_settled(5)
    with pytest.raises(TimeoutError):
        setup.hear()
    setup.now += 30
    for slot in setup.close_slots():
        setup.receiver.notify_settled(slot)
    assert setup.hear()["status"] == "settled"


def test_a_proven_source_is_told_why_and_a_stranger_nothing(setup: Setup) -> None:
    answer = setup.ask(replace(READING, slot=2**32))
    assert answer["status"] == "rejected"
    assert "slot" in answer["reason"]
    assert answer["seq"] == 0
    setup.client.send(encode_reading(READING, b"guessed"))
    setup.receiver.drain()
    with pytest.raises(TimeoutError):
        setup.hear()


def test_one_wake_up_takes_many_datagrams_in_one_commit(setup: Setup) -> None:
    for seq in range(50):
        setup.send(replace(READING, seq=seq))
    setup.receiver.drain()
    assert {setup.hear()["seq"] for _ in range(50)} == set(range(50))
    assert setup.stored == 1
    assert DRAIN_LIMIT >= 50


def test_what_cannot_be_stored_is_not_acknowledged(setup: Setup, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise StoreError("the database cannot be written: database or disk is full")

    with monkeypatch.context() as patch:
        patch.setattr(setup.store, "add", full)
        setup.send(READING)
        setup.receiver.drain()
    with pytest.raises(TimeoutError):
        setup.hear()
    assert setup.ask(READING)["status"] == "stored"


def test_a_reading_whose_standing_cannot_be_read_is_stored_and_not_acknowledged(
    setup: Setup, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    damage(tmp_path / "bridge.sqlite", "ALTER TABLE batches RENAME COLUMN hash TO gone")
    setup.send(READING)
    setup.receiver.drain()
    with pytest.raises(TimeoutError):
        setup.hear()
    assert setup.stored == 1
    assert "the database cannot be read: no such column" in caplog.text


@pytest.mark.parametrize(
    "read",
    [
        lambda store: store.standing("pv", 1, 0),
        lambda store: store.due_slots(actors=1, opened_before=0.0),
        lambda store: store.readings(5, Fate.OPEN),
        lambda store: store.last_price("grid", 5),
        lambda store: store.batches(*BatchState),
        lambda store: store.slots_of(1),
        lambda store: store.trades(1),
        lambda store: store.next_seq(),
        lambda store: store.next_nonce(),
        lambda store: store.status(),
    ],
)
def test_what_cannot_be_read_says_why(tmp_path: Path, read: Callable[[Store], object]) -> None:
    with contextlib.closing(Store(tmp_path / "bridge.sqlite")) as store:
        damage(
            tmp_path / "bridge.sqlite", *(f"DROP TABLE {name}" for name in ("trades", "readings", "slots", "batches"))
        )
        with pytest.raises(StoreError, match="the database cannot be read: no such table"):
            read(store)


def test_a_reading_that_was_added_survives_a_kill(tmp_path: Path) -> None:
    script = (
        "import os, signal, sys; from pathlib import Path; from energy_bridge.store import Store;"
        "from energy_bridge.model import Reading;"
        "Store(Path(sys.argv[1])).add([(Reading('pv', 1, 0, 0.0, 5, 100, 2), b'x')], 0.0);"
        "os.kill(os.getpid(), signal.SIGKILL)"
    )
    database = tmp_path / "bridge.sqlite"
    run = subprocess.run([sys.executable, "-c", script, str(database)], check=False, env=dict(os.environ))
    assert run.returncode == -9
    store = Store(database)
    assert store.status()["readings"]["stored"] == 1
    assert store.status()["next_slot"] == 6
    store.close()


def test_a_database_of_a_later_schema_is_left_alone(tmp_path: Path) -> None:
    database = tmp_path / "bridge.sqlite"
    Store(database).close()
    with sqlite3.connect(database) as db:
        db.execute("PRAGMA user_version = 99")
    before = hashlib.sha256(database.read_bytes()).hexdigest()
    with pytest.raises(StoreError, match="schema 99"):
        Store(database)
    assert hashlib.sha256(database.read_bytes()).hexdigest() == before
