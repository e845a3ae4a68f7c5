# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs of network.yml that are killed at tasks that change something; `make soak` kills them at each one."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from support.interrupted_plays import (
    assert_nothing_left_to_do,
    assert_whole,
    kept,
    play_on,
    play_until,
    two_sealers,
)
from support.network import Network

BASE_PORT = 28010  # below what Linux gives to outgoing connections
POINTS = [
    "after Keep the account that seals",
    "after Make the genesis, or prove that it is still the same",
    "before Record who is in the network",
    "after Give the node its chain",
    "after Run the node",
]


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Network]:
    network = two_sealers(tmp_path_factory.mktemp("cut"), BASE_PORT)
    try:
        yield network
    finally:
        network.stop()


def test_a_run_goes_on_where_the_last_one_was_killed(network: Network) -> None:
    """One after the other, so that each run begins with what the one before left of itself."""
    left: dict[str, str] = {}
    for point in POINTS:
        play_until(network, point)
        assert left.items() <= kept(network).items(), f"{point}: a key or the genesis is another one"
        left = kept(network)
    play_on(network)
    assert_whole(network)
    assert_nothing_left_to_do(network)


def test_who_was_to_restart_when_the_run_was_killed_is_restarted_by_the_next(network: Network) -> None:
    """It dies when the gateway and one of the sealers have their new definition."""
    changed = {"geth_node_verbosity": 4}
    before = network.processes()
    play_until(network, "after Run the node", 2, **changed)
    between = network.processes()
    assert {name for name in before if between.get(name) != before[name]} == {"gateway/geth", "sealer1/geth"}
    play_on(network, **changed)
    after = network.processes()
    assert {name for name in between if after[name] != between[name]} == {"sealer2/geth"}
    for name in ("gateway/geth", "sealer1/geth", "sealer2/geth"):
        assert "--verbosity=4" in Path(f"/proc/{after[name]}/cmdline").read_text().split("\0")
    assert_whole(network)
