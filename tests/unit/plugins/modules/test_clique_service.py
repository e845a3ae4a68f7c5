# SPDX-License-Identifier: GPL-3.0-or-later
"""Services with small real programs, under whatever manager CLIQUE_TEST_MANAGER names.

The unit tests run them under a real supervisord; tests/containers runs this same file in a container, under systemd.
"""

import hashlib
import json
import subprocess
import sys
import time
from pathlib import Path

import pytest
from ansible_collections.smartenergy.clique.plugins.module_utils._preflight import environment_of, pids
from support.modules import Answer, assert_check_mode_is_truthful, assert_refused, run_module, tree
from support.services import (
    IGNORES_SIGINT,
    MANAGER,
    SAYS_BYE,
    alive,
    kill,
    run,
    said,
    service,
    stopped,
    wait_for,
)


@pytest.mark.parametrize(
    ("before", "wanted"),
    [
        (None, {}),
        (None, {"environment": {"A": "%(here)d 'b' ünï"}, "working_directory": "/", "stop_signal": "TERM"}),
        (None, {"restart": False}),
        ({}, {"environment": {"A": "2"}}),
        ({}, {"state": "stopped"}),
        ({}, {"state": "absent"}),
        ({"state": "stopped"}, {}),
        ({"state": "stopped"}, {"state": "absent"}),
    ],
)
def test_check_mode(place: Path, before: Answer | None, wanted: Answer) -> None:
    if before is not None:
        run(service(place))
        run({**service(place), **before})
    real, again = assert_check_mode_is_truthful("clique_service", {**service(place), **wanted}, place.parent)
    assert (again["pid"], again["running_digest"]) == (real["pid"], real["running_digest"])
    assert real["running"] is (wanted.get("state") is None)
    assert real["diff"]["before"] != real["diff"]["after"]
    assert again["diff"]["before"] == again["diff"]["after"] == real["diff"]["after"]


@pytest.mark.parametrize("state", ["stopped", "absent"])
def test_what_is_nowhere_needs_no_stopping(place: Path, state: str) -> None:
    answer = run(stopped(place, state=state))
    assert (answer["changed"], answer["running"], place.exists()) == (False, False, False)


def test_a_killed_process_comes_back_as_it_was_and_alone(place: Path) -> None:
    one, two = run(service(place)), run(service(place, name="two"))
    kill(one["pid"])
    back = wait_for(lambda: (now := run(service(place), check=True))["pid"] not in (None, one["pid"]) and now)
    assert (back["changed"], back["running_digest"]) == (False, one["running_digest"])
    assert run(service(place, name="two"))["pid"] == two["pid"]


def test_another_definition_restarts_only_its_own_process(place: Path) -> None:
    one, two = run(service(place, SAYS_BYE)), run(service(place, name="two"))
    again = run(service(place, SAYS_BYE, environment={"NEW": "1"}))
    assert (again["restarted"], again["started"]) == (True, False)
    assert again["pid"] != one["pid"]
    assert again["running_digest"] == again["definition_digest"] != one["running_digest"]
    assert environment_of(again["pid"])["NEW"] == "1"
    assert said(place) == "bye\n"
    assert run(service(place, name="two"))["pid"] == two["pid"]


def test_restart_false_leaves_everything_as_it_is_and_says_so(place: Path) -> None:
    old, wanted = run(service(place)), service(place, environment={"NEW": "1"})
    before = tree(place)
    for check in (True, False):
        left = run({**wanted, "restart": False}, check=check)
        assert left["restart_pending"] is True
        assert (left["changed"], left["restarted"], left["pid"]) == (False, False, old["pid"])
        assert left["running_digest"] == old["running_digest"] != left["definition_digest"]
        assert left["diff"]["before"] == left["diff"]["after"]
    assert tree(place) == before
    run(service(place, name="two"))  # makes supervisord read every file again
    kill(old["pid"])
    back = wait_for(lambda: (now := run({**wanted, "restart": False}))["pid"] != old["pid"] and now)
    assert (back["restart_pending"], back["running_digest"]) == (True, old["running_digest"])
    assert run(wanted)["restarted"] is True


def test_restart_false_starts_what_does_not_run(place: Path) -> None:
    run(service(place))
    run(stopped(place))
    answer = run(service(place, environment={"NEW": "1"}, restart=False))
    assert (answer["started"], answer["restart_pending"]) == (True, False)


def test_the_content_of_a_watched_file_belongs_to_the_definition(place: Path, tmp_path: Path) -> None:
    watched = tmp_path / "config.toml"
    watched.write_text("a = 1")
    asked = service(place, watch=[str(watched)])
    first = run(asked)
    watched.write_text("a = 2")
    assert run(asked)["restarted"] is True
    watched.write_text("a = 1")
    last = run(asked)
    assert (last["restarted"], last["running_digest"]) == (True, first["running_digest"])
    watched.unlink()
    assert_refused("clique_service", asked, tmp_path, f"one is not started: {watched} cannot be read")


def test_a_wrong_checksum_is_refused_before_anything_is_changed(place: Path, tmp_path: Path) -> None:
    program = tmp_path / "program"
    program.write_text("#!/bin/sh\nexec sleep 600\n")
    program.chmod(0o755)
    right = hashlib.sha256(program.read_bytes()).hexdigest()
    asked = {**service(place), "argv": [str(program)], "checksums": {str(program): right.upper()}}
    assert_refused("clique_service", {**asked, "checksums": {str(program): "0" * 64}}, tmp_path, right, "install the")
    pid = run(asked)["pid"]
    program.write_text("#!/bin/sh\nexec sleep 700\n")
    assert_refused("clique_service", asked, tmp_path, f"the sha256 of {program} is")
    assert alive(pid)


def test_a_program_that_ends_at_once_is_quoted_and_the_next_run_may_mend_it(place: Path) -> None:
    run(service(place, SAYS_BYE))
    two = run(service(place, name="two"))
    answer = run_module("clique_service", service(place, "import sys; sys.exit('no such data directory')"))
    assert answer["failed"] is True
    assert "one does not stay up" in answer["msg"]
    assert "no such data directory" in answer["msg"]
    assert "bye" not in answer["msg"]  # which the one before has just said
    mended = run(service(place))
    assert mended["started"] is True
    assert run(service(place, name="two"))["pid"] == two["pid"]


def test_who_does_not_end_in_time_is_killed(place: Path) -> None:
    pid = run(service(place, IGNORES_SIGINT, stop_timeout_s=1))["pid"]
    answer = run(stopped(place))
    assert (answer["changed"], answer["running"], alive(pid)) == (True, False, False)


def test_the_children_of_a_process_are_its_own_affair(place: Path) -> None:
    forks = "import os, signal; os.fork(); signal.pause()"
    first = run(service(place, forks))
    assert run(service(place, forks))["changed"] is False
    ours = [pid for pid in pids() if environment_of(pid).get("CLIQUE_SERVICE_DIRECTORY") == str(place)]
    assert len(ours) == 2 + (MANAGER == "supervisor")  # whose daemon carries the directory too
    assert run(stopped(place))["changed"] is True
    assert not any(map(alive, [*ours, first["pid"]]))


def test_an_interrupted_run_is_finished_by_the_next(place: Path) -> None:
    """The module is killed after ever more time, until it gets through."""
    run(service(place))
    asked = service(place, SAYS_BYE, environment={"NEW": "1"})
    command = [sys.executable, "-m", "ansible_collections.smartenergy.clique.plugins.modules.clique_service"]
    for delay_s in (0.2, 0.4, 0.8):
        asked["environment"] = {"NEW": str(delay_s)}
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL) as cut:
            assert cut.stdin is not None
            cut.stdin.write(json.dumps({"ANSIBLE_MODULE_ARGS": asked}).encode())
            cut.stdin.close()
            time.sleep(delay_s)  # the moment itself is what is tried
            cut.kill()
        done = run(asked)
        assert done["running_digest"] == done["definition_digest"]
        assert environment_of(done["pid"])["NEW"] == str(delay_s)
        assert run(asked)["changed"] is False


def test_a_process_gets_what_is_asked_for_and_nothing_of_the_runs_environment(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SECRET_OF_THE_RUN", "1")
    environment = {"PLAIN": 5, "HARD": "100% of %(here)d 'it' é"}
    argv = ["a;b", "a ;b", " # c", "%", "%(here)s", "%(ENV_HOME)s", "'", '"', "", "\\", "$HOME", "ü"]
    argv += [";", "\\;", "$$", "${HOME}", "%n", "%%", "\\n", "\\x41", "-", "+!", "a\\"]
    tells = (
        "import json, os, signal, sys; print(json.dumps([sys.argv[1:], dict(os.environ), os.getcwd()]), flush=True);"
    )
    asked = service(place, f"{tells} signal.pause()", environment=environment, working_directory="/")
    run({**asked, "argv": [*asked["argv"], *argv]})
    got_argv, got_environment, directory = json.loads(said(place))
    assert (got_argv, directory) == (argv, "/")
    assert got_environment.items() >= {"PLAIN": "5", "HARD": environment["HARD"], "HOME": str(place)}.items()
    assert "SECRET_OF_THE_RUN" not in got_environment


def test_what_is_written_is_for_its_owner_only(place: Path) -> None:
    run(service(place, "import signal; open('made', 'w'); signal.pause()"))
    wait_for((place / "made").exists)
    assert {path.stat().st_mode & 0o077 for path in [place, *place.rglob("*")]} == {0}


def test_a_link_to_the_directory_is_the_directory(place: Path, tmp_path: Path) -> None:
    pid = run(service(place))["pid"]
    (tmp_path / "link").symlink_to(place)
    assert run(service(tmp_path / "link"))["pid"] == pid


@pytest.mark.parametrize(
    ("others", "words"),
    [
        ({"name": "Geth 1"}, "name has to be lower-case letters, digits, '.', '_' and '-'"),
        ({"argv": ["geth"]}, "argv of one has to begin with the path of a program, from / on"),
        ({"argv": []}, "argv of one has to begin with the path of a program, from / on"),
        ({"argv": ["/nowhere/geth"]}, "/nowhere/geth is not a program that can be run; install it first"),
        ({"argv": ["/bin/sh", "-c", "a\nb"]}, "one printable line each"),
        ({"environment": {"A-B": "1"}}, "cannot have a variable 'A-B'"),
        ({"environment": {"CLIQUE_SERVICE_DIGEST": "1"}}, "cannot have a variable 'CLIQUE_SERVICE_DIGEST'"),
        ({"stop_timeout_s": 0}, "stop_timeout_s of one has to be at least 1"),
        ({"checksums": {"/bin/sh": "abc"}}, "has no sha256 for /bin/sh, which is 64 hexadecimal digits"),
        ({"user": "no one"}, "cannot belong to 'no one'"),
        ({"memory_high_mib": 0}, "memory_high_mib of one has to be at least 1"),
    ],
)
def test_bad_input_is_refused(place: Path, others: Answer, words: str) -> None:
    assert_refused("clique_service", {**service(place), **others}, place.parent, words)


def test_a_program_that_keeps_failing_can_be_stopped(place: Path) -> None:
    assert run_module("clique_service", service(place, "raise SystemExit(1)"))["failed"] is True
    assert run(stopped(place))["changed"] is True
    assert run(stopped(place))["changed"] is False
