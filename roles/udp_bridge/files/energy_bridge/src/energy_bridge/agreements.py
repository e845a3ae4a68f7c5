# SPDX-License-Identifier: GPL-3.0-or-later
"""The mode agreement: every trade is a contract of its own, made on the chain and followed to its end.

A trade is a batch of one, so that it goes the way of all batches. What is sent twice does nothing the second time: the
contract's address follows from the trade. Afterwards its state is watched, in blocks that are final: what was delivered
is settled, and what was not delivered in time expires. That, too, is a batch of one, and anybody may do it as well.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import Any, Protocol

from eth_abi.abi import encode
from eth_utils.address import to_checksum_address
from eth_utils.crypto import keccak

from energy_bridge.config import Config
from energy_bridge.model import BatchState, Fate, Mode, Reading, Trade
from energy_bridge.settlement import Chain, Settlement
from energy_bridge.store import Batch, Standing, Store, StoreError, nowhere, trade_of

__all__ = [
    "Act",
    "Agreed",
    "AgreementSettlement",
    "AgreementStore",
    "Agreements",
    "State",
    "Watched",
    "WatchedChain",
    "agreements_of",
    "open_store",
]

log = logging.getLogger(__name__)

_TRADE_ID = ("uint256", "address", "uint256", "address", "address", "uint256", "int256", "bool", "uint256")
# ERC-1167, with the implementation's address between the two.
_PROXY = (bytes.fromhex("3d602d80600a3d3981f3363d3d373d3d3d363d73"), bytes.fromhex("5af43d82803e903d91602b57fd5bf3"))
_TRADE = "trades.seller, trades.buyer, trades.energy_wh, trades.price_wei_per_wh, trades.slot, trades.imbalance"
_AGREED = f"{_TRADE}, trade_id, address, deliver_by"
_READING = (
    "readings.source, readings.boot, readings.seq, readings.time, readings.slot, energy_nwh, readings.price_wei_per_wh"
)
# Which readings a trade rests on: those of its two parties that counted, or the late one that it comes from.
_RESTS = (
    "readings.slot = trades.slot AND (trades.source IS NULL AND readings.fate = 'counted'"
    " AND readings.source IN (seller, buyer) OR (readings.source, readings.boot, readings.seq)"
    " = (trades.source, trades.boot, trades.reading_seq))"
)


class State(StrEnum):
    """Where an agreement stands, in the contract's words and in its order, from 0 on."""

    NONE = "None"
    COMMITTED = "Committed"
    DELIVERED = "Delivered"
    SETTLED = "Settled"
    CANCELLED = "Cancelled"
    EXPIRED = "Expired"


ENDS = (State.SETTLED, State.CANCELLED, State.EXPIRED)


class Act(StrEnum):
    """What a transaction does to an agreement."""

    CREATE = "create"
    SETTLE = "settle"
    EXPIRE = "expire"


@dataclass(frozen=True, slots=True, kw_only=True)
class Agreed(Trade):
    """A trade with its agreement: its address (checksummed), deliver_by in seconds since the epoch."""

    trade_id: bytes
    address: str
    deliver_by: int
    act: Act = Act.CREATE


@dataclass(frozen=True, slots=True)
class Watched:
    """An agreement that is made and not ended: the batch that made it, its address, deliver_by (s since the epoch)."""

    batch: int
    address: str
    deliver_by: int


@dataclass(frozen=True, slots=True)
class Agreements:
    """What makes agreements of trades: accounts are the actors' addresses by name, times are seconds."""

    chain_id: int
    market: str
    factory: str
    accounts: Mapping[str, str]
    slot_s: int
    deliver_within_s: int

    def agreed(self, trade: Trade, order: int, now: float) -> Agreed:
        """The agreement of a trade, order being how many of the same content came before; raises StoreError.

        Time to deliver runs from the slot's end, or from now where that is over.
        """
        if missing := sorted({trade.seller, trade.buyer} - self.accounts.keys()):
            names = ", ".join(missing)
            raise StoreError(f"not among the actors in the configuration any more: {names}; bring them back")
        trade_id = self.trade_id(trade, order)
        deliver_by = max((trade.slot + 1) * self.slot_s, int(now)) + self.deliver_within_s
        return Agreed(**asdict(trade), trade_id=trade_id, address=self.address_of(trade_id), deliver_by=deliver_by)

    def trade_id(self, trade: Trade, order: int) -> bytes:
        """The 32 bytes that are the same for the same trade, whoever computes them."""
        values = (
            self.chain_id,
            self.market,
            trade.slot,
            self.accounts[trade.seller],
            self.accounts[trade.buyer],
            trade.energy_wh,
            trade.price_wei_per_wh,
            trade.imbalance,
            order,
        )
        return keccak(encode(_TRADE_ID, values))

    def address_of(self, trade_id: bytes) -> str:
        """Where the factory makes this agreement (CREATE2)."""
        code = bytes.fromhex(self.implementation[2:]).join(_PROXY)
        return to_checksum_address(keccak(b"\xff" + bytes.fromhex(self.factory[2:]) + trade_id + keccak(code))[12:])

    @property
    def implementation(self) -> str:
        """The code of all agreements: the first contract that the factory made (CREATE, nonce 1)."""
        return to_checksum_address(keccak(b"\xd6\x94" + bytes.fromhex(self.factory[2:]) + b"\x01")[12:])


def agreements_of(config: Config) -> Agreements | None:
    """What makes agreements by this configuration; None in another mode."""
    if config.mode is not Mode.AGREEMENT or config.agreement_factory is None:
        return None
    return Agreements(
        config.chain_id,
        config.market_address,
        config.agreement_factory,
        {actor.name: actor.address for actor in config.actors.values()},
        config.slot_s,
        config.deliver_within_s,
    )


def open_store(config: Config, *, read_only: bool = False, at: Callable[[str], None] = nowhere) -> Store:
    """The database of the bridge with this configuration; raises StoreError."""
    if (agreements := agreements_of(config)) is not None:
        return AgreementStore(config.database, agreements, read_only=read_only, at=at)
    return Store(config.database, read_only=read_only, at=at)


class AgreementStore(Store):
    """The memory of a bridge in the mode agreement. Each thread needs one of its own."""

    def __init__(
        self, path: Path, agreements: Agreements, *, read_only: bool = False, at: Callable[[str], None] = nowhere
    ) -> None:
        """Open the database as Store does."""
        super().__init__(path, read_only=read_only, at=at)
        self._agreements = agreements

    def standing(self, source: str, boot: int, seq: int) -> Standing | None:
        """Where the reading with this key stands, by all agreements that rest on it; None when it is not stored."""
        standing = super().standing(source, boot, seq)
        if standing is None or standing.fate not in (Fate.COUNTED, Fate.IMBALANCE):
            return standing
        own = self._read(
            f"SELECT energy_wh, reason, trades.batch, address FROM readings JOIN trades ON {_RESTS}"  # noqa: S608
            " LEFT JOIN agreements ON agreements.batch = trades.batch"
            " WHERE readings.source = ? AND readings.boot = ? AND readings.seq = ? ORDER BY trades.id",
            (source, boot, seq),
        )
        if not own:
            return replace(standing, settled=standing.reason is None)
        batches = {row[2]: self.batch(row[2]) for row in own}
        states = [None if (batch := batches[row[2]]) is None else batch.state for row in own]
        ended = all(state in (BatchState.FINAL, BatchState.REFUSED) for state in states)
        # The first that is under way speaks for all; when none is, the first that is final.
        under_way = next(
            (i for i, state in enumerate(states) if state not in (BatchState.FINAL, BatchState.REFUSED)), 0
        )
        place = states.index(BatchState.FINAL) if ended and BatchState.FINAL in states else under_way
        return replace(
            standing,
            batch=batches[own[place][2]],
            traded_wh=sum(row[0] for row in own if row[1] is None),
            refused_wh=sum(row[0] for row in own if row[1] is not None),
            reason=min((row[1] for row in own if row[1] is not None), default=None) if ended else None,
            settled=ended,
            agreement=own[place][3] if ended else None,
            agreements=sum(row[1] is None for row in own),
        )

    def batch(self, number: int | None) -> Batch | None:
        """The batch with this id; None where there is none."""
        return next(iter(self._batches("WHERE id = ?", (number,))), None)

    def form_agreement(self, *, now: float) -> int | None:
        """Make a batch, and an agreement, of the trade that waits longest; None when none waits."""
        with self.commit("batch"):
            rows = self._read(f"SELECT id, {_TRADE} FROM trades WHERE batch IS NULL ORDER BY id LIMIT 1")  # noqa: S608
            if not rows:
                return None
            number, *columns = rows[0]
            order = self._one(
                f"SELECT count(*) FROM trades WHERE id < ? AND ({_TRADE}) = (?, ?, ?, ?, ?, ?)",  # noqa: S608
                (number, *columns),
            )
            agreed = self._agreements.agreed(trade_of(columns), order, now)
            batch = self._new_batch(now)
            self._db.execute("UPDATE trades SET batch = ? WHERE id = ?", (batch, number))
            self._add_agreement(batch, agreed)
            return batch

    def _add_agreement(self, batch: int, agreed: Agreed) -> None:
        self._db.execute(
            "INSERT INTO agreements (batch, trade_id, address, deliver_by) VALUES (?, ?, ?, ?)",
            (batch, agreed.trade_id, agreed.address, agreed.deliver_by),
        )

    def form_act(self, watched: Watched, act: Act, *, now: float) -> int | None:
        """Make a batch that ends an agreement; None where one is under way, or was refused."""
        with self.commit("act"):
            may = self._one(
                "SELECT count(*) FROM agreements WHERE batch = ? AND (act IS NULL OR act != ?"
                " AND NOT EXISTS (SELECT 1 FROM batches WHERE id = act_batch AND state != 'REFUSED'))",
                (watched.batch, act),
            )
            if not may:
                return None
            batch = self._new_batch(now)
            self._db.execute(
                "UPDATE agreements SET act = ?, act_batch = ? WHERE batch = ?", (act, batch, watched.batch)
            )
            return batch

    def watched(self) -> list[Watched]:
        """The agreements that are made for good and were not seen to end."""
        rows = self._read(
            "SELECT agreements.batch, address, deliver_by FROM agreements JOIN batches ON batches.id = agreements.batch"
            " WHERE ended IS NULL AND state = 'FINAL' ORDER BY agreements.batch"
        )
        return [Watched(*row) for row in rows]

    def end(self, watched: Watched, state: State) -> None:
        """Note how an agreement ended."""
        with self.commit("end"):
            self._db.execute("UPDATE agreements SET ended = ? WHERE batch = ?", (state, watched.batch))

    def trades(self, batch: int) -> list[tuple[int, Trade]]:
        """The one trade that a batch makes an agreement of, or whose agreement it ends; none where that was refused."""
        rows = self._read(
            f"SELECT trades.id, {_AGREED}, CASE act_batch WHEN ? THEN act ELSE 'create' END"  # noqa: S608
            " FROM agreements JOIN trades ON trades.batch = agreements.batch"
            " WHERE (agreements.batch = ? OR act_batch = ?)"
            " AND EXISTS (SELECT 1 FROM batches WHERE id = ? AND state != 'REFUSED')",
            (batch, batch, batch, batch),
        )
        return [(number, _agreed(columns)) for number, *columns in rows]

    def readings_of(self, batch: int) -> list[tuple[Reading, bytes]]:
        """The readings that a batch's trade rests on, each with its datagram's digest, ordered by key."""
        rows = self._read(
            f"SELECT {_READING}, digest FROM trades JOIN readings ON {_RESTS} WHERE trades.batch = ?"  # noqa: S608
            " ORDER BY readings.source, readings.boot, readings.seq",
            (batch,),
        )
        return [(Reading(*row[:-1]), row[-1]) for row in rows]

    def refuse(self, batch: int, trades: Collection[int], reason: str) -> None:
        """Say that the contract does not take what is not signed: there will be no agreement, or no such end."""
        with self.commit("refuse"):
            if not self._one("SELECT 1 FROM agreements WHERE act_batch = ?", (batch,)):
                marks = [(reason, trade) for trade in trades]
                self._db.executemany("UPDATE trades SET reason = ? WHERE id = ?", marks)
            self._update("refuse", batch, BatchState.REFUSED, reason=reason)

    def made(self) -> list[tuple[Batch, Agreed, State | None]]:
        """All agreements that a batch was formed for, with that batch, and how they ended, if so."""
        rows = self._read(
            f"SELECT agreements.batch, ended, {_AGREED}, 'create' FROM agreements"  # noqa: S608
            " JOIN trades ON trades.batch = agreements.batch ORDER BY agreements.batch"
        )
        return [
            (batch, _agreed(columns), None if ended is None else State(ended))
            for number, ended, *columns in rows
            if (batch := self.batch(number)) is not None
        ]

    def first_block(self) -> int:
        """The first block that a batch here is in, where others are in an archive; else 0."""
        return int(self._one("SELECT min(block) FROM batches") or 0) if self._floor("next_seq") else 0

    def rebuild(
        self,
        settled: Iterable[tuple[Batch, Sequence[Trade]]],
        *,
        next_seq: int,
        operator: str,
        next_nonce: int,
        now: float,
    ) -> None:
        """Fill an empty database as Store does, with batches of one Agreed each; raises StoreError."""
        batches = list(settled)
        with self.commit("rebuild"):
            super().rebuild(batches, next_seq=next_seq, operator=operator, next_nonce=next_nonce, now=now)
            for batch, trades in batches:
                for trade in trades:
                    if isinstance(trade, Agreed):
                        self._add_agreement(batch.id, trade)

    def status(self) -> dict[str, Any]:
        """Figures as of Store, and how many agreements have ended how; the others are open."""
        ended = dict(
            self._read(
                "SELECT coalesce(ended, 'open'), count(*) FROM agreements JOIN batches ON batches.id = batch"
                " WHERE state != 'REFUSED' GROUP BY 1"
            )
        )
        return {**super().status(), "agreements": {name: ended.get(name, 0) for name in ("open", *ENDS)}}

    def table(self) -> tuple[list[str], list[tuple[Any, ...]]]:
        """All trades as of Store, each with its agreement's address, time to deliver, and end."""
        columns, rows = super().table()
        more = self._read(
            "SELECT address, deliver_by, ended FROM trades LEFT JOIN agreements ON agreements.batch = trades.batch"
            " ORDER BY trades.id"
        )
        return [*columns, "agreement", "deliver_by", "ended"], [
            (*row, *rest) for row, rest in zip(rows, more, strict=True)
        ]


def _agreed(columns: Sequence[Any]) -> Agreed:
    trade_id, address, deliver_by, act = columns[6:]
    trade = trade_of(columns)
    return Agreed(**asdict(trade), trade_id=trade_id, address=address, deliver_by=deliver_by, act=Act(act))


class WatchedChain(Chain, Protocol):
    """What following agreements needs of the chain beyond settlement; every method may raise ChainError."""

    async def block_time(self, block: int) -> int:
        """Return the time of a block, seconds since the epoch."""

    async def state(self, address: str, block: int) -> State:
        """Return where an agreement stood after a block."""

    async def changes(self, first: int, last: int) -> list[tuple[str, State]]:
        """Return all changes of agreements' states in these blocks: address and new state, in their order."""


class AgreementSettlement(Settlement):
    """Moves agreements forward on a chain: makes them of trades, and ends what is to end."""

    def __init__(
        self,
        store: AgreementStore,
        chain: WatchedChain,
        *,
        confirmations: int,
        slot_s: int,
        clock: Callable[[], float],
        on_settled: Callable[[list[Reading]], None],
    ) -> None:
        """Call on_settled as Settlement does."""
        super().__init__(
            store,
            chain,
            confirmations=confirmations,
            slot_s=slot_s,
            most_trades=1,
            clock=clock,
            on_settled=on_settled,
        )
        self._agreements = store
        self._watched_chain = chain
        self._seen_block = -1
        self._states: dict[str, State] = {}  # of watched agreements, after that block
        self._to_do: list[tuple[Watched, Act]] = []

    async def step(self) -> None:
        """Look at the agreements, then do as Settlement does."""
        await self._look()
        await super().step()

    async def _look(self) -> None:
        """Find out what ended, and what is to be ended, in the blocks that are final now."""
        block = await self._chain.head() - self._confirmations + 1
        if block <= self._seen_block:
            return
        watched = self._agreements.watched()
        changes = await self._watched_chain.changes(self._seen_block + 1, block) if self._states else []
        known = self._states | dict(changes)
        states = {
            one.address: known[one.address]
            if one.address in self._states
            else await self._watched_chain.state(one.address, block)
            for one in watched
        }
        now = await self._watched_chain.block_time(block)
        self._states, self._seen_block, self._to_do = states, block, []
        for one in watched:
            state = states[one.address]
            if state in ENDS:
                self._agreements.end(one, state)
                log.info("agreement_ended state=%s agreement=%s", state, one.address)
            elif state is State.DELIVERED:
                self._to_do.append((one, Act.SETTLE))
            elif state is State.COMMITTED and now > one.deliver_by:
                self._to_do.append((one, Act.EXPIRE))

    def _form(self) -> int | None:
        """What waits to be agreed comes before what is to be ended."""
        now = self._clock()
        if (batch := self._agreements.form_agreement(now=now)) is not None:
            return batch
        while self._to_do:
            watched, act = self._to_do.pop(0)
            if (batch := self._agreements.form_act(watched, act, now=now)) is not None:
                return batch
        return None
