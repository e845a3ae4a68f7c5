# SPDX-License-Identifier: GPL-3.0-or-later
"""How many readings a second the bridge takes on one core, beside a plain asyncio protocol; and the memory it needs."""

from __future__ import annotations

import contextlib
import json
import os
import random
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from energy_bridge.model import Reading
from energy_bridge.wire import Source, decode_answer, encode_binary, encode_reading
from eth_account import Account
from support.chain import ARTIFACT, CHECKOUT
from support.network import wait_until
from support.settings import bridge_settings

from bench.progress import timed
from bench.rows import Row

PLAIN = Path(__file__).parent / "plain_bridge.py"
FORMS = ("json", "binary")
ACTORS = 200
SLOT_S = 1  # so that there is something to clear in the seconds that this takes
SLOTS_AHEAD, MEMORY_SLOTS_AHEAD = 20, 60
OUTSTANDING = 8_000  # that the sender lets be unanswered when it finds out how fast it can be
FIND_S, HOLD_S = 4.0, 8.0
SLOWER = 0.95
PATIENCE_S = 3.0
SENT_AT_ONCE = 32
CHUNK = 50_000
MEMORY_READINGS = 1_000_000
SOURCES = [Source(f"house{number}", number, (bytes([number]) * 32,)) for number in range(1, ACTORS + 1)]
BY_NAME = {source.name: source for source in SOURCES}


@dataclass
class Server:
    """A bridge that runs on one core."""

    process: subprocess.Popen[bytes]
    port: int
    web_port: int | None = None

    def metric(self, name: str) -> float:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.web_port}/metrics") as response:
            lines = response.read().decode().splitlines()
        return next(float(line.split()[1]) for line in lines if line.startswith(f"{name} "))

    def rss_mib(self) -> float:
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(status.split("VmRSS:")[1].split()[0]) / 1024


class Sender:
    """All houses, from one socket."""

    def __init__(self, port: int) -> None:
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 * 1024 * 1024)
        self._socket.connect(("127.0.0.1", port))
        self._socket.setblocking(False)
        self._boot = int(time.time() * 1000)
        self.answers: list[bytes] = []

    def close(self) -> None:
        self._socket.close()

    def datagrams(self, form: str, count: int, rate: float, slots_ahead: int = SLOTS_AHEAD) -> list[bytes]:
        """Readings that are to be sent from now on at this rate, or faster, each of a slot to come."""
        self._boot += 1
        chance, now = random.Random(self._boot), time.time() + 1  # noqa: S311
        times = (now + number / rate for number in range(count))
        return [self._datagram(form, number, at, slots_ahead, chance) for number, at in enumerate(times)]

    def _datagram(self, form: str, number: int, at: float, slots_ahead: int, chance: random.Random) -> bytes:
        source = SOURCES[number % ACTORS]
        energy_nwh = chance.randint(-4_000, 4_000) * 10**9
        price = chance.randint(80_000, 120_000) * 10**9
        slot = int(at) // SLOT_S + slots_ahead
        reading = Reading(source.name, self._boot, number // ACTORS, round(at, 3), slot, energy_nwh, price)
        if form == "json":
            return encode_reading(reading, source.keys[0])
        return encode_binary(reading, source.id, source.keys[0])

    def hear(self) -> None:
        with contextlib.suppress(BlockingIOError):
            while True:
                if b'"deliver"' not in (answer := self._socket.recv(512)):  # what is told later was not asked for
                    self.answers.append(answer)

    def flood(self, datagrams: Sequence[bytes], seconds: float) -> float:
        """Send as fast as they are answered, and no longer than they are; returns the answers per second."""
        self.answers.clear()
        since, sent, heard, heard_at = time.monotonic(), 0, 0, time.monotonic()
        while (now := time.monotonic()) - since < seconds and len(self.answers) < len(datagrams):
            for datagram in datagrams[sent : min(sent + SENT_AT_ONCE, len(self.answers) + OUTSTANDING)]:
                self._socket.send(datagram)
                sent += 1
            self.hear()
            if len(self.answers) > heard:
                heard, heard_at = len(self.answers), now
            if now - heard_at > 5 * PATIENCE_S:
                break
        return len(self.answers) / (time.monotonic() - since)

    def hold(self, datagrams: Sequence[bytes], rate: float) -> int:
        """Send at this rate, whatever is answered; returns how many were not."""
        self.answers.clear()
        since, sent = time.monotonic(), 0
        while sent < len(datagrams):
            due = min(len(datagrams), int((time.monotonic() - since) * rate))
            for datagram in datagrams[sent:due]:
                self._socket.send(datagram)
            self.hear()
            if sent == due:
                time.sleep(0.0002)
            sent = due
        heard, until = len(self.answers), time.monotonic() + PATIENCE_S
        while len(self.answers) < len(datagrams) and time.monotonic() < until:
            self.hear()
            if len(self.answers) > heard:
                heard, until = len(self.answers), time.monotonic() + PATIENCE_S
        self._check()
        return len(datagrams) - len(self.answers)

    def _check(self) -> None:
        """Every answer is proven, acknowledges, and is of another reading."""
        named = set()
        for datagram in self.answers:
            source = datagram.split(b'"source"', 1)[1].split(b'"', 2)[1].decode()
            answer = decode_answer(datagram, BY_NAME[source].keys[0])
            assert answer["status"] in {"stored", "late"}, answer
            named.add((source, answer["boot"], answer["seq"]))
        assert len(named) == len(self.answers)


def intake(scratch: Path, wanted: frozenset[str]) -> Iterator[Row]:
    """Measure both programs, one after the other, each with a database of its own on one core; this runs on another."""
    folder = scratch / "intake"
    folder.mkdir()
    (folder / "keys.json").write_text(json.dumps({source.name: source.keys[0].hex() for source in SOURCES}))
    for form in FORMS:
        if f"intake_datagrams_per_s/{form}" in wanted:
            rates = {}
            for name, start in (("the bridge", bridge), ("a plain protocol", plain)):
                with start(folder, form) as server:
                    _, rates[name] = timed(f"{form} readings to {name}", lambda: rate_without_loss(server, form))  # noqa: B023
            yield Row(f"intake_datagrams_per_s/{form}", *rates.values())
    if "bridge_rss_mib" in wanted:
        with bridge(folder, "memory") as server:
            timed(f"{MEMORY_READINGS:,} readings", lambda: take(server, MEMORY_READINGS))
            yield Row("bridge_rss_mib", server.rss_mib())


def rate_without_loss(server: Server, form: str) -> float:
    """The highest of some rates at which every datagram of HOLD_S seconds was answered without being repeated."""
    with contextlib.closing(Sender(server.port)) as sender:
        sender.flood(sender.datagrams(form, 5_000, 1_000), 1)
        rate = sender.flood(sender.datagrams(form, 200_000, 10_000), FIND_S)
        time.sleep(PATIENCE_S)
        sender.hear()
        while lost := sender.hold(sender.datagrams(form, int(rate * HOLD_S), rate), rate):
            print(f"[{lost} of {int(rate * HOLD_S)} lost at {rate:,.0f}/s] ", end="", flush=True)
            rate *= SLOWER
        return rate


def take(server: Server, count: int) -> None:
    accepted = 0.0
    with contextlib.closing(Sender(server.port)) as sender:
        while accepted < count:
            sender.flood(sender.datagrams("json", CHUNK, 10_000, MEMORY_SLOTS_AHEAD), 1000)
            before, accepted = accepted, server.metric("energy_bridge_readings_accepted_total")
            assert accepted > before, "the bridge takes no more"


@contextlib.contextmanager
def bridge(folder: Path, name: str, **settings: Any) -> Iterator[Server]:
    """Ours, with clearing, metrics and the web server; its node is away, so nothing is settled.

    Settings are of its configuration, in place of what stands here.
    """
    port, web_port = free_port(socket.SOCK_DGRAM), free_port(socket.SOCK_STREAM)
    keystore = folder / f"{name}-keystore"
    keystore.mkdir()
    key = Account.create()
    (keystore / "key").write_text(json.dumps(key.encrypt("bench", kdf="pbkdf2", iterations=1000)))
    (folder / "password").write_text("bench")
    kinds = ["Grid", *["PV", "Load"] * ACTORS]
    config = folder / f"{name}.json"
    document = bridge_settings(
        listen_port=port,
        listen_allow=["127.0.0.0/8"],
        web_port=web_port,
        clock="wall",
        database=str(folder / f"{name}.sqlite"),
        market={"address": f"0x{1:040x}", "abi": str(ARTIFACT)},
        operator={"keystore": str(keystore), "password_file": str(folder / "password")},
        actors={
            source.name: {"address": f"0x{1000 + source.id:040x}", "kind": kind, "id": source.id}
            for source, kind in zip(SOURCES, kinds, strict=False)
        },
        source_keys=str(folder / "keys.json"),
        slot_s=SLOT_S,
        grace_s=2,
    )
    config.write_text(json.dumps(document | settings))
    command = [sys.executable, "-m", "energy_bridge", "run", "--config", str(config)]
    with on_one_core(command, folder / f"{name}.log") as process:
        server = Server(process, port, web_port)
        wait_until("the bridge to listen", lambda: "listening" in (folder / f"{name}.log").read_text(), 30)
        try:
            yield server
        except AssertionError as error:
            raise AssertionError(f"{error}; its log ends\n{(folder / f'{name}.log').read_text()[-2000:]}") from error
        for what in ("kernel", "queue"):
            dropped = server.metric(f"energy_bridge_{what}_dropped_datagrams_total")
            print(f"  · the {what} dropped {dropped:,.0f} in all" if dropped else "", end="\n" if dropped else "")


@contextlib.contextmanager
def plain(folder: Path, name: str) -> Iterator[Server]:
    """What is compared with."""
    port = free_port(socket.SOCK_DGRAM)
    command = [sys.executable, str(PLAIN), str(port), str(folder / f"plain-{name}.sqlite"), str(folder / "keys.json")]
    with on_one_core(command, folder / f"plain-{name}.log") as process:
        wait_until("the plain protocol to listen", lambda: f":{port:04X} " in Path("/proc/net/udp").read_text(), 30)
        yield Server(process, port)


@contextlib.contextmanager
def on_one_core(command: Sequence[str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Run a command on the first core, and this process on the others meanwhile."""
    cores = os.sched_getaffinity(0)
    first = min(cores)
    os.sched_setaffinity(0, {first})
    try:
        with log.open("wb") as output:
            process = subprocess.Popen(command, cwd=CHECKOUT, stdout=output, stderr=output)
    finally:
        os.sched_setaffinity(0, cores - {first} or cores)
    try:
        yield process
    finally:
        process.terminate()
        process.wait(30)
        os.sched_setaffinity(0, cores)


def free_port(kind: socket.SocketKind) -> int:
    with socket.socket(socket.AF_INET, kind) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
