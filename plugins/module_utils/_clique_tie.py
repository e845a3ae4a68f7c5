# SPDX-License-Identifier: GPL-3.0-or-later
"""Heads that stand against each other: which is to stay, and taking a node over to it. Private to this collection."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ansible_collections.smartenergy.clique.plugins.module_utils._errors import CliqueError
from ansible_collections.smartenergy.clique.plugins.module_utils._keccak import checked_address
from ansible_collections.smartenergy.clique.plugins.module_utils._rpc import Call, Rpc
from ansible_collections.smartenergy.clique.plugins.module_utils._wait import Clock, wait_until

__all__ = ["Branch", "Tie", "find_tie", "follow", "last_shared"]

_ATTEMPT_S = 45.0  # geth dials nobody twice within 35 s


@dataclass(frozen=True)
class Branch:
    """One head and who holds it; difficulty is what it adds to the last block that all branches have."""

    blocks: tuple[Mapping[str, Any], ...]
    holders: tuple[str, ...]
    difficulty: int

    @property
    def head(self) -> str:
        return str(self.blocks[-1]["hash"])


@dataclass(frozen=True)
class Tie:
    """Where the branches parted, the one that stays, and the hosts whose nodes have to be taken over to it."""

    parted_at: int
    stays: Branch
    leave: tuple[str, ...]


def find_tie(views: Mapping[str, Mapping[str, Any]], addresses: Mapping[str, str]) -> Tie:
    """Find the tie at which a Clique chain stands.

    views has what clique_info said of each host's node, addresses what each seals with. The heaviest branch stays, of
    several the shortest, to which every geth goes over that hears of it, then the one that most hold, then that of the
    lower hash. Where more than half of the sealers follow one, one of them may always continue it. Raises CliqueError
    where they are fewer, and where there is no tie.
    """
    up = {host: view for host, view in sorted(views.items()) if view.get("running")}
    if not up:
        raise CliqueError("No node answers: start them, and look again.")
    signers = tuple(max(up.values(), key=lambda view: int(view["head"]["number"]))["signers"] or ())
    at_hand = {checked_address(addresses[host], "the signer") for host in up if addresses.get(host)} & {*signers}
    silent = sorted(host for host in {*addresses} - {*up} if addresses[host] in signers)
    back = f"Bring back {', '.join(silent) or 'the other sealers'}, and look again."
    needed = len(signers) // 2 + 1
    if len(at_hand) < needed:
        raise CliqueError(f"Of {len(signers)} sealers {len(at_hand)} answer, and {needed} are needed. {back}")

    shared = set.intersection(*({(block["number"], block["hash"]) for block in view["blocks"]} for view in up.values()))
    if not shared:
        raise CliqueError("The nodes have none of their last blocks in common, so this is no tie but another chain.")
    parted_at = max(number for number, _hash in shared)
    holders: dict[str, list[str]] = {}
    for host, view in up.items():
        holders.setdefault(view["head"]["hash"], []).append(host)
    branches = [_branch(up[hosts[0]]["blocks"], hosts, parted_at) for hosts in holders.values()]
    if len(branches) == 1:
        raise CliqueError(
            f"There is no tie: {', '.join(up)} have the same block {parted_at}. "
            f"The next one is for {_named(_may_seal(branches[0].blocks, signers), addresses)} to seal."
        )
    stays = min(branches, key=lambda one: (-one.difficulty, one.blocks[-1]["number"], -len(one.holders), one.head))
    return Tie(parted_at, stays, tuple(host for host in up if host not in stays.holders))


def _branch(blocks: Sequence[Mapping[str, Any]], holders: Sequence[str], parted_at: int) -> Branch:
    own = [block for block in blocks if block["number"] > parted_at]
    return Branch(tuple(blocks), tuple(holders), difficulty=sum(2 if block["in_turn"] else 1 for block in own))


def _may_seal(blocks: Sequence[Mapping[str, Any]], signers: Sequence[str]) -> tuple[str, ...]:
    """Who may seal the next block: of any ⌊N/2⌋+1 blocks in a row a signer seals one at most."""
    lately = len(signers) // 2
    recent = {block["sealer"] for block in blocks[-lately:]} if lately else set()
    return tuple(address for address in signers if address not in recent)


def _named(sealers: Sequence[str], addresses: Mapping[str, str]) -> str:
    hosts = {address: host for host, address in addresses.items()}
    return " or ".join(sorted(hosts.get(address, address) for address in sealers))


def last_shared(rpc: Rpc, blocks: Sequence[Mapping[str, Any]]) -> int:
    """The number of the newest of these blocks that the node's own chain has. Raises CliqueError where it has none."""
    headers = rpc.batch([Call("eth_getHeaderByNumber", (hex(block["number"]),)) for block in blocks])
    shared = [
        int(block["number"])
        for block, header in zip(blocks, headers, strict=True)
        if header and header["hash"] == block["hash"]
    ]
    if not shared:
        raise CliqueError("this node has none of these blocks of the branch: name earlier ones, too")
    return max(shared)


def follow(
    rpc: Rpc,
    blocks: Sequence[Mapping[str, Any]],
    *,
    holders: Sequence[str],
    peers: Sequence[str],
    seal: bool,
    timeout_s: float,
    clock: Clock,
) -> None:
    """Take a node over to the branch that these blocks are the end of, newest last.

    holders and peers are enodes: for the while the node has no peers but the holders, afterwards all of peers. A peer
    tells its head when it connects, and a node that was set back asks for the other branch only then. It is left as it
    is where the chain goes on meanwhile, on whichever branch. Whatever happens, the peers are told and sealing goes on
    (with seal, also where it was off). Raises CliqueError where the branch does not come.
    """
    wanted = int(blocks[-1]["number"])
    sealed, connected, head = rpc.batch([Call("eth_mining"), Call("admin_peers"), Call("eth_blockNumber")])
    tied_at = max(wanted, int(head, 16))
    met = {peer["enode"] for peer in connected} | {*peers}
    end_s = clock.monotonic() + timeout_s
    try:
        rpc.call("miner_stop")
        while (shared := last_shared(rpc, blocks)) != wanted:
            left_s = end_s - clock.monotonic()
            if left_s <= 0:
                raise CliqueError(f"block {wanted} of that branch did not come from its holders within {timeout_s:g} s")
            rpc.batch(
                [
                    *(Call("admin_removePeer", (enode,)) for enode in sorted(met)),
                    Call("debug_setHead", (hex(shared),)),
                    *(Call("admin_addPeer", (enode,)) for enode in holders),
                ]
            )
            # One that has dialled this node meanwhile may give it another branch of that height; then once more.
            wait_until(
                lambda: int(rpc.call("eth_blockNumber"), 16) >= wanted,
                timeout_s=min(_ATTEMPT_S, left_s),
                clock=clock,
                poll_s=0.25,
            )
            if int(rpc.call("eth_blockNumber"), 16) > tied_at:
                return
            met |= {peer["enode"] for peer in rpc.call("admin_peers")}
    finally:
        rpc.batch([Call("admin_addPeer", (enode,)) for enode in peers])
        if sealed or seal:
            rpc.call("miner_start")
