# SPDX-License-Identifier: GPL-3.0-or-later
"""What examples/matlab sends and believes, run by GNU Octave against a socket that answers as the bridge does.

scripts/octave.py installs Octave.
"""

import json
import math
import os
import re
import socket
import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from energy_bridge.model import Reading
from energy_bridge.wire import Question, Source, Sources, decode_reading, encode_answer

MATLAB = Path(__file__).parents[2] / "examples/matlab"
KEY, OTHER = bytes(range(100, 132)), bytes(32)
SOURCES = Sources([Source("pv", 2, (KEY,)), Source("Wärme", 3, (KEY,))])
LONGEST_S = 120


def octave(script: str, folder: Path) -> str:
    """Run a script where the example's files are found, and return what it printed."""
    path = folder / "script.m"
    path.write_text(script, "utf-8")
    run = subprocess.run(
        ["octave-cli", "--norc", "--quiet", "--path", MATLAB, path],
        env={**os.environ, "HOME": str(folder), "LC_ALL": "C.UTF-8"},
        capture_output=True,
        text=True,
        timeout=LONGEST_S,
        check=False,
    )
    assert run.returncode == 0, run.stdout + run.stderr
    return run.stdout


@dataclass
class Bridge:
    """A socket that takes readings and answers with what the test says; asked has each datagram as it came.

    A slow machine repeats a question before it has read the answer, so no test counts questions exactly.
    """

    sock: socket.socket
    answers: Callable[[Question, int], Sequence[bytes]]
    sources: Sources = SOURCES
    asked: list[tuple[bytes, Question]] = field(default_factory=list)

    @property
    def port(self) -> int:
        port: int = self.sock.getsockname()[1]
        return port

    @property
    def readings(self) -> list[Reading]:
        return list(dict.fromkeys(question.reading for _, question in self.asked))

    def serve(self) -> None:
        """Answer until an empty datagram comes."""
        while True:
            datagram, address = self.sock.recvfrom(2048)
            if not datagram:
                return
            question = decode_reading(datagram, self.sources)
            times_asked = sum(datagram == other for other, _ in self.asked)
            self.asked.append((datagram, question))
            for answer in self.answers(question, times_asked):
                self.sock.sendto(answer, address)


def answer(question: Question, status: str, key: bytes | None = KEY, **more: Any) -> bytes:
    reading = question.reading
    said = {"source": reading.source, "boot": reading.boot, "seq": reading.seq, "status": status, "slot": reading.slot}
    return encode_answer({**said, **more}, key)


@pytest.fixture
def serving() -> Iterator[Callable[..., Bridge]]:
    threads: list[tuple[Bridge, Thread]] = []

    def serve(answers: Callable[[Question, int], Sequence[bytes]], sources: Sources = SOURCES) -> Bridge:
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        sock.bind(("127.0.0.1", 0))
        bridge = Bridge(sock, answers, sources)
        threads.append((bridge, Thread(target=bridge.serve)))
        threads[-1][1].start()
        return bridge

    yield serve
    for bridge, thread in threads:
        with closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as client:
            client.sendto(b"", ("127.0.0.1", bridge.port))
        thread.join(LONGEST_S)
        bridge.sock.close()


def meter(bridge: Bridge, **more: str | int) -> str:
    said = {"host": "127.0.0.1", "port": bridge.port, "source": "pv", "id": 2, "secret": KEY.hex(), "form": "json"}
    return "".join(f"meter.{name} = {value!r};\n" for name, value in {**said, **more}.items())


def test_its_hmac_passes_the_vectors_of_rfc_4231(tmp_path: Path) -> None:
    vectors: list[tuple[str, str]] = [
        ("0b" * 20, b"Hi There".hex()),
        (b"Jefe".hex(), b"what do ya want for nothing?".hex()),
        ("aa" * 20, "dd" * 50),
        (bytes(range(1, 26)).hex(), "cd" * 50),
        ("0c" * 20, b"Test With Truncation".hex()),
        ("aa" * 131, b"Test Using Larger Than Block-Size Key - Hash Key First".hex()),
        (
            "aa" * 131,
            b"This is a test using a larger than block-size key and a larger than block-size data. "
            b"The key needs to be hashed before being used by the HMAC algorithm.".hex(),
        ),
    ]
    shown = octave(
        "".join(
            f"printf('%02x', hmac_sha256(sscanf('{key}', '%2x')', sscanf('{message}', '%2x')')); disp('');\n"
            for key, message in vectors
        ),
        tmp_path,
    )
    assert [line[:32] if place == 4 else line for place, line in enumerate(shown.split())] == [
        "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7",
        "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843",
        "773ea91e36800e46854db8ebd09181a72959098b3ef8c122d9635514ced565fe",
        "82558a389a443c0ea4cc819899f2083a85f0faa3e578f8077a2e3ff46729665b",
        "a3b6167473100ee06e0c796c2955552b",
        "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54",
        "9b09ffa71b942fcb27635fbcd5b0e944bfdc63644f0713938a7f51535c3a35e2",
    ]


def test_the_sha_256_that_matlab_uses_is_that_of_octave(tmp_path: Path) -> None:
    script = """
        for size = [0:3, 54:66, 118:130, 300]
            message = uint8(mod(37 * (1:size) + size, 256));
            assert(sprintf('%02x', sha256(message)), hash('sha256', char(message)));
        end
        disp('equal');
    """
    assert octave(script, tmp_path).split() == ["equal"]


@pytest.mark.parametrize("form", ["json", "binary"])
def test_a_reading_arrives_to_the_last_digit(form: str, tmp_path: Path, serving: Callable[..., Bridge]) -> None:
    sent = [(1994950, 0.869, 0.00008), (1994951, -2868.9999999999995 / 1000, -0.3), (0, 0.1 + 0.2, 1e-15), (1, 0, 0)]
    bridge = serving(lambda question, _: [answer(question, "stored")])
    calls = "".join(
        f"[reading, meter] = send_energy(meter, {slot}, {energy!r}, {price!r});\ndisp(reading.answer.status);\n"
        for slot, energy, price in sent
    )
    assert octave(meter(bridge, form=form) + calls, tmp_path).split() == ["stored"] * len(sent)
    assert [(reading.slot, reading.energy_nwh, reading.price_wei_per_wh) for reading in bridge.readings] == [
        (slot, round(energy * 10**12), round(price * 10**15)) for slot, energy, price in sent
    ]
    assert [reading.seq for reading in bridge.readings] == [1, 2, 3, 4]
    assert len({reading.boot for reading in bridge.readings}) == 1
    assert all(math.isclose(reading.time, reading.boot / 1000, abs_tol=LONGEST_S) for reading in bridge.readings)
    assert {datagram[:1] == b"{" for datagram, _ in bridge.asked} == {form == "json"}


def test_a_name_may_have_any_letters(tmp_path: Path, serving: Callable[..., Bridge]) -> None:
    bridge = serving(lambda question, _: [answer(question, "stored")])
    script = meter(bridge, source="Wärme") + "reading = send_energy(meter, 5, 1, 1); disp(reading.answer.status);"
    assert octave(script, tmp_path).split() == ["stored"]
    assert bridge.readings[0].source == "Wärme"


def test_what_gets_no_answer_is_sent_again_byte_by_byte(tmp_path: Path, serving: Callable[..., Bridge]) -> None:
    bridge = serving(lambda question, times: [answer(question, "stored")] if times >= 2 else [])
    script = meter(bridge) + "reading = send_energy(meter, 5, 1, 1); disp(reading.answer.status);"
    assert octave(script, tmp_path).split() == ["stored"]
    assert len(bridge.asked) >= 3
    assert len({datagram for datagram, _ in bridge.asked}) == 1


def test_settled_is_believed_only_under_the_key(tmp_path: Path, serving: Callable[..., Bridge]) -> None:
    settled: dict[str, Any] = {"transaction": "0x" + "ab" * 32, "deliver": True}
    sent = tmp_path / "sent"

    def answers(question: Question, _times: int) -> list[bytes]:
        forged = [
            answer(question, "settled", OTHER, **settled),
            answer(question, "settled", None, **settled),
            answer(question, "settled", **settled)[:-1] + b"?",
            bytes(20),
            b"",
        ]
        ends = answer(question, "settled", **settled) if sent.exists() else answer(question, "stored")
        return [*forged, ends]

    bridge = serving(answers)
    script = (
        meter(bridge)
        + f"""
        [reading, meter] = send_energy(meter, 5, 1, 1);
        disp(reading.answer.status);
        fclose(fopen('{sent}', 'w'));
        answer = receive_settled(meter, reading, 60);
        disp(answer.status); disp(answer.transaction); disp(answer.deliver);
        """
    )
    assert octave(script, tmp_path).split() == ["stored", "settled", settled["transaction"], "1"]
    assert len({datagram for datagram, _ in bridge.asked}) == 1


def test_forgeries_alone_are_silence(tmp_path: Path, serving: Callable[..., Bridge]) -> None:
    others = Question(Reading("pv", 1, 1, 0, 5, 0, 0), KEY, rounded=False)

    def answers(question: Question, _times: int) -> list[bytes]:
        sent_back = bridge.asked[-1][0]
        return [answer(question, "settled", OTHER, deliver=True), answer(others, "settled", deliver=True), sent_back]

    bridge = serving(answers)
    script = meter(bridge) + "reading = send_energy(meter, 5, 1, 1); disp(reading.answer.status);"
    assert octave(script, tmp_path).split() == ["silent"]
    assert len({datagram for datagram, _ in bridge.asked}) == 1


def test_the_pushed_answer_ends_the_waiting(tmp_path: Path, serving: Callable[..., Bridge]) -> None:
    pushed: dict[str, Any] = {"reason": "the grid has no money"}
    bridge = serving(
        lambda question, times: [
            answer(question, status, **(pushed if status == "refused" else {}))
            for status in (["batched", "refused"] if times else ["stored"])
        ]
    )
    script = (
        meter(bridge)
        + """
        [reading, meter] = send_energy(meter, 5, 1, 1);
        answer = receive_settled(meter, reading, 60);
        disp(answer.status); disp(answer.reason);
        """
    )
    assert octave(script, tmp_path).splitlines() == ["refused", "the grid has no money"]


def test_where_nobody_is_authenticated_no_secret_is_needed(tmp_path: Path, serving: Callable[..., Bridge]) -> None:
    for form in ("json", "binary"):
        bridge = serving(
            lambda question, _: [b"{", answer(question, "stored", None)],
            Sources([Source("pv", 2)], authenticated=False),
        )
        script = meter(bridge, secret="", form=form) + "r = send_energy(meter, 5, 1, 1); disp(r.answer.status);"
        assert octave(script, tmp_path).split() == ["stored"]


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ("meter.secret = 'abc'; send_energy(meter, 5, 1, 1);", "the secret has to be 64 hex digits, or empty"),
        ("send_energy(meter, 5, NaN, 1);", "slot, energy and price have to be one finite number each"),
        ("send_energy(meter, 5, [1 2], 1);", "slot, energy and price have to be one finite number each"),
    ],
)
def test_a_mistake_is_named_and_nothing_is_sent(
    wrong: str, sentence: str, tmp_path: Path, serving: Callable[..., Bridge]
) -> None:
    bridge = serving(lambda _question, _times: [])
    script = meter(bridge) + f"try; {wrong} catch problem; disp(problem.message); end"
    assert octave(script, tmp_path).strip() == sentence
    assert bridge.asked == []


def test_a_day_is_96_readings_of_their_own(tmp_path: Path, serving: Callable[..., Bridge]) -> None:
    """The example as the README has it filled in."""

    def answers(question: Question, _times: int) -> list[bytes]:
        first_again = len(bridge.readings) == 96 and question.reading.seq == 1
        return [answer(question, "settled" if first_again else "stored")]

    bridge = serving(answers)
    script = (MATLAB / "example_day.m").read_text()
    for name, value in {"host": "127.0.0.1", "port": bridge.port, "secret": KEY.hex()}.items():
        script, count = re.subn(rf"(?m)^meter\.{name} = [^;]*;", f"meter.{name} = {value!r};", script)
        assert count == 1
    said = octave(script, tmp_path).splitlines()
    readings = bridge.readings
    assert said == ["96 of 96 readings are stored", f"slot {readings[0].slot} is settled"]
    assert [reading.slot for reading in readings] == list(range(readings[0].slot, readings[0].slot + 96))
    assert [reading.seq for reading in readings] == list(range(1, 97))
    assert max(reading.energy_nwh for reading in readings) == 900 * 10**9
    assert min(reading.energy_nwh for reading in readings) == 0
    assert max(len(datagram) for datagram, _ in bridge.asked) <= 512
    assert json.loads(bridge.asked[0][0][:-32])["price_ether_per_kwh"] == 0.00008
