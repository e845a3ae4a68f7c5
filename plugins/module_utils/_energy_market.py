# SPDX-License-Identifier: GPL-3.0-or-later
"""Actors, operator and deposits of an EnergyMarket: what is, what is wanted, what to send. Private here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ansible_collections.smartenergy.clique.plugins.module_utils._chain import Call
from ansible_collections.smartenergy.clique.plugins.module_utils._errors import CliqueError
from web3 import Web3
from web3.contract import Contract

__all__ = [
    "KINDS",
    "Actor",
    "MarketError",
    "State",
    "Wanted",
    "at",
    "calls",
    "observe",
    "wanted_from",
    "wanted_state",
]

KINDS = ("Load", "PV", "CHP", "Battery", "Grid")
"""In the order of the contract's numbers."""

# Upper bounds, measured and rounded up; what is not used costs nothing.
GAS_TRANSFER = 21_000
GAS_CALL = 100_000
GAS_PER_ACTOR = 160_000
GAS_PER_NAME_BYTE = 1_500


class MarketError(CliqueError):
    """The market cannot become what is wanted."""


@dataclass(frozen=True)
class Actor:
    """An actor as it is registered, and all that was ever deposited for it, in wei."""

    account: str
    name: str
    kind: str
    deposited_wei: int


@dataclass(frozen=True)
class State:
    """What the module is about: the actors in their order, whether the operator may settle, and its gas money."""

    actors: tuple[Actor, ...]
    operator_allowed: bool
    operator_wei: int

    def shown(self) -> dict[str, Any]:
        """The state as results and diffs show it."""
        return {
            "actors": {
                actor.name: {"address": actor.account, "kind": actor.kind, "deposited_wei": actor.deposited_wei}
                for actor in self.actors
            },
            "operator_allowed": self.operator_allowed,
            "operator_wei": self.operator_wei,
        }


@dataclass(frozen=True)
class Wanted:
    """What is wanted: these actors with at least these deposits, and an operator with gas money."""

    actors: tuple[Actor, ...]
    operator: str
    operator_gas_wei: int


def wanted_from(operator: str, operator_gas_wei: int, actors: Sequence[Mapping[str, Any]]) -> Wanted:
    """What a user wrote, with checked addresses."""
    return Wanted(
        tuple(
            Actor(_address(actor["address"], actor["name"]), actor["name"], actor["kind"], actor["deposit_wei"])
            for actor in actors
        ),
        _address(operator, "the operator"),
        operator_gas_wei,
    )


def _address(text: str, whose: str) -> str:
    try:
        return Web3.to_checksum_address(text)
    except ValueError as error:
        raise MarketError(f"{text} is not an address; correct that of {whose}") from error


def at(web3: Web3, address: str, abi: Sequence[Any]) -> Contract | None:
    """The market at an address; None where nothing stands there."""
    account = Web3.to_checksum_address(address)
    return web3.eth.contract(account, abi=abi) if web3.eth.get_code(account) else None


def observe(market: Contract, operator: str, *, from_block: int) -> State:
    """Read the state from the chain; deposits from the log, from this block on."""
    functions = market.functions
    deposited: dict[str, int] = {}
    for event in market.events.Deposited().get_logs(from_block=from_block):
        account = event["args"]["account"]
        deposited[account] = deposited.get(account, 0) + event["args"]["amountWei"]
    registered = (functions.actorAt(place).call() for place in range(functions.actorCount().call()))
    return State(
        tuple(Actor(account, name, KINDS[kind], deposited.get(account, 0)) for account, kind, name in registered),
        functions.isOperator(operator).call(),
        market.w3.eth.get_balance(Web3.to_checksum_address(operator)),
    )


def wanted_state(now: State, wanted: Wanted) -> State:
    """The state to reach: nobody is unregistered, nothing is withdrawn, gas money is filled up below half."""
    registered = {actor.account: actor for actor in now.actors}
    for actor in wanted.actors:
        known = registered.get(actor.account)
        if known and (known.name, known.kind) != (actor.name, actor.kind):
            raise MarketError(
                f"{actor.account} is registered as {known.kind} {known.name} and cannot become {actor.kind} "
                f"{actor.name}; actors stay what they are: give the new one another account"
            )
    targets = {actor.account: actor for actor in wanted.actors}
    if len(targets) < len(wanted.actors):
        raise MarketError("two actors have one account; each needs its own")
    kept = (
        Actor(actor.account, actor.name, actor.kind, max(actor.deposited_wei, targets[actor.account].deposited_wei))
        if actor.account in targets
        else actor
        for actor in now.actors
    )
    new = (actor for actor in wanted.actors if actor.account not in registered)
    filled = wanted.operator_gas_wei if 2 * now.operator_wei < wanted.operator_gas_wei else now.operator_wei
    return State((*kept, *new), operator_allowed=True, operator_wei=filled)


def calls(market: Contract, now: State, then: State, operator: str) -> list[Call]:
    """The transactions of the admin that lead from one state to the other, in an order in which each can succeed."""
    before = {actor.account: actor.deposited_wei for actor in now.actors}
    new = [actor for actor in then.actors if actor.account not in before]
    todo = []
    if new:
        gas = GAS_CALL + sum(GAS_PER_ACTOR + GAS_PER_NAME_BYTE * len(actor.name.encode()) for actor in new)
        rows = [(actor.account, KINDS.index(actor.kind), actor.name) for actor in new]
        data = _data(market, "registerActors", [rows])
        todo.append(Call(f"register {', '.join(actor.name for actor in new)}", market.address, gas, data))
    if not now.operator_allowed:
        data = _data(market, "setOperator", [operator, True])
        todo.append(Call(f"appoint the operator {operator}", market.address, GAS_CALL, data))
    for actor in then.actors:
        if missing := actor.deposited_wei - before.get(actor.account, 0):
            data = _data(market, "depositFor", [actor.account])
            todo.append(Call(f"deposit for {actor.name}", market.address, GAS_CALL, data, missing))
    if missing := then.operator_wei - now.operator_wei:
        todo.append(Call("top up the operator", operator, GAS_TRANSFER, value_wei=missing))
    return todo


def _data(market: Contract, function: str, arguments: Sequence[Any]) -> bytes:
    return bytes.fromhex(market.encode_abi(function, args=arguments).removeprefix("0x"))
