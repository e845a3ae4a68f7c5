# SPDX-License-Identifier: GPL-3.0-or-later
"""A chaos below a bridge under load, in a network of its own."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from random import Random

from support.bridge import GRID
from support.chaos import CONFIRMATIONS, COUNT, Chaos, Report
from support.scene import Scene, scene
from support.sealers import sealers

# Every slot of so many sources, one each second, comes to more than fifty trades.
SOURCES, TRADES_PER_SLOT = 90, 50
KINDS = {GRID: "Grid", **{f"load{number}": "Load" for number in range(SOURCES)}}


@dataclass(frozen=True)
class Aftermath:
    """What a chaos came to, what the power cuts damaged, one sentence each, and the bridge, which is still at work."""

    report: Report
    damage: tuple[str, ...]
    run: Scene

    def keeps_its_promises(self) -> None:
        """Let all that the senders were told be on the chain, once, with as many trades as were meant."""
        self.run.settle()
        slots = {delivery.slot for delivery in self.run.senders.deliveries}
        assert len(self.run.bridge.ledger().deals) > TRADES_PER_SLOT * len(slots)


@contextmanager
def chaos_under_load(
    geth: Path, directory: Path, *, seed: int, lasts_s: float, rounds: int = 1, cuts_per_round: int
) -> Iterator[Aftermath]:
    """Rounds of outages, which last so long together, each with power cuts after it."""
    with (
        sealers(geth, directory, COUNT) as network,
        scene(directory, network.chain, kinds=KINDS, url=network.url, confirmations=CONFIRMATIONS) as run,
        ThreadPoolExecutor(1) as beside,
    ):
        chaos = Chaos(network, Random(seed), time)  # noqa: S311 - which outages there are

        def havoc() -> tuple[str, ...]:
            damage: list[str] = []
            for _ in range(rounds):
                chaos.run(lasts_s / rounds)
                for _ in range(cuts_per_round):
                    damage += chaos.power_cut()
            return tuple(damage)

        run.bridge.start()
        over = beside.submit(havoc)
        while not over.done():
            run.run_for(1)
        yield Aftermath(chaos.report(), over.result(), run)
