# SPDX-License-Identifier: GPL-3.0-or-later
"""What is in the database stays in it: through new versions, copies, archives and a rebuild."""

import os
import signal
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest
from energy_bridge.clearing import Rules
from energy_bridge.gate import Gate, close_due_slots, settle_late_readings
from energy_bridge.model import NWH_PER_WH, BatchState, Fate, Reading, Trade
from energy_bridge.schema import SCHEMA
from energy_bridge.store import Attempt, Batch, Store, StoreError

RULES = Rules(grid="grid")
GATE = Gate(actors=frozenset({"grid", "pv"}), slot_s=900, grace_s=0, simulated=True)
OPERATOR = "0x01"
# What the bridge wrote before it had versions of its schema: two slots, one settled and one open.
SCHEMA_1 = """
CREATE TABLE meta (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE batches (id INTEGER PRIMARY KEY, state TEXT NOT NULL, seq INTEGER UNIQUE, nonce INTEGER UNIQUE, raw BLOB,
    hash TEXT, block INTEGER, reason TEXT);
CREATE TABLE slots (slot INTEGER PRIMARY KEY, first_at REAL NOT NULL, closed_at REAL, batch INTEGER REFERENCES batches);
CREATE INDEX slots_open ON slots (slot) WHERE closed_at IS NULL;
CREATE INDEX slots_by_batch ON slots (batch);
CREATE TABLE readings (source TEXT NOT NULL, boot INTEGER NOT NULL, seq INTEGER NOT NULL, digest BLOB NOT NULL,
    received_at REAL NOT NULL, time REAL NOT NULL, slot INTEGER NOT NULL REFERENCES slots, energy_wh INTEGER NOT NULL,
    price_wei_per_wh INTEGER NOT NULL, fate TEXT NOT NULL, PRIMARY KEY (source, boot, seq)) WITHOUT ROWID;
CREATE INDEX readings_by_slot ON readings (slot, source);
CREATE TABLE trades (slot INTEGER NOT NULL REFERENCES slots, position INTEGER NOT NULL, seller TEXT NOT NULL,
    buyer TEXT NOT NULL, energy_wh INTEGER NOT NULL, price_wei_per_wh INTEGER NOT NULL, PRIMARY KEY (slot, position))
    WITHOUT ROWID;
INSERT INTO meta VALUES ('market', 'a market');
INSERT INTO batches VALUES (1, 'FINAL', 0, 7, x'beef', '0xabc', 12, NULL), (2, 'REFUSED', NULL, NULL, NULL, NULL, NULL,
    'no money'), (3, 'FINAL', NULL, NULL, NULL, NULL, NULL, NULL);
INSERT INTO slots VALUES (5, 1.0, 2.0, 1), (6, 3.0, 4.0, 2), (7, 5.0, 6.0, 3), (8, 7.0, NULL, NULL);
INSERT INTO readings VALUES ('pv', 1, 5, x'05', 1.0, 1.0, 5, 100, 2, 'counted'),
    ('pv', 1, 6, x'06', 3.0, 3.0, 6, 100, 2, 'counted'), ('pv', 1, 7, x'07', 5.0, 5.0, 7, 0, 2, 'counted'),
    ('pv', 1, 8, x'08', 7.0, 7.0, 8, 100, 2, 'open'), ('grid', 1, 5, x'15', 1.0, 1.0, 5, 0, 9, 'counted'),
    ('pv', 1, 9, x'09', 7.0, 7.0, 5, 130, 2, 'late');
INSERT INTO trades VALUES (5, 0, 'pv', 'grid', 100, 9), (6, 0, 'pv', 'grid', 100, 9);
PRAGMA user_version = 1;
"""


def said(source: str, slot: int, energy_wh: int, seq: int | None = None) -> tuple[Reading, bytes]:
    number = slot if seq is None else seq
    return Reading(source, 1, number, 0.0, slot, energy_wh * NWH_PER_WH, 2), b"%d %s" % (number, source.encode())


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "bridge.sqlite"


@pytest.fixture
def store(path: Path) -> Iterator[Store]:
    with closing(Store(path)) as opened:
        yield opened


def killed_at(point: str, act: Callable[[Callable[[str], None]], object]) -> None:
    """Let a process of its own do this with the database, and be killed at that point."""

    def die(reached: str) -> None:
        if reached == point:
            os.kill(os.getpid(), signal.SIGKILL)

    if (pid := os.fork()) == 0:
        act(die)
        os._exit(0)  # it came so far
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signal.SIGKILL


def test_what_was_stored_before_is_told_from_what_is_new_in_one_commit(store: Store) -> None:
    first, second, third = (said("pv", slot, 100) for slot in (5, 6, 7))
    forged = (first[0], b"other bytes")
    store.add([first], 1.0)
    added = store.add([second, first, second, forged, third], 2.0)
    assert [(one.new, one.same) for one in added] == [
        (True, True),
        (False, True),
        (False, True),
        (False, False),
        (True, True),
    ]
    assert [slot.slot for slot in store.open_slots()] == [5, 6, 7]
    assert [slot.slot for slot in store.open_slots(6)] == [5, 6]
    assert [store.readings(slot, Fate.OPEN) for slot in (5, 6)] == [[first[0]], [second[0]]]


def settle(store: Store, slot: int, *, seq: int) -> int:
    """A slot's way to its end, in which pv sells 100 Wh to the grid."""
    store.add([said("pv", slot, 100), said("grid", slot, 0)], 1.0)
    close_due_slots(store, GATE, RULES, now=2.0)
    batch = store.form_batch(slots_per_day=96, most_trades=100, now=3.0)
    assert batch is not None
    store.signed(batch, Attempt(f"0x{seq}", seq + 10, b"raw"), seq=seq, operator=OPERATOR, now=4.0)
    store.mined(batch, BatchState.MINED, transaction=f"0x{seq}", block=9, block_hash="0xb")
    store.final(batch)
    return batch


def test_a_database_of_the_first_version_is_brought_up_to_date(path: Path) -> None:
    with closing(sqlite3.connect(path)) as old:
        old.executescript(SCHEMA_1)
    with closing(Store(path)) as store:
        assert store.belongs_to("market", "another") == "a market"
        standings = {seq: store.standing("pv", 1, seq) for seq in (5, 6, 7, 8, 9)}
        assert [
            standing and (standing.fate, standing.batch and standing.batch.state, standing.settled)
            for standing in standings.values()
        ] == [
            (Fate.COUNTED, BatchState.FINAL, True),
            (Fate.COUNTED, BatchState.REFUSED, False),
            (Fate.COUNTED, None, True),
            (Fate.OPEN, None, False),
            (Fate.LATE, None, False),
        ]
        refused, settled = standings[6], standings[5]
        assert refused is not None and settled is not None
        assert (settled.batch and settled.batch.hash, refused.reason) == ("0xabc", "no money")
        assert (store.next_seq(), store.next_nonce(OPERATOR)) == (1, 8)
        settle_late_readings(store, RULES)
        assert store.form_batch(slots_per_day=96, most_trades=9, now=9.0) is not None
        (batch,) = store.batches(BatchState.BATCHED)
        assert [trade for _, trade in store.trades(batch.id)] == [Trade("pv", "grid", 30, 9, 5, imbalance=True)]


def schema(path: Path) -> set[tuple[str, str]]:
    """What there is in a database, by kind and name."""
    with closing(sqlite3.connect(path)) as db:
        return set(db.execute("SELECT type, name FROM sqlite_master"))


@pytest.mark.parametrize("version", [1, 2])
def test_a_database_of_an_older_version_becomes_as_a_new_one_is(path: Path, version: int) -> None:
    with closing(sqlite3.connect(path)) as old:
        if version == 1:
            old.executescript(SCHEMA_1)
        else:
            for statement in SCHEMA:
                old.execute(statement)
            for name in ("trades_by_seller", "trades_by_buyer", "trades_refused"):
                old.execute(f"DROP INDEX {name}")
            old.execute("PRAGMA user_version = 2")
    Store(path).close()
    Store(path.with_name("new.sqlite")).close()
    assert schema(path) == schema(path.with_name("new.sqlite"))
    Store(path, read_only=True).close()


def test_the_last_price_is_that_of_the_newest_reading_for_a_slot_up_to_it(store: Store) -> None:
    for seq, (slot, price) in enumerate([(3, 30), (9, 90), (5, 50), (7, 70)]):
        store.add([(Reading("grid", 1, seq, 0.0, slot, 0, price), b"%d" % seq)], 1.0)
    store.add([(Reading("grid", 2, 0, 0.0, 4, 0, 40), b"later")], 1.0)
    assert store.last_prices("grid", range(2, 11)) == {2: None, 3: 30} | dict.fromkeys(range(4, 11), 40)
    assert [store.last_price("grid", slot) for slot in (2, 3, 4)] == [None, 30, 40]
    assert store.last_prices("pv", [5]) == {5: None}
    assert store.last_prices("grid", []) == {}


def test_a_database_of_a_later_version_is_left_alone(path: Path) -> None:
    with closing(sqlite3.connect(path)) as later:
        later.execute("PRAGMA user_version = 99")
    with pytest.raises(StoreError, match="has schema 99, and this bridge knows 3"):
        Store(path)


@pytest.mark.parametrize("point", ["migrate before", "migrate after"])
def test_a_migration_that_is_killed_begins_again_or_is_done(path: Path, point: str) -> None:
    with closing(sqlite3.connect(path)) as old:
        old.executescript(SCHEMA_1)
    killed_at(point, lambda at: Store(path, at=at))
    with closing(Store(path)) as store:
        assert store.status()["readings"]["stored"] == 6


def test_each_commit_is_named_before_and_after(path: Path) -> None:
    points: list[str] = []
    with closing(Store(path, at=points.append)) as store:
        settle(store, 5, seq=0)
    assert [point for point in points if point.endswith("before")] == [
        f"{name} before" for name in ("migrate", "insert", "close", "batch", "sign", "mined", "final")
    ]
    assert [point.replace("after", "before") for point in points if point.endswith("after")] == points[::2]


def test_a_backup_holds_what_was_there_when_it_was_made(store: Store, tmp_path: Path) -> None:
    settle(store, 5, seq=0)
    store.backup(tmp_path / "copy.sqlite")
    settle(store, 6, seq=1)
    with closing(Store(tmp_path / "copy.sqlite", read_only=True)) as copy:
        assert (copy.next_seq(), store.next_seq()) == (1, 2)
    assert sorted(file.name for file in tmp_path.iterdir() if "part" in file.name) == []


def test_a_backup_that_cannot_be_written_says_so(store: Store, tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"the backup .*/nowhere/copy.sqlite cannot be written"):
        store.backup(tmp_path / "nowhere/copy.sqlite")


def test_an_archive_takes_what_is_over_and_leaves_the_numbers(store: Store, tmp_path: Path) -> None:
    settle(store, 5, seq=0)
    store.add([said("pv", 6, 100), said("grid", 6, 0)], 5.0)
    assert store.archive(tmp_path / "archive.sqlite", before=4.0) == 1
    assert store.archive(tmp_path / "archive.sqlite", before=4.0) == 0
    assert (store.next_seq(), store.next_nonce(OPERATOR)) == (1, 11)
    assert store.standing("pv", 1, 5) is None
    with closing(sqlite3.connect(tmp_path / "archive.sqlite")) as archive:
        counts = archive.execute("SELECT (SELECT count(*) FROM readings), (SELECT count(*) FROM trades)").fetchone()
    assert counts == (2, 1)
    assert [reading.slot for reading in store.readings(6, Fate.OPEN)] == [6, 6]


def test_an_archive_keeps_no_number_that_may_be_given_back(store: Store, tmp_path: Path) -> None:
    store.add([said("pv", 5, 100), said("grid", 5, 0)], 1.0)
    close_due_slots(store, GATE, RULES, now=2.0)
    batch = store.form_batch(slots_per_day=96, most_trades=100, now=3.0)
    assert batch is not None
    store.signed(batch, Attempt("0x0", 0, b"raw"), seq=0, operator=OPERATOR, now=4.0)
    store.archive(tmp_path / "archive.sqlite", before=9.0)
    store.again(batch)
    assert store.next_seq() == 0, "the batch that reverted gets it again"


@pytest.mark.parametrize("point", ["archive copy before", "archive copy after", "archive before", "archive after"])
def test_an_archive_that_is_killed_is_ended_the_next_time(path: Path, tmp_path: Path, point: str) -> None:
    archive = tmp_path / "archive.sqlite"
    with closing(Store(path)) as store:
        settle(store, 5, seq=0)
    killed_at(point, lambda at: Store(path, at=at).archive(archive, before=4.0))
    with closing(Store(path)) as store:
        store.archive(archive, before=4.0)
        assert store.standing("pv", 1, 5) is None
    with closing(sqlite3.connect(archive)) as database:
        assert database.execute("SELECT count(*) FROM readings").fetchone() == (2,)


@pytest.mark.parametrize(("point", "made"), [("backup before", False), ("backup after", True)])
def test_a_backup_that_is_killed_is_whole_or_not_there(path: Path, tmp_path: Path, point: str, *, made: bool) -> None:
    backup = tmp_path / "copy.sqlite"
    with closing(Store(path)) as store:
        settle(store, 5, seq=0)
    killed_at(point, lambda at: Store(path, at=at).backup(backup))
    assert backup.exists() is made
    with closing(Store(path)) as store:
        store.backup(backup)
    with closing(Store(backup, read_only=True)) as copy:
        assert copy.next_seq() == 1


@pytest.mark.parametrize(("energy_wh", "trades"), [(100, []), (130, [Trade("pv", "grid", 30, 2, 5, imbalance=True)])])
def test_a_reading_for_a_slot_that_was_archived_stands_against_what_it_had(
    store: Store, tmp_path: Path, energy_wh: int, trades: list[Trade]
) -> None:
    settle(store, 5, seq=0)
    store.archive(tmp_path / "archive.sqlite", before=4.0)
    store.add([said("grid", 5, 0, seq=98), said("pv", 5, energy_wh, seq=99)], 5.0)
    settle_late_readings(store, RULES)
    batch = store.form_batch(slots_per_day=96, most_trades=9, now=9.0)
    assert [trade for _, trade in (store.trades(batch) if batch else [])] == trades


def test_a_rebuilt_database_knows_the_numbers_and_what_each_slot_had(store: Store) -> None:
    batch = Batch(1, BatchState.FINAL, 3, "0xabc", 12, "0xb", None)
    trades = [Trade("pv", "load", 70, 2, 5), Trade("pv", "grid", 30, 2, 5)]
    store.rebuild([(batch, trades)], next_seq=4, operator=OPERATOR, next_nonce=6, now=4.0)
    assert (store.next_seq(), store.next_nonce(OPERATOR)) == (4, 6)
    store.add([said("grid", 5, 0, seq=1), said("pv", 5, 100, seq=2), said("load", 5, -60, seq=3)], 5.0)
    settle_late_readings(store, RULES)
    made = store.form_batch(slots_per_day=96, most_trades=9, now=9.0)
    assert made is not None
    assert [trade for _, trade in store.trades(made)] == [Trade("load", "grid", 10, 2, 5, imbalance=True)]
    with pytest.raises(StoreError, match="the database is not empty"):
        store.rebuild([], next_seq=0, operator=OPERATOR, next_nonce=0, now=4.0)
