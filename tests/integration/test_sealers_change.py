# SPDX-License-Identifier: GPL-3.0-or-later
"""A network that lives through changes of its sealers: four, five, one with a new card, four again."""

import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
from support.network import Network, Run
from web3 import Web3
from web3.types import RPCEndpoint

BASE_PORT = 31710  # below those that outgoing connections take
LONGEST_PAUSE_PERIODS = 3


def with_inventory(network: Network, name: str, hosts: dict[str, Any]) -> Network:
    """The same network with more, or different, sealers in its inventory."""
    path = network.directory / f"{name}.json"
    path.write_text(json.dumps({"sealers": {"hosts": hosts}}))
    return replace(network, inventories=(*network.inventories, path))


def out_of_reach(network: Network, *hosts: str) -> Network:
    """The same network, as it is for somebody whose SSH does not come through to these."""
    nowhere = {"ansible_connection": "ssh", "ansible_host": "127.0.0.1", "ansible_port": 1}
    return with_inventory(network, "_".join(hosts), dict.fromkeys(hosts, nowhere))


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Network]:
    """Four sealers and a gateway without a market, and a fifth sealer that is in the inventory only."""
    # On a busy machine nodes take longer than usual to find each other; the first vote is not due before that anyway.
    four = Network(tmp_path_factory.mktemp("net"), BASE_PORT, period_s=1, variables={"clique_first_block_after_s": 45})
    try:
        run = four.play("network.yml")
        assert run.returncode == 0, run.output[-6000:]
        yield with_inventory(four, "newcomer", {"sealer5": {"clique_node_number": 5}})
    finally:
        four.stop()


class Watch:
    """What stays as it was from when it is made: processes, and a chain without a pause."""

    def __init__(self, network: Network) -> None:
        self.network = network
        self.processes = network.processes()
        self.head = network.web3.eth.block_number

    def assert_undisturbed(self, *except_hosts: str) -> None:
        """Nobody else was restarted, and no block came late."""
        now = self.network.processes()
        kept = {name: pid for name, pid in self.processes.items() if name.split("/")[0] not in except_hosts}
        assert {name: now.get(name) for name in kept} == kept
        chain = self.network.web3.eth
        times_s = [chain.get_block(number)["timestamp"] for number in range(max(1, self.head), chain.block_number + 1)]
        pauses_s = [later - earlier for earlier, later in pairwise(times_s)]
        assert max(pauses_s) <= LONGEST_PAUSE_PERIODS * self.network.period_s

    def sealed(self) -> set[str]:
        """Who sealed since."""
        return {
            self.network.signer_of(number) for number in range(self.head + 1, self.network.web3.eth.block_number + 1)
        }


def signers(network: Network) -> set[str]:
    """Who may seal, as the gateway has it from the chain."""
    answer = network.web3.provider.make_request(RPCEndpoint("clique_getSigners"), [])
    return {Web3.to_checksum_address(address) for address in answer["result"]}


def proposals(network: Network) -> dict[str, dict[str, bool]]:
    """What each sealer that runs would still vote for."""
    found = {}
    for name in sorted(key.removesuffix("/geth") for key in network.processes() if key.endswith("/geth")):
        provider = Web3.IPCProvider(network.host(name) / "geth/geth.ipc")
        found[name] = provider.make_request(RPCEndpoint("clique_proposals"), [])["result"]
    return found


def address_of(network: Network, host: str) -> str:
    return str(network.record["hosts"][host]["address"])


def succeed(run: Run) -> Run:
    assert run.returncode == 0, run.output[-6000:]
    return run


def test_four_become_five(network: Network) -> None:
    watch, before = Watch(network), signers(network)
    run = succeed(network.play("add_sealer.yml", "-e", "sealer=sealer5"))
    added = address_of(network, "sealer5")
    assert signers(network) == before | {added}
    assert len(before) == 4
    assert added in watch.sealed()
    assert "of 3 votes to authorise sealer5; not voted yet: " in run.said
    assert set(map(len, proposals(network).values())) == {0}
    watch.assert_undisturbed()


def test_a_sealer_with_a_new_card_takes_the_place_of_the_old_one(network: Network) -> None:
    watch, before, former = Watch(network), signers(network), network.record["hosts"]["sealer3"]
    network.stop_host("sealer3")
    shutil.rmtree(network.host("sealer3"))
    succeed(network.play("replace_sealer.yml", "-e", "sealer=sealer3"))
    new = network.record["hosts"]["sealer3"]
    assert new["node_public_key"] != former["node_public_key"]
    assert signers(network) == before - {former["address"]} | {new["address"]}
    assert new["address"] in watch.sealed()
    assert set(map(len, proposals(network).values())) == {0}
    watch.assert_undisturbed("sealer3")
    assert succeed(network.play("replace_sealer.yml", "-e", "sealer=sealer3", "--limit", "sealer3")).changed == {}


def test_five_become_four_though_the_host_of_the_fifth_cannot_be_reached(network: Network) -> None:
    watch, before, removed = Watch(network), signers(network), address_of(network, "sealer5")
    succeed(out_of_reach(network, "sealer5").play("remove_sealer.yml", "-e", "sealer=sealer5"))
    assert signers(network) == before - {removed}
    assert "sealer5" not in network.record["hosts"]
    assert set(map(len, proposals(network).values())) == {0}
    # What was out of reach is done when it is back.
    assert set(succeed(network.play("remove_sealer.yml", "-e", "sealer=sealer5")).changed) == {"sealer5"}
    assert "sealer5/geth" not in network.processes()
    assert (network.host("sealer5") / "geth/keystore").exists()
    network.wait_for_blocks(8, 24)
    assert watch.sealed() >= signers(network)
    watch.assert_undisturbed("sealer5")
    assert succeed(network.play("remove_sealer.yml", "-e", "sealer=sealer5")).changed == {}


@pytest.mark.parametrize(
    ("playbook", "arguments", "unreachable", "says"),
    [
        ("add_sealer.yml", [], [], "Say which sealer: add -e sealer="),
        ("add_sealer.yml", ["-e", "sealer=sealer5", "--limit", "sealer1"], [], "This run does not have sealer5"),
        ("remove_sealer.yml", ["-e", "sealer=gateway"], [], "gateway is no sealer of this network"),
        (
            "remove_sealer.yml",
            ["-e", "sealer=sealer4"],
            ["sealer1", "sealer2"],
            "sealers only 2 can be asked for their vote, and 3 are needed. Bring back sealer1, sealer2",
        ),
    ],
)
def test_what_cannot_be_done_is_refused_before_anything_is_changed(
    network: Network, playbook: str, arguments: list[str], unreachable: list[str], says: str
) -> None:
    watch, before, record = Watch(network), signers(network), network.record
    run = (out_of_reach(network, *unreachable) if unreachable else network).play(playbook, *arguments)
    assert run.returncode != 0
    assert says in run.said
    assert run.changed == {}
    assert (signers(network), network.record, network.processes()) == (before, record, watch.processes)
    assert set(map(len, proposals(network).values())) == {0}
