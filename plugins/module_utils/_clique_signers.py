# SPDX-License-Identifier: GPL-3.0-or-later
"""How one sealer votes for a declared set of signers, one change at a time. Private to this collection."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ansible_collections.smartenergy.clique.plugins.module_utils import _clique_info
from ansible_collections.smartenergy.clique.plugins.module_utils._errors import CliqueError
from ansible_collections.smartenergy.clique.plugins.module_utils._keccak import checked_address, checksum_address
from ansible_collections.smartenergy.clique.plugins.module_utils._rpc import Call, Rpc

__all__ = ["Change", "Plan", "State", "apply", "changes", "look", "majority", "plan", "standing", "wanted_from"]

_LATE_PERIODS, _LATE_S = 4, 10  # a head that is older by so much is the head of a chain that stands still


@dataclass(frozen=True)
class Change:
    """What one vote is for: an address that comes, or one that goes."""

    address: str
    authorize: bool

    def __str__(self) -> str:
        return f"{'authorise' if self.authorize else 'remove'} {self.address}"


@dataclass(frozen=True)
class State:
    """One look at a sealer and its chain. Addresses are as EIP-55 writes them."""

    head: int
    growing: bool
    signers: frozenset[str]
    sealed: frozenset[str]  # who sealed one of the last blocks
    votes: Mapping[Change, frozenset[str]]  # those in the chain that have not changed it yet, with who cast them
    proposals: Mapping[str, bool]  # what this node votes for whenever it seals; in its memory only
    account: str | None  # what it seals with; None where it does not seal


@dataclass(frozen=True)
class Plan:
    """What is to be done on this node: propose the next change if it is not proposed yet, take other proposals back."""

    change: Change | None  # None: the chain agrees
    propose: bool
    discard: tuple[str, ...]
    proposals: dict[str, bool]  # those that the node has afterwards

    @property
    def changed(self) -> bool:
        return self.propose or bool(self.discard)


def wanted_from(addresses: Sequence[str]) -> frozenset[str]:
    """The declared set; raises CliqueError for an empty one and for what is no address."""
    if not addresses:
        raise CliqueError(
            "the set of signers is empty, and a chain without one has no further block: name all that are to seal"
        )
    return frozenset(checked_address(address, "the signer") for address in addresses)


def look(rpc: Rpc, *, now_s: float) -> State:
    """Read what a sealer knows; raises CliqueError where no node answers or none of a Clique chain."""
    view = _clique_info.look(rpc, window=None)
    if view.signers is None or view.chain_config is None:
        raise CliqueError(f"the node at {rpc.place} has no signers to vote for: it does not follow a Clique chain")
    snapshot, mining = rpc.batch([Call("clique_getSnapshot"), Call("eth_mining")])
    votes: dict[Change, set[str]] = {}
    for vote in snapshot["votes"] or ():
        change = Change(checksum_address(vote["address"]), vote["authorize"])
        votes.setdefault(change, set()).add(checksum_address(vote["signer"]))
    period_s = view.chain_config["clique"]["period"]
    return State(
        head=view.head.number,
        growing=now_s - view.head.timestamp_s <= _LATE_PERIODS * period_s + _LATE_S,
        signers=frozenset(map(checksum_address, snapshot["signers"])),
        sealed=frozenset(address for address, blocks in _clique_info.sealed(view).items() if blocks),
        votes={change: frozenset(voters) for change, voters in votes.items()},
        proposals=view.votes or {},
        account=checksum_address(rpc.call("eth_coinbase")) if mining else None,
    )


def majority(signers: int) -> int:
    """How many of so many signers a vote needs, and the chain to grow."""
    return signers // 2 + 1


def changes(signers: Collection[str], wanted: Collection[str]) -> tuple[Change, ...]:
    """The way from the one set to the other, one signer at a time; who comes is there before anybody goes."""
    coming, going = sorted({*wanted} - {*signers}), sorted({*signers} - {*wanted})
    return (*(Change(address, True) for address in coming), *(Change(address, False) for address in going))


def plan(state: State, wanted: frozenset[str], ready: frozenset[str] = frozenset()) -> Plan:
    """Compare the chain with the declared set; ready are addresses whose nodes run, whether they have sealed or not.

    Raises CliqueError where this node has no vote, and where the chain would halt on the way.
    """
    ahead = changes(state.signers, wanted)
    if ahead:
        _refuse_without_vote(state)
        _refuse_halt(state, ahead, ready)
    change = ahead[0] if ahead else None
    proposals = {change.address: change.authorize} if change else {}
    return Plan(
        change=change,
        propose=any(state.proposals.get(address) is not authorize for address, authorize in proposals.items()),
        discard=tuple(sorted(state.proposals.keys() - proposals.keys())),
        proposals=proposals,
    )


def _refuse_without_vote(state: State) -> None:
    if state.account is None:
        raise CliqueError(
            "this node does not seal, so it has no vote: start it with sealing on, or wait until it has caught up"
        )
    if state.account not in state.signers:
        raise CliqueError(
            f"this node seals as {state.account}, which is not among the chain's signers, so it has no vote: "
            "vote on those that are"
        )
    if not state.growing:
        raise CliqueError(
            f"the chain stands still at block {state.head}, and votes travel in blocks: bring its sealers back"
        )


def _refuse_halt(state: State, ahead: Sequence[Change], ready: frozenset[str]) -> None:
    signers = state.signers
    for change in ahead:
        signers = signers | {change.address} if change.authorize else signers - {change.address}
        missing = sorted(signers - state.sealed - ready)
        up, needed = len(signers) - len(missing), majority(len(signers))
        if up < needed:
            raise CliqueError(
                f"to {change} would halt the chain: of its then {len(signers)} signers {up} are known to be up, "
                f"and {needed} are needed; bring back {', '.join(missing)}, or name as ready those that run"
            )


def apply(rpc: Rpc, wanted: Plan) -> None:
    """Propose and discard; doing it again does no harm."""
    calls = [Call("clique_discard", (address,)) for address in wanted.discard]
    if wanted.change and wanted.propose:
        calls.append(Call("clique_propose", (wanted.change.address, wanted.change.authorize)))
    rpc.batch(calls)


def standing(state: State, change: Change | None) -> dict[str, Any]:
    """How the vote stands, as the module returns it."""
    facts: dict[str, Any] = {"head": state.head, "signers": sorted(state.signers), "agreed": change is None}
    if change is None:
        return {**facts, "change": None, "message": f"block {state.head}: the chain has these signers"}
    voters = sorted(state.votes.get(change, frozenset()))
    silent = sorted(state.signers - {*voters})
    needed = majority(len(state.signers))
    return {
        **facts,
        "change": {
            "address": change.address,
            "authorize": change.authorize,
            "voters": voters,
            "not_voted": silent,
            "needed": needed,
        },
        "message": f"block {state.head}: {len(voters)} of {needed} votes to {change}; "
        f"not voted yet: {', '.join(silent) or 'nobody'}",
    }
