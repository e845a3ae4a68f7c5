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
from pathlib import Path

from energy_bridge import cli
from energy_bridge.store import nowhere


def dying(point: str, nth: int) -> Callable[[str], None]:
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
    return cli.serve(config, nowhere if point is None else dying(point, nth))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--config", type=Path, required=True)
    parser.add_argument("--die", metavar="POINT", help="as in 'sign after'")
    parser.add_argument("--nth", type=int, default=1)
    options = parser.parse_args()
    return run(options.config, options.die, options.nth)


if __name__ == "__main__":
    sys.exit(main())
