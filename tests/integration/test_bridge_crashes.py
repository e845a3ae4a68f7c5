# SPDX-License-Identifier: GPL-3.0-or-later
"""Nothing acknowledged is lost and nothing is settled twice, wherever the bridge dies: by the senders and the chain."""

from __future__ import annotations

import os
import signal
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from random import Random

import pytest
from support.bridge import GRID, SOURCES
from support.chain import Chain
from support.network import wait_until
from support.scene import PATIENCE_S, Scene, scene
from support.senders import GRID_PRICE
from web3.types import Wei

# `make soak` asks for more.
KILLS = int(os.environ.get("BRIDGE_KILLS", "100"))
# Every commit that a bridge makes while all goes well, and the push after the last of them.
COMMITS = ("insert", "close", "imbalance", "batch", "sign", "sent", "mined", "final", "notify")
MORE_THAN_ALL_HAVE = 10**18  # wei per Wh


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, chain: Chain) -> Iterator[Scene]:
    """One long run, interrupted again and again."""
    with scene(tmp_path_factory.mktemp("bridge"), chain) as made:
        yield made


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("commit", COMMITS)
def test_a_bridge_that_dies_at_a_commit_goes_on_where_it_was(run: Scene, commit: str, when: str) -> None:
    run.dies(f"{commit} {when}", nth=2)
    run.settle()


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_bridge_that_dies_at_a_refusal_tells_its_reason_afterwards(run: Scene, when: str) -> None:
    run.bridge.close()
    run.bridge.start(f"refuse {when}")
    slot, run.load.next_slot = run.load.next_slot, run.load.next_slot + 1
    needs = {SOURCES[0]: -1000, SOURCES[1]: 1000}
    for source in (*SOURCES, GRID):
        price = MORE_THAN_ALL_HAVE if source in needs else GRID_PRICE
        run.senders.send(source, slot=slot, energy_wh=needs.get(source, 0), price_wei_per_wh=price)
    run.senders.run("it dies", lambda: run.bridge.ended, PATIENCE_S)
    run.has_died()
    run.settle()
    refused = [delivery for delivery in run.senders.deliveries if delivery.slot == slot and delivery.source in needs]
    assert {delivery.status for delivery in refused} == {"refused"}
    assert all("InsufficientFunds" in str(delivery.reason) for delivery in refused)


@pytest.mark.parametrize("commit", ["reverted", "again"])
@pytest.mark.parametrize("when", ["before", "after"])
def test_a_bridge_that_dies_at_a_batch_that_reverted_settles_it_again(run: Scene, commit: str, when: str) -> None:
    """The market is paused between the check of a batch and the block that has it."""
    run.bridge.close()
    with sealing_stopped(run.chain):
        run.bridge.start(f"{commit} {when}")
        run.run_until("a batch waits for a block", lambda: int(run.chain.node.rpc.call("txpool_status")["pending"], 16))
        pause = run.bridge.market.functions.setPaused
        paused = pause(True).transact(
            {
                "from": run.chain.admin.address,
                "gas": 1_000_000,
                "maxPriorityFeePerGas": Wei(10**11),  # before the batch
                "maxFeePerGas": Wei(10**12),
            }
        )
    run.chain.wait([paused])
    run.run_until("it dies", lambda: run.bridge.ended)
    run.has_died()
    run.chain.wait([pause(False).transact({"from": run.chain.admin.address})])
    run.settle()


@contextmanager
def sealing_stopped(chain: Chain) -> Iterator[None]:
    """No block comes for as long as the context lasts."""
    chain.node.rpc.call("miner_stop")
    time.sleep(2)  # the block that is under way still comes
    yield
    chain.node.rpc.call("miner_start")


def test_a_database_from_an_older_backup_settles_nothing(run: Scene, tmp_path: Path) -> None:
    run.settle()
    older, newest = tmp_path / "older", tmp_path / "newest"
    copy_database(run.bridge.database, older)
    settled = len(run.bridge.ledger().batches)
    run.run_until("more is settled", lambda: len(run.bridge.ledger().batches) > settled + 1)
    run.settle()
    run.bridge.end(signal.SIGKILL)
    copy_database(run.bridge.database, newest)
    settled = len(run.bridge.ledger().batches)
    copy_database(older, run.bridge.database)
    run.bridge.start()
    wait_until("it says why", lambda: "restore the database" in run.bridge.log, PATIENCE_S)
    run.bridge.close()
    assert len(run.bridge.ledger().batches) == settled
    copy_database(newest, run.bridge.database)
    run.run_for(2)
    run.settle()


def copy_database(source: Path, target: Path) -> None:
    """Copy a database that nobody may be writing to just now, in place of another."""
    for stale in target.parent.glob(f"{target.name}*"):
        stale.unlink()
    with closing(sqlite3.connect(source)) as one, closing(sqlite3.connect(target)) as other:
        one.backup(other)


def test_a_bridge_that_is_killed_at_any_instant_goes_on_where_it_was(run: Scene) -> None:
    kill_again_and_again(run, KILLS, seed=6)
    heard = {status for delivery in run.senders.deliveries for status in delivery.statuses}
    assert {"stored", "batched", "settled", "superseded", "late"} <= heard


def kill_again_and_again(run: Scene, times: int, *, seed: int) -> None:
    """Kill a bridge under load at so many random instants, from its first moment on; look at the chain meanwhile."""
    instants = Random(seed)  # noqa: S311 - which instants is what is varied
    run.bridge.close()
    for number in range(1, times + 1):
        run.bridge.start()
        run.run_for(instants.uniform(0.1, 1.5))
        assert run.bridge.end(signal.SIGKILL) == -signal.SIGKILL, run.bridge.log
        if number % 25 == 0:
            run.nothing_is_wrong()
    run.settle()
