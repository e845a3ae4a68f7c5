# SPDX-License-Identifier: GPL-3.0-or-later
"""What a real node shows of its chain, as /healthz sees it."""

import asyncio
import time
from pathlib import Path

import aiohttp
from energy_bridge.health import ChainView, View, look_at_chain, problems
from support.chain import GATEWAY_APIS, one_sealer
from support.network import wait_until


def look(url: str) -> ChainView:
    async def run() -> ChainView:
        async with aiohttp.ClientSession() as session:
            return await look_at_chain(session, url)

    return asyncio.run(run())


def test_a_chain_that_grows_is_well_and_one_whose_node_is_gone_is_not(tmp_path: Path, geth: Path) -> None:
    with one_sealer(geth, tmp_path, apis=GATEWAY_APIS) as chain:
        wait_until("a few blocks", lambda: (look(chain.url).head_block or 0) > 4, 30)
        seen = look(chain.url)
        assert seen.trouble is None
        assert seen.sealed is not None
        assert list(seen.sealed) == [chain.admin.address.lower()]
        assert sum(seen.sealed.values()) == seen.blocks > 0
        assert problems(View(seen), now=time.time(), period_s=1) == []
        assert "halts" in problems(View(seen), now=time.time() + 60, period_s=1)[0]
    assert "does not answer" in problems(View(look(chain.url)), now=time.time(), period_s=1)[0]
