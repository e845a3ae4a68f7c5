# SPDX-License-Identifier: GPL-3.0-or-later
"""The figures of the page: read by one thread with a connection of its own, and put into words once for everybody.

Whoever asks gets the bytes that are there. While nobody looks, the figures are only kept from growing old.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field, replace
from datetime import date
from typing import Any, TypeVar

from eth_utils.address import to_checksum_address

from energy_bridge.config import Config
from energy_bridge.documents import Document, json_document
from energy_bridge.health import ChainView, View, notes, problems
from energy_bridge.ledger import Figures, Ledger, Tariff, Totals
from energy_bridge.lookup import ListedTrade, Lookup
from energy_bridge.metrics import Counts
from energy_bridge.model import BatchState, Fate
from energy_bridge.store import StoreError
from energy_bridge.watch import Outbox, Watch

__all__ = ["Board", "actor_json", "date_of", "figures_json", "tariff_of", "trade_json"]

log = logging.getLogger(__name__)

LOOK_S = 0.25
IDLE_S = 5.0  # from look to look while nobody watches
WATCHED_S = 15.0  # who asked a moment ago will ask again
RENEW_S = 5.0  # so often the times of what has not changed are told again
WHOLE_S = 5.0  # so often all batches are looked at, and not only those that may have changed
LOOKING_SHARE, LONGEST_PAUSE_S = 4, 0.5  # a look may take a fifth of the time, unless that were to keep people waiting
COUNTING_SHARE, LONGEST_UNCOUNTED_S = 10, 5.0  # and counting everything a tenth
NEWEST_TRADES = 10
_EPOCH = date(1970, 1, 1).toordinal()
_UNREADABLE = "the database cannot be read: "

_T = TypeVar("_T")


def _no_counts() -> dict[str, Any]:
    return {
        "readings": {"stored": 0, **{fate.value: 0 for fate in Fate}},
        "trades": {"made": 0, "settled": 0, "refused": 0, "imbalances": 0},
    }


@dataclass(frozen=True, slots=True)
class _Market:
    """What the overview shows of the database, without what the ledger has."""

    days: Sequence[int] = ()
    latest_slot: int | None = None
    open_slots: int = 0
    outbox_trades: int = 0
    outbox_since: float | None = None
    batches: Mapping[BatchState, int] = field(default_factory=lambda: dict.fromkeys(BatchState, 0))
    trades: Sequence[ListedTrade] = ()
    counted: Mapping[str, Any] = field(default_factory=_no_counts)


class _Reader:
    """The part that lives in the thread: the connection, the ledger, and what was read last."""

    def __init__(self, config: Config, clock: Callable[[], float], timer: Callable[[], float]) -> None:
        self._config = config
        self._clock = clock
        self._timer = timer
        self._lookup: Lookup | None = None
        self._version: int | None = None  # of the database, as of the last look
        self._known: tuple[int, set[int]] | None = None  # highest batch, and those under way
        self._whole_due = self._count_due = float("-inf")
        self._is_whole = self._is_counted = False  # nothing of what changed waits for these
        self.ledger = _new_ledger(config)
        self.market = _Market()
        self.read_at: float | None = None
        self.trouble: str | None = None

    def close(self) -> None:
        if self._lookup is not None:
            self._lookup.close()
        self._lookup = None

    def look(self) -> bool:
        """Read what is new; has anything changed? A failure keeps what was read before."""
        before = self.market
        try:
            self.current()
        except StoreError as error:
            trouble = str(error).removeprefix(_UNREADABLE)
            if trouble != self.trouble:
                log.warning("page_not_read reason=%s", trouble)
            self.trouble = trouble
            return True
        was_troubled, self.trouble = self.trouble is not None, None
        return was_troubled or self.market is not before

    def current(self) -> Lookup:
        """The connection, with the ledger as the database is now; raises StoreError."""
        with self._reading() as lookup:
            version = lookup.version()
            if version != self._version:
                self._is_whole = self._is_counted = False
            is_due = version != self._version or (not self._is_whole and self._timer() >= self._whole_due)
            if is_due or (not self._is_counted and self._timer() >= self._count_due):
                with lookup.snapshot():
                    self._read(lookup, is_due=is_due)
                self._version = version
            self.read_at = self._clock()
            return lookup

    def ask(self, question: Callable[[Lookup, Ledger], _T]) -> _T:
        """The answer to a question, all of one moment; raises StoreError."""
        lookup = self.current()
        with self._reading(), lookup.snapshot():
            return question(lookup, self.ledger)

    @contextlib.contextmanager
    def _reading(self) -> Iterator[Lookup]:
        """The connection; begin with a fresh one, and with all batches, after a failure."""
        try:
            if self._lookup is None:
                self._lookup = Lookup(self._config.database)
            yield self._lookup
        except StoreError:
            self.close()
            self._version = self._known = None
            raise

    def _read(self, lookup: Lookup, *, is_due: bool) -> None:
        """Read what the overview shows, and count where it is time to: counting takes the longest."""
        market = self.market
        if is_due:
            self._keep_ledger(lookup)
            market = replace(
                market,
                days=sorted({*lookup.days(self._config.slot_s), *self.ledger.days}, reverse=True),
                latest_slot=lookup.latest_slot(),
                open_slots=lookup.open_slot_count(),
                outbox_trades=lookup.outbox_trades(),
                outbox_since=lookup.outbox_since(),
                batches=lookup.batches_by_state(),
                trades=lookup.list_trades(limit=NEWEST_TRADES),
            )
        if self._timer() >= self._count_due:
            started = self._timer()
            status = lookup.status()
            market = replace(market, counted={name: status[name] for name in ("readings", "trades")})
            took_s = self._timer() - started
            self._count_due = self._timer() + min(COUNTING_SHARE * took_s, LONGEST_UNCOUNTED_S)
            self._is_counted = True
        self.market = market

    def _keep_ledger(self, lookup: Lookup) -> None:
        is_whole = self._known is None or self._timer() >= self._whole_due
        places = lookup.places(None if is_whole else self._known)
        known = lookup.newest_batch(), lookup.under_way()
        out, into = self.ledger.stale(places, whole=is_whole)
        trades = lookup.chain_trades(into) if into else []
        slots = self.ledger.untold({trade.slot for trade in trades})
        tariffs = _tariffs(lookup, self._config, slots)
        # Everything is read: from here on nothing fails half way.
        self.ledger.take_out(out)
        self.ledger.put_in({batch: places[batch] for batch in into}, trades, tariffs)
        self._known = known
        if is_whole:
            self._is_whole, self._whole_due = True, self._timer() + WHOLE_S


class Board:
    """Keeps the overview for as long as `run` runs, tells who listens of each new one, and answers other questions."""

    def __init__(
        self,
        config: Config,
        watch: Watch,
        *,
        counts: Callable[[], Counts],
        clock: Callable[[], float] = time.time,
        timer: Callable[[], float] = time.monotonic,
    ) -> None:
        """Counts are of what came in; clock returns seconds since the epoch, timer seconds that only ever go on."""
        self._config = config
        self._watch = watch
        self._counts = counts
        self._clock = clock
        self._timer = timer
        self._started = clock()
        self._reader = _Reader(config, clock, timer)
        self._worker = ThreadPoolExecutor(1, thread_name_prefix="figures")
        self._wake = asyncio.Event()
        self._looked: asyncio.Future[None] | None = None  # the next look that ends
        self._watched_until = float("-inf")
        self._listeners: set[asyncio.Event] = set()
        self._seen: tuple[object, ...] = ()  # what the overview was made of, besides the database
        self._content: dict[str, Any] = {}
        self._made_at = float("-inf")
        self.version = 0
        self.made_at = 0.0  # the clock's time of the present overview
        self.overview: Document | None = None

    # ------------------------------------------------------------- asking

    @property
    def view(self) -> View:
        """What the bridge last saw, with what the page's figures suffer from."""
        reader = self._reader
        return replace(self._watch.view, read_trouble=reader.trouble, read_at=reader.read_at)

    @property
    def head(self) -> int | None:
        """The newest block when the chain was last seen."""
        return None if self._watch.chain is None else self._watch.chain.head_block

    async def ask(self, question: Callable[[Lookup, Ledger], _T]) -> _T:
        """Let the thread answer a question, with the ledger as the database is now; raises StoreError."""
        return await asyncio.get_running_loop().run_in_executor(self._worker, self._reader.ask, question)

    def outbox(self) -> Outbox:
        """What was not settled yet when the database was last read."""
        market = self._reader.market
        return None if self._reader.read_at is None else (market.outbox_since, market.batches)

    async def latest(self) -> Document:
        """The overview, which is not older than a moment."""
        was_watched = self._is_watched
        self._watched_until = self._timer() + WATCHED_S
        if not was_watched or self.overview is None:
            await self._look_ended()
        if self.overview is None:
            raise StoreError("the bridge is only just starting")
        return self.overview

    @contextlib.contextmanager
    def listening(self) -> Iterator[asyncio.Event]:
        """An event that is set at each new version, and when there will be no more, for as long as this lasts."""
        event = asyncio.Event()
        event.set()
        was_watched = self._is_watched
        self._listeners.add(event)
        if not was_watched:
            self._wake.set()
        try:
            yield event
        finally:
            self._listeners.discard(event)

    @property
    def listeners(self) -> int:
        """How many listen."""
        return len(self._listeners)

    def wake_listeners(self) -> None:
        """Let everybody who listens look whether there is something new."""
        for event in self._listeners:
            event.set()

    # ------------------------------------------------------------- keeping

    async def run(self) -> None:
        """Look again and again; ends only by being cancelled."""
        try:
            while True:
                started = self._timer()
                try:
                    await self.look()
                except Exception:  # a mistake here is no reason to stop taking readings
                    log.exception("page_not_made")
                took_s = self._timer() - started
                self._tell_looked()
                self._wake.clear()
                # Who waited in vain for a busy database took nothing of anybody's time.
                pause_s = LOOK_S if self._reader.trouble else min(max(LOOK_S, LOOKING_SHARE * took_s), LONGEST_PAUSE_S)
                if self._is_watched:
                    await asyncio.sleep(pause_s)
                else:
                    with contextlib.suppress(TimeoutError):
                        await asyncio.wait_for(self._wake.wait(), IDLE_S)
        finally:
            self._tell_looked()

    def close(self) -> None:
        """End the thread; nothing may be asked any more."""
        self._worker.submit(self._reader.close)
        self._worker.shutdown(wait=True)

    async def look(self) -> None:
        """Read what is new, and make the overview again where it is another one."""
        loop = asyncio.get_running_loop()
        has_changed = await loop.run_in_executor(self._worker, self._reader.look)
        now, view, watch = self._clock(), self.view, self._watch
        found = problems(view, now=now, period_s=self._config.period_s)
        seen = (replace(view, read_at=None), watch.chain, watch.balances, self._counts(), found)
        is_old = self._timer() >= self._made_at + RENEW_S
        if not has_changed and not is_old and seen == self._seen:
            return
        self._seen = seen
        as_of = {"chain": watch.chain_at, "market": self._reader.read_at, "balances": watch.balances_at}
        content = await loop.run_in_executor(self._worker, self._put_into_words, view, watch, seen[3], found, now)
        if content == self._content and not is_old:
            return
        self._content, self._made_at = content, self._timer()
        document = await loop.run_in_executor(
            self._worker, json_document, {"version": self.version + 1, "now": now, "as_of": as_of, **content}
        )
        self.overview, self.version, self.made_at = document, self.version + 1, now
        self.wake_listeners()

    def _tell_looked(self) -> None:
        if self._looked is not None:
            self._looked.set_result(None)
            self._looked = None

    async def _look_ended(self) -> None:
        if self._looked is None:
            self._looked = asyncio.get_running_loop().create_future()
        self._wake.set()
        await asyncio.shield(self._looked)

    @property
    def _is_watched(self) -> bool:
        return bool(self._listeners) or self._timer() < self._watched_until

    # -------------------------------------------------------------- words

    def _put_into_words(
        self, view: View, watch: Watch, counts: Counts, found: Sequence[str], now: float
    ) -> dict[str, Any]:
        """The overview without its version and times; in the thread, because the ledger is there."""
        config, market, ledger = self._config, self._reader.market, self._reader.ledger
        head = None if watch.chain is None else watch.chain.head_block
        return {
            "started": self._started,
            "market": _market_json(config),
            "health": {"healthy": not found, "problems": list(found), "notes": notes(view)},
            "chain": _chain_json(watch.chain, config),
            "bridge": {
                **asdict(counts),
                "open_slots": market.open_slots,
                "outbox_trades": market.outbox_trades,
                "outbox_age_s": None if market.outbox_since is None else max(0.0, round(now - market.outbox_since, 1)),
                "batches": market.batches,
                **market.counted,
            },
            "days": [date_of(day) for day in market.days],
            "totals": Totals._asdict(ledger.totals()),
            "actors": [
                {
                    **actor_json(name, config),
                    "balance_wei": str(watch.balances[name]) if name in watch.balances else None,
                    **figures_json(ledger.actors.get(name, Figures()), is_grid=name == config.grid),
                }
                for name in [*config.actors, *sorted(ledger.actors.keys() - config.actors.keys())]
            ],
            "latest_slot": market.latest_slot,
            "trades": [trade_json(trade, head) for trade in market.trades],
        }


def _market_json(config: Config) -> dict[str, Any]:
    return {
        "address": to_checksum_address(config.market_address),
        "chain_id": config.chain_id,
        "mode": config.mode,
        "currency": config.currency,
        "wei_per_unit": str(config.wei_per_unit),
        "slot_s": config.slot_s,
        "period_s": config.period_s,
        "confirmations": config.confirmations,
        "grid": config.grid,
        "method": config.rules.method,
        "fee_account": config.rules.fee_account,
        "clock": config.clock,
        "authenticated": config.source_keys is not None,
    }


def _chain_json(chain: ChainView | None, config: Config) -> dict[str, Any]:
    """The chain as it was last seen: who sealed the last blocks, and how many seconds there were between them."""
    chain = chain or ChainView()
    window = [block for block in chain.window if block.number > 0]
    block_time_s = (window[-1].time - window[0].time) / (len(window) - 1) if len(window) > 1 else None
    sealers = []
    for address in sorted(chain.sealed or {}, key=lambda address: (config.sealers.get(address.lower(), ""), address)):
        own = [block for block in window if block.sealer == address]
        sealers.append(
            {
                "name": config.sealers.get(address.lower()),
                "address": to_checksum_address(address),
                "last_block": own[-1].number if own else None,
                "last_time": own[-1].time if own else None,
                "sealed": len(own),
                "in_turn": sum(block.in_turn for block in own),
            }
        )
    return {
        "head_block": chain.head_block,
        "head_time": chain.head_time,
        "block_time_s": block_time_s,
        "sealers": sealers,
        "window_blocks": len(window),
    }


def actor_json(name: str, config: Config) -> dict[str, Any]:
    """Who an actor is; one that is no longer in the configuration is known by its name alone."""
    actor = config.actors.get(name)
    if actor is None:
        return {"name": name, "kind": None, "address": None}
    return {"name": name, "kind": actor.kind, "address": to_checksum_address(actor.address)}


def figures_json(figures: Figures, *, is_grid: bool) -> dict[str, Any]:
    """An actor's sums; what compares with the grid says nothing of the grid itself."""
    is_unknown = is_grid or figures.unpriced
    return {
        "sold_wh": figures.sold_wh,
        "bought_wh": figures.bought_wh,
        "received_wei": str(figures.received_wei),
        "paid_wei": str(figures.paid_wei),
        "grid_only_wei": None if is_unknown else str(figures.grid_only_wei),
        "self_consumption": None if is_grid else figures.self_consumption,
        "self_sufficiency": None if is_grid else figures.self_sufficiency,
    }


def trade_json(trade: ListedTrade, head: int | None) -> dict[str, Any]:
    """A trade and where it stands, head being the newest block."""
    is_deep = head is not None and trade.block is not None
    return {
        "id": trade.id,
        "slot": trade.slot,
        "seller": trade.seller,
        "buyer": trade.buyer,
        "energy_wh": trade.energy_wh,
        "price_wei_per_wh": str(trade.price_wei_per_wh),
        "amount_wei": str(trade.energy_wh * trade.price_wei_per_wh),
        "imbalance": trade.imbalance,
        "state": trade.state,
        "batch_seq": trade.batch_seq,
        "transaction": trade.transaction,
        "block": trade.block,
        "confirmations": max(0, (head or 0) - (trade.block or 0) + 1) if is_deep else None,
        "refused_because": trade.refused_because,
    }


def date_of(day: int) -> str:
    """A day since the epoch as YYYY-MM-DD."""
    return date.fromordinal(_EPOCH + day).isoformat()


def tariff_of(lookup: Lookup, config: Config, slot: int) -> Tariff:
    """At what the grid buys and sells in a slot; raises StoreError."""
    return _tariffs(lookup, config, {slot})[slot]


def _tariffs(lookup: Lookup, config: Config, slots: set[int]) -> dict[int, Tariff]:
    """The rules' tariffs, or else the price that the grid named last."""
    buys, sells = config.rules.grid_buys_wei_per_wh, config.rules.grid_sells_wei_per_wh
    named: Mapping[int, int | None] = {}
    if buys is None or sells is None:
        named = lookup.last_prices(config.grid, slots)
    return {
        slot: Tariff(named.get(slot) if buys is None else buys, named.get(slot) if sells is None else sells)
        for slot in slots
    }


def _new_ledger(config: Config) -> Ledger:
    return Ledger(grid=config.grid, fee_account=config.rules.fee_account, slot_s=config.slot_s)
