# SPDX-License-Identifier: GPL-3.0-or-later
"""Looks at the chain, the outbox and the actors' balances, again and again, for /healthz, /metrics and the page."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import aiohttp
from eth_utils.abi import function_signature_to_4byte_selector

from energy_bridge.config import Config
from energy_bridge.health import ChainView, View, ask_node, look_at_chain
from energy_bridge.intake import Intake
from energy_bridge.model import BatchState

__all__ = ["Outbox", "Watch"]

WATCH_S = 1.0
REST_S = 5.0  # what is not the newest block is looked at when that is another one, and else so often
_WEI_OF = "0x" + function_signature_to_4byte_selector("weiOf(address)").hex()
_CALLS = 500  # in one message to the node

# When the oldest trade that is not settled was made (s since the epoch, None: there is none), and batches by state;
# None where nobody has looked yet.
Outbox = tuple[float | None, Mapping[BatchState, int]] | None


@dataclass
class Watch:
    """What was seen last. Where the node cannot be asked, chain and balances (wei by actor) stay, with their times.

    outbox says what was last read of the database: it must not wait.
    All times are seconds since the epoch; clock is of these, timer of seconds that only ever go on.
    """

    config: Config
    outbox: Callable[[], Outbox]
    intake: Intake
    clock: Callable[[], float] = time.time
    timer: Callable[[], float] = time.monotonic
    view: View = field(default_factory=View)
    chain: ChainView | None = None
    chain_at: float | None = None
    balances: Mapping[str, int] = field(default_factory=dict)
    balances_at: float | None = None
    _rest_at: float = float("-inf")
    _balances_due: float = float("-inf")

    async def run(self) -> None:
        """Look every WATCH_S seconds."""
        async with aiohttp.ClientSession() as session:
            while True:
                await self.look(session)
                await asyncio.sleep(WATCH_S)

    async def look(self, session: aiohttp.ClientSession) -> None:
        """Look once; never raises."""
        chain = await look_at_chain(session, self.config.rpc_url, self.chain)
        has_moved = chain.trouble is None and chain is not self.chain
        if chain.trouble is None:
            self.chain, self.chain_at = chain, self.clock()
        batches = self.view.batches
        is_new = has_moved or chain != self.view.chain or self.view.outbox_age_s is None
        if is_new or self.timer() >= self._rest_at + REST_S:
            self._rest_at = self.timer()
            self.view = self._look(chain)
        if has_moved and (self.view.batches != batches or self.timer() >= self._balances_due):
            self._balances_due = self.timer() + REST_S
            await self._look_at_balances(session)

    def _look(self, chain: ChainView) -> View:
        outbox = self.outbox()
        if outbox is None:
            return View(chain, store_trouble=self.intake.trouble)
        since, batches = outbox
        age_s = 0.0 if since is None else self.clock() - since
        return View(chain, age_s, batches, self.intake.trouble)

    async def _look_at_balances(self, session: aiohttp.ClientSession) -> None:
        actors = list(self.config.actors.values())
        calls = [
            ("eth_call", [{"to": self.config.market_address, "data": f"{_WEI_OF}{actor.address[2:]:0>64}"}, "latest"])
            for actor in actors
        ]
        try:
            answers = [
                answer
                for first in range(0, len(calls), _CALLS)
                for answer in await ask_node(session, self.config.rpc_url, calls[first : first + _CALLS])
            ]
            self.balances = {
                actor.name: int(answer["result"], 16) for actor, answer in zip(actors, answers, strict=True)
            }
            self.balances_at = self.clock()
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError, KeyError, TypeError):
            return  # that the node cannot be asked is said already, and how old the balances are
