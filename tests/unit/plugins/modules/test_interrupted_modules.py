# SPDX-License-Identifier: GPL-3.0-or-later
"""Modules that are killed at each of their writes, or while a program works for them, and then run again."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from eth_account import Account
from support.interrupted import assert_finished_by_the_next_run, drafts, shape
from support.modules import run_module, say
from support.node import make_genesis

OWNER = {"owner": "nobody", "group": "daemon"} if os.geteuid() == 0 else {}  # only root gives files away
SIGNER = "0x71562b71999873DB5b286dF957af199Ec94617F7"
KEY = "ab" * 64


def account(root: Path, geth: Path) -> dict[str, Any]:
    kept = {"name": "pv", "keystore": str(root / "node/geth/keystore"), "password_file": str(root / "node/password")}
    return {"accounts": [kept], "geth": str(geth), **OWNER}


def node_key(root: Path, bootnode: Path) -> dict[str, Any]:
    return {"path": str(root / "node/node.key"), "bootnode": str(bootnode), "ip": "127.0.0.1", "port": 30311, **OWNER}


def genesis(root: Path) -> dict[str, Any]:
    return {"path": str(root / "network/genesis.json"), "signers": [SIGNER], "prefunded": {SIGNER: "1"}}


def network(root: Path, **change: Any) -> dict[str, Any]:
    who = {"role": "sealer", "roles": ["sealer"], "address": SIGNER, "node_public_key": KEY}
    host = {**who, "ip": "127.0.0.1", "port": 30311, "enode": f"enode://{KEY}@127.0.0.1:30311"}
    facts = {"hash": "0x" + "ab" * 32, "digest": "cd" * 32, "chain_id": 1337, "period_s": 5, "signers": [SIGNER]}
    return {"path": str(root / "network/network.json"), "genesis": facts, "hosts": {"sealer1": {**host, **change}}}


def chain(root: Path, geth: Path, genesis_hash: str) -> dict[str, Any]:
    wanted = {"datadir": str(root / "node/geth"), "genesis": make_genesis([SIGNER]), "genesis_hash": genesis_hash}
    return {**wanted, "geth": str(geth)}


def peers(root: Path) -> dict[str, Any]:
    return {"file": str(root / "peers.toml"), "enodes": [f"enode://{KEY}@127.0.0.1:30311"], "ipc": str(root / "ipc")}


Asked = Callable[[Path], dict[str, Any]]


@pytest.fixture(scope="module")
def chain_in(tmp_path_factory: pytest.TempPathFactory, geth: Path) -> Asked:
    source = make_genesis([SIGNER])
    made = run_module("clique_genesis", {"path": str(tmp_path_factory.mktemp("hash") / "g.json"), "source": source})
    return partial(chain, geth=geth, genesis_hash=made["genesis_hash"])


def test_an_account(tmp_path: Path, geth: Path) -> None:
    assert_finished_by_the_next_run("geth_account", partial(account, geth=geth), tmp_path)


def test_a_node_key(tmp_path: Path, bootnode: Path) -> None:
    assert_finished_by_the_next_run("geth_node_key", partial(node_key, bootnode=bootnode), tmp_path)


def test_a_genesis(tmp_path: Path) -> None:
    assert_finished_by_the_next_run("clique_genesis", genesis, tmp_path)


def test_a_record_that_is_new(tmp_path: Path) -> None:
    assert_finished_by_the_next_run("clique_network", network, tmp_path)


def test_a_record_that_changes(tmp_path: Path) -> None:
    def recorded(root: Path) -> None:
        run_module("clique_network", network(root))

    assert_finished_by_the_next_run("clique_network", partial(network, port=30399), tmp_path, recorded)


def test_a_list_of_peers(tmp_path: Path) -> None:
    assert_finished_by_the_next_run("geth_peers", peers, tmp_path)


@pytest.fixture(scope="module")
def sealer(tmp_path_factory: pytest.TempPathFactory, geth: Path) -> Path:
    """A folder in which a keystore is before there is a chain."""
    root = tmp_path_factory.mktemp("sealer")
    run_module("geth_account", account(root, geth))
    return root


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, sealer: Path, chain_in: Asked) -> Path:
    """The same with its chain, which nobody cut off."""
    root = tmp_path_factory.mktemp("whole") / "sealer"
    copy(sealer, root)
    run_module("geth_init", chain_in(root))
    return root


def copy(source: Path, root: Path) -> None:
    """With owners and modes, which shutil does not keep."""
    subprocess.run(["cp", "-a", source, root], check=True)


def test_a_chain(tmp_path: Path, chain_in: Asked, sealer: Path) -> None:
    assert_finished_by_the_next_run("geth_init", chain_in, tmp_path, partial(copy, sealer))


DIES = """
import os, pathlib, signal, subprocess, sys
geth, place, entries, *argv = sys.argv[1:]
run = subprocess.Popen([geth, *argv])
while len(list(pathlib.Path(place).rglob("*"))) < int(entries) and run.poll() is None:
    pass
if run.returncode is None:
    if DYING: run.kill()
    os.kill(os.getppid(), signal.SIGKILL)
sys.exit(run.wait())
"""


def dying_geth(folder: Path, geth: Path, place: Path, entries: int, *, alone: bool) -> Path:
    """A geth with which its module dies, or alone, when there are so many files and folders in a place."""
    script, program = folder / "dies.py", folder / "geth"
    script.write_text(DIES.replace("DYING", str(not alone)))
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -S {script} {geth} {place} {entries} "$@"\n')
    program.chmod(0o755)
    return program


@pytest.mark.parametrize("alone", [False, True], ids=["with geth", "while geth works on"])
def test_a_chain_that_geth_is_just_making(
    tmp_path: Path, chain_in: Asked, sealer: Path, whole: Path, alone: bool
) -> None:
    """Of what geth has begun when it is killed, it cannot open everything again: a half-written freezer, for one."""
    for entries in range(8, 60, 18):
        root = tmp_path / str(entries)
        copy(sealer, root)
        asked = chain_in(root)
        program = dying_geth(tmp_path, Path(asked["geth"]), root, entries, alone=alone)
        died = not say("geth_init", {**asked, "geth": str(program)})[0]
        assert not died or not (root / "node/geth/geth").exists()
        done = run_module("geth_init", asked)
        assert not done.get("failed"), done
        assert run_module("geth_init", asked)["changed"] is False
        assert shape(root) == shape(whole)
        if not died:
            break
    assert entries > 20


@pytest.mark.parametrize("alone", [False, True], ids=["with geth", "while geth works on"])
def test_an_account_that_geth_is_just_making(tmp_path: Path, geth: Path, alone: bool) -> None:
    root = tmp_path / "root"
    root.mkdir()
    asked = account(root, geth)
    (root / "node/geth").mkdir(parents=True)
    password = "what it was before\n"
    (root / "node/password").write_text(password)
    # The keystore, the draft, and in that what geth begins with.
    program = dying_geth(tmp_path, geth, root, len(list(root.rglob("*"))) + 3, alone=alone)
    assert not say("geth_account", {**asked, "geth": str(program)})[0]
    done = run_module("geth_account", asked)
    assert done["changed"] is True
    assert (root / "node/password").read_text() == password
    (key,) = (root / "node/geth/keystore").iterdir()
    assert (
        Account.from_key(Account.decrypt(json.loads(key.read_text()), password.strip())).address
        == done["addresses"]["pv"]
    )
    assert drafts(root) == []
    assert run_module("geth_account", asked)["changed"] is False
