# SPDX-License-Identifier: GPL-3.0-or-later
"""Secrets of the sources: made once, never shown, and replaced only when that is asked for."""

import json
from pathlib import Path
from typing import Any

import pytest
from support.modules import assert_check_mode_is_truthful, assert_refused, run_module


def options(root: Path, *sources: str, **more: list[str]) -> dict[str, Any]:
    return {"path": str(root / "bridge/source-keys.json"), "sources": list(sources), **more}


@pytest.mark.parametrize("there", [[], ["pv"], ["meter"], ["pv", "grid"]])
def test_check_mode(tmp_path: Path, there: list[str]) -> None:
    if there:
        run_module("udp_source_keys", options(tmp_path, *there))
    real, again = assert_check_mode_is_truthful("udp_source_keys", options(tmp_path, "pv", "grid"), tmp_path)
    assert real["changed"] == (there != ["pv", "grid"])
    assert real["diff"]["before"] == {name: ["secret 1"] for name in there}
    assert again["sources"] == sorted({"grid", "pv", *there})


def test_each_source_has_a_secret_of_its_own_that_nobody_is_shown(tmp_path: Path) -> None:
    answer = run_module("udp_source_keys", options(tmp_path, "pv", "grid"))
    path = tmp_path / "bridge/source-keys.json"
    keys = json.loads(path.read_text())
    assert sorted(keys) == ["grid", "pv"]
    assert [len(bytes.fromhex(key)) for key in keys.values()] == [32, 32]
    assert keys["grid"] != keys["pv"]
    assert not any(key in json.dumps(answer) for key in keys.values())
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700


def test_a_secret_that_is_there_stays(tmp_path: Path) -> None:
    run_module("udp_source_keys", options(tmp_path, "pv"))
    path = tmp_path / "bridge/source-keys.json"
    before = json.loads(path.read_text())
    run_module("udp_source_keys", options(tmp_path, "grid"))
    after = json.loads(path.read_text())
    assert after["pv"] == before["pv"]
    assert sorted(after) == ["grid", "pv"]


def test_a_rotated_secret_is_new_and_first_and_the_former_stays_until_it_is_retired(tmp_path: Path) -> None:
    path = tmp_path / "bridge/source-keys.json"
    run_module("udp_source_keys", options(tmp_path, "pv", "grid"))
    made, content = json.loads(path.read_text()), path.read_text()
    foretold = run_module("udp_source_keys", options(tmp_path, rotate=["pv"]), check=True)
    assert path.read_text() == content
    rotated = run_module("udp_source_keys", options(tmp_path, rotate=["pv"]))
    assert foretold == rotated
    assert rotated["diff"]["before"] == {"grid": ["secret 1"], "pv": ["secret 1"]}
    assert rotated["diff"]["after"] == {"grid": ["secret 1"], "pv": ["a new secret", "secret 1"]}
    both = json.loads(path.read_text())
    assert both == {"grid": made["grid"], "pv": [both["pv"][0], made["pv"]]}
    assert both["pv"][0] not in (*made.values(), json.dumps(rotated))
    assert path.stat().st_mode & 0o777 == 0o600
    # What site.yml asks for leaves both.
    assert run_module("udp_source_keys", options(tmp_path, "pv", "grid"))["changed"] is False
    retired, _ = assert_check_mode_is_truthful("udp_source_keys", options(tmp_path, retire=["pv", "grid"]), tmp_path)
    assert retired["diff"]["after"] == {"grid": ["secret 1"], "pv": ["secret 1"]}
    assert json.loads(path.read_text()) == {"grid": made["grid"], "pv": both["pv"][0]}


def test_after_a_theft_a_secret_is_replaced_at_once(tmp_path: Path) -> None:
    path = tmp_path / "bridge/source-keys.json"
    run_module("udp_source_keys", options(tmp_path, "pv"))
    made = json.loads(path.read_text())
    replaced = run_module("udp_source_keys", options(tmp_path, rotate=["pv"], retire=["pv"]))
    assert replaced["diff"]["after"] == {"pv": ["a new secret"]}
    assert len(bytes.fromhex(json.loads(path.read_text())["pv"])) == 32
    assert json.loads(path.read_text()) != made


@pytest.mark.parametrize("what", ["rotate", "retire"])
def test_who_has_no_secret_has_none_to_rotate(tmp_path: Path, what: str) -> None:
    wanted = options(tmp_path, "sun", **{what: ["sun"]})
    assert_refused("udp_source_keys", wanted, tmp_path, "no secret to rotate or to retire of sun", "are: none")
    run_module("udp_source_keys", options(tmp_path, "pv", "grid"))
    assert_refused("udp_source_keys", wanted, tmp_path, "of sun", "the sources are: grid, pv")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("{", ["not JSON", "remove it to have new secrets"]),
        ("[]", ["64 hex digits"]),
        ('{"pv": "short"}', ["64 hex digits"]),
        ('{"pv": 5}', ["64 hex digits"]),
    ],
)
def test_a_file_that_holds_something_else_is_refused(tmp_path: Path, content: str, words: list[str]) -> None:
    (tmp_path / "bridge").mkdir()
    (tmp_path / "bridge/source-keys.json").write_text(content)
    message = assert_refused("udp_source_keys", options(tmp_path, "pv"), tmp_path, "source-keys.json", *words)
    assert "short" not in message
