# SPDX-License-Identifier: GPL-3.0-or-later
"""`energy-bridge simulate` and `replay`: a source for each actor, which repeats a datagram until it is acknowledged."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from random import Random
from typing import Any, Protocol

from tqdm import tqdm

from energy_bridge.config import read_source_keys
from energy_bridge.deliveries import ACKNOWLEDGED, ENDS, Delivery, progress, report, table
from energy_bridge.lossy import Faults, Line, passed
from energy_bridge.model import NWH_PER_WH, Offer, Reading
from energy_bridge.replay import read_replay
from energy_bridge.scenario import Scenario, built_in, group_vars, read_scenario
from energy_bridge.simulate import data_set, start
from energy_bridge.wire import RejectionError, decode_answer, encode_reading
from energy_bridge.written import ConfigError

__all__ = ["Source", "play"]

REPEAT_FIRST_S, REPEAT_LAST_S = 0.5, 4.0  # until it is acknowledged, twice as long each time
ASK_FIRST_S, ASK_LAST_S = 2.0, 4.0  # then the repetition only asks whether it is settled

INTERVAL_S = 15.0  # from one data set to the next, as in the tutorial
SLOTS = 96  # a day
LINES_EVERY_S, SAY_AGAIN_AFTER_S = 5.0, 60
BAR_EVERY_S = 0.2
LARGEST_PORT = 65535


class Source(asyncio.DatagramProtocol):
    """One actor's sender. Its boot number is new at each start, its seq counts from 0."""

    def __init__(
        self, name: str, *, boot: int, secret: bytes | None, faults: Faults | None = None, seed: int = 0
    ) -> None:
        """Faults are what happens to its datagrams on purpose, the same ones for the same seed."""
        self.name = name
        self._boot = boot
        self._secret = secret
        self._faults = faults or Faults()
        self._luck = Random(f"{seed} line {name}")  # noqa: S311 - a simulation
        self._transport: asyncio.DatagramTransport | None = None
        self._news: dict[int, asyncio.Event] = {}
        self.line = Line()
        self.deliveries: list[Delivery] = []

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
            self._news[seq].set()

    def error_received(self, exc: Exception) -> None:
        """Nobody listens yet, or no longer: the repetition takes care of it."""

    async def deliver(self, slot: int, offer: Offer, *, now: float) -> None:
        """Send one reading and repeat it until there is nothing more to learn about it."""
        energy_nwh = offer.energy_wh * NWH_PER_WH
        seq = len(self.deliveries)
        reading = Reading(self.name, self._boot, seq, now, slot, energy_nwh, offer.price_wei_per_wh)
        delivery, news = Delivery(reading), asyncio.Event()
        self.deliveries.append(delivery)
        self._news[seq] = news
        datagram = encode_reading(reading, self._secret)
        pause_s, last_s = REPEAT_FIRST_S, REPEAT_LAST_S
        while delivery.status not in ENDS:
            news.clear()
            self._send(datagram)
            delivery.sent += 1
            acknowledged = delivery.stored
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(news.wait(), pause_s)
            if delivery.stored and not acknowledged:
                pause_s, last_s = ASK_FIRST_S, ASK_LAST_S
            if delivery.stored:  # the bridge says by itself when it is settled; ask only after a while
                news.clear()
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(_ended(delivery, news), pause_s)
            pause_s = min(2 * pause_s, last_s)

    def _send(self, datagram: bytes) -> None:
        luck = self._luck.random(), self._luck.random(), self._luck.random()
        self.line, out = passed(self.line, datagram, self._faults, luck)
        if self._transport is not None:
            for each in out:
                self._transport.sendto(each)

    def close(self) -> None:
        """Send what still waits to be overtaken, and no more."""
        if self._transport is not None:
            for each in self.line.held:
                self._transport.sendto(each)
            self._transport.close()


def _itself(source: Source) -> Source:
    return source


async def _ended(delivery: Delivery, news: asyncio.Event) -> None:
    while delivery.status not in ENDS:
        await news.wait()
        news.clear()


async def play(options: argparse.Namespace) -> int:
    """Play what the command line asks for; 0 when every reading was settled.

    Raises ConfigError before anything is sent.
    """
    scenario = built_in() if options.scenario is None else read_scenario(options.scenario)
    if options.print_actors:
        sys.stdout.write(group_vars(scenario, str(options.scenario or "the tutorial's household")))
        return 0
    data_sets, slots = _data_sets(options, scenario)
    secrets = _secrets(options.source_keys, scenario.names)
    host, port = _host_and_port(options.bridge)
    interval_s = INTERVAL_S if options.interval_s is None else options.interval_s
    interval_s = options.slot_s / options.speed if options.speed is not None else interval_s
    faults = Faults(options.loss, options.duplicate, options.reorder)
    loop = asyncio.get_running_loop()
    boot = time.time_ns() // 1_000_000
    sources = {
        name: Source(name, boot=boot, secret=secrets[name], faults=faults, seed=options.seed) for name in scenario.names
    }
    try:
        for source in sources.values():
            await loop.create_datagram_endpoint(partial(_itself, source), remote_addr=(host, port))
    except OSError as error:
        raise ConfigError(f"--bridge {options.bridge} cannot be sent to: {error}.") from error
    screen: _Screen = _Bar(slots, len(sources)) if sys.stdout.isatty() else _Lines(loop.time)
    watching = asyncio.create_task(_watch(screen, sources))
    tasks: list[asyncio.Task[None]] = []
    began = loop.time()
    with contextlib.suppress(asyncio.CancelledError):  # Ctrl-C: the report says how far it came
        for index, (slot, offers) in enumerate(data_sets):
            await asyncio.sleep(max(0.0, began + index * interval_s - loop.time()))
            now = round(time.time(), 3)
            tasks += [asyncio.create_task(sources[offer.actor].deliver(slot, offer, now=now)) for offer in offers]
            screen.played(slot, slot * options.slot_s, offers, index + 1, slots)
        screen.waiting = True
        await asyncio.wait(tasks, timeout=options.settle_s)
    for task in (watching, *tasks):
        task.cancel()
    await asyncio.gather(watching, *tasks, return_exceptions=True)
    for source in sources.values():
        source.close()
    deliveries = _deliveries(sources)
    screen.close(deliveries)
    said = report(deliveries, (source.line for source in sources.values()))
    print(table(said, options.bridge), flush=True)
    if options.report is not None:
        options.report.write_text(json.dumps(said, indent=2) + "\n", "utf-8")
    return 0 if said["settled"] == slots * len(sources) else 1


def _data_sets(options: argparse.Namespace, scenario: Scenario) -> tuple[Iterator[tuple[int, list[Offer]]], int]:
    """What is played, slot by slot, and how many slots that are."""
    if options.replay is None:
        first = int(time.time()) // options.slot_s if options.start_slot is None else options.start_slot
        replayed: list[Mapping[str, int]] = [{}] * (options.slots or SLOTS)
    else:
        read = read_replay(options.replay, scenario, slot_s=options.slot_s)
        first = min(read) if options.start_slot is None else options.start_slot
        replayed = list(read.values())[: options.slots]

    def play() -> Iterator[tuple[int, list[Offer]]]:
        state = start(scenario)
        for slot, given in enumerate(replayed, first):
            offers, state = data_set(scenario, slot, state, seed=options.seed, slot_s=options.slot_s, replayed=given)
            yield slot, offers

    return play(), len(replayed)


def _secrets(path: Path | None, names: Sequence[str]) -> Mapping[str, bytes | None]:
    if path is None:
        return dict.fromkeys(names)
    secrets = {name: keys[0] for name, keys in read_source_keys(path).items()}
    if missing := [name for name in names if name not in secrets]:
        has, them = ("has", "it") if len(missing) == 1 else ("have", "them")
        raise ConfigError(
            f"{', '.join(missing)} {has} no secret in {path}: add {them} to clique_actors, as simulate --print-actors "
            "prints it, and run site.yml again."
        )
    return secrets


def _host_and_port(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    if not host or not port.isdecimal() or not 0 < int(port) <= LARGEST_PORT:
        raise ConfigError(f"--bridge has to be HOST:PORT, not {text}.")
    return host.strip("[]"), int(port)


def _deliveries(sources: Mapping[str, Source]) -> list[Delivery]:
    return [delivery for source in sources.values() for delivery in source.deliveries]


class _Screen(Protocol):
    """Who shows how far it is."""

    every_s: float
    waiting: bool

    def played(self, slot: int, second: int, offers: Sequence[Offer], number: int, slots: int) -> None:
        """A slot's data set was sent; second is the slot's begin."""

    def show(self, deliveries: Sequence[Delivery]) -> None:
        """Time has passed."""

    def close(self, deliveries: Sequence[Delivery]) -> None:
        """It is over."""


class _Lines:
    """Plain lines: a data set each, then how far it is, where that has changed or was not said for a minute."""

    every_s = LINES_EVERY_S

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._said, self._at_s = "", 0.0
        self.waiting = False

    def played(self, slot: int, second: int, offers: Sequence[Offer], number: int, slots: int) -> None:
        clock = time.strftime("%H:%M", time.gmtime(second))
        figures = "  ".join(f"{offer.actor} {offer.energy_wh / 1000:+.3f}" for offer in offers)
        print(f"[{number}/{slots}] slot {slot} {clock}  {figures} kWh", flush=True)

    def show(self, deliveries: Sequence[Delivery]) -> None:
        line, now_s = progress(deliveries), self._clock()
        if self.waiting and (line != self._said or now_s - self._at_s >= SAY_AGAIN_AFTER_S):
            self._said, self._at_s = line, now_s
            print(line, flush=True)

    def close(self, deliveries: Sequence[Delivery]) -> None:
        pass


class _Bar:
    """A bar that is full when every reading has found its end."""

    every_s = BAR_EVERY_S

    def __init__(self, slots: int, actors: int) -> None:
        self._bar = tqdm(total=slots * actors, unit=" readings", dynamic_ncols=True, file=sys.stdout)
        self.waiting = False

    def played(self, slot: int, second: int, offers: Sequence[Offer], number: int, slots: int) -> None:  # noqa: ARG002
        self._bar.set_description(
            f"slot {number}/{slots}, {time.strftime('%H:%M', time.gmtime(second))}", refresh=False
        )

    def show(self, deliveries: Sequence[Delivery]) -> None:
        self._bar.n = sum(delivery.status in ENDS for delivery in deliveries)
        stored = sum(delivery.stored for delivery in deliveries)
        self._bar.set_postfix_str(f"{len(deliveries)} sent, {stored} stored")

    def close(self, deliveries: Sequence[Delivery]) -> None:
        self.show(deliveries)
        self._bar.close()


async def _watch(screen: _Screen, sources: Mapping[str, Source]) -> None:
    while True:
        await asyncio.sleep(screen.every_s)
        screen.show(_deliveries(sources))
