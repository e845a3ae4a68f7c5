# SPDX-License-Identifier: GPL-3.0-or-later
"""A gateway gets the bridge's Python from the controller, once, and needs no package index for it."""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from support.roles import CHECKOUT, Played, play_role

LOCK = CHECKOUT / "roles/udp_bridge/files/requirements.txt"
PIN = re.compile(r"^[\w.-]+==[\w.]+", re.MULTILINE)


def play(folder: Path, variables: dict[str, Any], *arguments: str) -> Played:
    return play_role("udp_bridge", folder, variables, *arguments, hosts=["one"], tasks_from="environment")


@pytest.fixture
def variables(tmp_path: Path) -> dict[str, Any]:
    return {
        "udp_bridge_environment_directory": str(tmp_path / "opt/energy-bridge"),
        "udp_bridge_command": str(tmp_path / "bin/energy-bridge"),
        "udp_bridge_cache_directory": str(CHECKOUT / "build/python"),
    }


def test_a_gateway_gets_a_python_with_the_bridge_and_web3(tmp_path: Path, variables: dict[str, Any]) -> None:
    (tmp_path / "opt").mkdir()
    checked = play(tmp_path / "play", variables, "--check", "--diff")
    assert checked.failed == {"one": 0}, checked.output
    assert (checked.results["one"]["installed"], list((tmp_path / "opt").iterdir())) == (False, [])
    made = play(tmp_path / "play", variables)
    assert made.failed == {"one": 0}, made.output
    assert made.results["one"] == {**checked.results["one"], "installed": True}
    python = made.results["one"]["python"]
    uses = "import energy_bridge, web3, eth_account; print(energy_bridge.__file__)"
    found = subprocess.run([python, "-I", "-c", uses], capture_output=True, text=True, check=True)
    assert Path(found.stdout.strip()).is_relative_to(tmp_path / "opt")
    told = subprocess.run([made.results["one"]["command"], "--help"], capture_output=True, text=True, check=True)
    assert "Show the secret of a source" in told.stdout
    # Without any index: what is there is not fetched again.
    kept = play(tmp_path / "play", {**variables, "udp_bridge_package_index": "http://127.0.0.1:9"})
    assert (kept.changed, kept.results) == ({"one": 0}, made.results), kept.output
    assert "WARNING" not in checked.output + made.output + kept.output


def test_a_python_that_is_given_is_used_as_it_is(tmp_path: Path, variables: dict[str, Any]) -> None:
    made = play(tmp_path / "play", {**variables, "udp_bridge_python": sys.executable})
    assert made.changed == {"one": 0}, made.output
    assert made.results["one"]["python"] == sys.executable
    assert not (tmp_path / "opt").exists()


@pytest.mark.parametrize(("architecture", "bits"), [("armv7l", "32"), ("aarch64", "32")])
def test_a_32_bit_gateway_is_told_what_it_needs(
    tmp_path: Path, variables: dict[str, Any], monkeypatch: pytest.MonkeyPatch, architecture: str, bits: str
) -> None:
    facts = {"ansible_architecture": architecture, "ansible_userspace_bits": bits, "ansible_python_version": "3.11.2"}
    (tmp_path / "facts").mkdir()
    (tmp_path / "facts/s1_one").write_text(json.dumps({"__payload__": json.dumps(facts)}))
    monkeypatch.setenv("ANSIBLE_CACHE_PLUGIN", "jsonfile")
    monkeypatch.setenv("ANSIBLE_CACHE_PLUGIN_CONNECTION", str(tmp_path / "facts"))
    refused = play(tmp_path / "play", variables)
    assert refused.failed == {"one": 1}, refused.output
    said = " ".join(refused.output.split())
    assert f"is {architecture} with a 32-bit system" in said
    assert "needs a 64-bit system" in said


def test_actors_keep_their_order_and_their_ids_on_the_way_to_the_bridge(tmp_path: Path) -> None:
    kinds = {"sun": "PV", "house": "Load", "grid": "Grid", "annex": "Load"}
    actors = [
        {"name": name, "kind": kind, "address": f"0x{place:040x}", "deposit_wei": "1", "id": 9}
        for place, (name, kind) in enumerate(kinds.items())
    ]
    del actors[0]["id"], actors[2]["id"], actors[3]["id"]
    asked = {
        "udp_bridge_directory": str(tmp_path / "bridge"),
        "udp_bridge_python": sys.executable,
        "udp_bridge_actors": actors,
        "udp_bridge_market": {"address": "0x" + "ab" * 20, "abi": str(tmp_path / "market.json")},
        "udp_bridge_operator": {"keystore": str(tmp_path), "password_file": str(tmp_path / "password")},
        "udp_bridge_strict": "{{ 'yes' | bool }}",
        "udp_bridge_wei_per_unit": "{{ '7' }}",
        "udp_bridge_web_names": ["gateway.local"],
        "udp_bridge_sealers": {"0x" + "0a" * 20: "sealer1"},
        "udp_bridge_raise_socket_buffer": False,
        "udp_bridge_service_manager": "supervisor",
        "udp_bridge_service_directory": str(tmp_path / "services"),
    }
    played = play_role("udp_bridge", tmp_path / "play", asked, "--check", "--diff", hosts=["one"])
    assert played.failed == {"one": 0}, played.output
    added = "\n".join(re.findall(r"^\+(?!\+)(.*)$", played.output, re.MULTILINE))
    config = json.JSONDecoder().raw_decode(added, added.index("{\n"))[0]  # among what else is added
    # Who has no id is known by its place.
    assert [(name, actor.get("id")) for name, actor in config["actors"].items()] == [
        ("sun", None),
        ("house", 9),
        ("grid", None),
        ("annex", None),
    ]
    assert config["strict"] is True
    shown = {name: config[name] for name in ("currency", "wei_per_unit", "web_names", "sealers")}
    assert shown == {
        "currency": "EUR",
        "wei_per_unit": 7,
        "web_names": ["gateway.local"],
        "sealers": {"0x" + "0a" * 20: "sealer1"},
    }


def test_a_gateway_gets_the_versions_that_are_tested_here() -> None:
    pinned = set(PIN.findall(LOCK.read_text()))
    assert any(pin.startswith("web3==") for pin in pinned)
    assert pinned - set(PIN.findall((CHECKOUT / "requirements.txt").read_text())) == set()


def test_the_lock_holds_for_every_gateway() -> None:
    """A marker would be read for the controller; what has one is missing or too much on some gateway."""
    assert [line for line in LOCK.read_text().splitlines() if ";" in line] == []
