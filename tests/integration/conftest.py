# SPDX-License-Identifier: GPL-3.0-or-later
"""One network for all tests of a worker."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.network import Network, Run

WORKER = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
BASE_PORT = 31310 - 100 * WORKER


@pytest.fixture(scope="session")
def bring_up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Network, Run]]:
    """The network and what site.yml said when it made it from nothing."""
    # On a busy machine nodes take longer than usual to find each other, which one of the tests looks at.
    network = Network(tmp_path_factory.mktemp("net"), BASE_PORT, variables={"clique_first_block_after_s": 45})
    try:
        yield network, network.bring_up()
    finally:
        network.stop()


@pytest.fixture(scope="session")
def network(bring_up: tuple[Network, Run]) -> Network:
    return bring_up[0]


@pytest.fixture
def second_directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for a network that must not come into being; with a short path, as sockets need it."""
    return tmp_path_factory.mktemp("n") / "net"
