# SPDX-License-Identifier: GPL-3.0-or-later
"""The bridge's memory: one SQLite file, in which every acknowledged reading and every signed transaction stands.

WAL with synchronous FULL: what a commit holds survives a power cut. Every commit has a name, for the tests that
interrupt the bridge before and after each of them.
"""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from operator import attrgetter
from pathlib import Path
from typing import Any

from energy_bridge.model import UINT32_MAX, UNMINED, BatchState, Fate, Reading, Trade
from energy_bridge.schema import ARCHIVE_SCHEMA, SCHEMA, SCHEMA_VERSION, migrations

__all__ = [
    "Attempt",
    "Batch",
    "Closing",
    "OpenSlot",
    "Standing",
    "Store",
    "StoreError",
    "Stored",
    "nowhere",
    "trade_of",
    "unreadable",
]

_READING = "source, boot, seq, time, slot, energy_nwh, price_wei_per_wh"
_ADD = (
    f"INSERT OR IGNORE INTO readings ({_READING}, digest, received_at, fate)"  # noqa: S608
    " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
)
_values = attrgetter(*_READING.split(", "))
_BATCH = "id, state, seq, hash, block, block_hash, reason"
_TRADE = "seller, buyer, energy_wh, price_wei_per_wh, slot, imbalance"
_IN_ORDER = "ORDER BY source, boot, seq"
# What goes to an archive, by table: first what others refer to. `moved` has the ids of the batches.
_MOVED = {
    "batches": "id IN moved",
    "attempts": "batch IN moved",
    "agreements": "batch IN moved",
    "trades": "batch IN moved",
    "readings": "batch IN moved OR (batch IS NULL AND fate NOT IN ('open', 'late') AND received_at < :before"
    " AND slot NOT IN (SELECT slot FROM trades WHERE batch IS NULL))",
}
_BASELINES = (
    "INSERT OR REPLACE INTO baselines SELECT slot, source, wh FROM ("  # noqa: S608
    " SELECT slot, source, wh, row_number() OVER (PARTITION BY slot, source ORDER BY boot DESC, seq DESC) AS place"
    f" FROM readings WHERE wh IS NOT NULL AND ({_MOVED['readings']})) WHERE place = 1"
)

PATIENCE_S = 10.0


class StoreError(Exception):
    """The database cannot be used; its text says why."""


@dataclass(frozen=True, slots=True)
class Stored:
    """What adding one datagram came to: is it new, are its bytes those that stand under its key, and its fate."""

    new: bool
    same: bool
    fate: Fate


@dataclass(frozen=True, slots=True)
class OpenSlot:
    """A slot that waits for its gate: when its first reading came (s since the epoch), and who reported."""

    slot: int
    first_at: float
    sources: frozenset[str]


@dataclass(frozen=True, slots=True)
class Closing:
    """What a slot's clearing came to; counted maps the key (source, boot, seq) of each reading to its whole Wh."""

    counted: Mapping[tuple[str, int, int], int]
    trades: Sequence[Trade]
    missing: Sequence[str]
    refusal: str | None
    carries_nwh: Mapping[str, int]
    charges_wh: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Batch:
    """A batch as it stands; None for what is not known yet. hash, block and block_hash are where it was last seen."""

    id: int
    state: BatchState
    seq: int | None
    hash: str | None
    block: int | None
    block_hash: str | None
    reason: str | None


@dataclass(frozen=True, slots=True)
class Attempt:
    """A signed transaction of a batch."""

    hash: str
    nonce: int
    raw: bytes


@dataclass(frozen=True, slots=True)
class Standing:
    """Where one reading stands: its fate, the batch that rests on it, what its source trades there, what not and why.

    settled tells that nothing is under way for it any more: what was to be traded is final, or there was nothing.
    Where its trades are agreements it rests on so many, of which batch and agreement (an address) are the first.
    """

    slot: int
    fate: Fate
    batch: Batch | None
    traded_wh: int
    refused_wh: int
    reason: str | None
    settled: bool
    agreement: str | None = None
    agreements: int = 0


def trade_of(row: Sequence[Any]) -> Trade:
    """The trade whose columns (seller, buyer, Wh, price, slot, imbalance) a row begins with."""
    return Trade(row[0], row[1], row[2], row[3], row[4], imbalance=bool(row[5]))


def unreadable(error: sqlite3.Error) -> StoreError:
    """What to raise where a query failed."""
    return StoreError(f"the database cannot be read: {error}")


def nowhere(point: str) -> None:
    """Do nothing at this point."""


class Store:
    """An open database. Each thread needs one of its own."""

    def __init__(
        self,
        path: Path,
        *,
        read_only: bool = False,
        patience_s: float = PATIENCE_S,
        at: Callable[[str], None] = nowhere,
    ) -> None:
        """Open the database, made or brought to this schema first; raises StoreError.

        patience_s is how long to wait for others who write, at is called with "NAME before" and "NAME after" around
        each commit.
        """
        self._at = at
        mode = "ro" if read_only else "rwc"
        try:
            self._db = sqlite3.connect(f"{path.absolute().as_uri()}?mode={mode}", uri=True, isolation_level=None)
            self._db.execute(f"PRAGMA busy_timeout = {1000 * patience_s:.0f}")
            if not read_only:
                self._db.execute("PRAGMA journal_mode = WAL")
                self._db.execute("PRAGMA synchronous = FULL")
                # A page that many commits change goes from the WAL to its place once for all of them.
                self._db.execute("PRAGMA cache_size = -16000")
                self._db.execute("PRAGMA wal_autocheckpoint = 8000")
            version = self._db.execute("PRAGMA user_version").fetchone()[0]
            if version != SCHEMA_VERSION and not read_only:
                version = self._bring_up_to_date()
            self._db.execute("PRAGMA foreign_keys = ON")
        except sqlite3.Error as error:  # its name alone: sources and visitors are told this, too
            raise StoreError(f"the database {path.name} cannot be opened: {error}") from error
        if version != SCHEMA_VERSION:
            raise StoreError(f"the database {path.name} has schema {version}, and this bridge knows {SCHEMA_VERSION}")

    def _bring_up_to_date(self) -> int:
        with self.commit("migrate"):  # asked again inside: another process may have been faster
            version = int(self._db.execute("PRAGMA user_version").fetchone()[0])
            if version > SCHEMA_VERSION:
                return version
            for statement in SCHEMA if version == 0 else migrations(version):
                self._db.execute(statement)
            self._db.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
        return SCHEMA_VERSION

    def close(self) -> None:
        """Close the file; the object is of no use afterwards."""
        self._db.close()

    @contextmanager
    def commit(self, name: str) -> Iterator[None]:
        """Make one durable step of what is done inside, or nothing; one inside another belongs to the outer one."""
        if self._db.in_transaction:
            yield
            return
        try:
            self._db.execute("BEGIN IMMEDIATE")
            yield
            self._at(f"{name} before")
            self._db.execute("COMMIT")
        except BaseException as error:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            if isinstance(error, sqlite3.Error):
                raise StoreError(f"the database cannot be written: {error}") from error
            raise
        self._at(f"{name} after")

    def belongs_to(self, name: str, value: str) -> str:
        """What the database was first used with under this name; a new one remembers the value given."""
        with self.commit("belong"):
            self._db.execute("INSERT OR IGNORE INTO meta VALUES (?, ?)", (name, value))
            return str(self._one("SELECT value FROM meta WHERE name = ?", (name,)))

    # ------------------------------------------------------------ readings

    def add(self, received: Sequence[tuple[Reading, bytes]], now: float) -> list[Stored]:
        """Store readings, each with its datagram's digest; durable when this returns, nothing stored when it raises."""
        if not received:
            return []
        with self.commit("insert"):
            new = self._new_of(received, now)
            outcomes = [new[reading.slot] for reading, _ in received]
            rows = [
                (*_values(reading), digest, now, outcome.fate)
                for (reading, digest), outcome in zip(received, outcomes, strict=True)
            ]
            if self._add_all(rows):
                return outcomes
            return [self._add(row, outcome) for row, outcome in zip(rows, outcomes, strict=True)]

    def _new_of(self, received: Iterable[tuple[Reading, bytes]], now: float) -> dict[int, Stored]:
        """What adding a new reading comes to, by its slot."""
        slots = {reading.slot for reading, _ in received}
        self._db.executemany("INSERT OR IGNORE INTO slots (slot, first_at) VALUES (?, ?)", [(s, now) for s in slots])
        closed = {slot: self._one("SELECT closed_at IS NOT NULL FROM slots WHERE slot = ?", (slot,)) for slot in slots}
        return {slot: Stored(True, True, Fate.LATE if closed[slot] else Fate.OPEN) for slot in slots}

    def _add_all(self, rows: Sequence[tuple[Any, ...]]) -> bool:
        """Add these where all of them are new, as nearly always; else do nothing."""
        self._db.execute("SAVEPOINT adding")
        are_new = self._db.executemany(_ADD, rows).rowcount == len(rows)
        if not are_new:
            self._db.execute("ROLLBACK TO adding")
        self._db.execute("RELEASE adding")
        return are_new

    def _add(self, row: tuple[Any, ...], new: Stored) -> Stored:
        if self._db.execute(_ADD, row).rowcount:
            return new
        source, boot, seq, *_, digest, _, _ = row
        known = self._db.execute(
            "SELECT digest, fate FROM readings WHERE source = ? AND boot = ? AND seq = ?", (source, boot, seq)
        ).fetchone()
        return Stored(new=False, same=known[0] == digest, fate=Fate(known[1]))

    def standing(self, source: str, boot: int, seq: int) -> Standing | None:
        """Where the reading with this key stands; None when it is not stored."""
        key = (source, boot, seq)
        rows = self._read(
            "SELECT slot, fate, batch, refusal, traded FROM readings JOIN slots USING (slot)"
            " WHERE source = ? AND boot = ? AND seq = ?",
            key,
        )
        if not rows:
            return None
        slot, fate, number, refusal, traded = rows[0]
        if number is None:
            waits = traded if fate == Fate.COUNTED else fate != Fate.IMBALANCE or self._waits(key)
            return Standing(slot, Fate(fate), None, 0, 0, refusal, settled=not waits and refusal is None)
        (batch,) = self._batches("WHERE id = ?", (number,))
        all_wh, refused_wh, reason = self._read(
            "SELECT coalesce(sum(energy_wh), 0), coalesce(sum(energy_wh) FILTER (WHERE reason IS NOT NULL), 0),"
            " min(reason) FROM trades WHERE batch = ? AND slot = ? AND ? IN (seller, buyer)",
            (number, slot, source),
        )[0]
        return Standing(
            slot,
            Fate(fate),
            batch,
            all_wh - refused_wh,
            refused_wh,
            reason or batch.reason,
            settled=batch.state is BatchState.FINAL,
        )

    def _waits(self, key: tuple[str, int, int]) -> bool:
        """Is an imbalance of this reading in no batch yet?"""
        query = "SELECT 1 FROM trades WHERE batch IS NULL AND source = ? AND boot = ? AND reading_seq = ?"
        return self._one(query, key) is not None

    def last_price(self, source: str, slot: int) -> int | None:
        """The price in wei per Wh that this source named last for a slot up to this one; None if it never did."""
        return self.last_prices(source, [slot])[slot]

    def last_prices(self, source: str, slots: Collection[int]) -> dict[int, int | None]:
        """For each of these slots the price in wei per Wh that this source named last for a slot up to it."""
        prices: dict[int, int | None] = dict.fromkeys(slots)
        waiting = sorted(prices)
        query = "SELECT slot, price_wei_per_wh FROM readings WHERE source = ? ORDER BY boot DESC, seq DESC"
        try:
            with closing(self._db.execute(query, (source,))) as rows:
                for first, price in rows if waiting else ():
                    while waiting and waiting[-1] >= first:
                        prices[waiting.pop()] = price
                    if not waiting:
                        break
        except sqlite3.Error as error:
            raise unreadable(error) from error
        return prices

    # --------------------------------------------------------------- slots

    def open_slots(self, until: int = UINT32_MAX) -> list[OpenSlot]:
        """The slots up to this one that are not closed, in order."""
        # From source to source by the index: a slot may have many readings of each.
        rows = self._read(
            "WITH RECURSIVE reported (slot, source) AS ("
            " SELECT slot, (SELECT min(source) FROM readings WHERE readings.slot = slots.slot)"
            " FROM slots WHERE closed_at IS NULL AND slot <= ? UNION ALL"
            " SELECT slot, (SELECT min(source) FROM readings"
            " WHERE readings.slot = reported.slot AND source > reported.source) FROM reported WHERE source IS NOT NULL"
            ") SELECT slot, first_at, source FROM reported JOIN slots USING (slot) ORDER BY slot",
            (until,),
        )
        slots: dict[tuple[int, float], set[str]] = {}
        for slot, first_at, source in rows:
            slots.setdefault((slot, first_at), set()).update([] if source is None else [source])
        return [OpenSlot(slot, first_at, frozenset(sources)) for (slot, first_at), sources in slots.items()]

    def readings(self, slot: int, fate: Fate) -> list[Reading]:
        """A slot's readings of that fate, ordered by key."""
        rows = self._read(f"SELECT {_READING} FROM readings WHERE slot = ? AND fate = ? {_IN_ORDER}", (slot, fate))  # noqa: S608
        return [Reading(*row) for row in rows]

    def newest(self, slot: int) -> dict[str, Reading]:
        """Of each source that reported for an open slot, the reading that it sent last, by (boot, seq)."""
        rows = self._read(
            f"SELECT {_READING} FROM ("  # noqa: S608
            f" SELECT {_READING}, row_number() OVER (PARTITION BY source ORDER BY boot DESC, seq DESC) AS place"
            " FROM readings WHERE slot = ? AND fate = ?) WHERE place = 1",
            (slot, Fate.OPEN),
        )
        return {row[0]: Reading(*row) for row in rows}

    def carries_nwh(self) -> dict[str, int]:
        """What rounding to whole Wh has left of each source's energy so far."""
        return dict(self._read("SELECT source, nwh FROM carries"))

    def charges_wh(self) -> dict[str, int]:
        """What is in each battery after all slots that are closed."""
        return dict(self._read("SELECT actor, wh FROM charges"))

    def close_slot(self, slot: int, closing: Closing, now: float) -> None:
        """Close a slot: what was counted and traded, who was missing. Belongs into one commit with what it rests on."""
        with self.commit("close"):
            self._db.execute(
                "UPDATE slots SET closed_at = ?, traded = ?, missing = ?, refusal = ? WHERE slot = ?",
                (now, len(closing.trades), json.dumps(sorted(closing.missing)), closing.refusal, slot),
            )
            self._db.execute("UPDATE readings SET fate = ? WHERE slot = ?", (Fate.SUPERSEDED, slot))
            self._count(closing.counted, Fate.COUNTED)
            self._trade(closing.trades)
            self._keep(closing.carries_nwh, closing.charges_wh)

    def late_slots(self) -> list[int]:
        """The closed slots with late readings of which nothing was made yet, in order."""
        return [slot for (slot,) in self._read("SELECT DISTINCT slot FROM readings WHERE fate = 'late' ORDER BY slot")]

    def counted(self, slot: int) -> dict[str, tuple[Reading, int]]:
        """What a closed slot has of each source so far: the newest reading that counts, and its whole Wh."""
        rows = self._read(
            f"SELECT {_READING}, wh FROM readings WHERE slot = ? AND fate IN ('counted', 'imbalance')"  # noqa: S608
            f" {_IN_ORDER}",
            (slot,),
        )
        return {row[0]: (Reading(*row[:-1]), row[-1]) for row in rows}

    def settle_late(
        self,
        late: Reading,
        wh: int,
        trades: Iterable[Trade],
        *,
        carries_nwh: Mapping[str, int],
        charges_wh: Mapping[str, int],
    ) -> None:
        """Trade a late reading's difference: wh is what the source's energy in that slot comes to with it."""
        with self.commit("imbalance"):
            key = (late.source, late.boot, late.seq)
            self._count({key: wh}, Fate.IMBALANCE)
            self._trade(trades, key)
            self._keep(carries_nwh, charges_wh)

    def set_fate(self, reading: Reading, fate: Fate) -> None:
        """Say what became of a reading."""
        with self.commit("imbalance"):
            self._db.execute(
                "UPDATE readings SET fate = ? WHERE source = ? AND boot = ? AND seq = ?",
                (fate, reading.source, reading.boot, reading.seq),
            )

    def _count(self, counted: Mapping[tuple[str, int, int], int], fate: Fate) -> None:
        self._db.executemany(
            "UPDATE readings SET fate = ?, wh = ? WHERE source = ? AND boot = ? AND seq = ?",
            [(fate, wh, *key) for key, wh in counted.items()],
        )

    def _trade(
        self, trades: Iterable[Trade], key: tuple[Any, ...] = (None, None, None), *, batch: int | None = None
    ) -> None:
        self._db.executemany(
            f"INSERT INTO trades ({_TRADE}, source, boot, reading_seq, batch) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",  # noqa: S608
            [(t.seller, t.buyer, t.energy_wh, t.price_wei_per_wh, t.slot, t.imbalance, *key, batch) for t in trades],
        )

    def _keep(self, carries_nwh: Mapping[str, int], charges_wh: Mapping[str, int]) -> None:
        self._db.executemany("INSERT OR REPLACE INTO carries VALUES (?, ?)", carries_nwh.items())
        self._db.executemany("INSERT OR REPLACE INTO charges VALUES (?, ?)", charges_wh.items())

    # ------------------------------------------------------------- batches

    def form_batch(self, *, slots_per_day: int, most_trades: int, now: float) -> int | None:
        """Make a batch of the trades that wait longest and fit: whole slots of one day; None when none waits."""
        with self.commit("batch"):
            waiting = self._read(
                "SELECT id, slot, source, boot, reading_seq FROM trades WHERE batch IS NULL ORDER BY id LIMIT ?",
                (most_trades + 1,),
            )
            if not waiting:
                return None
            day = waiting[0][1] // slots_per_day
            groups: dict[tuple[Any, ...], list[int]] = {}
            for trade, *group in waiting:
                if group[0] // slots_per_day == day:
                    groups.setdefault(tuple(group), []).append(trade)
            if len(waiting) > most_trades and len(groups) > 1:
                groups.popitem()  # the rest of this one may not have been read
            batch = self._new_batch(now)
            for (slot, *key), trades in groups.items():
                self._db.executemany("UPDATE trades SET batch = ? WHERE id = ?", [(batch, trade) for trade in trades])
                self._rest(batch, slot, key)
            return batch

    def _new_batch(self, now: float) -> int:
        values = (BatchState.BATCHED, now)
        return int(self._db.execute("INSERT INTO batches (state, formed_at) VALUES (?, ?)", values).lastrowid or 0)

    def _rest(self, batch: int, slot: int, key: Sequence[Any]) -> None:
        """Note on which readings the trades of a slot, or the imbalance of one reading, rest."""
        if key[0] is None:
            self._db.execute("UPDATE readings SET batch = ? WHERE slot = ? AND fate = ?", (batch, slot, Fate.COUNTED))
        else:
            self._db.execute("UPDATE readings SET batch = ? WHERE source = ? AND boot = ? AND seq = ?", (batch, *key))

    def batches(self, *states: BatchState) -> list[Batch]:
        """The batches in these states, in the order of their numbers and then of their making."""
        marks = ", ".join("?" * len(states))
        return self._batches(f"WHERE state IN ({marks}) ORDER BY seq IS NULL, seq, id", states)

    def newest_final(self, count: int) -> list[Batch]:
        """The final batches with the highest numbers, the highest first."""
        return self._batches("WHERE state = ? ORDER BY seq DESC LIMIT ?", (BatchState.FINAL, count))

    def first_seq(self) -> int:
        """The lowest number that a batch here has, where others are in an archive; else 0."""
        return int(self._one("SELECT min(seq) FROM batches") or 0) if self._floor("next_seq") else 0

    def batch_at(self, seq: int) -> Batch | None:
        """The batch that has this number."""
        return next(iter(self._batches("WHERE seq = ?", (seq,))), None)

    def _batches(self, condition: str, values: Sequence[Any]) -> list[Batch]:
        rows = self._read(f"SELECT {_BATCH} FROM batches {condition}", values)  # noqa: S608
        return [Batch(row[0], BatchState(row[1]), *row[2:]) for row in rows]

    def attempts(self, batch: int) -> list[Attempt]:
        """All transactions that were ever signed for a batch, the newest first."""
        rows = self._read("SELECT hash, nonce, raw FROM attempts WHERE batch = ? ORDER BY id DESC", (batch,))
        return [Attempt(*row) for row in rows]

    def slots_of(self, batch: int) -> list[int]:
        """The slots that a batch settles something of."""
        return [
            slot for (slot,) in self._read("SELECT DISTINCT slot FROM trades WHERE batch = ? ORDER BY slot", (batch,))
        ]

    def trades(self, batch: int) -> list[tuple[int, Trade]]:
        """A batch's trades without those that were refused, each with its id, in the order in which they were made."""
        rows = self._read(f"SELECT id, {_TRADE} FROM trades WHERE batch = ? AND reason IS NULL ORDER BY id", (batch,))  # noqa: S608
        return [(trade, trade_of(columns)) for trade, *columns in rows]

    def readings_of(self, batch: int) -> list[tuple[Reading, bytes]]:
        """The readings that a batch rests on, each with its datagram's digest, ordered by key."""
        rows = self._read(f"SELECT {_READING}, digest FROM readings WHERE batch = ? {_IN_ORDER}", (batch,))  # noqa: S608
        return [(Reading(*row[:-1]), row[-1]) for row in rows]

    def next_seq(self) -> int:
        """The sequence number after the last one that a signed batch holds."""
        known = self._one("SELECT max(seq) + 1 FROM batches")
        return max(int(known or 0), self._floor("next_seq"))

    def next_nonce(self, operator: str) -> int:
        """The nonce after the last one that was ever signed with this operator's key."""
        # '' is the operator of what schema 1 signed.
        known = self._one("SELECT max(nonce) + 1 FROM attempts WHERE operator IN (?, '')", (operator,))
        return max(int(known or 0), self._floor(f"next_nonce {operator}"))

    def _floor(self, name: str) -> int:
        """A number that is known without the rows that it came from, which are in an archive or lost."""
        return int(self._one("SELECT value FROM meta WHERE name = ?", (name,)) or 0)

    def _keep_floors(self, next_seq: int, next_nonces: Mapping[str, int]) -> None:
        floors = {"next_seq": next_seq} | {f"next_nonce {operator}": nonce for operator, nonce in next_nonces.items()}
        self._db.executemany("INSERT OR REPLACE INTO meta VALUES (?, ?)", [(k, str(v)) for k, v in floors.items()])

    def signed(self, batch: int, attempt: Attempt, *, seq: int, operator: str, now: float) -> None:
        """To SIGNED: the transaction is durable, and may be sent from now on."""
        with self.commit("sign"):
            self._db.execute(
                "INSERT INTO attempts (hash, batch, operator, nonce, raw, signed_at) VALUES (?, ?, ?, ?, ?, ?)",
                (attempt.hash, batch, operator, attempt.nonce, attempt.raw, now),
            )
            self._update("sign", batch, BatchState.SIGNED, seq=seq)

    def sent(self, batch: int) -> None:
        """To SENT: a node has the transaction, no block that we know of does."""
        self._update("sent", batch, BatchState.SENT, hash=None, block=None, block_hash=None)

    def mined(self, batch: int, state: BatchState, *, transaction: str, block: int, block_hash: str) -> None:
        """To MINED, or to REVERTED when the contract refused it in that block."""
        self._update(state.lower(), batch, state, hash=transaction, block=block, block_hash=block_hash)

    def final(self, batch: int) -> None:
        """MINED → FINAL."""
        self._update("final", batch, BatchState.FINAL)

    def again(self, batch: int) -> None:
        """REVERTED → BATCHED: its nonce is spent, its sequence number is not, and may be another one the next time."""
        self._update("again", batch, BatchState.BATCHED, seq=None, hash=None, block=None, block_hash=None)

    def refuse(self, batch: int, trades: Collection[int], reason: str) -> None:
        """Take trades (ids) out of a batch that is not signed; one that has none left is REFUSED."""
        with self.commit("refuse"):
            self._db.executemany("UPDATE trades SET reason = ? WHERE id = ?", [(reason, trade) for trade in trades])
            if not self.trades(batch):
                self._update("refuse", batch, BatchState.REFUSED, reason=reason)

    def _update(self, name: str, batch: int, state: BatchState, **columns: Any) -> None:
        names = ", ".join(f"{column} = ?" for column in ("state", *columns))
        with self.commit(name):
            self._db.execute(f"UPDATE batches SET {names} WHERE id = ?", (state, *columns.values(), batch))  # noqa: S608

    # ------------------------------------------------- copies of the whole

    def rebuild(
        self,
        settled: Iterable[tuple[Batch, Sequence[Trade]]],
        *,
        next_seq: int,
        operator: str,
        next_nonce: int,
        now: float,
    ) -> None:
        """Fill an empty database with what the chain says was settled: batches and their trades; raises StoreError.

        The slots are closed. A reading that is sent again for one of them stands against what its source traded there.
        """
        with self.commit("rebuild"):
            if self._one("SELECT count(*) FROM slots"):
                raise StoreError("the database is not empty: a rebuild fills a new one")
            for batch, trades in settled:
                columns = (batch.id, batch.state, batch.seq, batch.hash, batch.block, batch.block_hash, now)
                self._db.execute(
                    "INSERT INTO batches (id, state, seq, hash, block, block_hash, formed_at)"
                    " VALUES (?, ?, ?, ?, ?, ?, ?)",
                    columns,
                )
                self._db.executemany(
                    "INSERT OR IGNORE INTO slots (slot, first_at, closed_at, traded, missing)"
                    " VALUES (?, ?, ?, 1, '[]')",
                    [(trade.slot, now, now) for trade in trades],
                )
                self._trade(trades, batch=batch.id)
            self._db.execute(
                "INSERT INTO baselines SELECT slot, actor, sum(wh) FROM ("
                " SELECT slot, seller AS actor, energy_wh AS wh FROM trades"
                " UNION ALL SELECT slot, buyer, -energy_wh FROM trades) GROUP BY slot, actor"
            )
            self._keep_floors(next_seq, {operator: next_nonce})

    def baseline_wh(self, slot: int, actor: str) -> int:
        """What an actor provided (positive) or needed in a slot that is known from the chain alone; else 0."""
        return int(self._one("SELECT wh FROM baselines WHERE slot = ? AND actor = ?", (slot, actor)) or 0)

    def backup(self, path: Path) -> None:
        """Write a consistent copy to a new file while everything goes on; raises StoreError."""
        part = path.with_name(f"{path.name}.part")
        try:
            part.unlink(missing_ok=True)
            with closing(sqlite3.connect(part)) as copy:
                self._db.backup(copy)
                copy.execute("PRAGMA journal_mode = DELETE")
            self._at("backup before")
            with part.open("rb") as file:
                os.fsync(file.fileno())
            part.rename(path)
            self._at("backup after")
        except (sqlite3.Error, OSError) as error:
            raise StoreError(f"the backup {path} cannot be written: {error}") from error

    def archive(self, path: Path, *, before: float) -> int:
        """Move the batches that were made before a time (s since the epoch) and are final, with all they rest on.

        The other database is made where it is missing. Rows are copied first and deleted then: what is interrupted
        between is ended the next time. Returns how many batches were moved. A slot itself stays, with what it has of
        each actor, so that a reading that comes for it even later still stands against that.
        """
        try:
            self._db.execute("ATTACH ? AS archive", (str(path),))
        except sqlite3.Error as error:
            raise StoreError(f"the archive {path} cannot be opened: {error}") from error
        try:
            values = {"before": before}
            with self.commit("archive copy"):
                for statement in ARCHIVE_SCHEMA:
                    self._db.execute(statement)
                self._db.execute("CREATE TEMP TABLE IF NOT EXISTS moved (id INTEGER PRIMARY KEY)")
                self._db.execute("DELETE FROM moved")
                ended = (
                    "SELECT id FROM batches WHERE formed_at < :before AND (state = 'REFUSED' OR state = 'FINAL'"
                    " AND id NOT IN (SELECT batch FROM agreements WHERE ended IS NULL))"
                )
                self._db.execute(f"INSERT INTO moved {ended}", values)
                for table, condition in _MOVED.items():
                    copy = f"INSERT OR IGNORE INTO archive.{table} SELECT * FROM {table} WHERE {condition}"  # noqa: S608
                    self._db.execute(copy, values)
            with self.commit("archive"):
                self._keep_floors_of_moved()
                self._db.execute(_BASELINES, values)
                for table, condition in reversed(_MOVED.items()):
                    self._db.execute(f"DELETE FROM {table} WHERE {condition}", values)  # noqa: S608
                return int(self._one("SELECT count(*) FROM moved"))
        finally:
            self._db.execute("DETACH archive")

    def _keep_floors_of_moved(self) -> None:
        """Remember the numbers of what is moved; those of what stays may still be given back."""
        if (moved := self._one("SELECT max(seq) + 1 FROM batches WHERE id IN moved")) is None:
            return
        nonces = self._read("SELECT operator, max(nonce) + 1 FROM attempts WHERE batch IN moved GROUP BY operator")
        self._keep_floors(
            max(moved, self._floor("next_seq")),
            {operator: max(nonce, self._floor(f"next_nonce {operator}")) for operator, nonce in nonces},
        )

    # -------------------------------------------------------------- status

    def status(self) -> dict[str, Any]:
        """Figures for people and programs; next_slot is the first slot after all used ones, None while none is."""
        fates = dict(self._read("SELECT fate, count(*) FROM readings GROUP BY fate"))
        opened, closed, used = self._read("SELECT count(*) - count(closed_at), count(closed_at), max(slot) FROM slots")[
            0
        ]
        made, refused, imbalances = self._read(
            "SELECT count(*), count(reason), count(*) FILTER (WHERE imbalance) FROM trades"
        )[0]
        settled = self._one(
            "SELECT count(*) FROM trades JOIN batches ON batches.id = batch"
            " WHERE state = 'FINAL' AND trades.reason IS NULL"
        )
        return {
            "readings": {"stored": sum(fates.values()), **{fate.value: fates.get(fate, 0) for fate in Fate}},
            "slots": {"open": opened, "closed": closed},
            "trades": {"made": made, "settled": settled, "refused": refused, "imbalances": imbalances},
            "batches": {state.value: count for state, count in self.batches_by_state().items()},
            "next_slot": None if used is None else used + 1,
        }

    def table(self) -> tuple[list[str], list[tuple[Any, ...]]]:
        """All trades, with where they stand: the names of the columns, and the rows."""
        columns = [*_TRADE.split(", "), "state", "batch_seq", "hash", "block", "refused_because"]
        rows = self._read(
            f"SELECT {_TRADE}, coalesce(state, 'WAITING'), batches.seq, hash, block, trades.reason"  # noqa: S608
            " FROM trades LEFT JOIN batches ON batches.id = batch ORDER BY trades.id"
        )
        return columns, rows

    def outbox_since(self) -> float | None:
        """When the oldest trade that is not settled yet was made (s since the epoch); None when all are."""
        since: float | None = self._one(
            "SELECT min(closed_at) FROM slots WHERE slot IN (SELECT slot FROM trades WHERE batch IS NULL"
            " UNION SELECT slot FROM trades WHERE batch IN"
            " (SELECT id FROM batches WHERE state NOT IN ('FINAL', 'REFUSED')))"
        )
        return since

    def batches_by_state(self) -> dict[BatchState, int]:
        """How many batches are in each state."""
        counts = dict(self._read("SELECT state, count(*) FROM batches GROUP BY state"))
        return {state: counts.get(state, 0) for state in BatchState}

    def unmined(self) -> int:
        """How many signed batches are in no block that we know of."""
        return len(self.batches(*UNMINED))

    def _one(self, query: str, values: Sequence[Any] | Mapping[str, Any] = ()) -> Any:
        rows = self._read(query, values)
        return rows[0][0] if rows else None

    def _read(self, query: str, values: Sequence[Any] | Mapping[str, Any] = ()) -> list[Any]:
        """All rows of a query."""
        try:
            return self._db.execute(query, values).fetchall()
        except sqlite3.Error as error:
            raise unreadable(error) from error
