# SPDX-License-Identifier: GPL-3.0-or-later
"""What another machine imports is fetched once, for that machine, and held together in one archive."""

import shutil
import zipfile
from pathlib import Path
from typing import Any

import pytest
from support.modules import assert_check_mode_is_truthful, assert_refused, run_module
from support.wheels import TAGS, make_project


@pytest.fixture
def options(tmp_path: Path) -> dict[str, Any]:
    return make_project(tmp_path)


def read(archive: str, name: str) -> str:
    with zipfile.ZipFile(archive) as content:
        return content.read(f"site-packages/{name}").decode()


def test_check_mode(tmp_path: Path, options: dict[str, Any]) -> None:
    assert_check_mode_is_truthful("python_bundle", options, tmp_path)


@pytest.mark.parametrize(
    ("arch", "python_version", "tag"),
    [("aarch64", "3.11", "3.11 arm64"), ("aarch64", "3.13", "3.13 arm64"), ("x86_64", "3.13", "3.13 amd64")],
)
def test_it_is_for_the_other_machine(options: dict[str, Any], arch: str, python_version: str, tag: str) -> None:
    made = run_module("python_bundle", {**options, "arch": arch, "python_version": python_version})
    assert read(made["archive"], "meter.py") == f"TAG = {TAGS[tag]!r}\n"
    assert read(made["archive"], "grid_watch/__main__.py").startswith("import sys\n")
    assert made["name"].startswith(f"cp{python_version.replace('.', '')}-{arch}-")


def test_no_program_of_this_machine_is_in_it(options: dict[str, Any]) -> None:
    made = run_module("python_bundle", options)
    with zipfile.ZipFile(made["archive"]) as content:
        assert [name for name in content.namelist() if "/bin/" in name or name.endswith(".pyc")] == []


def test_a_changed_package_is_bundled_without_a_network(tmp_path: Path, options: dict[str, Any]) -> None:
    first = run_module("python_bundle", options)
    shutil.rmtree(tmp_path / "index")
    (tmp_path / "source/grid_watch/more.py").write_text("MORE = 1\n")
    second = run_module("python_bundle", options)
    assert second["changed"] is True, second
    assert second["name"] != first["name"]
    assert read(second["archive"], "grid_watch/more.py") == "MORE = 1\n"
    (tmp_path / "source/grid_watch/more.py").unlink()
    again = run_module("python_bundle", options)
    assert (again["changed"], again["sha256"]) == (False, first["sha256"])


def test_the_same_content_is_the_same_archive(options: dict[str, Any]) -> None:
    first = run_module("python_bundle", options)
    Path(first["archive"]).unlink()
    assert run_module("python_bundle", options)["sha256"] == first["sha256"]


def test_a_wheel_that_is_not_the_pinned_one_is_refused(tmp_path: Path, options: dict[str, Any]) -> None:
    lock = tmp_path / "requirements.txt"
    lock.write_text(f"meter==1.0 --hash=sha256:{'0' * 64}\n")
    Path(options["cache_dir"]).mkdir()
    assert_refused("python_bundle", options, tmp_path, "cannot be had", "DO NOT MATCH THE HASHES", "meter==1.0")


def test_an_index_without_a_wheel_for_that_machine_is_named_so(tmp_path: Path, options: dict[str, Any]) -> None:
    Path(options["cache_dir"]).mkdir()
    other = {**options, "arch": "aarch64", "python_version": "3.12"}
    assert_refused("python_bundle", other, tmp_path, "Python 3.12 on aarch64", "meter==1.0", "PIP_INDEX_URL")


def test_a_folder_that_is_no_package_is_refused(tmp_path: Path, options: dict[str, Any]) -> None:
    assert_refused("python_bundle", {**options, "package": str(tmp_path)}, tmp_path, "__init__.py")


def test_a_password_in_the_index_is_not_shown(tmp_path: Path, options: dict[str, Any]) -> None:
    Path(options["cache_dir"]).mkdir()
    index = "http://somebody:fresh-secret@127.0.0.1:9/simple"
    message = assert_refused("python_bundle", {**options, "index_url": index}, tmp_path, "go online")
    assert "fresh-secret" not in message


def test_nothing_else_is_left_in_the_cache(tmp_path: Path, options: dict[str, Any]) -> None:
    made = run_module("python_bundle", options)
    assert len(list((tmp_path / "cache").glob("wheels-*"))) == 1
    assert {path.name for path in (tmp_path / "cache").iterdir() if path.is_file()} == {f"{made['name']}.zip"}
    assert len(list((tmp_path / "cache").iterdir())) == 2
