# SPDX-License-Identifier: GPL-3.0-or-later
"""A sealer whose disk is full, and one whose clock is wrong: the network goes on, and says who is missing."""

from __future__ import annotations

import asyncio
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import aiohttp
import pytest
from ansible_collections.smartenergy.clique.plugins.module_utils._clique_info import look, problems
from ansible_collections.smartenergy.clique.plugins.module_utils._keccak import checksum_address
from energy_bridge.health import ChainView, View, look_at_chain
from energy_bridge.health import problems as health_problems
from support.disk import Disk, small_disk
from support.network import wait_until
from support.sealers import Geth, Sealers, sealers
from support.wall_clock import set_ahead

COUNT = 5  # three go on without the two
AHEAD_S = 30
FEW_BLOCKS, PATIENCE_S = 4, 120
NAMED_WITHIN_S = 600  # geth tells who sealed the last 64 blocks
"""How long it may take on a slow machine; nothing is judged by it."""


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory, geth: Path) -> Iterator[Sealers]:
    with sealers(geth, tmp_path_factory.mktemp("faults"), COUNT) as made:
        yield made


@pytest.fixture(scope="module")
def full(network: Sealers) -> Iterator[tuple[Geth, Disk]]:
    """A sealer whose chain is on a small disk of its own."""
    node = network.sealers[-1]
    node.end_gracefully()
    chain = node.datadir / "geth"
    chain.rename(node.datadir / "before")
    with small_disk(chain, "64m") as disk:
        shutil.copytree(node.datadir / "before", disk.seen, dirs_exist_ok=True)
        node.enters = disk.mounts
        node.start()
        network.join(*network.all)
        yield node, disk
        node.end_gracefully()
