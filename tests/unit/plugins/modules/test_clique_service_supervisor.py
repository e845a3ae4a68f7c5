# SPDX-License-Identifier: GPL-3.0-or-later
"""What is supervisor's own about a service: its daemon, its socket, its configuration."""

from pathlib import Path

import pytest
from support.modules import Answer, assert_refused, run_module
from support.services import IGNORES_SIGINT, SAYS_BYE, alive, kill, run, service, stopped


def supervisord_of(directory: Path) -> int:
    return int((directory / "supervisord.pid").read_text())


def test_check_mode_needs_neither_program_nor_supervisord(place: Path) -> None:
    asked = {
        "name": "geth",
        "manager": "supervisor",
        "directory": str(place),
        "argv": ["/nowhere/geth"],
        "checksums": {"/nowhere/geth": "0" * 64},
        "supervisord": "/nowhere/supervisord",
    }
    foretold = run(asked, check=True)
    assert (foretold["started"], foretold["pid"]) == (True, None)
    assert len(foretold["definition_digest"]) == 64
    unknown = run({**asked, "watch": [str(place / "peers.toml")]}, check=True)
    assert (unknown["changed"], unknown["definition_digest"], unknown["running_digest"]) == (True, None, None)


def test_a_program_that_keeps_failing_can_be_stopped(place: Path) -> None:
    assert run_module("clique_service", service(place, "raise SystemExit(1)"))["failed"] is True
    daemon = supervisord_of(place)
    assert run(stopped(place))["changed"] is True
    assert not alive(daemon)
    assert run(stopped(place))["changed"] is False


def test_a_killed_supervisord_leaves_nothing_that_matters(place: Path) -> None:
    one, two = run(service(place, SAYS_BYE)), run(service(place, name="two"))
    kill(supervisord_of(place))
    assert (place / "supervisor.sock").exists()
    assert alive(one["pid"])
    left = run(service(place, SAYS_BYE, restart=False))
    assert (left["restart_pending"], left["changed"], left["pid"]) == (True, False, one["pid"])
    assert run(service(place, SAYS_BYE), check=True)["restarted"] is True
    anew = run(service(place, SAYS_BYE))
    assert (anew["restarted"], anew["running_digest"]) == (True, one["running_digest"])
    assert not alive(one["pid"])
    assert alive(two["pid"])  # whose own turn comes
    assert run(service(place, name="two"))["restarted"] is True
    assert run(service(place, SAYS_BYE))["changed"] is False


def test_an_unsupervised_process_is_stopped_by_the_signal_it_was_started_with(place: Path, tmp_path: Path) -> None:
    words = tmp_path / "words"
    says = f"import signal, sys, pathlib; bye = lambda *_: sys.exit(pathlib.Path({str(words)!r}).write_text('bye'));"
    pid = run(service(place, f"{says} signal.signal(signal.SIGUSR1, bye); signal.pause()", stop_signal="USR1"))["pid"]
    kill(supervisord_of(place))
    assert run(stopped(place))["changed"] is True
    assert (alive(pid), words.read_text()) == (False, "bye")


def test_two_directories_side_by_side(tmp_path: Path, place: Path) -> None:
    here, there = run(service(place)), run(service(tmp_path / "other"))
    assert here["pid"] != there["pid"]
    assert supervisord_of(place) != supervisord_of(tmp_path / "other")
    run(stopped(place, state="absent"))
    assert run(service(tmp_path / "other"))["pid"] == there["pid"]


def test_supervisord_ends_with_the_last_service(place: Path) -> None:
    run(service(place))
    two = run(service(place, name="two"))
    daemon = supervisord_of(place)
    assert run(stopped(place, state="absent"))["changed"] is True
    assert alive(daemon)
    assert alive(two["pid"])
    run(stopped(place, "two"))
    assert not alive(daemon)
    assert [path.name for path in (place / "services").iterdir()] == ["two.conf"]
    assert not (place / "supervisor.sock").exists()


def test_a_supervisord_that_cannot_be_reached_is_named(place: Path, tmp_path: Path) -> None:
    pid = run(service(place))["pid"]
    (place / "supervisor.sock").unlink()
    words = (f"process {supervisord_of(place)}", "does not answer on supervisor.sock", "end it with SIGTERM")
    assert_refused("clique_service", service(place), tmp_path, *words)
    assert alive(pid)


def test_a_path_that_leaves_no_room_for_sockets_is_refused(tmp_path: Path) -> None:
    words = ("leaves no room for the sockets in it, 83 is the most: use a shorter one",)
    assert_refused("clique_service", service(tmp_path / ("d" * 84)), tmp_path, *words)


def test_a_path_just_short_enough_works(place: Path, tmp_path: Path) -> None:
    directory = tmp_path / ("d" * (82 - len(str(tmp_path))))
    assert len(str(directory)) == 83
    assert run(service(directory))["running"] is True
    assert not place.exists()


def test_an_unsupervised_process_that_does_not_end_in_time_is_killed(place: Path) -> None:
    pid = run(service(place, IGNORES_SIGINT, stop_timeout_s=1))["pid"]
    kill(supervisord_of(place))
    answer = run(stopped(place))
    assert (answer["changed"], answer["running"], alive(pid)) == (True, False, False)


@pytest.mark.parametrize(
    ("others", "words"),
    [
        ({"environment": {"A": 'it\'s "both"'}}, "cannot carry the value of the environment variable A"),
        ({"working_directory": "/a ;b"}, "supervisor cannot work in '/a ;b'"),
        ({"supervisord": "/nowhere/supervisord"}, "there is no program /nowhere/supervisord; install supervisor"),
        ({"user": "clique"}, "one cannot run as clique: supervisor runs programs as whoever runs the module"),
    ],
)
def test_what_supervisor_cannot_do_is_refused(place: Path, others: Answer, words: str) -> None:
    assert_refused("clique_service", {**service(place), **others}, place.parent, words)
