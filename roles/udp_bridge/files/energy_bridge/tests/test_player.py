# SPDX-License-Identifier: GPL-3.0-or-later
"""A source keeps what it learnt: the network repeats, reorders and reflects datagrams."""

import asyncio
import json
import os
import pty
import re
import signal
import socket
import subprocess
import sys
import termios
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from energy_bridge.cli import main
from energy_bridge.deliveries import Delivery, report, table
from energy_bridge.model import NWH_PER_WH, Offer, Reading
from energy_bridge.player import Source
from energy_bridge.scenario import built_in
from energy_bridge.wire import Source as Known
from energy_bridge.wire import Sources, decode_reading, encode_answer, encode_reading

SECRET = b"p" * 32
PATIENCE_S = 60.0
FIRST_SLOT = 20000 * 96 + 36
QUESTION = encode_reading(Reading("pv", 1, 0, 1000.0, 5, 100 * NWH_PER_WH, 2), SECRET)


def answer(status: Any) -> bytes:
    return encode_answer({"source": "pv", "boot": 1, "seq": 0, "status": status}, SECRET)


def after(*datagrams: bytes) -> tuple[str, bool]:
    """The status that a source holds for its reading, and whether it takes it as stored, once it heard these."""

    async def hear() -> tuple[str, bool]:
        source = Source("pv", boot=1, secret=SECRET)
        delivering = asyncio.create_task(source.deliver(5, Offer("pv", 100, 2), now=1000.0))
        await asyncio.sleep(0)  # the reading is on its way
        for datagram in datagrams:
            source.datagram_received(datagram, None)
        heard = source.deliveries[0].status, source.deliveries[0].stored
        source.datagram_received(answer("settled"), None)
        await asyncio.wait_for(delivering, 5)
        return heard

    return asyncio.run(hear())


def test_answers_are_noted_as_they_come() -> None:
    assert after() == ("unanswered", False)
    assert after(answer("stored")) == ("stored", True)
    assert after(answer("stored"), answer("batched"), answer("settled")) == ("settled", True)
    assert after(answer("late"), answer("settled")) == ("settled", True)


@pytest.mark.parametrize("end", ["superseded", "settled", "refused", "rejected", "conflict"])
@pytest.mark.parametrize(
    "afterwards", [answer("stored"), answer("batched"), QUESTION], ids=["stored", "batched", "question"]
)
def test_nothing_that_comes_afterwards_changes_an_end(end: str, afterwards: bytes) -> None:
    assert after(answer(end), afterwards)[0] == end


@pytest.mark.parametrize(
    "datagram",
    [
        pytest.param(QUESTION, id="its own question, reflected"),
        pytest.param(answer(None), id="no status"),
        pytest.param(answer(["settled"]), id="a status that is no text"),
        pytest.param(answer("settled")[:-1], id="a wrong MAC"),
    ],
)
def test_what_is_no_answer_is_nothing(datagram: bytes) -> None:
    assert after(answer("stored"), datagram) == ("stored", True)
    assert after(datagram) == ("unanswered", False)


class Counterpart(threading.Thread):
    """Instead of a bridge: stores what is proven, and settles a slot once all its sources have reported it."""

    def __init__(self, names: tuple[str, ...], ends: Mapping[str, str]) -> None:
        """Ends are the statuses of those sources whose readings do not end as settled; silent is no answer at all."""
        super().__init__(daemon=True)
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._socket.getsockname()[1]}"
        self._names, self._ends = names, ends
        self._sources = Sources([Known(name, place, (SECRET,)) for place, name in enumerate(names, 1)])
        self.heard: list[Reading] = []

    def run(self) -> None:
        senders: dict[str, Any] = {}
        while True:
            datagram, sender = self._socket.recvfrom(512)
            if not datagram:
                return
            reading = decode_reading(datagram, self._sources).reading
            self.heard.append(reading)
            senders[reading.source] = sender
            of_slot = {other.source: other for other in self.heard if other.slot == reading.slot}
            if of_slot.keys() == set(self._names):
                for each in of_slot.values():
                    self._answer(each, self._ends.get(each.source, "settled"), senders[each.source])
            else:
                self._answer(reading, "stored", sender)

    def _answer(self, reading: Reading, status: str, sender: Any) -> None:
        if self._ends.get(reading.source) == "silent":
            return
        answer = {"source": reading.source, "boot": reading.boot, "seq": reading.seq, "status": status}
        reason = {"reason": "no money"} if status == "refused" else {}
        self._socket.sendto(encode_answer(answer | reason, SECRET), sender)

    def close(self) -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as last:
            host, port = self.address.split(":")
            last.sendto(b"", (host, int(port)))
        self.join(PATIENCE_S)
        self._socket.close()


class Played:
    """A folder with secrets, and what plays there against a counterpart."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.counterparts: list[Counterpart] = []

    def arguments(self, *more: str, names: tuple[str, ...] = built_in().names, **ends: str) -> list[str]:
        counterpart = Counterpart(names, ends)
        counterpart.start()
        self.counterparts.append(counterpart)
        (self.folder / "keys.json").write_text(json.dumps(dict.fromkeys(names, SECRET.hex())))
        fast = ["--interval-s", "0.05", "--settle-s", str(PATIENCE_S), "--report", str(self.folder / "report.json")]
        return [*more, "--bridge", counterpart.address, "--source-keys", str(self.folder / "keys.json"), *fast]

    @property
    def heard(self) -> list[Reading]:
        return self.counterparts[-1].heard

    @property
    def report(self) -> dict[str, Any]:
        document: dict[str, Any] = json.loads((self.folder / "report.json").read_text())
        return document


@pytest.fixture
def played(tmp_path: Path) -> Iterator[Played]:
    played = Played(tmp_path)
    yield played
    for counterpart in played.counterparts:
        counterpart.close()


SIMULATE = ("simulate", "--start-slot", str(FIRST_SLOT))


def test_everything_settles_though_datagrams_are_lost_doubled_and_reordered(
    played: Played, capsys: pytest.CaptureFixture[str]
) -> None:
    faults = ["--loss", "0.3", "--duplicate", "0.3", "--reorder", "0.3"]
    assert main(played.arguments(*SIMULATE, "--slots", "4", *faults)) == 0
    said = played.report
    assert (said["sent"], said["stored"], said["settled"], said["by_fate"]) == (20, 20, 20, {"settled": 20})
    assert min(said["lost"], said["duplicated"], said["reordered"]) > 0
    until = time.monotonic() + PATIENCE_S
    while len(played.heard) < said["datagrams"] - said["lost"] + said["duplicated"] and time.monotonic() < until:
        time.sleep(0.01)  # the last ones may be on their way still
    arrived = Counter((reading.source, reading.seq) for reading in played.heard)
    assert max(arrived.values()) > 1
    assert said["datagrams"] == sum(reading["datagrams"] for reading in said["readings"])
    assert sum(arrived.values()) == said["datagrams"] - said["lost"] + said["duplicated"]
    for source in built_in().names:
        seqs = [reading.seq for reading in played.heard if reading.source == source]
        assert sorted(set(seqs)) == list(range(4))
    assert any(
        earlier.seq > later.seq
        for source in built_in().names
        for earlier, later in zip(
            *([reading for reading in played.heard if reading.source == source][place:] for place in (0, 1)),
            strict=False,
        )
    )
    printed = capsys.readouterr().out
    assert f"[4/4] slot {FIRST_SLOT + 3} 09:45  load -" in printed
    assert "readings   20 sent, 20 stored, 20 settled, 0 refused, 0 unanswered\nfates      20 settled\n" in printed
    assert f"datagrams  {said['datagrams']} sent; on purpose {said['lost']} lost, " in printed


def test_what_does_not_settle_is_said_with_its_reason_and_its_name(
    played: Played, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(played.arguments(*SIMULATE, "--slots", "12", pv="refused")) == 1
    assert played.report["by_fate"] == {"refused": 12, "settled": 48}
    printed = capsys.readouterr().out
    assert f"  pv, slot {FIRST_SLOT}: refused: no money\n" in printed
    assert "  and 2 more that are not settled; --report FILE has all of them\n" in printed
    silent = played.arguments(*SIMULATE, "--slots", "1", chp="silent")
    assert main([*silent, "--settle-s", "0.3"]) == 1
    assert played.report["unanswered"] == 1
    address = played.counterparts[-1].address
    assert (
        f"chp never got an answer: is the bridge at {address}, does it know it (clique_actors)"
        in capsys.readouterr().out
    )


def test_a_scenario_is_played_by_all_its_actors(played: Played, tmp_path: Path) -> None:
    scenario = {
        "households": 20,
        "household": [{"name": "load", "kind": "Load", "kwh_per_day": 9, "gives_per_kwh": 0.4}],
        "actors": [{"name": "grid", "kind": "Grid", "buys_per_kwh": 0.08, "sells_per_kwh": 0.32}],
    }
    (tmp_path / "s.yml").write_text(yaml.safe_dump(scenario))
    names = (*(f"load{number}" for number in range(1, 21)), "grid")
    chosen = ["--scenario", str(tmp_path / "s.yml"), "--slots", "3"]
    assert main(played.arguments(*SIMULATE, *chosen, names=names)) == 0
    assert Counter(reading["source"] for reading in played.report["readings"]) == dict.fromkeys(names, 3)
    for slot in range(FIRST_SLOT, FIRST_SLOT + 3):
        assert sum(reading["energy_wh"] for reading in played.report["readings"] if reading["slot"] == slot) == 0
    assert {reading.price_wei_per_wh for reading in played.heard if reading.source == "grid"} == {320 * 10**9}


def test_a_file_is_replayed_at_its_own_times_or_from_a_slot_on(played: Played, tmp_path: Path) -> None:
    (tmp_path / "profile.csv").write_text("time,load_kw\n2024-06-01T12:00,1\n2024-06-01T12:15,2\n2024-06-01T12:30,4\n")
    own = 1717243200 // 900
    for more, first, count in (([], own, 3), (["--start-slot", "7", "--slots", "2"], 7, 2)):
        assert main(played.arguments("replay", str(tmp_path / "profile.csv"), *more)) == 0
        loads = {
            reading["slot"]: reading["energy_wh"]
            for reading in played.report["readings"]
            if reading["source"] == "load"
        }
        assert loads == dict(zip(range(first, first + count), (-250, -500, -1000), strict=False))
        assert played.report["settled"] == 5 * count


# Whoever runs these tests in the background hands on that Ctrl-C is ignored.
HEARS_CTRL_C = (
    "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler);"
    " from energy_bridge.cli import main; sys.exit(main())"
)


def test_an_interrupted_play_reports_how_far_it_came(played: Played) -> None:
    command = [sys.executable, "-c", HEARS_CTRL_C, *played.arguments(*SIMULATE, "--interval-s", "1000")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline().startswith("[1/96] slot")
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=PATIENCE_S)
    assert (process.returncode, err) == (1, "")
    assert "readings   5 sent" in out
    assert len(played.report["readings"]) == 5


def test_a_terminal_gets_a_bar(played: Played) -> None:
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (25, 100))
    command = [sys.executable, "-m", "energy_bridge", *played.arguments(*SIMULATE, "--slots", "4")]
    with subprocess.Popen(command, stdout=theirs, stderr=subprocess.PIPE) as process:
        os.close(theirs)
        shown = b""
        try:
            while more := os.read(ours, 4096):
                shown += more
        except OSError:  # its end, on Linux
            os.close(ours)
        assert process.wait(PATIENCE_S) == 0
    text = shown.decode()
    assert re.search(r"slot 4/4, 09:45: 100%.*20/20", text), text
    assert "[1/4] slot" not in text
    assert "readings   20 sent, 20 stored, 20 settled" in text


@pytest.mark.parametrize("arguments", [SIMULATE, ("replay", "profile.csv")])
def test_an_actor_without_a_secret_is_named_before_anything_is_sent(
    played: Played, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, arguments: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "profile.csv").write_text("time,load_kw\n2024-06-01T12:00,1\n2024-06-01T12:15,2\n")
    assert main(played.arguments(*arguments, names=("load", "pv", "chp", "grid"))) == 2
    assert capsys.readouterr().err == (
        f"battery has no secret in {tmp_path / 'keys.json'}: add it to clique_actors, as simulate --print-actors "
        "prints it, and run site.yml again.\n"
    )
    assert played.heard == []


def test_actors_are_printed_for_group_vars(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["simulate", "--print-actors"]) == 0
    printed = yaml.safe_load(capsys.readouterr().out)
    assert [actor["name"] for actor in printed["clique_actors"]] == list(built_in().names)


@pytest.mark.parametrize(
    ("option", "value", "sentence"),
    [
        ("--loss", "1.1", "argument --loss: it has to be a number from 0 to 1, not 1.1"),
        ("--duplicate", "-1", "argument --duplicate: it has to be a number from 0 to 1, not -1"),
        ("--reorder", "nan", "argument --reorder: it has to be a number from 0 to 1, not nan"),
        ("--speed", "0", "argument --speed: it has to be a positive number, not 0"),
        ("--interval-s", "inf", "argument --interval-s: it has to be a number of seconds, not negative, not inf"),
        ("--slots", "0", "argument --slots: it has to be a positive whole number, not 0"),
        ("--slots", "many", "argument --slots: it has to be a positive whole number, not many"),
        (
            "--start-slot",
            "-1",
            "argument --start-slot: it has to be a slot's number, as time in s divided by --slot-s, not -1",
        ),
    ],
)
def test_an_option_that_is_wrong_is_said(
    capsys: pytest.CaptureFixture[str], option: str, value: str, sentence: str
) -> None:
    with pytest.raises(SystemExit):
        main(["simulate", f"{option}={value}"])
    assert sentence in capsys.readouterr().err


@pytest.mark.parametrize("bridge", ["gateway", ":30401", "gateway:http", "127.0.0.1:99999"])
def test_a_bridge_that_is_nowhere_is_said(capsys: pytest.CaptureFixture[str], bridge: str) -> None:
    assert main(["simulate", "--slots", "1", "--bridge", bridge]) == 2
    assert capsys.readouterr().err.startswith("--bridge ")


def test_speed_is_how_much_faster_than_real_time(played: Played) -> None:
    arguments = played.arguments(*SIMULATE, "--slots", "2")
    del arguments[arguments.index("--interval-s") : arguments.index("--interval-s") + 2]
    assert main([*arguments, "--speed", "9000"]) == 0
    first, second = (min(reading.time for reading in played.heard if reading.seq == seq) for seq in (0, 1))
    assert second - first >= 0.09  # a slot of 900 s


def test_a_long_list_of_the_silent_is_cut() -> None:
    deliveries = [Delivery(Reading(f"load{number:02}", 1, 0, 0.0, 5, 0, 1)) for number in range(12)]
    assert "load09 and 2 more never got an answer" in table(report(deliveries), "gateway:1")
