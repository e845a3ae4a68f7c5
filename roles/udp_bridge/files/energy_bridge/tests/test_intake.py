# SPDX-License-Identifier: GPL-3.0-or-later
"""What a source sees over UDP: acknowledged once durable, the same answer again, and nothing for who is not proven."""

import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from energy_bridge.clearing import Rules
from energy_bridge.gate import Gate, close_due_slots
from energy_bridge.intake import Intake, TimeRules, describe, untimely
from energy_bridge.metrics import Metrics
from energy_bridge.model import Fate, Reading
from energy_bridge.receiver import BUFFER_BYTES, Allowed, Receiver, open_socket
from energy_bridge.store import Store
from energy_bridge.wire import Source, Sources, decode_answer, encode_binary, encode_reading

KEYS = {"load": b"l" * 32, "pv": b"p" * 32, "grid": b"g" * 32}
SOURCES = Sources([Source(name, number, (key,)) for number, (name, key) in enumerate(KEYS.items(), 1)])
NOW = 1_795_455_436.0
SLOT = 1_994_950
READING = Reading("pv", 1, 0, NOW, SLOT, 100 * 10**9, 2)
GATE = Gate(frozenset(KEYS), slot_s=900, grace_s=30, simulated=True)
WALL = TimeRules(slot_s=900, accept_horizon_s=172_800, wall_clock=True)
PATIENCE_S = 20.0


class Bridge:
    """The two threads on a real socket and a real database, and a source's socket that talks to them."""

    def __init__(
        self,
        database: Path,
        *,
        sources: Sources = SOURCES,
        allow: list[str] | None = None,
        at: Callable[[str], None] | None = None,
        sock: socket.socket | None = None,
        queue_limit: int = 16_384,
    ) -> None:
        self.database = database
        self.now = NOW
        self.max_pages = 2**30
        self.at = at
        self.store = Store(database)
        self.metrics = Metrics()
        self.stored = 0
        self.failures: list[BaseException] = []
        self.server = sock or open_socket("127.0.0.1", 0)
        self.intake = Intake(
            self._open,
            sources=sources,
            rules=WALL,
            metrics=self.metrics,
            on_stored=self._count,
            on_failure=self.failures.append,
            clock=lambda: self.now,
            queue_limit=queue_limit,
        )
        self.receiver = Receiver(
            self.server,
            self.intake,
            allowed=Allowed(allow),
            metrics=self.metrics,
            on_failure=self.failures.append,
        )
        self.client = socket.socket(self.server.family, socket.SOCK_DGRAM)
        self.client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFER_BYTES)
        self.client.connect(self.server.getsockname())
        self.client.settimeout(PATIENCE_S)

    def _open(self) -> Store:
        store = Store(self.database) if self.at is None else Store(self.database, at=self.at)
        store._db.execute(f"PRAGMA max_page_count = {self.max_pages}")
        return store

    def _count(self) -> None:
        self.stored += 1

    def start(self) -> None:
        self.intake.start()
        self.receiver.start()

    def stop(self) -> None:
        if self.receiver._thread.is_alive():
            self.receiver.stop()
        if self.intake._thread.is_alive():
            self.intake.stop()
        self.store.close()
        self.server.close()
        self.client.close()
        assert self.failures == []

    def send(self, reading: Reading) -> None:
        self.client.send(encode_reading(reading, KEYS[reading.source]))

    def hear(self, source: str = "pv") -> dict[str, Any]:
        return decode_answer(self.client.recv(65536), KEYS[source])

    def ask(self, reading: Reading) -> dict[str, Any]:
        self.send(reading)
        return self.hear(reading.source)

    def metric(self, name: str, **labels: str) -> float | None:
        return self.metrics.registry.get_sample_value(f"energy_bridge_{name}", labels)

    def wait_for(self, name: str, value: float, **labels: str) -> None:
        until = time.monotonic() + PATIENCE_S
        while self.metric(name, **labels) != value:
            assert time.monotonic() < until, f"{name} is {self.metric(name, **labels)}, and {value} is waited for"
            time.sleep(0.005)

    def close_slots(self) -> list[Reading]:
        return close_due_slots(self.store, GATE, Rules(grid="grid"), now=self.now)


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Callable[..., Bridge]]:
    """Bridges on one database, all of which end with the test."""
    made: list[Bridge] = []

    def make(**options: Any) -> Bridge:
        made.append(Bridge(tmp_path / "bridge.sqlite", **options))
        return made[-1]

    yield make
    for bridge in made:
        bridge.stop()


@pytest.fixture
def bridge(make: Callable[..., Bridge]) -> Bridge:
    """One that runs."""
    made = make()
    made.start()
    return made


def test_a_reading_is_acknowledged_with_its_key(bridge: Bridge) -> None:
    answer = bridge.ask(READING)
    assert answer == {"version": 1, "source": "pv", "boot": 1, "seq": 0, "status": "stored", "slot": SLOT}
    assert bridge.stored == 1


def test_a_binary_reading_is_acknowledged_as_well(bridge: Bridge) -> None:
    bridge.client.send(encode_binary(READING, 2, KEYS["pv"]))
    assert bridge.hear()["status"] == "stored"


def test_repeating_a_reading_stores_nothing_and_asks_where_it_stands(bridge: Bridge) -> None:
    assert bridge.ask(READING) == bridge.ask(READING)
    assert bridge.stored == 1
    assert (bridge.metric("readings_accepted_total"), bridge.metric("readings_repeated_total")) == (1, 1)


def test_other_bytes_under_a_used_key_are_a_conflict(bridge: Bridge) -> None:
    bridge.ask(READING)
    assert bridge.ask(replace(READING, energy_nwh=1))["status"] == "conflict"
    assert bridge.ask(READING)["status"] == "stored"
    assert bridge.metric("datagrams_conflicting_total") == 1


def test_a_number_that_went_back_is_stored_too_and_a_gap_is_counted(bridge: Bridge) -> None:
    for seq in (7, 9, 3, 10):
        assert bridge.ask(replace(READING, seq=seq))["status"] == "stored"
    assert bridge.metric("sequence_gaps_total", source="pv") == 1


def test_what_is_rounded_is_counted(bridge: Bridge) -> None:
    bridge.ask(replace(READING, energy_nwh=869_300_000))
    bridge.ask(replace(READING, seq=1))
    assert bridge.metric("readings_rounded_total") == 1


def test_what_comes_after_its_slot_has_closed_is_late(bridge: Bridge) -> None:
    bridge.ask(READING)
    bridge.now += 30
    bridge.close_slots()
    assert bridge.ask(replace(READING, source="load"))["status"] == "late"
    assert bridge.ask(replace(READING, source="load"))["status"] == "late", "and the same when it is asked again"


def test_a_slot_in_which_nothing_can_be_traded_is_refused_with_its_reason(bridge: Bridge) -> None:
    bridge.ask(READING)
    bridge.now += 30
    bridge.close_slots()
    answer = bridge.ask(READING)
    assert answer["status"] == "refused"
    assert "price" in answer["reason"]
    assert "deliver" not in answer


def test_settled_is_told_once_to_where_the_source_last_was(bridge: Bridge) -> None:
    nothing = replace(READING, energy_nwh=0)
    bridge.ask(nothing)
    bridge.now += 30
    for reading in bridge.close_slots():
        standing = bridge.store.standing(reading.source, reading.boot, reading.seq)
        assert standing is not None
        bridge.intake.tell(reading.source, reading.boot, reading.seq, describe(standing))
    pushed = bridge.hear()
    assert (pushed["status"], pushed["transaction"], pushed["deliver"]) == ("settled", None, True)
    assert bridge.ask(nothing) == pushed


def test_a_proven_source_is_told_why_and_a_stranger_nothing(bridge: Bridge) -> None:
    answer = bridge.ask(replace(READING, slot=2**32))
    assert (answer["status"], answer["seq"]) == ("rejected", 0)
    assert "slot" in answer["reason"]
    bridge.client.send(encode_reading(READING, b"guessed"))
    assert bridge.ask(replace(READING, seq=1))["seq"] == 1, "the one before was not answered"
    assert bridge.metric("datagrams_rejected_total", reason="invalid") == 1
    assert bridge.metric("datagrams_rejected_total", reason="unproven") == 1


def test_without_authentication_nobody_needs_a_key(make: Callable[..., Bridge]) -> None:
    bridge = make(sources=Sources([Source("pv", 1)], authenticated=False))
    bridge.start()
    bridge.client.send(encode_reading(READING, None))
    assert decode_answer(bridge.client.recv(512), None)["status"] == "stored"


def test_who_is_not_on_the_list_hears_nothing_and_is_counted(make: Callable[..., Bridge]) -> None:
    bridge = make(allow=["127.0.0.9/32", "192.0.2.0/24"])
    bridge.start()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as listed:
        bridge.send(READING)
        bridge.wait_for("datagrams_rejected_total", 1, reason="stranger")
        listed.bind(("127.0.0.9", 0))
        listed.settimeout(PATIENCE_S)
        listed.sendto(encode_reading(READING, KEYS["pv"]), bridge.server.getsockname())
        assert decode_answer(listed.recv(512), KEYS["pv"])["status"] == "stored"
    assert bridge.stored == 1
    bridge.client.setblocking(False)
    with pytest.raises(BlockingIOError):
        bridge.hear()


def test_networks_are_matched_in_both_families() -> None:
    listed = Allowed(["192.0.2.0/24", "2001:db8::/32"])
    assert "192.0.2.7" in listed
    assert "::ffff:192.0.2.7" in listed, "an IPv4 address that an IPv6 socket shows"
    assert "2001:db8::1%eth0" in listed
    assert "198.51.100.7" not in listed
    assert "198.51.100.7" in Allowed(None)


def test_ipv6_is_answered(make: Callable[..., Bridge]) -> None:
    bridge = make(sock=open_socket("::1", 0), allow=["::1/128"])
    bridge.start()
    with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as client:
        client.settimeout(PATIENCE_S)
        client.sendto(encode_reading(READING, KEYS["pv"]), bridge.server.getsockname())
        assert decode_answer(client.recv(512), KEYS["pv"])["status"] == "stored"


# ------------------------------------------------------------------ time


@pytest.mark.parametrize(
    ("reading", "words"),
    [
        (READING, None),
        (replace(READING, time=NOW + 120), None),
        (replace(READING, time=NOW + 122), "122 s ahead, and 120 s"),
        (replace(READING, time=NOW - 172_800), None),
        (replace(READING, time=NOW - 172_802), "172802 s ago, and 172800 s"),
        (replace(READING, slot=SLOT + 366 * 96), None),
        (replace(READING, slot=SLOT + 367 * 96), "more than 366 days ahead"),
        (replace(READING, slot=0), None),
    ],
)
def test_when_a_reading_is_taken(reading: Reading, words: str | None) -> None:
    reason = untimely(reading, NOW, WALL)
    assert reason is None if words is None else words in str(reason)


def test_a_simulated_time_is_not_judged_but_the_market_still_refuses_far_days() -> None:
    simulated = replace(WALL, wall_clock=False)
    assert untimely(replace(READING, time=0.0), NOW, simulated) is None
    assert untimely(replace(READING, time=NOW * 2), NOW, simulated) is None
    assert untimely(replace(READING, slot=SLOT * 2), NOW, simulated) is not None


def test_what_is_too_old_is_rejected_unless_it_was_stored_before(bridge: Bridge) -> None:
    bridge.ask(READING)
    bridge.now += 172_801
    assert bridge.ask(READING)["status"] == "stored"
    answer = bridge.ask(replace(READING, seq=1))
    assert answer["status"] == "rejected"
    assert "accepted" in answer["reason"]
    assert bridge.metric("datagrams_rejected_total", reason="time") == 1


# ------------------------------------------------------- load and failure


def test_many_that_wait_are_stored_in_one_commit_and_answered_before_the_end(make: Callable[..., Bridge]) -> None:
    bridge = make()
    bridge.receiver.start()
    for seq in range(100):
        bridge.send(replace(READING, seq=seq))
    bridge.wait_for("datagrams_received_total", 100, way="udp")
    bridge.receiver.stop()
    bridge.intake.start()
    bridge.intake.stop()
    assert {bridge.hear()["seq"] for _ in range(100)} == set(range(100))
    assert bridge.metric("commit_seconds_count") == 1
    assert bridge.stored == 1


def test_a_full_queue_drops_the_newest_which_nobody_acknowledges(make: Callable[..., Bridge]) -> None:
    bridge = make(queue_limit=4)
    bridge.receiver.start()
    for seq in range(6):
        bridge.send(replace(READING, seq=seq))
    bridge.wait_for("datagrams_received_total", 6, way="udp")
    assert bridge.metric("queue_dropped_datagrams_total") == 2
    bridge.intake.start()
    assert [bridge.hear()["seq"] for _ in range(4)] == [0, 1, 2, 3]
    assert bridge.ask(replace(READING, seq=5))["seq"] == 5, "who is not acknowledged repeats"
    assert bridge.store.status()["readings"]["stored"] == 5


def test_a_full_disk_acknowledges_nobody_says_why_and_resumes(
    make: Callable[..., Bridge], caplog: pytest.LogCaptureFixture
) -> None:
    bridge = make()
    bridge.max_pages = 1  # SQLite takes the present size instead: no page more
    bridge.start()
    sent = 0
    while bridge.intake.trouble is None:
        bridge.send(replace(READING, seq=sent))
        sent += 1
        bridge.wait_for("datagrams_received_total", sent, way="udp")
    assert "database or disk is full" in bridge.intake.trouble
    assert "not_acknowledged" in caplog.text
    assert "database or disk is full" in caplog.text
    bridge.max_pages = 2**30
    last = replace(READING, seq=sent)
    bridge.send(last)
    heard = [bridge.hear()["seq"]]
    while heard[-1] != sent:
        heard.append(bridge.hear()["seq"])
    assert bridge.intake.trouble is None
    stored = {reading.seq for reading in bridge.store.readings(SLOT, Fate.OPEN)}
    assert set(heard) == stored, "acknowledged is what is stored, and nothing else"
    assert bridge.metric("commit_failures_total") >= 1
    lost = min(set(range(sent)) - stored)
    assert bridge.ask(replace(READING, seq=lost))["seq"] == lost


def test_slow_commits_with_the_default_buffer_lose_nothing_that_was_acknowledged(make: Callable[..., Bridge]) -> None:
    def slow(point: str) -> None:
        if point == "insert before":
            time.sleep(0.02)

    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind(("127.0.0.1", 0))
    bridge = make(at=slow, sock=sock)
    bridge.start()
    readings = {seq: replace(READING, seq=seq) for seq in range(4000)}
    acknowledged: set[int] = set()
    listening = threading.Thread(target=_listen, args=(bridge, acknowledged, len(readings)))
    listening.start()
    for _ in range(100):
        for seq in sorted(readings.keys() - acknowledged):
            bridge.send(readings[seq])
        listening.join(0.2)
        if not listening.is_alive():
            break
    assert acknowledged == readings.keys()
    stored = [reading.seq for reading in bridge.store.readings(SLOT, Fate.OPEN)]
    assert sorted(stored) == sorted(acknowledged), "each once"


def _listen(bridge: Bridge, acknowledged: set[int], count: int) -> None:
    while len(acknowledged) < count:
        acknowledged.add(bridge.hear()["seq"])


def test_what_the_kernel_drops_is_seen(make: Callable[..., Bridge]) -> None:
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    sock.bind(("127.0.0.1", 0))
    bridge = make(sock=sock)
    for seq in range(100):
        bridge.send(replace(READING, seq=seq))
    inode = str(os.fstat(sock.fileno()).st_ino)
    lines = [line.split() for line in Path("/proc/net/udp").read_text().splitlines()]
    (dropped,) = (int(line[-1]) for line in lines if line[9] == inode)
    assert 0 < dropped == bridge.receiver.kernel_dropped()
    bridge.start()
    bridge.wait_for("datagrams_received_total", 100 - dropped, way="udp")


def test_a_buffer_that_the_kernel_does_not_give_is_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    most = int(Path("/proc/sys/net/core/rmem_max").read_text())
    open_socket("127.0.0.1", 0).close()
    assert ("small_socket_buffer" in caplog.text) == (most < BUFFER_BYTES)


def test_a_port_that_is_taken_is_named() -> None:
    with open_socket("127.0.0.1", 0) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(OSError, match=f"UDP 127.0.0.1:{port} cannot be used"):
            open_socket("127.0.0.1", port)


def test_a_flood_of_old_readings_is_one_line_of_log_and_no_commit(
    bridge: Bridge, caplog: pytest.LogCaptureFixture
) -> None:
    for seq in range(20):
        assert bridge.ask(replace(READING, seq=seq, time=NOW - 200_000 - seq))["status"] == "rejected"
    assert caplog.text.count("rejected source=pv") == 1
    assert bridge.metric("commit_seconds_count") == 0
