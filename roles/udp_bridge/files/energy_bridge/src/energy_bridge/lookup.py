# SPDX-License-Identifier: GPL-3.0-or-later
"""What the page asks of the database: lists, the newest first, and what its figures are made of. It only reads.

Its connection is one of its own, so that nobody who looks ever delays a commit. The tables are the same in all modes.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from energy_bridge.agreements import State
from energy_bridge.ledger import ChainTrade
from energy_bridge.model import DAY_S, IN_CHAIN, UINT32_MAX, BatchState, Fate
from energy_bridge.store import Store, unreadable

__all__ = ["STATES", "WAITING", "ListedReading", "ListedSlot", "ListedTrade", "Lookup", "Place"]

PATIENCE_S = 1.0  # who looks is told soon that the database is busy, and looks again
WAITING = "WAITING"  # of a trade that is in no batch yet
STATES = (WAITING, *BatchState)

_LISTED = (
    "SELECT trades.id, trades.slot, seller, buyer, energy_wh, price_wei_per_wh, imbalance,"
    " CASE WHEN trades.reason IS NOT NULL THEN 'REFUSED' ELSE coalesce(batches.state, 'WAITING') END,"
    " batches.seq, hash, block, coalesce(trades.reason, batches.reason)"
    " FROM trades {index} LEFT JOIN batches ON batches.id = trades.batch"
)
_UNDER_WAY = "SELECT id FROM batches WHERE state NOT IN ('FINAL', 'REFUSED')"
# How an agreement ends of which nothing was settled: its money went back.
_UNDONE_ENDS = (State.CANCELLED, State.EXPIRED)
_PLACE = "SELECT batches.id, state, hash, block_hash, ended FROM batches LEFT JOIN agreements ON batch = batches.id"


class Place(NamedTuple):
    """Where in the chain a batch is."""

    hash: str | None
    block_hash: str | None


class ListedTrade(NamedTuple):
    """A trade and where it stands; state is one of STATES, block where its batch was last seen."""

    id: int
    slot: int
    seller: str
    buyer: str
    energy_wh: int
    price_wei_per_wh: int
    imbalance: bool
    state: str
    batch_seq: int | None
    transaction: str | None
    block: int | None
    refused_because: str | None


class ListedReading(NamedTuple):
    """A stored reading; received_at by the bridge's clock, time by its source's, in seconds since the epoch."""

    id: int
    source: str
    boot: int
    seq: int
    time: float
    received_at: float
    slot: int
    energy_nwh: int
    price_wei_per_wh: int
    fate: str
    wh: int | None


class ListedSlot(NamedTuple):
    """A slot: times in seconds since the epoch; None for what is not known before it closes."""

    slot: int
    first_at: float
    closed_at: float | None
    traded: int | None
    missing: list[str] | None
    refusal: str | None


class Lookup(Store):
    """A read-only store that can list. Each thread needs one of its own."""

    def __init__(self, path: Path) -> None:
        """Open the database, which has to be there; raises StoreError."""
        super().__init__(path, read_only=True, patience_s=PATIENCE_S)

    def version(self) -> int:
        """A number that is another one when somebody else has changed the database."""
        return int(self._one("PRAGMA data_version"))

    @contextmanager
    def snapshot(self) -> Iterator[None]:
        """Let all that is read inside be of one moment."""
        try:
            self._db.execute("BEGIN")
        except sqlite3.Error as error:
            raise unreadable(error) from error
        try:
            yield
        finally:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")

    # --------------------------------------------------------------- lists

    def list_trades(
        self,
        *,
        actor: str | None = None,
        slots: tuple[int, int] | None = None,
        state: str | None = None,
        before: int | None = None,
        limit: int,
    ) -> list[ListedTrade]:
        """The newest trades by id: an actor's, of slots from one to another, in a state (STATES), before an id."""
        values = {"actor": actor, "state": state, "before": before, "limit": limit}
        values["first"], values["last"] = slots or (None, None)
        conditions = ["trades.id < :before"] if before is not None else []
        if slots is not None:
            conditions.append("trades.slot BETWEEN :first AND :last")
        conditions += _STATE_CONDITIONS.get(state or "", [] if state is None else [_OF_STATE])
        if actor is None:
            # A day has so few slots that its trades are sorted sooner than all newer ones are passed over.
            index = "INDEXED BY trades_by_slot" if slots is not None else ""
            branches = [_branch(index, conditions)]
        elif slots is not None:
            branches = [_branch("INDEXED BY trades_by_slot", [*conditions, ":actor IN (seller, buyer)"])]
        else:
            branches = [_branch("", [*conditions, f"{side} = :actor"]) for side in ("seller", "buyer")]
        query = " UNION ALL ".join(f"SELECT * FROM ({branch})" for branch in branches)  # noqa: S608
        rows = self._read(f"{query} ORDER BY 1 DESC LIMIT :limit", values)
        return [_listed(row) for row in rows]

    def trades_of(self, batch: int, limit: int) -> list[ListedTrade]:
        """A batch's trades with the lowest ids; of one that ends an agreement, that agreement's."""
        rows = self._read(
            f"{_LISTED.format(index='')} WHERE trades.batch = coalesce("  # noqa: S608
            "(SELECT batch FROM agreements WHERE act_batch = :batch), :batch) ORDER BY trades.id LIMIT :limit",
            {"batch": batch, "limit": limit},
        )
        return [_listed(row) for row in rows]

    def list_readings(
        self, *, source: str | None = None, slot: int | None = None, before: int | None = None, limit: int
    ) -> list[ListedReading]:
        """The newest readings: as they came, or, a source's alone, as it sent them (by boot and seq)."""
        values = {"source": source, "slot": slot, "before": before, "limit": limit}
        conditions = []
        if slot is not None:
            conditions.append("slot = :slot")
        if source is not None:
            conditions.append("source = :source")
        by_key = source is not None and slot is None  # as the unique index has them
        if before is not None:
            conditions.append(
                "(boot, seq) < (SELECT boot, seq FROM readings WHERE rowid = :before)" if by_key else "rowid < :before"
            )
        rows = self._read(
            "SELECT rowid, source, boot, seq, time, received_at, slot, energy_nwh, price_wei_per_wh, fate, wh"  # noqa: S608
            f" FROM readings{_where(conditions)} ORDER BY {'boot DESC, seq DESC' if by_key else 'rowid DESC'}"
            " LIMIT :limit",
            values,
        )
        return [ListedReading(*row) for row in rows]

    def list_slots(self, *, before: int | None = None, limit: int) -> list[ListedSlot]:
        """The slots with the highest numbers."""
        return self._slots(
            "WHERE slot < ? ORDER BY slot DESC LIMIT ?", (UINT32_MAX + 1 if before is None else before, limit)
        )

    def slot(self, slot: int) -> ListedSlot | None:
        """One slot; None where nothing was ever said of it."""
        return next(iter(self._slots("WHERE slot = ?", (slot,))), None)

    def _slots(self, condition: str, values: tuple[int, ...]) -> list[ListedSlot]:
        rows = self._read(f"SELECT slot, first_at, closed_at, traded, missing, refusal FROM slots {condition}", values)  # noqa: S608
        return [
            ListedSlot._make([*row, None if missing is None else json.loads(missing), refusal])
            for *row, missing, refusal in rows
        ]

    def offers(self, slot: int) -> list[tuple[str, int, int]]:
        """What counted when a slot was cleared: source, Wh (provided positive, needed negative), wei per Wh."""
        return self._read(
            "SELECT source, wh, price_wei_per_wh FROM readings WHERE slot = ? AND fate = ? ORDER BY source",
            (slot, Fate.COUNTED),
        )

    def batch_of(self, transaction: str) -> tuple[int, int | None, BatchState] | None:
        """The batch that a transaction was signed for: its id, its number and its state; None where we know none."""
        rows = self._read(
            "SELECT id, seq, state FROM batches WHERE id ="
            " coalesce((SELECT batch FROM attempts WHERE attempts.hash = :hash),"
            " (SELECT id FROM batches WHERE batches.hash = :hash))",
            {"hash": transaction},
        )
        return (rows[0][0], rows[0][1], BatchState(rows[0][2])) if rows else None

    # ------------------------------------------------------------- figures

    def places(self, known: tuple[int, Collection[int]] | None = None) -> dict[int, Place | None]:
        """Where in the chain each batch is, None for nowhere.

        With known, the highest id and the ids of those that were under way when this was asked last, only of the
        batches of which that may have changed.
        """
        if known is None:
            rows = self._read(_PLACE)
        else:
            newest, under_way = known
            rows = self._read(
                f"{_PLACE} WHERE batches.id > ? UNION {_PLACE} WHERE batches.id IN ({_UNDER_WAY})"  # noqa: S608
                f" UNION {_PLACE} WHERE batches.id IN (SELECT value FROM json_each(?))",
                (newest, json.dumps(sorted(under_way))),
            )
        return {
            batch: Place(transaction, block_hash) if state in IN_CHAIN and ended not in _UNDONE_ENDS else None
            for batch, state, transaction, block_hash, ended in rows
        }

    def under_way(self) -> set[int]:
        """The batches that are neither final nor refused."""
        return {batch for (batch,) in self._read(_UNDER_WAY)}

    def newest_batch(self) -> int:
        """The highest id of a batch; 0 where there is none."""
        return int(self._one("SELECT max(id) FROM batches") or 0)

    def chain_trades(self, batches: Collection[int]) -> list[ChainTrade]:
        """The trades of these batches, without those that were refused."""
        rows = self._read(
            "SELECT batch, slot, seller, buyer, energy_wh, price_wei_per_wh FROM trades"
            " WHERE batch IN (SELECT value FROM json_each(?)) AND reason IS NULL",
            (json.dumps(sorted(batches)),),
        )
        return list(map(ChainTrade._make, rows))

    def days(self, slot_s: int) -> list[int]:
        """The days (since the epoch) in which trades were made, the newest first."""
        # From day to day by the index on the slots, whatever a day has of them.
        rows = self._read(
            "WITH RECURSIVE found (day) AS (SELECT max(slot) * :slot_s / :day_s FROM trades UNION ALL"
            " SELECT (SELECT max(slot) FROM trades WHERE slot < (day * :day_s + :slot_s - 1) / :slot_s)"
            " * :slot_s / :day_s"
            " FROM found WHERE day IS NOT NULL) SELECT day FROM found WHERE day IS NOT NULL",
            {"slot_s": slot_s, "day_s": DAY_S},
        )
        return [day for (day,) in rows]

    def latest_slot(self) -> int | None:
        """The highest slot that is closed; None where none is."""
        slot: int | None = self._one("SELECT slot FROM slots WHERE closed_at IS NOT NULL ORDER BY slot DESC LIMIT 1")
        return slot

    def open_slot_count(self) -> int:
        """How many slots wait for their gate."""
        return int(self._one("SELECT count(*) FROM slots WHERE closed_at IS NULL"))

    def outbox_trades(self) -> int:
        """How many trades were made and are neither final nor refused."""
        waiting = self._one("SELECT count(*) FROM trades WHERE batch IS NULL")
        query = f"SELECT count(*) FROM trades WHERE batch IN ({_UNDER_WAY}) AND reason IS NULL"  # noqa: S608
        return int(waiting) + int(self._one(query))


_OF_STATE = "batches.state = :state AND trades.reason IS NULL"
# Where few of many trades are in a state there is an index of these few.
_UNDER_WAY_STATE = "trades.batch IN (SELECT id FROM batches WHERE state NOT IN ('FINAL', 'REFUSED') AND state = :state)"
_STATE_CONDITIONS: Mapping[str, list[str]] = {
    WAITING: ["trades.batch IS NULL"],
    BatchState.REFUSED: ["trades.reason IS NOT NULL"],
    **{
        state: [_UNDER_WAY_STATE, "trades.reason IS NULL"]
        for state in BatchState
        if state not in (BatchState.FINAL, BatchState.REFUSED)
    },
}


def _branch(index: str, conditions: list[str]) -> str:
    return f"{_LISTED.format(index=index)}{_where(conditions)} ORDER BY trades.id DESC LIMIT :limit"


def _where(conditions: list[str]) -> str:
    return f" WHERE {' AND '.join(conditions)}" if conditions else ""


def _listed(row: Any) -> ListedTrade:
    return ListedTrade._make([*row[:6], bool(row[6]), *row[7:]])
