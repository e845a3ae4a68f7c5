# SPDX-License-Identifier: GPL-3.0-or-later
"""EnergyMarket as the contracts' tests handle it, on a chain in memory."""

import ast
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pytest
from energy_bridge.batch import BatchTrade, decode_batch, encode_batch
from eth_abi.abi import encode
from eth_tester import EthereumTester
from eth_tester.exceptions import TransactionFailed
from web3 import Web3
from web3.contract import Contract
from web3.logs import DISCARD
from web3.types import TxReceipt, Wei

DAY_S = 86_400
SLOT_S = 900
SLOTS_PER_DAY = DAY_S // SLOT_S
WITHDRAW_S = 3_600
REPLACE_S = 7_200
TODAY = 25_000
"""The day that it is on the chain when a test begins."""
SLOT = TODAY * SLOTS_PER_DAY
"""The first slot of that day."""
LARGEST_WEI = 2**96 - 1
ZERO = "0x" + "00" * 20
NO_ROOT = bytes(32)
GAS = 12_000_000

Artifact = dict[str, Any]
Deploy = Callable[..., Contract]
"""Put an artefact on the chain: deploy(artifact, *constructor_arguments, wei=0)."""

_only_trying: list[bool] = []
"""Not empty while a revert is expected."""


def custom_error(abi: Sequence[Any], data: bytes) -> tuple[str, tuple[Any, ...]]:
    """Name and values of a custom error."""
    web3 = Web3()
    for item in abi:
        if item["type"] != "error":
            continue
        types = [argument["type"] for argument in item["inputs"]]
        if Web3.keccak(text=f"{item['name']}({','.join(types)})")[:4] == data[:4]:
            values = web3.codec.decode(types, data[4:])
            pairs = zip(types, values, strict=True)
            return item["name"], tuple(Web3.to_checksum_address(v) if t == "address" else v for t, v in pairs)
    return f"no error of the contract: 0x{data.hex()}", ()


@contextmanager
def refused(abi: Sequence[Any], error: str, *values: Any) -> Iterator[None]:
    """Expect a revert with this custom error and these values, of the one call in it: it is tried, and not sent."""
    _only_trying.append(True)
    try:
        with pytest.raises(TransactionFailed) as caught:
            yield
    finally:
        _only_trying.pop()
    data = ast.literal_eval(str(caught.value).removeprefix("execution reverted: "))
    assert custom_error(abi, data) == (error, values)


def digest_of(seq: int, readings_root: bytes, content_hash: bytes) -> bytes:
    """What the chain of an operator's batches is made of."""
    return bytes(Web3.keccak(encode(["uint256", "bytes32", "bytes32"], [seq, readings_root, content_hash])))


def linked(link: int, digest: bytes) -> int:
    """The chain's next end: the first 112 bits of a hash."""
    return int.from_bytes(Web3.keccak(link.to_bytes(32) + digest)[:14])


@dataclass(frozen=True)
class Proof:
    """A settled batch, as reportShortfall takes it."""

    operator: str
    seq: int
    readings_root: bytes
    batch: bytes
    link_before: int
    later_digests: tuple[bytes, ...]

    @property
    def link(self) -> int:
        """The one of the batch itself."""
        return linked(self.link_before, digest_of(self.seq, self.readings_root, bytes(Web3.keccak(self.batch))))

    def packed(self) -> tuple[Any, ...]:
        return self.operator, self.seq, self.readings_root, self.batch, self.link_before, list(self.later_digests)


@dataclass(frozen=True)
class Market:
    """The contract, with an admin, an operator, a meter and five registered actors: load, pv, chp, battery, grid."""

    web3: Web3
    chain: EthereumTester
    contract: Contract
    admin: str
    operator: str
    meter: str
    actors: tuple[str, ...]
    stranger: str
    newcomer: str

    @property
    def now(self) -> int:
        """The time of the newest block."""
        return int(self.web3.eth.get_block("latest")["timestamp"])

    def travel(self, timestamp: int) -> None:
        """Let it be so late that the next transaction's block has this time."""
        self.chain.time_travel(timestamp)

    def run(self, call: Any, *, sender: str, wei: int = 0) -> TxReceipt:
        """Send a call of any contract, which has to succeed, and return its receipt."""
        options = {"from": sender, "value": Wei(wei), "gas": GAS}
        if _only_trying:
            call.call(options, block_identifier="pending")
            pytest.fail("it succeeds")
        receipt = self.web3.eth.wait_for_transaction_receipt(call.transact(options))
        if receipt["status"] != 1:
            call.call(options)  # This says why.
            pytest.fail("it failed")
        return receipt

    def send(self, function: str, *arguments: Any, sender: str | None = None, wei: int = 0) -> TxReceipt:
        """Call a function of the market; the admin does where nobody is named."""
        return self.run(self.contract.functions[function](*arguments), sender=sender or self.admin, wei=wei)

    def view(self, name: str, *arguments: Any) -> Any:
        return self.contract.functions[name](*arguments).call()

    def settle(
        self, seq: int, trades: Sequence[BatchTrade], readings_root: bytes = NO_ROOT, sender: str | None = None
    ) -> TxReceipt:
        return self.settle_bytes(seq, encode_batch(trades), readings_root, sender)

    def settle_any(self, seq: int, sender: str | None = None) -> TxReceipt:
        """Settle a trade of no consequence."""
        load, pv, *_ = self.actors
        return self.settle(seq, [trade(pv, load)], sender=sender)

    def settle_bytes(
        self, seq: int, batch: bytes, readings_root: bytes = NO_ROOT, sender: str | None = None
    ) -> TxReceipt:
        return self.send("settleBatch", seq, readings_root, batch, sender=sender or self.operator)

    def register(self, count: int, wei: int) -> list[str]:
        """Register actors with this much money each, ascending."""
        accounts: list[str] = [Web3.to_checksum_address((2**150 + number).to_bytes(20)) for number in range(count)]
        self.send("registerActors", [(account, 0, f"house {place}") for place, account in enumerate(accounts)])
        for account in accounts:
            self.deposit(account, wei)
        return accounts

    def replace(self, account: str, by: str) -> None:
        self.send("requestReplacement", account, by)
        self.travel(self.now + REPLACE_S)
        self.send("replaceActor", account)

    def deposit(self, account: str, wei: int) -> TxReceipt:
        return self.send("depositFor", account, wei=wei)

    def wallet(self, account: str) -> int:
        """What an account has outside the market, in wei."""
        return self.web3.eth.get_balance(Web3.to_checksum_address(account))

    def balances(self) -> list[int]:
        return [self.view("weiOf", actor) for actor in self.actors]

    def energies(self, day: int = TODAY) -> list[int]:
        return [self.view("balanceOf", actor, day) for actor in self.actors]

    def totals(self, day: int = TODAY) -> list[Any]:
        """Traded, delivered, retired and outstanding Wh, and whether the day is closed."""
        return list(self.view("dayTotals", day))

    def close(self, day: int = TODAY) -> TxReceipt:
        """Wait for the end of a day, and close it."""
        self.travel(max((day + 1) * DAY_S, self.now + 1))
        return self.send("closeDay", day, sender=self.meter)

    def events(self, name: str, receipt: TxReceipt, contract: Contract | None = None) -> list[dict[str, Any]]:
        """The arguments of the events of this name, in their order."""
        event = (contract or self.contract).events[name]()
        return [dict(found["args"]) for found in event.process_receipt(receipt, errors=DISCARD)]

    @contextmanager
    def refuses(self, error: str, *values: Any) -> Iterator[None]:
        """Expect a revert with this custom error of the market, and these values."""
        with refused(self.contract.abi, error, *values):
            yield

    def proof(self, operator: str, seq: int, *former: str) -> Proof:
        """Find a batch in the logs, with what came before and after it of the same day; under former keys, too."""
        logs = self.contract.events.BatchSettled().get_logs(from_block=0)
        settled = {
            found["args"]["seq"]: found["args"] for found in logs if found["args"]["operator"] in {operator, *former}
        }
        wanted = settled[seq]
        day = self.day_of(wanted["batch"])
        link, later = 0, []
        for number, arguments in sorted(settled.items()):
            if self.day_of(arguments["batch"]) != day:
                continue
            digest = digest_of(number, arguments["readingsRoot"], arguments["contentHash"])
            if number < seq:
                link = linked(link, digest)
            elif number > seq:
                later.append(digest)
        return Proof(wanted["operator"], seq, wanted["readingsRoot"], wanted["batch"], link, tuple(later))

    @staticmethod
    def day_of(batch: bytes) -> int:
        return int.from_bytes(batch[:4]) * SLOT_S // DAY_S

    def report(self, seq: int, index: int, energy_wh: int, *, sender: str | None = None) -> TxReceipt:
        """Report a shortfall of a trade that the operator settled."""
        proof = self.proof(self.operator, seq)
        return self.send("reportShortfall", proof.packed(), index, energy_wh, sender=sender or self.meter)

    def put_word(self, place: int, word: int) -> None:
        """Write a word of the market's storage past all of its code."""
        chain = self.chain.backend.chain
        vm = chain.get_vm()
        vm.state.set_storage(Web3.to_bytes(hexstr=self.contract.address), place, word)
        vm.state.persist()
        chain.header = chain.header.copy(state_root=vm.state.state_root)
        self.chain.mine_block()

    def word(self, place: int) -> int:
        return int.from_bytes(self.web3.eth.get_storage_at(self.contract.address, place))


def trade(
    seller: str, buyer: str, energy_wh: int = 1, price: int = 0, slot: int = SLOT, *, imbalance: bool = False
) -> BatchTrade:
    return BatchTrade(seller, buyer, energy_wh, price, slot, imbalance)


def as_contract_tells(batch: bytes) -> list[tuple[Any, ...]]:
    """The trades of a batch by decode_batch, in the shape that decodeBatch returns them in."""
    return [(t.seller, t.buyer, t.energy_wh, t.price_wei_per_wh, t.slot, t.imbalance) for t in decode_batch(batch)]
