# SPDX-License-Identifier: GPL-3.0-or-later
"""What EnergyMarket, its agreements and their factory are meant to do, in plain Python.

Written from what the contracts promise, with one number per fact. A call either refuses or says the events that it
leads to, in their order; a refused call changes nothing.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from eth_abi.abi import encode
from eth_hash.auto import keccak

from support.evm import Event, Outcome, Refusal, checksum, to_bytes

NOBODY = checksum(bytes(20))
DAY_S = 86_400
DEBTS_PAID_AT_ONCE = 8
MOST_OPERATORS = 256
DAYS_AHEAD = 366
LONGEST_AGREEMENT_S = 366 * DAY_S

K = TypeVar("K")
V = TypeVar("V")

_MISSING: Any = object()


class _Refused(Exception):  # noqa: N818  it carries what the contract answers
    def __init__(self, refusal: Refusal) -> None:
        super().__init__(refusal)
        self.refusal = refusal


def require(condition: object, name: str, *arguments: Any) -> None:
    if not condition:
        raise _Refused(Refusal(name, arguments))


class Table(Generic[K, V]):
    """A dictionary with a default whose changes can be taken back."""

    def __init__(self, undo: list[Callable[[], None]], default: V) -> None:
        self.rows: dict[K, V] = {}
        self._undo = undo
        self._default = default

    def __getitem__(self, key: K) -> V:
        return self.rows.get(key, self._default)

    def __setitem__(self, key: K, value: V) -> None:
        before = self.rows.get(key, _MISSING)
        self._undo.append(lambda: self._restore(key, before))
        self.rows[key] = value

    def _restore(self, key: K, before: V) -> None:
        if before is _MISSING:
            del self.rows[key]
        else:
            self.rows[key] = before


@dataclass(frozen=True)
class Packed:
    """A batch as it travels, right or wrong: trades are seller's place, buyer's place, Wh, wei per Wh, offset * 2."""

    first_slot: int
    accounts: tuple[str, ...]
    trades: tuple[tuple[int, int, int, int, int], ...]
    surplus: bytes = b""

    def raw(self) -> bytes:
        head = struct.pack(">IH", self.first_slot, len(self.accounts))
        trades = (struct.pack(">HHIqH", *trade) for trade in self.trades)
        return b"".join([head, *map(to_bytes, self.accounts), *trades, self.surplus])

    @staticmethod
    def parse(raw: bytes) -> Packed:
        first_slot, count = struct.unpack_from(">IH", raw)
        accounts = tuple(checksum(raw[place : place + 20]) for place in range(6, 6 + 20 * count, 20))
        return Packed(first_slot, accounts, tuple(struct.iter_unpack(">HHIqH", raw[6 + 20 * count :])))


@dataclass(frozen=True)
class Operator:
    number: int
    allowed: bool
    seq: int


@dataclass(frozen=True)
class Day:
    agreed: int = 0
    short: int = 0
    retired: int = 0
    closed: bool = False


@dataclass(frozen=True)
class Claim:
    """What a meter sends with a shortfall: a batch that was settled, and the proof."""

    operator: str
    seq: int
    root: bytes
    batch: Packed
    link_before: int
    later: tuple[bytes, ...]

    def as_argument(self) -> tuple[Any, ...]:
        return self.operator, self.seq, self.root, self.batch.raw(), self.link_before, list(self.later)


@dataclass(frozen=True)
class Terms:
    trade_id: bytes
    seller: str
    buyer: str
    energy_wh: int
    price: int
    slot: int
    deliver_by: int

    def as_argument(self) -> tuple[Any, ...]:
        return self.trade_id, self.seller, self.buyer, self.energy_wh, self.price, self.slot, self.deliver_by


NONE, COMMITTED, DELIVERED, SETTLED, CANCELLED, EXPIRED = range(6)


@dataclass(frozen=True)
class Agreement:
    terms: Terms
    state: int
    asking: frozenset[str] = frozenset()


def digest_of(seq: int, root: bytes, raw: bytes) -> bytes:
    return keccak(bytes(encode(["uint256", "bytes32", "bytes32"], [seq, root, keccak(raw)])))


def linked(link: int, digest: bytes) -> int:
    return int.from_bytes(keccak(link.to_bytes(32) + digest)[:14])


class Model:
    """A market, an agreement factory and the wallets of all who deal with them."""

    def __init__(
        self, market: str, factory: str, implementation: str, admin: str, delays: tuple[int, int, int]
    ) -> None:
        self.market, self.factory, self.admin = market, factory, admin
        self.slot_s, self.withdraw_s, self.replace_s = delays
        proxy = bytes.fromhex("3d602d80600a3d3981f3363d3d373d3d3d363d73") + to_bytes(implementation)
        self._proxy_hash = keccak(proxy + bytes.fromhex("5af43d82803e903d91602b57fd5bf3"))
        self.now = 0
        self.refuses_tokens: set[str] = set()
        self.refuses_money: set[str] = set()
        self.events: list[Event] = []

        self._undo: list[Callable[[], None]] = []
        undo = self._undo
        self.wallet: Table[str, int] = Table(undo, 0)
        self.actor: Table[str, bool] = Table(undo, False)
        self.place: Table[str, int] = Table(undo, 0)
        self.wei: Table[str, int] = Table(undo, 0)
        self.held: Table[tuple[str, int], int] = Table(undo, 0)
        self.debts: Table[str, tuple[tuple[str, int], ...]] = Table(undo, ())
        self.withdrawal: Table[str, tuple[int, int]] = Table(undo, (0, 0))
        self.replacement: Table[str, tuple[str, int]] = Table(undo, (NOBODY, 0))
        self.replaced_by: Table[str, str] = Table(undo, NOBODY)
        self.accepts: Table[str, bool] = Table(undo, False)
        self.approved: Table[tuple[str, str], bool] = Table(undo, False)
        self.operator: Table[str, Operator | None] = Table(undo, None)
        self.key: Table[int, str] = Table(undo, NOBODY)
        self.sold: Table[tuple[int, int], int] = Table(undo, 0)
        self.digests: Table[tuple[int, int], tuple[bytes, ...]] = Table(undo, ())
        self.link: Table[tuple[int, int], int] = Table(undo, 0)
        self.kept: Table[tuple[int, int, int], bool] = Table(undo, False)
        self.settled: Table[tuple[int, int], tuple[bytes, Packed, int, int] | None] = Table(undo, None)
        self.short: Table[tuple[int, int, int], int] = Table(undo, 0)
        self.day: Table[int, Day] = Table(undo, Day())
        self.one: Table[str, Any] = Table(undo, None)
        self.commitment: Table[str, tuple[str, int]] = Table(undo, (NOBODY, 0))
        self.agreement: Table[str, Agreement | None] = Table(undo, None)
        self.one["actors"] = 0
        self.one["paused"] = False
        self.one["meter"] = NOBODY

    def attempt(self, action: Callable[[], None]) -> Outcome:
        self._undo.clear()
        self.events = []
        try:
            action()
        except _Refused as refused:
            for take_back in reversed(self._undo):
                take_back()
            return refused.refusal
        return tuple(self.events)

    def would_refuse(self, action: Callable[[], None]) -> Refusal | None:
        """What an action would be answered with, without doing it."""
        outcome = self.attempt(action)
        if isinstance(outcome, Refusal):
            return outcome
        for take_back in reversed(self._undo):
            take_back()
        return None

    def say(self, name: str, *arguments: Any, by: str | None = None) -> None:
        self.events.append(Event(by or self.market, name, arguments))

    # What holds at any time.

    def current(self, account: str) -> str:
        while (by := self.replaced_by[account]) != NOBODY:
            account = by
        return account

    def day_of(self, slot: int) -> int:
        return slot * self.slot_s // DAY_S

    def owed(self, account: str) -> int:
        return sum(amount for _, amount in self.debts[account])

    def lapses_at(self, account: str) -> int:
        return self.withdrawal[account][1] + self.withdraw_s

    def spendable(self, account: str) -> int:
        wanted = self.withdrawal[account][0] if self.now < self.lapses_at(account) else 0
        return max(self.wei[account] - self.owed(account) - wanted, 0)

    def traded(self, day: int) -> int:
        numbers = range(len(self.key.rows))
        return self.day[day].agreed + sum(self.sold[number, day] for number in numbers)

    def address_of(self, trade_id: bytes) -> str:
        return checksum(keccak(b"\xff" + to_bytes(self.factory) + trade_id + self._proxy_hash)[12:])

    # Money.

    def _credit(self, account: str, amount: int) -> None:
        total = self.wei[account] + amount
        require(total < 2**96, "TooMuch", account, total)
        self.wei[account] = total

    def _debit(self, account: str, amount: int) -> int:
        taken = min(amount, self.wei[account])
        self.wei[account] -= taken
        wanted, due_at = self.withdrawal[account]
        self.withdrawal[account] = (min(wanted, self.wei[account]), due_at)
        return taken

    def _spend(self, account: str, amount: int) -> None:
        self._pay_debts(account)
        taken = 0 if self.debts[account] else self._debit(account, amount)
        require(taken == amount, "InsufficientFunds", account, amount - taken)

    def _owe(self, payer: str, payee: str, amount: int) -> None:
        debts = list(self.debts[payer])
        creditors = [self.current(creditor) for creditor, _ in debts]
        if payee in creditors:
            place = creditors.index(payee)
            debts[place] = payee, debts[place][1] + amount
        else:
            debts.append((payee, amount))
        self.debts[payer] = tuple(debts)
        self.say("Owed", payer, payee, amount)

    def _pay_debts(self, account: str) -> None:
        for _ in range(DEBTS_PAID_AT_ONCE):
            if not self.debts[account]:
                return
            (creditor, amount), *rest = self.debts[account]
            paid = self._debit(account, amount)
            if paid == 0:
                return
            creditor = self.current(creditor)
            self._credit(creditor, paid)
            self.say("DebtPaid", account, creditor, paid)
            left = [(creditor, amount - paid)] if paid < amount else []
            self.debts[account] = (*left, *rest)

    def deposit_for(self, sender: str, account: str, amount: int) -> None:
        require(self.actor[account], "NotAnActor", account)
        require(amount, "ZeroAmount")
        total = self.wallet[self.market] + amount
        require(total < 2**96, "MarketIsFull", total)
        self.wallet[self.market] = total
        self.wallet[sender] -= amount
        self._credit(account, amount)
        self.say("Deposited", account, sender, amount)
        self._pay_debts(account)

    def request_withdraw(self, sender: str, amount: int) -> None:
        require(self.actor[sender], "NotAnActor", sender)
        missing = amount - self.wei[sender]
        require(missing <= 0, "InsufficientFunds", sender, missing)
        self.withdrawal[sender] = (amount, self.now + self.withdraw_s)
        self.say("WithdrawalRequested", sender, amount, self.now + self.withdraw_s)

    def withdraw(self, sender: str) -> None:
        wanted, due_at = self.withdrawal[sender]
        require(wanted, "ZeroAmount")
        require(self.now >= due_at, "NotDue", due_at)
        require(self.now < self.lapses_at(sender), "Lapsed", self.lapses_at(sender))
        self._pay_debts(sender)
        require(not self.debts[sender], "InDebt", sender)
        amount, _ = self.withdrawal[sender]
        require(amount, "InsufficientFunds", sender, wanted)
        self.withdrawal[sender] = (0, 0)
        self.wei[sender] -= amount
        self.wallet[sender] += amount
        self.wallet[self.market] -= amount
        self.say("Withdrawn", sender, amount)
        require(sender not in self.refuses_money, "WithdrawalFailed", sender)

    def pay_debts(self, account: str) -> None:
        require(self.debts[account], "OwesNothing", account)
        self._pay_debts(account)

    # Administration.

    def _only_admin(self, sender: str) -> None:
        require(sender == self.admin, "NotAdmin", sender)

    def _new_operator(self, operator: str) -> None:
        require(operator != NOBODY, "ZeroAddress")
        require(operator != self.one["meter"], "OperatorIsMeter", operator)
        require(self.operator[operator] is None, "OperatorBefore", operator)

    def _is_current(self, operator: str) -> bool:
        known = self.operator[operator]
        return known is not None and self.key[known.number] == operator

    def set_operator(self, sender: str, operator: str, allowed: bool) -> None:
        self._only_admin(sender)
        if not self._is_current(operator):
            require(allowed, "NotOperator", operator)
            self._new_operator(operator)
            number = len(self.key.rows)
            require(number < MOST_OPERATORS, "TooManyOperators")
            self.key[number] = operator
            self.operator[operator] = Operator(number, allowed, 0)
        require(not allowed or operator != self.one["meter"], "OperatorIsMeter", operator)
        known = self.operator[operator]
        assert known is not None
        self.operator[operator] = Operator(known.number, allowed, known.seq)
        self.say("OperatorSet", operator, allowed)

    def rotate_operator(self, sender: str, before: str, operator: str) -> None:
        self._only_admin(sender)
        require(self._is_current(before), "NotOperator", before)
        self._new_operator(operator)
        known = self.operator[before]
        assert known is not None
        self.operator[operator] = known
        self.key[known.number] = operator
        self.operator[before] = Operator(known.number, False, known.seq)
        self.say("OperatorRotated", before, operator, known.seq)

    def set_meter(self, sender: str, meter: str) -> None:
        self._only_admin(sender)
        known = self.operator[meter]
        require(known is None or not known.allowed, "OperatorIsMeter", meter)
        self.one["meter"] = meter
        self.say("MeterSet", meter)

    def set_paused(self, sender: str, paused: bool) -> None:
        self._only_admin(sender)
        self.one["paused"] = paused
        self.say("PausedSet", paused)

    # Actors.

    def register_actors(self, sender: str, actors: Sequence[tuple[str, int, str]]) -> None:
        self._only_admin(sender)
        for index, (account, kind, name) in enumerate(actors):
            require(account != NOBODY, "ActorWithoutAccount", index)
            require(kind <= 4, "UnknownKind", index, kind)
            unused = not self.actor[account] and self.replaced_by[account] == NOBODY
            require(unused, "AlreadyRegistered", index, account)
            require(account not in self.refuses_tokens, "TakesNoTokens", index, account)
            self.place[account] = self.one["actors"]
            self.one["actors"] += 1
            self.actor[account] = True
            self.say("ActorRegistered", account, kind, name)

    def request_replacement(self, sender: str, account: str, by: str) -> None:
        self._only_admin(sender)
        require(self.actor[account], "NotAnActor", account)
        require(by != NOBODY, "ZeroAddress")
        self.replacement[account] = (by, self.now + self.replace_s)
        self.say("ReplacementRequested", account, by, self.now + self.replace_s)

    def refuse_replacement(self, sender: str) -> None:
        by, _ = self.replacement[sender]
        require(by != NOBODY, "NoReplacement", sender)
        self.replacement[sender] = (NOBODY, 0)
        self.say("ReplacementRefused", sender, by)

    def replace_actor(self, sender: str, account: str) -> None:
        """Energy that is not in the books yet comes along at once: which that is only the event says."""
        self._only_admin(sender)
        by, due_at = self.replacement[account]
        require(by != NOBODY, "NoReplacement", account)
        require(self.now >= due_at, "NotDue", due_at)
        unused = not self.actor[by] and self.replaced_by[by] == NOBODY
        require(unused, "AlreadyRegistered", self.place[account], by)
        require(by not in self.refuses_tokens, "TakesNoTokens", self.place[account], by)
        self.replacement[account] = (NOBODY, 0)
        self.withdrawal[account] = (0, 0)
        self.actor[account], self.actor[by] = False, True
        self.place[by] = self.place[account]
        self.wei[by], self.wei[account] = self.wei[account], 0
        self.debts[by], self.debts[account] = self.debts[account], ()
        self.accepts[by] = self.accepts[account]
        self.replaced_by[account] = by
        self.say("ActorReplaced", account, by)

    def carry(self, sender: str, account: str, day: int, energy_wh: int) -> None:
        """Energy that came along with a replacement, as the contract said it."""
        by = self.replaced_by[account]
        assert 0 < energy_wh <= self.held[account, day]
        self.held[account, day] -= energy_wh
        self.held[by, day] += energy_wh
        self.say("TransferSingle", sender, account, by, day, energy_wh)

    def move_energy(self, sender: str, account: str, days: Iterable[int]) -> None:
        by = self.replaced_by[account]
        require(by != NOBODY, "NoReplacement", account)
        for day in days:
            if energy_wh := self.held[account, day]:
                self.held[account, day] = 0
                self.held[by, day] += energy_wh
                self.say("TransferSingle", sender, account, by, day, energy_wh)

    # Settlement.

    def _near(self, day: int) -> None:
        require(day <= self.now // DAY_S + DAYS_AHEAD, "DayTooFar", day)

    def settle(self, sender: str, seq: int, root: bytes, batch: Packed) -> None:
        operator = self.operator[sender]
        require(operator is not None and operator.allowed, "NotOperator", sender)
        assert operator is not None
        require(not self.one["paused"], "Paused")
        require(seq == operator.seq, "WrongSequence", operator.seq, seq)
        raw = batch.raw()
        require(len(batch.surplus) % 18 == 0, "WrongLength", len(raw))
        require(batch.trades, "NoTrades")
        day = self.day_of(batch.first_slot)
        self._near(day)
        self.say("BatchSettled", sender, seq, keccak(raw), root, raw)

        gained = [0] * len(batch.accounts)
        bought = [0] * len(batch.accounts)
        for index, (seller, buyer, energy_wh, price, offset) in enumerate(batch.trades):
            require(max(seller, buyer) < len(batch.accounts), "AccountNotInBatch", index)
            require(batch.accounts[seller] != batch.accounts[buyer], "SelfTrade", index, batch.accounts[seller])
            require(energy_wh, "ZeroEnergy", index)
            require(self.day_of(batch.first_slot + offset // 2) == day, "SlotOfAnotherDay", index)
            gained[seller] += energy_wh * price
            gained[buyer] -= energy_wh * price
            bought[buyer] += energy_wh
        late = all(offset % 2 for *_, offset in batch.trades)
        require(late or not self.day[day].closed, "DayIsClosed", day)
        before = NOBODY
        for index, account in enumerate(batch.accounts):
            require(to_bytes(account) > to_bytes(before), "AccountsNotAscending", index)
            before = account
            require(self.actor[account], "NotAnActor", account)
            if gained[index] < 0:
                self._spend(account, -gained[index])
            else:
                self._credit(account, gained[index])
                self._pay_debts(account)
            if bought[index]:
                self.held[account, day] += bought[index]
                self.say("TransferSingle", sender, NOBODY, account, day, bought[index])

        place = operator.number, day
        digest = digest_of(seq, root, raw)
        self.sold[place] += sum(bought)
        require(self.sold[place] < 2**48, "TooMuchEnergy", sender, day)
        self.settled[operator.number, seq] = (root, batch, self.link[place], len(self.digests[place]))
        self.digests[place] = (*self.digests[place], digest)
        self.link[place] = linked(self.link[place], digest)
        self.operator[sender] = Operator(operator.number, True, seq + 1)

    # Shortfalls and days.

    def _only_meter(self, sender: str) -> None:
        require(sender == self.one["meter"], "NotMeter", sender)

    def _leads_on(self, number: int, day: int, place: int, digests: tuple[bytes, ...]) -> bool:
        """Whether digests are those of the batches from a place on, up to the last one or to a link that is kept."""
        end = place + len(digests)
        if digests != self.digests[number, day][place:end]:
            return False
        return end == len(self.digests[number, day]) or self.kept[number, day, end]

    def _keep(self, operator: str, number: int, day: int, place: int, link: int) -> None:
        self.kept[number, day, place] = True
        self.say("LinkKept", operator, day, link)

    def keep_link(self, operator: str, day: int) -> None:
        known = self.operator[operator]
        require(known is not None, "NotOperator", operator)
        assert known is not None
        place = known.number, day
        self._keep(operator, *place, len(self.digests[place]), self.link[place])

    def prove_links(self, operator: str, day: int, link: int, later: tuple[bytes, ...]) -> None:
        known = self.operator[operator]
        require(known is not None, "NotOperator", operator)
        assert known is not None
        links = [0]
        for digest in self.digests[known.number, day]:
            links.append(linked(links[-1], digest))
        proven = link in links and self._leads_on(known.number, day, links.index(link), later)
        require(proven, "NotLinked", operator, day, link)
        self._keep(operator, known.number, day, links.index(link), link)

    def report_shortfall(self, sender: str, claim: Claim, index: int, energy_wh: int) -> None:
        self._only_meter(sender)
        require(energy_wh, "ZeroEnergy", index)
        operator = self.operator[claim.operator]
        number = -1 if operator is None else operator.number
        settled = self.settled[number, claim.seq]
        day = self.day_of(claim.batch.first_slot)
        proven = (
            settled is not None
            and (claim.root, claim.batch, claim.link_before) == settled[:3]
            and self._leads_on(number, day, settled[3] + 1, claim.later)
        )
        require(proven, "NotSettled", claim.operator, claim.seq)
        require(not self.day[day].closed, "DayIsClosed", day)
        require(index < len(claim.batch.trades), "NoSuchTrade", index)
        seller_place, buyer_place, traded, price, offset = claim.batch.trades[index]
        require(offset % 2 == 0, "ImbalanceHasNoShortfall", index)
        left = traded - self.short[number, claim.seq, index]
        require(energy_wh <= left, "MoreThanTraded", index, left)
        self.short[number, claim.seq, index] += energy_wh
        was = self.day[day]
        self.day[day] = Day(was.agreed, was.short + energy_wh, was.retired, was.closed)

        bought_by = claim.batch.accounts[buyer_place]
        seller, buyer = self.current(claim.batch.accounts[seller_place]), self.current(bought_by)
        left, holder = energy_wh, bought_by
        while left:
            if part := min(left, self.held[holder, day]):
                self.held[holder, day] -= part
                self.say("TransferSingle", sender, holder, NOBODY, day, part)
            left -= part
            holder = self.replaced_by[holder]
            assert not left or holder != NOBODY, "energy of an open day is gone"

        payer, payee = (seller, buyer) if price >= 0 else (buyer, seller)
        due = energy_wh * abs(price)
        self._pay_debts(payer)
        paid = 0 if self.debts[payer] else self._debit(payer, due)
        self._credit(payee, paid)
        if paid < due:
            self._owe(payer, payee, due - paid)
        self._pay_debts(payee)
        self.say("ShortfallReported", claim.operator, claim.seq, index, energy_wh, payer, payee, paid, due - paid)

    def close_day(self, sender: str, day: int) -> None:
        self._only_meter(sender)
        require(day < self.now // DAY_S, "DayIsNotOver", day)
        was = self.day[day]
        require(not was.closed, "DayIsClosed", day)
        self.day[day] = Day(was.agreed, was.short, was.retired, closed=True)
        self.say("DayClosed", day)

    # Tokens.

    def set_approval(self, sender: str, operator: str, approved: bool) -> None:
        self.approved[sender, operator] = approved
        self.say("ApprovalForAll", sender, operator, approved)

    def _take(self, sender: str, account: str, day: int, energy_wh: int) -> None:
        require(sender == account or self.approved[account, sender], "NotApproved", account, sender)
        require(self.day[day].closed, "DayIsOpen", day)
        require(self.replaced_by[account] == NOBODY, "WasReplaced", account)
        missing = energy_wh - self.held[account, day]
        require(missing <= 0, "InsufficientEnergy", account, day, missing)
        self.held[account, day] -= energy_wh

    def transfer(self, sender: str, account: str, to: str, parts: Sequence[tuple[int, int]], *, single: bool) -> None:
        for day, energy_wh in parts:
            require(to != NOBODY, "ZeroAddress")
            self._take(sender, account, day, energy_wh)
            self.held[to, day] += energy_wh
        if single:
            self.say("TransferSingle", sender, account, to, *parts[0])
        else:
            days, energies = tuple(day for day, _ in parts), tuple(energy_wh for _, energy_wh in parts)
            self.say("TransferBatch", sender, account, to, days, energies)
        require(to not in self.refuses_tokens, "ReceiverRefused", to)

    def retire_for(self, sender: str, account: str, day: int, energy_wh: int) -> None:
        self._take(sender, account, day, energy_wh)
        was = self.day[day]
        self.day[day] = Day(was.agreed, was.short, was.retired + energy_wh, was.closed)
        self.say("TransferSingle", sender, account, NOBODY, day, energy_wh)
        self.say("Retired", account, day, energy_wh, sender)

    # Agreements.

    def accept_agreements(self, sender: str, accepted: bool) -> None:
        require(self.actor[sender], "NotAnActor", sender)
        self.accepts[sender] = accepted
        self.say("AgreementsAccepted", sender, accepted)

    def create(self, sender: str, terms: Terms) -> None:
        operator = self.operator[sender]
        require(operator is not None and operator.allowed, "NotOperator", sender)
        address = self.address_of(terms.trade_id)
        if self.agreement[address] is not None:
            return
        require(self.actor[terms.seller], "NotAnActor", terms.seller)
        require(self.actor[terms.buyer], "NotAnActor", terms.buyer)
        require(terms.seller != terms.buyer, "SelfTrade", terms.seller)
        require(terms.energy_wh, "ZeroEnergy")
        require(terms.deliver_by > self.now, "DeliverByIsOver", terms.deliver_by)
        require(terms.deliver_by <= self.now + LONGEST_AGREEMENT_S, "DeliverByTooFar", terms.deliver_by)
        payer = terms.buyer if terms.price >= 0 else terms.seller
        amount = terms.energy_wh * abs(terms.price)
        require(not self.one["paused"], "Paused")
        require(self.accepts[payer], "AgreementsNotAccepted", payer)
        day = self.day_of(terms.slot)
        self._near(day)
        require(not self.day[day].closed, "DayIsClosed", day)
        self._spend(payer, amount)
        self.commitment[address] = (payer, amount)
        self.agreement[address] = Agreement(terms, COMMITTED)
        self.say("Committed", address, payer, amount)
        self.say("StateChanged", COMMITTED, by=address)
        self.say("AgreementCreated", terms.trade_id, address, terms.seller, terms.buyer, by=self.factory)

    def _in_state(self, address: str, state: int) -> Agreement:
        agreement = self.agreement[address]
        assert agreement is not None
        require(agreement.state == state, "WrongState", agreement.state)
        return agreement

    def _become(self, address: str, agreement: Agreement, state: int) -> None:
        self.agreement[address] = Agreement(agreement.terms, state, agreement.asking)
        self.say("StateChanged", state, by=address)

    def _return(self, address: str) -> None:
        payer, amount = self.commitment[address]
        payer = self.current(payer)
        self.commitment[address] = (NOBODY, 0)
        self._credit(payer, amount)
        self.say("CommitmentReturned", address, payer, amount)
        self._pay_debts(payer)

    def confirm_delivery(self, sender: str, address: str) -> None:
        agreement = self._in_state(address, COMMITTED)
        terms = agreement.terms
        payer = terms.buyer if terms.price >= 0 else terms.seller
        may = sender in {self.current(payer), self.one["meter"]}
        require(may, "NotConfirmer", sender)
        require(self.now <= agreement.terms.deliver_by, "TooLate", agreement.terms.deliver_by)
        self._become(address, agreement, DELIVERED)

    def settle_agreement(self, address: str) -> None:
        agreement = self._in_state(address, DELIVERED)
        self._become(address, agreement, SETTLED)
        require(not self.one["paused"], "Paused")
        terms = agreement.terms
        seller, buyer = self.current(terms.seller), self.current(terms.buyer)
        payee = seller if terms.price >= 0 else buyer
        day = self.day_of(terms.slot)
        _, amount = self.commitment[address]
        self.commitment[address] = (NOBODY, 0)
        self._credit(payee, amount)
        was = self.day[day]
        self.day[day] = Day(was.agreed + terms.energy_wh, was.short, was.retired, was.closed)
        self.held[buyer, day] += terms.energy_wh
        self.say("TransferSingle", address, NOBODY, buyer, day, terms.energy_wh)
        self.say("AgreementSettled", address, seller, buyer, terms.slot, terms.energy_wh)
        self._pay_debts(payee)

    def cancel(self, sender: str, address: str) -> None:
        agreement = self._in_state(address, COMMITTED)
        parties = {self.current(agreement.terms.seller), self.current(agreement.terms.buyer)}
        require(sender in parties, "NotParty", sender)
        agreement = Agreement(agreement.terms, agreement.state, agreement.asking | {sender})
        self.agreement[address] = agreement
        self.say("CancellationAsked", sender, by=address)
        if parties <= agreement.asking:
            self._become(address, agreement, CANCELLED)
            self._return(address)

    def expire(self, address: str) -> None:
        agreement = self._in_state(address, COMMITTED)
        require(self.now > agreement.terms.deliver_by, "TooEarly", agreement.terms.deliver_by)
        self._become(address, agreement, EXPIRED)
        self._return(address)
