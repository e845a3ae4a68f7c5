# SPDX-License-Identifier: GPL-3.0-or-later
"""What reconcile does, in the mode agreement."""

from __future__ import annotations

from collections import Counter

from energy_bridge.agreement_chain import AgreementChain, Created, Terms
from energy_bridge.agreements import Agreed, Agreements, AgreementStore
from energy_bridge.model import IN_CHAIN, BatchState, Trade
from energy_bridge.store import Batch

__all__ = ["differences", "rebuild"]


async def differences(store: AgreementStore, chain: AgreementChain) -> list[str]:
    """Say in a sentence each what one of the two has and the other has not; none where they agree.

    What is under way is no difference, and what is in an archive is not looked at. Raises ChainError and StoreError.
    """
    logged = {created.address: created async for created in chain.created(store.first_block())}
    found = []
    for batch, agreed, ended in store.made():
        created = logged.pop(agreed.address, None)
        if batch.state not in IN_CHAIN:
            continue
        what = f"The agreement {agreed.address} (transaction {batch.hash})"
        if created is None:
            found.append(f"{what} is {batch.state} in the database, and not in the chain.")
            continue
        terms = await chain.terms(agreed.address)
        theirs, ours = await _trade(terms, agreed, chain), Trade(*_content(agreed), imbalance=agreed.imbalance)
        if (theirs, terms.deliver_by) != (ours, agreed.deliver_by):
            said = f"the chain has {_say(theirs, terms.deliver_by)}, the database {_say(ours, agreed.deliver_by)}"
            found.append(f"{what}: {said}.")
        if ended is not None and (state := await chain.state(agreed.address)) is not ended:
            found.append(f"{what} is {state} in the chain, and {ended} in the database.")
    for address, created in logged.items():
        if await chain.sender(created.transaction) == chain.operator:  # another bridge has others
            what = f"The agreement {address} (transaction {created.transaction})"
            found.append(f"{what} is in the chain, and not in the database.")
    return found


async def rebuild(store: AgreementStore, chain: AgreementChain, *, now: float) -> int:
    """Fill an empty database from the chain's logs, and return how many agreements there are.

    What was stored and not agreed is lost with the database that held it: sources that still repeat it bring it back.
    Raises ChainError and StoreError.
    """
    batches: list[tuple[Batch, list[Agreed]]] = []
    orders: Counter[Trade] = Counter()
    async for created in chain.created():
        if await chain.sender(created.transaction) != chain.operator:
            continue
        agreed = await _agreed(created, chain, orders)
        number = len(batches)
        where = (created.transaction, created.block, created.block_hash)
        batches.append((Batch(number + 1, BatchState.FINAL, number, *where, None), [agreed]))
    store.belongs_to("market", await chain.identity())
    store.rebuild(batches, next_seq=len(batches), operator=chain.operator, next_nonce=await chain.nonce(), now=now)
    return len(batches)


async def _agreed(created: Created, chain: AgreementChain, orders: Counter[Trade]) -> Agreed:
    """The trade of an agreement. Whether it is an imbalance is in no term, but in the trade's id."""
    terms = await chain.terms(created.address)
    names = await chain.names({terms.seller, terms.buyer})
    seller, buyer = names[terms.seller], names[terms.buyer]
    candidates = [
        Trade(seller, buyer, terms.energy_wh, terms.price_wei_per_wh, terms.slot, imbalance=imbalance)
        for imbalance in (False, True)
    ]
    trade = next((one for one in candidates if _is_of(created.trade_id, one, chain.agreements, orders)), candidates[0])
    orders[trade] += 1
    return Agreed(
        *_content(trade),
        imbalance=trade.imbalance,
        trade_id=created.trade_id,
        address=created.address,
        deliver_by=terms.deliver_by,
    )


def _is_of(trade_id: bytes, trade: Trade, agreements: Agreements, orders: Counter[Trade]) -> bool:
    # A trade that was refused has an order and no agreement.
    known = {trade.seller, trade.buyer} <= agreements.accounts.keys()
    return known and any(agreements.trade_id(trade, order) == trade_id for order in range(orders[trade] + 16))


async def _trade(terms: Terms, agreed: Agreed, chain: AgreementChain) -> Trade:
    names = await chain.names({terms.seller, terms.buyer})
    return Trade(
        names[terms.seller],
        names[terms.buyer],
        terms.energy_wh,
        terms.price_wei_per_wh,
        terms.slot,
        imbalance=agreed.imbalance,
    )


def _content(trade: Trade) -> tuple[str, str, int, int, int]:
    return trade.seller, trade.buyer, trade.energy_wh, trade.price_wei_per_wh, trade.slot


def _say(trade: Trade, deliver_by: int) -> str:
    return (
        f"{trade.energy_wh} Wh from {trade.seller} to {trade.buyer} at {trade.price_wei_per_wh} wei per Wh"
        f" in slot {trade.slot}, to deliver by {deliver_by}"
    )
