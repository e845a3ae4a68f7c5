# SPDX-License-Identifier: GPL-3.0-or-later
"""Is the bridge well, and the chain that it settles on? Pure, but for asking the node."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Any

import aiohttp

from energy_bridge.model import BatchState

__all__ = ["Block", "ChainView", "View", "ask_node", "block_of", "look_at_chain", "notes", "problems"]

REQUEST_TIMEOUT_S = 5
WINDOW_BLOCKS = 64
HALTED_AFTER_S, HALTED_AFTER_PERIODS = 30.0, 5
OUTBOX_AFTER_S, OUTBOX_AFTER_PERIODS = 300.0, 20
# In so many rounds of all signers, one that is there has sealed.
ROUNDS = 4
AHEAD_S = 15.0  # sealers' clocks differ, and Clique takes a block that is a little early
IN_TURN_DIFFICULTY = 2  # Clique: 2 for the signer whose turn it is, 1 for the others


@dataclass(frozen=True, slots=True)
class Block:
    """A block's header; time is in seconds since the epoch, sealer None where nobody sealed or says who did."""

    number: int
    hash: str
    parent_hash: str
    time: float
    in_turn: bool
    sealer: str | None = None


@dataclass(frozen=True, slots=True)
class ChainView:
    """The chain as the node shows it: number and time (seconds since the epoch) of its newest block.

    sealed has how many of the last `blocks` blocks each signer sealed, None where the node does not open the clique
    API. window has these blocks, the newest last. trouble says why nothing is known.
    """

    head_block: int | None = None
    head_time: float | None = None
    sealed: Mapping[str, int] | None = None
    blocks: int = 0
    trouble: str | None = None
    window: tuple[Block, ...] = ()


@dataclass(frozen=True, slots=True)
class View:
    """What the bridge last saw of itself and of the chain; None for what is not known yet.

    outbox_age_s is the age of the oldest closed slot that is neither settled nor refused (0 where there is none),
    batches how many there are by state, store_trouble why readings could not be stored when that was last tried,
    read_trouble why the page's figures cannot be read since read_at (seconds since the epoch; None: since the start).
    """

    chain: ChainView | None = None
    outbox_age_s: float | None = None
    batches: Mapping[BatchState, int] = field(default_factory=dict)
    store_trouble: str | None = None
    read_trouble: str | None = None
    read_at: float | None = None

    @property
    def head_block(self) -> int | None:
        """The number of the newest block."""
        return None if self.chain is None else self.chain.head_block


def problems(view: View, *, now: float, period_s: float) -> list[str]:
    """Say what is wrong, one sentence each; now is in seconds since the epoch."""
    found = []
    if view.store_trouble is not None:
        found.append(f"Readings cannot be stored and nobody is acknowledged: {view.store_trouble}.")
    if view.read_trouble is not None:
        age = "there are no figures" if view.read_at is None else f"these figures are {now - view.read_at:.0f} s old"
        found.append(f"The database cannot be read: {view.read_trouble}; {age}.")
    if view.outbox_age_s is not None and view.outbox_age_s > max(OUTBOX_AFTER_S, OUTBOX_AFTER_PERIODS * period_s):
        found.append(f"A slot that closed {view.outbox_age_s:.0f} s ago is not settled yet.")
    if view.chain is not None:
        found += _chain_problems(view.chain, now, period_s)
    return found


def notes(view: View) -> list[str]:
    """Say what cannot be told, one sentence each."""
    if view.chain is None:
        return ["The node has not been asked yet."]
    if view.chain.trouble is None and view.chain.sealed is None:
        return ["Whether a sealer is missing is not known: the node does not open the clique API."]
    return []


def _chain_problems(chain: ChainView, now: float, period_s: float) -> list[str]:
    if chain.trouble is not None:
        return [f"The node cannot be asked: {chain.trouble}."]
    found = []
    age_s = 0.0 if chain.head_time is None else now - chain.head_time
    if age_s > max(HALTED_AFTER_S, HALTED_AFTER_PERIODS * period_s):
        found.append(f"The chain halts: block {chain.head_block} is the newest, and {age_s:.0f} s old.")
    if age_s < -AHEAD_S:
        found.append(f"This gateway's clock is wrong: the newest block was sealed {-age_s:.0f} s ahead of it.")
    sealed = chain.sealed or {}
    if chain.blocks >= ROUNDS * len(sealed):
        found += [
            f"Sealer {signer} has sealed none of the last {chain.blocks} blocks: it is off or cut off, its disk is"
            " full, or its clock is wrong."
            for signer, count in sorted(sealed.items())
            if count == 0
        ]
    return found


async def look_at_chain(session: aiohttp.ClientSession, rpc_url: str, before: ChainView | None = None) -> ChainView:
    """Ask the node for its newest block and, where that is another one than before, for who sealed what; never raises.

    Of the blocks that were seen before nothing is asked again, unless they are no longer the newest one's ancestors.
    """
    try:
        (answer,) = await ask_node(session, rpc_url, [("eth_getBlockByNumber", ["latest", False])])
        head = block_of(answer["result"])
        known = () if before is None else before.window
        if before is not None and known and known[-1].hash == head.hash:
            return before
        blocks = await _blocks_to(session, rpc_url, known, head)
        return await _view(session, rpc_url, blocks)
    except (aiohttp.ClientError, TimeoutError, OSError, ValueError, KeyError, TypeError) as error:
        return ChainView(trouble=f"{rpc_url} does not answer as a node does ({error or type(error).__name__})")


async def ask_node(
    session: aiohttp.ClientSession, rpc_url: str, calls: Sequence[tuple[str, Sequence[Any]]]
) -> list[dict[str, Any]]:
    """The node's answers to calls (method and parameters), in their order, each with a result or an error.

    Raises aiohttp.ClientError, TimeoutError, OSError, and ValueError, KeyError or TypeError for what is no such answer.
    """
    if not calls:
        return []
    message = [
        {"jsonrpc": "2.0", "id": number, "method": method, "params": params}
        for number, (method, params) in enumerate(calls)
    ]
    timeout = aiohttp.ClientTimeout(total=REQUEST_TIMEOUT_S)
    async with session.post(rpc_url, json=message, timeout=timeout) as response:
        answers = {answer["id"]: answer for answer in await response.json()}
        return [answers[number] for number in range(len(calls))]


def block_of(header: Any) -> Block:
    """A block of what the node says of it; raises KeyError, TypeError or ValueError."""
    return Block(
        number=int(header["number"], 16),
        hash=header["hash"],
        parent_hash=header["parentHash"],
        time=float(int(header["timestamp"], 16)),
        in_turn=int(header["difficulty"], 16) == IN_TURN_DIFFICULTY,
    )


async def _blocks_to(
    session: aiohttp.ClientSession, rpc_url: str, known: tuple[Block, ...], head: Block
) -> tuple[Block, ...]:
    """The last blocks up to this one, those that are known as they are; ValueError where they do not fit together."""
    first = max(1, head.number - WINDOW_BLOCKS + 1)
    if known and known[-1].number < head.number:
        blocks = (*known, *await _fetched(session, rpc_url, range(max(first, known[-1].number + 1), head.number)), head)
        if _is_chain(blocks):
            return blocks[-WINDOW_BLOCKS:]
    blocks = (*await _fetched(session, rpc_url, range(first, head.number)), head)
    if not _is_chain(blocks):
        raise ValueError("its blocks changed while it was asked for them")
    return blocks


async def _fetched(session: aiohttp.ClientSession, rpc_url: str, numbers: Iterable[int]) -> list[Block]:
    answers = await ask_node(session, rpc_url, [("eth_getBlockByNumber", [hex(number), False]) for number in numbers])
    return [block_of(answer["result"]) for answer in answers]


def _is_chain(blocks: Iterable[Block]) -> bool:
    return all(after.parent_hash == before.hash for before, after in pairwise(blocks))


async def _view(session: aiohttp.ClientSession, rpc_url: str, blocks: tuple[Block, ...]) -> ChainView:
    """What these blocks come to, with the sealers of those that have none yet."""
    # By its hash: the block of that number may be another one by now.
    unnamed = [block for block in blocks if block.sealer is None and block.number]
    signers, *sealers = await ask_node(
        session,
        rpc_url,
        [("clique_getSigners", []), *(("clique_getSigner", [block.hash]) for block in unnamed)],
    )
    by_hash = {block.hash: answer.get("result") for block, answer in zip(unnamed, sealers, strict=True)}
    window = tuple(replace(block, sealer=by_hash.get(block.hash, block.sealer)) for block in blocks)
    counts = Counter(block.sealer for block in window if block.sealer is not None)
    known = signers.get("result")
    return ChainView(
        head_block=window[-1].number,
        head_time=window[-1].time,
        sealed=None if known is None else {signer: counts[signer] for signer in sorted({*known, *counts})},
        blocks=0 if known is None else sum(block.number > 0 for block in window),
        window=window,
    )
