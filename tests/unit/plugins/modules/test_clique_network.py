# SPDX-License-Identifier: GPL-3.0-or-later
"""The record grows by hosts and never changes who a host is."""

from pathlib import Path
from typing import Any

import pytest
from support.modules import assert_check_mode_is_truthful, assert_refused, run_module, tree

GENESIS = {
    "hash": "0x" + "ab" * 32,
    "digest": "cd" * 32,
    "chain_id": 1337,
    "period_s": 5,
    "signers": ["0x" + "01" * 20],
}


def sealer(number: int, **change: Any) -> dict[str, Any]:
    key = f"{number:02x}" * 64
    return {
        "role": "sealer",
        "roles": ["sealer"],
        "address": "0x" + f"{number:02x}" * 20,
        "node_public_key": key,
        "enode": f"enode://{key}@127.0.0.1:{30310 + number}",
        "ip": "127.0.0.1",
        "port": 30310 + number,
        "bootnode_enode": None,
        **change,
    }


BOOTNODE = f"enode://{'bb' * 64}@127.0.0.1:0?discport=30310"
GATEWAY = sealer(20, role="gateway", roles=["gateway", "bootnode"], address=None, bootnode_enode=BOOTNODE)


def arguments(folder: Path, hosts: dict[str, Any], **genesis: Any) -> dict[str, Any]:
    return {"path": str(folder / "network/network.json"), "genesis": {**GENESIS, **genesis}, "hosts": hosts}


def test_hosts_are_put_on_record(tmp_path: Path) -> None:
    hosts = {"sealer2": sealer(2), "gateway": GATEWAY, "sealer1": sealer(1)}
    made, _ = assert_check_mode_is_truthful("clique_network", arguments(tmp_path, hosts), tmp_path)
    assert made["network"] == {"version": 1, "genesis": GENESIS, "hosts": hosts}
    assert list(made["network"]["hosts"]) == ["gateway", "sealer1", "sealer2"]


@pytest.mark.parametrize(
    "host", [sealer(3), sealer(2, ip="127.0.0.2", enode=f"enode://{'02' * 64}@127.0.0.2:30312"), sealer(2, roles=["x"])]
)
def test_a_run_of_some_hosts_keeps_the_others(tmp_path: Path, host: dict[str, Any]) -> None:
    run_module("clique_network", arguments(tmp_path, {"sealer1": sealer(1), "sealer2": sealer(2)}))
    name = "sealer3" if host["port"] == 30313 else "sealer2"
    made, _ = assert_check_mode_is_truthful("clique_network", arguments(tmp_path, {name: host}), tmp_path)
    assert made["network"]["hosts"] == {"sealer1": sealer(1), "sealer2": sealer(2), name: host}


OTHER_BOOTNODE = BOOTNODE.replace("bb", "cc")


@pytest.mark.parametrize(
    ("hosts", "words"),
    [
        ({"sealer1": sealer(1, node_public_key="0f" * 64)}, ["sealer1 has the node key", "SD card"]),
        ({"sealer1": sealer(1, address="0x" + "0f" * 20)}, ["sealer1 has the address", "SD card"]),
        ({"gateway": {**GATEWAY, "bootnode_enode": OTHER_BOOTNODE}}, ["gateway has the bootnode key"]),
        ({"sealer2": sealer(2, node_public_key="01" * 64)}, ["sealer1 and sealer2", "node key", "cloned"]),
        ({"sealer2": sealer(2, address="0x" + "01" * 20)}, ["sealer1 and sealer2", "address"]),
        ({"sealer2": sealer(2, port=30311)}, ["sealer1 and sealer2", "endpoint 127.0.0.1:30311"]),
        ({"sealer2": sealer(2, port=30310)}, ["gateway's bootnode and sealer2", "endpoint"]),
        ({"sealer2": sealer(2, node_public_key=None)}, ["sealer2", "node_public_key", "128 hex digits"]),
        ({"sealer2": sealer(2, sort="x")}, ["sealer2", "sort"]),
        ({"sealer2": {"role": "sealer"}}, ["sealer2", "roles"]),
    ],
)
def test_what_cannot_be_the_same_network_is_refused(tmp_path: Path, hosts: dict[str, Any], words: list[str]) -> None:
    run_module("clique_network", arguments(tmp_path, {"sealer1": sealer(1), "gateway": GATEWAY}))
    assert_refused("clique_network", arguments(tmp_path, hosts), tmp_path, *words)


@pytest.mark.parametrize(
    ("genesis", "word"),
    [
        ({"hash": "0x" + "ee" * 32}, "hash: 0xab"),
        ({"digest": "ee" * 32}, "digest: cd"),
        ({"chain_id": 1}, "chain_id: 1337 ≠ 1"),
        ({"signers": ["0x" + "02" * 20]}, "signers"),
        ({"hash": None}, "lacks hash"),
    ],
)
def test_another_genesis_is_refused(tmp_path: Path, genesis: dict[str, Any], word: str) -> None:
    run_module("clique_network", arguments(tmp_path, {"sealer1": sealer(1)}))
    assert_refused("clique_network", arguments(tmp_path, {"sealer2": sealer(2)}, **genesis), tmp_path, word)


def test_an_address_that_a_run_does_not_ask_for_stays(tmp_path: Path) -> None:
    run_module("clique_network", arguments(tmp_path, {"sealer1": sealer(1)}))
    answer = run_module("clique_network", arguments(tmp_path, {"sealer1": sealer(1, address=None)}))
    assert not answer["changed"]


def test_what_is_to_be_forgotten_goes_and_may_come_back_with_other_keys(tmp_path: Path) -> None:
    run_module("clique_network", arguments(tmp_path, {"sealer1": sealer(1), "sealer2": sealer(2)}))
    gone, _ = assert_check_mode_is_truthful(
        "clique_network", {**arguments(tmp_path, {}), "forget": ["sealer2", "stranger"]}, tmp_path
    )
    assert gone["network"]["hosts"] == {"sealer1": sealer(1)}
    new = {"sealer1": {**sealer(3), "port": 30311}}
    came = run_module("clique_network", {**arguments(tmp_path, new), "forget": ["sealer1"]})
    assert came["network"]["hosts"] == new


def test_the_way_out_is_the_one_that_the_host_has(tmp_path: Path) -> None:
    run_module("clique_network", arguments(tmp_path, {"sealer1": sealer(1), "gateway": GATEWAY}))
    for name, host, way in (
        ("sealer1", sealer(1, node_public_key="0f" * 64), "or run replace_sealer.yml -e sealer=sealer1"),
        ("gateway", {**GATEWAY, "node_public_key": "0f" * 64}, "or take its old entry out of"),
    ):
        assert_refused("clique_network", arguments(tmp_path, {name: host}), tmp_path, way)


@pytest.mark.parametrize("unknown", [{"hash": None}, {}])
def test_check_mode_makes_up_no_key(tmp_path: Path, unknown: dict[str, Any]) -> None:
    key = "01" * 64 if unknown else None
    hosts = {"sealer1": sealer(1, node_public_key=key)}
    answer = run_module("clique_network", arguments(tmp_path, hosts, **unknown), check=True)
    assert (answer["changed"], answer["network"], answer["diff"]["after"]) == (True, None, None)
    assert tree(tmp_path) == {}


@pytest.mark.parametrize("content", ["{", "[]", '{"version": 1}', '{"version": 2, "hosts": {}, "genesis": {}}'])
def test_a_file_that_is_no_record_is_refused(tmp_path: Path, content: str) -> None:
    path = tmp_path / "network/network.json"
    path.parent.mkdir()
    path.write_text(content)
    assert_refused("clique_network", arguments(tmp_path, {"sealer1": sealer(1)}), tmp_path, str(path))
