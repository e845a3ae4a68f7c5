# SPDX-License-Identifier: GPL-3.0-or-later
"""The read-only JSON API at /api/v1/: what the page shows, and anybody else may ask. openapi.py describes it."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import date
from http import HTTPStatus
from typing import Any

import aiohttp
from aiohttp import web
from eth_utils.address import to_checksum_address

from energy_bridge.config import Config
from energy_bridge.documents import json_document, respond
from energy_bridge.figures import Board, actor_json, date_of, figures_json, tariff_of, trade_json
from energy_bridge.health import ask_node, block_of
from energy_bridge.ledger import Figures, Ledger
from energy_bridge.lookup import STATES, ListedReading, ListedSlot, Lookup
from energy_bridge.model import DAY_S, INT64_MAX, UINT32_MAX
from energy_bridge.openapi import PREFIX, document

__all__ = ["Api", "ApiError"]

DEFAULT_LIMIT, MOST_LIMIT = 50, 500
MOST_STREAMS = 200
MOST_NODE_CALLS = 8  # at once: the node has to follow the chain as well
COMMENT_S = 10.0
PACE_S = 0.5  # between two events of one stream
SLOW_BYTES = 16_384  # of events wait for a client that does not read
_WHOLE = re.compile(r"0|[1-9][0-9]{0,18}", re.ASCII)
_DAY = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", re.ASCII)
_HASH = re.compile(r"0x[0-9a-fA-F]{64}", re.ASCII)
_EPOCH = date(1970, 1, 1).toordinal()

_NODE_ERRORS = (aiohttp.ClientError, TimeoutError, OSError, ValueError, KeyError, TypeError)


class ApiError(Exception):
    """What is wrong with a request, or with what it needs: a status and a sentence."""

    def __init__(self, status: HTTPStatus, sentence: str) -> None:
        super().__init__(sentence)
        self.status = status


class Api:
    """The handlers of the API; start and close it in the running event loop."""

    def __init__(self, config: Config, board: Board) -> None:
        """Board has the figures, and the database."""
        self._config = config
        self._board = board
        self._session: aiohttp.ClientSession | None = None
        self._node_calls = asyncio.Semaphore(MOST_NODE_CALLS)
        self._openapi = json_document(document())
        self._closing = asyncio.Event()

    def add_to(self, router: web.UrlDispatcher) -> None:
        """Add the API's paths."""
        for path, handler in (
            ("overview", self._overview),
            ("events", self._events),
            ("days", self._days),
            ("actors/{name}/statement", self._statement),
            ("trades", self._trades),
            ("readings", self._readings),
            ("slots", self._slots),
            ("slots/{slot}", self._slot),
            ("transactions/{hash}", self._transaction),
            ("blocks/{number}", self._block),
            ("openapi.json", self._describe),
        ):
            router.add_get(f"{PREFIX}/{path}", handler)

    async def close(self) -> None:
        """End the streams, and the connections to the node."""
        self._closing.set()
        self._board.wake_listeners()
        if self._session is not None:
            await self._session.close()

    # ------------------------------------------------------------ figures

    async def _overview(self, request: web.Request) -> web.StreamResponse:
        _query(request)
        return respond(request, await self._board.latest())

    async def _events(self, request: web.Request) -> web.StreamResponse:
        _query(request)
        if self._board.listeners >= MOST_STREAMS:
            raise ApiError(HTTPStatus.SERVICE_UNAVAILABLE, f"{MOST_STREAMS} streams are open already; ask again later.")
        with self._board.listening() as news:
            stream = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
            await stream.prepare(request)
            with suppress(ConnectionError):
                await self._stream(request, stream, news)
        return stream

    async def _stream(self, request: web.Request, stream: web.StreamResponse, news: asyncio.Event) -> None:
        told = 0
        while not self._closing.is_set():
            news.clear()
            board = self._board
            if board.version != told:
                told = board.version
                data = json.dumps({"version": told, "now": board.made_at})
                line = f"event: overview\ndata: {data}\n\n"
            else:
                line = ": still here\n\n"
            # Who reads too slowly for lines of this length is not there any more.
            if request.transport is None or request.transport.get_write_buffer_size() > SLOW_BYTES:
                return
            await stream.write(line.encode())
            if await _within(self._closing, PACE_S):
                return
            await _within(news, COMMENT_S - PACE_S)

    async def _days(self, request: web.Request) -> web.StreamResponse:
        name = _query(request, "actor").get("actor")
        if name is None:
            raise ApiError(HTTPStatus.BAD_REQUEST, "actor is missing: it has to be the name of an actor.")
        is_grid = name == self._config.grid

        def read(_: Lookup, ledger: Ledger) -> dict[str, Any]:
            self._need_actor(name, ledger)
            days = [(day, ledger.of_day(day)) for day in ledger.days]
            return {
                "actor": name,
                "days": [
                    {"day": date_of(day), **figures_json(actors[name], is_grid=is_grid)}
                    for day, actors in days
                    if name in actors
                ],
            }

        return await self._answer(request, read)

    async def _statement(self, request: web.Request) -> web.StreamResponse:
        name, text = request.match_info["name"], _query(request, "day").get("day")
        if text is None:
            raise ApiError(HTTPStatus.BAD_REQUEST, "day is missing: it has to be a day as in 2026-11-29.")
        day, is_grid = _day(text), name == self._config.grid

        def read(_: Lookup, ledger: Ledger) -> dict[str, Any]:
            self._need_actor(name, ledger)
            who = actor_json(name, self._config)
            return {
                "actor": who.pop("name"),
                **who,
                "day": date_of(day),
                **figures_json(ledger.of_day(day).get(name, Figures()), is_grid=is_grid),
                "counterparties": [
                    {
                        "name": partner,
                        "sold_wh": figures.sold_wh,
                        "bought_wh": figures.bought_wh,
                        "received_wei": str(figures.received_wei),
                        "paid_wei": str(figures.paid_wei),
                        "trades": figures.trades,
                    }
                    for partner, figures in sorted(ledger.partners(day, name).items())
                ],
            }

        return await self._answer(request, read)

    # -------------------------------------------------------------- lists

    async def _trades(self, request: web.Request) -> web.StreamResponse:
        asked = _query(request, "actor", "slot", "day", "state", "before", "limit")
        limit, before = _limit(asked), _whole(asked, "before", INT64_MAX)
        slots = self._slots_of(_whole(asked, "slot", UINT32_MAX), asked.get("day"))
        actor, state = asked.get("actor"), asked.get("state")
        if state is not None and state not in STATES:
            raise ApiError(HTTPStatus.BAD_REQUEST, f"state has to be {', '.join(STATES[:-1])} or {STATES[-1]}.")

        def read(lookup: Lookup, ledger: Ledger) -> dict[str, Any]:
            if actor is not None:
                self._need_actor(actor, ledger)
            found = lookup.list_trades(actor=actor, slots=slots, state=state, before=before, limit=limit)
            head = self._board.head
            return {
                "trades": [trade_json(trade, head) for trade in found],
                "next": found[-1].id if len(found) == limit else None,
            }

        return await self._answer(request, read)

    def _slots_of(self, slot: int | None, day: str | None) -> tuple[int, int] | None:
        """The first and the last slot that are asked for; None for all."""
        spans = [] if slot is None else [(slot, slot)]
        if day is not None:
            number, slot_s = _day(day), self._config.slot_s
            spans.append((-(-number * DAY_S // slot_s), -(-(number + 1) * DAY_S // slot_s) - 1))
        return (max(first for first, _ in spans), min(last for _, last in spans)) if spans else None

    async def _readings(self, request: web.Request) -> web.StreamResponse:
        asked = _query(request, "source", "slot", "before", "limit")
        limit, before = _limit(asked), _whole(asked, "before", INT64_MAX)
        slot, source = _whole(asked, "slot", UINT32_MAX), asked.get("source")

        def read(lookup: Lookup, ledger: Ledger) -> dict[str, Any]:
            if source is not None:
                self._need_actor(source, ledger)
            found = lookup.list_readings(source=source, slot=slot, before=before, limit=limit)
            return {
                "readings": [_reading_json(reading) for reading in found],
                "next": found[-1].id if len(found) == limit else None,
            }

        return await self._answer(request, read)

    async def _slots(self, request: web.Request) -> web.StreamResponse:
        asked = _query(request, "before", "limit")
        limit, before = _limit(asked), _whole(asked, "before", UINT32_MAX + 1)

        def read(lookup: Lookup, _: Ledger) -> dict[str, Any]:
            found = lookup.list_slots(before=before, limit=limit)
            return {
                "slots": [ListedSlot._asdict(slot) for slot in found],
                "next": found[-1].slot if len(found) == limit else None,
            }

        return await self._answer(request, read)

    async def _slot(self, request: web.Request) -> web.StreamResponse:
        _query(request)
        number = _whole(dict(request.match_info), "slot", UINT32_MAX) or 0
        config = self._config

        def read(lookup: Lookup, _: Ledger) -> dict[str, Any]:
            if (slot := lookup.slot(number)) is None:
                raise ApiError(HTTPStatus.NOT_FOUND, f"Nothing was ever said of slot {number}.")
            tariff, head = tariff_of(lookup, config, number), self._board.head
            return {
                **slot._asdict(),
                "offers": [
                    {
                        "actor": source,
                        "kind": actor_json(source, config)["kind"],
                        "energy_wh": wh,
                        "price_wei_per_wh": str(price),
                    }
                    for source, wh, price in lookup.offers(number)
                    if source != config.grid
                ],
                "trades": [
                    trade_json(trade, head) for trade in lookup.list_trades(slots=(number, number), limit=MOST_LIMIT)
                ],
                "grid_buys_wei_per_wh": _text(tariff.buys_wei_per_wh),
                "grid_sells_wei_per_wh": _text(tariff.sells_wei_per_wh),
            }

        return await self._answer(request, read)

    # -------------------------------------------------------------- chain

    async def _transaction(self, request: web.Request) -> web.StreamResponse:
        _query(request)
        sought = request.match_info["hash"].lower()
        if not _HASH.fullmatch(sought):
            raise ApiError(HTTPStatus.BAD_REQUEST, "The hash of a transaction is 0x and 64 hex digits.")
        content = await self._of_node(lambda ask: _transaction_json(sought, ask))
        if content is None:
            raise ApiError(HTTPStatus.NOT_FOUND, f"The node knows no transaction {sought}.")
        head = self._board.head

        def read(lookup: Lookup, _: Ledger) -> dict[str, Any]:
            batch, seq, state = lookup.batch_of(sought) or (None, None, None)
            trades = [] if batch is None else lookup.trades_of(batch, MOST_LIMIT)
            return {
                **content,
                "batch_seq": seq,
                "batch_state": state,
                "trades": [trade_json(trade, head) for trade in trades],
            }

        return await self._answer(request, read)

    async def _block(self, request: web.Request) -> web.StreamResponse:
        _query(request)
        asked = request.match_info["number"]
        number = "latest" if asked == "latest" else hex(_whole(dict(request.match_info), "number", INT64_MAX) or 0)
        content = await self._of_node(lambda ask: _block_json(number, ask, self._config))
        if content is None:
            raise ApiError(HTTPStatus.NOT_FOUND, f"The chain has no block {asked} yet.")
        return respond(request, json_document(content))

    async def _of_node(self, question: Callable[[_Ask], Awaitable[dict[str, Any] | None]]) -> dict[str, Any] | None:
        """What the node says; raises ApiError where it cannot be asked."""
        if self._session is None:
            self._session = aiohttp.ClientSession()
        session = self._session

        async def ask(*calls: tuple[str, list[Any]]) -> list[dict[str, Any]]:
            return await ask_node(session, self._config.rpc_url, calls)

        try:
            async with self._node_calls:
                return await question(ask)
        except _NODE_ERRORS as error:
            reason = str(error) or type(error).__name__
            raise ApiError(HTTPStatus.SERVICE_UNAVAILABLE, f"The node cannot be asked: {reason}.") from error

    # -------------------------------------------------------------- common

    async def _describe(self, request: web.Request) -> web.StreamResponse:
        _query(request)
        return respond(request, self._openapi)

    async def _answer(
        self, request: web.Request, question: Callable[[Lookup, Ledger], dict[str, Any]]
    ) -> web.StreamResponse:
        """Answer a question to the database."""
        return respond(request, await self._board.ask(lambda *of: json_document(question(*of))))

    def _need_actor(self, name: str, ledger: Ledger) -> None:
        if name not in self._config.actors and name not in ledger.actors:
            raise ApiError(HTTPStatus.NOT_FOUND, f"There is no actor {name!r}.")


_Ask = Callable[..., Awaitable[list[dict[str, Any]]]]


async def _transaction_json(sought: str, ask: _Ask) -> dict[str, Any] | None:
    transaction, receipt, newest = [
        answer["result"]
        for answer in await ask(
            ("eth_getTransactionByHash", [sought]),
            ("eth_getTransactionReceipt", [sought]),
            ("eth_blockNumber", []),
        )
    ]
    if transaction is None:
        return None
    block = None
    if receipt is not None:
        (answer,) = await ask(("eth_getBlockByHash", [receipt["blockHash"], False]))
        block = None if answer["result"] is None else block_of(answer["result"])
    return {
        "hash": transaction["hash"],
        "from": to_checksum_address(transaction["from"]),
        "to": transaction["to"] and to_checksum_address(transaction["to"]),
        "block": block and block.number,
        "block_hash": block and block.hash,
        "time": block and block.time,
        "succeeded": receipt["status"] == "0x1" if block else None,
        "gas_used": int(receipt["gasUsed"], 16) if block else None,
        "confirmations": max(0, int(newest, 16) - block.number + 1) if block else None,
    }


async def _block_json(number: str, ask: _Ask, config: Config) -> dict[str, Any] | None:
    (answer,) = await ask(("eth_getBlockByNumber", [number, False]))
    if (header := answer["result"]) is None:
        return None
    block, sealer = block_of(header), None
    if block.number:
        (signer,) = await ask(("clique_getSigner", [block.hash]))
        sealer = signer.get("result")
    return {
        "number": block.number,
        "hash": block.hash,
        "parent_hash": block.parent_hash,
        "time": block.time,
        "sealer": sealer and to_checksum_address(sealer),
        "sealer_name": sealer and config.sealers.get(sealer.lower()),
        "in_turn": block.in_turn,
        "gas_used": int(header["gasUsed"], 16),
        "gas_limit": int(header["gasLimit"], 16),
        "transactions": header["transactions"],
    }


def _reading_json(reading: ListedReading) -> dict[str, Any]:
    texts = {"energy_nwh": str(reading.energy_nwh), "price_wei_per_wh": str(reading.price_wei_per_wh)}
    return reading._asdict() | texts


def _text(value: int | None) -> str | None:
    return None if value is None else str(value)


def _query(request: web.Request, *names: str) -> dict[str, str]:
    """The parameters of a request; raises ApiError for one that there is not, and for one that is there twice."""
    for name in request.query:
        if name not in names:
            known = f"there are {', '.join(names)}" if names else "there is none here"
            raise ApiError(HTTPStatus.BAD_REQUEST, f"{name!r} is no parameter: {known}.")
        if len(request.query.getall(name)) > 1:
            raise ApiError(HTTPStatus.BAD_REQUEST, f"{name} stands there more than once.")
    return dict(request.query)


def _whole(asked: dict[str, str], name: str, most: int, least: int = 0) -> int | None:
    if (text := asked.get(name)) is None:
        return None
    if not _WHOLE.fullmatch(text) or not least <= int(text) <= most:
        raise ApiError(HTTPStatus.BAD_REQUEST, f"{name} has to be a whole number from {least} to {most}.")
    return int(text)


def _limit(asked: dict[str, str]) -> int:
    return _whole(asked, "limit", MOST_LIMIT, least=1) or DEFAULT_LIMIT


def _day(text: str) -> int:
    """The day since the epoch; raises ApiError."""
    try:
        if _DAY.fullmatch(text):
            return date.fromisoformat(text).toordinal() - _EPOCH
    except ValueError:
        pass
    raise ApiError(HTTPStatus.BAD_REQUEST, "day has to be a day as in 2026-11-29.")


async def _within(event: asyncio.Event, timeout_s: float) -> bool:
    """Wait for an event, but not longer than this; did it come?"""
    with suppress(TimeoutError):
        await asyncio.wait_for(event.wait(), timeout_s)
    return event.is_set()
