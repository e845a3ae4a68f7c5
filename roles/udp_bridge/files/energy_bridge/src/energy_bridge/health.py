# SPDX-License-Identifier: GPL-3.0-or-later
"""Is the bridge well, and the chain that it settles on? Pure, but for asking the node."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import aiohttp

from energy_bridge.model import BatchState

__all__ = ["ChainView", "View", "look_at_chain", "notes", "problems"]

REQUEST_TIMEOUT_S = 5
HALTED_AFTER_S, HALTED_AFTER_PERIODS = 30.0, 5
OUTBOX_AFTER_S, OUTBOX_AFTER_PERIODS = 300.0, 20
# In so many rounds of all signers, one that is there has sealed.
ROUNDS = 4


@dataclass(frozen=True, slots=True)
class ChainView:
    """The chain as the node shows it: number and time (seconds since the epoch) of its newest block.

    sealed has how many of the last `blocks` blocks each signer sealed, None where the node does not open the clique
    API. trouble says why nothing is known.
    """

    head_block: int | None = None
    head_time: float | None = None
    sealed: Mapping[str, int] | None = None
    blocks: int = 0
    trouble: str | None = None


@dataclass(frozen=True, slots=True)
class View:
    """What the bridge last saw of itself and of the chain; None for what is not known yet.

    outbox_age_s is the age of the oldest closed slot that is neither settled nor refused (0 where there is none),
    batches how many there are by state, store_trouble why readings could not be stored when that was last tried.
    """

    chain: ChainView | None = None
    outbox_age_s: float | None = None
    batches: Mapping[BatchState, int] = field(default_factory=dict)
    store_trouble: str | None = None

    @property
    def head_block(self) -> int | None:
        """The number of the newest block."""
        return None if self.chain is None else self.chain.head_block


def problems(view: View, *, now: float, period_s: float) -> list[str]:
    """Say what is wrong, one sentence each; now is in seconds since the epoch."""
    found = []
    if view.store_trouble is not None:
        found.append(f"Readings cannot be stored and nobody is acknowledged: {view.store_trouble}.")
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
    sealed = chain.sealed or {}
    if chain.blocks >= ROUNDS * len(sealed):
        found += [
            f"Sealer {signer} has sealed none of the last {chain.blocks} blocks: it is off or cut off, its disk is"
            " full, or its clock is wrong."
            for signer, count in sorted(sealed.items())
            if count == 0
        ]
    return found


async def look_at_chain(session: aiohttp.ClientSession, rpc_url: str) -> ChainView:
    """Ask the node for its newest block and for who sealed the last ones; never raises."""
    calls = [
        {"jsonrpc": "2.0", "id": number, "method": method, "params": params}
        for number, (method, params) in enumerate([("eth_getBlockByNumber", ["latest", False]), ("clique_status", [])])
    ]
    timeout = aiohttp.ClientTimeout(total=REQUEST_TIMEOUT_S)
    try:
        async with session.post(rpc_url, json=calls, timeout=timeout) as response:
            block, status = sorted(await response.json(), key=lambda answer: answer["id"])
            return _view(block["result"], status.get("result"))
    except (aiohttp.ClientError, TimeoutError, OSError, ValueError, KeyError, TypeError) as error:
        return ChainView(trouble=f"{rpc_url} does not answer as a node does ({error or type(error).__name__})")


def _view(block: Any, status: Any) -> ChainView:
    return ChainView(
        head_block=int(block["number"], 16),
        head_time=float(int(block["timestamp"], 16)),
        sealed=None if status is None else dict(status["sealerActivity"]),
        blocks=0 if status is None else int(status["numBlocks"]),
    )
