# SPDX-License-Identifier: GPL-3.0-or-later
"""Database and chain, compared trade by trade; and a database made of the chain's logs where it was lost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from energy_bridge import agreement_reconcile
from energy_bridge.agreement_chain import AgreementChain
from energy_bridge.agreements import AgreementStore
from energy_bridge.batch import BatchTrade
from energy_bridge.chain import Logged, MarketChain
from energy_bridge.merkle import merkle_root
from energy_bridge.model import IN_CHAIN, BatchState, Trade
from energy_bridge.store import Batch, Store

__all__ = ["differences", "rebuild"]


async def differences(store: Store, chain: MarketChain) -> list[str]:
    """Say in a sentence each what one of the two has and the other has not; none where they agree.

    What is under way is no difference, and what is in an archive is not looked at. Raises ChainError and StoreError.
    """
    if isinstance(store, AgreementStore) and isinstance(chain, AgreementChain):
        return await agreement_reconcile.differences(store, chain)
    first = store.first_seq()
    logged = [entry async for entry in chain.settled() if entry.batch.seq >= first]
    names = await chain.names({account for entry in logged for account in _accounts(entry)})
    found = [line for entry in logged for line in _compared(store, entry, names)]
    numbers = {entry.batch.seq for entry in logged}
    return found + [
        f"Batch {batch.seq} is {batch.state} in the database, and not in the chain."
        for batch in store.batches(*IN_CHAIN)
        if batch.seq not in numbers
    ]


async def rebuild(store: Store, chain: MarketChain, *, now: float) -> int:
    """Fill an empty database from the chain's logs, and return how many batches there are.

    What was stored and not settled is lost with the database that held it: sources that still repeat it bring it back.
    Raises ChainError and StoreError.
    """
    if isinstance(store, AgreementStore) and isinstance(chain, AgreementChain):
        return await agreement_reconcile.rebuild(store, chain, now=now)
    logged = [entry async for entry in chain.settled()]
    names = await chain.names({account for entry in logged for account in _accounts(entry)})
    batches = [
        (
            Batch(number, BatchState.FINAL, entry.batch.seq, entry.transaction, entry.block, entry.block_hash, None),
            [_named(trade, names) for trade in entry.batch.trades],
        )
        for number, entry in enumerate(logged, 1)
    ]
    store.belongs_to("market", await chain.identity())
    store.rebuild(
        batches,
        next_seq=await chain.next_seq(pending=False) or 0,
        operator=chain.operator,
        next_nonce=await chain.nonce(),
        now=now,
    )
    return len(batches)


def _compared(store: Store, entry: Logged, names: Mapping[str, str]) -> list[str]:
    what, batch = f"Batch {entry.batch.seq} (transaction {entry.transaction})", store.batch_at(entry.batch.seq)
    if batch is None:
        return [f"{what} is in the chain, and not in the database."]
    if batch.state not in IN_CHAIN:
        return []
    found = []
    if batch.hash != entry.transaction:
        found.append(f"{what} has the transaction {batch.hash} in the database.")
    known = [trade for _, trade in store.trades(batch.id)]
    settled = [_named(trade, names) for trade in entry.batch.trades]
    for place in range(max(len(known), len(settled))):
        ours, theirs = _at(known, place), _at(settled, place)
        if ours != theirs:
            found.append(f"{what}, trade {place}: the chain has {_say(theirs)}, the database {_say(ours)}.")
    digests = [digest for _, digest in store.readings_of(batch.id)]
    if digests and merkle_root(digests) != entry.batch.readings_root:
        found.append(f"{what} rests on other readings than those in the database.")
    return found


def _accounts(entry: Logged) -> set[str]:
    return {account for trade in entry.batch.trades for account in (trade.seller, trade.buyer)}


def _named(trade: BatchTrade, names: Mapping[str, str]) -> Trade:
    return Trade(
        names[trade.seller],
        names[trade.buyer],
        trade.energy_wh,
        trade.price_wei_per_wh,
        trade.slot,
        imbalance=trade.imbalance,
    )


def _at(trades: Sequence[Trade], place: int) -> Trade | None:
    return trades[place] if place < len(trades) else None


def _say(trade: Trade | None) -> str:
    if trade is None:
        return "none"
    kind = "imbalance" if trade.imbalance else "trade"
    return (
        f"a {kind} of {trade.energy_wh} Wh from {trade.seller} to {trade.buyer} at {trade.price_wei_per_wh} wei per Wh"
        f" in slot {trade.slot}"
    )
