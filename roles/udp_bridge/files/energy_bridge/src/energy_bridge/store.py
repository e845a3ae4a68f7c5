# SPDX-License-Identifier: GPL-3.0-or-later
"""The bridge's memory: one SQLite file, durable before anyone is told anything (WAL, synchronous FULL).

Every method that writes is one transaction: it happened entirely, or not at all. Every method may raise StoreError.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from energy_bridge.model import BatchState, Fate, Reading, Trade

__all__ = ["Batch", "Standing", "Store", "StoreError", "Stored"]

SCHEMA_VERSION = 1
_SCHEMA = """
CREATE TABLE meta (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE batches (
    id INTEGER PRIMARY KEY,
    state TEXT NOT NULL,
    seq INTEGER UNIQUE,            -- the contract's number; a refused batch gives it back
    nonce INTEGER UNIQUE,          -- of the last signed transaction
    raw BLOB,                      -- that transaction, stored before it is sent
    hash TEXT,
    block INTEGER,                 -- where it was last seen
    reason TEXT
);
CREATE TABLE slots (
    slot INTEGER PRIMARY KEY,
    first_at REAL NOT NULL,        -- seconds since the epoch, the bridge's clock
    closed_at REAL,
    batch INTEGER REFERENCES batches
);
CREATE INDEX slots_open ON slots (slot) WHERE closed_at IS NULL;
CREATE INDEX slots_by_batch ON slots (batch);
CREATE TABLE readings (
    source TEXT NOT NULL,
    boot INTEGER NOT NULL,
    seq INTEGER NOT NULL,
    digest BLOB NOT NULL,          -- SHA-256 of the datagram
    received_at REAL NOT NULL,     -- seconds since the epoch, the bridge's clock
    time REAL NOT NULL,            -- the same, the source's clock
    slot INTEGER NOT NULL REFERENCES slots,
    energy_nwh INTEGER NOT NULL,
    price_wei_per_wh INTEGER NOT NULL,
    fate TEXT NOT NULL,
    UNIQUE (source, boot, seq)     -- not the primary key: in the order of arrival a commit writes half as many pages
);
CREATE INDEX readings_by_slot ON readings (slot, source);
CREATE TABLE trades (
    slot INTEGER NOT NULL REFERENCES slots,
    position INTEGER NOT NULL,
    seller TEXT NOT NULL,
    buyer TEXT NOT NULL,
    energy_wh INTEGER NOT NULL,
    price_wei_per_wh INTEGER NOT NULL,
    PRIMARY KEY (slot, position)
) WITHOUT ROWID;
"""
_READING = "source, boot, seq, time, slot, energy_nwh, price_wei_per_wh"
_INSERT_READING = (
    f"INSERT OR IGNORE INTO readings ({_READING}, digest, received_at, fate) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"  # noqa: S608
)
_BATCH = "id, state, seq, nonce, raw, hash, block, reason"


class StoreError(Exception):
    """The database cannot be used; its text says why."""


@dataclass(frozen=True, slots=True)
class Stored:
    """What adding one datagram came to: is it new, are its bytes those that stand under its key, its fate when new."""

    new: bool
    same: bool
    fate: Fate = Fate.OPEN


@dataclass(frozen=True, slots=True)
class Batch:
    """The settlement of one slot as it stands; None for what is not known yet."""

    id: int
    state: BatchState
    seq: int | None
    nonce: int | None
    raw: bytes | None
    hash: str | None
    block: int | None
    reason: str | None


@dataclass(frozen=True, slots=True)
class Standing:
    """Where one reading stands: its own fate, and its batch's state once the slot is closed."""

    slot: int
    fate: Fate
    state: BatchState | None = None
    transaction: str | None = None
    reason: str | None = None


class Store:
    """An open database. Not for use by several threads."""

    def __init__(self, path: Path, *, read_only: bool = False) -> None:
        """Open the database, made first if it is missing; raises StoreError."""
        mode = "ro" if read_only else "rwc"
        try:
            self._db = sqlite3.connect(f"{path.absolute().as_uri()}?mode={mode}", uri=True, isolation_level=None)
            self._db.execute("PRAGMA busy_timeout = 5000")
            self._db.execute("PRAGMA foreign_keys = ON")
            if not read_only:
                self._db.execute("PRAGMA journal_mode = WAL")
                self._db.execute("PRAGMA synchronous = FULL")
                # Under load most pages of a commit are those of the commits before: they are written once for all.
                self._db.execute("PRAGMA cache_size = -16000")
                self._db.execute("PRAGMA wal_autocheckpoint = 8000")
            version = self._db.execute("PRAGMA user_version").fetchone()[0]
            if version == 0 and not read_only:
                self._db.executescript(f"BEGIN; {_SCHEMA} PRAGMA user_version = {SCHEMA_VERSION}; COMMIT;")
                version = SCHEMA_VERSION
        except sqlite3.Error as error:
            raise StoreError(f"the database {path} cannot be opened: {error}") from error
        if version != SCHEMA_VERSION:
            raise StoreError(f"the database {path} has schema {version}, and this bridge knows {SCHEMA_VERSION}")

    def close(self) -> None:
        """Close the file; the object is of no use afterwards."""
        self._db.close()

    def belongs_to(self, name: str, value: str) -> str:
        """What the database was first used with under this name; a new one remembers the value given."""
        with self._transaction():
            self._db.execute("INSERT OR IGNORE INTO meta VALUES (?, ?)", (name, value))
            row = self._db.execute("SELECT value FROM meta WHERE name = ?", (name,)).fetchone()
        return str(row[0])

    # ------------------------------------------------------------ readings

    def add(self, received: Sequence[tuple[Reading, bytes]], now: float) -> list[Stored]:
        """Store readings, each with its datagram's digest; durable when this returns, nothing stored when it raises."""
        if not received:
            return []
        with self._transaction():
            fates = self._fates({reading.slot for reading, _ in received}, now)
            new = {slot: Stored(new=True, same=True, fate=fate) for slot, fate in fates.items()}
            return [self._add(reading, digest, new[reading.slot], now) for reading, digest in received]

    def _fates(self, slots: Iterable[int], now: float) -> dict[int, Fate]:
        """What becomes of a new reading of each slot; a slot that is new is opened."""
        fates = {}
        for slot in slots:
            self._db.execute("INSERT OR IGNORE INTO slots (slot, first_at) VALUES (?, ?)", (slot, now))
            closed = self._db.execute("SELECT closed_at FROM slots WHERE slot = ?", (slot,)).fetchone()[0]
            fates[slot] = Fate.OPEN if closed is None else Fate.LATE
        return fates

    def _add(self, reading: Reading, digest: bytes, new: Stored, now: float) -> Stored:
        key = (reading.source, reading.boot, reading.seq)
        rest = (reading.time, reading.slot, reading.energy_nwh, reading.price_wei_per_wh, digest, now, new.fate)
        if self._db.execute(_INSERT_READING, key + rest).rowcount:
            return new
        row = self._db.execute("SELECT digest FROM readings WHERE source = ? AND boot = ? AND seq = ?", key).fetchone()
        return Stored(new=False, same=row[0] == digest)

    def standing(self, source: str, boot: int, seq: int) -> Standing | None:
        """Where the reading with this key stands; None where it is not stored."""
        rows = self._read(
            "SELECT slot, fate, state, hash, reason FROM readings JOIN slots USING (slot)"
            " LEFT JOIN batches ON batches.id = batch WHERE source = ? AND boot = ? AND readings.seq = ?",
            (source, boot, seq),
        )
        if not rows:
            return None
        slot, fate, state, transaction, reason = rows[0]
        return Standing(slot, Fate(fate), state and BatchState(state), transaction, reason)

    # --------------------------------------------------------------- slots

    def due_slots(self, *, actors: int, opened_before: float) -> list[int]:
        """The open slots for which that many sources reported, or that opened long enough ago; in order."""
        rows = self._read(
            "SELECT slot FROM slots WHERE closed_at IS NULL AND (first_at <= ? OR"
            " (SELECT count(DISTINCT source) FROM readings WHERE readings.slot = slots.slot) >= ?) ORDER BY slot",
            (opened_before, actors),
        )
        return [slot for (slot,) in rows]

    def readings(self, slot: int, fate: Fate) -> list[Reading]:
        """A slot's readings of that fate, ordered by key."""
        rows = self._read(
            f"SELECT {_READING} FROM readings WHERE slot = ? AND fate = ? ORDER BY source, boot, seq",  # noqa: S608
            (slot, fate),
        )
        return [Reading(*row) for row in rows]

    def last_price(self, source: str, slot: int) -> int | None:
        """The price in wei per Wh that this source named last for a slot up to this one; None if it never did."""
        rows = self._read(
            "SELECT price_wei_per_wh FROM readings WHERE source = ? AND slot <= ?"
            " ORDER BY slot DESC, boot DESC, seq DESC LIMIT 1",
            (source, slot),
        )
        return int(rows[0][0]) if rows else None

    def close_slot(
        self, slot: int, counted: Iterable[Reading], trades: Sequence[Trade], now: float, *, refusal: str | None = None
    ) -> BatchState:
        """Close a slot with its trades as one batch: final at once without trades, REFUSED when a refusal says why."""
        state = BatchState.REFUSED if refusal else BatchState.BATCHED if trades else BatchState.FINAL
        with self._transaction():
            batch = self._db.execute("INSERT INTO batches (state, reason) VALUES (?, ?)", (state, refusal)).lastrowid
            self._db.execute("UPDATE slots SET closed_at = ?, batch = ? WHERE slot = ?", (now, batch, slot))
            self._db.execute("UPDATE readings SET fate = ? WHERE slot = ?", (Fate.SUPERSEDED, slot))
            self._db.executemany(
                "UPDATE readings SET fate = ? WHERE source = ? AND boot = ? AND seq = ?",
                [(Fate.COUNTED, reading.source, reading.boot, reading.seq) for reading in counted],
            )
            self._db.executemany(
                "INSERT INTO trades VALUES (?, ?, ?, ?, ?, ?)",
                [
                    (slot, position, trade.seller, trade.buyer, trade.energy_wh, trade.price_wei_per_wh)
                    for position, trade in enumerate(trades)
                ],
            )
        return state

    def oldest_unsettled(self) -> float | None:
        """When the oldest slot closed (seconds since the epoch) that is neither settled nor refused; None: there is none."""
        rows = self._read(
            "SELECT min(closed_at) FROM batches JOIN slots ON slots.batch = batches.id WHERE state NOT IN (?, ?)",
            (BatchState.FINAL, BatchState.REFUSED),
        )
        return None if rows[0][0] is None else float(rows[0][0])

    def batches_by_state(self) -> dict[BatchState, int]:
        """How many batches are in each state."""
        counts = dict(self._read("SELECT state, count(*) FROM batches GROUP BY state"))
        return {state: counts.get(state, 0) for state in BatchState}

    # ------------------------------------------------------------- batches

    def batches(self, *states: BatchState) -> list[Batch]:
        """The batches in these states, oldest first."""
        marks = ", ".join("?" * len(states))
        rows = self._read(f"SELECT {_BATCH} FROM batches WHERE state IN ({marks}) ORDER BY id", states)  # noqa: S608
        return [Batch(row[0], BatchState(row[1]), *row[2:]) for row in rows]

    def slots_of(self, batch: int) -> list[int]:
        """The slots that a batch settles."""
        return [slot for (slot,) in self._read("SELECT slot FROM slots WHERE batch = ? ORDER BY slot", (batch,))]

    def trades(self, batch: int) -> list[Trade]:
        """A batch's trades, in the order in which they were cleared."""
        rows = self._read(
            "SELECT seller, buyer, energy_wh, price_wei_per_wh, slot FROM trades JOIN slots USING (slot)"
            " WHERE batch = ? ORDER BY slot, position",
            (batch,),
        )
        return [Trade(*row) for row in rows]

    def digests(self, batch: int) -> list[bytes]:
        """SHA-256 of the datagrams that a batch was cleared from, in the order of the readings' keys."""
        rows = self._read(
            "SELECT digest FROM readings JOIN slots USING (slot) WHERE batch = ? AND fate = ?"
            " ORDER BY source, boot, seq",
            (batch, Fate.COUNTED),
        )
        return [digest for (digest,) in rows]

    def next_seq(self) -> int:
        """The sequence number after the last one that a signed batch holds."""
        return int(self._read("SELECT coalesce(max(seq) + 1, 0) FROM batches")[0][0])

    def next_nonce(self) -> int:
        """The nonce after the last one that was ever signed."""
        return int(self._read("SELECT coalesce(max(nonce) + 1, 0) FROM batches")[0][0])

    def signed(self, batch: int, *, seq: int, nonce: int, raw: bytes, transaction: str) -> None:
        """BATCHED → SIGNED: the transaction is durable, and may be sent from now on."""
        self._update(batch, BatchState.SIGNED, seq=seq, nonce=nonce, raw=raw, hash=transaction)

    def sent(self, batch: int) -> None:
        """To SENT: a node has the transaction, no block that we know of does."""
        self._update(batch, BatchState.SENT, block=None)

    def mined(self, batch: int, *, block: int, succeeded: bool) -> None:
        """To MINED, or to REVERTED when the contract refused it in that block."""
        self._update(batch, BatchState.MINED if succeeded else BatchState.REVERTED, block=block)

    def final(self, batch: int) -> None:
        """MINED → FINAL."""
        self._update(batch, BatchState.FINAL)

    def again(self, batch: int) -> None:
        """REVERTED → BATCHED: its nonce is spent (and stays, so that no other gets it), its sequence number is not."""
        self._update(batch, BatchState.BATCHED, seq=None, raw=None, hash=None, block=None)

    def refused(self, batch: int, reason: str) -> None:
        """BATCHED → REFUSED: the contract would revert, and says why."""
        self._update(batch, BatchState.REFUSED, reason=reason)

    def _update(self, batch: int, state: BatchState, **columns: Any) -> None:
        names = ", ".join(f"{name} = ?" for name in ("state", *columns))
        with self._transaction():
            self._db.execute(f"UPDATE batches SET {names} WHERE id = ?", (state, *columns.values(), batch))  # noqa: S608

    # -------------------------------------------------------------- status

    def status(self) -> dict[str, Any]:
        """Figures for people and programs; next_slot is the first slot after all used ones, None while none is."""

        def count(query: str) -> int:
            return int(self._read(query)[0][0])

        fates = dict(self._read("SELECT fate, count(*) FROM readings GROUP BY fate"))
        states = dict(self._read("SELECT state, count(*) FROM batches GROUP BY state"))
        used = self._read("SELECT max(slot) FROM slots")[0][0]
        return {
            "readings": {"stored": sum(fates.values()), **{fate.value: fates.get(fate, 0) for fate in Fate}},
            "slots": {
                "open": count("SELECT count(*) FROM slots WHERE closed_at IS NULL"),
                "closed": count("SELECT count(*) FROM slots WHERE closed_at IS NOT NULL"),
            },
            "trades": {
                "made": count("SELECT count(*) FROM trades"),
                "settled": count(
                    "SELECT count(*) FROM trades JOIN slots USING (slot) JOIN batches ON batches.id = batch"
                    " WHERE state = 'FINAL'"
                ),
            },
            "batches": {state.value: states.get(state, 0) for state in BatchState},
            "next_slot": None if used is None else used + 1,
        }

    def _read(self, query: str, values: Sequence[Any] = ()) -> list[Any]:
        """All rows of a query outside of a transaction."""
        try:
            return self._db.execute(query, values).fetchall()
        except sqlite3.Error as error:
            raise StoreError(f"the database cannot be read: {error}") from error

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        try:
            self._db.execute("BEGIN IMMEDIATE")
            yield
            self._db.execute("COMMIT")
        except BaseException as error:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            if isinstance(error, sqlite3.Error):
                raise StoreError(f"the database cannot be written: {error}") from error
            raise
