# SPDX-License-Identifier: GPL-3.0-or-later
"""Static peers: what the file says, and whom a real node knows."""

import tomllib
from pathlib import Path
from typing import Any

import pytest
from support.modules import assert_check_mode_is_truthful, assert_refused, run_module
from support.network import wait_until
from support.node import Node, initialise, make_genesis, running

GENESIS = make_genesis(["0x71562b71999873DB5b286dF957af199Ec94617F7"])
ANN, BOB, CAT = (f"enode://{digit * 128}@127.0.0.1:{port}" for digit, port in (("a", 1), ("b", 2), ("c", 3)))


def options(root: Path, enodes: list[str] | None, **others: Any) -> dict[str, Any]:
    return {"file": str(root / "peers.toml"), "enodes": enodes, "ipc": str(root / "d/geth.ipc"), **others}


@pytest.mark.parametrize(
    ("before", "after", "added", "removed"),
    [
        (None, [], [], []),
        (None, [BOB, ANN, BOB], [ANN, BOB], []),
        ([ANN, BOB], [BOB, CAT], [CAT], [ANN]),
        ([ANN], [], [], [ANN]),
    ],
)
def test_check_mode_and_file(
    tmp_path: Path, before: list[str] | None, after: list[str], added: list[str], removed: list[str]
) -> None:
    if before is not None:
        run_module("geth_peers", options(tmp_path, before))
    real, again = assert_check_mode_is_truthful("geth_peers", options(tmp_path, after), tmp_path)
    assert (real["changed"], real["added"], real["removed"], real["told"]) == (True, added, removed, False)
    assert (again["added"], again["removed"]) == ([], [])
    stored = tomllib.loads((tmp_path / "peers.toml").read_text())
    assert stored == {"Node": {"P2P": {"StaticNodes": sorted({*after})}}}


def peers_of(node: Node) -> set[str]:
    return {peer["id"] for peer in node.rpc.call("admin_peers")}


def test_a_running_node_is_told_and_the_next_start_knows_it(tmp_path: Path, geth: Path) -> None:
    for name in ("d", "other"):
        initialise(geth, tmp_path / name, GENESIS)
    config = f"--config={tmp_path / 'peers.toml'}"
    run_module("geth_peers", options(tmp_path, []))
    with running(geth, tmp_path / "other") as other:
        with running(geth, tmp_path / "d", config) as node:
            assert run_module("geth_peers", options(tmp_path, [other.enode]))["told"] is True
            wait_until("the peer to come", lambda: peers_of(node), 30)
            assert run_module("geth_peers", options(tmp_path, []))["told"] is True
            wait_until("the peer to go", lambda: not peers_of(node), 30)
            run_module("geth_peers", options(tmp_path, [other.enode]))
        with running(geth, tmp_path / "d", config) as node:
            wait_until("the peer to come after a restart", lambda: peers_of(node), 30)
            assert run_module("geth_peers", options(tmp_path, [other.enode]))["changed"] is False


def test_bad_input_is_refused(tmp_path: Path) -> None:
    assert_refused("geth_peers", options(tmp_path, None), tmp_path, "there are no enodes to write")
    assert_refused("geth_peers", options(tmp_path, ["enode://x@y:1"]), tmp_path, "'enode://x@y:1' is no enode")
    (tmp_path / "peers.toml").write_text("[Eth]\nNetworkId = 1\n")
    assert_refused("geth_peers", options(tmp_path, [ANN]), tmp_path, "not a file of static peers", "move it away")


def test_check_mode_does_not_know_the_peers_of_an_empty_network(tmp_path: Path) -> None:
    answer = run_module("geth_peers", options(tmp_path / "none", None), check=True)
    assert answer == {
        "changed": True,
        "added": None,
        "removed": None,
        "told": None,
        "diff": {"before": "", "after": ""},
    }
    answer = run_module("geth_peers", options(tmp_path / "none", [ANN]), check=True)
    assert (answer["changed"], answer["added"], answer["told"]) == (True, [ANN], None)
