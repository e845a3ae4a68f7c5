# SPDX-License-Identifier: GPL-3.0-or-later
"""`energy-bridge simulate`: five sources that send the simulation and repeat a datagram until it is acknowledged."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from energy_bridge.config import ConfigError, read_source_keys
from energy_bridge.model import NWH_PER_WH, Offer, Reading
from energy_bridge.simulate import ACTORS, START, data_set
from energy_bridge.wire import RejectionError, decode_answer, encode_reading

__all__ = ["Source", "play"]

REPEAT_FIRST_S, REPEAT_LAST_S = 0.5, 4.0  # until it is acknowledged, twice as long each time
ASK_FIRST_S, ASK_LAST_S = 2.0, 4.0  # then the repetition only asks whether it is settled

SAY_AGAIN_AFTER_S = 60
ENDS = {"superseded", "settled", "refused", "rejected", "conflict"}
ACKNOWLEDGED = {"stored", "late", "batched", "reverted", "superseded", "settled", "refused"}


@dataclass(slots=True)
class _Delivery:
    """One reading's way, as its sender saw it."""

    reading: Reading
    sent: int = 0
    stored: bool = False
    answer: dict[str, Any] = field(default_factory=dict)
    heard: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def status(self) -> str:
        return str(self.answer.get("status", "unanswered"))


class Source(asyncio.DatagramProtocol):
    """One actor's sender. Its boot number is new at each start, its seq counts from 0."""

    def __init__(self, name: str, *, boot: int, secret: bytes | None) -> None:
        self.name = name
        self._boot = boot
        self._secret = secret
        self._transport: asyncio.DatagramTransport | None = None
        self.deliveries: list[_Delivery] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep what to send with."""
        self._transport = transport  # type: ignore[assignment]

    def datagram_received(self, data: bytes, addr: Any) -> None:  # noqa: ARG002 - the protocol's signature
        """Note an answer, unless the end is known; what is not proven to be the bridge's answer is nothing."""
        try:
            answer = decode_answer(data, self._secret)
        except RejectionError:
            return
        seq, status = answer.get("seq"), answer.get("status")
        if (answer.get("source"), answer.get("boot")) != (self.name, self._boot) or not isinstance(seq, int):
            return
        if not isinstance(status, str):  # a source's own question, reflected: it is under the same key
            return
        if 0 <= seq < len(self.deliveries) and self.deliveries[seq].status not in ENDS:
            delivery = self.deliveries[seq]
            delivery.answer = answer
            delivery.stored = delivery.stored or status in ACKNOWLEDGED
            delivery.heard.set()

    def error_received(self, exc: Exception) -> None:
        """Nobody listens yet, or no longer: the repetition takes care of it."""

    async def deliver(self, slot: int, offer: Offer, *, now: float) -> None:
        """Send one reading and repeat it until there is nothing more to learn about it."""
        energy_nwh = offer.energy_wh * NWH_PER_WH
        reading = Reading(self.name, self._boot, len(self.deliveries), now, slot, energy_nwh, offer.price_wei_per_wh)
        delivery = _Delivery(reading)
        self.deliveries.append(delivery)
        datagram = encode_reading(reading, self._secret)
        pause_s, last_s = REPEAT_FIRST_S, REPEAT_LAST_S
        while delivery.status not in ENDS:
            delivery.heard.clear()
            if self._transport is not None:
                self._transport.sendto(datagram)
            delivery.sent += 1
            acknowledged = delivery.stored
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(delivery.heard.wait(), pause_s)
            if delivery.stored and not acknowledged:
                pause_s, last_s = ASK_FIRST_S, ASK_LAST_S
            if delivery.stored:  # the bridge says by itself when it is settled; ask only after a while
                delivery.heard.clear()
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(_ended(delivery), pause_s)
            pause_s = min(2 * pause_s, last_s)


def _itself(source: Source) -> Source:
    return source


async def _ended(delivery: _Delivery) -> None:
    while delivery.status not in ENDS:
        await delivery.heard.wait()
        delivery.heard.clear()


async def play(options: argparse.Namespace) -> int:
    """Play the simulation that the command line asks for; 0 when every reading was settled. Raises ConfigError."""
    secrets = None if options.source_keys is None else _secrets(options.source_keys)
    host, port = _host_and_port(options.bridge)
    first_slot = int(time.time()) // options.slot_s if options.start_slot is None else options.start_slot
    loop = asyncio.get_running_loop()
    boot = time.time_ns() // 1_000_000
    sources = {name: Source(name, boot=boot, secret=None if secrets is None else secrets[name]) for name in ACTORS}
    for source in sources.values():
        await loop.create_datagram_endpoint(partial(_itself, source), remote_addr=(host, port))
    tasks: list[asyncio.Task[None]] = []
    state, start = START, loop.time()
    for index in range(options.slots):
        await asyncio.sleep(max(0.0, start + index * options.interval_s - loop.time()))
        slot = first_slot + index
        offers, state = data_set(slot, state, seed=options.seed, slot_s=options.slot_s)
        now = round(time.time(), 3)
        tasks += [asyncio.create_task(sources[offer.actor].deliver(slot, offer, now=now)) for offer in offers]
        _say(_data_line(slot, slot * options.slot_s, offers, index + 1, options.slots))
    await _wait(tasks, options.settle_s, _Progress(sources, loop.time))
    report = _report(sources)
    _say(_progress(sources))
    if options.report is not None:
        options.report.write_text(json.dumps(report, indent=2) + "\n", "utf-8")
    return 0 if report["settled"] == len(report["readings"]) else 1


async def _wait(tasks: list[asyncio.Task[None]], seconds: float, progress: Callable[[], None]) -> None:
    loop = asyncio.get_running_loop()
    deadline, pending = loop.time() + seconds, set(tasks)
    while pending and loop.time() < deadline:
        _, pending = await asyncio.wait(pending, timeout=min(5.0, deadline - loop.time()))
        if pending:
            progress()
    for task in pending:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def _secrets(path: Path) -> Mapping[str, bytes]:
    secrets = {name: keys[0] for name, keys in read_source_keys(path).items()}
    missing = [name for name in ACTORS if name not in secrets]
    if missing:
        raise ConfigError(f"{path} has no secret for {', '.join(missing)}.")
    return secrets


def _host_and_port(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    if not host or not port.isdigit():
        raise ConfigError(f"--bridge has to be HOST:PORT, not {text}.")
    return host.strip("[]"), int(port)


def _deliveries(sources: Mapping[str, Source]) -> list[_Delivery]:
    return [delivery for source in sources.values() for delivery in source.deliveries]


def _report(sources: Mapping[str, Source]) -> dict[str, Any]:
    """The senders' own account: sent, stored and settled count readings; datagrams counts repetitions too."""
    deliveries = _deliveries(sources)
    return {
        "sent": len(deliveries),
        "stored": sum(delivery.stored for delivery in deliveries),
        "settled": sum(delivery.status == "settled" for delivery in deliveries),
        "datagrams": sum(delivery.sent for delivery in deliveries),
        "readings": [
            {
                "source": delivery.reading.source,
                "boot": delivery.reading.boot,
                "seq": delivery.reading.seq,
                "slot": delivery.reading.slot,
                "energy_wh": delivery.reading.energy_nwh // NWH_PER_WH,
                "price_wei_per_wh": delivery.reading.price_wei_per_wh,
                "datagrams": delivery.sent,
                "stored": delivery.stored,
                "status": delivery.status,
                "transaction": delivery.answer.get("transaction"),
                "reason": delivery.answer.get("reason"),
            }
            for delivery in sorted(deliveries, key=lambda delivery: (delivery.reading.slot, delivery.reading.source))
        ],
    }


def _data_line(slot: int, second: int, offers: Sequence[Offer], number: int, slots: int) -> str:
    clock = time.strftime("%H:%M", time.gmtime(second))
    figures = "  ".join(f"{offer.actor} {offer.energy_wh / 1000:+.3f}" for offer in offers)
    return f"[{number}/{slots}] slot {slot} {clock}  {figures} kWh"


class _Progress:
    """Says how far it is, where that has changed or was not said for a minute."""

    def __init__(self, sources: Mapping[str, Source], clock: Callable[[], float]) -> None:
        self._sources, self._clock = sources, clock
        self._said, self._at_s = "", 0.0

    def __call__(self) -> None:
        line, now_s = _progress(self._sources), self._clock()
        if line != self._said or now_s - self._at_s >= SAY_AGAIN_AFTER_S:
            self._said, self._at_s = line, now_s
            _say(line)


def _progress(sources: Mapping[str, Source]) -> str:
    report = _report(sources)
    return f"{report['sent']} readings sent, {report['stored']} stored, {report['settled']} settled"


def _say(line: str) -> None:
    print(line, file=sys.stdout, flush=True)
