# SPDX-License-Identifier: GPL-3.0-or-later
"""Data directories of real geth: fresh, cut off, another network's, running."""

import copy
import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.smartenergy.clique.plugins.module_utils._genesis_digest import canonical_digest
from support.modules import assert_check_mode_is_truthful, assert_refused, run_module, tree
from support.node import initialise, make_genesis, running

SIGNERS = ["0x71562b71999873DB5b286dF957af199Ec94617F7"]
GENESIS = make_genesis(SIGNERS)
NOT_KNOWN = {"genesis_hash": None, "digest": None, "running": False}


@pytest.fixture(scope="module")
def genesis_hash(geth: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The hash as geth says it."""
    datadir = tmp_path_factory.mktemp("hash") / "d"
    initialise(geth, datadir, GENESIS)
    with running(geth, datadir) as node:
        told = node.rpc.call("eth_getBlockByNumber", "0x0", False)["hash"]
    assert isinstance(told, str)
    return told


@pytest.fixture
def wanted(geth: Path, tmp_path: Path, genesis_hash: str) -> dict[str, Any]:
    return {"datadir": str(tmp_path / "d"), "genesis": GENESIS, "genesis_hash": genesis_hash, "geth": str(geth)}


def other_genesis(path: str, value: Any) -> dict[str, Any]:
    genesis = copy.deepcopy(GENESIS)
    *outer, last = path.split(".")
    inner = genesis
    for name in outer:
        inner = inner[name]
    inner[last] = value
    return genesis


def dump(geth: Path, datadir: Path) -> dict[str, Any]:
    told = subprocess.run([geth, "--datadir", datadir, "dumpgenesis"], capture_output=True, check=True)
    genesis: dict[str, Any] = json.loads(told.stdout)
    return genesis


def cut_off_before_the_database(_: Path, datadir: Path) -> None:
    (datadir / "geth/chaindata").mkdir(parents=True)


def cut_off_before_block_0(geth: Path, datadir: Path) -> None:
    command = [str(geth), "--datadir", str(datadir), "--state.scheme=hash", "db", "put", "0x01", "0x02"]
    subprocess.run(command, check=True, capture_output=True)


def cut_off_before_the_config(geth: Path, datadir: Path) -> None:
    initialise(geth, datadir, GENESIS)
    with running(geth, datadir) as node:
        block_0 = node.rpc.call("eth_getBlockByNumber", "0x0", False)["hash"]
    key = "0x" + b"ethereum-config-".hex() + block_0[2:]
    subprocess.run([geth, "--datadir", datadir, "db", "delete", key], check=True, capture_output=True)


@pytest.mark.parametrize(
    "before", [None, cut_off_before_the_database, cut_off_before_block_0, cut_off_before_the_config]
)
def test_check_mode_and_what_geth_holds_afterwards(
    tmp_path: Path, geth: Path, wanted: dict[str, Any], genesis_hash: str, before: Any
) -> None:
    if before:
        before(geth, tmp_path / "d")
    real, again = assert_check_mode_is_truthful("geth_init", wanted, tmp_path)
    assert real["changed"] is True
    assert real["diff"] == {"before": {"genesis_hash": None}, "after": {"genesis_hash": genesis_hash}}
    facts = {"genesis_hash": genesis_hash, "digest": canonical_digest(GENESIS), "running": False}
    assert again.items() >= facts.items()
    assert {path.name for path in tmp_path.iterdir()} - {"d.log"} == {"d"}
    assert canonical_digest(dump(geth, tmp_path / "d")) == canonical_digest(GENESIS)


@pytest.mark.parametrize(
    ("field", "value", "says"),
    [
        ("config.clique.period", 3, "config.clique.period: 1 ≠ 3"),  # the same hash
        ("config.chainId", 4242, "config.chainId: 1337 ≠ 4242"),  # the same hash
        ("gasLimit", "0x1c9c381", "gasLimit: 30000000 ≠ 30000001"),
    ],
)
def test_drift_is_refused_and_named(tmp_path: Path, wanted: dict[str, Any], field: str, value: Any, says: str) -> None:
    run_module("geth_init", wanted)
    other = wanted | {"genesis": other_genesis(field, value)}
    assert_refused("geth_init", other, tmp_path, "another genesis", says, "nothing was changed")


def test_a_running_node_is_asked(tmp_path: Path, geth: Path, wanted: dict[str, Any], genesis_hash: str) -> None:
    initialise(geth, tmp_path / "d", GENESIS)
    with running(geth, tmp_path / "d"):
        for check in (True, False):
            answer = run_module("geth_init", wanted, check=check)
            assert answer.items() >= {"changed": False, "running": True, "genesis_hash": genesis_hash}.items()
        message = run_module("geth_init", wanted | {"genesis": other_genesis("config.clique.period", 3)})["msg"]
        assert "another genesis (there ≠ wanted): config.clique.period: 1 ≠ 3" in message
        message = run_module("geth_init", wanted | {"genesis_hash": "0x" + "12" * 32})["msg"]
        assert "runs another chain: its genesis hash is " + genesis_hash in message


def test_a_killed_node_still_proves_its_genesis(tmp_path: Path, geth: Path, wanted: dict[str, Any]) -> None:
    initialise(geth, tmp_path / "d", GENESIS)
    with running(geth, tmp_path / "d") as node:
        node.process.kill()
        node.process.wait()
    answer = run_module("geth_init", wanted)
    assert answer.items() >= {"changed": False, "running": False, "digest": canonical_digest(GENESIS)}.items()


def test_a_directory_in_use_without_its_socket(tmp_path: Path, geth: Path, wanted: dict[str, Any]) -> None:
    initialise(geth, tmp_path / "d", GENESIS)
    with running(geth, tmp_path / "d"):
        message = run_module("geth_init", wanted | {"ipc": str(tmp_path / "elsewhere.ipc")})["msg"]
    assert "is in use by a process that does not answer" in message


def test_what_is_no_data_directory_of_ours_is_refused(tmp_path: Path, geth: Path, wanted: dict[str, Any]) -> None:
    initialise(geth, tmp_path / "d", GENESIS)
    next((tmp_path / "d/geth/chaindata").glob("MANIFEST-*")).unlink()
    assert_refused("geth_init", wanted, tmp_path, "geth cannot read the chain in")
    shutil.rmtree(tmp_path / "d")
    (tmp_path / "d").write_text("something else")
    assert_refused("geth_init", wanted, tmp_path, "is not a directory")


def test_a_hash_that_is_not_of_this_genesis(wanted: dict[str, Any]) -> None:
    message = run_module("geth_init", wanted | {"genesis_hash": "0x" + "12" * 32})["msg"]
    assert "where 0x1212" in message


@pytest.mark.parametrize(
    ("missing", "says"),
    [({"genesis": None}, "no genesis"), ({"genesis_hash": None}, "no genesis"), ({"geth": None}, "no geth at None")],
)
def test_what_only_check_mode_may_miss(
    tmp_path: Path, wanted: dict[str, Any], missing: dict[str, None], says: str
) -> None:
    before = tree(tmp_path)
    answer = run_module("geth_init", wanted | missing, check=True)
    assert (answer["changed"], answer["running"], tree(tmp_path)) == (True, False, before)
    assert_refused("geth_init", wanted | missing, tmp_path, says)


def test_check_mode_on_an_empty_host_knows_nothing(wanted: dict[str, Any]) -> None:
    empty = {"genesis": None, "genesis_hash": None, "geth": None, "owner": "nobody-has-made-me"}
    answer = run_module("geth_init", wanted | empty, check=True)
    assert answer.items() >= {"changed": True, **NOT_KNOWN}.items()


def test_check_mode_makes_nothing_up_without_geth(tmp_path: Path, geth: Path, wanted: dict[str, Any]) -> None:
    initialise(geth, tmp_path / "d", GENESIS)
    answer = run_module("geth_init", wanted | {"geth": None}, check=True)
    assert answer.items() >= {"changed": False, **NOT_KNOWN}.items()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_everything_belongs_to_the_owner(tmp_path: Path, wanted: dict[str, Any]) -> None:
    given = wanted | {"owner": "nobody", "group": "daemon"}
    assert_check_mode_is_truthful("geth_init", given, tmp_path)
    shutil.chown(tmp_path / "d/geth/chaindata", "root", "root")
    real, _ = assert_check_mode_is_truthful("geth_init", given, tmp_path)
    assert real["diff"] == {"before": {"paths_of_another_owner": 1}, "after": {"paths_of_another_owner": 0}}
    owners = {(path.owner(), path.group()) for path in [tmp_path / "d", *(tmp_path / "d").rglob("*")]}
    assert owners == {("nobody", "daemon")}
    assert (
        "no-such-user"
        in run_module("geth_init", wanted | {"datadir": str(tmp_path / "e"), "owner": "no-such-user"})["msg"]
    )
    assert not (tmp_path / "e").exists()
