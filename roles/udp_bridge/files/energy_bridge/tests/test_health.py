# SPDX-License-Identifier: GPL-3.0-or-later
"""What makes the bridge red, in sentences; and what a node shows of its chain."""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from energy_bridge.health import ChainView, View, look_at_chain, notes, problems
from support.pretended_node import SEALERS, Node, name_of

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
            replace(WELL, chain=replace(CHAIN, head_time=NOW + 40)),
            "This gateway's clock is wrong: the newest block was sealed 40 s ahead of it.",
        ),
        (
            replace(WELL, read_trouble="database is locked", read_at=NOW - 12),
            "The database cannot be read: database is locked; these figures are 12 s old.",
        ),
        (
            replace(WELL, read_trouble="no such file"),
            "The database cannot be read: no such file; there are no figures.",
        ),
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


def test_a_block_that_is_a_little_ahead_is_no_sign_of_a_wrong_clock() -> None:
    assert problems(replace(WELL, chain=replace(CHAIN, head_time=NOW + 15)), now=NOW, period_s=5) == []


def test_of_a_young_chain_nobody_is_missing() -> None:
    young = replace(CHAIN, sealed={"0xa": 7, "0xb": 0}, blocks=7)
    assert problems(View(young), now=NOW, period_s=5) == []


def test_where_the_clique_api_is_closed_it_is_said() -> None:
    closed = View(replace(CHAIN, sealed=None, blocks=0))
    assert problems(closed, now=NOW, period_s=5) == []
    assert "does not open the clique API" in notes(closed)[0]


def look(answers: Any) -> ChainView:
    """Look at a server that gives these answers whatever it is asked."""

    async def answer(_: web.Request) -> web.Response:
        return web.json_response(answers)

    async def run() -> ChainView:
        application = web.Application()
        application.router.add_post("/", answer)
        runner = web.AppRunner(application)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        try:
            async with aiohttp.ClientSession() as session:
                return await look_at_chain(session, f"http://127.0.0.1:{runner.addresses[0][1]}")
        finally:
            await runner.cleanup()

    return asyncio.run(run())


def looks(node: Node, *changes: Callable[[Node], None]) -> list[ChainView]:
    """Look at a node, and again after each change, each time with what was seen before."""

    async def run() -> list[ChainView]:
        seen: list[ChainView] = []
        async with node.serving(), aiohttp.ClientSession() as session:
            for change in (lambda _: None, *changes):
                change(node)
                node.calls.clear()
                seen.append(await look_at_chain(session, node.url, seen[-1] if seen else None))
        return seen

    return asyncio.run(run())


def grow(blocks: int) -> Callable[[Node], None]:
    def change(node: Node) -> None:
        node.head += blocks

    return change


def fork(at: int, branch: str, head: int) -> Callable[[Node], None]:
    def change(node: Node) -> None:
        node.forked_at, node.branch, node.head = at, branch, head

    return change


def test_a_node_shows_its_head_and_who_sealed() -> None:
    (seen,) = looks(Node(head=100))
    assert (seen.head_block, seen.head_time, seen.blocks, seen.trouble) == (100, 1500.0, 64, None)
    assert seen.sealed == dict.fromkeys(SEALERS, 32)
    assert [block.number for block in seen.window] == list(range(37, 101))
    assert {block.number % 2: block.sealer for block in seen.window} == {0: SEALERS[0], 1: SEALERS[1]}


def test_nobody_sealed_the_genesis() -> None:
    young, first = looks(Node(head=0), grow(1))
    assert (young.blocks, young.sealed) == (0, dict.fromkeys(SEALERS, 0))
    assert (first.blocks, first.sealed) == (1, {SEALERS[0]: 0, SEALERS[1]: 1})


def test_a_closed_clique_api_leaves_the_sealers_unknown() -> None:
    (seen,) = looks(Node(clique=False))
    assert (seen.head_block, seen.sealed, seen.blocks, seen.trouble) == (10, None, 0, None)


def test_of_blocks_that_were_seen_nothing_is_asked_again() -> None:
    node = Node(head=100)
    before, same = looks(node, grow(0))
    assert same is before
    assert node.calls == ["eth_getBlockByNumber"]
    looks(node, grow(3))
    assert node.calls.count("clique_getSigner") == 3
    assert node.calls.count("eth_getBlockByNumber") == 3  # the newest, and the two between


@pytest.mark.parametrize("head", [99, 100, 101, 104, 300])
def test_after_a_reorganisation_the_window_is_of_the_new_chain(head: int) -> None:
    _, after = looks(Node(head=100), fork(98, "fork", head))
    node = Node()
    fork(98, "fork", head)(node)
    assert [after] == looks(node)
    assert after.window[-1].hash == name_of(head, "fork")
    assert all(block.in_turn is (block.number < 98) for block in after.window)


HEADER = {
    "number": "0x46",
    "hash": "0x1",
    "parentHash": "0x0",
    "timestamp": "0x3e4",
    "difficulty": "0x2",
}


@pytest.mark.parametrize(
    "answers",
    [[], {"error": "no"}, [{"id": 0, "result": None}], "x", [{"id": 0, "result": {}}], [{"id": 0, "result": HEADER}]],
)
def test_what_is_no_node_is_trouble(answers: Any) -> None:
    assert "does not answer as a node does" in str(look(answers).trouble)


def test_a_node_that_is_away_is_trouble() -> None:
    async def run() -> ChainView:
        async with aiohttp.ClientSession() as session:
            return await look_at_chain(session, "http://127.0.0.1:9")

    assert asyncio.run(run()).trouble is not None
