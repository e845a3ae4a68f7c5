# SPDX-License-Identifier: GPL-3.0-or-later
"""What preflight.yml says about an inventory and its hosts: everything that is in the way, in one message."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from support.modules import tree

CHECKOUT = Path(__file__).parents[2]
BIN = Path(sys.executable).parent
SEALERS, GATEWAY = ["sealer1", "sealer2"], "gateway"
GROUPS = {"sealers": SEALERS, "gateways": [GATEWAY], "bootnodes": [GATEWAY]}


def preflight(
    folder: Path,
    variables: Mapping[str, Any] | None = None,
    *,
    groups: Mapping[str, list[str]] = GROUPS,
    hosts: Mapping[str, Mapping[str, Any]] | None = None,
) -> str:
    """Play it on hosts that are folders of this machine; return what a refusal says, else nothing."""
    names = {name for members in groups.values() for name in members}
    described = {
        name: {"clique_directory": str(folder / name), "clique_node_number": number, **(hosts or {}).get(name, {})}
        for number, name in enumerate(sorted(names), 1)
    }
    shared = {
        "ansible_connection": "local",
        "ansible_python_interpreter": sys.executable,
        "clique_become": False,
        "clique_service_manager": "supervisor",
        "clique_node_address": "127.0.0.1",
        "clique_base_port": 32410,
        "clique_network_dir": str(folder / "network"),
        **(variables or {}),
    }
    children = {group: {"hosts": {name: described[name] for name in members}} for group, members in groups.items()}
    (folder / "hosts.json").write_text(json.dumps({"all": {"vars": shared, "children": children}}))
    before = tree(folder)
    run = subprocess.run(
        [BIN / "ansible-playbook", "-i", folder / "hosts.json", "playbooks/preflight.yml"],
        cwd=CHECKOUT,
        env={**os.environ, "ANSIBLE_CALLBACK_RESULT_FORMAT": "json", "LC_ALL": "C.UTF-8"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert tree(folder) == before
    if run.returncode == 0:
        return ""
    (failed,) = [line for line in run.stdout.splitlines() if line.startswith("fatal: ")] or [run.stdout]
    said = run.stdout[run.stdout.index(failed) :]
    answer: str = json.JSONDecoder().raw_decode(said[said.index("{") :])[0]["msg"]
    return answer


def test_a_network_that_can_be(tmp_path: Path) -> None:
    assert preflight(tmp_path) == ""


def test_all_that_is_wrong_with_all_hosts_is_one_message(tmp_path: Path) -> None:
    for name in SEALERS:
        (tmp_path / name).mkdir()
        (tmp_path / name / "node.key").write_text("ab" * 32)
    wrong = {"clique_least_memory_mib": 10**9, "clique_least_disk_mib": 10**9, "clique_service_manager": "systemd"}
    hosts = {GATEWAY: {"clique_node_number": 2}}  # as sealer1 has
    said = preflight(tmp_path, wrong, hosts=hosts)
    for name in (*SEALERS, GATEWAY):
        assert f"{name}: It has " in said
        assert f"and {10**9} MiB are needed: use a larger model for this part." in said
        assert f"MiB are free for {tmp_path / name}, and {10**9} MiB are needed: make room" in said
        assert f"{name}: It does not run systemd" in said or Path("/run/systemd/system").is_dir()
    assert "sealer1 and gateway: They have one address, 127.0.0.1, port 32412: give each its own" in said
    assert "sealer1 and sealer2: They have one node key" in said
    assert "ab" * 32 not in said


@pytest.mark.parametrize(
    ("groups", "words"),
    [
        ({"gateways": [GATEWAY], "bootnodes": [GATEWAY]}, ["No host is in the group sealers"]),
        (
            {"sealers": SEALERS},
            ["The group gateways has 0 hosts: put in exactly one", "No host is in the group bootnodes"],
        ),
        ({**GROUPS, "gateways": [GATEWAY, "other"]}, ["The group gateways has 2 hosts"]),
        (
            {**GROUPS, "gateways": ["sealer1"]},
            ["A sealer cannot be the gateway too: take sealer1", "gateway is neither"],
        ),
    ],
)
def test_an_inventory_that_is_no_network(tmp_path: Path, groups: Mapping[str, list[str]], words: list[str]) -> None:
    said = preflight(tmp_path, groups=groups)
    assert [word for word in words if word not in said] == []


def test_placeholders_are_refused_before_anybody_is_connected_to() -> None:
    run = subprocess.run(
        [BIN / "ansible-playbook", "-i", "inventories/pi", "playbooks/site.yml"],
        cwd=CHECKOUT,
        env={**os.environ, "LC_ALL": "C.UTF-8"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode != 0
    assert "The addresses of sealer1, sealer2, sealer3, sealer4, gateway are placeholders" in run.stdout + run.stderr
    assert "inventories/pi/hosts.yml" in run.stdout + run.stderr
    assert "unreachable=1" not in run.stdout
