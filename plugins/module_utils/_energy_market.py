# SPDX-License-Identifier: GPL-3.0-or-later
"""What an EnergyMarket is and is to be, what to send for it, and whose money runs out. Private here."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

from ansible_collections.smartenergy.clique.plugins.module_utils._chain import Call
from ansible_collections.smartenergy.clique.plugins.module_utils._errors import CliqueError
from ansible_collections.smartenergy.clique.plugins.module_utils._keccak import checked_address

with suppress(ImportError):  # _chain.MISSING has it
    from eth_typing import ChecksumAddress
    from web3 import Web3
    from web3.contract import Contract
    from web3.contract.contract import ContractFunction
    from web3.exceptions import BadFunctionCallOutput, ContractLogicError, Web3Exception, Web3RPCError

__all__ = [
    "KINDS",
    "LARGEST_WEI",
    "Actor",
    "MarketError",
    "State",
    "Trade",
    "Wanted",
    "admin_of",
    "at",
    "calls",
    "makes_agreements_for",
    "observe",
    "recent_trades",
    "stands",
    "wanted_from",
    "wanted_state",
    "warnings",
]

KINDS = ("Load", "PV", "CHP", "Battery", "Grid")
"""In the order of the contract's numbers."""

LARGEST_WEI = 2**96 - 1
"""What the market can hold, for all accounts together."""

NOBODY = "0x" + "00" * 20

# Upper bounds, measured and rounded up; what is not used costs nothing.
GAS_TRANSFER = 21_000
GAS_CALL = 130_000
GAS_PER_ACTOR = 160_000
GAS_PER_NAME_BYTE = 1_500
# A deposit pays debts, a few at a time.
GAS_DEPOSIT = 500_000
# Many in one transaction would not fit a block.
ACTORS_AT_ONCE = 50

QUESTIONS_AT_ONCE = 100
# The past that says how fast money is spent: a day of quarter-hours, as far as it is not too much to read on a Pi.
RECENT_BATCHES = 96
RECENT_BYTES = 100_000
RECENT_BLOCKS = 32_768
FIRST_BLOCKS = 256


class MarketError(CliqueError):
    """The market cannot become what is wanted."""


@dataclass(frozen=True)
class Actor:
    """An actor as it is registered, all that was ever deposited for it, and what it has left to spend, in wei."""

    account: str
    name: str
    kind: str
    deposited_wei: int
    balance_wei: int = 0


@dataclass(frozen=True)
class State:
    """What the module is about, and what it has to know of the past.

    replaced and rotated: the accounts that other ones came in the place of, as actors and as operators.
    meter_settles: whether the meter that is wanted may settle batches.
    """

    actors: tuple[Actor, ...]
    operator_allowed: bool
    operator_wei: int
    meter: str | None
    meter_wei: int
    agreement_factory: str | None
    admin: str
    replaced: Mapping[str, str] = field(default_factory=dict)
    rotated: Mapping[str, str] = field(default_factory=dict)
    meter_settles: bool = False

    def shown(self) -> dict[str, Any]:
        """The state as results and diffs show it; balances change without anybody's doing here."""
        return {
            "actors": {
                actor.name: {"address": actor.account, "kind": actor.kind, "deposited_wei": actor.deposited_wei}
                for actor in self.actors
            },
            "operator_allowed": self.operator_allowed,
            "operator_wei": self.operator_wei,
            "meter": self.meter,
            "meter_wei": self.meter_wei,
            "agreement_factory": self.agreement_factory,
        }


@dataclass(frozen=True)
class Wanted:
    """What is wanted: these actors with at least these deposits, and an operator and a meter with gas money.

    agreement_factory: None leaves it as it is.
    """

    actors: tuple[Actor, ...]
    operator: str
    meter: str
    gas_wei: int
    agreement_factory: str | None = None


class Trade(NamedTuple):
    """A trade, as the market's decodeBatch tells it."""

    seller: str
    buyer: str
    energy_wh: int
    price_wei_per_wh: int
    slot: int
    imbalance: bool


def wanted_from(
    operator: str, meter: str, agreement_factory: str | None, gas_wei: int, actors: Sequence[Mapping[str, Any]]
) -> Wanted:
    """What a user wrote, with checked addresses and amounts."""
    if gas_wei < 0:
        raise MarketError(f"operator_gas_wei has to be at least 0, and {gas_wei} is not")
    for actor in actors:
        if not 0 <= actor["deposit_wei"] <= LARGEST_WEI:
            raise MarketError(
                f"{actor['name']} cannot have a deposit of {actor['deposit_wei']} wei; give it 0 to {LARGEST_WEI}"
            )
    return Wanted(
        tuple(
            Actor(_address(actor["address"], actor["name"]), actor["name"], actor["kind"], actor["deposit_wei"])
            for actor in actors
        ),
        _address(operator, "the operator"),
        _address(meter, "the meter"),
        gas_wei,
        None if agreement_factory is None else _address(agreement_factory, "the agreement factory"),
    )


def _address(text: str, whose: str) -> str:
    address = Web3.to_checksum_address(checked_address(text, whose))
    if address == NOBODY:
        raise MarketError(f"{text} is nobody's address; correct that of {whose}")
    return address


def stands(web3: Web3, address: str) -> bool:
    """Whether a contract stands at an address."""
    return bool(web3.eth.get_code(Web3.to_checksum_address(address)))


def at(web3: Web3, address: str, abi: Sequence[Any]) -> Contract | None:
    """The market at an address; None where nothing stands there."""
    if not any(isinstance(item, Mapping) and item.get("name") == "registerActors" for item in abi):
        raise MarketError("the ABI has no registerActors; give that of EnergyMarket, as in its artefact")
    where = _address(address, "the market")
    return web3.eth.contract(Web3.to_checksum_address(where), abi=abi) if stands(web3, where) else None


def admin_of(market: Contract) -> str:
    """Who administers the market; raises MarketError where something else stands there."""
    try:
        return str(market.functions.admin().call())
    except (BadFunctionCallOutput, ContractLogicError, Web3RPCError) as error:
        raise MarketError(f"what stands at {market.address} is no EnergyMarket; correct its address") from error


def makes_agreements_for(market: Contract, factory: str) -> bool:
    """Whether the contract at an address is an agreement factory of this market."""
    output = [{"type": "address", "name": ""}]
    abi = [{"type": "function", "name": "market", "inputs": [], "outputs": output, "stateMutability": "view"}]
    try:
        answer = market.w3.eth.contract(Web3.to_checksum_address(factory), abi=abi).functions.market().call()
    except (Web3Exception, ValueError):
        return False
    return bool(answer == market.address)


def observe(market: Contract, admin: str, wanted: Wanted, *, from_block: int) -> State:
    """Read the state from the chain; deposits and replacements from the log, from this block on."""
    functions, events, web3 = market.functions, market.events, market.w3
    replaced = _replacements(events.ActorReplaced().get_logs(from_block=from_block), "account", "by")
    deposited: dict[str, int] = {}
    for event in events.Deposited().get_logs(from_block=from_block):
        account = current(event["args"]["account"], replaced)
        deposited[account] = deposited.get(account, 0) + event["args"]["amountWei"]

    count, allowed, meter, meter_settles, factory = _ask(
        web3,
        [
            functions.actorCount(),
            functions.isOperator(wanted.operator),
            functions.meter(),
            functions.isOperator(wanted.meter),
            functions.agreementFactory(),
        ],
    )
    registered = _ask(web3, [functions.actorAt(place) for place in range(count)])
    balances = _ask(web3, [functions.spendableWei(account) for account, _kind, _name in registered])
    rotations = [] if allowed else events.OperatorRotated().get_logs(from_block=from_block)
    return State(
        tuple(
            Actor(account, name, KINDS[kind], deposited.get(account, 0), balance)
            for (account, kind, name), balance in zip(registered, balances, strict=True)
        ),
        operator_allowed=allowed,
        operator_wei=web3.eth.get_balance(Web3.to_checksum_address(wanted.operator)),
        meter=_somebody(meter),
        meter_wei=web3.eth.get_balance(Web3.to_checksum_address(wanted.meter)),
        agreement_factory=_somebody(factory),
        admin=admin,
        replaced=replaced,
        rotated=_replacements(rotations, "before", "operator"),
        meter_settles=meter_settles,
    )


def _ask(web3: Web3, questions: Sequence[ContractFunction]) -> list[Any]:
    """The answers of many views in few requests: one by one they take long on a Pi."""
    answers: list[Any] = []
    for start in range(0, len(questions), QUESTIONS_AT_ONCE):
        with web3.batch_requests() as batch:
            for question in questions[start : start + QUESTIONS_AT_ONCE]:
                batch.add(question)
            answers += batch.execute()
    return answers


def _replacements(events: Iterable[Any], before: str, after: str) -> dict[str, str]:
    return {event["args"][before]: event["args"][after] for event in events}


def _somebody(address: ChecksumAddress) -> str | None:
    return None if address == NOBODY else address


def current(account: str, replaced: Mapping[str, str]) -> str:
    """The account that came last in the place of this one."""
    while account in replaced:
        account = replaced[account]
    return account


def wanted_state(now: State, wanted: Wanted) -> State:
    """The state to reach: nobody is unregistered, nothing is withdrawn, gas money is filled up below half."""
    _require_apart(now, wanted)
    _require_appointable(now, wanted)
    registered = {actor.account: actor for actor in now.actors}
    for actor in wanted.actors:
        if actor.account in now.replaced:
            raise MarketError(
                f"{current(actor.account, now.replaced)} came in the place of {actor.account} in the market; "
                f"give {actor.name} that address"
            )
        known = registered.get(actor.account)
        if known and (known.name, known.kind) != (actor.name, actor.kind):
            raise MarketError(
                f"{actor.account} is registered as {known.kind} {known.name} and cannot become {actor.kind} "
                f"{actor.name}; actors stay what they are: give the new one another account"
            )
    targets = {actor.account: actor.deposited_wei for actor in wanted.actors}
    new = (replace(actor, deposited_wei=0) for actor in wanted.actors if actor.account not in registered)
    return replace(
        now,
        actors=tuple(_funded(actor, targets.get(actor.account, 0)) for actor in (*now.actors, *new)),
        operator_allowed=True,
        operator_wei=_filled(now.operator_wei, wanted.gas_wei),
        meter=wanted.meter,
        meter_wei=_filled(now.meter_wei, wanted.gas_wei),
        agreement_factory=wanted.agreement_factory or now.agreement_factory,
    )


def _funded(actor: Actor, target_wei: int) -> Actor:
    missing = max(target_wei - actor.deposited_wei, 0)
    if actor.balance_wei + missing > LARGEST_WEI:
        raise MarketError(
            f"{actor.name} has {actor.balance_wei} wei, and with {missing} more it would have more than the "
            f"{LARGEST_WEI} that the market can hold for it; lower its deposit_wei"
        )
    return replace(actor, deposited_wei=actor.deposited_wei + missing, balance_wei=actor.balance_wei + missing)


def _filled(wei: int, full_wei: int) -> int:
    return full_wei if 2 * wei < full_wei else wei


def _require_apart(now: State, wanted: Wanted) -> None:
    """Nobody administers, settles, measures or trades with another one's key: each keeps the others honest."""
    actors = {actor.account for actor in wanted.actors}
    parties = [
        ("the admin", now.admin),
        ("the operator", wanted.operator),
        ("the meter", wanted.meter),
        *((actor.name, actor.account) for actor in wanted.actors),
        *((actor.name, actor.account) for actor in now.actors if actor.account not in actors),
    ]
    names: dict[str, str] = {}
    for name, account in parties:
        if account in names:
            raise MarketError(f"{names[account]} and {name} have one account, {account}; each needs its own")
        names[account] = name


def _require_appointable(now: State, wanted: Wanted) -> None:
    if wanted.operator in now.rotated:
        raise MarketError(
            f"{current(wanted.operator, now.rotated)} came in the place of the operator {wanted.operator}, which never "
            "settles again; give that address"
        )
    if now.meter_settles:
        raise MarketError(
            f"{wanted.meter} may settle batches and cannot be the meter as well; give the meter another account, or "
            "forbid it to settle first, with setOperator"
        )
    if wanted.agreement_factory and now.agreement_factory not in (None, wanted.agreement_factory):
        raise MarketError(
            f"the market has the agreement factory {now.agreement_factory} for ever, and {wanted.agreement_factory} "
            "cannot take its place; give that one, or deploy another market"
        )


def calls(market: Contract, now: State, then: State, wanted: Wanted) -> list[Call]:
    """The transactions of the admin that lead from one state to the other, in an order in which each can succeed."""
    before = {actor.account: actor.deposited_wei for actor in now.actors}
    new = [actor for actor in then.actors if actor.account not in before]
    todo = []
    for start in range(0, len(new), ACTORS_AT_ONCE):
        some = new[start : start + ACTORS_AT_ONCE]
        gas = GAS_CALL + sum(GAS_PER_ACTOR + GAS_PER_NAME_BYTE * len(actor.name.encode()) for actor in some)
        rows = [(actor.account, KINDS.index(actor.kind), actor.name) for actor in some]
        data = _data(market, "registerActors", [rows])
        todo.append(Call(f"register {', '.join(actor.name for actor in some)}", market.address, gas, data))
    # Before the operator, who may have been the meter.
    if then.meter != now.meter:
        data = _data(market, "setMeter", [then.meter])
        todo.append(Call(f"appoint the meter {then.meter}", market.address, GAS_CALL, data))
    if then.agreement_factory != now.agreement_factory:
        data = _data(market, "setAgreementFactory", [then.agreement_factory])
        todo.append(Call(f"let {then.agreement_factory} make agreements", market.address, GAS_CALL, data))
    if not now.operator_allowed:
        data = _data(market, "setOperator", [wanted.operator, True])
        todo.append(Call(f"appoint the operator {wanted.operator}", market.address, GAS_CALL, data))
    for actor in then.actors:
        if missing := actor.deposited_wei - before.get(actor.account, 0):
            data = _data(market, "depositFor", [actor.account])
            todo.append(Call(f"deposit for {actor.name}", market.address, GAS_DEPOSIT, data, missing))
    if missing := then.operator_wei - now.operator_wei:
        todo.append(Call("top up the operator", wanted.operator, GAS_TRANSFER, value_wei=missing))
    if missing := then.meter_wei - now.meter_wei:
        todo.append(Call("top up the meter", wanted.meter, GAS_TRANSFER, value_wei=missing))
    return todo


def _data(market: Contract, function: str, arguments: Sequence[Any]) -> bytes:
    return bytes.fromhex(market.encode_abi(function, args=arguments).removeprefix("0x"))


def recent_trades(market: Contract, *, from_block: int) -> list[Trade]:
    """The trades of the last batches, which the market itself decodes."""
    batches: list[bytes] = []
    last, width = int(market.w3.eth.block_number), FIRST_BLOCKS
    oldest = max(from_block, last - RECENT_BLOCKS)
    while last >= oldest and len(batches) < RECENT_BATCHES:
        first = max(oldest, last - width + 1)
        events = market.events.BatchSettled().get_logs(from_block=first, to_block=last)
        batches += [event["args"]["batch"] for event in reversed(list(events))]
        last, width = first - 1, 2 * width
    few: list[bytes] = []
    size = 0
    for batch in batches[:RECENT_BATCHES]:
        if few and size + len(batch) > RECENT_BYTES:
            break
        few.append(batch)
        size += len(batch)
    decoded = _ask(market.w3, [market.functions.decodeBatch(batch) for batch in few])
    return [Trade(*trade) for trades in decoded for trade in trades]


def warnings(then: State, trades: Sequence[Trade], *, below_slots: int) -> list[str]:
    """A sentence for each actor whose money is gone in fewer slots than that, if it goes on as in these trades."""
    slots = {trade.slot for trade in trades}
    paid: dict[str, int] = {}
    for trade in trades:
        wei = trade.energy_wh * trade.price_wei_per_wh
        for account, amount in ((trade.buyer, wei), (trade.seller, -wei)):
            party = current(account, then.replaced)
            paid[party] = paid.get(party, 0) + amount
    return [
        f"{actor.name} has {actor.balance_wei} wei left, which is gone in {lasts} slots at its recent rate of "
        f"{paid[actor.account] // len(slots)} wei a slot, and then no batch with it settles; raise its deposit_wei"
        for actor in then.actors
        if paid.get(actor.account, 0) > 0
        and (lasts := actor.balance_wei * len(slots) // paid[actor.account]) < below_slots
    ]
