# SPDX-License-Identifier: GPL-3.0-or-later
"""The file of the sources' secrets: what is in it stays, what is no such file is refused without being quoted."""

import json
from pathlib import Path

import pytest
from ansible_collections.smartenergy.clique.plugins.module_utils._errors import CliqueError
from ansible_collections.smartenergy.clique.plugins.module_utils._udp_source_keys import add_missing, read_keys


def test_what_was_written_is_read_and_stays(tmp_path: Path) -> None:
    path = tmp_path / "bridge/keys.json"
    assert read_keys(path) == {}
    add_missing(path, {}, ["pv"])
    first = read_keys(path)
    add_missing(path, first, ["grid", "pv", "Wärme 'n\" \\"])
    second = read_keys(path)
    assert second.items() > first.items()
    assert set(second) == {"pv", "grid", "Wärme 'n\" \\"}
    assert len(set(second.values())) == 3
    assert {len(bytes.fromhex(key)) for key in second.values()} == {32}


@pytest.mark.parametrize(
    "keys", [["ab" * 32], "ab" * 32, {"pv": "ab" * 31}, {"pv": "xy" * 32}, {"pv": None}, {"pv": {}}]
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
