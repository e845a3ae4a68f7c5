# SPDX-License-Identifier: GPL-3.0-or-later
"""A network of two sealers whose runs of network.yml are killed at their tasks, and what the next run makes of it."""

from __future__ import annotations

import json
import os
import signal
import uuid
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from ansible_collections.smartenergy.clique.plugins.module_utils._preflight import environment_of, pids

from support.interrupted import drafts
from support.network import CHECKOUT, Network, Run, wait_until

RUN = "CLIQUE_TEST_RUN"
SERVICES = {
    *("sealer1/supervisord", "sealer1/geth", "sealer2/supervisord", "sealer2/geth"),
    *("gateway/supervisord", "gateway/geth", "gateway/bootnode"),
}
# Sealers meet within a second; whoever waits here waits for the first block.
QUICK = {"clique_first_block_after_s": 5}


def two_sealers(directory: Path, base_port: int) -> Network:
    """Inventories/local without two of its sealers, at a block a second."""
    inventory = directory / "inventory"
    inventory.mkdir(parents=True)
    (inventory / "group_vars").symlink_to(CHECKOUT / "inventories/local/group_vars")
    sealers = {f"sealer{number}": {"clique_node_number": number} for number in (1, 2)}
    groups = {
        "sealers": {"hosts": sealers},
        "bootnodes": {"hosts": {"gateway": {"clique_node_number": 20}}},
        "gateways": {"hosts": {"gateway": None}},
    }
    (inventory / "hosts.yml").write_text(json.dumps({"all": {"hosts": {"localhost": None}, "children": groups}}))
    return Network(directory, base_port, 1, QUICK, (inventory,))


def play_until(network: Network, point: str, nth: int = 1, **variables: Any) -> None:
    """Run network.yml until it is killed at a point, with all that it was just doing on its hosts.

    What it had started as a service goes on: that knows nothing of the run.
    """
    ours = uuid.uuid4().hex
    environment = {"DIES_AT": point, "DIES_NTH": str(nth), RUN: ours}
    run = listening(network, environment).play("network.yml", **variables)
    assert run.returncode == -signal.SIGKILL, f"it was not killed {point}:\n{run.output[-4000:]}"

    def ended() -> bool:
        left = [pid for pid in pids() if environment_of(pid).get(RUN) == ours]
        for pid in left:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        return not left

    wait_until("the rest of the killed run to end", ended, 30, 0.01)


def listening(network: Network, environment: dict[str, str]) -> Network:
    """The same network, whose runs tell the callback dies of what they do."""
    callbacks = str(Path(__file__).parent / "callbacks")
    enabled = {"ANSIBLE_CALLBACK_PLUGINS": callbacks, "ANSIBLE_CALLBACKS_ENABLED": "dies"}
    return replace(network, environment={**network.environment, **enabled, **environment})


# What no later run may change: every key, every password, the genesis.
FOR_EVER = (
    *("hosts/*/node.key", "hosts/*/boot.key", "hosts/*/password", "hosts/*/geth/keystore/*"),
    *("hosts/*/accounts/*/password", "hosts/*/accounts/*/keystore/*", "network/genesis.json"),
)


def kept(network: Network) -> dict[str, str]:
    """What there is of all that no later run may change."""
    paths = (path for pattern in FOR_EVER for path in network.directory.glob(pattern))
    return {str(path): path.read_text() for path in paths if not path.name.startswith(".")}


def play_on(network: Network, **variables: Any) -> Run:
    """Run network.yml to its end, which keeps what was there."""
    before = kept(network)
    run = network.play("network.yml", **variables)
    assert run.returncode == 0, run.output[-6000:]
    assert before.items() <= kept(network).items()
    return run


def assert_whole(network: Network) -> None:
    """The network is as after a run that nobody killed: it seals, on its genesis, and each service runs once."""
    record = network.record
    addresses = {host["address"] for host in record["hosts"].values() if host["role"] == "sealer"}
    assert len(addresses) == 2
    assert set(record["genesis"]["signers"]) == addresses
    # Of two signers neither seals two blocks in a row. Sealers that start after the time of the first block may each
    # have one of their own; then the gateway has to tell them of the heavier one, which takes it up to a minute.
    network.wait_for_blocks(3, 120)
    assert network.web3.eth.get_block(0)["hash"].to_0x_hex() == record["genesis"]["hash"]
    assert set(network.processes()) == SERVICES
    assert drafts(network.directory / "hosts") + drafts(network.directory / "network") == []


def assert_nothing_left_to_do(network: Network) -> None:
    """One more run changes nothing and restarts nothing."""
    processes = network.processes()
    run = network.play("network.yml")
    assert (run.returncode, run.changed) == (0, {}), run.output[-6000:]
    assert network.processes() == processes
