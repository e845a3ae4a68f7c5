# SPDX-License-Identifier: GPL-3.0-or-later
"""Nothing acknowledged is lost and nothing is settled twice, whatever the chain does below the bridge."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from hexbytes import HexBytes
from support.chain import one_sealer
from support.scene import PATIENCE_S, Scene, scene
from support.sealers import Geth, Sealers, sealers
from web3 import Web3
from web3.contract import Contract
from web3.exceptions import TransactionNotFound
from web3.middleware import ExtraDataToPOAMiddleware
from web3.types import EventData

# With five, three can go on alone, and two seal two blocks more and then wait.
COUNT = 5
CONFIRMATIONS = 3


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory, geth: Path) -> Iterator[Sealers]:
    with sealers(geth, tmp_path_factory.mktemp("sealers"), COUNT) as made:
        yield made


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, network: Sealers) -> Iterator[Scene]:
    """A bridge on the gateway of five sealers; the verdict reads from one of the sealers."""
    directory = tmp_path_factory.mktemp("bridge")
    with scene(directory, network.chain, url=network.url, confirmations=CONFIRMATIONS) as made:
        yield made


def test_the_gateways_geth_may_be_killed_under_load(run: Scene, network: Sealers) -> None:
    run.bridge.start()
    for _ in range(3):
        run.run_for(2)
        network.gateway.end(signal.SIGKILL)
        run.run_for(1)
        network.gateway.start()
        network.join(*network.all)
    run.settle()


def test_readings_are_acknowledged_while_the_chain_stands_still_and_settle_afterwards(
    run: Scene, network: Sealers
) -> None:
    run.run_for(2)
    left, stopped = network.sealers[: COUNT // 2], network.sealers[COUNT // 2 :]
    for sealer in stopped:
        sealer.end(signal.SIGINT)
    stands_at = left[0].head + COUNT // 2  # each that is left may seal one block more at most
    begun = len(run.senders.deliveries)
    run.run_until("more is sent", lambda: len(run.senders.deliveries) > begun + 20)
    run.senders.run("all are acknowledged", lambda: all(d.acknowledged for d in run.senders.deliveries), PATIENCE_S)
    assert left[0].head <= stands_at
    for sealer in stopped:
        sealer.start()
    network.join(*network.all)
    run.settle()


def test_a_batch_in_two_blocks_that_are_reorganised_away_settles_in_others(run: Scene, network: Sealers) -> None:
    """The gateway and two sealers are parted from the three others, whose chain becomes the longer one."""
    if run.bridge.ended:
        run.bridge.start()
    seen = market_at(network.url, run.bridge.market)
    run.run_for(2)
    for _ in range(5):  # it takes that two blocks are sealed after the parting, with a batch in them
        longer = part_few(run, network)
        run.run_until("the few wait", lambda longer=longer: longer.head > network.gateway.head + 2)
        depth = apart(network.gateway, longer)
        dropped = settled_after(seen, network.gateway.head - depth)
        network.join(*network.all)
        run.run_until("they are one", lambda longer=longer: not apart(network.gateway, longer))
        if depth >= 2 and dropped:
            break
    assert depth >= 2
    assert dropped
    run.settle()
    again = {event["transactionHash"]: event["blockHash"] for event in settled_after(seen, 0)}
    assert all(again[event["transactionHash"]] != event["blockHash"] for event in dropped)


def part_few(run: Scene, network: Sealers) -> Geth:
    """Leave the gateway with the two sealers that may seal now, right after a block; return one of the others."""
    head = network.gateway.head
    run.run_until("there is a block", lambda: network.gateway.head > head)
    recent = {network.gateway.call("clique_getSigner", hex(network.gateway.head - back)) for back in range(3)}
    few = [sealer for sealer in network.sealers if sealer.account.lower() not in recent]
    many = [sealer for sealer in network.sealers if sealer not in few]
    network.part([*few, network.gateway], many)
    return many[0]


def apart(node: Geth, longer: Geth) -> int:
    """How many of a node's last blocks the longer chain does not have."""
    heights = range(node.head, 0, -1)
    return next(depth for depth, height in enumerate(heights) if node.hash_of(height) == longer.hash_of(height))


def market_at(url: str, market: Contract) -> Contract:
    """The same market, as another node has it."""
    web3 = Web3(Web3.HTTPProvider(url))
    web3.middleware_onion.inject(ExtraDataToPOAMiddleware, layer=0)
    return web3.eth.contract(address=market.address, abi=market.abi)


def settled_after(market: Contract, block: int) -> list[EventData]:
    """What stands settled in the blocks after this one."""
    return list(market.events.BatchSettled().get_logs(from_block=block + 1))


def test_a_mined_batch_whose_blocks_are_taken_back_is_sent_again(tmp_path: Path, geth: Path) -> None:
    """The sealer's head is set back by two blocks, which geth's pool takes for no reason to keep what was in them."""
    with one_sealer(geth, tmp_path) as chain, scene(tmp_path, chain, confirmations=6) as run:
        run.bridge.start()
        for _ in range(3):
            known = len(run.bridge.ledger().batches)
            run.run_until("a batch is mined", lambda known=known: len(run.bridge.ledger().batches) > known)
            event = settled_after(run.bridge.market, 0)[-1]
            run.run_until(
                "a block is on top of it", lambda event=event: chain.web3.eth.block_number > event["blockNumber"]
            )
            chain.node.rpc.call("debug_setHead", hex(event["blockNumber"] - 1))
            assert block_of(chain.web3, event["transactionHash"]) != event["blockHash"]
        run.settle()


def block_of(web3: Web3, transaction: HexBytes) -> HexBytes | None:
    """The block that has a transaction now, if any has."""
    try:
        return web3.eth.get_transaction_receipt(transaction)["blockHash"]
    except TransactionNotFound:
        return None
