# SPDX-License-Identifier: GPL-3.0-or-later
"""An environment comes whole out of its archive, with no pip, and disturbs none that is in use."""

import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from support.modules import assert_check_mode_is_truthful, assert_refused, run_module, tree
from support.wheels import PYTHON, TAGS, make_project


@pytest.fixture
def project(tmp_path: Path) -> dict[str, Any]:
    return make_project(tmp_path / "controller")


@pytest.fixture
def host(tmp_path: Path) -> Path:
    (tmp_path / "host").mkdir()
    return tmp_path / "host"


def send(project: dict[str, Any], host: Path) -> dict[str, Any]:
    """Bundle the project as it is now and bring it to the host; returns the options of python_environment."""
    bundle = run_module("python_bundle", project)
    shutil.copy(bundle["archive"], host / "sent.zip")
    return {
        "directory": str(host / "opt/grid-watch"),
        "name": bundle["name"],
        "package": "grid_watch",
        "imports": ["meter"],
        "command": str(host / "bin/grid-watch"),
        "archive": str(host / "sent.zip"),
        "sha256": bundle["sha256"],
        "python_version": PYTHON,
    }


def renew(project: dict[str, Any], text: str) -> None:
    (Path(project["package"]) / "__main__.py").write_text(text)


def run(command: Path, *arguments: str) -> str:
    return subprocess.run([command, *arguments], capture_output=True, text=True, check=True).stdout.strip()


def test_check_mode(project: dict[str, Any], host: Path) -> None:
    assert_check_mode_is_truthful("python_environment", send(project, host), host)
    renew(project, "print('renewed')\n")
    assert_check_mode_is_truthful("python_environment", send(project, host), host)


def test_it_can_be_foretold_before_there_is_an_archive(project: dict[str, Any], host: Path) -> None:
    bundle = run_module("python_bundle", project, check=True)
    assert bundle["sha256"] is None
    wanted = {**send(project, host), "sha256": None}
    (host / "sent.zip").unlink()
    foretold = run_module("python_environment", wanted, check=True)
    assert foretold["changed"] is True
    assert foretold["python"] == run_module("python_environment", send(project, host))["python"]


def test_the_command_runs_the_package_with_what_it_imports(project: dict[str, Any], host: Path) -> None:
    made = run_module("python_environment", send(project, host))
    assert run(host / "bin/grid-watch", "one", "two words") == f"{TAGS['this']} one two words"
    assert run(Path(made["python"]), "-c", "import sys; print(sys.prefix)") == str(Path(made["python"]).parents[1])
    assert not (host / "sent.zip").exists()


def test_others_may_read_it_and_it_is_compiled_for_them(project: dict[str, Any], host: Path) -> None:
    made = run_module("python_environment", send(project, host))
    folder = Path(made["python"]).parents[1]
    modes = {path.stat().st_mode & 0o777 for path in folder.rglob("*") if not path.is_symlink()}
    assert modes <= {0o755, 0o644}
    assert folder.stat().st_mode & 0o777 == 0o755
    assert list(folder.glob("lib/*/site-packages/__pycache__/meter.*.pyc"))


def test_a_renewed_one_leaves_the_last_one_alone_and_removes_older_ones(project: dict[str, Any], host: Path) -> None:
    names = []
    for text in ("first", "second", "third"):
        renew(project, f"print({text!r})\n")
        wanted = send(project, host)
        run_module("python_environment", wanted)
        names.append(wanted["name"])
        assert run(host / "bin/grid-watch") == text
    assert sorted(path.name for path in (host / "opt/grid-watch").iterdir()) == sorted(names[1:])
    assert run(host / "opt/grid-watch" / names[1] / "bin/grid-watch") == "second"


def test_what_was_made_is_removed_and_nothing_else(project: dict[str, Any], host: Path) -> None:
    away = {"directory": str(host / "opt/grid-watch"), "command": str(host / "bin/grid-watch"), "state": "absent"}
    (host / "bin").mkdir()
    (host / "bin/grid-watch").write_text("something else\n")
    before = tree(host)
    assert run_module("python_environment", away)["changed"] is False
    assert tree(host) == before
    (host / "bin/grid-watch").unlink()
    for text in ("first", "second"):
        renew(project, f"print({text!r})\n")
        run_module("python_environment", send(project, host))
    (host / "opt/grid-watch/theirs").write_text("theirs")
    real, _ = assert_check_mode_is_truthful("python_environment", away, host)
    assert real["changed"] is True
    assert {path.name for path in host.rglob("*")} == {"bin", "opt", "grid-watch", "theirs"}
    assert (host / "opt/grid-watch/theirs").read_text() == "theirs"


def test_what_cannot_be_imported_does_not_take_the_place_of_what_can(project: dict[str, Any], host: Path) -> None:
    run_module("python_environment", send(project, host))
    (Path(project["package"]) / "__init__.py").write_text("import nothing_like_it\n")
    wanted = send(project, host)
    assert_refused("python_environment", wanted, host, "cannot be imported", "nothing_like_it")
    assert run(host / "bin/grid-watch") == TAGS["this"]


def test_a_damaged_archive_is_refused(project: dict[str, Any], host: Path) -> None:
    wanted = send(project, host)
    with (host / "sent.zip").open("r+b") as file:
        file.truncate(100)
    for name in ("opt/grid-watch", "bin"):
        (host / name).mkdir(parents=True)
    assert_refused("python_environment", wanted, host, "not what was sent", wanted["sha256"])
    (host / "sent.zip").unlink()
    assert_refused("python_environment", wanted, host, "its sha256 is none")


def test_another_python_is_named(project: dict[str, Any], host: Path) -> None:
    wanted = {**send(project, host), "python_version": "3.10"}
    assert_refused("python_environment", wanted, host, f"is Python {PYTHON}", "3.10", "--flush-cache")


def test_somebody_elses_command_is_left_alone(project: dict[str, Any], host: Path) -> None:
    wanted = send(project, host)
    (host / "bin").mkdir()
    (host / "bin/grid-watch").write_text("something else\n")
    assert_refused("python_environment", wanted, host, "grid-watch", "remove it")


def test_what_a_power_cut_left_is_made_anew(project: dict[str, Any], host: Path) -> None:
    made = run_module("python_environment", send(project, host))
    whole = tree(host)
    Path(made["python"]).unlink()
    (host / "opt/grid-watch/.clique-draft-cut-off/lib").mkdir(parents=True)
    assert run_module("python_environment", send(project, host))["changed"] is True
    assert tree(host).keys() == whole.keys()
