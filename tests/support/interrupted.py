# SPDX-License-Identifier: GPL-3.0-or-later
"""Modules that die in the middle, right before any of their changes, and what their next run makes of it."""

from __future__ import annotations

import os
import re
import signal
import sys
from collections import Counter
from collections.abc import Callable, Mapping
from itertools import count
from pathlib import Path
from typing import Any

from support.modules import run_module, say, tree

# What Python tells of before it does it (its audit events), as far as it leaves a trace.
CHANGES = {"os.chmod", "os.chown", "os.link", "os.mkdir", "os.rename", "os.symlink", "os.truncate", "subprocess.Popen"}
REMOVALS = {"os.remove", "os.rmdir"}
WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT


def dying(nth: int) -> Callable[[], None]:
    """What makes the process that calls it kill itself right before its nth change from then on."""
    left = nth

    def watch(event: str, arguments: tuple[Any, ...]) -> None:
        nonlocal left
        writes = event == "open" and arguments[0] != os.devnull and bool(arguments[2] & WRITES)
        # Within a folder that is being removed, one moment is like another.
        removes = event in REMOVALS and arguments[-1] == -1
        left -= writes or removes or event in CHANGES
        if left == 0 and event != "os.kill":  # which Python tells of too
            os.kill(os.getpid(), signal.SIGKILL)

    return lambda: sys.addaudithook(watch)


def cut_off(name: str, arguments: Mapping[str, Any], nth: int) -> bool:
    """Run a module that dies right before its nth change; False where it makes fewer and got through."""
    stdout, stderr = say(name, arguments, before=dying(nth))
    assert not stderr, stderr
    return not stdout


def drafts(root: Path) -> list[Path]:
    """What in a folder has the name of something that is not finished."""
    # Walking passes over what a running node removes meanwhile.
    names = ((folder, name) for folder, folders, files in os.walk(root) for name in (*folders, *files))
    return sorted(Path(folder, name) for folder, name in names if name.startswith("."))


def shape(root: Path) -> dict[str, tuple[str, int, int]]:
    """Every path below root with its mode and its owner; geth puts the time into the name of a key."""
    return {
        re.sub(r"UTC--.*", "UTC--", str(path.relative_to(root))): (oct(stat.st_mode), stat.st_uid, stat.st_gid)
        for path in root.rglob("*")
        for stat in [path.lstat()]
    }


def assert_finished_by_the_next_run(
    name: str, arguments: Callable[[Path], Mapping[str, Any]], top: Path, prepare: Callable[[Path], None] = Path.mkdir
) -> None:
    """However a module is cut off, nothing is half there, and the next run ends as if nothing had happened.

    Each of its changes is once the one before which it dies, in a folder below top that prepare makes and arguments are
    for. What has its name after the cut is what was there before, or what is there in the end: the same key, for one.
    There is never more than one draft in a folder, however often a module dies, and in the end there is none.
    """
    prepare(top / "whole")
    run_module(name, arguments(top / "whole"))
    assert run_module(name, arguments(top / "whole"))["changed"] is False
    for nth in count(1):
        root = top / str(nth)
        prepare(root)
        before, asked, where = tree(root), arguments(root), f"{name}, before change {nth}"
        died = cut_off(name, asked, nth)
        cut = {path: seen for path, seen in tree(root).items() if "/." not in f"/{path}"}
        cut_off(name, asked, nth)
        piled = Counter(draft.parent for draft in drafts(root))
        assert set(piled.values()) <= {1}, f"{where}: drafts pile up: {drafts(root)}"
        done = run_module(name, asked)
        assert not done.get("failed"), f"{where}: {done}"
        end = tree(root)
        half = [path for path, seen in cut.items() if seen not in (before.get(path), end.get(path))]
        assert not half, f"{where}: {half} had their names before they were whole"
        assert shape(root) == shape(top / "whole"), where
        assert run_module(name, asked)["changed"] is False, where
        if not died:
            assert nth > 1, f"{name} changes nothing"
            return
