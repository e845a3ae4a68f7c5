# SPDX-License-Identifier: GPL-3.0-or-later
"""Contracts on py-evm itself: no blocks, no signatures, no web3, and so fast enough for fuzzing.

Anybody's message can be sent, a contract's too. A view is executed again only when something wrote a word that it read.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from eth.abc import ComputationAPI
from eth.chains.base import MiningChain
from eth.db.atomic import AtomicDB
from eth.vm.execution_context import ExecutionContext
from eth.vm.forks.london import LondonVM
from eth.vm.forks.london.state import LondonState
from eth.vm.message import Message
from eth.vm.transaction_context import BaseTransactionContext
from eth_abi.abi import decode, encode
from eth_hash.auto import keccak
from eth_typing import Address
from eth_utils.address import to_checksum_address

GAS = 30_000_000

View = tuple[str, tuple[Any, ...]]


@dataclass(frozen=True)
class Event:
    """An event with its arguments in the order of the source, addresses checksummed."""

    emitter: str
    name: str
    arguments: tuple[Any, ...]


@dataclass(frozen=True)
class Refusal:
    """A revert with a custom error; its name is the data in hex where that is none that is known."""

    name: str
    arguments: tuple[Any, ...]


Outcome = Refusal | tuple[Event, ...]


@cache
def checksum(address: str | bytes) -> str:
    return str(to_checksum_address(address))


@cache
def to_bytes(address: str) -> Address:
    return Address(bytes.fromhex(address[2:]))


def _type_of(item: Mapping[str, Any]) -> str:
    if not item["type"].startswith("tuple"):
        return str(item["type"])
    return f"({','.join(map(_type_of, item['components']))}){item['type'].removeprefix('tuple')}"


def _tidy(types: Sequence[str], values: Iterable[Any]) -> tuple[Any, ...]:
    return tuple(checksum(value) if kind == "address" else value for kind, value in zip(types, values, strict=True))


class Interface:
    """What several artefacts together can be asked, say and refuse."""

    def __init__(self, *artifacts: Mapping[str, Any]) -> None:
        self.functions: dict[str, tuple[bytes, list[str], list[str]]] = {}
        self.errors: dict[bytes, tuple[str, list[str]]] = {}
        self.events: dict[int, tuple[str, list[tuple[str, bool]]]] = {}
        for artifact in artifacts:
            for item in artifact["abi"]:
                types = [_type_of(one) for one in item.get("inputs", [])]
                digest = keccak(f"{item.get('name')}({','.join(types)})".encode())
                if item["type"] == "function":
                    outputs = [_type_of(one) for one in item["outputs"]]
                    self.functions[item["name"]] = (digest[:4], types, outputs)
                elif item["type"] == "error":
                    self.errors[digest[:4]] = (item["name"], types)
                elif item["type"] == "event":
                    indexed = [(_type_of(one), bool(one["indexed"])) for one in item["inputs"]]
                    self.events[int.from_bytes(digest)] = (item["name"], indexed)

    def call(self, name: str, arguments: Sequence[Any]) -> bytes:
        selector, types, _ = self.functions[name]
        return selector + bytes(encode(types, arguments))

    def answer(self, name: str, data: bytes) -> tuple[Any, ...]:
        types = self.functions[name][2]
        return _tidy(types, decode(types, data))

    def refusal(self, data: bytes) -> Refusal:
        if data[:4] not in self.errors:
            return Refusal(f"0x{data.hex()}", ())
        name, types = self.errors[data[:4]]
        return Refusal(name, _tidy(types, decode(types, data[4:])))

    def event(self, emitter: str, topics: Sequence[int], data: bytes) -> Event:
        name, inputs = self.events[topics[0]]
        plain = iter(decode([kind for kind, indexed in inputs if not indexed], data))
        marked = iter(topics[1:])
        values = [decode([kind], next(marked).to_bytes(32))[0] if indexed else next(plain) for kind, indexed in inputs]
        return Event(emitter, name, _tidy([kind for kind, _ in inputs], values))


class _WatchedState(LondonState):
    """A state that knows which words were read and written."""

    read: set[tuple[Address, int]]
    written: set[tuple[Address, int]]

    def get_storage(self, address: Address, slot: int, from_journal: bool = True) -> int:  # noqa: FBT001, FBT002, RUF100
        self.read.add((address, slot))
        return super().get_storage(address, slot, from_journal)

    def set_storage(self, address: Address, slot: int, value: int) -> None:
        self.written.add((address, slot))
        super().set_storage(address, slot, value)


class _WatchedVM(LondonVM):
    _state_class = _WatchedState


class _Chain(MiningChain):
    vm_configuration = ((0, _WatchedVM),)  # type: ignore[assignment]


@dataclass
class _Known:
    value: tuple[Any, ...]
    read: frozenset[tuple[Address, int]] = field(default_factory=frozenset)


class Evm:
    """A London machine with nothing on it, at a time of the caller's choice."""

    def __init__(self, interface: Interface, now: int) -> None:
        self.interface = interface
        genesis = {
            "difficulty": 1,
            "gas_limit": GAS,
            "timestamp": 0,
            "base_fee_per_gas": 0,
        }
        state = _Chain.from_genesis(AtomicDB(), genesis, {}).get_vm().state  # type: ignore[arg-type]
        assert isinstance(state, _WatchedState)
        self._state = state
        self._state.read = set()
        self._state.written = set()
        self._now = now
        self._created = 0
        self._known: dict[View, _Known] = {}
        self._readers: dict[tuple[Address, int], set[View]] = {}
        self.now = now

    @property
    def now(self) -> int:
        return self._now

    @now.setter
    def now(self, now: int) -> None:
        self._now = now
        self._state.execution_context = ExecutionContext(
            coinbase=Address(bytes(20)),
            timestamp=now,
            block_number=self._state.execution_context.block_number,
            difficulty=1,
            mix_hash=self._state.execution_context.mix_hash,
            gas_limit=GAS,
            prev_hashes=(),
            chain_id=1,
            base_fee_per_gas=0,
        )

    def give(self, address: str, wei: int) -> None:
        self._state.set_balance(to_bytes(address), wei)

    def wallet(self, address: str) -> int:
        return self._state.get_balance(to_bytes(address))

    def put_code(self, address: str, code: bytes) -> None:
        self._state.set_code(to_bytes(address), code)

    def create(self, artifact: Mapping[str, Any], types: Sequence[str], arguments: Sequence[Any], sender: str) -> str:
        """Put an artefact where a transaction would: its constructor runs, and its size does not matter."""
        self._created += 1
        address = checksum(keccak(to_bytes(sender) + self._created.to_bytes(32))[12:])
        code = bytes.fromhex(artifact["bytecode"][2:]) + bytes(encode(types, arguments))
        computation = self._execute(sender, address, b"", 0, code)
        computation.raise_if_error()
        self.put_code(address, computation.output)
        return address

    def send(self, sender: str, to: str, name: str, arguments: Sequence[Any], wei: int = 0) -> Outcome:
        """What a transaction's call leads to."""
        self._state.written.clear()
        computation = self._execute(sender, to, self.interface.call(name, arguments), wei)
        for word in self._state.written:
            for view in self._readers.pop(word, ()):
                self._known.pop(view, None)
        self._state.lock_changes()
        if computation.is_error:
            return self.interface.refusal(bytes(computation.output))
        return tuple(
            self.interface.event(checksum(bytes(address)), topics, data)
            for address, topics, data in computation.get_log_entries()
        )

    def view(self, to: str, name: str, arguments: tuple[Any, ...], *, timed: bool = False) -> tuple[Any, ...]:
        """What a function of a contract answers that depends on nothing but storage, and on time if so said."""
        key = (name, (to, *arguments))
        if not timed and (known := self._known.get(key)) is not None:
            return known.value
        self._state.read.clear()
        computation = self._execute(to, to, self.interface.call(name, arguments), 0)
        answer: tuple[Any, ...] = (self.interface.refusal(bytes(computation.output)),)
        if computation.is_success:
            answer = self.interface.answer(name, computation.output)
        known = _Known(answer, frozenset(self._state.read))
        self._known[key] = known
        for word in known.read:
            self._readers.setdefault(word, set()).add(key)
        return known.value

    def _execute(self, sender: str, to: str, data: bytes, wei: int, code: bytes | None = None) -> ComputationAPI:
        origin = to_bytes(sender)
        message = Message(
            gas=GAS,
            to=to_bytes(to),
            sender=origin,
            value=wei,
            data=data,
            code=self._state.get_code(to_bytes(to)) if code is None else code,
        )
        context = BaseTransactionContext(gas_price=0, origin=origin)
        return self._state.computation_class.apply_message(self._state, message, context)
