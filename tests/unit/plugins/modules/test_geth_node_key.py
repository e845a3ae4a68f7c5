# SPDX-License-Identifier: GPL-3.0-or-later
"""Node keys, made by bootnode itself and checked with another implementation of the curve."""

import json
from pathlib import Path
from typing import Any

import pytest
from eth_hash.auto import keccak
from eth_keys.datatypes import PrivateKey
from support.modules import assert_check_mode_is_truthful, assert_refused, run_module


def options(path: Path, bootnode: Path, others: dict[str, Any] | None = None) -> dict[str, Any]:
    return {"path": str(path), "bootnode": str(bootnode), "ip": "127.0.0.1", "port": 30311} | (others or {})


@pytest.mark.parametrize(
    ("others", "end"),
    [
        ({}, "@127.0.0.1:30311"),
        ({"discovery_port": 30311}, "@127.0.0.1:30311"),
        ({"discovery_port": 30312}, "@127.0.0.1:30311?discport=30312"),
        ({"port": 0, "discovery_port": 30310}, "@127.0.0.1:0?discport=30310"),
        ({"ip": "fd00::1"}, "@[fd00::1]:30311"),
    ],
)
def test_check_mode_and_enode(tmp_path: Path, bootnode: Path, others: dict[str, Any], end: str) -> None:
    path = tmp_path / "node/node.key"
    real, again = assert_check_mode_is_truthful("geth_node_key", options(path, bootnode, others), tmp_path)
    assert real["enode"] == again["enode"] == f"enode://{real['node_public_key']}{end}"


def test_what_is_public_belongs_to_the_key(tmp_path: Path, bootnode: Path) -> None:
    path = tmp_path / "node.key"
    answer = run_module("geth_node_key", options(path, bootnode))
    public = PrivateKey(bytes.fromhex(path.read_text())).public_key.to_bytes()
    assert answer["node_public_key"] == public.hex()
    assert answer["node_id"] == keccak(public).hex()
    assert path.read_text() not in json.dumps(answer)
    assert path.stat().st_mode & 0o777 == 0o600
    assert list(tmp_path.iterdir()) == [path]


def test_a_key_is_never_replaced(tmp_path: Path, bootnode: Path) -> None:
    path = tmp_path / "node.key"
    path.write_text("1" * 64 + "\n")
    answer = run_module("geth_node_key", options(path, bootnode))
    assert answer["node_public_key"] == PrivateKey(b"\x11" * 32).public_key.to_bytes().hex()
    assert (answer["changed"], path.read_text()) == (False, "1" * 64 + "\n")


def test_check_mode_needs_no_bootnode(tmp_path: Path) -> None:
    path = tmp_path / "node.key"
    unknown = {"node_public_key": None, "node_id": None, "enode": None}
    answer = run_module("geth_node_key", options(path, tmp_path / "none"), check=True)
    assert answer.items() >= {"changed": True, **unknown}.items()
    path.write_text("1" * 64)
    answer = run_module("geth_node_key", options(path, tmp_path / "none"), check=True)
    assert answer.items() >= {"changed": False, **unknown}.items()


@pytest.mark.parametrize("content", ["", "1" * 63, "1" * 65, "z" * 64])
def test_what_is_no_key_is_refused(tmp_path: Path, bootnode: Path, content: str) -> None:
    path = tmp_path / "node.key"
    path.write_text(content)
    message = assert_refused("geth_node_key", options(path, bootnode), tmp_path, "is no node key", "move this one away")
    assert content == "" or content not in message


def test_a_key_that_is_out_of_the_curve_is_refused(tmp_path: Path, bootnode: Path) -> None:
    path = tmp_path / "node.key"
    path.write_text("0" * 64)
    assert_refused("geth_node_key", options(path, bootnode), tmp_path, "-nodekey failed")


@pytest.mark.parametrize(
    ("others", "words"),
    [
        ({"ip": "sealer1"}, "ip has to be an IPv4 or IPv6 address, and 'sealer1' is none"),
        ({"port": 65536}, "port has to be between 0 and 65535, and 65536 is not"),
        ({"port": 0}, "discovery_port has to be between 1 and 65535, and 0 is not"),
        ({"bootnode": "/nowhere/bootnode"}, "/nowhere/bootnode cannot be run: No such file or directory"),
    ],
)
def test_bad_input_is_refused(tmp_path: Path, bootnode: Path, others: dict[str, Any], words: str) -> None:
    assert_refused("geth_node_key", options(tmp_path / "node.key", bootnode, others), tmp_path, words)
