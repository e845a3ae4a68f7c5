# SPDX-License-Identifier: GPL-3.0-or-later
"""The file of the sources' secrets: what is in it stays, what is no such file is refused without being quoted."""

import json
from pathlib import Path

import pytest
from ansible_collections.smartenergy.clique.plugins.module_utils._errors import CliqueError
from ansible_collections.smartenergy.clique.plugins.module_utils._udp_source_keys import (
    plan_keys,
    read_keys,
    show_plan,
    write_keys,
)


def test_what_was_written_is_read_and_stays(tmp_path: Path) -> None:
    path = tmp_path / "bridge/keys.json"
    assert read_keys(path) == {}
    write_keys(path, plan_keys({}, sources=["pv"]))
    first = read_keys(path)
    write_keys(path, plan_keys(first, sources=["grid", "pv", "Wärme 'n\" \\"]))
    second = read_keys(path)
    assert second.items() > first.items()
    assert set(second) == {"pv", "grid", "Wärme 'n\" \\"}
    made = [key for keys in second.values() for key in keys]
    assert len(set(made)) == 3
    assert {len(bytes.fromhex(key)) for key in made} == {32}


def test_a_rotation_goes_before_what_there_is_and_a_retirement_keeps_the_first() -> None:
    keys = {"pv": ["b", "a"], "grid": ["c"]}
    assert plan_keys(keys, rotate=["pv", "pv"]) == {"pv": [None, "b", "a"], "grid": ["c"]}
    assert plan_keys(keys, retire=["pv", "grid"]) == {"pv": ["b"], "grid": ["c"]}
    both = plan_keys(keys, sources=["sun"], rotate=["pv"], retire=["pv"])
    assert both == {"sun": [None], "pv": [None], "grid": ["c"]}
    assert show_plan(keys, keys) == {"grid": ["secret 1"], "pv": ["secret 1", "secret 2"]}
    assert show_plan(keys, both) == {"grid": ["secret 1"], "pv": ["a new secret"], "sun": ["a new secret"]}


@pytest.mark.parametrize(
    "keys",
    [
        *(["ab" * 32], "ab" * 32, {"pv": "ab" * 31}, {"pv": "xy" * 32}, {"pv": None}, {"pv": {}}),
        *({"pv": []}, {"pv": [5]}, {"pv": ["ab" * 32, "ab" * 31]}),
    ],
)
def test_what_is_no_such_file_is_refused_and_not_quoted(tmp_path: Path, keys: object) -> None:
    path = tmp_path / "keys.json"
    path.write_text(json.dumps(keys))
    with pytest.raises(CliqueError, match="restore it, or remove it to have new secrets") as caught:
        read_keys(path)
    assert "abab" not in str(caught.value)


def test_a_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CliqueError, match="cannot be read: Is a directory; restore it"):
        read_keys(tmp_path)
