# SPDX-License-Identifier: GPL-3.0-or-later
"""Settlement: every batch goes BATCHED → SIGNED → SENT → MINED → FINAL, whatever is interrupted in between.

Each arrow is one durable step, and each step can be done again: a transaction is stored before it is sent, the same
bytes are sent again after a restart, and the contract takes each sequence number once. One batch is under way at a
time until it is mined, so that the check before signing sees what the batches before it left.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from energy_bridge.merkle import merkle_root
from energy_bridge.model import BatchState, Trade
from energy_bridge.store import Batch, Store

__all__ = ["Chain", "ChainError", "MismatchError", "Receipt", "Settlement", "Signed", "WouldRevertError"]

log = logging.getLogger(__name__)

RESEND_AFTER_S = 30.0


class ChainError(Exception):
    """The chain cannot be used right now; what was asked has to be asked again."""


class WouldRevertError(Exception):
    """The contract would refuse the batch; its text is the contract's reason."""


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
    succeeded: bool


class Chain(Protocol):
    """What settlement needs of the market's chain; every method may raise ChainError."""

    async def identity(self) -> str:
        """Name this chain and market, the same for ever."""

    async def head(self) -> int:
        """Return the number of the newest block."""

    async def next_seq(self) -> int:
        """Return the sequence number that the contract takes next from this operator."""

    async def nonce(self) -> int:
        """Return how many transactions of this operator have been mined."""

    async def sign(self, *, seq: int, nonce: int, readings_root: bytes, trades: Sequence[Trade]) -> Signed:
        """Sign a batch without sending it; raises WouldRevertError when the contract would never take it."""

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
        clock: Callable[[], float],
        on_final: Callable[[int], None],
    ) -> None:
        """Call on_final with each slot that became final; clock returns seconds."""
        self._store = store
        self._chain = chain
        self._confirmations = confirmations
        self._clock = clock
        self._on_final = on_final
        self._sent_at: dict[int, float] = {}

    async def check(self) -> None:
        """Refuse a chain that is not the one this database was used with, or is ahead of it; raises MismatchError."""
        identity = await self._chain.identity()
        known = self._store.belongs_to("market", identity)
        if known != identity:
            raise MismatchError(
                f"the database belongs to {known}, but the node has {identity}: "
                "give the bridge the right node and market, or a database of its own"
            )
        await self._chain_is_ahead_by()

    async def step(self) -> None:
        """Look at every batch that is under way, then sign the next one if none is unmined."""
        head = await self._chain.head()
        under_way = (BatchState.SIGNED, BatchState.SENT, BatchState.MINED, BatchState.REVERTED)
        for batch in self._store.batches(*under_way):
            await self._follow(batch, head)
        if not self._store.batches(BatchState.SIGNED, BatchState.SENT, BatchState.REVERTED):
            for batch in self._store.batches(BatchState.BATCHED):
                if await self._sign(batch):
                    break

    async def _follow(self, batch: Batch, head: int) -> None:
        if batch.hash is None or batch.raw is None:
            raise AssertionError(f"batch {batch.id} is {batch.state} without a transaction")
        receipt = await self._chain.receipt(batch.hash)
        if receipt is None:
            if batch.state in (BatchState.MINED, BatchState.REVERTED):
                log.warning("batch_left_the_chain seq=%s transaction=%s", batch.seq, batch.hash)
            if batch.state is not BatchState.SENT or self._clock() - self._sent_at.get(batch.id, 0.0) > RESEND_AFTER_S:
                await self._send(batch.id, batch.raw)
            return
        state = BatchState.MINED if receipt.succeeded else BatchState.REVERTED
        if (state, receipt.block) != (batch.state, batch.block):
            self._store.mined(batch.id, block=receipt.block, succeeded=receipt.succeeded)
            log.info("batch_%s seq=%s block=%d transaction=%s", state.lower(), batch.seq, receipt.block, batch.hash)
        if head - receipt.block + 1 < self._confirmations:
            return
        if state is BatchState.MINED:
            self._store.final(batch.id)
            slots = self._store.slots_of(batch.id)
            log.info("batch_final seq=%s slots=%s transaction=%s", batch.seq, slots, batch.hash)
            for slot in slots:
                self._on_final(slot)
        else:
            self._store.again(batch.id)

    async def _sign(self, batch: Batch) -> bool:
        """Sign and send a batch; False when it was refused, and the next one may have its turn."""
        if await self._chain_is_ahead_by() < 0:
            return True  # a mined batch has left the chain: wait until it is back
        seq = self._store.next_seq()
        nonce = max(await self._chain.nonce(), self._store.next_nonce())
        try:
            signed = await self._chain.sign(
                seq=seq,
                nonce=nonce,
                readings_root=merkle_root(self._store.digests(batch.id)),
                trades=self._store.trades(batch.id),
            )
        except WouldRevertError as error:
            self._store.refused(batch.id, str(error))
            log.warning("batch_refused slots=%s reason=%s", self._store.slots_of(batch.id), error)
            return False
        self._store.signed(batch.id, seq=seq, nonce=nonce, raw=signed.raw, transaction=signed.transaction)
        await self._send(batch.id, signed.raw)
        log.info("batch_sent seq=%d nonce=%d transaction=%s", seq, nonce, signed.transaction)
        return True

    async def _send(self, batch: int, raw: bytes) -> None:
        await self._chain.send(raw)
        self._sent_at[batch] = self._clock()
        self._store.sent(batch)

    async def _chain_is_ahead_by(self) -> int:
        ahead = await self._chain.next_seq() - self._store.next_seq()
        if ahead > 0:
            raise MismatchError(
                f"the market has settled {ahead} batches of this operator that the database does not know: "
                "restore the database they came from, or register an operator of its own for this bridge"
            )
        return ahead
