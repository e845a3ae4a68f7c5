# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs of network.yml killed at the boundaries of every task that changes something, each in a network of its own."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from support.interrupted_plays import (
    assert_nothing_left_to_do,
    assert_whole,
    listening,
    play_on,
    play_until,
    two_sealers,
)
from support.network import Network

BASE_PORT = 28010  # below what Linux gives to outgoing connections


@contextmanager
def network_in(directory: Path) -> Iterator[Network]:
    network = two_sealers(directory, BASE_PORT)
    try:
        yield network
    finally:
        network.stop()


def boundaries(directory: Path) -> list[tuple[str, int]]:
    """Each point of a run that nobody kills at which a task is about to change something, or has on one more host."""
    reached = directory / "points"
    with network_in(directory) as network:
        run = listening(network, {"DIES_LIST": str(reached)}).play("network.yml")
    assert run.returncode == 0, run.output[-6000:]
    times: Counter[str] = Counter()
    found: list[tuple[str, int]] = []
    before: tuple[str, int] | None = None
    for point in reached.read_text().splitlines():
        times[point] += 1
        if point.startswith("before "):
            before = point, times[point]
            continue
        if before:
            found.append(before)
            before = None
        found.append((point, times[point]))
    return found


def test_a_run_killed_anywhere_is_finished_by_the_next(tmp_path_factory: pytest.TempPathFactory) -> None:
    place = tmp_path_factory.mktemp("cut")  # a short path, for the nodes' sockets
    points = boundaries(place / "whole")
    assert len(points) > 20
    for number, (point, nth) in enumerate(points):
        print(f"{number + 1} of {len(points)}: {point}, time {nth}", flush=True)
        with network_in(place / str(number)) as network:
            play_until(network, point, nth)
            play_on(network)
            assert_whole(network)
            assert_nothing_left_to_do(network)
