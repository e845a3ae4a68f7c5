# SPDX-License-Identifier: GPL-3.0-or-later
"""The playbook resolve_tie on the plain release of geth, whose ties do not end by themselves."""

import json
import os
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from ansible_collections.smartenergy.clique.plugins.module_utils._wait import wait_until
from support.modules import run_module
from support.network import CHECKOUT, Network, Run
from support.sealers import Sealers, sealers
from support.ties import difficulty_and_head, has_sealed_lately, parted_into_a_tie

PERIOD_S = 2


@pytest.fixture(scope="module")
def plain_geth() -> Path:
    """Geth without a patch, as `geth_build_patches: []` has it."""
    arch = {"x86_64": "amd64", "aarch64": "arm64"}[os.uname().machine]
    answer = run_module("geth_binaries", {"cache_dir": str(CHECKOUT / "build/geth"), "arch": arch, "patches": {}})
    assert not answer.get("failed"), answer
    return Path(answer["binaries"]["geth"]["path"])


@pytest.fixture(scope="module")
def chain(plain_geth: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sealers]:
    with sealers(plain_geth, tmp_path_factory.mktemp("tie"), 4, period_s=PERIOD_S) as running:
        yield running


@pytest.fixture(scope="module")
def network(chain: Sealers, tmp_path_factory: pytest.TempPathFactory) -> Network:
    """The same nodes as an inventory and the record of a network have them."""
    directory = tmp_path_factory.mktemp("net")
    hosts, record = {}, {}
    for number, node in enumerate(chain.sealers, 1):
        name = f"sealer{number}"
        home = directory / "hosts" / name
        home.mkdir(parents=True)
        (home / "geth").symlink_to(node.datadir)
        hosts[name] = {"clique_directory": str(home)}
        enode = node.node.enode
        record[name] = {"address": node.account, "enode": enode, "ip": "127.0.0.1"}
    (directory / "network").mkdir()
    (directory / "network/network.json").write_text(json.dumps({"genesis": None, "hosts": record}))
    inventory = directory / "hosts.json"
    inventory.write_text(json.dumps({"sealers": {"hosts": hosts}, "gateways": {}, "bootnodes": {}}))
    local = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable}
    variables = {"clique_network_dir": str(directory / "network"), "clique_become": False, **local}
    return Network(directory, 0, period_s=PERIOD_S, inventories=(inventory,), variables=variables)


def heads(chain: Sealers) -> set[tuple[int, str]]:
    return {difficulty_and_head(node) for node in chain.sealers}


def refused(run: Run) -> str:
    assert run.returncode != 0, run.output[-6000:]
    assert run.changed == {}
    return run.said


def test_a_tie_is_found_and_ended(chain: Sealers, network: Network) -> None:
    assert "The chain goes on: block" in refused(network.play("resolve_tie.yml"))

    parted_into_a_tie(chain)
    chain.join(*chain.all)
    before = heads(chain)
    assert len(before) == 2
    looked = network.play("resolve_tie.yml", "--check")
    assert looked.returncode == 0, looked.output[-6000:]
    assert "two branches stand against each other" in looked.said
    assert set(looked.changed.values()) == {1}
    assert heads(chain) == before  # it stood still, and was left alone

    run = network.play("resolve_tie.yml")
    assert run.returncode == 0, run.output[-6000:]
    assert run.changed == looked.changed
    stuck_at = max(node.head for node in chain.sealers)
    assert all(node.call("eth_mining") for node in chain.sealers)
    assert wait_until(lambda: min(node.head for node in chain.all) >= stuck_at + 4, timeout_s=60, clock=time), before


def test_what_is_no_tie_is_refused_and_says_what_is_missing(chain: Sealers, network: Network) -> None:
    *left, third, fourth = chain.sealers
    for node in (third, fourth):
        node.end(signal.SIGINT)
    try:
        assert wait_until(lambda: all(map(has_sealed_lately, left)), timeout_s=60, clock=time)
        says = refused(network.play("resolve_tie.yml"))
    finally:
        for node in (third, fourth):
            node.start()
        chain.join(*chain.all)
    assert "Of 4 sealers 2 answer, and 3 are needed. Bring back sealer3, sealer4, and look again." in says
