# SPDX-License-Identifier: GPL-3.0-or-later
"""Agreements are made once and ended, whatever is interrupted, on a chain that can do what a real one does rarely."""

import asyncio
import json
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from energy_bridge.agreement_chain import ABI
from energy_bridge.agreements import Act, Agreed, Agreements, AgreementSettlement, AgreementStore, State, Watched
from energy_bridge.clearing import Rules
from energy_bridge.gate import Gate, close_due_slots, settle_late_readings
from energy_bridge.intake import describe
from energy_bridge.model import NWH_PER_WH, BatchState, Reading, Trade
from energy_bridge.settlement import MismatchError, Receipt, Signed, WouldRevertError
from energy_bridge.store import StoreError

ARTIFACTS = Path(__file__).parents[5] / "contracts/artifacts"
CONFIRMATIONS = 3
SLOT_S, WITHIN_S = 10, 20
RULES = Rules(grid="grid")
GATE = Gate(actors=frozenset({"grid", "pv"}), slot_s=SLOT_S, grace_s=0, simulated=True)
AGREEMENTS = Agreements(
    chain_id=1337,
    market="0x" + "aa" * 20,
    factory="0x" + "ff" * 20,
    accounts={name: f"0x{place:040x}" for place, name in enumerate(("grid", "load", "pv"), 1)},
    slot_s=SLOT_S,
    deliver_within_s=WITHIN_S,
)


class FakeChain:
    """A chain mined by hand, a block each second. Its transactions are their own text: `act address nonce attempt`."""

    operator = "0x01"
    most_unmined = 16

    def __init__(self) -> None:
        self.blocks: list[list[str]] = [[]]
        self.forks = 0
        self.pool: list[str] = []
        self.delivered: dict[int, list[str]] = {}
        self.ways: dict[str, int] = {}  # by which an agreement's time to deliver is over
        self.reason: str | None = None
        self.signed: list[Agreed] = []

    def mine(self) -> None:
        self.blocks.append(list(self.pool))
        self.pool = []

    def deliver(self, *addresses: str) -> None:
        """Let the payer confirm in the next block, before anything else there."""
        self.delivered[len(self.blocks)] = list(addresses)

    def reorganise(self, depth: int) -> None:
        """Replace the last blocks by empty ones; nobody keeps what was in them."""
        self.blocks[-depth:] = [[] for _ in range(depth)]
        self.forks += 1

    def _history(self, last: int) -> tuple[list[tuple[int, str, State]], set[str]]:
        """All changes of states up to a block, and the transactions that succeeded."""
        states: dict[str, State] = {}
        changes: list[tuple[int, str, State]] = []
        good: set[str] = set()

        def become(block: int, address: str, state: State) -> None:
            states[address] = state
            changes.append((block, address, state))

        for number, block in enumerate(self.blocks[: last + 1]):
            for address in self.delivered.get(number, []):
                if states.get(address) is State.COMMITTED:
                    become(number, address, State.DELIVERED)
            for transaction in block:
                act, address, *_ = transaction.split()
                state = states.get(address)
                if act == Act.CREATE:
                    good.add(transaction)
                    if state is None:
                        become(number, address, State.COMMITTED)
                elif act == Act.SETTLE and state is State.DELIVERED:
                    good.add(transaction)
                    become(number, address, State.SETTLED)
                elif act == Act.EXPIRE and state is State.COMMITTED:
                    good.add(transaction)
                    become(number, address, State.EXPIRED)
        return changes, good

    @property
    def _head(self) -> int:
        return len(self.blocks) - 1

    @property
    def made(self) -> list[str]:
        return [address for _, address, state in self._history(self._head)[0] if state is State.COMMITTED]

    async def identity(self) -> str:
        return "a chain"

    async def head(self) -> int:
        return self._head

    async def block_hash(self, block: int) -> str | None:
        return f"{block} {self.blocks[block]} {self.forks}" if block <= self._head else None

    async def next_seq(self, *, pending: bool) -> None:  # noqa: ARG002
        return

    async def nonce(self) -> int:
        return len({transaction.split()[2] for block in self.blocks for transaction in block})

    async def sign(self, *, seq: int, nonce: int, readings_root: bytes, trades: Sequence[Trade]) -> Signed:  # noqa: ARG002
        (agreed,) = trades
        assert isinstance(agreed, Agreed)
        if self.reason is not None:
            raise WouldRevertError(self.reason, [0])
        if agreed.act is not Act.CREATE:
            wanted = State.DELIVERED if agreed.act is Act.SETTLE else State.COMMITTED
            if await self.state(agreed.address, self._head) is not wanted:
                raise WouldRevertError("WrongState(state=1)", [0])
        self.signed.append(agreed)
        text = f"{agreed.act} {agreed.address} {nonce} 0"
        return Signed(text.encode(), text)

    async def sign_again(self, raw: bytes) -> Signed:
        *same, attempt = raw.decode().split()
        text = " ".join([*same, str(int(attempt) + 1)])
        return Signed(text.encode(), text)

    async def send(self, raw: bytes) -> None:
        nonce = raw.decode().split()[2]
        self.pool = sorted(
            [other for other in self.pool if other.split()[2] != nonce] + [raw.decode()],
            key=lambda text: int(text.split()[2]),
        )

    async def receipt(self, transaction: str) -> Receipt | None:
        for number, block in enumerate(self.blocks):
            if transaction in block:
                return Receipt(number, str(await self.block_hash(number)), transaction in self._history(self._head)[1])
        return None

    async def block_time(self, block: int) -> int:
        return block

    async def state(self, address: str, block: int) -> State:
        states = {other: state for _, other, state in self._history(block)[0]}
        return states.get(address, State.NONE)

    async def changes(self, first: int, last: int) -> list[tuple[str, State]]:
        return [(address, state) for block, address, state in self._history(last)[0] if block >= first]


class Bridge:
    """A store, a chain, and a settlement that can be thrown away and made anew, as a crash does."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.chain = FakeChain()
        self.told: list[Reading] = []
        self.now = -1e9  # slots are what counts for the time to deliver
        self.store = AgreementStore(path, AGREEMENTS)
        self.start()

    def start(self) -> None:
        self.settlement = AgreementSettlement(
            self.store,
            self.chain,
            confirmations=CONFIRMATIONS,
            slot_s=SLOT_S,
            clock=lambda: self.now,
            on_settled=self.told.extend,
        )
        asyncio.run(self.settlement.check())

    def crash(self) -> None:
        self.store.close()
        self.store = AgreementStore(self.path, AGREEMENTS)
        self.start()

    def say(self, source: str, slot: int, energy_wh: int, seq: int = 0) -> None:
        reading = Reading(source, 1, 100 * slot + seq, 0.0, slot, energy_wh * NWH_PER_WH, 2)
        self.store.add([(reading, repr(reading).encode())], 0.0)

    def trade_in(self, slot: int, **energies_wh: int) -> None:
        for source, energy_wh in ({"pv": 100, "grid": 0} | energies_wh).items():
            self.say(source, slot, energy_wh)
        close_due_slots(self.store, GATE, RULES, now=0.0)

    def step(self) -> None:
        asyncio.run(self.settlement.step())

    def mine_and_step(self, times: int) -> None:
        for _ in range(times):
            self.chain.mine()
            self.step()

    def answer(self, source: str, slot: int, seq: int = 0) -> dict[str, Any]:
        standing = self.store.standing(source, 1, 100 * slot + seq)
        assert standing is not None
        return describe(standing)

    def ended(self) -> dict[str, int]:
        ended: dict[str, int] = self.store.status()["agreements"]
        return {name: count for name, count in ended.items() if count}


@pytest.fixture
def bridge(tmp_path: Path) -> Iterator[Bridge]:
    made = Bridge(tmp_path / "bridge.sqlite")
    yield made
    made.store.close()


def test_a_trade_becomes_an_agreement_and_its_parties_hear_of_it_when_it_is_final(bridge: Bridge) -> None:
    bridge.trade_in(5)
    bridge.step()
    (agreed,) = bridge.chain.signed
    assert (agreed.seller, agreed.buyer, agreed.energy_wh, agreed.slot) == ("pv", "grid", 100, 5)
    assert agreed.deliver_by == 6 * SLOT_S + WITHIN_S
    bridge.mine_and_step(CONFIRMATIONS - 1)
    assert bridge.answer("pv", 5) == {"status": "batched", "slot": 5}
    assert bridge.told == []
    bridge.mine_and_step(1)
    assert bridge.chain.made == [agreed.address]
    assert bridge.answer("pv", 5) == {
        "status": "settled",
        "slot": 5,
        "transaction": f"create {agreed.address} 0 0",
        "deliver": True,
        "agreement": agreed.address,
        "agreements": 1,
    }
    assert {reading.source for reading in bridge.told} == {"pv", "grid"}


def test_a_reading_is_settled_when_all_that_rest_on_it_are(bridge: Bridge) -> None:
    bridge.trade_in(5, load=-60)
    bridge.chain.most_unmined = 1
    bridge.step()
    bridge.mine_and_step(CONFIRMATIONS)
    answers = {source: bridge.answer(source, 5) for source in ("load", "grid", "pv")}
    assert sorted(answer["status"] for answer in answers.values()) == ["batched", "batched", "settled"]
    bridge.mine_and_step(CONFIRMATIONS)
    assert {bridge.answer(source, 5)["status"] for source in answers} == {"settled"}
    assert [bridge.answer(source, 5)["agreements"] for source in ("load", "grid", "pv")] == [1, 1, 2]


def test_who_trades_nothing_waits_for_nobody(bridge: Bridge) -> None:
    bridge.trade_in(5, load=0)
    assert bridge.answer("load", 5) == {"status": "settled", "slot": 5, "transaction": None, "deliver": True}
    assert bridge.answer("pv", 5)["status"] == "batched"


def test_at_most_sixteen_are_unmined(bridge: Bridge) -> None:
    for slot in range(5, 25):
        bridge.trade_in(slot)
    bridge.step()
    assert len(bridge.chain.pool) == 16
    bridge.mine_and_step(1)
    assert len(bridge.chain.pool) == 4


def test_a_trade_that_is_equal_to_another_is_another(bridge: Bridge) -> None:
    bridge.trade_in(5)
    for seq, energy_wh in enumerate((130, 100, 130), 1):
        bridge.say("pv", 5, energy_wh, seq)
        settle_late_readings(bridge.store, RULES)
    bridge.step()
    bridge.mine_and_step(CONFIRMATIONS)
    contents = [(agreed.seller, agreed.energy_wh, agreed.imbalance) for agreed in bridge.chain.signed]
    assert contents == [("pv", 100, False), ("pv", 30, True), ("grid", 30, True), ("pv", 30, True)]
    assert len(set(bridge.chain.made)) == 4
    assert bridge.answer("pv", 5, 3)["imbalance"] is True
    assert bridge.answer("pv", 5, 3)["agreement"] == bridge.chain.signed[3].address


def test_a_refused_trade_is_refused_to_its_parties_alone(bridge: Bridge) -> None:
    bridge.trade_in(5)
    bridge.chain.reason = "AgreementsNotAccepted(account=0x01)"
    bridge.step()
    refused = {"status": "refused", "slot": 5, "reason": "AgreementsNotAccepted(account=0x01)"}
    assert bridge.answer("pv", 5) == refused
    assert {reading.source for reading in bridge.told} == {"pv", "grid"}
    bridge.chain.reason = None
    bridge.trade_in(6)
    bridge.step()
    assert [agreed.slot for agreed in bridge.chain.signed] == [6]


def test_what_is_delivered_is_settled(bridge: Bridge) -> None:
    bridge.trade_in(5)
    bridge.trade_in(6)
    bridge.step()
    bridge.mine_and_step(CONFIRMATIONS)
    first, second = bridge.chain.made
    bridge.chain.deliver(first)
    bridge.mine_and_step(CONFIRMATIONS)
    assert bridge.chain.pool == [f"settle {first} 2 0"]
    bridge.mine_and_step(CONFIRMATIONS)
    assert bridge.ended() == {"open": 1, "Settled": 1}
    bridge.mine_and_step(CONFIRMATIONS)
    assert [agreed.act for agreed in bridge.chain.signed] == ["create", "create", "settle"]
    assert [row[-3:] for row in bridge.store.table()[1]] == [(first, 80, "Settled"), (second, 90, None)]


def test_what_is_not_delivered_in_time_expires(bridge: Bridge) -> None:
    bridge.trade_in(0)
    bridge.step()
    bridge.mine_and_step(CONFIRMATIONS)
    for _ in range(SLOT_S + WITHIN_S + CONFIRMATIONS):
        bridge.chain.mine()
    bridge.step()
    assert [agreed.act for agreed in bridge.chain.signed] == ["create", "expire"]
    bridge.mine_and_step(CONFIRMATIONS)
    assert bridge.ended() == {"Expired": 1}


def test_what_somebody_else_settled_is_left_alone(bridge: Bridge) -> None:
    bridge.trade_in(5)
    bridge.step()
    bridge.mine_and_step(CONFIRMATIONS)
    (address,) = bridge.chain.made
    bridge.chain.deliver(address)
    bridge.mine_and_step(CONFIRMATIONS)
    bridge.chain.pool.insert(0, f"settle {address} 0 of somebody else")
    bridge.mine_and_step(1)
    assert [batch.state for batch in bridge.store.batches(*BatchState)] == [BatchState.FINAL, BatchState.REVERTED]
    bridge.mine_and_step(2 * CONFIRMATIONS)
    assert bridge.ended() == {"Settled": 1}
    assert bridge.store.batches(BatchState.BATCHED, BatchState.SENT) == []


@pytest.mark.parametrize("blocks", range(12))
def test_a_crash_at_any_time_makes_one_agreement_and_settles_it_once(bridge: Bridge, blocks: int) -> None:
    bridge.trade_in(5)
    bridge.step()
    for number in range(15):
        if number == blocks:
            bridge.crash()
        if number == CONFIRMATIONS:
            bridge.chain.deliver(*bridge.chain.made)
        bridge.mine_and_step(1)
    assert [agreed.act for agreed in bridge.chain.signed] == ["create", "settle"]
    assert bridge.ended() == {"Settled": 1}


def test_a_final_agreement_that_leaves_the_chain_is_made_again_where_it_was(bridge: Bridge) -> None:
    bridge.trade_in(5)
    bridge.step()
    bridge.mine_and_step(CONFIRMATIONS)
    made = bridge.chain.made
    bridge.chain.reorganise(CONFIRMATIONS)
    bridge.step()
    assert bridge.answer("pv", 5)["status"] == "batched"
    bridge.mine_and_step(CONFIRMATIONS)
    assert bridge.chain.made == made
    assert bridge.answer("pv", 5)["status"] == "settled"


def test_a_settlement_whose_delivery_left_the_chain_is_no_end(bridge: Bridge) -> None:
    bridge.trade_in(0)
    bridge.step()
    bridge.mine_and_step(CONFIRMATIONS)
    bridge.chain.deliver(*bridge.chain.made)
    bridge.mine_and_step(CONFIRMATIONS)
    bridge.chain.delivered.clear()
    bridge.mine_and_step(2 * CONFIRMATIONS)
    bridge.crash()  # such a fork is deeper than what is final, and what was seen is looked at again at a start
    for _ in range(SLOT_S + WITHIN_S + CONFIRMATIONS):
        bridge.chain.mine()
    bridge.step()
    bridge.mine_and_step(CONFIRMATIONS)
    assert [agreed.act for agreed in bridge.chain.signed] == ["create", "settle", "expire"]
    assert bridge.ended() == {"Expired": 1}


def test_a_database_that_is_behind_its_key_signs_nothing(bridge: Bridge) -> None:
    bridge.chain.blocks.append(["create 0x1 0 0"])
    with pytest.raises(MismatchError, match="has sent 1 transactions that the database does not know"):
        bridge.crash()


def test_an_open_agreement_is_not_archived(bridge: Bridge, tmp_path: Path) -> None:
    bridge.trade_in(0)
    bridge.trade_in(5)
    bridge.step()
    bridge.mine_and_step(CONFIRMATIONS)
    bridge.chain.deliver(bridge.chain.made[0])
    bridge.mine_and_step(2 * CONFIRMATIONS)
    assert bridge.ended() == {"open": 1, "Settled": 1}
    assert bridge.store.archive(tmp_path / "archive.sqlite", before=1e10) == 2, "the one that ended, and its end"
    assert [one.address for one in bridge.store.watched()] == [bridge.chain.made[1]]
    assert bridge.store.next_nonce("0x01") == 3


def test_an_actor_that_was_removed_is_named(tmp_path: Path) -> None:
    alone = Agreements(1337, AGREEMENTS.market, AGREEMENTS.factory, {"grid": "0x" + "01" * 20}, SLOT_S, WITHIN_S)
    with closing(AgreementStore(tmp_path / "bridge.sqlite", alone)) as store:
        for source, energy_wh in (("pv", 100), ("grid", 0)):
            store.add([(Reading(source, 1, 1, 0.0, 5, energy_wh * NWH_PER_WH, 2), source.encode())], 0.0)
        close_due_slots(store, GATE, RULES, now=0.0)
        with pytest.raises(StoreError, match="not among the actors in the configuration any more: pv"):
            store.form_agreement(now=0.0)
        assert store.form_act(Watched(7, "0x", 0), Act.SETTLE, now=0.0) is None


def test_ids_and_addresses_are_the_same_for_ever() -> None:
    trade = Trade("pv", "grid", 100, -7, 5, imbalance=True)
    assert AGREEMENTS.trade_id(trade, 1).hex() == "3d02560c726eb3efbe5681698923577b5cd9e7d0fc520a517d0ab250baa4b02c"
    assert AGREEMENTS.address_of(bytes(32)) == "0x2EA22d562F3732497E08a1aBA3827afC0fAA911A"


def test_what_is_called_is_what_the_compiler_made() -> None:
    compiled = [
        entry
        for name in ("EnergyAgreement", "EnergyAgreementFactory")
        for entry in json.loads((ARTIFACTS / f"{name}.json").read_text())["abi"]
    ]
    shapes = [_shape(entry) for entry in compiled]
    assert [entry["name"] for entry in ABI if _shape(entry) not in shapes] == []


def _shape(entry: Any) -> Any:
    """An entry of an ABI without the names that Solidity gives to types."""
    if isinstance(entry, dict):
        return {name: _shape(value) for name, value in entry.items() if name != "internalType"}
    return [_shape(value) for value in entry] if isinstance(entry, list | tuple) else entry
