# SPDX-License-Identifier: GPL-3.0-or-later
"""The tables of the bridge's database, and the way to them from the schemas of earlier versions."""

from __future__ import annotations

import re

__all__ = ["ARCHIVE_SCHEMA", "SCHEMA", "SCHEMA_VERSION", "migrations"]

SCHEMA_VERSION = 3

SCHEMA = (
    "CREATE TABLE meta (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID",
    """
CREATE TABLE batches (
    id INTEGER PRIMARY KEY,
    state TEXT NOT NULL,
    formed_at REAL NOT NULL,       -- seconds since the epoch, the bridge's clock
    seq INTEGER UNIQUE,            -- the contract's number, from its first signature on
    hash TEXT,                     -- of the attempt that a block has, and that block
    block INTEGER,
    block_hash TEXT,
    reason TEXT
)""",
    "CREATE INDEX batches_under_way ON batches (state) WHERE state NOT IN ('FINAL', 'REFUSED')",
    """
CREATE TABLE attempts (
    id INTEGER PRIMARY KEY,
    hash TEXT NOT NULL UNIQUE,
    batch INTEGER NOT NULL REFERENCES batches,
    operator TEXT NOT NULL,
    nonce INTEGER NOT NULL,
    raw BLOB NOT NULL,             -- stored before it is sent
    signed_at REAL NOT NULL
)""",
    "CREATE INDEX attempts_by_batch ON attempts (batch)",
    "CREATE INDEX attempts_by_nonce ON attempts (operator, nonce)",
    """
CREATE TABLE slots (
    slot INTEGER PRIMARY KEY,
    first_at REAL NOT NULL,        -- seconds since the epoch, the bridge's clock
    closed_at REAL,
    traded INTEGER,                -- how many trades its clearing made
    missing TEXT,                  -- who had not reported, a JSON list of names
    refusal TEXT                   -- why nothing could be traded
)""",
    "CREATE INDEX slots_open ON slots (slot) WHERE closed_at IS NULL",
    """
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
    wh INTEGER,                    -- what it was counted as
    batch INTEGER REFERENCES batches,
    UNIQUE (source, boot, seq)     -- not the primary key: in the order of arrival a commit writes half as many pages
)""",
    "CREATE INDEX readings_by_slot ON readings (slot, source)",
    "CREATE INDEX readings_by_batch ON readings (batch) WHERE batch IS NOT NULL",
    "CREATE INDEX readings_late ON readings (slot) WHERE fate = 'late'",
    """
CREATE TABLE trades (
    id INTEGER PRIMARY KEY,
    slot INTEGER NOT NULL REFERENCES slots,
    seller TEXT NOT NULL,
    buyer TEXT NOT NULL,
    energy_wh INTEGER NOT NULL,
    price_wei_per_wh INTEGER NOT NULL,
    imbalance INTEGER NOT NULL,
    source TEXT,                   -- the late reading that an imbalance comes from
    boot INTEGER,
    reading_seq INTEGER,
    batch INTEGER REFERENCES batches,
    reason TEXT                    -- why the contract refuses it: then it is in no transaction
)""",
    "CREATE INDEX trades_waiting ON trades (id) WHERE batch IS NULL",
    "CREATE INDEX trades_by_batch ON trades (batch)",
    "CREATE INDEX trades_by_slot ON trades (slot)",
    # For whoever looks at an actor's trades, or at the few that were refused, the newest first.
    "CREATE INDEX trades_by_seller ON trades (seller)",
    "CREATE INDEX trades_by_buyer ON trades (buyer)",
    "CREATE INDEX trades_refused ON trades (id) WHERE reason IS NOT NULL",
    "CREATE TABLE carries (source TEXT PRIMARY KEY, nwh INTEGER NOT NULL) WITHOUT ROWID",
    # Of a trade that is an agreement (mode agreement): the batch that makes it is that trade alone.
    """
CREATE TABLE agreements (
    batch INTEGER PRIMARY KEY REFERENCES batches,
    trade_id BLOB NOT NULL UNIQUE,
    address TEXT NOT NULL UNIQUE,
    deliver_by INTEGER NOT NULL,   -- seconds since the epoch
    ended TEXT,                    -- Settled, Cancelled or Expired, once that is final
    act TEXT,                      -- what was done last to end it, settle or expire
    act_batch INTEGER UNIQUE
)""",
    "CREATE INDEX agreements_open ON agreements (batch) WHERE ended IS NULL",
    # What a slot was settled with before this database was made of the chain's logs.
    "CREATE TABLE baselines (slot INTEGER, actor TEXT, wh INTEGER NOT NULL, PRIMARY KEY (slot, actor)) WITHOUT ROWID",
    "CREATE TABLE charges (actor TEXT PRIMARY KEY, wh INTEGER NOT NULL) WITHOUT ROWID",
)

# The same tables for what is moved out of the way; what their rows refer to may have stayed.
_ARCHIVED = re.compile(r"CREATE TABLE (batches|attempts|trades|agreements|readings)\b")
ARCHIVE_SCHEMA = tuple(
    _ARCHIVED.sub(r"CREATE TABLE IF NOT EXISTS archive.\1", re.sub(r" REFERENCES \w+", "", statement))
    for statement in SCHEMA
    if _ARCHIVED.search(statement)
)

# Schema 1 had one batch per slot with one transaction, readings in Wh, and late readings of which nothing was made:
# now their imbalances are traded.
_OLD = ("batches", "slots", "readings", "trades")
_FROM_1 = (
    *(f"ALTER TABLE {name} RENAME TO old_{name}" for name in _OLD),
    *(f"DROP INDEX {name}" for name in ("slots_open", "slots_by_batch", "readings_by_slot")),
    *(statement for statement in SCHEMA if "TABLE meta" not in statement),
    """
INSERT INTO batches SELECT id, state, coalesce(closed_at, 0), seq, hash, block, NULL, reason
FROM old_batches LEFT JOIN old_slots ON old_slots.batch = old_batches.id
WHERE EXISTS (SELECT 1 FROM old_trades WHERE old_trades.slot = old_slots.slot)""",
    """
INSERT INTO attempts (hash, batch, operator, nonce, raw, signed_at)
SELECT old_batches.hash, id, '', nonce, raw, formed_at FROM old_batches JOIN batches USING (id)
WHERE old_batches.raw IS NOT NULL""",
    """
INSERT INTO slots SELECT slot, first_at, closed_at,
    CASE WHEN closed_at IS NOT NULL THEN (SELECT count(*) FROM old_trades WHERE old_trades.slot = old_slots.slot) END,
    CASE WHEN closed_at IS NOT NULL THEN '[]' END,
    (SELECT reason FROM old_batches WHERE id = batch AND state = 'REFUSED')
FROM old_slots""",
    """
INSERT INTO readings SELECT source, boot, seq, digest, received_at, time, slot, energy_wh * 1000000000,
    price_wei_per_wh, fate, CASE fate WHEN 'counted' THEN energy_wh END,
    CASE fate WHEN 'counted' THEN (SELECT id FROM batches JOIN old_slots ON old_slots.batch = batches.id
                                   WHERE old_slots.slot = old_readings.slot) END
FROM old_readings""",
    """
INSERT INTO trades (slot, seller, buyer, energy_wh, price_wei_per_wh, imbalance, batch, reason)
SELECT slot, seller, buyer, energy_wh, price_wei_per_wh, 0, batch,
    (SELECT reason FROM old_batches WHERE id = batch AND state = 'REFUSED')
FROM old_trades JOIN old_slots USING (slot) ORDER BY batch, slot, position""",
    *(f"DROP TABLE old_{name}" for name in ("trades", "readings", "slots", "batches")),
)

# Schema 2 had no indices for looking at trades.
_INDICES_OF_3 = ("trades_by_seller", "trades_by_buyer", "trades_refused")
_FROM_2 = tuple(statement for statement in SCHEMA if any(f"INDEX {name} " in statement for name in _INDICES_OF_3))


def migrations(version: int) -> tuple[str, ...]:
    """The statements that bring a database of this version to SCHEMA_VERSION; none for a version that is not known."""
    return {1: _FROM_1, 2: _FROM_2}.get(version, ())
