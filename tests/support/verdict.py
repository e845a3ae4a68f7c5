# SPDX-License-Identifier: GPL-3.0-or-later
"""The verdict: is what the senders were promised on the chain, once, and nothing else?

It knows the senders' own list and the chain's logs. It has a clearing of its own, and reads batches by the layout in
docs/contract.md; it never looks at the bridge's store, and imports nothing of the bridge.
"""

from __future__ import annotations

import struct
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from web3.contract import Contract

from support.senders import TURNED_AWAY, Delivery


@dataclass(frozen=True, slots=True, order=True)
class Deal:
    """Energy that one actor sells to another in a slot, at a price; named by the actors' names."""

    slot: int
    seller: str
    buyer: str
    energy_wh: int
    price_wei_per_wh: int
    imbalance: bool = False

    @property
    def between(self) -> tuple[int, str, str]:
        return self.slot, self.seller, self.buyer

    def __str__(self) -> str:
        kind = " as an imbalance" if self.imbalance else ""
        return (
            f"slot {self.slot}: {self.energy_wh} Wh from {self.seller} to {self.buyer}"
            f" at {self.price_wei_per_wh} wei/Wh{kind}"
        )


@dataclass(frozen=True, slots=True)
class Settled:
    """A batch as the chain's log has it; deals of accounts that are no actor's bear the account's address."""

    operator: str
    seq: int
    transaction: str
    deals: tuple[Deal, ...]


Accounts = Mapping[str, int]
ImbalancePrice = Callable[[int, int], int]
"""The price in wei per Wh of an imbalance, from its slot and what the actor provides more (positive) or less, in Wh."""

# --- the chain --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Ledger:
    """What one block's state and the logs up to it say; money in wei, energy bought in Wh by (actor, day)."""

    batches: tuple[Settled, ...]
    money: Accounts
    energy: Mapping[tuple[str, int], int]

    @property
    def deals(self) -> list[Deal]:
        return [deal for batch in self.batches for deal in batch.deals]


def read_ledger(market: Contract, actors: Mapping[str, str], *, slot_s: int) -> Ledger:
    """Read everything at the present head; actors are accounts by name."""
    head = market.w3.eth.block_number
    names = {account.lower(): name for name, account in actors.items()}
    batches = tuple(
        Settled(
            event["args"]["operator"],
            event["args"]["seq"],
            event["transactionHash"].to_0x_hex(),
            tuple(_deals(bytes(event["args"]["batch"]), names)),
        )
        for event in market.events.BatchSettled().get_logs(from_block=0, to_block=head)
    )
    days = {deal.slot * slot_s // 86_400 for batch in batches for deal in batch.deals}
    view = market.functions
    money = {name: view.weiOf(account).call(block_identifier=head) for name, account in actors.items()}
    energy = {
        (name, day): view.balanceOf(account, day).call(block_identifier=head)
        for name, account in actors.items()
        for day in days
    }
    return Ledger(batches, money, energy)


def _deals(batch: bytes, names: Mapping[str, str]) -> Iterator[Deal]:
    """The trades in a batch's bytes, as docs/contract.md has them."""
    first_slot, count = struct.unpack_from(">IH", batch)
    accounts = [f"0x{batch[6 + 20 * place :][:20].hex()}" for place in range(count)]
    for seller, buyer, energy_wh, price, rest in struct.iter_unpack(">HHIqH", batch[6 + 20 * count :]):
        sells, buys = (names.get(accounts[place], accounts[place]) for place in (seller, buyer))
        yield Deal(first_slot + rest // 2, sells, buys, energy_wh, price, rest % 2 == 1)


# --- the model --------------------------------------------------------------------------------------------------------


def cleared(offers: Iterable[Delivery], *, grid: str, grid_price: int) -> list[Deal]:
    """What counted readings come to: the cheapest seller meets the buyer that gives most, and the grid has the rest."""
    offered = [offer for offer in offers if offer.source != grid]
    asks = sorted((o for o in offered if o.energy_wh > 0), key=lambda ask: (ask.price_wei_per_wh, ask.source))
    bids = sorted((o for o in offered if o.energy_wh < 0), key=lambda bid: (-bid.price_wei_per_wh, bid.source))
    left = {offer.source: abs(offer.energy_wh) for offer in offered}
    deals = []
    for bid in bids:
        for ask in asks:
            energy_wh = min(left[ask.source], left[bid.source])
            if energy_wh and ask.price_wei_per_wh <= bid.price_wei_per_wh:
                deals.append(Deal(ask.slot, ask.source, bid.source, energy_wh, ask.price_wei_per_wh))
                left[ask.source] -= energy_wh
                left[bid.source] -= energy_wh
    deals += [Deal(ask.slot, ask.source, grid, left[ask.source], grid_price) for ask in asks if left[ask.source]]
    deals += [Deal(bid.slot, grid, bid.source, left[bid.source], grid_price) for bid in bids if left[bid.source]]
    return deals


@dataclass(frozen=True)
class _Slot:
    """One slot of the senders' list: the reading of each source that was in time and last, and its very last one."""

    number: int
    deliveries: tuple[Delivery, ...]

    @property
    def ended(self) -> bool:
        return all(delivery.ended for delivery in self.deliveries)

    @property
    def counted(self) -> dict[str, Delivery]:
        # One that was superseded may have been late without that its sender ever heard so.
        counts = (d for d in self.deliveries if d.acknowledged and not d.late and d.status != "superseded")
        return _last(counts)

    @property
    def said_last(self) -> dict[str, Delivery]:
        return _last(delivery for delivery in self.deliveries if delivery.acknowledged)

    @property
    def differences(self) -> dict[str, int]:
        """What each source provides more than was counted, in Wh, where what it said last came late."""
        counted = self.counted
        return {
            source: delivery.energy_wh - (counted[source].energy_wh if source in counted else 0)
            for source, delivery in self.said_last.items()
            if delivery.late
        }


def _last(deliveries: Iterable[Delivery]) -> dict[str, Delivery]:
    return {delivery.source: delivery for delivery in sorted(deliveries, key=lambda delivery: delivery.key)}


# --- the verdict ------------------------------------------------------------------------------------------------------


def judge(
    deliveries: Sequence[Delivery],
    ledger: Ledger,
    *,
    grid: str,
    deposits: Accounts,
    slot_s: int,
    imbalance_price: ImbalancePrice | None = None,
) -> list[str]:
    """Name everything that is not as promised, one sentence each; nothing named means that all is as it should be.

    A slot with a reading whose end is not known yet is not looked at, except for trades that are there twice.
    Without an imbalance_price what comes late is not traded.
    """
    by_slot: defaultdict[int, list[Delivery]] = defaultdict(list)
    for delivery in deliveries:
        by_slot[delivery.slot].append(delivery)
    slots = {number: _Slot(number, tuple(listed)) for number, listed in by_slot.items()}
    on_chain: defaultdict[int, list[Deal]] = defaultdict(list)
    for deal in ledger.deals:
        on_chain[deal.slot].append(deal)
    findings = [*_sequence(ledger), *_twice(ledger), *_promises(deliveries, ledger), *_books(ledger, deposits, slot_s)]
    for number in sorted(slots.keys() | on_chain.keys()):
        slot = slots.get(number, _Slot(number, ()))
        if slot.ended:
            regular = [deal for deal in on_chain[number] if not deal.imbalance]
            imbalances = [deal for deal in on_chain[number] if deal.imbalance]
            findings += _regular(slot, regular, grid, _grid_price(slots, number, grid))
            findings += _imbalances(slot, imbalances, grid, imbalance_price)
    return findings


def _sequence(ledger: Ledger) -> Iterator[str]:
    for operator in {batch.operator for batch in ledger.batches}:
        seqs = [batch.seq for batch in ledger.batches if batch.operator == operator]
        if seqs != list(range(len(seqs))):
            yield f"sequence: the batches of {operator} are numbered {seqs}"


def _twice(ledger: Ledger) -> Iterator[str]:
    for (slot, seller, buyer), count in Counter(deal.between for deal in ledger.deals if not deal.imbalance).items():
        if count > 1:
            yield f"twice: slot {slot}, {seller} to {buyer}, is settled {count} times"


def _promises(deliveries: Sequence[Delivery], ledger: Ledger) -> Iterator[str]:
    """What the senders were told has to be true, and must not be taken back."""
    batches = {batch.transaction: batch for batch in ledger.batches}
    for delivery in deliveries:
        told = (
            f"{delivery.source} was told {', '.join(delivery.statuses)} of seq {delivery.seq} in slot {delivery.slot}"
        )
        if delivery.acknowledged and TURNED_AWAY & set(delivery.statuses):
            yield f"promise: {told}"
        if delivery.statuses[:1] == ["stored"] and delivery.late:
            yield f"promise: {told}, though it was in time"
        ends = [status for status in delivery.statuses if status in ("settled", "refused", "superseded")]
        if any(one != other for one, other in pairwise(ends)):
            yield f"promise: {told}"
        if delivery.status == "settled" and delivery.transaction is not None:
            batch = batches.get(delivery.transaction)
            if batch is None or all(deal.slot != delivery.slot for deal in batch.deals):
                yield f"promise: {told}, in {delivery.transaction}, where it is not"


def _books(ledger: Ledger, deposits: Accounts, slot_s: int) -> Iterator[str]:
    """The chain's balances have to be what the trades come to."""
    money = Counter(deposits)
    energy: Counter[tuple[str, int]] = Counter()
    for deal in ledger.deals:
        money[deal.seller] += deal.energy_wh * deal.price_wei_per_wh
        money[deal.buyer] -= deal.energy_wh * deal.price_wei_per_wh
        energy[deal.buyer, deal.slot * slot_s // 86_400] += deal.energy_wh
    for actor, wei in ledger.money.items():
        if wei != money[actor]:
            yield f"money: {actor} has {wei} wei, and its trades come to {money[actor]}"
    for (actor, day), bought_wh in ledger.energy.items():
        if bought_wh != energy[actor, day]:
            yield f"energy: {actor} has {bought_wh} Wh of day {day}, and bought {energy[actor, day]}"


def _grid_price(slots: Mapping[int, _Slot], number: int, grid: str) -> int | None:
    """What the grid named for the slot, or else last before it."""
    named = [slot for slot in slots.values() if slot.number <= number and grid in slot.counted]
    return max(named, key=lambda slot: slot.number).counted[grid].price_wei_per_wh if named else None


def _regular(slot: _Slot, on_chain: Sequence[Deal], grid: str, grid_price: int | None) -> Iterator[str]:
    counted = slot.counted
    expected = {deal.between: deal for deal in cleared(counted.values(), grid=grid, grid_price=grid_price or 0)}
    there = {deal.between: deal for deal in on_chain}
    for between in sorted(expected.keys() | there.keys()):
        want, have = expected.get(between), there.get(between)
        if want is None:
            yield f"foreign: no reading explains {have}"
            continue
        refused = [source in counted and counted[source].status == "refused" for source in (want.seller, want.buyer)]
        if have is None and not any(refused):
            yield f"lost: {want}"
        elif have is not None and all(refused):
            yield f"promise: refused, and settled all the same: {have}"
        elif have is not None and have != want:
            yield f"wrong: {have}, where the readings come to {want}"


def _imbalances(
    slot: _Slot, on_chain: Sequence[Deal], grid: str, imbalance_price: ImbalancePrice | None
) -> Iterator[str]:
    """What an actor said last, less what was counted, has to be traded with the grid: in one trade or in several."""
    differences = {} if imbalance_price is None else slot.differences
    late = slot.said_last
    traded: Counter[str] = Counter()
    for deal in on_chain:
        actor, energy_wh = (deal.seller, deal.energy_wh) if deal.buyer == grid else (deal.buyer, -deal.energy_wh)
        if grid not in (deal.seller, deal.buyer) or actor not in differences or imbalance_price is None:
            yield f"foreign: no late reading explains {deal}"
            continue
        traded[actor] += energy_wh
        price = imbalance_price(slot.number, energy_wh)
        if deal.price_wei_per_wh != price:
            yield f"wrong: {deal}, where the price is {price} wei/Wh"
    for actor, energy_wh in differences.items():
        of = f"imbalance of {actor} in slot {slot.number}"
        if traded[actor] == energy_wh or actor == grid or (late[actor].status == "refused" and not traded[actor]):
            continue
        if not traded[actor]:
            yield f"lost: the {of} of {energy_wh} Wh"
        elif traded[actor] == 2 * energy_wh:
            yield f"twice: the {of} of {energy_wh} Wh"
        else:
            yield f"wrong: the {of} is {energy_wh} Wh, and {traded[actor]} Wh are settled"
