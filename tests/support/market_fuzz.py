# SPDX-License-Identifier: GPL-3.0-or-later
"""Random calls to a whole market, each compared with the model: answer, logs, and what the market can be asked.

A run depends on its seed alone, so a mismatch comes again with the same seed; it says the last calls that led to it.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from random import Random
from typing import Any

from energy_bridge.batch import BatchTrade, decode_batch, encode_batch

from support.evm import Event, Evm, Interface, Outcome, Refusal, checksum
from support.market_model import (
    COMMITTED,
    DAY_S,
    DAYS_AHEAD,
    DELIVERED,
    NOBODY,
    Claim,
    Model,
    Packed,
    Terms,
    digest_of,
    linked,
)

SLOT_S = 900
SLOTS = DAY_S // SLOT_S
WITHDRAW_S = 2 * 3600
REPLACE_S = 6 * 3600
FIRST_DAY = 20_000
RICH_WEI = 10**40
ALL_CHECKED_EVERY = 150

# Answers supportsInterface with true and every other call with its selector, as a receiver of tokens has to. Where it
# gets money it calls withdraw() again, whatever comes of that.
RECEIVER = bytes.fromhex(
    "36601b57633ccfd60b600052600060006004601c6000335af150005b"
    "60003560e01c806301ffc9a71460375760e01b60005260206000f35b600160005260206000f3"
)
# The same, but it takes no money.
MISER = RECEIVER[:4] + bytes.fromhex("60006000fd") + bytes(18) + RECEIVER[27:]
REFUSER = bytes.fromhex("60006000fd")


class MismatchError(AssertionError):
    """The contract does what the model does not."""


@dataclass(frozen=True)
class Logged:
    """A batch as the log has it."""

    operator: str
    seq: int
    root: bytes
    batch: Packed
    place: int


@dataclass(frozen=True)
class Artifacts:
    market: Mapping[str, Any]
    factory: Mapping[str, Any]
    agreement: Mapping[str, Any]


def trades_of(batch: Packed) -> list[BatchTrade]:
    names = batch.accounts
    return [
        BatchTrade(names[seller], names[buyer], energy_wh, price, batch.first_slot + offset // 2, offset % 2 == 1)
        for seller, buyer, energy_wh, price, offset in batch.trades
    ]


def pack(trades: Sequence[BatchTrade]) -> Packed:
    """The trades as the batch of energy_bridge has them."""
    accounts = sorted({name for trade in trades for name in (trade.seller, trade.buyer)}, key=str.lower)
    first = min(trade.slot for trade in trades)
    packed = Packed(
        first,
        tuple(accounts),
        tuple(
            (
                accounts.index(trade.seller),
                accounts.index(trade.buyer),
                trade.energy_wh,
                trade.price_wei_per_wh,
                2 * (trade.slot - first) + trade.imbalance,
            )
            for trade in trades
        ),
    )
    assert packed.raw() == encode_batch(trades)
    return packed


class Fuzz:
    """A market with three operators, and everybody who deals with it."""

    def __init__(self, artifacts: Artifacts, seed: int) -> None:
        self.seed = seed
        self.random = Random(seed)  # noqa: S311  a run has to be repeatable
        self.evm = Evm(Interface(artifacts.market, artifacts.factory, artifacts.agreement), FIRST_DAY * DAY_S)
        self.calls = 0
        self.settlements = 0
        self.answers: Counter[str] = Counter()
        self.history: list[str] = []

        self.wallets: list[str] = []
        self.admin, self.meter = self._account(), self._account()
        types = ["address", "uint32", "uint32", "uint32", "bool"]
        arguments = [self.admin, SLOT_S, WITHDRAW_S, REPLACE_S, False]
        self.market = self.evm.create(artifacts.market, types, arguments, self.admin)
        self.factory = self.evm.create(artifacts.factory, ["address"], [self.market], self.admin)
        (implementation,) = self.evm.view(self.factory, "implementation", ())
        delays = (SLOT_S, WITHDRAW_S, REPLACE_S)
        self.model = Model(self.market, self.factory, implementation, self.admin, delays)
        self.model.now = self.evm.now

        self.accounts: list[str] = []
        self.stranger = self._watched()
        self.refuser = self._watched(REFUSER)
        self.days: set[int] = {FIRST_DAY}
        self.touched: set[int] = set()
        self.short: set[tuple[str, int, int]] = set()
        self.agreements: list[str] = []

        # What the logs alone say.
        self.chains: dict[tuple[int, int], list[Logged]] = defaultdict(list)
        self.number: dict[str, int] = {}
        self.tokens: dict[tuple[str, int], int] = defaultdict(int)
        self.minted: dict[tuple[str, int], int] = defaultdict(int)
        self.packed: dict[tuple[str, int], int] = defaultdict(int)
        self.sold: dict[int, int] = defaultdict(int)
        self.seqs: set[tuple[int, int]] = set()
        self.before: dict[str, int] = {}
        self._begin()

    # Who is there.

    def _account(self, code: bytes | None = None) -> str:
        account = checksum(self.random.randbytes(20))
        self.wallets.append(account)
        self.evm.give(account, RICH_WEI)
        if code is not None:
            self.evm.put_code(account, code)
        return account

    def _watched(self, code: bytes | None = None) -> str:
        account = self._account(code)
        self.model.wallet.rows[account] = RICH_WEI
        if code == REFUSER:
            self.model.refuses_tokens.add(account)
        if code in (REFUSER, MISER):
            self.model.refuses_money.add(account)
        self.accounts.append(account)
        return account

    def _begin(self) -> None:
        self.model.wallet.rows[self.admin] = self.model.wallet.rows[self.meter] = RICH_WEI
        for code in (None, None, None, None, None, None, RECEIVER, MISER):
            self._watched(code)
        actors = [(account, place % 5, f"actor {place}") for place, account in enumerate(self.accounts[2:])]
        model = self.model
        self._call(self.admin, "registerActors", [actors], lambda: model.register_actors(self.admin, actors))
        # The factory is said once; nothing else depends on it.
        self.evm.send(self.admin, self.market, "setAgreementFactory", [self.factory])
        self._call(self.admin, "setMeter", [self.meter], lambda: model.set_meter(self.admin, self.meter))
        for _ in range(3):
            self._set_operator(self._account(), allowed=True)
        for account in self.actors():
            self._deposit(account, 40_000)
            self._accept(account, accepted=True)

    def actors(self) -> list[str]:
        return [account for account, yes in self.model.actor.rows.items() if yes]

    def actor(self) -> str:
        return self.random.choice(self.actors())

    def anybody(self) -> str:
        """Mostly an actor, now and then one who is none or is none any more."""
        return self.actor() if self.random.random() < 0.9 else self.random.choice(self.accounts)

    def keys(self) -> list[str]:
        return list(self.model.key.rows.values())

    # Calls and what is compared after each.

    def _fail(self, text: str) -> None:
        calls = "\n".join(self.history[-12:])
        raise MismatchError(f"market {self.seed}, call {self.calls}: {text}\nthe last calls:\n{calls}")

    def _call(
        self,
        sender: str,
        name: str,
        arguments: Sequence[Any],
        action: Callable[[], None],
        *,
        to: str | None = None,
        wei: int = 0,
    ) -> Outcome:
        self.calls += 1
        self.history.append(f"{self.evm.now}: {sender} {name} {arguments} {wei or ''}")
        observed = self.evm.send(sender, to or self.market, name, arguments, wei)
        if name == "replaceActor" and not isinstance(observed, Refusal):
            action = self._with_energy(action, observed)
        expected = self.model.attempt(action)
        if observed != expected:
            self._fail(f"it answers\n  {observed}\nand should\n  {expected}")
        self.answers[observed.name if isinstance(observed, Refusal) else name] += 1
        everything = self.calls % ALL_CHECKED_EVERY == 0
        self._compare(() if isinstance(observed, Refusal) else observed, everything=everything)
        return observed

    def _with_energy(self, action: Callable[[], None], observed: tuple[Event, ...]) -> Callable[[], None]:
        """Which energy goes over with an actor at once, and which by moveEnergy, is the contract's to choose."""

        def both() -> None:
            action()
            for event in observed[1:]:
                _, account, _, day, energy_wh = event.arguments
                if not 0 < energy_wh <= self.model.held[account, day]:
                    self._fail(f"{energy_wh} Wh of {day} go over that {account} does not have")
                self.model.carry(self.admin, account, day, energy_wh)

        return both

    def _compare(self, events: tuple[Event, ...], *, everything: bool) -> None:
        named: set[str] = set()
        self.touched.clear()
        for event in events:
            named.update(one for one in event.arguments if isinstance(one, str))
            self._read(event, named)
        self.days |= self.touched
        days = set(self.touched)
        if everything:
            days = self.days
        elif self.random.random() < 0.2:
            days.add(self.random.choice(sorted(self.days)))
        for to, view, arguments, expected in self._views(days, everything=everything):
            observed = self.evm.view(to, view, arguments, timed=view == "spendableWei")
            if observed != expected:
                self._fail(f"{view}{arguments} is {observed} and should be {expected}")
        self._hold(days, named)

    def _views(self, days: Iterable[int], *, everything: bool) -> Iterator[tuple[str, str, tuple[Any, ...], Any]]:
        model, market = self.model, self.market
        for account in self.accounts:
            yield market, "weiOf", (account,), (model.wei[account],)
            yield market, "owedWei", (account,), (model.owed(account),)
            yield market, "withdrawalOf", (account,), model.withdrawal[account]
            # It depends on the time, so that each answer has to be asked for.
            if everything or self.random.random() < 0.05:
                yield market, "spendableWei", (account,), (model.spendable(account),)
            for day in days:
                yield market, "balanceOf", (account, day), (model.held[account, day],)
        for day in days:
            traded, was = model.traded(day), model.day[day]
            delivered = traded - was.short
            expected = (traded, delivered, was.retired, delivered - was.retired, was.closed)
            yield market, "dayTotals", (day,), expected
        for key, operator in model.operator.rows.items():
            assert operator is not None
            yield market, "nextSeq", (key,), (operator.seq,)
            for day in days if everything or model.key[operator.number] == key else ():
                place = operator.number, day
                yield market, "ledgerOf", (key, day), (model.sold[place], model.link[place])
        for agreement in self.agreements if everything else self.agreements[-20:]:
            yield market, "commitmentOf", (agreement,), model.commitment[agreement]
        if everything:
            yield from self._rare_views()

    def _rare_views(self) -> Iterator[tuple[str, str, tuple[Any, ...], Any]]:
        model, market = self.model, self.market
        yield market, "paused", (), (model.one["paused"],)
        yield market, "meter", (), (model.one["meter"],)
        yield market, "actorCount", (), (model.one["actors"],)
        for account in self.accounts:
            yield market, "isActor", (account,), (model.actor[account],)
            yield market, "currentAccount", (account,), (model.current(account),)
            yield market, "acceptsAgreements", (account,), (model.accepts[account],)
        for key, operator in model.operator.rows.items():
            yield market, "isOperator", (key,), (operator is not None and operator.allowed,)
        for pair, approved in model.approved.rows.items():
            yield market, "isApprovedForAll", pair, (approved,)
        for key, seq, index in self.short:
            yield market, "shortfallOf", (key, seq, index), (model.short[self.number[key], seq, index],)
        for address in self.agreements:
            agreement = model.agreement[address]
            yield address, "state", (), (agreement.state if agreement else 0,)

    def _read(self, event: Event, named: set[str]) -> None:
        """Keep books of the logs alone."""
        match event.name, event.arguments:
            case "BatchSettled", (operator, seq, _, root, raw):
                named.update(self._read_batch(operator, seq, root, raw))
            case "TransferSingle", (operator, sender, to, day, energy_wh):
                self._token(operator, sender, to, day, energy_wh)
            case "TransferBatch", (operator, sender, to, days, energies):
                for day, energy_wh in zip(days, energies, strict=True):
                    self._token(operator, sender, to, day, energy_wh)
            case "OperatorSet", (operator, _):
                self.number.setdefault(operator, len(set(self.number.values())))
            case "OperatorRotated", (before, operator, _):
                self.number[operator] = self.number[before]
            case "ShortfallReported", (operator, seq, index, *_):
                self.short.add((operator, seq, index))
            case "AgreementCreated", (_, agreement, *_):
                self.agreements.append(agreement)

    def _read_batch(self, operator: str, seq: int, root: bytes, raw: bytes) -> set[str]:
        """Who trades in it."""
        trades = decode_batch(raw)
        batch = Packed.parse(raw)
        if trades != trades_of(batch):
            self._fail(f"energy_bridge reads {trades} where the log has {batch}")
        day = batch.first_slot * SLOT_S // DAY_S
        number = self.number[operator]
        if (number, seq) in self.seqs:
            self._fail(f"seq {seq} of operator {number} is settled twice")
        self.seqs.add((number, seq))
        chain = self.chains[number, day]
        chain.append(Logged(operator, seq, root, batch, len(chain)))
        self.touched.add(day)
        for trade in trades:
            self.packed[trade.buyer, day] += trade.energy_wh
            self.sold[day] += trade.energy_wh
        return {name for trade in trades for name in (trade.seller, trade.buyer)}

    def _token(self, operator: str, sender: str, to: str, day: int, energy_wh: int) -> None:
        self.touched.add(day)
        if sender != NOBODY:
            self.tokens[sender, day] -= energy_wh
        elif operator in self.number:
            self.minted[to, day] += energy_wh
        if to != NOBODY:
            self.tokens[to, day] += energy_wh

    def _hold(self, days: Iterable[int], named: set[str]) -> None:
        """What has to hold whatever the model says."""
        view = self.evm.view
        balances = {account: view(self.market, "weiOf", (account,))[0] for account in self.accounts}
        changed = {account for account, wei in balances.items() if self.before.get(account, 0) != wei}
        if not changed <= named:
            self._fail(f"the money of {changed - named} changed, and nothing says why")
        self.before = balances
        set_aside = sum(view(self.market, "commitmentOf", (one,))[1] for one in self.agreements)
        if sum(balances.values()) + set_aside > self.evm.wallet(self.market):
            self._fail("the market has less than its balances and commitments sum to")
        for account in self.accounts:
            if self.evm.wallet(account) != self.model.wallet[account]:
                self._fail(f"the wallet of {account} has not what it should")
        for day in days:
            held = 0
            for account in self.accounts:
                pair = account, day
                (balance,) = view(self.market, "balanceOf", pair)
                held += balance
                if balance != self.tokens[pair] or self.minted[pair] != self.packed[pair]:
                    self._fail(f"balance, transfers and batches of {pair} differ")
            traded, _, _, outstanding, _ = view(self.market, "dayTotals", (day,))
            bought = sum(self.packed[account, day] for account in self.accounts)
            agreed = self.model.day[day].agreed
            if outstanding != held or not self.sold[day] == bought == traded - agreed:
                self._fail(f"the totals of {day} differ from what is held, sold and bought")

    # Calls, one kind each.

    def run(self, calls: int) -> None:
        actions: list[tuple[int, Callable[[], object]]] = [
            (68, self._settle),
            (9, self._settle_wrongly),
            (14, self._shortfall),
            (4, self._fund),
            (6, self._ask_for_money),
            (6, self._withdraw),
            (1, self._settle_debts),
            (3, self._keep_link),
            (4, self._close),
            (5, self._transfer),
            (4, self._retire),
            (2, self._approve),
            (1, self._pause),
            (2, self._change_operator),
            (1, self._rotate),
            (2, self._ask_for_replacement),
            (3, self._replace),
            (2, self._move_energy),
            (1, self._register),
            (1, self._change_accepting),
            (5, self._agree),
            (9, self._go_on_with_agreement),
            (1, self._change_meter),
        ]
        weights, choices = [weight for weight, _ in actions], [action for _, action in actions]
        while self.calls < calls:
            hours = 4 if self.random.random() < 0.03 else 0
            self.evm.now += hours * 3600 + self.random.randrange(400)
            self.model.now = self.evm.now
            if self.model.one["paused"] and self.random.random() < 0.4:
                self._set_paused(self.admin, paused=False)
            if self.model.one["meter"] != self.meter and self.random.random() < 0.3:
                self._set_meter(self.meter)
            forbidden = self._forbidden()
            if forbidden and self.random.random() < 0.2:
                self._set_operator(forbidden[0], allowed=True)
            self.random.choices(choices, weights)[0]()
        self._compare((), everything=True)

    @property
    def today(self) -> int:
        return self.evm.now // DAY_S

    def _trades(self, day: int, scale: int) -> list[BatchTrade]:
        random = self.random
        among = random.sample(self.actors(), random.choice((2, 3, 3, 4, 5)))
        trades = []
        for _ in range(random.choice((1, 2, 3, 3, 6))):
            seller, buyer = random.sample(among, 2)
            price = random.choice((0, -1, 1, 7, 20, 50, -3, -20, 200)) * scale
            price = random.choice((2**63 - 1, -(2**63), 10**6)) if random.random() < 0.01 else price
            energy_wh = random.choice((1, 10, random.randint(1, 500), 500))
            if random.random() < 0.01:
                energy_wh, price = 2**32 - 1, 0
            slot = day * SLOTS + random.choice((0, SLOTS - 1, random.randrange(SLOTS)))
            trades.append(BatchTrade(seller, buyer, energy_wh, price, slot, random.random() < 0.15))
        return trades

    def _any_day(self) -> int:
        return self.today + self.random.choices((-3, -2, -1, 0, 1, 2), (1, 2, 8, 20, 12, 2))[0]

    def _settle(self) -> None:
        key = self.random.choice(self.keys())
        operator = self.model.operator[key]
        assert operator is not None
        root = self.random.randbytes(32)
        batch = pack(self._trades(self._any_day(), 5))
        # Money is short now and then, not always.
        for scale in (2, 1, 0):
            if self.random.random() < 0.15:
                break
            refusal = self.model.would_refuse(lambda: self.model.settle(key, operator.seq, root, batch))  # noqa: B023
            if refusal is None or refusal.name != "InsufficientFunds":
                break
            batch = pack(self._trades(self._any_day(), scale))
        self._send_batch(key, operator.seq, root, batch)

    def _send_batch(self, key: str, seq: int, root: bytes, batch: Packed) -> None:
        outcome = self._call(
            key, "settleBatch", [seq, root, batch.raw()], lambda: self.model.settle(key, seq, root, batch)
        )
        self.settlements += not isinstance(outcome, Refusal)

    def _settle_wrongly(self) -> None:
        random = self.random
        key = random.choice(self.keys())
        operator = self.model.operator[key]
        assert operator is not None
        seq = operator.seq
        batch = pack(self._trades(self._any_day(), 1))
        match random.randrange(11):
            case 0:
                seq = random.choice((seq + 1, max(seq - 1, 0), 2**32 - 1))
            case 1:
                key = random.choice((self.stranger, self.actor(), *self.model.operator.rows))
            case 2:
                batch = replace(batch, surplus=random.randbytes(random.choice((1, 17, 19))))
            case 3:
                batch = replace(batch, trades=(), accounts=random.choice((batch.accounts, ())))
                if random.random() < 0.5:
                    batch = pack(self._trades(self.today + random.choice((DAYS_AHEAD, DAYS_AHEAD + 1)), 0))
            case 4 | 5 | 6:
                batch = self._with_wrong_accounts(batch)
            case _:
                batch = self._with_wrong_trade(batch)
        self._send_batch(key, seq, bytes(32), batch)

    def _with_wrong_trade(self, batch: Packed) -> Packed:
        random = self.random
        at = random.randrange(len(batch.trades))
        seller, buyer, energy_wh, price, offset = batch.trades[at]
        count = len(batch.accounts)
        wrong = random.choice(
            (
                (seller, buyer, 0, price, offset),
                (seller, seller, energy_wh, price, offset),
                (seller, buyer, energy_wh, price, random.choice((2 * SLOTS, 2 * SLOTS + 1, 2**16 - 1))),
                (count, buyer, energy_wh, price, offset),
                (seller, 2**16 - 1, energy_wh, price, offset),
            )
        )
        return replace(batch, trades=(*batch.trades[:at], wrong, *batch.trades[at + 1 :]))

    def _with_wrong_accounts(self, batch: Packed) -> Packed:
        random = self.random
        accounts = list(batch.accounts)
        match random.randrange(3):
            case 0:
                accounts.reverse()
            case 1:
                # There twice, the second time with nothing that it trades.
                place = random.randrange(len(accounts))
                accounts.insert(place, accounts[place])
                trades = [(s + (s > place), b + (b > place), *rest) for s, b, *rest in batch.trades]
                batch = replace(batch, trades=tuple(trades))  # type: ignore[arg-type]
            case _:
                other = random.choice([a for a in self.accounts if not self.model.actor[a]] + [NOBODY])
                accounts = sorted([*accounts[1:], other], key=str.lower)
        return replace(batch, accounts=tuple(accounts))

    def _claim(self) -> tuple[Claim, int] | None:
        """A settled batch, with a proof made from the log, and the place of one of its trades."""
        open_days = [day for day in self.days if not self.model.day[day].closed]
        places = [place for place, chain in self.chains.items() if chain and place[1] in open_days]
        if self.random.random() < 0.05:
            places = [place for place, chain in self.chains.items() if chain]
        if not places:
            return None
        chain = self.chains[self.random.choice(places)]
        place = self.random.randrange(len(chain))
        link = 0
        for earlier in chain[:place]:
            link = linked(link, digest_of(earlier.seq, earlier.root, earlier.batch.raw()))
        logged = chain[place]
        day = logged.batch.first_slot * SLOT_S // DAY_S
        kept = [one for one in self._kept_places(self.number[logged.operator], day) if one > place]
        end = self.random.choice((len(chain), *kept))
        later = tuple(digest_of(one.seq, one.root, one.batch.raw()) for one in chain[place + 1 : end])
        claim = Claim(logged.operator, logged.seq, logged.root, logged.batch, link, later)
        return claim, self.random.randrange(max(len(logged.batch.trades), 1))

    def _shortfall(self) -> None:
        random = self.random
        if (found := self._claim()) is None:
            return
        claim, index = found
        number = self.number[claim.operator]
        energy_wh = 1
        if index < len(claim.batch.trades):
            traded = claim.batch.trades[index][2]
            left = traded - self.model.short[number, claim.seq, index]
            energy_wh = random.choice((left, left, traded, left + 1, max(left // 2, 1), random.randint(0, traded)))
        sender = self.meter_now if random.random() < 0.97 else self.actor()
        if random.random() < 0.03:
            index = len(claim.batch.trades)
        claim = self._spoilt(claim)
        energy_wh = min(energy_wh, 2**32 - 1)
        self._call(
            sender,
            "reportShortfall",
            [claim.as_argument(), index, energy_wh],
            lambda: self.model.report_shortfall(sender, claim, index, energy_wh),
        )

    def _spoilt(self, claim: Claim) -> Claim:
        """Now and then one that proves nothing."""
        match self.random.randrange(30):
            case 0:
                claim = replace(claim, root=self.random.randbytes(32))
            case 1:
                claim = replace(claim, link_before=claim.link_before ^ 1)
            case 2:
                claim = replace(claim, later=(*claim.later, bytes(32)))
            case 3 if claim.later:
                claim = replace(claim, later=claim.later[:-1])
            case 4:
                claim = replace(claim, seq=claim.seq + 1)
            case 5:
                claim = replace(claim, operator=self.random.choice(list(self.number)))
            case 6 if claim.batch.trades:
                first, *others = claim.batch.trades
                trades = ((*first[:2], first[2] + 1 & 0xFFFFFFFF, *first[3:]), *others)
                claim = replace(claim, batch=replace(claim.batch, trades=trades))
        return claim

    @property
    def meter_now(self) -> str:
        meter = self.model.one["meter"]
        return self.meter if meter == NOBODY else str(meter)

    def _deposit(self, account: str, wei: int) -> None:
        self._call(
            self.admin,
            "depositFor",
            [account],
            lambda: self.model.deposit_for(self.admin, account, wei),
            wei=wei,
        )

    def _fund(self) -> None:
        account, wei = self.anybody(), self.random.choice((0, 1, 1000, 20_000, 40_000, 2**96))
        if self.random.random() < 0.5:
            self._deposit(account, wei)
        else:
            self._call(account, "deposit", [], lambda: self.model.deposit_for(account, account, wei), wei=wei)

    def _ask_for_money(self) -> None:
        account = self.anybody()
        has = self.model.wei[account]
        wei = self.random.choice((0, 1, 5000, has // 2, has, has, has, has + 1, 2**96 - 1))
        self._call(account, "requestWithdraw", [wei], lambda: self.model.request_withdraw(account, wei))

    def _withdraw(self) -> None:
        account = self.anybody()
        asked = [one for one in self.actors() if self.model.withdrawal[one][0]]
        due = [one for one in asked if self.model.withdrawal[one][1] <= self.model.now < self.model.lapses_at(one)]
        if due and self.random.random() < 0.9:
            account = self.random.choice(due)
        elif asked and self.random.random() < 0.2:
            account = self.random.choice(asked)
        self._call(account, "withdraw", [], lambda: self.model.withdraw(account))

    def _keep_link(self) -> None:
        """Keep the end of a chain, or prove an earlier link of it."""
        random = self.random
        places = [place for place, chain in self.chains.items() if chain]
        if not places or random.random() < 0.1:
            key, day = random.choice((self.stranger, *self.number)), random.choice(sorted(self.days))
            self._call(self.stranger, "keepLink", [key, day], lambda: self.model.keep_link(key, day))
            return
        number, day = random.choice(places)
        chain = self.chains[number, day]
        key = chain[-1].operator
        if random.random() < 0.4:
            self._call(self.stranger, "keepLink", [key, day], lambda: self.model.keep_link(key, day))
            return
        digests = [digest_of(one.seq, one.root, one.batch.raw()) for one in chain]
        first = random.randrange(len(chain) + 1)
        last = random.choice((len(chain), *self._kept_places(number, day), random.randint(first, len(chain))))
        link = 0
        for digest in digests[:first]:
            link = linked(link, digest)
        link ^= random.random() < 0.1
        later = tuple(digests[first:last])
        self._call(
            self.stranger,
            "proveLinks",
            [key, day, link, list(later)],
            lambda: self.model.prove_links(key, day, link, later),
        )

    def _kept_places(self, number: int, day: int) -> list[int]:
        return [place for (*where, place), yes in self.model.kept.rows.items() if yes and where == [number, day]]

    def _settle_debts(self) -> None:
        account = self.anybody()
        self._call(self.stranger, "payDebts", [account], lambda: self.model.pay_debts(account))

    def _close(self) -> None:
        # Mostly days that shortfalls had some time for.
        day = self.today - self.random.choices((0, 1, 2, 3, 4, 5), (1, 2, 5, 10, 10, 10))[0]
        sender = self.meter_now if self.random.random() < 0.95 else self.admin
        self._call(sender, "closeDay", [day], lambda: self.model.close_day(sender, day))

    def _holding(self) -> tuple[str, int, int]:
        """An account, a day and how much it has of it; some days are open."""
        held = [(*pair, energy_wh) for pair, energy_wh in self.model.held.rows.items() if energy_wh]
        free = [one for one in held if self.model.day[one[1]].closed]
        if free and self.random.random() < 0.8:
            held = free
        return self.random.choice(held) if held else (self.actor(), self.today, 0)

    def _who_for(self, account: str) -> str:
        return account if self.random.random() < 0.8 else self.anybody()

    def _transfer(self) -> None:
        random = self.random
        account, day, held = self._holding()
        sender = self._who_for(account)
        to = random.choice((self.anybody(), self.anybody(), self.stranger, self.refuser, NOBODY))
        part = random.choice((held, held // 2, held + 1, 0))
        if random.random() < 0.6:
            self._call(
                sender,
                "safeTransferFrom",
                [account, to, day, part, b""],
                lambda: self.model.transfer(sender, account, to, [(day, part)], single=True),
            )
            return
        other = random.choice(sorted(self.days))
        parts = [(day, part // 2), (other, self.model.held[account, other] // 2), (day, part // 2)]
        self._call(
            sender,
            "safeBatchTransferFrom",
            [account, to, [one for one, _ in parts], [energy_wh for _, energy_wh in parts], b""],
            lambda: self.model.transfer(sender, account, to, parts, single=False),
        )

    def _retire(self) -> None:
        account, day, held = self._holding()
        sender = self._who_for(account)
        part = self.random.choice((held, held // 3, held + 1))
        if sender == account:
            self._call(sender, "retire", [day, part], lambda: self.model.retire_for(sender, sender, day, part))
        else:
            self._call(
                sender,
                "retireFor",
                [account, day, part],
                lambda: self.model.retire_for(sender, account, day, part),
            )

    def _approve(self) -> None:
        account, other = self.anybody(), self.anybody()
        yes = self.random.random() < 0.6
        self._call(account, "setApprovalForAll", [other, yes], lambda: self.model.set_approval(account, other, yes))

    def _set_paused(self, sender: str, *, paused: bool) -> None:
        self._call(sender, "setPaused", [paused], lambda: self.model.set_paused(sender, paused))

    def _pause(self) -> None:
        self._set_paused(self.random.choice((self.admin, self.admin, self.actor())), paused=True)

    def _set_operator(self, key: str, *, allowed: bool) -> None:
        model, admin = self.model, self.admin
        self._call(admin, "setOperator", [key, allowed], lambda: model.set_operator(admin, key, allowed))

    def _forbidden(self) -> list[str]:
        return [key for key in self.keys() if not getattr(self.model.operator[key], "allowed", False)]

    def _change_operator(self) -> None:
        """Somebody is forbidden for a while, or appointed; a key that was rotated away cannot be."""
        if self.random.random() < 0.4:
            self._set_operator(self.random.choice((*self.keys(), self.stranger)), allowed=False)
        else:
            self._set_operator(self.random.choice([*self.model.operator.rows, self.meter_now]), allowed=True)

    def _rotate(self) -> None:
        before = self.random.choice(list(self.model.operator.rows))
        to = self.random.choice((self._account(), self._account(), self.meter_now, before, NOBODY))
        model, admin = self.model, self.admin
        self._call(admin, "rotateOperator", [before, to], lambda: model.rotate_operator(admin, before, to))

    def _change_meter(self) -> None:
        self._set_meter(self.random.choice((self._account(), NOBODY, self.keys()[0])))

    def _set_meter(self, meter: str) -> None:
        self._call(self.admin, "setMeter", [meter], lambda: self.model.set_meter(self.admin, meter))

    def _ask_for_replacement(self) -> None:
        account = self.anybody()
        code = self.random.choice((None, None, None, RECEIVER, REFUSER))
        by = self._watched(code) if self.random.random() < 0.6 else self.anybody()
        self._call(
            self.admin,
            "requestReplacement",
            [account, by],
            lambda: self.model.request_replacement(self.admin, account, by),
        )

    def _replace(self) -> None:
        asked = [account for account, (by, _) in self.model.replacement.rows.items() if by != NOBODY]
        account = self.random.choice(asked) if asked else self.anybody()
        if self.random.random() < 0.1:
            self._call(account, "refuseReplacement", [], lambda: self.model.refuse_replacement(account))
        else:
            sender = self.admin if self.random.random() < 0.95 else self.actor()
            self._call(sender, "replaceActor", [account], lambda: self.model.replace_actor(sender, account))

    def _move_energy(self) -> None:
        gone = [account for account, by in self.model.replaced_by.rows.items() if by != NOBODY]
        account = self.random.choice(gone) if gone else self.actor()
        days = self.random.sample(sorted(self.days), min(len(self.days), self.random.randint(1, 6)))
        self._call(
            self.stranger,
            "moveEnergy",
            [account, days],
            lambda: self.model.move_energy(self.stranger, account, days),
        )

    def _register(self) -> None:
        """Seldom a new actor: mostly one who cannot be one."""
        random = self.random
        few = len(self.actors()) < 10 and random.random() < 0.3
        account = self._watched(random.choice((None, RECEIVER))) if few else random.choice((*self.accounts, NOBODY))
        if account == self.stranger:
            return
        actors = [(account, random.choice((0, 1, 4, 5)), "newcomer")]
        self._call(self.admin, "registerActors", [actors], lambda: self.model.register_actors(self.admin, actors))

    def _accept(self, account: str, *, accepted: bool) -> None:
        self._call(account, "acceptAgreements", [accepted], lambda: self.model.accept_agreements(account, accepted))

    def _change_accepting(self) -> None:
        self._accept(self.anybody(), accepted=self.random.random() < 0.7)

    def _agree(self) -> None:
        random = self.random
        sender = random.choice((*self.keys(), *self.keys(), self.actor()))
        seller, buyer = self.anybody(), self.anybody()
        terms = Terms(
            trade_id=random.randbytes(32),
            seller=seller,
            buyer=buyer,
            energy_wh=random.choice((0, 1, 50, 400, 400)),
            price=random.choice((0, 3, 20, 20, -4, 10**6)),
            slot=(self._any_day() + random.choice((0,) * 12 + (400,))) * SLOTS + random.randrange(SLOTS),
            deliver_by=self.evm.now + random.choice((0, 600, 7200, 7200, 90_000, 366 * DAY_S, 366 * DAY_S + 1)),
        )
        if self.agreements and random.random() < 0.1:
            agreement = self.model.agreement[random.choice(self.agreements)]
            assert agreement is not None
            terms = agreement.terms
        self._call(sender, "create", [terms.as_argument()], lambda: self.model.create(sender, terms), to=self.factory)

    def _go_on_with_agreement(self) -> None:
        random, model = self.random, self.model
        if not self.agreements:
            return
        states = {address: getattr(model.agreement[address], "state", 0) for address in self.agreements}
        alive = [address for address, state in states.items() if state in (COMMITTED, DELIVERED)]
        address = random.choice(alive if alive and random.random() < 0.9 else self.agreements)
        agreement = model.agreement[address]
        assert agreement is not None
        parties = model.current(agreement.terms.seller), model.current(agreement.terms.buyer)
        sender = random.choice((*parties, *parties, parties[1], self.meter_now, self.anybody()))
        if agreement.state == DELIVERED and random.random() < 0.8:
            self._call(sender, "settle", [], lambda: model.settle_agreement(address), to=address)
            return
        match random.choice(("confirmDelivery", "confirmDelivery", "cancel", "expire", "settle")):
            case "confirmDelivery":
                self._call(sender, "confirmDelivery", [], lambda: model.confirm_delivery(sender, address), to=address)
            case "cancel":
                self._call(sender, "cancel", [], lambda: model.cancel(sender, address), to=address)
            case "expire":
                self._call(sender, "expire", [], lambda: model.expire(address), to=address)
            case _:
                self._call(sender, "settle", [], lambda: model.settle_agreement(address), to=address)
