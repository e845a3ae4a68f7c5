# SPDX-License-Identifier: GPL-3.0-or-later
"""Waiting for something to come true. Private to this collection."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, TypeVar

__all__ = ["Clock", "wait_until"]

T = TypeVar("T")


class Clock(Protocol):
    """What waiting needs to know of time; the standard library's module time is one."""

    def monotonic(self) -> float:
        """Seconds since some moment."""

    def sleep(self, seconds: float, /) -> None:
        """Do nothing for so long."""


def wait_until(condition: Callable[[], T], *, timeout_s: float, clock: Clock, poll_s: float = 0.05) -> T:
    """Ask until the answer is true or timeout_s is over, and return the last answer. It is asked at least once."""
    end_s = clock.monotonic() + timeout_s
    while not (answer := condition()) and clock.monotonic() < end_s:
        clock.sleep(poll_s)
    return answer
