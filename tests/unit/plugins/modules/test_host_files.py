# SPDX-License-Identifier: GPL-3.0-or-later
"""A host's settings, as files of a folder of the test's."""

from pathlib import Path
from typing import Any

from support.modules import assert_check_mode_is_truthful, assert_refused, run_module


def file(path: Path, content: str | None, **others: Any) -> dict[str, Any]:
    return {"path": str(path), "content": content, **others}


def test_files_are_written_and_what_reads_them_is_told_once(tmp_path: Path) -> None:
    told = ["sh", "-c", f"echo told >> {tmp_path / 'log'}"]
    files = [file(tmp_path / name, f"{name}\n", apply=told) for name in ("a/one", "two")]
    gone = tmp_path / "gone"
    gone.write_text("old")
    real, _ = assert_check_mode_is_truthful("host_files", {"files": [*files, file(gone, None)]}, tmp_path)
    assert real["files"] == [str(tmp_path / "a/one"), str(tmp_path / "two"), str(gone)]
    assert (tmp_path / "a/one").read_text() == "a/one\n"
    assert (tmp_path / "a/one").stat().st_mode & 0o777 == 0o644
    assert not gone.exists()
    assert (tmp_path / "log").read_text() == "told\n"


def test_a_file_that_its_check_refuses_is_put_back(tmp_path: Path) -> None:
    config = tmp_path / "config"
    config.write_text("good\n")
    check = ["sh", "-c", 'grep -q good "$0" || { echo no good >&2; exit 1; }', str(config)]
    wanted = {"files": [file(config, "bad\n", validate=check)]}
    said = assert_refused("host_files", wanted, tmp_path, f"{config} stays as it was", "no good")
    assert "Traceback" not in said
    assert run_module("host_files", {"files": [file(config, "good too\n", validate=check)]})["changed"] is True
    new = tmp_path / "new"
    assert_refused("host_files", {"files": [file(new, "bad", validate=["grep", "-q", "good", str(new)])]}, tmp_path)


def test_bad_input_is_refused(tmp_path: Path) -> None:
    assert_refused("host_files", {"hostname": "-pi"}, tmp_path, "'-pi' cannot be the name of a host")
    assert_refused("host_files", {"files": [file(Path("relative"), "x")]}, tmp_path, "has to be written from / on")


def test_a_host_is_looked_at_without_a_change() -> None:
    answer = run_module("host_info", {"packages": ["base-files", "no-such-package"]})
    assert answer["changed"] is False
    assert "no-such-package" in answer["missing_packages"]
    assert {"model", "container", "ssh_port", "ssh_by_key", "password_login", "stock_password"} < set(answer)
