# SPDX-License-Identifier: GPL-3.0-or-later
"""The bridge's configuration: one JSON file, checked as a whole before anything starts."""

from __future__ import annotations

import ipaddress
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from energy_bridge.clearing import Battery, Method, Rules
from energy_bridge.model import DAY_S, INT64_MAX, Kind, Mode
from energy_bridge.wire import MAX_WHOLE
from energy_bridge.written import ConfigError, Settings, is_int, is_number, read_text

__all__ = ["Actor", "Clock", "Config", "parse_config", "read_config", "read_source_keys"]

_ADDRESS_CHARACTERS = 42
_LARGEST_PORT = 65535
_HOST_NAME = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_-]*[A-Za-z0-9_])?(\.[A-Za-z0-9_]([A-Za-z0-9_-]*[A-Za-z0-9_])?)*")
LONGEST_CURRENCY = 12
MOST_DELIVER_WITHIN_S = 180 * DAY_S  # the factory's bound is 366 days from now, and a slot may be ahead


class Clock(StrEnum):
    """Whether slots and readings are of the present time, or of a time that is played."""

    WALL = "wall"
    SIMULATED = "simulated"


@dataclass(frozen=True, slots=True)
class Actor:
    """A participant: the source's name, its id in binary datagrams, its account (0x and 40 hex digits), what it is."""

    name: str
    id: int
    address: str
    kind: Kind


@dataclass(frozen=True, slots=True)
class Config:
    """Where the bridge listens, what it settles on, and for whom. Times are seconds."""

    listen_host: str
    listen_port: int
    listen_allow: tuple[str, ...]
    web_host: str
    web_port: int | None
    clock: Clock
    accept_horizon_s: float
    database: Path
    rpc_url: str
    chain_id: int
    period_s: float
    market_address: str
    market_abi: Path
    mode: Mode
    agreement_factory: str | None  # in mode agreement its address
    deliver_within_s: int
    operator_keystore: Path
    operator_password_file: Path
    actors: Mapping[str, Actor]
    rules: Rules
    source_keys: Path | None
    slot_s: int
    lead_s: float
    grace_s: float
    retention_days: float
    confirmations: int
    poll_s: float
    strict: bool
    currency: str  # what the page shows money in
    wei_per_unit: int
    web_names: tuple[str, ...]  # host names that the page answers to, in small letters
    sealers: Mapping[str, str]  # names by address (in small letters)

    @property
    def grid(self) -> str:
        """The name of the one actor of kind grid."""
        return self.rules.grid


def read_config(path: Path) -> Config:
    """Read and check a configuration file; raises ConfigError."""
    return parse_config(_read_json(path))


def read_source_keys(path: Path) -> dict[str, tuple[bytes, ...]]:
    """Read the sources' secrets, {name: hex} or {name: [hex, …]}; the first of a source is the one to use.

    Raises ConfigError, never with a secret in it.
    """
    document = _read_json(path)
    try:
        return {name: _secrets(value) for name, value in document.items()}
    except (AttributeError, TypeError, ValueError):
        raise ConfigError(f"{path} does not hold an object of source names and hex digits, or lists of them.") from None


def _secrets(value: Any) -> tuple[bytes, ...]:
    secrets = tuple(bytes.fromhex(secret) for secret in ([value] if isinstance(value, str) else value))
    if not all(secrets):
        raise ValueError("an empty secret")
    return secrets


def _read_json(path: Path) -> Any:
    text = read_text(path)
    try:
        return json.loads(text)
    except ValueError as error:
        raise ConfigError(f"{path} is not JSON: {error}.") from error


def parse_config(document: Any) -> Config:
    """Check a configuration; raises ConfigError with one sentence for each problem, all of them at once."""
    if not isinstance(document, dict):
        raise ConfigError("The configuration has to be a JSON object.")
    problems = _wrong(document, _SETTINGS, needed=True)
    if isinstance(document.get("clearing"), dict) and _is_actors(document.get("actors")):
        problems += _wrong_clearing(document["clearing"], document["actors"])
    if not problems and document["accept_horizon_s"] >= document["retention_days"] * DAY_S:
        problems.append("retention_days has to be longer than accept_horizon_s: what is taken has to be known still.")
    if not problems and document["mode"] == Mode.AGREEMENT and document["agreement_factory"] is None:
        problems.append("agreement_factory is missing: the mode agreement needs the address of what makes agreements.")
    if problems:
        raise ConfigError("\n".join(problems))
    return Config(
        listen_host=document["listen_host"],
        listen_port=document["listen_port"],
        listen_allow=tuple(document["listen_allow"] or ()),
        web_host=document["web_host"],
        web_port=document["web_port"],
        clock=Clock(document["clock"]),
        accept_horizon_s=document["accept_horizon_s"],
        database=Path(document["database"]),
        rpc_url=document["rpc_url"],
        chain_id=document["chain_id"],
        period_s=document["period_s"],
        market_address=document["market"]["address"],
        market_abi=Path(document["market"]["abi"]),
        mode=Mode(document["mode"]),
        agreement_factory=document["agreement_factory"],
        deliver_within_s=document["deliver_within_s"],
        operator_keystore=Path(document["operator"]["keystore"]),
        operator_password_file=Path(document["operator"]["password_file"]),
        actors={
            name: Actor(name, number, actor["address"], Kind(actor["kind"]))
            for (name, actor), number in zip(document["actors"].items(), _ids(document["actors"]), strict=True)
        },
        rules=_rules(document["clearing"], document["actors"]),
        source_keys=None if document["source_keys"] is None else Path(document["source_keys"]),
        slot_s=document["slot_s"],
        lead_s=document["lead_s"],
        grace_s=document["grace_s"],
        retention_days=document["retention_days"],
        confirmations=document["confirmations"],
        poll_s=document["poll_s"],
        strict=document["strict"],
        currency=document["currency"],
        wei_per_unit=document["wei_per_unit"],
        web_names=tuple(name.lower() for name in document["web_names"]),
        sealers={address.lower(): name for address, name in document["sealers"].items()},
    )


def _wrong(document: Any, settings: Settings, prefix: str = "", *, needed: bool) -> list[str]:
    problems = [f"{prefix}{name} is not a setting of the bridge." for name in sorted(document.keys() - settings.keys())]
    for name, (wanted, accepts) in settings.items():
        if name in document:
            if not accepts(document[name]):
                problems.append(f"{prefix}{name} has to be {wanted}.")
        elif needed:
            problems.append(f"{prefix}{name} is missing: it has to be {wanted}.")
    return problems


def _wrong_clearing(clearing: Any, actors: Any) -> list[str]:
    """What is wrong with the rules of the market, each by itself, or else with all of them together."""
    wrong = _wrong(clearing, _CLEARING, "clearing.", needed=False)
    return wrong or [f"clearing.{line}" for line in _at_odds(clearing, actors)]


def _at_odds(clearing: Any, actors: Any) -> Iterator[str]:
    kinds = {name: actor["kind"] for name, actor in actors.items()}
    others = {name for name, kind in kinds.items() if kind != Kind.GRID}
    pairs, account = clearing.get("pairs", []), clearing.get("fee_account")
    if pairs and clearing.get("method") != Method.BILATERAL:
        yield "pairs are for the method bilateral, and for no other."
    if not pairs and clearing.get("method") == Method.BILATERAL:
        yield "pairs are missing: in the method bilateral nobody else trades."
    for name in sorted({name for pair in pairs for name in pair} - others):
        yield f"pairs names {name!r}, where an actor other than the grid has to stand."
    if account is None and clearing.get("fee_wei_per_wh"):
        yield "fee_account is missing: somebody has to get fee_wei_per_wh."
    if account is not None and account not in others:
        yield f"fee_account names {account!r}, where an actor other than the grid has to stand."
    for name in sorted(clearing.get("batteries", {})):
        if kinds.get(name) != Kind.BATTERY:
            yield f"batteries names {name!r}, where an actor of the kind Battery has to stand."


def _rules(clearing: Any, actors: Any) -> Rules:
    parsed = {
        "method": Method(clearing.get("method", Method.PAY_AS_BID)),
        "pairs": tuple((seller, buyer) for seller, buyer in clearing.get("pairs", [])),
        "batteries": {name: Battery(**battery) for name, battery in clearing.get("batteries", {}).items()},
    }
    grid = next(name for name, actor in actors.items() if actor["kind"] == Kind.GRID)
    return Rules(grid=grid, **{**clearing, **parsed})


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and bool(value)


def _is_seconds(value: Any) -> bool:
    return is_number(value) and value >= 0


def _is_port(value: Any) -> bool:
    return is_int(value) and 0 <= value <= _LARGEST_PORT


def _is_networks(value: Any) -> bool:
    try:
        return isinstance(value, list) and all(_is_network(item) for item in value)
    except ValueError:
        return False


def _is_network(value: Any) -> bool:
    return _is_text(value) and ipaddress.ip_network(value, strict=False) is not None


def _is_object(value: Any, *texts: str) -> bool:
    return isinstance(value, dict) and all(_is_text(value.get(name)) for name in texts)


def _is_address(value: str) -> bool:
    try:
        return value.startswith("0x") and len(value) == _ADDRESS_CHARACTERS and int(value, 16) >= 0
    except ValueError:
        return False


def _is_actors(value: Any) -> bool:
    if not isinstance(value, dict):
        return False
    for actor in value.values():
        if not _is_object(actor, "address", "kind") or not _is_address(actor["address"]):
            return False
    kinds = [actor["kind"] for actor in value.values()]
    addresses = {actor["address"].lower() for actor in value.values()}
    ids = _ids(value)
    return (
        set(kinds) <= set(Kind)
        and kinds.count(Kind.GRID) == 1
        and len(addresses) == len(value)
        and all(is_int(number) and 0 < number <= MAX_WHOLE for number in ids)
        and len(set(ids)) == len(value)
    )


def _ids(actors: Mapping[str, Any]) -> list[Any]:
    """Each actor's id: the one that it has, or else its place, from 1 on."""
    return [actor.get("id", place) for place, actor in enumerate(actors.values(), 1)]


def _is_pairs(value: Any) -> bool:
    return isinstance(value, list) and all(
        isinstance(pair, list) and len(pair) == 2 and all(map(_is_text, pair)) and pair[0] != pair[1]  # noqa: PLR2004
        for pair in value
    )


def _is_batteries(value: Any) -> bool:
    return isinstance(value, dict) and all(
        isinstance(battery, dict)
        and battery.keys() == {"capacity_wh", "charge_wh"}
        and all(map(is_int, battery.values()))
        and 0 <= battery["charge_wh"] <= battery["capacity_wh"]
        for battery in value.values()
    )


_TARIFF = (
    "a whole number of wei per Wh, or null for the grid's own price",
    lambda value: value is None or (is_int(value) and abs(value) <= INT64_MAX),
)
_CLEARING: Settings = {
    "method": (" or ".join(Method), lambda value: value in list(Method)),
    "pairs": ('a list of ["seller", "buyer"], two actors each', _is_pairs),
    "grid_buys_wei_per_wh": _TARIFF,
    "grid_sells_wei_per_wh": _TARIFF,
    "imbalance_buys_wei_per_wh": _TARIFF,
    "imbalance_sells_wei_per_wh": _TARIFF,
    "fee_wei_per_wh": (
        "a whole number of wei per Wh, not negative",
        lambda value: is_int(value) and 0 <= value <= INT64_MAX,
    ),
    "fee_account": ("the name of an actor, or null for none", lambda value: value is None or _is_text(value)),
    "batteries": (
        'an object {"actor": {"capacity_wh": 8000, "charge_wh": 4000}}, charge up to capacity',
        _is_batteries,
    ),
}
_SETTINGS: Settings = {
    "listen_host": ("an address to listen on", _is_text),
    "listen_port": ("a UDP port from 0 to 65535", _is_port),
    "listen_allow": (
        'a list of networks such as ["192.0.2.0/24"], or null for everyone',
        lambda value: value is None or _is_networks(value),
    ),
    "web_host": ("an address to listen on", _is_text),
    "web_port": ("a TCP port from 0 to 65535, or null for none", lambda value: value is None or _is_port(value)),
    "clock": (" or ".join(Clock), lambda value: value in list(Clock)),
    "accept_horizon_s": ("a positive number of seconds", lambda value: _is_seconds(value) and value > 0),
    "database": ("the path of the SQLite file", _is_text),
    "rpc_url": (
        "a URL that begins with http:// or https://",
        lambda value: _is_text(value) and value.startswith(("http://", "https://")),
    ),
    "chain_id": ("a positive whole number", lambda value: is_int(value) and value > 0),
    "period_s": ("the positive number of seconds from block to block", lambda value: _is_seconds(value) and value > 0),
    "market": (
        'an object {"address": "0x…", "abi": "path of the artefact"}',
        lambda value: _is_object(value, "address", "abi") and _is_address(value["address"]),
    ),
    "mode": (" or ".join(Mode), lambda value: value in list(Mode)),
    "agreement_factory": (
        "the address 0x… of what makes agreements, or null for none",
        lambda value: value is None or (_is_text(value) and _is_address(value)),
    ),
    "deliver_within_s": (
        f"a whole number of seconds, not negative and at most {MOST_DELIVER_WITHIN_S}",
        lambda value: is_int(value) and 0 <= value <= MOST_DELIVER_WITHIN_S,
    ),
    "operator": (
        'an object {"keystore": "folder", "password_file": "path"}',
        lambda value: _is_object(value, "keystore", "password_file"),
    ),
    "actors": (
        (
            'an object {"source": {"address": "0x…", "kind": "Load|PV|CHP|Battery|Grid"}}, perhaps with "id": 1, 2, …; '
            "one grid, no address and no id twice"
        ),
        _is_actors,
    ),
    "clearing": ("an object with the rules of the market, {} for pay as bid", lambda value: isinstance(value, dict)),
    "source_keys": (
        "the path of the sources' secrets, or null for no authentication",
        lambda value: value is None or _is_text(value),
    ),
    "slot_s": ("a positive whole number of seconds", lambda value: is_int(value) and value > 0),
    "lead_s": ("a number of seconds", is_number),
    "grace_s": ("a number of seconds, not negative", _is_seconds),
    "retention_days": ("a positive number of days", lambda value: _is_seconds(value) and value > 0),
    "confirmations": ("a positive whole number of blocks", lambda value: is_int(value) and value > 0),
    "poll_s": ("a positive number of seconds", lambda value: _is_seconds(value) and value > 0),
    "strict": ("true or false", lambda value: isinstance(value, bool)),
    "currency": (
        f"a name of 1 to {LONGEST_CURRENCY} characters, such as EUR",
        lambda value: (
            _is_text(value) and len(value) <= LONGEST_CURRENCY and value.isprintable() and value == value.strip()
        ),
    ),
    "wei_per_unit": ("a positive whole number of wei", lambda value: is_int(value) and value > 0),
    "web_names": (
        'a list of host names such as ["gateway.local"]',
        lambda value: isinstance(value, list) and all(_is_text(name) and _HOST_NAME.fullmatch(name) for name in value),
    ),
    "sealers": (
        'an object {"0x…": "name"} of the sealers\' addresses',
        lambda value: (
            isinstance(value, dict) and all(_is_address(key) and _is_text(name) for key, name in value.items())
        ),
    ),
}
