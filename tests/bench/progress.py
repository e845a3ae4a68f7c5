# SPDX-License-Identifier: GPL-3.0-or-later
"""Time what takes a while, and say so meanwhile."""

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def timed(what: str, do: Callable[[], T]) -> tuple[float, T]:
    """Do it and return the seconds it took, and what it returned."""
    print(f"  · {what} … ", end="", flush=True)
    since = time.monotonic()
    result = do()
    seconds = time.monotonic() - since
    print(f"{seconds:.1f} s", flush=True)
    return seconds, result
