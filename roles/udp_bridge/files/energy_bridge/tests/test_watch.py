# SPDX-License-Identifier: GPL-3.0-or-later
"""What is looked at how often, and what stays when the node cannot be asked."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import aiohttp
from energy_bridge.config import Config
from energy_bridge.intake import Intake
from energy_bridge.model import BatchState
from energy_bridge.store import Batch, Store
from energy_bridge.watch import Outbox, Watch
from support.pretended_node import Node

ACTORS = {name: SimpleNamespace(name=name, address=f"0x{place:040x}") for place, name in enumerate(("pv", "grid"), 1)}


class Watching:
    """A watch, its node, and a clock that stands until it is moved."""

    def __init__(self, node: Node, store: Store, session: aiohttp.ClientSession) -> None:
        self.node, self.store, self._session = node, store, session
        self.now = 1000.0
        config = SimpleNamespace(rpc_url=node.url, market_address="0x" + "ab" * 20, actors=ACTORS)
        self.watch = Watch(
            cast(Config, config),
            self._outbox,
            cast(Intake, SimpleNamespace(trouble=None)),
            clock=lambda: self.now,
            timer=lambda: self.now,
        )

    def _outbox(self) -> Outbox:
        return self.store.outbox_since(), self.store.batches_by_state()

    async def look(self, *, after_s: float = 1.0) -> list[str]:
        """Look once more; returns what the node was asked."""
        self.now += after_s
        self.node.calls.clear()
        await self.watch.look(self._session)
        return list(self.node.calls)


def watching(path: Path, use: Callable[[Watching], Awaitable[None]]) -> None:
    async def run() -> None:
        with closing(Store(path / "bridge.sqlite")) as store:
            async with Node().serving() as node, aiohttp.ClientSession() as session:
                await use(Watching(node, store, session))

    asyncio.run(run())


def final(store: Store) -> None:
    """A batch that is in the chain for good."""
    batch = Batch(1, BatchState.FINAL, 0, "0x1", 9, "0xb", None)
    store.rebuild([(batch, [])], next_seq=1, operator="0x01", next_nonce=1, now=1.0)


def test_while_no_block_comes_only_the_newest_one_is_asked_for(tmp_path: Path) -> None:
    async def use(it: Watching) -> None:
        assert "eth_call" in await it.look()
        assert it.watch.balances == {"pv": 7 * 10**15, "grid": 7 * 10**15}
        assert it.watch.view.head_block == 10
        for _ in range(10):
            assert await it.look() == ["eth_getBlockByNumber"]
        assert (it.watch.chain_at, it.watch.balances_at) == (it.now, 1001.0)

    watching(tmp_path, use)


def test_balances_are_asked_for_with_a_new_block_when_batches_moved_or_some_time_has_passed(tmp_path: Path) -> None:
    async def use(it: Watching) -> None:
        await it.look()
        it.node.head += 1
        assert "eth_call" not in await it.look()
        final(it.store)
        it.node.head += 1
        assert (await it.look()).count("eth_call") == len(ACTORS)
        it.node.head += 1
        assert "eth_call" not in await it.look()
        it.node.head += 1
        assert "eth_call" in await it.look(after_s=6.0)

    watching(tmp_path, use)


def test_what_was_seen_stays_where_the_node_cannot_be_asked(tmp_path: Path) -> None:
    async def use(it: Watching) -> None:
        await it.look()
        seen_at = it.now
        it.node.is_down = True
        await it.look()
        chain: Any = it.watch.chain
        assert (chain.head_block, it.watch.chain_at, it.watch.balances_at) == (10, seen_at, seen_at)
        assert it.watch.view.chain is not None
        assert "does not answer" in str(it.watch.view.chain.trouble)
        it.node.is_down = False
        await it.look()
        assert it.watch.view.chain is chain

    watching(tmp_path, use)


def test_batches_are_counted_again_after_some_seconds_without_a_block(tmp_path: Path) -> None:
    async def use(it: Watching) -> None:
        await it.look()
        final(it.store)
        await it.look()
        assert it.watch.view.batches[BatchState.FINAL] == 0
        await it.look(after_s=5.0)
        assert it.watch.view.batches[BatchState.FINAL] == 1

    watching(tmp_path, use)
