# SPDX-License-Identifier: GPL-3.0-or-later
"""What a user of the network would notice, quiet checks first. Each check fails where its cause is planted."""

from __future__ import annotations

import json
import os
import re
import secrets
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from itertools import count
from pathlib import Path

import pytest
from chain import check_block_is_kept, check_come_back, check_every_signer_seals, check_one_genesis, final_block, head
from hosts import Host, Network, docker, wait_until
from leaks import (
    ANSIBLE_DIR,
    LOG,
    NETWORK_DIR,
    PLACES,
    check_keys_are_kept,
    check_keys_are_of_the_first_run,
    check_no_secret_is_shown,
    fingerprints,
    leaks,
)
from ports import check_closed, firewall_rule
from trades import check_a_datagram_becomes_a_trade, check_a_stranger_is_not_heard, first_free_slot

CHECKOUT = Path(__file__).parents[3]
CANARY = "/var/lib/clique/canary.key"
# Of the network's own ports none is so high.
ODD_PORT = 47113
RESTART_S = 120


@pytest.fixture(scope="session")
def network() -> Network:
    return Network.from_environment()


@pytest.fixture(scope="session")
def slots(network: Network) -> Iterator[int]:
    """Slots that nobody traded yet, one after the other."""
    return count(first_free_slot(network))


@contextmanager
def everyone_may_send(gateway: Host) -> Iterator[None]:
    """The bridge answers whoever reaches it for a while."""
    config = "/var/lib/clique/bridge/config.json"
    kept = gateway.run("cat", config)
    try:
        restart_bridge(gateway, config, json.dumps(json.loads(kept) | {"listen_allow": None}).encode())
        yield
    finally:
        restart_bridge(gateway, config, kept)


def restart_bridge(gateway: Host, config: str, content: bytes) -> None:
    """Let the bridge run with another configuration, and wait until it listens."""
    gateway.shell('cat > "$1"', config, stdin=content)  # whose file it is stays
    gateway.run("systemctl", "restart", "clique-bridge")
    invocation = (
        gateway.run("systemctl", "show", "--property=InvocationID", "--value", "clique-bridge").decode().strip()
    )

    def listens() -> bool:
        said = gateway.run("journalctl", "--output=cat", f"_SYSTEMD_INVOCATION_ID={invocation}")
        return b"listening" in said

    wait_until(lambda: "the bridge to listen", listens, RESTART_S)


def test_every_signer_seals(network: Network) -> None:
    check_every_signer_seals(network)


def test_all_have_one_genesis(network: Network) -> None:
    check_one_genesis(network)


def test_a_second_genesis_is_noticed(network: Network) -> None:
    """One that has the same hash, because it differs in its period alone, on a second node of the gateway."""
    genesis = json.loads((network.network_dir / "genesis.json").read_text())
    genesis["config"]["clique"]["period"] += 2
    with second_node(network.gateway, json.dumps(genesis)) as second:
        changed = replace(network, hosts={**network.hosts, "gateway": second})
        with pytest.raises(AssertionError) as noticed:
            check_one_genesis(changed)
    assert set(re.findall(r"(\w+)'s (\w+) is", str(noticed.value))) == {("gateway", "digest"), ("gateway", "config")}


@contextmanager
def second_node(host: Host, genesis: str) -> Iterator[Host]:
    """A node beside the real one, with another genesis and nobody to talk to."""
    place = "/tmp/second"  # noqa: S108 - in the container
    node = replace(host, ipc=f"{place}/geth.ipc")
    host.shell(f"mkdir {place}; cat > {place}/genesis.json", stdin=genesis.encode())
    try:
        host.run("geth", f"--datadir={place}", "--state.scheme=hash", "init", f"{place}/genesis.json")
        flags = f"--datadir={place} --state.scheme=hash --cache=16 --nodiscover --maxpeers=0 --port=0 --authrpc.port=0"
        host.shell(f"geth {flags} > {place}/log 2>&1 & echo $! > {place}/pid")
        wait_until(lambda: "no answer of the second node", lambda: head(node) == 0, 60)
        yield node
    finally:
        host.shell(f"kill -KILL $(cat {place}/pid) || true; rm -r {place}")


def test_a_second_run_writes_no_key(network: Network) -> None:
    check_keys_are_of_the_first_run(network)


def test_a_key_that_is_written_later_is_noticed(network: Network) -> None:
    with canary(network.gateway), pytest.raises(AssertionError, match=rf"{CANARY}"):
        check_keys_are_of_the_first_run(network)


@contextmanager
def canary(host: Host) -> Iterator[str]:
    """A secret that lies where secrets lie."""
    secret = secrets.token_hex(32)
    host.shell(f"cat > {CANARY}", stdin=secret.encode())
    try:
        yield secret
    finally:
        host.run("rm", CANARY)


def test_a_secret_that_is_shown_is_noticed_wherever_it_is(network: Network, tmp_path: Path) -> None:
    sealer = network.hosts["sealer1"]
    log = tmp_path / "log"
    temporary = Path.home() / ".ansible/tmp" / f"canary-{os.getpid()}"
    planted = (network.network_dir / "canary", temporary)
    with canary(sealer) as secret, ExitStack() as stack:
        shutil.copy(network.log, log)
        with log.open("a") as text:
            text.write(f"changed: [sealer1] => {secret}\n")
        for path in planted:
            stack.callback(path.unlink)
            path.write_text(secret.upper())
        for command, undo in (
            ('SECRET=$1 python3 -c "import time; time.sleep(600)" "$1" > /dev/null 2>&1 & echo $!', "kill -KILL $1"),
            ('echo "the key is $1" | systemd-cat', ""),
            (
                'printf "[Service]\nEnvironment=KEY=$1\n" > /etc/systemd/system/canary.service',
                "rm /etc/systemd/system/canary.service",
            ),
            ('echo "{$1}" | base64 --wrap=0 > /tmp/canary', "rm /tmp/canary"),
        ):
            made = sealer.shell(command, secret).decode().strip()
            stack.callback(sealer.shell, undo, made)
        found = leaks(replace(network, log=log))
    everywhere = {LOG, NETWORK_DIR, ANSIBLE_DIR, *(f"sealer1's {place}" for place in PLACES)}
    assert found >= {("sealer1", CANARY, place) for place in everywhere}
    assert {path for _, path, _ in found} == {CANARY}


def test_closed_ports_are_closed(network: Network) -> None:
    check_closed(network.neighbour, list(network.hosts.values()), but=[])


def test_a_source_reaches_the_bridge_and_nothing_else(network: Network) -> None:
    check_closed(network.source, [network.gateway], but=[("gateway", "udp", network.bridge_port)])


def test_an_open_port_is_noticed(network: Network) -> None:
    sealer = network.hosts["sealer4"]
    kinds = [kind for address in sealer.addresses for kind in (("tcp6", "udp6") if ":" in address else ("tcp", "udp"))]
    expected = sorted(("sealer4", kind, ODD_PORT) for kind in kinds)
    with (
        firewall_rule(sealer, f"meta l4proto {{ tcp, udp }} th dport {ODD_PORT} accept"),
        pytest.raises(AssertionError, match=re.escape(f"{len(expected)} ports that should be closed: {expected}")),
    ):
        check_closed(network.neighbour, [sealer], but=[])


def test_a_datagram_becomes_a_trade(network: Network, slots: Iterator[int]) -> None:
    check_a_datagram_becomes_a_trade(network, next(slots))


def test_a_datagram_that_becomes_no_trade_is_noticed(network: Network, slots: Iterator[int]) -> None:
    with (
        firewall_rule(network.gateway, f"udp dport {network.bridge_port} drop"),
        pytest.raises(AssertionError, match="only this was answered"),
    ):
        check_a_datagram_becomes_a_trade(network, next(slots), periods=1)


def test_a_stranger_is_not_heard(network: Network, slots: Iterator[int]) -> None:
    check_a_stranger_is_not_heard(network, next(slots))


def test_a_stranger_that_is_heard_is_noticed(network: Network, slots: Iterator[int]) -> None:
    """The bridge does not hear it either, so it takes a hole in both."""
    with firewall_rule(network.gateway, f"udp dport {network.bridge_port} accept"):
        check_a_stranger_is_not_heard(network, next(slots))
        with everyone_may_send(network.gateway), pytest.raises(AssertionError, match="the neighbour"):
            check_a_stranger_is_not_heard(network, next(slots))


def test_a_changed_genesis_is_refused_and_nothing_is_lost(network: Network, tmp_path: Path) -> None:
    """One that differs only in its period, asked for by a variable; and one with another alloc, in place of the old."""
    keys, block = fingerprints(network), final_block(network)
    other = tmp_path / "network"
    shutil.copytree(network.network_dir, other)
    genesis = json.loads((other / "genesis.json").read_text())
    genesis["alloc"]["0x" + "1" * 40] = {"balance": "1"}
    (other / "genesis.json").write_text(json.dumps(genesis))
    check_refused(play(network, f"--extra-vars=clique_period_s={network.period_s + 2}"))
    check_refused(play(network, f"--extra-vars=clique_network_dir={other}", "--limit=sealer1"))
    check_one_genesis(network)
    check_keys_are_kept(network, keys)
    check_block_is_kept(network, *block)
    check_come_back(network, network.hosts.values(), since=head(network.gateway))

    with pytest.raises(AssertionError, match="was not refused"):
        check_refused(play(network, "--list-hosts"))
    with pytest.raises(AssertionError, match=CANARY):
        check_keys_are_kept(network, {**keys, "gateway": {**keys["gateway"], CANARY: "gone"}})
    with pytest.raises(AssertionError, match="sealer1"):
        check_block_is_kept(network, block[0], "0x" + "1" * 64)


def play(network: Network, *arguments: str) -> subprocess.CompletedProcess[str]:
    """What a user types who has changed something; it is said in the same log as everything else."""
    inventories = [f"--inventory={path}" for path in network.inventory]
    program = str(Path(sys.executable).with_name("ansible-playbook"))
    command = [program, *inventories, "-vvv", "--diff", *arguments, "playbooks/network.yml"]
    said = subprocess.STDOUT
    return subprocess.run(command, cwd=CHECKOUT, stdout=subprocess.PIPE, stderr=said, text=True, check=False)


def check_refused(run: subprocess.CompletedProcess[str]) -> None:
    """It ended with a sentence about the genesis, and had changed nothing."""
    assert run.returncode, "it was not refused"
    assert re.search(r"\[ERROR\]: .*genesis", run.stdout), run.stdout[-4000:]
    changed = re.findall(r"^(\S+) +: ok=\d+ +changed=([1-9]\d*)", run.stdout, re.MULTILINE)
    assert not changed, f"it changed {changed}"


def test_a_stopped_signer_is_noticed(network: Network) -> None:
    sealer = network.hosts["sealer3"]
    sealer.run("systemctl", "stop", "clique-geth")
    try:
        since = head(network.gateway)
        with pytest.raises(AssertionError, match=r"sealer3 did not come back: {'clique-geth': 'inactive'}"):
            check_come_back(network, [sealer], since=since)
        with pytest.raises(AssertionError, match="sealer3 0"):
            check_every_signer_seals(network, since=since, periods=6)
    finally:
        sealer.run("systemctl", "start", "clique-geth")
    check_come_back(network, [sealer], since=head(network.gateway))


def test_a_killed_geth_and_a_restarted_host_come_back(network: Network) -> None:
    killed, restarted = network.hosts["sealer1"], network.hosts["sealer2"]
    since = head(network.gateway)
    before = killed.run("systemctl", "show", "--property=MainPID", "--value", "clique-geth")
    killed.run("systemctl", "kill", "--signal=KILL", "clique-geth")
    docker("restart", restarted.container)
    check_come_back(network, [killed, restarted], since=since + 1)
    assert killed.run("systemctl", "show", "--property=MainPID", "--value", "clique-geth") != before


def test_after_a_power_cut_all_come_back_and_nothing_is_lost(network: Network, slots: Iterator[int]) -> None:
    keys, block, since = fingerprints(network), final_block(network), head(network.gateway)
    names = [host.container for host in network.hosts.values()]
    docker("kill", *names)
    docker("start", *names)
    check_come_back(network, network.hosts.values(), since=since + 1)
    check_every_signer_seals(network, since=since)
    check_keys_are_kept(network, keys)
    check_block_is_kept(network, *block)
    check_a_datagram_becomes_a_trade(network, next(slots))


def test_no_secret_is_shown(network: Network) -> None:
    check_no_secret_is_shown(network)
