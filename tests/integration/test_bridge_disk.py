# SPDX-License-Identifier: GPL-3.0-or-later
"""A disk that is full or read-only: nobody is told what is not durable, the log says why, and it goes on afterwards."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.chain import Chain
from support.disk import Disk, small_disk
from support.scene import PATIENCE_S, Scene, scene


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    with small_disk(tmp_path / "disk", "2m") as made:
        yield made


@pytest.fixture
def run(tmp_path: Path, chain: Chain, disk: Disk) -> Iterator[Scene]:
    """A bridge whose database is on the small disk."""
    with scene(tmp_path, chain, database=str(disk.folder / "bridge.sqlite")) as made:
        made.bridge.mounts = disk.mounts
        yield made


def test_a_full_disk_acknowledges_nothing_and_resumes_when_there_is_room(run: Scene, disk: Disk) -> None:
    run.bridge.start()
    run.run_for(3)
    disk.fill()
    run.run_until("it says why", lambda: "disk is full" in run.bridge.log)
    unheard = [delivery for delivery in run.senders.deliveries if not delivery.acknowledged]
    assert unheard
    disk.free()
    run.senders.run("they are acknowledged", lambda: all(delivery.acknowledged for delivery in unheard), PATIENCE_S)
    run.settle()


def test_what_was_acknowledged_before_the_disk_was_full_survives_a_kill(run: Scene, disk: Disk) -> None:
    run.bridge.start()
    run.run_for(2)
    disk.fill()
    run.run_until("it says why", lambda: "disk is full" in run.bridge.log)
    assert run.bridge.end(signal.SIGKILL) == -signal.SIGKILL
    disk.free()
    run.settle()


def test_a_bridge_on_a_read_only_disk_says_so_and_takes_nothing(run: Scene, disk: Disk) -> None:
    run.bridge.start()
    run.run_for(2)
    assert run.bridge.end(signal.SIGTERM) == 0
    said, begun = len(run.bridge.log), len(run.senders.deliveries)
    disk.remount("ro")
    run.bridge.start()
    run.run_until("it says why", lambda: f"the database {run.bridge.database.name} cannot be" in run.bridge.log[said:])
    run.bridge.close()
    assert not any(delivery.acknowledged for delivery in run.senders.deliveries[begun:])
    assert "Traceback" not in run.bridge.log[said:]
    disk.remount("rw")
    run.settle()
