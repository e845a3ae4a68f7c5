# SPDX-License-Identifier: GPL-3.0-or-later
"""Readings over HTTP have the same answers as over UDP; /metrics and /healthz say how the bridge is."""

import asyncio
import hashlib
import hmac
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from energy_bridge.health import ChainView, View
from energy_bridge.intake import Intake, TimeRules
from energy_bridge.metrics import Metrics
from energy_bridge.model import BatchState, Reading
from energy_bridge.receiver import Allowed
from energy_bridge.store import Store
from energy_bridge.web import MAC_HEADER, Web
from energy_bridge.wire import MAC_BYTES, Source, Sources, encode_binary, encode_reading

KEY = b"p" * 32
NOW = 1_795_455_436.0
READING = Reading("pv", 1, 0, NOW, 1_994_950, 100 * 10**9, 2)
SEALED = ChainView(head_block=7, head_time=NOW - 3, sealed={"0xa": 2, "0xb": 2}, blocks=8)


@dataclass
class Served:
    """A client of one running web server, and what the server is told."""

    session: aiohttp.ClientSession
    url: str
    intake: Intake
    database: Path
    view: View

    async def post(self, body: bytes, **headers: str) -> tuple[int, dict[str, Any], str | None]:
        """Status, answer, and the MAC of it."""
        given = {name.replace("_", "-"): value for name, value in headers.items()}
        async with self.session.post(f"{self.url}/readings", data=body, headers=given) as response:
            read = await response.read()
            mac = response.headers.get(MAC_HEADER)
            assert mac is None or mac == hmac.digest(KEY, read, hashlib.sha256).hex()
            return response.status, json.loads(read), mac

    async def get(self, path: str) -> tuple[int, str]:
        async with self.session.get(f"{self.url}/{path}") as response:
            return response.status, await response.text()


def serve(
    directory: Path,
    use: Callable[[Served], Awaitable[None]],
    *,
    authenticated: bool = True,
    allow: list[str] | None = None,
    queue_limit: int = 100,
) -> None:
    """Run a server and its intake for as long as it is used."""
    database = directory / "bridge.sqlite"

    async def run() -> None:
        metrics = Metrics()
        failures: list[BaseException] = []
        intake = Intake(
            lambda: Store(database),
            sources=Sources([Source("pv", 1, (KEY,))], authenticated=authenticated),
            rules=TimeRules(900, 172_800, wall_clock=True),
            metrics=metrics,
            on_stored=lambda: None,
            on_failure=failures.append,
            clock=lambda: NOW,
            queue_limit=queue_limit,
        )
        async with aiohttp.ClientSession() as session:
            served = Served(session, "", intake, database, View(SEALED, 0.0, {BatchState.FINAL: 3}))
            web = Web(
                intake,
                allowed=Allowed(allow),
                authenticated=authenticated,
                metrics=metrics,
                view=lambda: served.view,
                period_s=5,
                clock=lambda: NOW,
            )
            metrics.show(queue_length=lambda: 4, kernel_dropped=lambda: 5, view=lambda: served.view)
            served.url = f"http://127.0.0.1:{await web.start('127.0.0.1', 0)}"
            intake.start()
            try:
                await use(served)
            finally:
                await web.stop()
                await asyncio.to_thread(intake.stop)
        assert failures == []

    asyncio.run(run())


def test_a_reading_of_either_form_is_stored_and_its_answer_is_proven(tmp_path: Path) -> None:
    async def use(served: Served) -> None:
        for datagram in (encode_reading(READING, KEY), encode_binary(replace(READING, seq=1), 1, KEY)):
            status, answer, mac = await served.post(datagram, Content_Type="application/octet-stream")
            assert (status, answer["status"], answer["source"]) == (200, "stored", "pv")
            assert mac is not None

    serve(tmp_path, use)


def test_json_with_its_mac_in_a_header_is_the_same_reading(tmp_path: Path) -> None:
    datagram = encode_reading(READING, KEY)
    body, mac = datagram[:-MAC_BYTES], datagram[-MAC_BYTES:].hex()

    async def use(served: Served) -> None:
        first = await served.post(body, Content_Type="application/json", X_HMAC_SHA256=mac)
        assert first == await served.post(datagram)
        assert first[0] == 200
        for wrong in ("00" * 31, "no hex"):
            status, answer, _ = await served.post(body, X_HMAC_SHA256=wrong)
            assert (status, answer["reason"]) == (400, "X-HMAC-SHA256 has to be 64 hex digits")

    serve(tmp_path, use)


@pytest.mark.parametrize(
    ("body", "status", "words"),
    [
        (encode_reading(replace(READING, slot=2**32), KEY), 400, "slot"),
        (encode_reading(replace(READING, time=NOW + 1000), KEY), 400, "ahead"),
        (encode_reading(READING, b"guessed"), 401, "MAC"),
        (encode_reading(replace(READING, source="sun"), KEY), 401, "source"),
        (b"", 401, ""),
        (b"x" * 513, 413, "512 bytes"),
        (b"x" * 100_000, 413, "512 bytes"),
    ],
)
def test_what_is_no_reading_has_a_status_and_a_reason(tmp_path: Path, body: bytes, status: int, words: str) -> None:
    async def use(served: Served) -> None:
        got, answer, _ = await served.post(body)
        assert (got, answer["status"]) == (status, "rejected")
        assert words in answer["reason"]

    serve(tmp_path, use)


def test_other_bytes_under_a_used_key_are_a_conflict(tmp_path: Path) -> None:
    async def use(served: Served) -> None:
        await served.post(encode_reading(READING, KEY))
        status, answer, _ = await served.post(encode_reading(replace(READING, energy_nwh=1), KEY))
        assert (status, answer["status"]) == (409, "conflict")

    serve(tmp_path, use)


def test_without_authentication_nobody_needs_a_mac(tmp_path: Path) -> None:
    async def use(served: Served) -> None:
        status, answer, mac = await served.post(encode_reading(READING, None))
        assert (status, answer["status"], mac) == (200, "stored", None)
        assert (await served.post(b"{"))[0] == 400

    serve(tmp_path, use, authenticated=False)


def test_who_is_not_on_the_list_may_look_but_not_send(tmp_path: Path) -> None:
    async def use(served: Served) -> None:
        assert (await served.post(encode_reading(READING, KEY)))[0] == 403
        assert (await served.get("metrics"))[0] == 200
        assert 'energy_bridge_datagrams_rejected_total{reason="stranger"} 1.0' in (await served.get("metrics"))[1]

    serve(tmp_path, use, allow=["192.0.2.0/24"])


def test_what_is_not_durable_is_not_acknowledged(tmp_path: Path) -> None:
    async def use(served: Served) -> None:
        served.database.mkdir()
        status, answer, _ = await served.post(encode_reading(READING, KEY))
        assert status == 503
        assert "cannot be opened" in answer["reason"]
        served.database.rmdir()
        assert (await served.post(encode_reading(READING, KEY)))[0] == 200

    serve(tmp_path, use)


def test_what_is_too_many_is_to_be_sent_again(tmp_path: Path) -> None:
    async def use(served: Served) -> None:
        status, answer, _ = await served.post(encode_reading(READING, KEY))
        assert (status, answer["reason"]) == (503, "too many datagrams wait; send it again")

    serve(tmp_path, use, queue_limit=0)


def test_metrics_are_shown(tmp_path: Path) -> None:
    async def use(served: Served) -> None:
        await served.post(encode_reading(READING, KEY))
        _, text = await served.get("metrics")
        lines = text.splitlines()
        for line in (
            'energy_bridge_datagrams_received_total{way="http"} 1.0',
            "energy_bridge_readings_accepted_total 1.0",
            "energy_bridge_answers_total 1.0",
            "energy_bridge_commit_seconds_count 1.0",
            "energy_bridge_kernel_dropped_datagrams_total 5.0",
            "energy_bridge_queue_length 4.0",
            "energy_bridge_outbox_age_seconds 0.0",
            "energy_bridge_chain_head_block 7.0",
            'energy_bridge_batches{state="FINAL"} 3.0',
        ):
            assert line in lines
        assert any(line.startswith("process_resident_memory_bytes ") for line in lines)

    serve(tmp_path, use)


def test_health_is_green_or_says_why_not(tmp_path: Path) -> None:
    async def use(served: Served) -> None:
        status, text = await served.get("healthz")
        assert (status, json.loads(text)) == (200, {"healthy": True, "problems": [], "notes": []})
        served.view = replace(served.view, chain=replace(SEALED, head_time=NOW - 31))
        status, text = await served.get("healthz")
        assert (status, json.loads(text)["healthy"]) == (503, False)
        assert json.loads(text)["problems"] == ["The chain halts: block 7 is the newest, and 31 s old."]

    serve(tmp_path, use)


def test_a_port_that_is_taken_is_named(tmp_path: Path) -> None:
    async def use(served: Served) -> None:
        port = int(served.url.rpartition(":")[2])
        view = served.view
        second = Web(
            served.intake,
            allowed=Allowed(None),
            authenticated=True,
            metrics=Metrics(),
            view=lambda: view,
            period_s=5,
            clock=lambda: NOW,
        )
        with pytest.raises(OSError, match=f"TCP 127.0.0.1:{port} cannot be used"):
            await second.start("127.0.0.1", port)
        await second.stop()

    serve(tmp_path, use)
