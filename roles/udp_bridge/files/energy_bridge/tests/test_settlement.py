# SPDX-License-Identifier: GPL-3.0-or-later
"""Settlement reaches its end whatever is interrupted, on a chain that can do what a real one does only rarely."""

import asyncio
import hashlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
from energy_bridge.gate import close_due_slots
from energy_bridge.merkle import merkle_root
from energy_bridge.model import BatchState, Reading, Trade
from energy_bridge.settlement import ChainError, MismatchError, Receipt, Settlement, Signed, WouldRevertError
from energy_bridge.store import Store

CONFIRMATIONS = 3


class FakeChain:
    """A chain with one operator, mined by hand. Its transactions are their own text: `seq nonce`."""

    def __init__(self) -> None:
        self.name = "a chain"
        self.blocks: list[list[str]] = [[]]
        self.pool: list[str] = []
        self.reverting: set[str] = set()
        self.refusal: str | None = None
        self.broken_before: str | None = None
        self.signed: list[tuple[int, int, list[Trade]]] = []
        self.roots: list[bytes] = []

    def mine(self, *, blocks: int = 1) -> None:
        for _ in range(blocks):
            self.blocks.append(list(self.pool))
            self.pool = []

    def reorganise(self, depth: int) -> None:
        """Replace the last blocks by empty ones; nobody keeps what was in them."""
        self.blocks[-depth:] = [[] for _ in range(depth)]

    @property
    def settled(self) -> list[int]:
        mined = [transaction for block in self.blocks for transaction in block]
        return [int(transaction.split()[0]) for transaction in mined if transaction not in self.reverting]

    def _reached(self, method: str) -> None:
        if self.broken_before == method:
            raise ChainError(f"broken before {method}")

    async def identity(self) -> str:
        return self.name

    async def head(self) -> int:
        self._reached("head")
        return len(self.blocks) - 1

    async def next_seq(self) -> int:
        return len(self.settled)

    async def nonce(self) -> int:
        return sum(map(len, self.blocks))

    async def sign(self, *, seq: int, nonce: int, readings_root: bytes, trades: Sequence[Trade]) -> Signed:
        if self.refusal is not None:
            raise WouldRevertError(self.refusal)
        self.signed.append((seq, nonce, list(trades)))
        self.roots.append(readings_root)
        return Signed(f"{seq} {nonce}".encode(), f"{seq} {nonce}")

    async def send(self, raw: bytes) -> None:
        self._reached("send")
        if raw.decode() not in self.pool:
            self.pool.append(raw.decode())

    async def receipt(self, transaction: str) -> Receipt | None:
        for number, block in enumerate(self.blocks):
            if transaction in block:
                return Receipt(number, transaction not in self.reverting)
        return None


class Bridge:
    """A store, a chain, and a settlement that can be thrown away and made anew, as a crash does."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.chain = FakeChain()
        self.final: list[int] = []
        self.now = 0.0
        self.store = Store(path)
        self.start()

    def start(self) -> None:
        self.settlement = Settlement(
            self.store,
            self.chain,
            confirmations=CONFIRMATIONS,
            clock=lambda: self.now,
            on_final=self.final.append,
        )
        asyncio.run(self.settlement.check())

    def crash(self) -> None:
        self.store.close()
        self.store = Store(self.path)
        self.start()

    def trade_in(self, slot: int) -> None:
        readings = [Reading("pv", 1, slot, 0.0, slot, 100, 2), Reading("grid", 1, slot, 0.0, slot, -100, 7)]
        self.store.add([(reading, b"%d" % slot) for reading in readings], 0.0)
        close_due_slots(self.store, actors=2, grid="grid", grace_s=0, now=0.0)

    def step(self) -> None:
        asyncio.run(self.settlement.step())

    def states(self) -> list[BatchState]:
        return [batch.state for batch in self.store.batches(*BatchState)]


@pytest.fixture
def bridge(tmp_path: Path) -> Iterator[Bridge]:
    made = Bridge(tmp_path / "bridge.sqlite")
    yield made
    made.store.close()


def test_a_batch_becomes_final_after_its_confirmations(bridge: Bridge) -> None:
    bridge.trade_in(5)
    assert bridge.states() == [BatchState.BATCHED]
    bridge.step()
    assert bridge.states() == [BatchState.SENT]
    for state in (BatchState.MINED, BatchState.MINED, BatchState.FINAL):
        bridge.chain.mine()
        assert bridge.final == []
        bridge.step()
        assert bridge.states() == [state]
    assert bridge.final == [5]
    assert bridge.chain.signed == [(0, 0, [Trade("pv", "grid", 100, 7, 5)])]


def test_a_batch_names_the_readings_that_counted_in_the_order_of_their_keys(bridge: Bridge) -> None:
    digests = {name: hashlib.sha256(name.encode()).digest() for name in ("grid", "load", "pv 9", "pv 10", "pv late")}
    readings = [
        (Reading("pv", 1, 9, 0.0, 5, 70, 2), digests["pv 9"]),
        (Reading("pv", 1, 10, 0.0, 5, 100, 2), digests["pv 10"]),
        (Reading("load", 1, 1, 0.0, 5, -100, 7), digests["load"]),
        (Reading("grid", 1, 1, 0.0, 5, 0, 7), digests["grid"]),
    ]
    bridge.store.add(readings, 0.0)
    close_due_slots(bridge.store, actors=3, grid="grid", grace_s=0, now=0.0)
    bridge.store.add([(Reading("pv", 1, 11, 0.0, 5, 1, 2), digests["pv late"])], 0.0)
    bridge.trade_in(6)
    (batch, _) = bridge.store.batches(BatchState.BATCHED)
    assert bridge.store.digests(batch.id) == [digests["grid"], digests["load"], digests["pv 10"]]
    bridge.step()
    assert bridge.chain.roots == [merkle_root(bridge.store.digests(batch.id))]


def test_batches_go_one_after_the_other_with_consecutive_numbers(bridge: Bridge) -> None:
    for slot in (5, 6, 7):
        bridge.trade_in(slot)
    for _ in range(10):
        bridge.step()
        assert len(bridge.chain.pool) <= 1
        bridge.chain.mine()
    assert bridge.final == [5, 6, 7]
    assert [(seq, nonce) for seq, nonce, _ in bridge.chain.signed] == [(0, 0), (1, 1), (2, 2)]


def test_a_slot_without_trades_is_final_at_once_and_uses_no_number(bridge: Bridge) -> None:
    bridge.store.add([(Reading("pv", 1, 1, 0.0, 5, 0, 2), b"")], 0.0)
    assert close_due_slots(bridge.store, actors=2, grid="grid", grace_s=0, now=0.0) == [5]
    assert bridge.states() == [BatchState.FINAL]
    bridge.trade_in(6)
    bridge.step()
    assert bridge.chain.signed[0][0] == 0


@pytest.mark.parametrize("steps", range(5))
def test_a_crash_between_any_two_steps_settles_once(bridge: Bridge, steps: int) -> None:
    bridge.trade_in(5)
    for index in range(6):
        if index == steps:
            bridge.crash()
        bridge.step()
        bridge.chain.mine()
    assert bridge.final == [5]
    assert bridge.chain.settled == [0]
    assert len(bridge.chain.signed) == 1


def test_a_signed_transaction_is_sent_as_it_was_after_a_crash(bridge: Bridge) -> None:
    bridge.trade_in(5)
    bridge.chain.broken_before = "send"
    with pytest.raises(ChainError):
        bridge.step()
    assert bridge.states() == [BatchState.SIGNED]
    bridge.chain.broken_before = None
    bridge.crash()
    bridge.step()
    assert bridge.chain.pool == ["0 0"]
    assert len(bridge.chain.signed) == 1


def test_a_mined_transaction_whose_block_vanishes_is_sent_again(bridge: Bridge) -> None:
    bridge.trade_in(5)
    bridge.trade_in(6)
    bridge.step()
    bridge.chain.mine()
    bridge.step()  # the second batch is sent after the first was mined
    bridge.chain.mine()
    bridge.step()
    assert bridge.states() == [BatchState.MINED, BatchState.MINED]
    bridge.chain.reorganise(2)
    bridge.step()
    assert bridge.chain.pool == ["0 0", "1 1"]
    bridge.chain.mine(blocks=3)
    bridge.step()
    assert bridge.final == [5, 6]
    assert bridge.chain.settled == [0, 1]
    assert len(bridge.chain.signed) == 2


def test_nothing_is_signed_while_a_mined_batch_is_off_the_chain(bridge: Bridge) -> None:
    bridge.trade_in(5)
    bridge.step()
    bridge.chain.mine()
    bridge.step()
    bridge.trade_in(6)

    original = bridge.chain.receipt

    async def receipt_then_reorganisation(transaction: str) -> Receipt | None:
        found = await original(transaction)
        bridge.chain.reorganise(1)
        return found

    bridge.chain.receipt = receipt_then_reorganisation  # type: ignore[method-assign]
    bridge.step()
    assert len(bridge.chain.signed) == 1, "a second payload was signed for a nonce that is free again"


def test_a_lost_transaction_is_sent_again_after_a_while(bridge: Bridge) -> None:
    bridge.now = 100.0
    bridge.trade_in(5)
    bridge.step()
    bridge.chain.pool.clear()
    bridge.step()
    assert bridge.chain.pool == []
    bridge.now += 31
    bridge.step()
    assert bridge.chain.pool == ["0 0"]


def test_a_batch_that_would_revert_is_refused_and_its_number_goes_to_the_next(bridge: Bridge) -> None:
    bridge.trade_in(5)
    bridge.chain.refusal = "InsufficientFunds(account=0x01, missingWei=5)"
    bridge.step()
    assert bridge.states() == [BatchState.REFUSED]
    assert bridge.store.standing("pv", 1, 5).reason == bridge.chain.refusal
    bridge.chain.refusal = None
    bridge.trade_in(6)
    bridge.step()
    assert [(seq, nonce) for seq, nonce, _ in bridge.chain.signed] == [(0, 0)]


def test_a_batch_that_reverts_in_its_block_is_tried_again_with_a_new_nonce(bridge: Bridge) -> None:
    bridge.trade_in(5)
    bridge.trade_in(6)
    bridge.chain.reverting.add("0 0")
    bridge.step()
    bridge.chain.mine()
    bridge.step()
    assert bridge.states() == [BatchState.REVERTED, BatchState.BATCHED]
    for _ in range(9):
        bridge.chain.mine()
        bridge.step()
    assert bridge.final == [5, 6]
    assert [(seq, nonce) for seq, nonce, _ in bridge.chain.signed] == [(0, 0), (0, 1), (1, 2)]


def test_another_chain_is_refused(bridge: Bridge) -> None:
    bridge.chain.name = "another chain"
    with pytest.raises(MismatchError, match="belongs to a chain, but the node has another chain"):
        bridge.crash()


@pytest.mark.parametrize("act", [Bridge.crash, lambda bridge: (bridge.trade_in(5), bridge.step())])
def test_a_chain_that_is_ahead_of_the_store_is_refused(bridge: Bridge, act: Callable[[Bridge], None]) -> None:
    bridge.chain.blocks.append(["0 0"])
    with pytest.raises(MismatchError, match="has settled 1 batches of this operator that the database does not know"):
        act(bridge)
    assert bridge.chain.signed == []
