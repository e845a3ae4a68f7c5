# SPDX-License-Identifier: GPL-3.0-or-later
"""What a node knows about its Clique chain, and waiting until it knows enough. Private to this collection."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from ansible_collections.smartenergy.clique.plugins.module_utils._errors import CliqueError
from ansible_collections.smartenergy.clique.plugins.module_utils._keccak import checked_address, checksum_address
from ansible_collections.smartenergy.clique.plugins.module_utils._rpc import (
    Call,
    NodeRefusesError,
    NodeSilentError,
    Rpc,
)
from ansible_collections.smartenergy.clique.plugins.module_utils._wait import Clock, wait_until

__all__ = [
    "Block",
    "View",
    "WaitError",
    "Wanted",
    "last_lines",
    "look",
    "problems",
    "sealed",
    "summary",
    "unmet",
    "wait",
    "wanted_from",
]

_IN_TURN_DIFFICULTY = 2  # Clique: 2 for the signer whose turn it is, 1 for the others
_FURTHEST_BACK = 1000  # blocks that a search for one signer's seal looks at
_ROUNDS = 4  # in so many rounds of all signers, one that is there has sealed
_OLD_AFTER_S, _OLD_AFTER_PERIODS = 10, 3  # together, the age of a newest block that another one should have followed
_AHEAD_S = 1  # blocks and clocks are compared in whole seconds


@dataclass(frozen=True)
class Block:
    """A block as its header shows it; the genesis was sealed by nobody."""

    number: int
    hash: str
    timestamp_s: int
    in_turn: bool
    sealer: str | None


@dataclass(frozen=True)
class View:
    """One look at a node. What it does not offer over this interface is None."""

    blocks: tuple[Block, ...]  # the last ones, oldest first; the head is the last
    window: int  # how many of them sealed() and the share look at
    genesis_hash: str
    signers: tuple[str, ...] | None = None
    peers: int | None = None
    peer_public_keys: tuple[str, ...] | None = None
    votes: dict[str, bool] | None = None
    chain_config: dict[str, Any] | None = None
    client: str | None = None

    @property
    def head(self) -> Block:
        return self.blocks[-1]

    @property
    def recent(self) -> tuple[Block, ...]:
        """The window's blocks, without the genesis."""
        return tuple(block for block in self.blocks[-self.window :] if block.sealer)

    @property
    def period_s(self) -> int | None:
        """The seconds from block to block, as the chain's config has them; None on a chain of another engine."""
        clique = (self.chain_config or {}).get("clique")
        return None if clique is None else int(clique["period"])


@dataclass(frozen=True)
class Wanted:
    """The conditions of a wait; None and empty ones hold always."""

    peers: int | None = None
    head: int | None = None
    signers_seen: tuple[str, ...] = ()
    signer_sealed: str | None = None
    new_blocks: int | None = None
    since_head: int | None = None


def wanted_from(options: Mapping[str, Any]) -> Wanted:
    """The module's wait_for, with its addresses in the form that this collection compares."""
    sealed_by = options["signer_sealed"]
    return Wanted(
        peers=options["peers"],
        head=options["head"],
        signers_seen=tuple(checked_address(seen, "the signer") for seen in options["signers_seen"] or ()),
        signer_sealed=sealed_by and checked_address(sealed_by, "the signer"),
        new_blocks=options["new_blocks"],
        since_head=options["since_head"],
    )


class WaitError(CliqueError):
    """The conditions did not come true in time; view is what the node showed last."""

    def __init__(self, message: str, view: View | None) -> None:
        super().__init__(message)
        self.view = view


def look(rpc: Rpc, *, window: int | None, since: int | None = None) -> View:
    """Read a node's state in two messages; window None is twice the number of signers.

    With since the blocks reach back to the one after it, at most a thousand.
    """
    latest, genesis, snapshot, peer_count, peers, votes, node, client = rpc.batch(
        [
            Call("eth_getHeaderByNumber", ("latest",)),
            Call("eth_getHeaderByNumber", ("0x0",)),
            Call("clique_getSnapshot", (), optional=True),
            Call("net_peerCount", (), optional=True),
            Call("admin_peers", (), optional=True),
            Call("clique_proposals", (), optional=True),
            Call("admin_nodeInfo", (), optional=True),
            Call("web3_clientVersion", (), optional=True),
        ]
    )
    head = int(latest["number"], 16)
    signers = None if snapshot is None else tuple(sorted(map(checksum_address, snapshot["signers"])))
    window = window or 2 * len(signers or ()) or 1
    first = max(0, head - max(window, _ROUNDS * len(signers or ())) + 1)
    if since is not None:
        first = max(0, min(first, since + 1), head - _FURTHEST_BACK)
    return View(
        blocks=_blocks(rpc, range(first, head + 1), with_sealers=signers is not None),
        window=window,
        genesis_hash=genesis["hash"],
        signers=signers,
        peers=None if peer_count is None else int(peer_count, 16),
        peer_public_keys=None
        if peers is None
        else tuple(sorted(urlsplit(peer["enode"]).username or "" for peer in peers)),
        votes=None if votes is None else {checksum_address(address): vote for address, vote in votes.items()},
        chain_config=None if node is None else node["protocols"]["eth"]["config"],
        client=client,
    )


def _blocks(rpc: Rpc, numbers: Sequence[int], *, with_sealers: bool) -> tuple[Block, ...]:
    sealed_numbers = [number for number in numbers if number and with_sealers]
    answers = rpc.batch(
        [Call("eth_getHeaderByNumber", (hex(number),)) for number in numbers]
        + [Call("clique_getSigner", (hex(number),)) for number in sealed_numbers]
    )
    headers, addresses = answers[: len(numbers)], answers[len(numbers) :]
    checksummed = {address: checksum_address(address) for address in {*addresses}}
    sealers = {number: checksummed[address] for number, address in zip(sealed_numbers, addresses, strict=True)}
    return tuple(
        Block(
            number=int(header["number"], 16),
            hash=header["hash"],
            timestamp_s=int(header["timestamp"], 16),
            in_turn=int(header["difficulty"], 16) == _IN_TURN_DIFFICULTY,
            sealer=sealers.get(int(header["number"], 16)),
        )
        for header in headers
        if header  # a reorganisation between the two messages may have taken the newest away
    )


def sealed(view: View) -> dict[str, int]:
    """How many of the window's blocks each signer sealed; those with none are in it too."""
    counts = Counter(block.sealer for block in view.recent if block.sealer)
    return {address: counts[address] for address in sorted({*(view.signers or ()), *counts})}


def problems(view: View, *, now_s: float) -> list[str]:
    """What is wrong, one sentence each; now_s is the node's own clock, in seconds since the epoch."""
    found = []
    signers = view.signers or ()
    rounds = [block.sealer for block in view.blocks[-_ROUNDS * len(signers) :] if block.sealer]
    if len(rounds) == _ROUNDS * len(signers):
        found += [
            f"Sealer {address} has sealed none of the last {len(rounds)} blocks: it is off or cut off, its disk is"
            " full, or its clock is wrong."
            for address in signers
            if address not in rounds
        ]
    ahead_s = view.head.timestamp_s - int(now_s)
    if ahead_s > _AHEAD_S:
        found.append(f"This node's clock is wrong: its newest block was sealed {ahead_s} s ahead of it.")
    # Nobody seals two in a row: one of the last two is another sealer's, and tells what time it is there.
    last = [block for block in view.blocks[-2:] if block.number]
    age_s = int(now_s) - last[0].timestamp_s if last else 0
    if view.period_s and age_s > _OLD_AFTER_S + _OLD_AFTER_PERIODS * view.period_s:
        found.append(
            f"Block {last[0].number} is {age_s} s old, and at most one came after it: the chain halts, this node is cut"
            " off, or its clock is ahead."
        )
    return found


def unmet(view: View, wanted: Wanted) -> list[str]:
    """What is still missing, a phrase for each condition; empty when all hold."""
    missing = []
    if wanted.peers is not None and (view.peers or 0) < wanted.peers:
        missing.append(f"{wanted.peers} peers")
    if wanted.head is not None and view.head.number < wanted.head:
        missing.append(f"block {wanted.head}")
    absent = sorted({*wanted.signers_seen} - {block.sealer for block in view.recent})
    if absent:
        missing.append(f"a block among the last {view.window} sealed by {', '.join(absent)}")
    since = wanted.since_head or 0
    if wanted.signer_sealed and not any(
        block.sealer == wanted.signer_sealed and block.number > since for block in view.blocks
    ):
        missing.append(f"a block above {since} sealed by {wanted.signer_sealed}")
    if wanted.new_blocks and view.head.number < since + wanted.new_blocks:
        blocks = "a block" if wanted.new_blocks == 1 else f"{wanted.new_blocks} blocks"
        missing.append(f"{blocks} above {since}")
    return missing


def summary(view: View | None, *, now_s: float) -> dict[str, Any]:
    """The facts as the module returns them; all null where no node answered."""
    if view is None:
        keys = "client head blocks genesis_hash chain_config signers sealed in_turn_share last_sealed_by"
        return {"running": False, **dict.fromkeys([*keys.split(), "peers", "peer_public_keys", "votes", "problems"])}
    recent = view.recent
    head = view.head
    return {
        "running": True,
        "client": view.client,
        "head": {"number": head.number, "hash": head.hash, "age_s": max(0, int(now_s) - head.timestamp_s)},
        "blocks": [
            {"number": block.number, "hash": block.hash, "sealer": block.sealer, "in_turn": block.in_turn}
            for block in view.blocks[-view.window :]
        ],
        "genesis_hash": view.genesis_hash,
        "chain_config": view.chain_config,
        "signers": None if view.signers is None else list(view.signers),
        "sealed": None if view.signers is None else sealed(view),
        "in_turn_share": sum(block.in_turn for block in recent) / len(recent) if recent else None,
        "last_sealed_by": head.sealer,
        "peers": view.peers,
        "peer_public_keys": None if view.peer_public_keys is None else list(view.peer_public_keys),
        "votes": view.votes,
        "problems": problems(view, now_s=now_s),
    }


def wait(
    look_at: Callable[[int | None], View],
    wanted: Wanted,
    *,
    timeout_s: float,
    clock: Clock,
    poll_s: float = 0.25,
) -> View:
    """Look until every condition holds; a node that does not answer, or refuses, is waited for too.

    look_at takes the number of the block after which sealers matter. A since_head that is not given is the head of the
    first look. Raises WaitError, with what is missing, when timeout_s is over.
    """
    view: View | None = None
    missing: list[str] = []

    def all_holds() -> bool:
        nonlocal view, wanted, missing
        try:
            view = look_at(wanted.since_head)
        except (NodeSilentError, NodeRefusesError) as error:  # a reorganisation takes blocks away while we look
            missing = [f"an answer ({error})"]
            return False
        if wanted.since_head is None:
            wanted = replace(wanted, since_head=view.head.number)
        missing = unmet(view, wanted)
        return not missing

    if wait_until(all_holds, timeout_s=timeout_s, clock=clock, poll_s=poll_s) and view:
        return view
    seen = "" if view is None else f"; {_seen(view)}"
    raise WaitError(f"after {timeout_s:g} s this node still lacks {'; and '.join(missing)}{seen}", view)


def _seen(view: View) -> str:
    sealers = ", ".join(address for address, blocks in sealed(view).items() if blocks) or "nobody"
    peers = "an unknown number of" if view.peers is None else view.peers
    head = view.head.number
    return f"it has {peers} peers, its head is {head}, and the last {view.window} blocks were sealed by {sealers}"


def last_lines(log: Path, lines: int = 15) -> list[str]:
    """The end of a log file; of one that cannot be read, a line that says so."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, log.stat().st_size - 64 * 1024))
            return file.read().decode(errors="replace").splitlines()[-lines:]
    except OSError as error:
        return [f"({log} cannot be read: {error.strerror})"]
