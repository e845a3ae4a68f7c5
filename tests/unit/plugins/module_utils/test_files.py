# SPDX-License-Identifier: GPL-3.0-or-later
"""Files and folders that several runs make at once: none removes what another still works on."""

import os
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

from ansible_collections.smartenergy.clique.plugins.module_utils._files import make_directory, write_atomic


def work(place: Path, number: int) -> int:
    """Make the same folders and files as everybody else, and return how many folders were made by this one."""
    made = 0
    for turn in range(40):
        made += bool(make_directory(place / str(turn), mode=0o755))
        write_atomic(place / str(turn) / "file", str(number).encode() * 10_000, mode=0o644)
    return made


def test_many_at_once_get_in_nobodys_way(tmp_path: Path) -> None:
    place = tmp_path / "place"
    with ProcessPoolExecutor(6, get_context("fork")) as pool:
        made = list(pool.map(work, [place] * 6, range(6)))
    assert sum(made) >= 40
    for turn in range(40):
        assert os.listdir(place / str(turn)) == ["file"]  # noqa: PTH208  what has a dot too
        content = (place / str(turn) / "file").read_text()
        assert content in {str(number) * 10_000 for number in range(6)}
    assert {path.name for path in place.iterdir()} == {str(turn) for turn in range(40)}
