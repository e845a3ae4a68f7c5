# SPDX-License-Identifier: GPL-3.0-or-later
"""Secrets of the sources: made once, never shown, never replaced."""

import json
from pathlib import Path
from typing import Any

import pytest
from support.modules import assert_check_mode_is_truthful, assert_refused, run_module


def options(root: Path, *sources: str) -> dict[str, Any]:
    return {"path": str(root / "bridge/source-keys.json"), "sources": list(sources)}


@pytest.mark.parametrize("there", [[], ["pv"], ["meter"], ["pv", "grid"]])
def test_check_mode(tmp_path: Path, there: list[str]) -> None:
    if there:
        run_module("udp_source_keys", options(tmp_path, *there))
    real, again = assert_check_mode_is_truthful("udp_source_keys", options(tmp_path, "pv", "grid"), tmp_path)
    assert real["changed"] == (there != ["pv", "grid"])
    assert real["diff"]["before"] == {"sources": sorted(there)}
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
