# SPDX-License-Identifier: GPL-3.0-or-later
"""The UDP side: verify, store, and only then acknowledge; tell a source when its reading is settled."""

from __future__ import annotations

import contextlib
import hashlib
import logging
import socket
from collections.abc import Callable, Collection, Mapping
from typing import Any

from energy_bridge.model import BatchState, Fate, Reading
from energy_bridge.store import Standing, Store, Stored, StoreError
from energy_bridge.wire import RejectionError, decode_reading, encode_answer

__all__ = ["Receiver", "describe"]

log = logging.getLogger(__name__)

DRAIN_LIMIT = 256  # datagrams per wake-up: one commit for all of them
BUFFER_BYTES = 4 * 1024 * 1024  # asked for; the kernel gives at most net.core.rmem_max
SAME_REJECTION_S = 10.0  # a flood of rejections is one line of log in this time

Address = Any  # what the socket calls one


def describe(standing: Standing) -> dict[str, Any]:
    """What a source is told about one of its readings, apart from the key."""
    answer: dict[str, Any] = {"slot": standing.slot}
    if standing.fate is Fate.OPEN:
        return {"status": "stored", **answer}
    if standing.fate is not Fate.COUNTED:
        return {"status": standing.fate.value, **answer}
    if standing.state is BatchState.FINAL:
        return {"status": "settled", **answer, "transaction": standing.transaction, "deliver": True}
    if standing.state is BatchState.REFUSED:
        return {"status": "refused", **answer, "reason": standing.reason}
    return {"status": "batched", **answer}


class Receiver:
    """Answers the datagrams of one non-blocking socket from one store."""

    def __init__(
        self,
        sock: socket.socket,
        store: Store,
        *,
        sources: Collection[str],
        secrets: Mapping[str, bytes] | None,
        clock: Callable[[], float],
        on_stored: Callable[[], None],
    ) -> None:
        """Call on_stored after each commit with a new reading in it; clock returns seconds since the epoch."""
        self._socket = sock
        self._store = store
        self._sources = sources
        self._secrets = secrets
        self._clock = clock
        self._on_stored = on_stored
        self._addresses: dict[str, Address] = {}
        self._silent_until: dict[str, float] = {}

    def drain(self) -> None:
        """Take what the socket has, up to DRAIN_LIMIT datagrams; to be called whenever it is readable."""
        received: list[tuple[Reading, bytes]] = []
        addresses: list[Address] = []
        for _ in range(DRAIN_LIMIT):
            try:
                datagram, address = self._socket.recvfrom(65536)
            except BlockingIOError:
                break
            except OSError as error:  # what the network says about an earlier answer
                log.debug("socket_error reason=%s", error)
                continue
            try:
                reading = decode_reading(datagram, sources=self._sources, secrets=self._secrets)
            except RejectionError as error:
                self._reject(error, address)
                continue
            received.append((reading, hashlib.sha256(datagram).digest()))
            addresses.append(address)
        if received:
            self._store_and_answer(received, addresses)

    def notify_settled(self, slot: int) -> None:
        """Tell each source whose reading was counted, once; who misses it learns it by repeating its datagram."""
        for reading in self._store.readings(slot, Fate.COUNTED):
            address = self._addresses.get(reading.source)
            if address is not None:
                self._answer(address, reading.source, reading.boot, reading.seq, self._standing(reading))

    def _store_and_answer(self, received: list[tuple[Reading, bytes]], addresses: list[Address]) -> None:
        try:
            outcomes = self._store.add(received, self._clock())
            if any(outcome.new for outcome in outcomes):
                self._on_stored()
            self._answer_all(received, outcomes, addresses)
        except StoreError as error:  # who is not acknowledged will repeat
            log.error("not_acknowledged datagrams=%d reason=%s", len(received), error)  # noqa: TRY400 - the reason is all

    def _answer_all(
        self, received: list[tuple[Reading, bytes]], outcomes: list[Stored], addresses: list[Address]
    ) -> None:
        for (reading, _), outcome, address in zip(received, outcomes, addresses, strict=True):
            if outcome.same:
                self._addresses[reading.source] = address
                answer = self._standing(reading)
            else:
                answer = {"status": "conflict", "reason": "another datagram was stored under this boot and seq"}
            self._answer(address, reading.source, reading.boot, reading.seq, answer)

    def _standing(self, reading: Reading) -> dict[str, Any]:
        return describe(self._store.standing(reading.source, reading.boot, reading.seq))

    def _reject(self, error: RejectionError, address: Address) -> None:
        reason, now = str(error), self._clock()
        if now >= self._silent_until.get(reason, 0.0):
            if len(self._silent_until) > DRAIN_LIMIT:  # reasons may quote the sender
                self._silent_until.clear()
            self._silent_until[reason] = now + SAME_REJECTION_S
            log.warning("rejected source=%s from=%s reason=%r", error.source, address[0], reason)
        if error.source is not None:
            self._answer(address, error.source, error.boot, error.seq, {"status": "rejected", "reason": reason})

    def _answer(self, address: Address, source: str, boot: int | None, seq: int | None, answer: dict[str, Any]) -> None:
        secret = None if self._secrets is None else self._secrets[source]
        datagram = encode_answer({"source": source, "boot": boot, "seq": seq, **answer}, secret)
        with contextlib.suppress(OSError):  # a full buffer or an unreachable host: the source repeats
            self._socket.sendto(datagram, address)
