# SPDX-License-Identifier: GPL-3.0-or-later
"""Sealers stopped and killed, ties forced, the power cut: the chain never halts, and what was promised is on it."""

from __future__ import annotations

import os
import secrets
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from random import Random

import pytest
from support.bridge import GRID
from support.chaos import CONFIRMATIONS, COUNT, Chaos, table
from support.scene import Scene, scene
from support.sealers import Sealers, sealers

CHAOS_S = float(os.environ.get("CHAOS_S", "240"))
SEED = int(os.environ.get("CHAOS_SEED", secrets.randbits(32)))
POWER_CUTS = 5
# So many sources, with a slot each second, come to more than fifty trades a second.
SOURCES, TRADES_A_SLOT = 84, 50
KINDS = {GRID: "Grid", **{f"load{number}": "Load" for number in range(SOURCES)}}
NEVER_S = 3600


@pytest.fixture
def network(tmp_path: Path, geth: Path) -> Iterator[Sealers]:
    with sealers(geth, tmp_path, COUNT) as made:
        yield made


@pytest.fixture
def run(tmp_path: Path, network: Sealers) -> Iterator[Scene]:
    """A bridge on the gateway; the verdict reads from one of the sealers."""
    with scene(tmp_path, network.chain, kinds=KINDS, url=network.url, confirmations=CONFIRMATIONS) as made:
        yield made


def test_the_chain_goes_on_and_keeps_every_promise(run: Scene, network: Sealers) -> None:
    print(f"seed {SEED}")
    chaos = Chaos(network, Random(SEED), time)  # noqa: S311 - which outages there are

    def havoc() -> list[str]:
        found = []
        for _ in range(POWER_CUTS):
            chaos.run(CHAOS_S / POWER_CUTS)
            found += chaos.power_cut()
        return found

    run.bridge.start()
    with ThreadPoolExecutor(1) as beside:
        over = beside.submit(havoc)
        run.run_until("the chaos is over", over.done, NEVER_S)
    report = chaos.report()
    print(table({"patched": report}))
    assert not report.halts
    assert not over.result()
    assert report.outages
    assert report.ties
    run.settle()
    assert len(run.bridge.ledger().deals) > TRADES_A_SLOT * len({one.slot for one in run.senders.deliveries})
