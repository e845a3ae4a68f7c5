# SPDX-License-Identifier: GPL-3.0-or-later
"""The whole process, from its configuration to its end; its node is away, and readings are taken all the same."""

import json
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from energy_bridge.model import Fate, Reading
from energy_bridge.store import Store
from energy_bridge.wire import decode_answer, encode_reading
from eth_account import Account
from support.settings import bridge_settings

KEY = b"p" * 32
READING = Reading("pv", 1, 0, 0.0, 5, 100 * 10**9, 2)
PATIENCE_S = 30.0
ARTEFACT: dict[str, list[Any]] = {"abi": []}


class Process:
    """`energy-bridge run` with a configuration of its own."""

    def __init__(self, directory: Path, **settings: Any) -> None:
        self.database = directory / "bridge.sqlite"
        self.log = directory / "log"
        (directory / "keystore").mkdir()
        key = Account.create().encrypt("secret", kdf="pbkdf2", iterations=1000)
        (directory / "keystore/key").write_text(json.dumps(key))
        (directory / "password").write_text("secret")
        (directory / "keys.json").write_text(json.dumps({"pv": KEY.hex(), "grid": (b"g" * 32).hex()}))
        (directory / "abi.json").write_text(json.dumps(ARTEFACT))
        config = bridge_settings(
            database=str(self.database),
            market={"address": "0x" + "ab" * 20, "abi": str(directory / "abi.json")},
            operator={"keystore": str(directory / "keystore"), "password_file": str(directory / "password")},
            source_keys=str(directory / "keys.json"),
            grace_s=1000,
            poll_s=0.2,
        )
        (directory / "config.json").write_text(json.dumps(config | settings))
        command = [sys.executable, "-m", "energy_bridge", "run", "--config", str(directory / "config.json")]
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log)
        self.port = self._port("listening")

    def _port(self, word: str) -> int:
        until = time.monotonic() + PATIENCE_S
        while not (lines := [line for line in self.log.read_text().splitlines() if f" {word} " in line]):
            assert self.process.poll() is None, self.log.read_text()
            assert time.monotonic() < until, self.log.read_text()
            time.sleep(0.02)
        return int(lines[0].split("port=")[1].split()[0])

    def get(self, path: str) -> tuple[int, str]:
        url = f"http://127.0.0.1:{self._port('serving')}/{path}"
        try:
            with urllib.request.urlopen(url, timeout=PATIENCE_S) as response:
                return response.status, response.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()

    def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(PATIENCE_S)


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Callable[..., Process]]:
    made: list[Process] = []

    def run(**settings: Any) -> Process:
        made.append(Process(tmp_path, **settings))
        return made[-1]

    yield run
    for process in made:
        process.process.kill()
        process.process.wait()


def test_what_was_sent_before_the_end_is_answered_only_if_it_is_stored(run: Callable[..., Process]) -> None:
    bridge = run()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 * 1024 * 1024)
        client.settimeout(PATIENCE_S)
        client.connect(("127.0.0.1", bridge.port))
        for seq in range(500):
            client.send(encode_reading(Reading("pv", 1, seq, 0.0, 5, 10**9, 2), KEY))
        answers = [decode_answer(client.recv(512), KEY)]
        assert bridge.stop() == 0, bridge.log.read_text()
        client.setblocking(False)
        try:
            while True:
                answers.append(decode_answer(client.recv(512), KEY))
        except (BlockingIOError, ConnectionRefusedError):
            pass
    with closing(Store(bridge.database, read_only=True)) as store:
        stored = {reading.seq for reading in store.readings(5, Fate.OPEN)}
    assert {answer["seq"] for answer in answers} == stored
    assert " stopped" in bridge.log.read_text()


def test_metrics_and_health_are_served_and_red_while_the_node_is_away(run: Callable[..., Process]) -> None:
    bridge = run()
    until = time.monotonic() + PATIENCE_S
    while (health := bridge.get("healthz"))[0] == 200:
        assert time.monotonic() < until
        time.sleep(0.05)
    assert "The node cannot be asked" in json.loads(health[1])["problems"][0]
    while 'energy_bridge_batches{state="FINAL"} 0.0' not in bridge.get("metrics")[1]:
        assert time.monotonic() < until
        time.sleep(0.05)
    assert bridge.stop() == 0


def test_without_a_web_port_there_is_no_web_server(run: Callable[..., Process]) -> None:
    bridge = run(web_port=None)
    assert bridge.stop() == 0
    assert "serving" not in bridge.log.read_text()


def test_a_bridge_that_authenticates_nobody_says_so_loudly(run: Callable[..., Process]) -> None:
    bridge = run(source_keys=None)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.settimeout(PATIENCE_S)
        client.sendto(encode_reading(READING, None), ("127.0.0.1", bridge.port))
        assert decode_answer(client.recv(512), None)["status"] == "stored"
    assert bridge.stop() == 0
    assert "UNAUTHENTICATED" in bridge.log.read_text()


def test_a_web_port_that_is_taken_ends_it_with_a_sentence(run: Callable[..., Process]) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(AssertionError, match=f"stopped reason=.*TCP 127.0.0.1:{port} cannot be used"):
            run(web_port=port)
