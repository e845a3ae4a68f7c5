# SPDX-License-Identifier: GPL-3.0-or-later
"""Whatever arrives, the bridge rejects it with a reason or has a reading; `make soak` sends a million."""

from support.wire_fuzz import fuzz


def test_random_and_mutated_datagrams_are_rejected_or_readings() -> None:
    outcomes = fuzz(100_000, seed=1)
    assert outcomes["taken"] > 1_000
    assert outcomes["wrong MAC"] > 1_000
    assert len(outcomes) > 25  # every kind of mistake was among them
