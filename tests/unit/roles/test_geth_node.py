# SPDX-License-Identifier: GPL-3.0-or-later
"""What the role geth_node would write on hosts of several sizes; tests/containers and tests/integration run nodes."""

from pathlib import Path

import pytest
from support.roles import play_role


@pytest.mark.parametrize(
    ("memory_mib", "words"),
    [
        (920, ["--cache=128", "--snapshot=false", "GOMEMLIMIT=460MiB", "MemoryHigh=512M", "MemoryMax=768M"]),
        (1850, ["--cache=256", "--snapshot=true", "GOMEMLIMIT=920MiB", "MemoryHigh=1024M", "MemoryMax=1536M"]),
        (7900, ["--cache=512", "--snapshot=true", "GOMEMLIMIT=3680MiB", "MemoryHigh=4096M", "MemoryMax=6144M"]),
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
