# SPDX-License-Identifier: GPL-3.0-or-later
"""What people and YAML write, to a contract's types and back, and what it says: events and reasons. Private here."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

from ansible_collections.smartenergy.clique.plugins.module_utils._errors import CliqueError
from ansible_collections.smartenergy.clique.plugins.module_utils._keccak import checked_address, checksum_address

with suppress(ImportError):  # _chain.MISSING has it
    from eth_abi.abi import decode as abi_decode
    from eth_abi.abi import encode as abi_encode
    from eth_abi.exceptions import DecodingError
    from web3 import Web3
    from web3.exceptions import ContractLogicError, Web3RPCError

__all__ = [
    "AbiError",
    "address",
    "by_name",
    "choose",
    "constructor",
    "decode",
    "encode",
    "event",
    "reason",
    "selector",
    "signature",
]

Item = Mapping[str, Any]
"""A function, an event, an error or a parameter, as an ABI has it."""

NUMBER = re.compile(r"-?[0-9]+|0x[0-9a-fA-F]+")
HEX = re.compile(r"0x(?:[0-9a-fA-F]{2})*")
ADDRESS = re.compile(r"0x[0-9a-fA-F]{40}")
BYTES = re.compile(r"bytes([0-9]*)")
FUNCTION_BYTES = 24
INTEGER = re.compile(r"(u?)int([0-9]*)")
ARRAY = re.compile(r"(.*)\[([0-9]*)\]")
# What geth says before it comes to the point.
PREAMBLE = re.compile(r"^(execution reverted: |failed with [0-9]+ gas: )")
ERROR_SELECTOR, PANIC_SELECTOR = bytes.fromhex("08c379a0"), bytes.fromhex("4e487b71")
PANICS = {
    0x01: "an assertion failed",
    0x11: "a number is too large or too small",
    0x12: "a division by zero",
    0x21: "no such value of an enum",
    0x31: "nothing left to pop",
    0x32: "an index out of range",
    0x41: "too much memory",
}


class AbiError(CliqueError):
    """An argument, or a name, that does not fit the contract's interface."""


def signature(item: Item) -> str:
    """The name and the types of a function, an event or an error, as its hash is made of them."""
    return f"{item['name']}({','.join(map(_type_of, item['inputs']))})"


def selector(item: Item) -> bytes:
    """The four bytes that a call of a function begins with."""
    return bytes(Web3.keccak(text=signature(item))[:4])


def _type_of(parameter: Item) -> str:
    kind: str = parameter["type"]
    if not kind.startswith("tuple"):
        return f"bytes{FUNCTION_BYTES}" if kind == "function" else kind
    return f"({','.join(map(_type_of, parameter['components']))}){kind.removeprefix('tuple')}"


def constructor(abi: Sequence[Item]) -> Item:
    """The constructor; one without arguments where the interface has none."""
    return next((item for item in abi if item["type"] == "constructor"), {"type": "constructor", "inputs": []})


def choose(abi: Sequence[Item], wanted: str, count: int, whose: str) -> Item:
    """The function of this name, or with this signature, that takes so many arguments."""
    functions = [item for item in abi if item["type"] == "function"]
    fitting = [item for item in functions if wanted in (item["name"], signature(item))]
    if not fitting:
        listed = ", ".join(sorted(map(signature, functions))) or "none"
        raise AbiError(f"{whose} has no function {wanted}; it has {listed}")
    if len(fitting) > 1:
        fitting = [item for item in fitting if len(item["inputs"]) == count] or fitting
    if len(fitting) > 1:
        raise AbiError(f"{whose} has several functions {wanted}; name one of {', '.join(map(signature, fitting))}")
    return fitting[0]


def encode(parameters: Sequence[Item], values: Sequence[Any], whose: str) -> bytes:
    """Encode values as their types want them; raises AbiError with the name and the type of one that does not fit."""
    if len(values) != len(parameters):
        wanted = ", ".join(f"{one.get('name') or 'one'} ({_type_of(one)})" for one in parameters)
        raise AbiError(
            f"{whose} takes {len(parameters)} arguments, not {len(values)}" + (f"; give {wanted}" if wanted else "")
        )
    try:
        given = [
            _typed(one, one["type"], value, one.get("name") or f"argument {place}")
            for place, (one, value) in enumerate(zip(parameters, values, strict=True), 1)
        ]
        return bytes(abi_encode([_type_of(one) for one in parameters], given))
    except _UnfitError as error:
        raise AbiError(f"{whose} cannot take {error}") from error


def address(value: Any, what: str, whose: str) -> str:
    """An address with its checksum; raises AbiError where it is none, or its checksum is wrong."""
    try:
        return _address(value, what)
    except _UnfitError as error:
        raise AbiError(f"{whose} cannot have {error}") from error


class _UnfitError(Exception):
    """What cannot be taken, as what, and what to give."""

    def __init__(self, value: Any, where: str, kind: str, wanted: str) -> None:
        super().__init__(f"{value!r} as {where} ({kind}); give {wanted}")


def _typed(parameter: Item, kind: str, value: Any, where: str) -> Any:
    """A value as its type wants it. YAML has no numbers with more than 64 bits worth trusting, so they may be text."""
    if match := ARRAY.fullmatch(kind):
        inner, length = match.groups()
        if not isinstance(value, list) or (length and len(value) != int(length)):
            whole = _type_of({**parameter, "type": kind})
            raise _UnfitError(value, where, whole, f"a list of {length} items" if length else "a list")
        return [_typed(parameter, inner, item, f"{where}[{place}]") for place, item in enumerate(value)]
    if kind == "tuple":
        return _tuple(parameter, value, where)
    return _plain_typed(f"bytes{FUNCTION_BYTES}" if kind == "function" else kind, value, where)


def _plain_typed(kind: str, value: Any, where: str) -> Any:
    if match := INTEGER.fullmatch(kind):
        return _integer(kind, match, value, where)
    if match := BYTES.fullmatch(kind):
        return _bytes(kind, int(match[1] or 0), value, where)
    if kind == "address":
        return _address(value, where)
    if kind == "bool" and str(value).lower() in ("true", "false"):
        return str(value).lower() == "true"
    if kind == "string" and isinstance(value, str):
        return value
    wanted = {"bool": "true or false", "string": "text, in quotes"}
    raise _UnfitError(value, where, kind, wanted.get(kind, "nothing: this type is not known here"))


def _tuple(parameter: Item, value: Any, where: str) -> list[Any]:
    components = parameter["components"]
    names = [one.get("name") or str(place) for place, one in enumerate(components, 1)]
    items = value
    if isinstance(value, Mapping) and set(value) == set(names):
        items = [value[name] for name in names]
    if not isinstance(items, list) or len(items) != len(names):
        wanted = f"its {len(names)} values, in a list or by their names: {', '.join(names)}"
        raise _UnfitError(value, where, _type_of({**parameter, "type": "tuple"}), wanted)
    return [
        _typed(one, one["type"], item, f"{where}.{name}")
        for one, item, name in zip(components, items, names, strict=True)
    ]


def _integer(kind: str, match: re.Match[str], value: Any, where: str) -> int:
    bits = int(match[2] or 256)
    low, high = (0, 2**bits - 1) if match[1] else (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)
    number = value
    if isinstance(value, str) and NUMBER.fullmatch(value):
        number = int(value, 16 if value.startswith("0x") else 10)
    if not isinstance(number, int) or isinstance(number, bool) or not low <= number <= high:
        raise _UnfitError(value, where, kind, f"a whole number from {low} to {high}, or its digits in quotes")
    return number


def _bytes(kind: str, size: int, value: Any, where: str) -> bytes:
    if not isinstance(value, str) or not HEX.fullmatch(value) or (size and len(value) != 2 + 2 * size):
        raise _UnfitError(value, where, kind, f"0x and {2 * size or 'an even number of'} hex digits, in quotes")
    return bytes.fromhex(value[2:])


def _address(value: Any, where: str) -> str:
    wanted = "0x and 40 hex digits, in quotes"
    if isinstance(value, str) and ADDRESS.fullmatch(value):
        try:
            return checked_address(value, where)
        except CliqueError:
            wanted = f"{checksum_address(value)} if it is meant, because its checksum is wrong"
    raise _UnfitError(value, where, "address", wanted)


def decode(parameters: Sequence[Item], data: bytes) -> list[Any]:
    """What a contract answers, as JSON has it: whole numbers, hex of bytes, and tuples by name where all are named."""
    values = abi_decode([_type_of(one) for one in parameters], data)
    return [_plain(one, one["type"], value) for one, value in zip(parameters, values, strict=True)]


def _plain(parameter: Item, kind: str, value: Any) -> Any:
    if match := ARRAY.fullmatch(kind):
        return [_plain(parameter, match[1], item) for item in value]
    if kind == "tuple":
        components = parameter["components"]
        return by_name(
            components, [_plain(one, one["type"], item) for one, item in zip(components, value, strict=True)]
        )
    if kind == "address":
        return Web3.to_checksum_address(value)
    return f"0x{value.hex()}" if isinstance(value, bytes) else value


def by_name(parameters: Sequence[Item], values: Sequence[Any]) -> dict[str, Any] | list[Any]:
    """Values by their parameters' names; as a list where not every one has a name of its own."""
    names = [one.get("name") for one in parameters]
    if all(names) and len(set(names)) == len(names):
        return dict(zip(map(str, names), values, strict=True))
    return list(values)


def event(abi: Sequence[Item], topics: Sequence[bytes], data: bytes) -> tuple[str | None, dict[str, Any] | list[Any]]:
    """The name and the arguments of what a contract logged; None and nothing where its interface has no such event.

    Of an indexed text, array or tuple only the hash is there.
    """
    known = {bytes(Web3.keccak(text=signature(item))): item for item in abi if item["type"] == "event"}
    item = known.get(bytes(topics[0])) if topics else None
    if item is None:
        return None, []
    try:
        plain = iter(decode([one for one in item["inputs"] if not one.get("indexed")], data))
        marked = iter(topics[1:])
        values = [_topic(one, bytes(next(marked))) if one.get("indexed") else next(plain) for one in item["inputs"]]
    except (DecodingError, StopIteration):
        return None, []
    return item["name"], by_name(item["inputs"], values)


def _topic(parameter: Item, topic: bytes) -> Any:
    kind = parameter["type"]
    if kind in ("string", "bytes") or kind.startswith("tuple") or kind.endswith("]"):
        return f"0x{topic.hex()}"
    return decode([parameter], topic)[0]


def reason(abi: Sequence[Item], error: Exception) -> str:
    """Why a contract refused, in its own words, from the error of a call or of an estimate."""
    message, data = _told(error)
    raw = bytes.fromhex(data[2:]) if HEX.fullmatch(data) else b""
    try:
        if raw[:4] == ERROR_SELECTOR:
            return str(abi_decode(["string"], raw[4:])[0])
        if raw[:4] == PANIC_SELECTOR:
            code = abi_decode(["uint256"], raw[4:])[0]
            return PANICS.get(code, f"panic {code:#x}")
        for item in abi:
            if item["type"] == "error" and selector(item) == raw[:4]:
                values = by_name(item["inputs"], decode(item["inputs"], raw[4:]))
                named = values.items() if isinstance(values, dict) else enumerate(values, 1)
                return f"{item['name']}({', '.join(f'{name}: {value}' for name, value in named)})"
    except (DecodingError, UnicodeDecodeError):
        pass
    if raw:
        return f"an error that its interface does not have, 0x{raw.hex()}"
    return " ".join(PREAMBLE.sub("", message).split()) or type(error).__name__


def _told(error: Exception) -> tuple[str, str]:
    """The message of a node's answer, and its data, which is empty where there is none."""
    if isinstance(error, ContractLogicError):
        return error.message or "", error.data if isinstance(error.data, str) else ""
    response = error.rpc_response if isinstance(error, Web3RPCError) else None
    told = (response or {}).get("error")
    if not isinstance(told, Mapping):
        return str(error), ""
    return str(told.get("message", "")), str(told.get("data", ""))
