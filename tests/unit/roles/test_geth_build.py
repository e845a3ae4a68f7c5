# SPDX-License-Identifier: GPL-3.0-or-later
"""Programs are built once and are on every host what was built, or the play says where they are not."""

import hashlib
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from support.geth import PATCHES
from support.modules import tree
from support.roles import play_role


@pytest.fixture
def variables(binaries: dict[str, Path], tmp_path: Path) -> dict[str, Any]:
    return {
        "geth_build_cache_directory": str(binaries["geth"].parent.parent),
        "geth_build_install_directory": str(tmp_path / "bin"),
    }


def test_hosts_have_what_was_built(tmp_path: Path, binaries: dict[str, Path], variables: dict[str, Any]) -> None:
    checked = play_role("geth_build", tmp_path / "play", variables, "--check", "--diff", hosts=["one"])
    assert not (tmp_path / "bin").exists()
    made = play_role("geth_build", tmp_path / "play", variables, hosts=["one"])
    assert sum(made.failed.values()) == 0, made.output
    assert checked.results == made.results
    for name, built in binaries.items():
        assert Path(made.results["one"][name]).read_bytes() == built.read_bytes()
    assert "v1.13.15" in version(made.results["one"]["geth"])
    assert set(made.results["one"]["manifest"]["patches"]) == set(PATCHES)
    before = tree(tmp_path / "bin")
    kept = play_role("geth_build", tmp_path / "play", variables, hosts=["one"])
    assert (sum(kept.changed.values()), kept.results) == (0, made.results), kept.output
    assert tree(tmp_path / "bin") == before
    assert "WARNING" not in checked.output + made.output + kept.output


def test_programs_may_come_from_elsewhere_and_are_checked(
    tmp_path: Path, binaries: dict[str, Path], variables: dict[str, Any]
) -> None:
    files = [
        {"name": name, "url": str(path), "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}
        for name, path in binaries.items()
    ]
    given = {**variables, "geth_build_cache_directory": str(tmp_path / "cache"), "geth_build_source": "binary"}
    machine = os.uname().machine
    made = play_role("geth_build", tmp_path / "play", {**given, "geth_build_binaries": {machine: files}}, hosts=["one"])
    assert sum(made.failed.values()) == 0, made.output
    assert "v1.13.15" in version(made.results["one"]["geth"])
    for wrong, words in (
        ({}, "geth_build_binaries does not say which"),
        ({"geth_build_binaries": {"riscv64": files}}, f"geth_build_binaries has nothing for {machine}"),
        (
            {"geth_build_binaries": {machine: [{**files[0], "sha256": "00" * 32}, files[1]]}},
            "is not the file that is wanted",
        ),
    ):
        refused = play_role("geth_build", tmp_path / "play", {**given, **wrong}, hosts=["one"])
        assert words in " ".join(refused.output.split()), refused.output


def version(geth: str) -> str:
    return "v" + subprocess.run([geth, "--version"], capture_output=True, text=True, check=True).stdout.split()[2]


def test_a_program_that_is_not_what_was_built_is_brought_again(
    tmp_path: Path, binaries: dict[str, Path], variables: dict[str, Any]
) -> None:
    shutil.copytree(binaries["bootnode"].parent, tmp_path / "bin")
    spoilt = tmp_path / "bin/bootnode"
    spoilt.write_bytes(b"something else")
    made = play_role("geth_build", tmp_path / "play", variables, hosts=["one"])
    assert made.changed == {"one": 1}, made.output
    assert spoilt.read_bytes() == binaries["bootnode"].read_bytes()


def test_hosts_on_the_builder_may_use_programs_where_they_were_built(
    tmp_path: Path, binaries: dict[str, Path], variables: dict[str, Any]
) -> None:
    made = play_role("geth_build", tmp_path / "play", {**variables, "geth_build_install_directory": None})
    assert sum(made.changed.values()) == 0, made.output
    assert {made.results["one"][name] for name in binaries} == set(map(str, binaries.values()))


def test_check_mode_before_anything_is_built_fails_nowhere(tmp_path: Path, variables: dict[str, Any]) -> None:
    variables = {**variables, "geth_build_cache_directory": str(tmp_path / "cache")}
    checked = play_role("geth_build", tmp_path / "play", variables, "--check", "--diff")
    assert sum(checked.failed.values()) == 0, checked.output
    assert "would be installed after" in checked.output
    assert checked.results["one"]["sha256"] is None
    assert not (tmp_path / "cache").exists()


def test_a_machine_that_geth_does_not_know_is_named(tmp_path: Path, variables: dict[str, Any]) -> None:
    refused = play_role(
        "geth_build", tmp_path / "play", {**variables, "geth_build_architectures": ["vax"]}, hosts=["one"]
    )
    assert "geth cannot be built for vax" in refused.output


def test_a_kind_that_the_play_forgot_is_named(tmp_path: Path, variables: dict[str, Any]) -> None:
    refused = play_role(
        "geth_build", tmp_path / "play", {**variables, "geth_build_architectures": ["i686"]}, "--check", hosts=["one"]
    )
    assert "which geth_build_architectures lacks" in refused.output
