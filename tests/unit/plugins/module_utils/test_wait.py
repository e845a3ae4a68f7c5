# SPDX-License-Identifier: GPL-3.0-or-later
"""Waiting, on a clock that stands still but for sleeping."""

from dataclasses import dataclass

import pytest
from ansible_collections.smartenergy.clique.plugins.module_utils._wait import wait_until


@dataclass
class Clock:
    now_s: float = 0.0

    def monotonic(self) -> float:
        return self.now_s

    def sleep(self, seconds: float, /) -> None:
        self.now_s += seconds


@pytest.mark.parametrize(("comes_s", "answer", "over_s"), [(0, "yes", 0), (2.5, "yes", 3), (5, "yes", 5), (9, "", 5)])
def test_it_waits_until_it_comes_true_or_the_time_is_over(comes_s: float, answer: str, over_s: float) -> None:
    clock = Clock()
    told = wait_until(lambda: "yes" if clock.now_s >= comes_s else "", timeout_s=5, clock=clock, poll_s=1)
    assert (told, clock.now_s) == (answer, over_s)


def test_it_asks_once_even_without_time() -> None:
    assert wait_until(lambda: 7, timeout_s=0, clock=Clock()) == 7
