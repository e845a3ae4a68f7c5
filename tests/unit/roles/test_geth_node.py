# SPDX-License-Identifier: GPL-3.0-or-later
"""What the role geth_node would write on hosts of several sizes; tests/containers and tests/integration run nodes."""

from pathlib import Path

import pytest
from support.roles import play_role


@pytest.mark.parametrize(
    ("memory_mib", "words"),
    [
        (920, ["--cache=128", "--snapshot=false", "GOMEMLIMIT=414MiB", "MemoryHigh=460M", "MemoryMax=690M"]),
        (1850, ["--cache=256", "--snapshot=true", "GOMEMLIMIT=832MiB", "MemoryHigh=925M", "MemoryMax=1387M"]),
        (7900, ["--cache=512", "--snapshot=true", "GOMEMLIMIT=3555MiB", "MemoryHigh=3950M", "MemoryMax=5925M"]),
    ],
)
def test_a_node_takes_its_part_of_its_hosts_memory(tmp_path: Path, memory_mib: int, words: list[str]) -> None:
    variables = {
        "geth_node_ip": "192.0.2.11",
        "geth_node_directory": str(tmp_path / "node"),
        "geth_node_memory_mib": memory_mib,
    }
    said = play_role("geth_node", tmp_path / "play", variables, "--check", "--diff", hosts=["one"])
    assert said.failed == {"one": 0}, said.output
    assert [word for word in words if word not in said.output] == []
    assert not (tmp_path / "node").exists()
