# SPDX-License-Identifier: GPL-3.0-or-later
"""The real bridge in a process that kills itself at a named point of its work, as a power cut would.

A point is "<commit> before" or "<commit> after"; nth is the how manyeth time of it is the last.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any

from energy_bridge import cli
from energy_bridge.receiver import Receiver
from energy_bridge.store import Store

At = Callable[[str], None]

# What each commit of the bridge is called, by the method that makes it.
_COMMITS: dict[tuple[type, str], str] = {
    (Store, "add"): "insert",
    (Store, "close_slot"): "close",
    (Store, "signed"): "sign",
    (Store, "sent"): "sent",
    (Store, "mined"): "mined",
    (Store, "final"): "final",
    (Store, "again"): "again",
    (Store, "refused"): "refuse",
    (Receiver, "notify_settled"): "notify",
}


def dying(point: str, nth: int) -> At:
    """An at that lets this process die at its nth time at a point, without a word to anybody."""
    left = nth

    def at(reached: str) -> None:
        nonlocal left
        left -= reached == point
        if not left:
            os.kill(os.getpid(), signal.SIGKILL)

    return at


def run(config: Path, point: str | None = None, nth: int = 1) -> int:
    """Run the bridge and return its exit status, unless it died at the point."""
    if point is not None:
        _call_around_commits(dying(point, nth))
    return cli.main(["run", "--config", str(config)])


def _call_around_commits(at: At) -> None:
    for (owner, name), commit in _COMMITS.items():
        setattr(owner, name, _around(getattr(owner, name), commit, at))


def _around(method: Callable[..., Any], commit: str, at: At) -> Callable[..., Any]:
    @wraps(method)
    def wrapped(*arguments: Any, **named: Any) -> Any:
        called = "reverted" if named.get("succeeded") is False else commit
        at(f"{called} before")
        result = method(*arguments, **named)
        at(f"{called} after")
        return result

    return wrapped


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--config", type=Path, required=True)
    parser.add_argument("--die", metavar="POINT", help="as in 'sign after'")
    parser.add_argument("--nth", type=int, default=1)
    options = parser.parse_args()
    return run(options.config, options.die, options.nth)


if __name__ == "__main__":
    sys.exit(main())
