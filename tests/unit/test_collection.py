# SPDX-License-Identifier: GPL-3.0-or-later
"""The checkout as a collection: its tarball, and that it works in place."""

import json
import subprocess
import sys
import tarfile
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml
from support.modules import run_module

CHECKOUT = Path(__file__).parents[2]
BIN = Path(sys.executable).parent
# Tracked by git and not in the tarball: what only a checkout needs, and galaxy.yml, which becomes MANIFEST.json.
NOT_SHIPPED = {".ci/run", ".gitignore", "galaxy.yml"}
# These ask the node of their own host, over its socket and nothing else: there is nothing to connect them to.
BESIDE_THEIR_NODE = {"geth_init", "geth_peers"}
CONNECTION = {"ipc", "rpc_url", "timeout_s"}
# Made by the build.
MADE = {"MANIFEST.json", "FILES.json"}


def test_tarball_holds_what_git_tracks(tmp_path: Path) -> None:
    subprocess.run(
        [BIN / "ansible-galaxy", "collection", "build", "--output-path", tmp_path, CHECKOUT],
        check=True,
        capture_output=True,
        env={"HOME": str(tmp_path), "PATH": "/usr/bin:/bin", "ANSIBLE_HOME": str(tmp_path)},
    )
    (tarball,) = tmp_path.glob("smartenergy-clique-*.tar.gz")
    with tarfile.open(tarball) as archive:
        shipped = {member.name for member in archive.getmembers() if not member.isdir()}
    listing = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=CHECKOUT,
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    tracked = {name for name in listing.splitlines() if (CHECKOUT / name).exists()}
    assert shipped - MADE == tracked - NOT_SHIPPED


@pytest.mark.parametrize(("kind", "folder"), [("module", "modules"), ("filter", "filter")])
def test_plugins_are_found_by_their_full_name_in_place(kind: str, folder: str) -> None:
    run = subprocess.run(
        [BIN / "ansible-doc", "--type", kind, "--list", "--json", "smartenergy.clique"],
        cwd=CHECKOUT,
        check=True,
        capture_output=True,
        text=True,
    )
    plugins = {path.stem for path in (CHECKOUT / "plugins" / folder).glob("*.py")}
    listed = json.loads(run.stdout)
    assert set(listed) == {f"smartenergy.clique.{plugin}" for plugin in plugins}
    assert all(listed.values()), "a plugin has no short description"


@cache
def documented(kind: str = "module") -> dict[str, dict[str, Any]]:
    """What ansible-doc says of each plugin, by its short name, with doc fragments merged in."""
    folder = "modules" if kind == "module" else kind
    names = [f"smartenergy.clique.{path.stem}" for path in (CHECKOUT / "plugins" / folder).glob("*.py")]
    command = [str(BIN / "ansible-doc"), "--type", kind, "--json", *names]
    run = subprocess.run(command, cwd=CHECKOUT, check=True, capture_output=True, text=True)
    return {name.rpartition(".")[2]: plugin["doc"] for name, plugin in json.loads(run.stdout).items()}


def test_every_plugin_says_since_when_it_is_there() -> None:
    for kind in ("module", "filter"):
        assert documented(kind)
        assert {name for name, doc in documented(kind).items() if not doc.get("version_added")} == set()


def test_every_module_says_what_it_does_in_check_and_diff_mode_and_where_it_runs() -> None:
    for name, doc in documented().items():
        supported = {attribute: said.get("support") for attribute, said in doc["attributes"].items()}
        assert supported["check_mode"] == "full", name
        assert supported["diff_mode"] in {"full", "none", "N/A"}, name
        assert supported["platform"] == "full", name


def test_the_action_group_holds_every_module_that_is_told_which_node_to_ask() -> None:
    group = set(yaml.safe_load((CHECKOUT / "meta/runtime.yml").read_text())["action_groups"]["clique"])
    options = {name: set(doc.get("options", {})) for name, doc in documented().items()}
    assert {name for name, has in options.items() if has & {"ipc", "rpc_url", "url"}} - BESIDE_THEIR_NODE == group
    assert {name: CONNECTION - options[name] for name in group if CONNECTION - options[name]} == {}
    assert {name for name, doc in documented().items() if "action_group" in doc["attributes"]} == group


@pytest.mark.parametrize(
    ("module", "arguments"), [("clique_info", {"ipc": "/nonexistent.ipc"}), ("host_info", {"packages": ["none-such"]})]
)
def test_info_modules_change_nothing(module: str, arguments: dict[str, Any]) -> None:
    for check in (True, False):
        answer = run_module(module, arguments, check=check)
        assert not answer.get("failed"), answer
        assert answer["changed"] is False
    assert {name for name in documented() if name.endswith("_info")} == {"clique_info", "host_info"}


def test_an_execution_environment_has_every_library_that_a_module_names() -> None:
    run = subprocess.run(
        [BIN / "ansible-builder", "introspect", CHECKOUT / ".venv/collections"],
        check=True,
        capture_output=True,
        text=True,
    )
    installed = {line.split("#")[0].strip() for line in yaml.safe_load(run.stdout)["python"]}
    named = {text for doc in documented().values() for text in doc.get("requirements", []) if " " not in text}
    assert named <= installed
    assert named


def test_what_is_not_released_yet_stands_in_a_changelog_fragment() -> None:
    version = yaml.safe_load((CHECKOUT / "galaxy.yml").read_text())["version"]
    released = yaml.safe_load((CHECKOUT / "changelogs/changelog.yaml").read_text())["releases"]
    assert version in released or list((CHECKOUT / "changelogs/fragments").glob("*.yml"))
