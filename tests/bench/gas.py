# SPDX-License-Identifier: GPL-3.0-or-later
"""What a trade costs on a real chain: in batches, against a transaction and against a contract for each."""

from __future__ import annotations

import json
import random
import runpy
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ansible_collections.smartenergy.clique.plugins.module_utils._rpc import Call
from energy_bridge.batch import BatchTrade, encode_batch
from eth_utils.address import to_checksum_address
from support.chain import ARTIFACT, CHECKOUT, Chain, one_sealer
from support.network import wait_until
from web3 import Web3
from web3.contract import Contract

from bench import programs
from bench.progress import timed
from bench.rows import INSTEAD, Row
from bench.scenarios import BLOCK_GAS, PAIRED, RING, SCENARIOS, SLOT_S, Scenario, make_trades, trades_per_s

SOURCES = Path(__file__).parent / "contracts"
# Not over yet: of a day that is, a batch reads one word more.
DAY = int(time.time()) // 86_400 + 1
DEPOSIT_WEI = 100 * 10**18
REGISTERED_AT_ONCE = 41
# More than blocks that are full one after another let the base fee become, and less than geth thinks too expensive.
GAS_PRICE_WEI = 50 * 10**9
MOST_GAS = 10_000_000
PATIENCE_S = 120

Artifact = Mapping[str, Any]


@dataclass
class Sender:
    """The chain's admin, who sends everything; the node signs it."""

    chain: Chain
    nonce: int = 0

    def send(self, calls: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """Send transactions and return their receipts, once all of them have succeeded."""
        common = {"from": self.chain.admin.address, "gas": hex(MOST_GAS), "gasPrice": hex(GAS_PRICE_WEI)}
        numbered = [
            Call("eth_sendTransaction", ({**common, **call, "nonce": hex(self.nonce + place)},))
            for place, call in enumerate(calls)
        ]
        self.nonce += len(calls)
        rpc = self.chain.node.rpc
        hashes = rpc.batch(numbered)

        def last_is_mined() -> bool:
            return rpc.call("eth_getTransactionReceipt", hashes[-1]) is not None

        wait_until("the transactions to be mined", last_is_mined, PATIENCE_S)
        receipts: list[dict[str, Any]] = rpc.batch([Call("eth_getTransactionReceipt", (sent,)) for sent in hashes])
        assert all(receipt["status"] == "0x1" for receipt in receipts), "a transaction was reverted"
        return receipts

    def deploy(self, artifact: Artifact, *arguments: Any) -> Contract:
        (receipt,) = self.send([{"data": creation(artifact, *arguments)}])
        return Web3().eth.contract(to_checksum_address(receipt["contractAddress"]), abi=artifact["abi"])


def creation(artifact: Artifact, *arguments: Any) -> str:
    factory = Web3().eth.contract(abi=artifact["abi"], bytecode=artifact["bytecode"])
    return str(factory.constructor(*arguments).data_in_transaction)


def invocation(contract: Contract, function: str, *arguments: Any, wei: int = 0) -> dict[str, Any]:
    data = contract.encode_abi(function, args=list(arguments))
    return {"to": contract.address, "data": data, "value": hex(wei)}


def same_every_time(what: str) -> random.Random:
    """What a byte costs depends on whether it is zero: with other trades the gas would be a little different."""
    return random.Random(what)  # noqa: S311


def gas_of(receipts: Sequence[Mapping[str, Any]]) -> int:
    return sum(int(receipt["gasUsed"], 16) for receipt in receipts)


@dataclass
class Stage:
    """All that is compared, on one chain, with the same accounts: each of them is rich, and has traded before."""

    sender: Sender
    plain: Mapping[str, Artifact]
    seq: int = 0

    def __post_init__(self) -> None:
        chance = same_every_time("accounts")
        self.accounts = {
            count: [to_checksum_address(chance.randbytes(20)) for _ in range(count)] for count in (RING, PAIRED)
        }
        self.market = self.sender.deploy(
            json.loads(ARTIFACT.read_text()), self.sender.chain.admin.address, SLOT_S, 7_200, 14_400, False
        )
        self.one_each = self.sender.deploy(self.plain["OneTradePerTransaction.json"])
        everybody = [account for group in self.accounts.values() for account in group]
        actors = [(account, number % 5, f"house {number}") for number, account in enumerate(everybody)]
        parts = [actors[start : start + REGISTERED_AT_ONCE] for start in range(0, len(actors), REGISTERED_AT_ONCE)]
        self.sender.send([invocation(self.market, "registerActors", part) for part in parts])
        self.sender.send(
            [
                invocation(self.market, "setOperator", self.sender.chain.admin.address, True),
                *({"to": account, "value": "0x1"} for account in everybody),
                *(
                    invocation(contract, "depositFor", account, wei=DEPOSIT_WEI)
                    for contract in (self.market, self.one_each)
                    for account in everybody
                ),
            ]
        )
        for count, group in self.accounts.items():
            trades = make_trades(chance, group, count, DAY)
            self.in_a_batch(trades)
            self.in_a_transaction_each(trades)

    def measure(self, scenario: Scenario) -> tuple[int, dict[str, int]]:
        """Gas of all trades of a scenario: in a batch, and with each thing that is there instead."""
        day = DAY + scenario.first_of_a_day
        chance = same_every_time(scenario.name)
        trades = make_trades(chance, self.accounts[scenario.accounts], scenario.trades, day)
        return self.in_a_batch(trades), {
            "": self.in_a_transaction_each(trades),
            "/contract_per_trade": self.in_a_contract_each(trades),
        }

    def in_a_batch(self, trades: Sequence[BatchTrade]) -> int:
        chance = same_every_time(f"readings {self.seq}")
        readings_root = bytes(chance.randint(1, 255) for _ in range(32))
        call = invocation(self.market, "settleBatch", self.seq, readings_root, encode_batch(trades))
        self.seq += 1
        return gas_of(self.sender.send([call]))

    def in_a_transaction_each(self, trades: Sequence[BatchTrade]) -> int:
        return gas_of(
            self.sender.send(
                [
                    invocation(
                        self.one_each,
                        "trade",
                        *(trade.seller, trade.buyer, trade.energy_wh, trade.price_wei_per_wh, trade.slot),
                    )
                    for trade in trades
                ]
            )
        )

    def in_a_contract_each(self, trades: Sequence[BatchTrade]) -> int:
        artifact = self.plain["ContractPerTrade.json"]
        return gas_of(
            self.sender.send(
                [
                    {
                        "data": creation(artifact, trade.seller, trade.energy_wh, trade.price_wei_per_wh, trade.slot),
                        "value": hex(trade.energy_wh * trade.price_wei_per_wh),
                    }
                    for trade in trades
                ]
            )
        )


def plain_contracts() -> dict[str, Artifact]:
    """The contracts to compare with, by the name of their artefact."""
    script = runpy.run_path(str(CHECKOUT / "scripts/contracts.py"))
    compiled = script["compile_with_any"](sorted(SOURCES.glob("*.sol")))
    return {name: json.loads(text) for name, text in compiled.artifacts.items()}


def per_trade(scratch: Path, wanted: frozenset[str]) -> Iterator[Row]:
    """Settle the same trades in every way on a chain of one sealer, and read from the receipts what it took."""
    _, plain = timed("the contracts to compare with", plain_contracts)
    with one_sealer(programs.built() / "geth", scratch) as chain:
        _, stage = timed("accounts on a chain", lambda: Stage(Sender(chain), plain))
        for scenario in SCENARIOS:
            if wanted & {row.name for row in rows(scenario, 1, dict.fromkeys(INSTEAD, 1))}:
                _, (batch, instead) = timed(f"trades: {scenario.meaning}", lambda: stage.measure(scenario))  # noqa: B023
                yield from rows(scenario, batch / scenario.trades, {e: g / scenario.trades for e, g in instead.items()})


def rows(scenario: Scenario, gas: float, instead: Mapping[str, float]) -> Iterator[Row]:
    """What a scenario gives, with the gas of one of its trades here and instead."""
    for ending in INSTEAD:
        yield Row(f"gas_per_trade/{scenario.name}{ending}", gas, instead[ending])
        if scenario.first_of_a_day:
            continue
        for blocks, block_gas in BLOCK_GAS.items():
            here, there = (trades_per_s(each, block_gas) for each in (gas, instead[ending]))
            yield Row(f"trades_per_s/{scenario.name}/{blocks}{ending}", here, there)
