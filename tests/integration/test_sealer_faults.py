# SPDX-License-Identifier: GPL-3.0-or-later
"""A sealer whose disk is full and one whose clock is wrong: the network goes on without them, and names them."""

from __future__ import annotations

import asyncio
import shutil
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import aiohttp
import pytest
from ansible_collections.smartenergy.clique.plugins.module_utils import _clique_info as clique_info
from energy_bridge import health
from support.disk import Disk, small_disk
from support.network import wait_until
from support.sealers import Geth, Sealers, sealers
from support.wall_clock import set_ahead

COUNT = 5  # three go on without two
PERIOD_S, AHEAD_S = 1, 30
DISK = "64m"
PATIENCE_S = 300  # /healthz goes by the last 64 blocks


@pytest.fixture
def network(tmp_path: Path, geth: Path) -> Iterator[Sealers]:
    with sealers(geth, tmp_path, COUNT, period_s=PERIOD_S) as made:
        yield made


def test_the_network_goes_on_and_names_whose_disk_is_full_and_whose_clock_is_wrong(network: Sealers) -> None:
    with_full_disk, with_wrong_clock, *_, well = network.sealers
    with on_small_disk(network, with_full_disk) as disk:
        wait_until("all seal", lambda: not said_by_clique_info(well), PATIENCE_S)
        disk.fill()
        set_ahead(with_wrong_clock.node.process.pid, AHEAD_S)

        wait_until("clique_info names them", lambda: named_by_clique_info(well) == ill(network), PATIENCE_S)
        wait_until("/healthz names them", lambda: named_by_healthz(network) == ill(network), PATIENCE_S)
        own = said_by_clique_info(with_wrong_clock, ahead_s=AHEAD_S)
        assert any("its clock is ahead" in sentence for sentence in own), own
        log = with_full_disk.node.log.read_text()
        assert "no space left on device" in log or "Low disk space" in log

        disk.free()
        with_full_disk.end(signal.SIGKILL)
        with_full_disk.start()
        set_ahead(with_wrong_clock.node.process.pid, 0)
        network.join(*network.all)
        wait_until("all seal again", lambda: not said_by_clique_info(well), PATIENCE_S)


@contextmanager
def on_small_disk(network: Sealers, node: Geth) -> Iterator[Disk]:
    """Move a sealer's chain to a small disk, which it alone sees, until the context ends."""
    node.end(signal.SIGINT)
    chain, program = node.datadir / "geth", node.program
    before = chain.rename(node.datadir / "before")
    with small_disk(chain, DISK) as disk:
        shutil.copytree(before, disk.seen, dirs_exist_ok=True)
        node.program = node.datadir / "geth-there"
        node.program.write_text(f'#!/bin/sh\nexec nsenter --mount={disk.mounts} {program} "$@"\n')
        node.program.chmod(0o755)
        node.start()
        network.join(*network.all)
        yield disk
        node.end(signal.SIGINT)


def ill(network: Sealers) -> set[str]:
    return {sealer.account.lower() for sealer in network.sealers[:2]}


def said_by_clique_info(node: Geth, *, ahead_s: int = 0) -> list[str]:
    """What clique_info says where this node runs, whose clock is so much ahead."""
    view = clique_info.look(node.node.rpc, window=None)
    return clique_info.problems(view, now_s=time.time() + ahead_s)


def named_by_clique_info(node: Geth) -> set[str]:
    return {sentence.split()[1].lower() for sentence in said_by_clique_info(node) if sentence.startswith("Sealer 0x")}


def named_by_healthz(network: Sealers) -> set[str]:
    async def look() -> health.ChainView:
        async with aiohttp.ClientSession() as session:
            return await health.look_at_chain(session, network.url)

    found = health.problems(health.View(asyncio.run(look())), now=time.time(), period_s=PERIOD_S)
    return {sentence.split()[1].lower() for sentence in found if sentence.startswith("Sealer 0x")}
