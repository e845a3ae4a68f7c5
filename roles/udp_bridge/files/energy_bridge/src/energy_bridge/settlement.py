# SPDX-License-Identifier: GPL-3.0-or-later
"""Settlement: every batch goes BATCHED → SIGNED → SENT → MINED → FINAL, whatever is interrupted in between.

Each arrow is one durable step, and each step can be done again: a transaction is stored before it is sent, the same
bytes are sent again after a restart, and the contract takes each sequence number once. A nonce has one or more
attempts, all of one batch with one content, which differ only in their fees: any of them may be mined. A batch that
reverted goes back and is signed again, with what the contract then refuses taken out, under the number that is due.
What is final is looked at again, as long as the chain could still change its mind.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from energy_bridge.merkle import merkle_root
from energy_bridge.model import DAY_S, UNMINED, BatchState, Reading, Trade
from energy_bridge.store import Attempt, Batch, Store

__all__ = ["Chain", "ChainError", "MismatchError", "Receipt", "Settlement", "Signed", "WouldRevertError"]

log = logging.getLogger(__name__)

RESEND_AFTER_S = 30.0
BUMP_AFTER_S = 120.0  # a transaction that no block takes for so long is signed again with a higher fee
WATCHED_BLOCKS = 1000  # how deep a final batch is still looked for


class ChainError(Exception):
    """The chain cannot be used right now; what was asked has to be asked again."""


class WouldRevertError(Exception):
    """The contract would refuse the batch; its text is the contract's reason, and trades are what it is said of.

    trades are places in the sequence that was to be signed.
    """

    def __init__(self, reason: str, trades: Sequence[int]) -> None:
        super().__init__(reason)
        self.trades = trades


class MismatchError(Exception):
    """Database and chain do not belong together: nothing may be signed. Its text says what to do."""


@dataclass(frozen=True, slots=True)
class Signed:
    """A signed transaction: its bytes, and its hash as 0x and 64 hex digits."""

    raw: bytes
    transaction: str


@dataclass(frozen=True, slots=True)
class Receipt:
    """The block that holds a transaction, and whether the contract did what it was told."""

    block: int
    block_hash: str
    succeeded: bool


class Chain(Protocol):
    """What settlement needs of the market's chain; every method may raise ChainError."""

    operator: str  # the address that signs
    most_unmined: int  # how many of its transactions may be signed and in no block yet

    async def identity(self) -> str:
        """Name this chain and market, the same for ever."""

    async def head(self) -> int:
        """Return the number of the newest block."""

    async def block_hash(self, block: int) -> str | None:
        """Return the hash of a block of the present chain; None beyond its head."""

    async def next_seq(self, *, pending: bool) -> int | None:
        """Return the sequence number that the contract takes next from this operator, now or after what is pending.

        None where the contract has none, because it knows what it has taken by other means.
        """

    async def nonce(self) -> int:
        """Return how many transactions of this operator have been mined."""

    async def sign(self, *, seq: int, nonce: int, readings_root: bytes, trades: Sequence[Trade]) -> Signed:
        """Sign a batch without sending it; raises WouldRevertError when the contract would never take it."""

    async def sign_again(self, raw: bytes) -> Signed:
        """Sign the same transaction with a higher fee."""

    async def send(self, raw: bytes) -> None:
        """Hand a signed transaction to the node; that the node knows it already is no error."""

    async def receipt(self, transaction: str) -> Receipt | None:
        """Find a transaction in the present chain, None while no block of it has it."""


class Settlement:
    """Moves the batches of a store forward on a chain."""

    def __init__(
        self,
        store: Store,
        chain: Chain,
        *,
        confirmations: int,
        slot_s: int,
        most_trades: int,
        clock: Callable[[], float],
        on_settled: Callable[[list[Reading]], None],
    ) -> None:
        """Call on_settled with the readings of each batch that became final; clock returns seconds since the epoch."""
        self._store = store
        self._chain = chain
        self._confirmations = confirmations
        self._slots_per_day = DAY_S // slot_s
        self._most_trades = most_trades
        self._clock = clock
        self._on_settled = on_settled
        self._sent_at: dict[int, float] = {}
        self._first_sent_at: dict[int, float] = {}

    async def check(self) -> None:
        """Refuse a chain that is not the one this database was used with, or is ahead of it; raises MismatchError."""
        identity = await self._chain.identity()
        known = self._store.belongs_to("market", identity)
        if known != identity:
            raise MismatchError(
                f"the database belongs to {known}, but the node has {identity}: "
                "give the bridge the right node and market, or a database of its own"
            )
        await self._refuse_to_fall_behind()

    async def step(self) -> None:
        """Look at every batch that is under way and at the newest that are final, then sign what may be signed."""
        head = await self._chain.head()
        await self._watch(head)
        for batch in self._store.batches(*UNMINED, BatchState.MINED, BatchState.REVERTED):
            await self._follow(batch, head)
        # A revert takes all numbers after its own with it: first all of them have to be over.
        if not self._store.batches(BatchState.REVERTED):
            while self._store.unmined() < self._chain.most_unmined and await self._sign_next():
                pass

    # ------------------------------------------------------- what is signed

    async def _follow(self, batch: Batch, head: int) -> None:
        attempts = self._store.attempts(batch.id)
        mined = await self._mined(attempts)
        if mined is None:
            if batch.state in (BatchState.MINED, BatchState.REVERTED):
                log.warning("batch_left_the_chain seq=%s transaction=%s", batch.seq, batch.hash)
            await self._send_again(batch, attempts[0])
            return
        transaction, receipt = mined
        state = BatchState.MINED if receipt.succeeded else BatchState.REVERTED
        if (state, transaction, receipt.block_hash) != (batch.state, batch.hash, batch.block_hash):
            self._store.mined(
                batch.id, state, transaction=transaction, block=receipt.block, block_hash=receipt.block_hash
            )
            log.info("batch_%s seq=%s block=%d transaction=%s", state.lower(), batch.seq, receipt.block, transaction)
        if head - receipt.block + 1 < self._confirmations:
            return
        if receipt.succeeded:
            self._store.final(batch.id)
            log.info(
                "batch_final seq=%s slots=%s transaction=%s", batch.seq, self._store.slots_of(batch.id), transaction
            )
            self._on_settled([reading for reading, _ in self._store.readings_of(batch.id)])
        else:
            self._store.again(batch.id)

    async def _mined(self, attempts: Sequence[Attempt]) -> tuple[str, Receipt] | None:
        """The attempt that a block has: one that succeeded, or else one that reverted under the newest nonce."""
        reverted = None
        for attempt in attempts:
            receipt = await self._chain.receipt(attempt.hash)
            if receipt is not None and receipt.succeeded:
                return attempt.hash, receipt
            if receipt is not None and attempt.nonce == attempts[0].nonce:
                reverted = attempt.hash, receipt
        return reverted

    async def _send_again(self, batch: Batch, attempt: Attempt) -> None:
        now, sent_at = self._clock(), self._sent_at.get(batch.id)
        if batch.state is BatchState.SENT and sent_at is not None and now - sent_at <= RESEND_AFTER_S:
            return
        since = self._first_sent_at.setdefault(batch.id, now)
        if now - since > BUMP_AFTER_S and batch.seq is not None:
            signed = await self._chain.sign_again(attempt.raw)
            attempt = Attempt(signed.transaction, attempt.nonce, signed.raw)
            self._store.signed(batch.id, attempt, seq=batch.seq, operator=self._chain.operator, now=now)
            self._first_sent_at[batch.id] = now
            log.warning("batch_fee_raised seq=%s nonce=%d transaction=%s", batch.seq, attempt.nonce, attempt.hash)
        await self._send(batch.id, attempt.raw)

    async def _send(self, batch: int, raw: bytes) -> None:
        await self._chain.send(raw)
        self._sent_at[batch] = self._clock()
        self._first_sent_at.setdefault(batch, self._sent_at[batch])
        self._store.sent(batch)

    # --------------------------------------------------------- what is final

    async def _watch(self, head: int) -> None:
        """Find out whether the newest final batches are still in the chain; one that is not goes back to SENT.

        A block names all blocks before it, so the first batch that is where it was vouches for all older ones.
        """
        for batch in self._store.newest_final(WATCHED_BLOCKS):
            if batch.block is None or batch.block <= head - WATCHED_BLOCKS:
                return
            if batch.block_hash is not None and await self._chain.block_hash(batch.block) == batch.block_hash:
                return
            mined = await self._mined(self._store.attempts(batch.id))
            if mined is not None and mined[1].succeeded:
                transaction, receipt = mined
                self._store.mined(
                    batch.id,
                    BatchState.MINED,
                    transaction=transaction,
                    block=receipt.block,
                    block_hash=receipt.block_hash,
                )
                log.warning("final_batch_moved seq=%s block=%d transaction=%s", batch.seq, receipt.block, transaction)
            else:
                self._store.sent(batch.id)
                self._sent_at.pop(batch.id, None)
                log.error("final_batch_left_the_chain seq=%s transaction=%s", batch.seq, batch.hash)

    # -------------------------------------------------------- what is signed next

    async def _sign_next(self) -> bool:
        """Sign and send the next batch; False when there is none, or when it may not be signed yet."""
        seq = self._store.next_seq()
        await self._refuse_to_fall_behind()
        if await self._chain.next_seq(pending=True) not in (seq, None):
            return False  # what was sent before is not with the node yet
        waiting = self._store.batches(BatchState.BATCHED)
        batch = waiting[0].id if waiting else self._form()
        if batch is None:
            return False
        nonce = self._store.next_nonce(self._chain.operator)
        while trades := self._store.trades(batch):
            digests = [digest for _, digest in self._store.readings_of(batch)]
            try:
                signed = await self._chain.sign(
                    seq=seq, nonce=nonce, readings_root=merkle_root(digests), trades=[trade for _, trade in trades]
                )
            except WouldRevertError as error:
                self._store.refuse(batch, [trades[place][0] for place in error.trades], str(error))
                log.warning("trades_refused seq=%d trades=%d reason=%s", seq, len(error.trades), error)
                continue
            attempt = Attempt(signed.transaction, nonce, signed.raw)
            self._store.signed(batch, attempt, seq=seq, operator=self._chain.operator, now=self._clock())
            await self._send(batch, signed.raw)
            log.info("batch_sent seq=%d nonce=%d trades=%d transaction=%s", seq, nonce, len(trades), signed.transaction)
            return True
        self._on_settled([reading for reading, _ in self._store.readings_of(batch)])
        return True

    def _form(self) -> int | None:
        return self._store.form_batch(
            slots_per_day=self._slots_per_day, most_trades=self._most_trades, now=self._clock()
        )

    async def _refuse_to_fall_behind(self) -> None:
        """Raise MismatchError where the chain knows more of this operator than the database."""
        operator = self._chain.operator
        known, seq = self._store.next_seq(), await self._chain.next_seq(pending=False)
        if seq is not None and (ahead := seq - known) > 0:
            raise MismatchError(
                f"the market has settled {ahead} batches of this operator that the database does not know: "
                "restore the database they came from (energy-bridge reconcile --rebuild makes it of the chain's logs), "
                "or register an operator of its own for this bridge"
            )
        unknown = await self._chain.nonce() - self._store.next_nonce(operator)
        if unknown > 0:
            raise MismatchError(
                f"the operator {operator} has sent {unknown} transactions that the database does not know: "
                "its key is for this bridge alone, so stop whoever else uses it and rebuild the database "
                "(energy-bridge reconcile --rebuild), or register an operator of its own for this bridge"
            )
