# SPDX-License-Identifier: GPL-3.0-or-later
"""Settlement reaches its end whatever is interrupted, on a chain that can do what a real one does only rarely."""

import asyncio
import hashlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
from energy_bridge.clearing import Rules
from energy_bridge.gate import Gate, close_due_slots, settle_late_readings
from energy_bridge.merkle import merkle_root
from energy_bridge.model import NWH_PER_WH, BatchState, Reading, Trade
from energy_bridge.settlement import ChainError, MismatchError, Receipt, Settlement, Signed, WouldRevertError
from energy_bridge.store import Standing, Store

CONFIRMATIONS = 3
RULES = Rules(grid="grid")
GATE = Gate(actors=frozenset({"grid", "pv"}), slot_s=900, grace_s=0, simulated=True)


class FakeChain:
    """A chain with one operator, mined by hand. Its transactions are their own text: `seq nonce attempt`."""

    operator = "0x01"
    most_unmined = 4

    def __init__(self) -> None:
        self.name = "a chain"
        self.blocks: list[list[str]] = [[]]
        self.forks = 0
        self.pool: list[str] = []
        self.reverting: set[str] = set()
        self.refused: Callable[[Trade], bool] = lambda _: False
        self.broken_before: str | None = None
        self.signed: list[tuple[int, int, list[Trade]]] = []
        self.roots: list[bytes] = []

    def mine(self, *, blocks: int = 1) -> None:
        for _ in range(blocks):
            self.blocks.append(list(self.pool))
            self.pool = []

    def reorganise(self, depth: int) -> list[str]:
        """Replace the last blocks by empty ones; nobody keeps what was in them, which is returned."""
        lost = [transaction for block in self.blocks[-depth:] for transaction in block]
        self.blocks[-depth:] = [[] for _ in range(depth)]
        self.forks += 1
        return lost

    def _run(self, transactions: Sequence[str]) -> list[str]:
        """Those of them that the contract takes: each number once, and in their order."""
        taken: list[str] = []
        for transaction in transactions:
            if transaction not in self.reverting and int(transaction.split()[0]) == len(taken):
                taken.append(transaction)
        return taken

    @property
    def _mined(self) -> list[str]:
        return [transaction for block in self.blocks for transaction in block]

    @property
    def settled(self) -> list[int]:
        return [int(transaction.split()[0]) for transaction in self._run(self._mined)]

    def _reached(self, method: str) -> None:
        if self.broken_before == method:
            raise ChainError(f"broken before {method}")

    async def identity(self) -> str:
        return self.name

    async def head(self) -> int:
        self._reached("head")
        return len(self.blocks) - 1

    async def block_hash(self, block: int) -> str | None:
        return f"{block} {self.blocks[block]} {self.forks}" if block < len(self.blocks) else None

    async def next_seq(self, *, pending: bool) -> int:
        return len(self._run(self._mined + (self.pool if pending else [])))

    async def nonce(self) -> int:
        return len({transaction.split()[1] for transaction in self._mined})

    async def sign(self, *, seq: int, nonce: int, readings_root: bytes, trades: Sequence[Trade]) -> Signed:
        bad = [place for place, trade in enumerate(trades) if self.refused(trade)]
        if bad:
            raise WouldRevertError("InsufficientFunds(account=0x01, missingWei=5)", bad)
        self.signed.append((seq, nonce, list(trades)))
        self.roots.append(readings_root)
        return Signed(f"{seq} {nonce} 0".encode(), f"{seq} {nonce} 0")

    async def sign_again(self, raw: bytes) -> Signed:
        seq, nonce, attempt = raw.decode().split()
        text = f"{seq} {nonce} {int(attempt) + 1}"
        return Signed(text.encode(), text)

    async def send(self, raw: bytes) -> None:
        self._reached("send")
        nonce = raw.decode().split()[1]
        self.pool = sorted([other for other in self.pool if other.split()[1] != nonce] + [raw.decode()])

    async def receipt(self, transaction: str) -> Receipt | None:
        for number, block in enumerate(self.blocks):
            if transaction in block:
                block_hash = await self.block_hash(number)
                return Receipt(number, str(block_hash), transaction in self._run(self._mined))
        return None


class Bridge:
    """A store, a chain, and a settlement that can be thrown away and made anew, as a crash does."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.chain = FakeChain()
        self.told: list[Reading] = []
        self.now = 0.0
        self.store = Store(path)
        self.start()

    def start(self, most_trades: int = 1) -> None:
        self.settlement = Settlement(
            self.store,
            self.chain,
            confirmations=CONFIRMATIONS,
            slot_s=900,
            most_trades=most_trades,
            clock=lambda: self.now,
            on_settled=self.told.extend,
        )
        asyncio.run(self.settlement.check())

    def crash(self) -> None:
        self.store.close()
        self.store = Store(self.path)
        self.start()

    def say(self, source: str, slot: int, energy_wh: int, price: int, seq: int | None = None) -> None:
        reading = Reading(source, 1, slot if seq is None else seq, 0.0, slot, energy_wh * NWH_PER_WH, price)
        self.store.add([(reading, hashlib.sha256(repr(reading).encode()).digest())], 0.0)

    def trade_in(self, *slots: int) -> None:
        for slot in slots:
            self.say("pv", slot, 100, 2)
            self.say("grid", slot, -100, 7)
            close_due_slots(self.store, GATE, RULES, now=0.0)

    def step(self) -> None:
        asyncio.run(self.settlement.step())

    def mine_and_step(self, times: int) -> None:
        for _ in range(times):
            self.chain.mine()
            self.step()

    def states(self) -> list[BatchState]:
        return [batch.state for batch in self.store.batches(*BatchState)]

    @property
    def final(self) -> list[int]:
        return [reading.slot for reading in self.told if reading.source == "pv"]

    def standing(self, source: str, seq: int) -> Standing:
        standing = self.store.standing(source, 1, seq)
        assert standing is not None
        return standing


@pytest.fixture
def bridge(tmp_path: Path) -> Iterator[Bridge]:
    made = Bridge(tmp_path / "bridge.sqlite")
    yield made
    made.store.close()


def test_a_batch_becomes_final_after_its_confirmations(bridge: Bridge) -> None:
    bridge.trade_in(5)
    assert bridge.states() == []
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
    bridge.say("pv", 5, 70, 2, seq=9)
    bridge.say("pv", 5, 100, 2, seq=10)
    bridge.say("load", 5, -100, 7, seq=1)
    bridge.say("grid", 5, 0, 7, seq=1)
    close_due_slots(bridge.store, GATE, RULES, now=0.0)
    bridge.step()
    (batch,) = bridge.store.batches(BatchState.SENT)
    readings = bridge.store.readings_of(batch.id)
    assert [(reading.source, reading.seq) for reading, _ in readings] == [("grid", 1), ("load", 1), ("pv", 10)]
    assert bridge.chain.roots == [merkle_root([digest for _, digest in readings])]


def test_a_batch_spans_slots_of_one_day(bridge: Bridge) -> None:
    bridge.start(most_trades=100)
    bridge.trade_in(94, 95, 96)
    bridge.step()
    assert [(seq, [trade.slot for trade in trades]) for seq, _, trades in bridge.chain.signed] == [
        (0, [94, 95]),
        (1, [96]),
    ]


def test_a_slot_is_never_split(bridge: Bridge) -> None:
    bridge.start(most_trades=3)
    for slot in (5, 6):
        bridge.say("pv", slot, 100, 2)
        bridge.say("load", slot, -40, 7)
        bridge.say("grid", slot, 0, 7)
        close_due_slots(bridge.store, GATE, RULES, now=0.0)
    bridge.step()
    assert [[trade.slot for trade in trades] for _, _, trades in bridge.chain.signed] == [[5, 5], [6, 6]]


def test_at_most_four_batches_are_unmined(bridge: Bridge) -> None:
    bridge.trade_in(*range(5, 11))
    bridge.step()
    assert bridge.chain.pool == ["0 0 0", "1 1 0", "2 2 0", "3 3 0"]
    bridge.mine_and_step(5)
    assert bridge.final == [5, 6, 7, 8, 9, 10]
    assert [(seq, nonce) for seq, nonce, _ in bridge.chain.signed] == [(n, n) for n in range(6)]


def test_a_slot_without_trades_is_settled_at_once_and_uses_no_number(bridge: Bridge) -> None:
    bridge.say("pv", 5, 0, 2, seq=1)
    assert [reading.slot for reading in close_due_slots(bridge.store, GATE, RULES, now=0.0)] == [5]
    assert bridge.standing("pv", 1).settled
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
    assert bridge.chain.pool == ["0 0 0"]
    assert len(bridge.chain.signed) == 1


def test_a_mined_transaction_whose_block_vanishes_is_sent_again(bridge: Bridge) -> None:
    bridge.trade_in(5)
    bridge.step()
    bridge.trade_in(6)
    bridge.mine_and_step(1)
    bridge.mine_and_step(1)
    assert bridge.states() == [BatchState.MINED, BatchState.MINED]
    bridge.chain.reorganise(2)
    bridge.step()
    assert bridge.chain.pool == ["0 0 0", "1 1 0"]
    bridge.mine_and_step(3)
    assert bridge.final == [5, 6]
    assert bridge.chain.settled == [0, 1]
    assert len(bridge.chain.signed) == 2


def test_a_final_batch_that_leaves_the_chain_is_sent_again(bridge: Bridge) -> None:
    bridge.trade_in(5)
    bridge.step()
    bridge.mine_and_step(CONFIRMATIONS)
    assert bridge.states() == [BatchState.FINAL]
    bridge.chain.reorganise(CONFIRMATIONS)
    bridge.step()
    assert bridge.states() == [BatchState.SENT]
    assert bridge.chain.pool == ["0 0 0"]
    bridge.mine_and_step(CONFIRMATIONS)
    assert bridge.states() == [BatchState.FINAL]
    assert bridge.chain.settled == [0]


def test_a_final_batch_that_another_block_has_now_stays_settled(bridge: Bridge) -> None:
    bridge.trade_in(5)
    bridge.step()
    bridge.mine_and_step(CONFIRMATIONS)
    (transaction,) = bridge.chain.reorganise(CONFIRMATIONS)
    bridge.chain.blocks[-1].append(transaction)
    bridge.step()
    assert bridge.states() == [BatchState.MINED]
    bridge.mine_and_step(CONFIRMATIONS)
    assert bridge.states() == [BatchState.FINAL]
    assert len(bridge.chain.signed) == 1


def test_nothing_is_signed_while_a_mined_batch_is_off_the_chain(bridge: Bridge) -> None:
    bridge.trade_in(5)
    bridge.step()
    bridge.mine_and_step(1)
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
    assert bridge.chain.pool == ["0 0 0"]


def test_a_transaction_that_no_block_takes_gets_a_higher_fee(bridge: Bridge) -> None:
    bridge.now = 100.0
    bridge.trade_in(5)
    bridge.step()
    bridge.now += 121
    bridge.step()
    assert bridge.chain.pool == ["0 0 1"]
    (batch,) = bridge.store.batches(BatchState.SENT)
    assert [attempt.hash for attempt in bridge.store.attempts(batch.id)] == ["0 0 1", "0 0 0"]


def test_the_first_attempt_counts_where_a_block_has_it_after_all(bridge: Bridge) -> None:
    bridge.now = 100.0
    bridge.trade_in(5)
    bridge.step()
    bridge.now += 121
    bridge.step()
    bridge.chain.pool = ["0 0 0"]
    bridge.mine_and_step(CONFIRMATIONS)
    assert bridge.states() == [BatchState.FINAL]
    assert bridge.store.batches(BatchState.FINAL)[0].hash == "0 0 0"


def test_a_batch_that_would_revert_is_refused_and_its_number_goes_to_the_next(bridge: Bridge) -> None:
    bridge.trade_in(5)
    bridge.chain.refused = lambda trade: trade.slot == 5
    bridge.step()
    assert bridge.states() == [BatchState.REFUSED]
    assert bridge.final == [5], "its sources are told"
    assert bridge.standing("pv", 5).reason == "InsufficientFunds(account=0x01, missingWei=5)"
    bridge.trade_in(6)
    bridge.step()
    assert [(seq, nonce) for seq, nonce, _ in bridge.chain.signed] == [(0, 0)]


def test_a_refused_trade_leaves_the_others_of_its_batch(bridge: Bridge) -> None:
    bridge.start(most_trades=100)
    bridge.trade_in(5, 6, 7)
    bridge.chain.refused = lambda trade: trade.slot == 6
    bridge.step()
    assert [(seq, nonce, [trade.slot for trade in trades]) for seq, nonce, trades in bridge.chain.signed] == [
        (0, 0, [5, 7])
    ]
    bridge.mine_and_step(CONFIRMATIONS)
    assert (bridge.standing("pv", 5).refused_wh, bridge.standing("pv", 6).refused_wh) == (0, 100)


def test_a_batch_that_reverts_in_its_block_is_tried_again_with_a_new_nonce(bridge: Bridge) -> None:
    bridge.trade_in(5, 6)
    bridge.step()
    assert bridge.chain.pool == ["0 0 0", "1 1 0"]
    bridge.chain.reverting.add("0 0 0")
    bridge.mine_and_step(1)
    assert bridge.states() == [BatchState.REVERTED, BatchState.REVERTED]
    bridge.mine_and_step(9)
    assert bridge.final == [5, 6]
    assert [(seq, nonce) for seq, nonce, _ in bridge.chain.signed] == [(0, 0), (1, 1), (0, 2), (1, 3)]
    assert bridge.chain.settled == [0, 1]


def test_a_late_reading_is_an_imbalance_of_its_difference(bridge: Bridge) -> None:
    bridge.trade_in(5)
    bridge.say("pv", 5, 130, 2, seq=6)
    bridge.say("pv", 5, 120, 2, seq=4)
    assert [reading.seq for reading in settle_late_readings(bridge.store, RULES)] == [4], "it is older than what counts"
    bridge.say("pv", 5, 110, 2, seq=7)
    settle_late_readings(bridge.store, RULES)
    bridge.step()
    assert [trade for _, _, trades in bridge.chain.signed for trade in trades] == [
        Trade("pv", "grid", 100, 7, 5),
        Trade("pv", "grid", 30, 7, 5, imbalance=True),
        Trade("grid", "pv", 20, 7, 5, imbalance=True),
    ]
    bridge.mine_and_step(CONFIRMATIONS)
    assert bridge.standing("pv", 7).settled


def test_another_chain_is_refused(bridge: Bridge) -> None:
    bridge.chain.name = "another chain"
    with pytest.raises(MismatchError, match="belongs to a chain, but the node has another chain"):
        bridge.crash()


@pytest.mark.parametrize("act", [Bridge.crash, lambda bridge: (bridge.trade_in(5), bridge.step())])
@pytest.mark.parametrize(
    ("transaction", "reason"),
    [
        ("0 0 0", "has settled 1 batches of this operator that the database does not know"),
        ("9 0 0", "has sent 1 transactions that the database does not know"),
    ],
)
def test_a_chain_that_is_ahead_of_the_store_is_refused(
    bridge: Bridge, transaction: str, reason: str, act: Callable[[Bridge], None]
) -> None:
    bridge.chain.blocks.append([transaction])
    with pytest.raises(MismatchError, match=reason):
        act(bridge)
    assert bridge.chain.signed == []
