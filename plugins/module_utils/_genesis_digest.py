# SPDX-License-Identifier: GPL-3.0-or-later
"""One form for every way to write the same genesis, and its digest. Standard library only: nodes use it too.

The genesis hash does not cover chain id, forks and Clique's period; this digest covers everything that geth reads.
Private to this collection.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from typing import Any

from ansible_collections.smartenergy.clique.plugins.module_utils._errors import CliqueError
from ansible_collections.smartenergy.clique.plugins.module_utils._genesis_extra_data import (
    ADDRESS_BYTES,
    SEAL_BYTES,
    SHOWN_CHARACTERS,
    VANITY_BYTES,
    signers_of,
)

__all__ = [
    "BLOCK_FORKS",
    "account_as_file",
    "canonical",
    "canonical_account",
    "canonical_digest",
    "differences",
    "normalised",
]

WORD_BYTES = 32
# The forks that begin with a block, in the order in which they have to be on.
BLOCK_FORKS = (
    *("homestead", "daoFork", "eip150", "eip155", "eip158", "byzantium", "constantinople", "petersburg", "istanbul"),
    *("muirGlacier", "berlin", "london", "arrowGlacier", "grayGlacier", "mergeNetsplit"),
)
# What geth 1.13.15 reads of "config"; it passes over every other name, and so does the digest.
CONFIG_NUMBERS = (
    "chainId",
    *(f"{name}Block" for name in BLOCK_FORKS),
    *("shanghaiTime", "cancunTime", "pragueTime", "verkleTime", "terminalTotalDifficulty"),
)
CONFIG_SWITCHES = ("daoForkSupport", "terminalTotalDifficultyPassed")
NUMBERS = {"nonce": 0, "timestamp": 0, "gasLimit": None, "difficulty": None, "number": 0, "gasUsed": 0}
OPTIONAL_NUMBERS = ("baseFeePerGas", "excessBlobGas", "blobGasUsed")
WORDS = {"mixHash": WORD_BYTES, "coinbase": ADDRESS_BYTES, "parentHash": WORD_BYTES}
FIRST_BASE_FEE_WEI = 10**9


def number(value: Any, field: str) -> int:
    """A number as JSON holds it: an integer, decimal digits, or 0x and hex digits; none is negative."""
    found = -1
    try:
        if isinstance(value, str):
            found = int(value, 16) if value[:2].lower() == "0x" else int(value, 10)
        elif isinstance(value, int) and not isinstance(value, bool):
            found = value
    except ValueError:
        pass
    if found >= 0:
        return found
    raise CliqueError(f"the genesis' {field} is {value!r} and has to be a whole number from 0 on, decimal or 0x hex")


def data(value: Any, field: str, length: int | None = None) -> str:
    """Bytes as 0x and lower-case hex; shorter ones are filled up with zeros in front to length, as geth does."""
    try:
        raw = bytes.fromhex(value[2:] if value[:2].lower() == "0x" else value)
    except (TypeError, ValueError) as error:
        raise CliqueError(f"the genesis' {field} is {value!r} and has to be 0x and pairs of hex digits") from error
    if length is not None and len(raw) > length:
        raise CliqueError(f"the genesis' {field} has {len(raw)} bytes and has to have {length}")
    return "0x" + raw.rjust(length or 0, b"\0").hex()


class Fields:
    """Fields of a JSON object by name, whatever its case: that is how Go finds them."""

    def __init__(self, values: Any, path: str = "") -> None:
        if not isinstance(values, Mapping):
            raise CliqueError(
                f"{f'the field {path[:-1]} of the genesis' if path else 'the genesis'} is not a JSON object"
            )
        self._values = {str(name).lower(): value for name, value in values.items()}
        self._path = path

    def get(self, name: str, default: Any = None) -> Any:
        value = self._values.get(name.lower())
        return default if value is None else value

    def number(self, name: str, default: int | None = None) -> int:
        value = self.get(name, default)
        if value is None:
            raise CliqueError(f"the genesis has no {self._path}{name}")
        return number(value, self._path + name)

    def numbers(self, names: tuple[str, ...]) -> dict[str, int]:
        return {name: self.number(name) for name in names if self.get(name) is not None}


def canonical_config(config: Any) -> dict[str, Any]:
    fields = Fields(config, "config.")
    result: dict[str, Any] = fields.numbers(CONFIG_NUMBERS)
    result |= {name: True for name in CONFIG_SWITCHES if fields.get(name)}
    if fields.get("ethash") is not None:
        result["ethash"] = {}
    if fields.get("clique") is not None:
        clique = Fields(fields.get("clique"), "config.clique.")
        result["clique"] = {name: clique.number(name, 0) for name in ("period", "epoch")}
    return result


def canonical_account(address: str, account: Any) -> dict[str, Any]:
    path = f"alloc.{address}."
    fields = Fields(account, path)
    result: dict[str, Any] = {"balance": fields.number("balance")}
    if nonce := fields.number("nonce", 0):
        result["nonce"] = nonce
    if (code := data(fields.get("code", "0x"), path + "code")) != "0x":
        result["code"] = code
    storage = fields.get("storage", {})
    Fields(storage, path + "storage.")
    if storage:
        result["storage"] = {
            data(slot, path + "storage", WORD_BYTES): data(value, path + "storage", WORD_BYTES)
            for slot, value in storage.items()
        }
    return result


def canonical(genesis: Mapping[str, Any]) -> dict[str, Any]:
    """The genesis as geth understands it: numbers as integers, bytes in lower-case hex, defaults filled in.

    Raises CliqueError for what geth would not read.
    """
    fields = Fields(genesis)
    config = canonical_config(fields.get("config", {}))
    result: dict[str, Any] = {"config": config, "extraData": data(fields.get("extraData", "0x"), "extraData")}
    result |= {name: fields.number(name, default) for name, default in NUMBERS.items()}
    result |= {name: data(fields.get(name, "0x"), name, length) for name, length in WORDS.items()}
    result |= fields.numbers(OPTIONAL_NUMBERS)
    if config.get("londonBlock") == 0:
        result.setdefault("baseFeePerGas", FIRST_BASE_FEE_WEI)
    alloc = fields.get("alloc", {})
    Fields(alloc, "alloc.")
    result["alloc"] = {
        address: canonical_account(address, account)
        for address, account in ((data(name, "alloc", ADDRESS_BYTES), account) for name, account in alloc.items())
    }
    return result


def account_as_file(account: Mapping[str, Any]) -> dict[str, Any]:
    """A canonical account as a genesis file has it: numbers in hex."""
    return {name: hex(value) if isinstance(value, int) else value for name, value in account.items()}


def normalised(genesis: Mapping[str, Any]) -> dict[str, Any]:
    """The genesis as this collection writes it: geth takes it as the same, and it has one spelling."""
    form = canonical(genesis)
    result = {name: hex(value) if isinstance(value, int) else value for name, value in form.items()}
    return {**result, "alloc": {key: account_as_file(account) for key, account in form["alloc"].items()}}


def canonical_digest(genesis: Mapping[str, Any]) -> str:
    """Sha256 (64 hex digits) of the canonical form: equal for two genesis files that geth takes as the same."""
    text = json.dumps(canonical(genesis), sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def flat(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping) and value:
        for name, inner in value.items():
            yield from flat(inner, f"{path}.{name}" if path else name)
    elif path == "extraData" and (signers := signers_of(value)) is not None:
        yield "extraData.vanity", value[: 2 + 2 * VANITY_BYTES]
        yield "extraData.signers", ", ".join(signers)
        yield "extraData.seal", value[-2 * SEAL_BYTES :]
    else:
        yield path, value


def shown(value: Any, path: str) -> str:
    text = "nothing" if value is None else str(value)
    if len(text) <= SHOWN_CHARACTERS or path == "extraData.signers":
        return text
    return f"{text[:SHOWN_CHARACTERS]}… ({len(text)} characters)"


def differences(first: Mapping[str, Any], second: Mapping[str, Any]) -> list[str]:
    """Each field that differs, by its dotted name, with the first's value and the second's."""
    ours, theirs = dict(flat(canonical(first))), dict(flat(canonical(second)))
    return [
        f"{field}: {shown(ours.get(field), field)} ≠ {shown(theirs.get(field), field)}"
        for field in sorted(ours.keys() | theirs.keys())
        if ours.get(field) != theirs.get(field)
    ]
