# SPDX-License-Identifier: GPL-3.0-or-later
"""A bridge under load on a real chain, to be interrupted: what tests of its crashes and of outages have in common."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from support.bridge import DEPOSIT_WEI, GRID, Bridge, make_bridge
from support.chain import KINDS, Chain, Terms
from support.senders import GRID_PRICE, Load, Senders
from support.verdict import judge

TERMS: Terms = (10, 20, 20)
SLOT_INTERVAL_S = 1.0
PATIENCE_S = 60


@dataclass
class Scene:
    """A chain, a bridge on it, and senders that go on whatever happens to either."""

    chain: Chain
    bridge: Bridge
    senders: Senders
    load: Load

    def run_for(self, seconds: float) -> None:
        """Keep the load up for so long."""
        self.senders.run_for(seconds, self.load.tick)

    def run_until(self, what: str, condition: Any, timeout_s: float = PATIENCE_S) -> None:
        """Keep the load up until that is so."""

        def loaded() -> object:
            self.load.tick()
            return condition()

        self.senders.run(what, loaded, timeout_s)

    def dies(self, point: str, nth: int = 1) -> None:
        """Keep the load up until a bridge has died at that point."""
        self.bridge.close()
        self.bridge.start(point, nth)
        self.run_until(f"it dies at {point!r}", lambda: self.bridge.ended)
        self.has_died()

    def has_died(self) -> None:
        """It is not there any more because it was killed, not because it gave up."""
        assert self.bridge.process is not None
        assert self.bridge.process.exitcode == -signal.SIGKILL, self.bridge.log

    def settle(self) -> None:
        """Let a bridge work until every reading's end is known, and let nothing be wrong then."""
        if self.bridge.ended:
            self.bridge.start()
        self.senders.run("all are sent", self.load.finish, PATIENCE_S)
        self.senders.run_to_the_end(PATIENCE_S)
        self.nothing_is_wrong()
        assert "Traceback" not in self.bridge.log, self.bridge.log[-4000:]

    def nothing_is_wrong(self) -> None:
        """Let the verdict on everything up to now be that all is as promised."""
        found = self.verdict()
        assert not found, "\n".join([*found[:20], "", self.bridge.log[-4000:]])

    def verdict(self) -> list[str]:
        return judge(
            self.senders.deliveries,
            self.bridge.ledger(),
            grid=GRID,
            deposits=dict.fromkeys(self.bridge.actors, DEPOSIT_WEI),
            slot_s=TERMS[0],
            imbalance_price=lambda _slot, _energy_wh: GRID_PRICE,
        )


@contextmanager
def scene(directory: Path, chain: Chain, *, kinds: Mapping[str, str] = KINDS, **settings: Any) -> Iterator[Scene]:
    """A market with a bridge that is not started yet; its actors are of these kinds, settings are make_bridge's."""
    bridge = make_bridge(directory, chain, terms=TERMS, kinds=kinds, **settings)
    senders = Senders(bridge.address, bridge.keys)
    # An hour ago: a load passes through its slots faster than time does.
    first_slot = (int(time.time()) - 3600) // TERMS[0]
    sources = [name for name in kinds if name != GRID]
    load = Load(senders, sources, grid=GRID, first_slot=first_slot, interval_s=SLOT_INTERVAL_S, seed=2018)
    try:
        yield Scene(chain, bridge, senders, load)
    finally:
        bridge.close()
        senders.close()
