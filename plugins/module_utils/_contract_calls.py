# SPDX-License-Identifier: GPL-3.0-or-later
"""A contract's functions: their answers, and transactions that call them. Private to this collection."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from ansible_collections.smartenergy.clique.plugins.module_utils._contract_abi import (
    address as checked_address,
)
from ansible_collections.smartenergy.clique.plugins.module_utils._contract_abi import (
    by_name,
    choose,
    decode,
    encode,
    reason,
    selector,
    signature,
)
from ansible_collections.smartenergy.clique.plugins.module_utils._errors import CliqueError

with suppress(ImportError):  # _chain.MISSING has it
    from eth_abi.exceptions import DecodingError
    from eth_typing import BlockNumber, ChecksumAddress, HexStr
    from web3 import Web3
    from web3.exceptions import Web3Exception
    from web3.types import BlockIdentifier, TxParams

__all__ = [
    "CallError",
    "Condition",
    "Function",
    "ask",
    "block_from",
    "condition",
    "prepare",
    "refusal",
    "require_to_stand",
    "stands",
]

TAGS = ("latest", "earliest", "pending", "safe", "finalized")
READS = ("view", "pure")


class CallError(CliqueError):
    """A function that cannot be called so, or that refuses."""


@dataclass(frozen=True)
class Function:
    """A function of a contract at an address, and the data that calls it with its arguments."""

    contract: str
    address: ChecksumAddress
    abi: Sequence[Mapping[str, Any]]
    item: Mapping[str, Any]
    data: bytes

    @property
    def named(self) -> str:
        return f"{signature(self.item)} of {self.contract}"


def prepare(
    contract: str, address: str, abi: Sequence[Mapping[str, Any]], name: str, arguments: Sequence[Any], *, reads: bool
) -> Function:
    """Choose the function and encode its arguments; reads tells whether it is to read or to change the contract."""
    at = Web3.to_checksum_address(checked_address(address, "its address", contract))
    item = choose(abi, name, len(arguments), contract)
    if (item.get("stateMutability") in READS or item.get("constant") is True) != reads:
        other = "changes the contract; use contract_transaction" if reads else "only reads; use contract_call"
        raise CallError(f"{signature(item)} of {contract} {other}")
    data = selector(item) + encode(item["inputs"], arguments, f"{signature(item)} of {contract}")
    return Function(contract, at, abi, item, data)


def block_from(text: str) -> BlockIdentifier:
    """A block as a user names it: latest and its like, or a number."""
    if text in TAGS:
        return text  # type: ignore[return-value]
    try:
        number = int(text, 0)
    except ValueError:
        number = -1
    if number < 0:
        raise CallError(f"{text} is no block; give a number, or one of {', '.join(TAGS)}")
    return BlockNumber(number)


def stands(web3: Web3, function: Function) -> bool:
    """Whether there is code at its address."""
    return bool(web3.eth.get_code(function.address))


def require_to_stand(web3: Web3, function: Function, block: BlockIdentifier = "latest") -> None:
    """Raise CallError where there is no code at its address."""
    if not web3.eth.get_code(function.address, block):
        raise CallError(f"no contract stands at {function.address}; deploy {function.contract}, or correct the address")


def ask(web3: Web3, function: Function, block: BlockIdentifier = "latest", sender: str | None = None) -> Any:
    """What a function answers: one value, or several by name, or in a list where they have no names."""
    require_to_stand(web3, function, block)
    params: TxParams = {"to": function.address, "data": HexStr(Web3.to_hex(function.data))}
    if sender is not None:
        params["from"] = Web3.to_checksum_address(checked_address(sender, "sender", "the call"))
    try:
        answer = bytes(web3.eth.call(params, block))
    except Web3Exception as error:
        raise refusal(function, error) from error
    return _told(function, answer)


def _told(function: Function, answer: bytes) -> Any:
    outputs = function.item["outputs"]
    try:
        values = decode(outputs, answer)
    except DecodingError as error:
        raise CallError(
            f"what {function.address} answers is not what {function.named} does; is its interface that of another one?"
        ) from error
    return values[0] if len(values) == 1 else by_name(outputs, values)


def refusal(function: Function, error: Exception) -> CallError:
    """The sentence for what a node answers where a contract refuses."""
    return CallError(f"{function.named} refuses: {reason(function.abi, error)}")


@dataclass(frozen=True)
class Condition:
    """A function that reads, and what it answers once there is nothing left to do."""

    function: Function
    result: Any

    def shown(self, result: Any) -> dict[str, Any]:
        """A result as a diff shows it."""
        return {signature(self.function.item): result}


def condition(function: Function, result: Any) -> Condition:
    """A condition whose result a user wrote; it is checked by the types of the function's results."""
    outputs = function.item["outputs"]
    values = result if len(outputs) != 1 and isinstance(result, list) else [result]
    return Condition(function, _told(function, encode(outputs, values, f"the result of {function.named}")))
