# SPDX-License-Identifier: GPL-3.0-or-later
"""How much a bridge settles on four sealers, and how long a slot takes; against a transaction for each datagram."""

from __future__ import annotations

import random
import statistics
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from ansible_collections.smartenergy.clique.plugins.module_utils._rpc import Call
from support.bridge import GRID, Bridge, make_bridge
from support.chain import KINDS
from support.geth import PATCHES
from support.sealers import Sealers, sealers
from support.senders import GRID_PRICE, GWEI, Delivery, Senders
from web3 import Web3

from bench import gas, programs
from bench.progress import timed
from bench.rows import Row
from bench.scenarios import CONFIRMATIONS, PAIRED, PERIOD_S

SEALERS = 4
TERMS = (3, 20, 20)
WARM_UP_S, MEASURED_S, INSTEAD_S = 30, 300, 60
# Of 200 actors, half sell to the other half: 100 trades a slot. More slots a second than the goal needs, as far as
# the bridge keeps up: no more than these at a time.
SLOTS_PER_S, SLOTS_UNDER_WAY = 13, 500
PERIODIC_SLOTS = 24
TRANSACTIONS_UNDER_WAY = 400
PATIENCE_S = 120


def settled(scratch: Path, wanted: frozenset[str]) -> Iterator[Row]:
    """Keep a bridge busy with 200 actors; then send one transaction for each trade; then a slot each period."""
    with sealers(programs.built(PATCHES) / "geth", scratch, SEALERS, period_s=PERIOD_S) as network:
        if any(name.startswith("settled_") for name in wanted):
            kinds = {"grid": KINDS["grid"], **{f"house{number}": KINDS["pv"] for number in range(PAIRED)}}
            with busy(scratch / "many", network, kinds) as (bridge, senders):
                _, rate = timed(f"{PAIRED} actors' trades", lambda: settled_per_s(network, bridge, senders))
            fee = base_fee_gwei(network)
            _, instead = timed("a transaction each", lambda: transactions_per_s(network))
            yield Row("settled_trades_per_s", rate, instead)
            yield Row("settled_base_fee_gwei", fee, base_fee_gwei(network))
        if "final_latency_periods_p50" in wanted:
            with busy(scratch / "few", network, KINDS) as (bridge, senders):
                _, latencies = timed("a slot each period", lambda: latencies_s(bridge, senders))
            yield Row("final_latency_periods_p50", statistics.median(latencies) / PERIOD_S)


@contextmanager
def busy(directory: Path, network: Sealers, kinds: Mapping[str, str]) -> Iterator[tuple[Bridge, Senders]]:
    """A bridge on the gateway, and senders for its actors."""
    directory.mkdir()
    bridge = make_bridge(
        directory, network.chain, terms=TERMS, kinds=kinds, url=network.url, confirmations=CONFIRMATIONS, grace_s=30
    )
    senders = Senders(bridge.address, bridge.keys)
    try:
        bridge.start()
        yield bridge, senders
    finally:
        bridge.close()
        senders.close()


def send_slot(senders: Senders, kinds: Mapping[str, str], slot: int, chance: random.Random) -> list[Delivery]:
    """A reading of each actor: one half of them sells what the other half needs, each pair at a price of its own."""
    grids = senders.send(GRID, slot=slot, energy_wh=0, price_wei_per_wh=GRID_PRICE)
    sent = [grids]
    houses = [name for name in kinds if name != GRID]
    for place, (seller, buyer) in enumerate(zip(houses[::2], houses[1::2], strict=True)):
        energy_wh, price = chance.randint(1, 4000), (100 + place) * GWEI
        for name, sign in ((seller, 1), (buyer, -1)):
            reading = senders.send(
                name, slot=slot, energy_wh=sign * energy_wh, price_wei_per_wh=price, silent_until=grids
            )
            sent.append(reading)
    return sent


def settled_per_s(network: Sealers, bridge: Bridge, senders: Senders) -> float:
    """Trades that the blocks of the measured time have, per second of it."""
    chance = gas.same_every_time("settling")
    slots: list[list[Delivery]] = []
    first_slot = (int(time.time()) - 36_000) // TERMS[0]
    started = time.monotonic()

    def feed() -> None:
        open_slots = sum(not slot[0].ended for slot in slots[-SLOTS_UNDER_WAY - 1 :])
        due = (time.monotonic() - started) * SLOTS_PER_S
        while len(slots) < due and open_slots < SLOTS_UNDER_WAY:
            slots.append(send_slot(senders, bridge.actors, first_slot + len(slots), chance))
            open_slots += 1

    senders.run_for(WARM_UP_S, feed)
    first = network.gateway.head
    senders.run_for(MEASURED_S, feed)
    last = network.gateway.head
    found = Counter(
        event["blockNumber"]
        for event in bridge.market.events.BatchSettled().get_logs(from_block=first + 1, to_block=last)
        for _ in range(trades_in(bytes(event["args"]["batch"])))
    )
    return found.total() / seconds_between(network.chain.web3, first, last)


def trades_in(batch: bytes) -> int:
    """How many trades a batch has, by docs/contract.md."""
    return (len(batch) - 6 - 20 * int.from_bytes(batch[4:6], "big")) // 18


def seconds_between(web3: Web3, first: int, last: int) -> int:
    return int(web3.eth.get_block(last)["timestamp"]) - int(web3.eth.get_block(first)["timestamp"])


def base_fee_gwei(network: Sealers) -> float:
    return network.chain.web3.eth.get_block("latest")["baseFeePerGas"] / GWEI


def transactions_per_s(network: Sealers) -> float:
    """Trades per second where each is a transaction of its own, as many of them under way as geth's pools take."""
    chain, rpc = network.chain, network.chain.node.rpc
    sender = gas.Sender(chain, nonce=chain.web3.eth.get_transaction_count(chain.admin.address))
    contract = sender.deploy(gas.plain_contracts()["OneTradePerTransaction.json"])
    accounts = [f"0x{number:040x}" for number in range(1, PAIRED + 1)]
    buyers = [Web3.to_checksum_address(account) for account in accounts[1::2]]
    sender.send([gas.invocation(contract, "depositFor", buyer, wei=gas.DEPOSIT_WEI) for buyer in buyers])
    number = sender.nonce
    price = hex(gas.GAS_PRICE_WEI)
    common = {"from": chain.admin.address, "gas": hex(200_000), "gasPrice": price}

    def mined() -> int:
        return int(rpc.call("eth_getTransactionCount", chain.admin.address, "latest"), 16)

    first, begun = network.gateway.head, mined()
    deadline = time.monotonic() + INSTEAD_S
    while time.monotonic() < deadline:
        room = mined() + TRANSACTIONS_UNDER_WAY - number
        calls = []
        for place in range(number, number + room):
            pair = place % (PAIRED // 2)
            parties = (Web3.to_checksum_address(account) for account in accounts[2 * pair : 2 * pair + 2])
            call = gas.invocation(contract, "trade", *parties, 100, 100 * GWEI, place)
            calls.append(Call("eth_sendTransaction", ({**common, **call, "nonce": hex(place)},)))
        rpc.batch(calls)
        number += room
        time.sleep(0.2)
    return (mined() - begun) / seconds_between(chain.web3, first, network.gateway.head)


def latencies_s(bridge: Bridge, senders: Senders) -> list[float]:
    """Seconds from each slot's last acknowledgement, which closes it, to when its end was heard."""
    chance = gas.same_every_time("latency")
    slots: list[list[Delivery]] = []
    first_slot = (int(time.time()) - 3600) // TERMS[0]
    for number in range(PERIODIC_SLOTS):
        slots.append(send_slot(senders, bridge.actors, first_slot + number, chance))
        senders.run_for(PERIOD_S + chance.uniform(-1, 1))
    senders.run_to_the_end(PATIENCE_S)
    return [
        max(reading.ended_at or 0 for reading in slot) - max(reading.acknowledged_at or 0 for reading in slot)
        for slot in slots
    ]
