# SPDX-License-Identifier: GPL-3.0-or-later
"""Sources of the tests' own: they send, repeat until they hear, and keep their own list of what they were told.

Nothing here is the bridge's: the datagrams are built from docs/wire.md, and the list is the ground of the verdict.
"""

from __future__ import annotations

import hashlib
import heapq
import hmac
import itertools
import json
import selectors
import socket
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from random import Random
from typing import Any

MAC_BYTES = 32
GWEI = 10**9
GRID_PRICE = 300 * GWEI  # always the same: whichever slot the bridge has it from, it is this one
REPEAT_FIRST_S, REPEAT_LAST_S = 0.2, 1.0  # until it is acknowledged
ASK_FIRST_S, ASK_LAST_S = 0.5, 2.0  # then the repetition only asks what became of it
TURNED_AWAY = frozenset({"rejected", "conflict"})
ENDS = frozenset({"settled", "refused", "superseded"}) | TURNED_AWAY


@dataclass(slots=True)
class Delivery:
    """One reading and what its sender was told about it; statuses are the different ones, in the order heard."""

    source: str
    boot: int
    seq: int
    slot: int
    energy_wh: int
    price_wei_per_wh: int
    datagram: bytes = b""
    acknowledged_at: float | None = None  # seconds, the sender's monotonic clock
    ended_at: float | None = None
    statuses: list[str] = field(default_factory=list)
    transaction: str | None = None
    reason: str | None = None
    late: bool = False  # the bridge ever said that its slot was closed already
    silent_until: Delivery | None = None
    pause_s: float = REPEAT_FIRST_S

    @property
    def key(self) -> tuple[int, int]:
        """The order in which a source's readings supersede each other."""
        return self.boot, self.seq

    @property
    def acknowledged(self) -> bool:
        return self.acknowledged_at is not None

    @property
    def status(self) -> str:
        return self.statuses[-1] if self.statuses else "unanswered"

    @property
    def ended(self) -> bool:
        return self.status in ENDS

    def hear(self, answer: Mapping[str, Any], now: float) -> None:
        """Note an answer; after an end only another end is news."""
        status = str(answer["status"])
        if self.ended and status not in ENDS:
            return
        if status != self.status:
            self.statuses.append(status)
        self.late = self.late or status == "late" or bool(answer.get("imbalance"))
        self.transaction = answer.get("transaction") or self.transaction
        self.reason = answer.get("reason") or self.reason
        if status not in TURNED_AWAY and self.acknowledged_at is None:
            self.acknowledged_at, self.pause_s = now, ASK_FIRST_S
        if self.ended and self.ended_at is None:
            self.ended_at = now


class Senders:
    """Every source with a socket of its own, all of them in the thread that calls run."""

    def __init__(self, bridge: tuple[str, int], keys: Mapping[str, bytes]) -> None:
        """Keys are the sources' secrets, by name."""
        self.deliveries: list[Delivery] = []
        self._boot = time.time_ns() // 1_000_000
        self._keys = dict(keys)
        self._sockets = {name: socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for name in keys}
        self._next_seq = dict.fromkeys(keys, 0)
        self._by_key: dict[tuple[str, int, int], Delivery] = {}
        self._open: set[tuple[str, int, int]] = set()
        self._due: list[tuple[float, int, Delivery]] = []
        self._numbers = itertools.count()
        self._selector = selectors.DefaultSelector()
        for name, sock in self._sockets.items():
            sock.setblocking(False)
            sock.connect(bridge)
            self._selector.register(sock, selectors.EVENT_READ, name)

    def close(self) -> None:
        self._selector.close()
        for sock in self._sockets.values():
            sock.close()

    def send(
        self, source: str, *, slot: int, energy_wh: int, price_wei_per_wh: int, silent_until: Delivery | None = None
    ) -> Delivery:
        """Send a reading, and again until its end is known; it supersedes the source's former ones of that slot.

        With silent_until it believes its acknowledgement, and asks no more before that other reading has ended: a
        bridge that forgot it is not reminded.
        """
        seq = self._next_seq[source]
        self._next_seq[source] += 1
        delivery = Delivery(source, self._boot, seq, slot, energy_wh, price_wei_per_wh, silent_until=silent_until)
        body = json.dumps(
            {
                "version": 1,
                "source": source,
                "boot": self._boot,
                "seq": seq,
                "time": round(time.time(), 3),
                "slot": slot,
                "energy_kwh": energy_wh / 10**3,
                "price_ether_per_kwh": price_wei_per_wh / 10**15,
            }
        ).encode()
        delivery.datagram = body + hmac.digest(self._keys[source], body, hashlib.sha256)
        self.deliveries.append(delivery)
        self._by_key[source, self._boot, seq] = delivery
        self._open.add((source, self._boot, seq))
        self._transmit(delivery)
        return delivery

    @property
    def all_ended(self) -> bool:
        return not self._open

    def _fewer_than(self, count: int) -> bool:
        return len(self._open) < count

    def run(self, what: str, until: Callable[[], object], timeout_s: float) -> None:
        """Send and listen until that is so; fail saying what was waited for, and what is still open."""
        deadline = time.monotonic() + timeout_s
        while not until():
            assert time.monotonic() < deadline, f"waited {timeout_s:.0f} s in vain: {what}; {self.summary()}"
            self.step()

    def run_to_the_end(self, stalled_s: float) -> None:
        """Send and listen until every reading's end is known; fail when none has become known for so long."""
        while before := len(self._open):
            self.run("one more has ended", partial(self._fewer_than, before), stalled_s)

    def run_for(self, seconds: float, each_step: Callable[[], object] = lambda: None) -> None:
        """Send and listen for that long."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            each_step()
            self.step()

    def step(self) -> None:
        """Take every answer that is there, waiting a moment for one, and repeat what is due."""
        for key, _ in self._selector.select(0.02):
            self._listen(key.data)
        now = time.monotonic()
        while self._due and self._due[0][0] <= now:
            delivery = heapq.heappop(self._due)[2]
            if not delivery.ended:
                self._transmit(delivery)

    def summary(self) -> str:
        counts: dict[str, int] = {}
        for delivery in self.deliveries:
            counts[delivery.status] = counts.get(delivery.status, 0) + 1
        return ", ".join(f"{count} {status}" for status, count in sorted(counts.items())) or "nothing sent"

    def _transmit(self, delivery: Delivery) -> None:
        other = delivery.silent_until
        if not delivery.acknowledged or other is None or other.ended:
            with suppress(OSError):  # nobody listens just now, or the buffer is full: it is sent again
                self._sockets[delivery.source].send(delivery.datagram)
        heapq.heappush(self._due, (time.monotonic() + delivery.pause_s, next(self._numbers), delivery))
        delivery.pause_s = min(2 * delivery.pause_s, ASK_LAST_S if delivery.acknowledged else REPEAT_LAST_S)

    def _listen(self, source: str) -> None:
        while True:
            try:
                datagram = self._sockets[source].recv(65536)
            except BlockingIOError:
                return
            except OSError:  # what the kernel says about an earlier datagram: nobody listens
                continue
            self._hear(source, datagram)

    def _hear(self, source: str, datagram: bytes) -> None:
        body, mac = datagram[:-MAC_BYTES], datagram[-MAC_BYTES:]
        assert hmac.compare_digest(mac, hmac.digest(self._keys[source], body, hashlib.sha256)), body
        answer = json.loads(body)
        assert answer["source"] == source, answer
        key = (source, answer["boot"], answer["seq"])
        self._by_key[key].hear(answer, time.monotonic())
        if self._by_key[key].ended:
            self._open.discard(key)


class Load:
    """Slot after slot an offer of each source, drawn by a seed; some are corrected before the gate, some come late.

    Call tick often: it starts a slot every interval_s, and goes on with what waits for an answer.
    """

    CORRECTED_EVERY, LATE_EVERY = 4, 6  # slots

    def __init__(
        self, senders: Senders, sources: Sequence[str], *, grid: str, first_slot: int, interval_s: float, seed: int
    ) -> None:
        """Sources are those beside the grid."""
        self._senders, self._sources, self._grid = senders, tuple(sources), grid
        self._interval_s, self._random = interval_s, Random(seed)  # noqa: S311 - a load
        self.next_slot = first_slot
        self._next_at = 0.0
        self._under_way: list[Iterator[bool]] = []

    def tick(self) -> None:
        now = time.monotonic()
        if now >= self._next_at:
            self._next_at = now + self._interval_s
            self._under_way.append(self._slot(self.next_slot))
            self.next_slot += 1
        self._advance()

    def finish(self) -> bool:
        """Start no further slot; True when all that were begun have been sent to the end."""
        self._advance()
        return not self._under_way

    def _advance(self) -> None:
        self._under_way = [slot for slot in self._under_way if next(slot, True) is False]

    def _slot(self, slot: int) -> Iterator[bool]:
        """One slot's course; yields False while it waits. The grid asks how it stands, the others ask after that."""
        others = self._random.sample(self._sources, len(self._sources))
        sent = [self._senders.send(self._grid, slot=slot, energy_wh=0, price_wei_per_wh=GRID_PRICE)]
        last = others.pop() if slot % self.LATE_EVERY == 0 else None
        if slot % self.CORRECTED_EVERY == 0:  # nobody closes a slot that others are missing in: the second is in time
            corrected = others.pop()
            self._offer(corrected, slot, sent[0])
            second = self._offer(corrected, slot, sent[0])
            while not second.acknowledged:
                yield False
        sent += [self._offer(source, slot, sent[0]) for source in others]
        while last is not None and all(delivery.status in ("unanswered", "stored") for delivery in sent):
            yield False
        if last is not None:
            self._offer(last, slot, sent[0])

    def _offer(self, source: str, slot: int, grids: Delivery) -> Delivery:
        energy_wh = self._random.choice((0, 1, -1)) * self._random.randint(1, 3000)
        price = self._random.randint(50, 450) * GWEI
        return self._senders.send(source, slot=slot, energy_wh=energy_wh, price_wei_per_wh=price, silent_until=grids)
