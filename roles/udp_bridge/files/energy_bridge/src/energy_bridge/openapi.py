# SPDX-License-Identifier: GPL-3.0-or-later
"""The JSON API in OpenAPI's words. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from energy_bridge.config import Clock
from energy_bridge.lookup import STATES
from energy_bridge.model import INT64_MAX, UINT32_MAX, BatchState, Fate, Kind, Mode

__all__ = ["PREFIX", "document"]

PREFIX = "/api/v1"
_Schema = dict[str, Any]

_TEXT: _Schema = {"type": "string"}
_FLAG: _Schema = {"type": "boolean"}
_COUNT: _Schema = {"type": "integer", "minimum": 0}
_WHOLE: _Schema = {"type": "integer"}
_TIME: _Schema = {"type": "number", "description": "seconds since the epoch"}
_WEI: _Schema = {"type": "string", "pattern": "^-?[0-9]+$", "description": "a whole number of wei, in decimal digits"}
_ADDRESS: _Schema = {"type": "string", "pattern": "^0x[0-9a-fA-F]{40}$"}
_HASH: _Schema = {"type": "string", "pattern": "^0x[0-9a-fA-F]{64}$"}
_DAY: _Schema = {"type": "string", "format": "date", "description": "a day in UTC, as in 2026-11-29"}
_SHARE: _Schema = {"type": ["number", "null"], "minimum": 0, "maximum": 1}
_SLOT: _Schema = {"type": "integer", "minimum": 0, "maximum": UINT32_MAX}
_ID: _Schema = {"type": "integer", "minimum": 0, "maximum": INT64_MAX}
_NAMES: _Schema = {"type": "array", "items": _TEXT}


def _or_null(schema: _Schema) -> _Schema:
    return {"anyOf": [schema, {"type": "null"}]}


def _one_of(words: Any) -> _Schema:
    return {"type": "string", "enum": [str(word) for word in words]}


def _object(properties: Mapping[str, _Schema]) -> _Schema:
    return {"type": "object", "properties": dict(properties), "required": list(properties)}


def _list(schema: _Schema) -> _Schema:
    return {"type": "array", "items": schema}


def _ref(name: str) -> _Schema:
    return {"$ref": f"#/components/schemas/{name}"}


_FIGURES: _Schema = {
    "sold_wh": _COUNT,
    "bought_wh": _COUNT,
    "received_wei": _WEI,
    "paid_wei": _WEI,
    "grid_only_wei": _or_null(_WEI),
    "self_consumption": _SHARE,
    "self_sufficiency": _SHARE,
}
_WHO: _Schema = {"kind": _or_null(_one_of(Kind)), "address": _or_null(_ADDRESS)}
_TRADE = _object(
    {
        "id": _ID,
        "slot": _SLOT,
        "seller": _TEXT,
        "buyer": _TEXT,
        "energy_wh": {"type": "integer", "minimum": 1},
        "price_wei_per_wh": _WEI,
        "amount_wei": _WEI,
        "imbalance": _FLAG,
        "state": _one_of(STATES),
        "batch_seq": _or_null(_COUNT),
        "transaction": _or_null(_TEXT),
        "block": _or_null(_COUNT),
        "confirmations": _or_null(_COUNT),
        "refused_because": _or_null(_TEXT),
    }
)
_READING = _object(
    {
        "id": _ID,
        "source": _TEXT,
        "boot": _COUNT,
        "seq": _COUNT,
        "time": _TIME,
        "received_at": _TIME,
        "slot": _SLOT,
        "energy_nwh": {"type": "string", "pattern": "^-?[0-9]+$", "description": "10^-9 Wh"},
        "price_wei_per_wh": _WEI,
        "fate": _one_of(Fate),
        "wh": _or_null(_WHOLE),
    }
)
_SLOT_FIELDS: _Schema = {
    "slot": _SLOT,
    "first_at": _TIME,
    "closed_at": _or_null(_TIME),
    "traded": _or_null(_COUNT),
    "missing": _or_null(_NAMES),
    "refusal": _or_null(_TEXT),
}
_OVERVIEW = _object(
    {
        "version": _COUNT,
        "now": _TIME,
        "as_of": _object({part: _or_null(_TIME) for part in ("chain", "market", "balances")}),
        "started": _TIME,
        "market": _object(
            {
                "address": _ADDRESS,
                "chain_id": _COUNT,
                "mode": _one_of(Mode),
                "currency": _TEXT,
                "wei_per_unit": _WEI,
                "slot_s": _COUNT,
                "period_s": {"type": "number"},
                "confirmations": _COUNT,
                "grid": _TEXT,
                "method": _TEXT,
                "fee_account": _or_null(_TEXT),
                "clock": _one_of(Clock),
                "authenticated": _FLAG,
            }
        ),
        "health": _object({"healthy": _FLAG, "problems": _NAMES, "notes": _NAMES}),
        "chain": _object(
            {
                "head_block": _or_null(_COUNT),
                "head_time": _or_null(_TIME),
                "block_time_s": _or_null({"type": "number"}),
                "sealers": _list(
                    _object(
                        {
                            "name": _or_null(_TEXT),
                            "address": _ADDRESS,
                            "last_block": _or_null(_COUNT),
                            "last_time": _or_null(_TIME),
                            "sealed": _COUNT,
                            "in_turn": _COUNT,
                        }
                    )
                ),
                "window_blocks": _COUNT,
            }
        ),
        "bridge": _object(
            {
                "received": _COUNT,
                "rejected": {"type": "object", "additionalProperties": _COUNT},
                "repeated": _COUNT,
                "conflicts": _COUNT,
                "dropped": _COUNT,
                "gaps": _COUNT,
                "accepted": _COUNT,
                "queue_length": _COUNT,
                "open_slots": _COUNT,
                "outbox_trades": _COUNT,
                "outbox_age_s": _or_null({"type": "number", "minimum": 0}),
                "readings": _object(dict.fromkeys(("stored", *map(str, Fate)), _COUNT)),
                "trades": _object(dict.fromkeys(("made", "settled", "refused", "imbalances"), _COUNT)),
                "batches": _object({str(state): _COUNT for state in BatchState}),
            }
        ),
        "days": _list(_DAY),
        "totals": _object(dict.fromkeys(("traded_wh", "local_wh", "grid_wh"), _COUNT)),
        "actors": _list(_object({"name": _TEXT, **_WHO, "balance_wei": _or_null(_WEI), **_FIGURES})),
        "latest_slot": _or_null(_SLOT),
        "trades": _list(_ref("Trade")),
    }
)
_STATEMENT = _object(
    {
        "actor": _TEXT,
        **_WHO,
        "day": _DAY,
        **_FIGURES,
        "counterparties": _list(
            _object(
                {
                    "name": _TEXT,
                    "sold_wh": _COUNT,
                    "bought_wh": _COUNT,
                    "received_wei": _WEI,
                    "paid_wei": _WEI,
                    "trades": _COUNT,
                }
            )
        ),
    }
)
_ONE_SLOT = _object(
    {
        **_SLOT_FIELDS,
        "offers": _list(
            _object(
                {
                    "actor": _TEXT,
                    "kind": _or_null(_one_of(Kind)),
                    "energy_wh": _WHOLE,
                    "price_wei_per_wh": _WEI,
                }
            )
        ),
        "trades": _list(_ref("Trade")),
        "grid_buys_wei_per_wh": _or_null(_WEI),
        "grid_sells_wei_per_wh": _or_null(_WEI),
    }
)
_TRANSACTION = _object(
    {
        "hash": _HASH,
        "from": _ADDRESS,
        "to": _or_null(_ADDRESS),
        "block": _or_null(_COUNT),
        "block_hash": _or_null(_HASH),
        "time": _or_null(_TIME),
        "succeeded": _or_null(_FLAG),
        "gas_used": _or_null(_COUNT),
        "confirmations": _or_null(_COUNT),
        "batch_seq": _or_null(_COUNT),
        "batch_state": _or_null(_one_of(BatchState)),
        "trades": _list(_ref("Trade")),
    }
)
_BLOCK = _object(
    {
        "number": _COUNT,
        "hash": _HASH,
        "parent_hash": _HASH,
        "time": _TIME,
        "sealer": _or_null(_ADDRESS),
        "sealer_name": _or_null(_TEXT),
        "in_turn": _FLAG,
        "gas_used": _COUNT,
        "gas_limit": _COUNT,
        "transactions": _list(_HASH),
    }
)


def _parameter(name: str, schema: _Schema, text: str, *, where: str = "query", required: bool = False) -> _Schema:
    is_needed = required or where == "path"
    return {"name": name, "in": where, "required": is_needed, "schema": schema, "description": text}


_LIMIT = _parameter(
    "limit", {"type": "integer", "minimum": 1, "maximum": 500, "default": 50}, "how many, the newest first"
)


def _before(schema: _Schema) -> _Schema:
    return _parameter("before", schema, "where the former answer's `next` says that it goes on")


def _page_of(name: str, items: _Schema) -> _Schema:
    return _object({name: _list(items), "next": _or_null(_ID)})


def _get(operation: str, text: str, schema: _Schema, parameters: tuple[_Schema, ...] = (), *errors: int) -> _Schema:
    responses: _Schema = {
        "200": {"description": "The answer", "content": {"application/json": {"schema": schema}}},
        "304": {"description": "Nothing has changed since the answer with that ETag"},
    }
    for status in (400, *errors, 421):
        responses[str(status)] = {"$ref": f"#/components/responses/{status}"}
    return {"get": {"operationId": operation, "summary": text, "parameters": list(parameters), "responses": responses}}


_ERRORS = {
    400: "A parameter is not as it has to be",
    404: "What was asked for is not there",
    421: "The bridge does not answer under that host name",
    503: "The database or the node cannot be asked now",
}


def document() -> _Schema:
    """The OpenAPI 3.1 document of the API."""
    actor = _parameter("actor", {"type": "string", "minLength": 1}, "the name of an actor")
    slot = _parameter("slot", _SLOT, "the number of a slot")
    day = _parameter("day", _DAY, "a day in UTC, to which the slots belong that begin in it")
    events = _get("events", "An event at once, and at each new version of the overview", _TEXT, (), 503)
    events["get"]["responses"]["200"]["content"] = {"text/event-stream": {"schema": _TEXT}}
    del events["get"]["responses"]["304"]
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "energy-bridge",
            "version": "1",
            "description": "What the bridge knows of its market and its chain. Wei are decimal strings, energy is whole"
            " Wh, times are seconds since the epoch.",
            "license": {"name": "GPL-3.0-or-later", "identifier": "GPL-3.0-or-later"},
        },
        "servers": [{"url": PREFIX}],
        "paths": {
            "/overview": _get("overview", "All that the first view shows", _ref("Overview"), (), 503),
            "/events": events,
            "/days": _get(
                "days",
                "An actor's figures by day, of trades that are in the chain",
                _object({"actor": _TEXT, "days": _list(_object({"day": _DAY, **_FIGURES}))}),
                ({**actor, "required": True},),
                404,
                503,
            ),
            "/actors/{name}/statement": _get(
                "statement",
                "What an actor traded on a day, and with whom",
                _STATEMENT,
                (
                    _parameter("name", {"type": "string", "minLength": 1}, "the name of an actor", where="path"),
                    {**day, "required": True},
                ),
                404,
                503,
            ),
            "/trades": _get(
                "trades",
                "Trades, and where they stand",
                _page_of("trades", _ref("Trade")),
                (
                    actor,
                    slot,
                    day,
                    _parameter("state", _one_of(STATES), "where they stand"),
                    _before(_ID),
                    _LIMIT,
                ),
                404,
                503,
            ),
            "/readings": _get(
                "readings",
                "Readings that were stored: as they came, or those of one source as it sent them",
                _page_of("readings", _READING),
                ({**actor, "name": "source"}, slot, _before(_ID), _LIMIT),
                404,
                503,
            ),
            "/slots": _get(
                "slots",
                "Slots, those with the highest numbers first",
                _page_of("slots", _object(_SLOT_FIELDS)),
                (_before({**_SLOT, "maximum": UINT32_MAX + 1}), _LIMIT),
                503,
            ),
            "/slots/{slot}": _get(
                "slot",
                "A slot, with what was offered, and up to 500 of its trades",
                _ONE_SLOT,
                ({**slot, "in": "path", "required": True},),
                404,
                503,
            ),
            "/transactions/{hash}": _get(
                "transaction",
                "A transaction of the chain, and up to 500 of the trades that it settles",
                _TRANSACTION,
                (_parameter("hash", _HASH, "its hash", where="path"),),
                404,
                503,
            ),
            "/blocks/{number}": _get(
                "block",
                "A block of the chain",
                _BLOCK,
                (
                    _parameter(
                        "number",
                        {"anyOf": [_ID, {"type": "string", "const": "latest"}]},
                        "its number, or latest",
                        where="path",
                    ),
                ),
                404,
                503,
            ),
            "/openapi.json": _get("openapi", "This description", {"type": "object"}),
        },
        "components": {
            "schemas": {"Trade": _TRADE, "Overview": _OVERVIEW},
            "responses": {
                str(status): {
                    "description": text,
                    "content": {"application/json": {"schema": _object({"error": _TEXT})}},
                }
                for status, text in _ERRORS.items()
            },
        },
    }
