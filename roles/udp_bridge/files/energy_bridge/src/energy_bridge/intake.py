# SPDX-License-Identifier: GPL-3.0-or-later
"""Verify, store, and only then acknowledge: one thread, one commit for all datagrams that wait.

Whatever brings datagrams (UDP, HTTP) puts them into one bounded queue; when that is full the newest is dropped, and
never acknowledged. Who is not acknowledged will repeat.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from queue import Empty, SimpleQueue
from typing import Any, Protocol

from energy_bridge.metrics import Metrics, Rejected, Way
from energy_bridge.model import DAY_S, BatchState, Fate, Reading
from energy_bridge.store import Standing, Store, Stored, StoreError
from energy_bridge.wire import (
    Question,
    RejectionError,
    Sources,
    decode_reading,
    encode_acknowledgement,
    encode_answer,
)

__all__ = ["Asker", "Intake", "TimeRules", "Unanswered", "describe", "untimely"]

log = logging.getLogger(__name__)

QUEUE_LIMIT = 16_384  # about 10 MiB, and 0.8 s at 20,000 datagrams a second
COMMIT_LIMIT = 4096  # datagrams in one commit: of as many, most pages have more than one reading to write
SAME_LINE_S = 10.0  # a flood on one topic is one line of log in this time
MOST_TOPICS = 256

EARLIEST_S = 120.0  # a source's clock may be so far ahead
DAYS_AHEAD = 366  # the market refuses what is later

_CONFLICT = {"status": "conflict", "reason": "another datagram was stored under this boot and seq"}


class Unanswered(StrEnum):
    """Why a datagram gets no answer: over UDP silence, over HTTP a status."""

    UNPROVEN = "unproven"
    BUSY = "busy"
    NOT_DURABLE = "not durable"


class Asker(Protocol):
    """Who sent a datagram."""

    def answer(self, datagram: bytes, status: str) -> None:
        """Send an answer, encoded, with that status in it; perhaps again later, when the reading is settled."""

    def leave(self, why: Unanswered, reason: str) -> None:
        """Send no answer; nothing, where one was sent already."""


@dataclass(frozen=True, slots=True)
class TimeRules:
    """Which readings are taken: wall_clock says that a reading's time is the world's, and is judged by it."""

    slot_s: int
    accept_horizon_s: float
    wall_clock: bool


def untimely(reading: Reading, received_at: float, rules: TimeRules) -> str | None:
    """Why a new reading, received at that time (seconds since the epoch), is not taken; None where it is."""
    if reading.slot * rules.slot_s > received_at + DAYS_AHEAD * DAY_S:
        return f"slot {reading.slot} is more than {DAYS_AHEAD} days ahead"
    if not rules.wall_clock:
        return None
    if reading.time > received_at + EARLIEST_S:
        return f"time is {reading.time - received_at:.0f} s ahead, and {EARLIEST_S:.0f} s are allowed"
    if reading.time < received_at - rules.accept_horizon_s:
        return f"time is {received_at - reading.time:.0f} s ago, and {rules.accept_horizon_s:.0f} s are accepted"
    return None


def describe(standing: Standing) -> dict[str, Any]:
    """What a source is told about one of its readings, apart from the key.

    stored, late, superseded; of what was cleared batched, reverted, settled (transaction, deliver) or refused (reason).
    """
    answer: dict[str, Any] = {"status": _waiting(standing), "slot": standing.slot}
    if standing.fate not in (Fate.COUNTED, Fate.IMBALANCE):
        return answer
    if standing.fate is Fate.IMBALANCE:
        answer["imbalance"] = True
    transaction = None if standing.batch is None else standing.batch.hash
    if standing.settled and (standing.traded_wh or not standing.refused_wh):
        answer |= {"status": "settled", "transaction": transaction, "deliver": True}
        if standing.agreement is not None:
            answer |= {"agreement": standing.agreement, "agreements": standing.agreements}
        if standing.refused_wh:
            answer |= {"refused_wh": standing.refused_wh, "reason": standing.reason}
    elif standing.settled or _is_refused(standing):
        answer |= {"status": "refused", "reason": standing.reason}
    elif standing.batch is not None and standing.batch.state is BatchState.REVERTED:
        answer |= {"status": "reverted", "transaction": transaction}
    return answer


def _waiting(standing: Standing) -> str:
    if standing.fate is Fate.OPEN:
        return "stored"
    return "batched" if standing.fate in (Fate.COUNTED, Fate.IMBALANCE) else standing.fate.value


def _is_refused(standing: Standing) -> bool:
    """Did the market take nothing of the slot, or of the batch?"""
    return standing.reason is not None if standing.batch is None else standing.batch.state is BatchState.REFUSED


@dataclass(slots=True)
class _Asked:
    asker: Asker
    question: Question
    digest: bytes
    received_at: float


class Intake:
    """The queue, and the thread that empties it into a store of its own."""

    def __init__(
        self,
        open_store: Callable[[], Store],
        *,
        sources: Sources,
        rules: TimeRules,
        metrics: Metrics,
        on_stored: Callable[[], None],
        on_failure: Callable[[BaseException], None],
        clock: Callable[[], float] = time.time,
        queue_limit: int = QUEUE_LIMIT,
    ) -> None:
        """Call, in the thread, open_store for its store, on_stored after each commit with a new reading in it, and
        on_failure when the thread ends for a reason that is nobody's but ours. clock: seconds since the epoch.
        """
        self._open_store = open_store
        self._sources = sources
        self._rules = rules
        self._metrics = metrics
        self._on_stored = on_stored
        self._on_failure = on_failure
        self._clock = clock
        self._queue_limit = queue_limit
        self._store: Store | None = None
        self._queue: SimpleQueue[tuple[bytes, Asker, float] | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="intake")
        self._last_asked: dict[str, tuple[Asker, bytes | None]] = {}
        self._last_seq: dict[str, tuple[int, int]] = {}
        self._silent_until: dict[str, float] = {}
        self.trouble: str | None = None  # why the last commit failed, for /healthz

    def start(self) -> None:
        """Begin to store and answer."""
        self._thread.start()

    def stop(self) -> None:
        """Store and answer what is in the queue, then end; nothing may be offered any more."""
        self._queue.put(None)
        self._thread.join()

    @property
    def queue_length(self) -> int:
        """How many datagrams wait."""
        return self._queue.qsize()

    def offer(self, datagrams: Sequence[tuple[bytes, Asker]], way: Way) -> None:
        """Take datagrams that arrived now, from any thread, without waiting; what is too many is dropped."""
        self._metrics.received[way].inc(len(datagrams))
        now, room = self._clock(), max(0, self._queue_limit - self._queue.qsize())
        for datagram, asker in datagrams[:room]:
            self._queue.put((datagram, asker, now))
        if dropped := datagrams[room:]:
            self._metrics.queue_dropped.inc(len(dropped))
            self._say("dropped", "dropped datagrams=%d reason='too many wait'", len(dropped))
            for _, asker in dropped:
                asker.leave(Unanswered.BUSY, "too many datagrams wait; send it again")

    def tell(self, source: str, boot: int, seq: int, standing: Mapping[str, Any]) -> None:
        """Send a source where one of its readings stands, once, to where it last asked from; from any thread."""
        if (last := self._last_asked.get(source)) is not None:
            asker, key = last
            answer = {"source": source, "boot": boot, "seq": seq, **standing}
            asker.answer(encode_answer(answer, key), answer["status"])
            self._metrics.answers.inc()

    def _run(self) -> None:
        try:
            while self._take_and_process():
                pass
        except BaseException as error:  # noqa: BLE001 - a bridge without this thread would receive and never answer
            self._on_failure(error)
        finally:
            if self._store is not None:
                self._store.close()

    def _take_and_process(self) -> bool:
        """Wait for a datagram and process all that are there; False once there will be no more."""
        taken = [self._queue.get()]
        with contextlib.suppress(Empty):
            while taken[-1] is not None and len(taken) < COMMIT_LIMIT:
                taken.append(self._queue.get_nowait())
        self._process([item for item in taken if item is not None])
        return taken[-1] is not None

    def _process(self, taken: Sequence[tuple[bytes, Asker, float]]) -> None:
        asked = [one for item in taken if (one := self._read(*item)) is not None]
        try:
            if asked := [one for one in asked if not self._is_untimely(one)]:
                outcomes = self._add(asked)
                if any(outcome.new for outcome in outcomes):
                    self._on_stored()
                self._answer_all(asked, outcomes)
        except StoreError as error:
            self._not_durable(error, asked)

    def _read(self, datagram: bytes, asker: Asker, received_at: float) -> _Asked | None:
        try:
            question = decode_reading(datagram, self._sources)
        except RejectionError as error:
            self._reject(asker, error)
            return None
        return _Asked(asker, question, hashlib.sha256(datagram).digest(), received_at)

    def _is_untimely(self, one: _Asked) -> bool:
        """Reject a reading by its time, unless it was taken before: then it is answered as always."""
        reading = one.question.reading
        reason = untimely(reading, one.received_at, self._rules)
        if reason is None or self._opened().standing(reading.source, reading.boot, reading.seq) is not None:
            return False
        error = RejectionError(reason, source=reading.source, key=one.question.key, boot=reading.boot, seq=reading.seq)
        self._reject(one.asker, error, Rejected.TIME)
        return True

    def _add(self, asked: Sequence[_Asked]) -> list[Stored]:
        store, metrics = self._opened(), self._metrics
        with metrics.commit_seconds.time():
            outcomes = store.add([(one.question.reading, one.digest) for one in asked], self._clock())
        if self.trouble is not None:
            log.info("acknowledging_again")
            self.trouble = None
        new = [one.question for one, outcome in zip(asked, outcomes, strict=True) if outcome.new]
        conflicts = sum(not outcome.same for outcome in outcomes)
        metrics.accepted.inc(len(new))
        metrics.rounded.inc(sum(question.rounded for question in new))
        metrics.conflicts.inc(conflicts)
        metrics.repeated.inc(len(asked) - len(new) - conflicts)
        for question in new:
            self._look_for_gap(question.reading)
        return outcomes

    def _look_for_gap(self, reading: Reading) -> None:
        last = self._last_seq.get(reading.source, (-1, -1))
        if reading.boot == last[0] and reading.seq > last[1] + 1:
            self._metrics.gaps.labels(reading.source).inc()
        self._last_seq[reading.source] = max(last, (reading.boot, reading.seq))

    def _answer_all(self, asked: Sequence[_Asked], outcomes: Sequence[Stored]) -> None:
        for one, outcome in zip(asked, outcomes, strict=True):
            reading, key = one.question.reading, one.question.key
            if outcome.same:
                self._last_asked[reading.source] = (one.asker, key)
            if outcome.new:  # what describe() would say, without asking
                status = "late" if outcome.fate is Fate.LATE else "stored"
                one.asker.answer(encode_acknowledgement(reading, status, key), status)
                continue
            said = describe(self._standing(reading)) if outcome.same else _CONFLICT
            answer = {"source": reading.source, "boot": reading.boot, "seq": reading.seq, **said}
            one.asker.answer(encode_answer(answer, key), answer["status"])
        self._metrics.answers.inc(len(asked))

    def _standing(self, reading: Reading) -> Standing:
        standing = self._opened().standing(reading.source, reading.boot, reading.seq)
        if standing is None:
            raise StoreError(f"the reading {reading.source}/{reading.boot}/{reading.seq} is gone from the database")
        return standing

    def _reject(self, asker: Asker, error: RejectionError, why: Rejected = Rejected.INVALID) -> None:
        reason = str(error)
        self._metrics.rejected[Rejected.UNPROVEN if error.source is None else why].inc()
        topic = why if why is Rejected.TIME else reason  # a reason with figures in it is another one each time
        self._say(topic, "rejected source=%s reason=%r", error.source, reason)
        if error.source is None:
            asker.leave(Unanswered.UNPROVEN, reason)
            return
        named = {"source": error.source, "boot": error.boot, "seq": error.seq}
        asker.answer(encode_answer({**named, "status": "rejected", "reason": reason}, error.key), "rejected")
        self._metrics.answers.inc()

    def _not_durable(self, error: StoreError, asked: Sequence[_Asked]) -> None:
        """Acknowledge nobody, and begin with a fresh connection next time: whatever it was may be over then."""
        self.trouble = str(error)
        self._metrics.commit_failures.inc()
        self._say(str(error), "not_acknowledged datagrams=%d reason=%r", len(asked), str(error), level=logging.ERROR)
        for one in asked:
            one.asker.leave(Unanswered.NOT_DURABLE, str(error))
        if self._store is not None:
            self._store.close()
            self._store = None

    def _opened(self) -> Store:
        if self._store is None:
            self._store = self._open_store()
        return self._store

    def _say(self, topic: str, line: str, *values: object, level: int = logging.WARNING) -> None:
        """Log a line on this topic, unless it was said a moment ago."""
        now = self._clock()
        if now < self._silent_until.get(topic, 0.0):
            return
        if len(self._silent_until) > MOST_TOPICS:
            self._silent_until.clear()
        self._silent_until[topic] = now + SAME_LINE_S
        log.log(level, line, *values)
