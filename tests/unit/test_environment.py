# SPDX-License-Identifier: GPL-3.0-or-later
"""What a machine that cannot carry the environment is told, before anything was changed."""

import ast
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parents[2]


def clone(folder: Path) -> Path:
    """The part of a checkout that environment.py works on."""
    shutil.copytree(CHECKOUT / "scripts", folder / "scripts", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(CHECKOUT / "roles/udp_bridge/files", folder / "roles/udp_bridge/files")
    (folder / "plugins/module_utils").mkdir(parents=True)
    shutil.copy(CHECKOUT / "plugins/module_utils/_preflight.py", folder / "plugins/module_utils")
    for path in CHECKOUT.glob("requirements*.txt"):
        shutil.copy(path, folder)
    return folder


def refusal(folder: Path, *command: str, **environment: str) -> str:
    """Run one of its scripts there; it has to fail with one sentence, and to leave nothing."""
    run = subprocess.run(
        [sys.executable, "-B", folder / "scripts" / command[0], *command[1:]],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 1, run.stderr
    assert "Traceback" not in run.stderr
    assert not (folder / ".venv").exists()
    assert not (folder / ".demo").exists()
    return run.stderr.splitlines()[-1]


def test_python_that_is_too_old_is_named_with_what_to_type(tmp_path: Path) -> None:
    pretend = (
        "import sys, runpy; sys.version_info = (3, 9, 2, 'final', 0); runpy.run_path(sys.argv[1], run_name='__main__')"
    )
    folder = clone(tmp_path)
    run = subprocess.run(
        [sys.executable, "-B", "-c", pretend, folder / "scripts/environment.py"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert "Python 3.9" in run.stderr
    assert "make PYTHON=python3.11 demo" in run.stderr
    assert not (folder / ".venv").exists()


def test_python_without_ensurepip_is_told_the_package(tmp_path: Path) -> None:
    (tmp_path / "path").mkdir()
    (tmp_path / "path/ensurepip.py").write_text("raise ImportError\n")
    folder = clone(tmp_path / "checkout")
    assert "apt install python3." in refusal(folder, "environment.py", PYTHONPATH=str(tmp_path / "path"))


def test_checkout_too_deep_for_sockets_is_told_to_move(tmp_path: Path) -> None:
    folder = clone(tmp_path / ("deep" * 20))
    assert "leaves no room for the sockets" in refusal(folder, "demo.py", "up")


def test_index_unreachable(tmp_path: Path) -> None:
    nowhere = {"PIP_INDEX_URL": "http://127.0.0.1:9/simple", "PIP_FIND_LINKS": "", "PIP_CONFIG_FILE": os.devnull}
    assert "package index cannot be reached" in refusal(
        clone(tmp_path), "environment.py", **nowhere, PIP_NO_CACHE_DIR="1"
    )


@pytest.mark.parametrize("script", ["demo.py", "environment.py"])
def test_even_an_old_python_reads_far_enough_to_say_so(script: str) -> None:
    ast.parse((CHECKOUT / "scripts" / script).read_text(), feature_version=(3, 6))


def test_a_machine_without_an_engine_is_told_so_and_left_as_it_is_where_it_asks_for_that(tmp_path: Path) -> None:
    programs = tmp_path / "bin"
    programs.mkdir()
    (programs / "ssh").touch(mode=0o755)
    assert refusal(clone(tmp_path / "checkout"), "containers.py", PATH=str(programs), CLIQUE_SETUP="0") == (
        "smartenergy: the tests in containers need a Docker engine, and CLIQUE_SETUP is 0: start one, or install it "
        "(on Debian: apt install docker.io) and let your user use it. `make test-fast` runs the rest."
    )


def test_a_machine_without_octave_is_told_so_and_left_as_it_is_where_it_asks_for_that(tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    nothing = {"PATH": str(tmp_path / "bin"), "CLIQUE_SETUP": "0"}
    assert refusal(clone(tmp_path / "checkout"), "octave.py", **nothing) == (
        "smartenergy: the tests of examples/matlab need GNU Octave with its package instrument-control, and "
        "CLIQUE_SETUP is 0: install them (on Debian: apt install octave octave-instrument-control). "
        "`make test-fast` runs the rest."
    )
