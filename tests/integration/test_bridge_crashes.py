# SPDX-License-Identifier: GPL-3.0-or-later
"""Nothing acknowledged is lost and nothing is settled twice, wherever the bridge dies, by the senders and the chain."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass
from random import Random

import pytest
from support.bridge import DEPOSIT_WEI, GRID, SOURCES, Bridge, make_bridge
from support.chain import KINDS, Chain, Terms
from support.senders import Load, Senders
from support.verdict import judge

TERMS: Terms = (10, 20, 20)
SLOT_INTERVAL_S = 1.0
PATIENCE_S = 60
# `make soak` asks for more.
KILLS = int(os.environ.get("BRIDGE_KILLS", "100"))
# Every commit that a bridge makes while all goes well, and the push after the last of them.
COMMITS = ("insert", "close", "sign", "sent", "mined", "final", "notify")


@dataclass
class Scene:
    """A chain, a bridge on it, and senders that go on whatever happens to the bridge."""

    chain: Chain
    bridge: Bridge
    senders: Senders
    load: Load

    def settle(self) -> None:
        """Let a bridge work until every reading's end is known, and let nothing be wrong then."""
        if self.bridge.ended:
            self.bridge.start()
        self.senders.run("all are sent", self.load.finish, PATIENCE_S)
        self.senders.run("all have ended", lambda: self.senders.all_ended, PATIENCE_S)
        assert self.verdict() == [], self.bridge.log
        assert "Traceback" not in self.bridge.log

    def verdict(self) -> list[str]:
        deposits, slot_s = dict.fromkeys(KINDS, DEPOSIT_WEI), self.bridge.config["slot_s"]
        return judge(
            self.senders.deliveries,
            self.bridge.ledger(),
            grid=GRID,
            deposits=deposits,
            slot_s=self.bridge.config["slot_s"],
        )

    def dies(self, point: str, nth: int) -> None:
        """Keep the load up until the bridge has died at that point."""
        self.bridge.close()
        self.bridge.start(point, nth)
        self.senders.run(f"it dies at {point!r}", self._ended_under_load, PATIENCE_S)
        assert self.bridge.process is not None
        assert self.bridge.process.exitcode == -signal.SIGKILL, self.bridge.log

    def _ended_under_load(self) -> bool:
        self.load.tick()
        return self.bridge.ended


def first_slot() -> int:
    """A slot an hour ago: a load passes through its slots faster than time does."""
    return (int(time.time()) - 3600) // TERMS[0]


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory, chain: Chain) -> Iterator[Scene]:
    """One long run, interrupted again and again."""
    bridge = make_bridge(tmp_path_factory.mktemp("bridge"), chain, terms=TERMS)
    senders = Senders(bridge.address, bridge.keys)
    load = Load(senders, SOURCES, grid=GRID, first_slot=first_slot(), interval_s=SLOT_INTERVAL_S, seed=2018)
    try:
        yield Scene(chain, bridge, senders, load)
    finally:
        bridge.close()
        senders.close()


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("commit", COMMITS)
def test_a_bridge_that_dies_at_a_commit_goes_on_where_it_was(scene: Scene, commit: str, when: str) -> None:
    scene.dies(f"{commit} {when}", nth=2)
    scene.settle()


def test_a_bridge_that_is_killed_at_any_instant_goes_on_where_it_was(scene: Scene) -> None:
    kill_again_and_again(scene, KILLS, seed=6)
    heard = {status for delivery in scene.senders.deliveries for status in delivery.statuses}
    assert {"stored", "batched", "settled", "superseded", "late"} <= heard


def kill_again_and_again(scene: Scene, times: int, *, seed: int) -> None:
    """Kill a bridge under load at so many random instants, from its first moment on, and look at the chain meanwhile."""
    instants = Random(seed)  # noqa: S311 - which instants is what is varied
    scene.bridge.close()
    for number in range(1, times + 1):
        scene.bridge.start()
        scene.senders.run_for(instants.uniform(0.1, 1.5), scene.load.tick)
        assert scene.bridge.end(signal.SIGKILL) == -signal.SIGKILL, scene.bridge.log
        if number % 25 == 0:
            assert scene.verdict() == []
    scene.settle()
