# SPDX-License-Identifier: GPL-3.0-or-later
"""What makes the bridge red, in sentences; and what a node shows of its chain."""

import asyncio
from dataclasses import replace
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from energy_bridge.health import ChainView, View, look_at_chain, notes, problems

NOW = 1000.0
CHAIN = ChainView(head_block=70, head_time=NOW - 4, sealed={"0xa": 32, "0xb": 32}, blocks=64)
WELL = View(CHAIN, 0.0)
MISSING = "it is off or cut off, its disk is full, or its clock is wrong."


def test_all_is_well() -> None:
    assert problems(WELL, now=NOW, period_s=5) == []
    assert notes(WELL) == []


def test_a_chain_that_was_not_asked_yet_is_no_problem_but_noted() -> None:
    assert problems(View(), now=NOW, period_s=5) == []
    assert notes(View()) == ["The node has not been asked yet."]


@pytest.mark.parametrize(
    ("view", "sentence"),
    [
        (
            replace(WELL, chain=replace(CHAIN, head_time=NOW - 31)),
            "The chain halts: block 70 is the newest, and 31 s old.",
        ),
        (
            replace(WELL, chain=replace(CHAIN, sealed={"0xa": 64, "0xb": 0})),
            f"Sealer 0xb has sealed none of the last 64 blocks: {MISSING}",
        ),
        (replace(WELL, chain=ChainView(trouble="no route")), "The node cannot be asked: no route."),
        (replace(WELL, outbox_age_s=301.0), "A slot that closed 301 s ago is not settled yet."),
        (
            replace(WELL, store_trouble="disk full"),
            "Readings cannot be stored and nobody is acknowledged: disk full.",
        ),
    ],
)
def test_a_problem_is_one_sentence(view: View, sentence: str) -> None:
    assert problems(view, now=NOW, period_s=5) == [sentence]


def test_slow_blocks_halt_later() -> None:
    late = replace(WELL, chain=replace(CHAIN, head_time=NOW - 70))
    assert problems(late, now=NOW, period_s=15) == []
    assert problems(late, now=NOW, period_s=13) != []


def test_of_a_young_chain_nobody_is_missing() -> None:
    young = replace(CHAIN, sealed={"0xa": 7, "0xb": 0}, blocks=7)
    assert problems(View(young), now=NOW, period_s=5) == []


def test_where_the_clique_api_is_closed_it_is_said() -> None:
    closed = View(replace(CHAIN, sealed=None, blocks=0))
    assert problems(closed, now=NOW, period_s=5) == []
    assert "does not open the clique API" in notes(closed)[0]


def look(answers: Any) -> ChainView:
    """Look at a server that gives these answers to a batch of two calls."""

    async def node(_: web.Request) -> web.Response:
        return web.json_response(answers)

    async def run() -> ChainView:
        application = web.Application()
        application.router.add_post("/", node)
        runner = web.AppRunner(application)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        try:
            async with aiohttp.ClientSession() as session:
                return await look_at_chain(session, f"http://127.0.0.1:{runner.addresses[0][1]}")
        finally:
            await runner.cleanup()

    return asyncio.run(run())


BLOCK = {"jsonrpc": "2.0", "id": 0, "result": {"number": "0x46", "timestamp": "0x3e4"}}
STATUS = {"jsonrpc": "2.0", "id": 1, "result": {"inturnPercent": 1, "numBlocks": 64, "sealerActivity": {"0xa": 64}}}
CLOSED = {"jsonrpc": "2.0", "id": 1, "error": {"code": -32601, "message": "the method clique_status does not exist"}}


def test_a_node_shows_its_head_and_who_sealed() -> None:
    assert look([STATUS, BLOCK]) == ChainView(head_block=70, head_time=996.0, sealed={"0xa": 64}, blocks=64)
    assert look([BLOCK, CLOSED]) == ChainView(head_block=70, head_time=996.0)


@pytest.mark.parametrize("answers", [[], {"error": "no"}, [BLOCK], [{"id": 0, "result": None}, STATUS], "x"])
def test_what_is_no_node_is_trouble(answers: Any) -> None:
    assert "does not answer as a node does" in str(look(answers).trouble)


def test_a_node_that_is_away_is_trouble() -> None:
    async def run() -> ChainView:
        async with aiohttp.ClientSession() as session:
            return await look_at_chain(session, "http://127.0.0.1:9")

    assert asyncio.run(run()).trouble is not None
