# SPDX-License-Identifier: GPL-3.0-or-later
"""The bridge's configuration: one JSON file, checked as a whole before anything starts."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from energy_bridge.model import Kind
from energy_bridge.wire import MAX_WHOLE

__all__ = ["Actor", "Config", "ConfigError", "parse_config", "read_config", "read_source_keys"]

_ADDRESS_CHARACTERS = 42
_LARGEST_PORT = 65535


class ConfigError(Exception):
    """What is wrong with a file that the user wrote, one sentence per line."""


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
    database: Path
    rpc_url: str
    chain_id: int
    market_address: str
    market_abi: Path
    operator_keystore: Path
    operator_password_file: Path
    actors: Mapping[str, Actor]
    source_keys: Path | None
    slot_s: int
    grace_s: float
    confirmations: int
    poll_s: float
    strict: bool

    @property
    def grid(self) -> str:
        """The name of the one actor of kind grid."""
        return next(actor.name for actor in self.actors.values() if actor.kind is Kind.GRID)


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
    try:
        return json.loads(path.read_text("utf-8"))
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}.") from error
    except ValueError as error:
        raise ConfigError(f"{path} is not JSON: {error}.") from error


def parse_config(document: Any) -> Config:
    """Check a configuration; raises ConfigError with one sentence for each problem, all of them at once."""
    if not isinstance(document, dict):
        raise ConfigError("The configuration has to be a JSON object.")
    problems = [f"{name} is not a setting of the bridge." for name in sorted(document.keys() - _SETTINGS.keys())]
    for name, (wanted, accepts) in _SETTINGS.items():
        if name not in document:
            problems.append(f"{name} is missing: it has to be {wanted}.")
        elif not accepts(document[name]):
            problems.append(f"{name} has to be {wanted}.")
    if problems:
        raise ConfigError("\n".join(problems))
    return Config(
        listen_host=document["listen_host"],
        listen_port=document["listen_port"],
        database=Path(document["database"]),
        rpc_url=document["rpc_url"],
        chain_id=document["chain_id"],
        market_address=document["market"]["address"],
        market_abi=Path(document["market"]["abi"]),
        operator_keystore=Path(document["operator"]["keystore"]),
        operator_password_file=Path(document["operator"]["password_file"]),
        actors={
            name: Actor(name, number, actor["address"], Kind(actor["kind"]))
            for (name, actor), number in zip(document["actors"].items(), _ids(document["actors"]), strict=True)
        },
        source_keys=None if document["source_keys"] is None else Path(document["source_keys"]),
        slot_s=document["slot_s"],
        grace_s=document["grace_s"],
        confirmations=document["confirmations"],
        poll_s=document["poll_s"],
        strict=document["strict"],
    )


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and bool(value)


def _is_int(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_seconds(value: Any) -> bool:
    return (_is_int(value) or isinstance(value, float)) and 0 <= value < float("inf")


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
        and all(_is_int(number) and 0 < number <= MAX_WHOLE for number in ids)
        and len(set(ids)) == len(value)
    )


def _ids(actors: Mapping[str, Any]) -> list[Any]:
    """Each actor's id: the one that it has, or else its place, from 1 on."""
    return [actor.get("id", place) for place, actor in enumerate(actors.values(), 1)]


# What each setting has to be: in words, and as a test.
_SETTINGS: dict[str, tuple[str, Callable[[Any], bool]]] = {
    "listen_host": ("an address to listen on", _is_text),
    "listen_port": ("a UDP port from 0 to 65535", lambda value: _is_int(value) and 0 <= value <= _LARGEST_PORT),
    "database": ("the path of the SQLite file", _is_text),
    "rpc_url": (
        "a URL that begins with http:// or https://",
        lambda value: _is_text(value) and value.startswith(("http://", "https://")),
    ),
    "chain_id": ("a positive whole number", lambda value: _is_int(value) and value > 0),
    "market": (
        'an object {"address": "0x…", "abi": "path of the artefact"}',
        lambda value: _is_object(value, "address", "abi") and _is_address(value["address"]),
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
    "source_keys": (
        "the path of the sources' secrets, or null for no authentication",
        lambda value: value is None or _is_text(value),
    ),
    "slot_s": ("a positive whole number of seconds", lambda value: _is_int(value) and value > 0),
    "grace_s": ("a number of seconds, not negative", _is_seconds),
    "confirmations": ("a positive whole number of blocks", lambda value: _is_int(value) and value > 0),
    "poll_s": ("a positive number of seconds", lambda value: _is_seconds(value) and value > 0),
    "strict": ("true or false", lambda value: isinstance(value, bool)),
}
