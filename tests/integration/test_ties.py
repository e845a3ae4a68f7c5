# SPDX-License-Identifier: GPL-3.0-or-later
"""Four sealers that lost each other: whatever heads they came to alone, together they go on."""

import time
from pathlib import Path

from ansible_collections.smartenergy.clique.plugins.module_utils._wait import wait_until
from support.sealers import sealers
from support.ties import difficulty_and_head, parted_into_a_tie

PERIOD_S = 2


def test_two_heads_of_one_difficulty_that_nobody_may_continue_become_one(
    binaries: dict[str, Path], tmp_path: Path
) -> None:
    with sealers(binaries["geth"], tmp_path, 4, period_s=PERIOD_S) as network:
        one_side, other_side = parted_into_a_tie(network)
        stuck_at = max(node.head for node in network.sealers)

        network.join(*network.all)
        assert wait_until(lambda: min(node.head for node in network.all) >= stuck_at + 4, timeout_s=60, clock=time), [
            difficulty_and_head(node) for node in (*one_side, *other_side)
        ]
