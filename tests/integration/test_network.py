# SPDX-License-Identifier: GPL-3.0-or-later
"""The network as a user finds it after site.yml: seen through its RPC by web3, its files and its processes."""

import json
import os
import signal
import socket
import time
from collections.abc import Iterable
from contextlib import closing, suppress
from itertools import count, pairwise
from pathlib import Path
from typing import Any

import pytest
from energy_bridge.batch import BatchTrade
from energy_bridge.model import Reading
from energy_bridge.wire import decode_answer, encode_reading
from support.chain import settled_batches
from support.network import Network, Run, wait_until
from support.readings import send_readings
from web3 import Web3

WINDOW = 8
GRID_BUYS_WEI_PER_WH = 60 * 10**9  # the demo's tariff, whatever the grid itself says
PATIENCE_PERIODS = 24


def wait_for_all_to_seal(network: Network, expected: set[str], since: int) -> None:
    """Within 24 periods there is a window of 8 blocks in which everyone expected sealed."""

    def window() -> bool:
        head = network.web3.eth.block_number
        sealed_by = {number: network.signer_of(number) for number in range(since, head + 1)}
        return any(
            expected <= {sealed_by[number] for number in range(first, first + WINDOW)}
            for first in range(since, head - WINDOW + 2)
        )

    wait_until(f"{expected} in a window of {WINDOW} blocks", window, PATIENCE_PERIODS * network.period_s)


def sealers(network: Network) -> dict[str, str]:
    """Address of each sealer that the genesis authorises, by host."""
    record = network.record
    signers = record["genesis"]["signers"]
    return {name: host["address"] for name, host in record["hosts"].items() if host["address"] in signers}


def started_at(pid: int) -> float:
    """When a process was started, in seconds since the epoch."""
    ticks = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19])
    booted = next(line for line in Path("/proc/stat").read_text().splitlines() if line.startswith("btime"))
    return int(booted.split()[1]) + ticks / os.sysconf("SC_CLK_TCK")


def test_site_says_nothing_that_worries(bring_up: tuple[Network, Run]) -> None:
    output = bring_up[1].output
    assert "[WARNING]" not in output
    assert "[DEPRECATION WARNING]" not in output


def test_every_signer_seals(network: Network) -> None:
    wait_for_all_to_seal(network, set(sealers(network).values()), max(1, network.web3.eth.block_number - WINDOW))


def test_nodes_have_the_genesis_hash_that_was_computed_without_geth(network: Network) -> None:
    assert network.web3.eth.get_block(0)["hash"].to_0x_hex() == network.record["genesis"]["hash"]


def test_sealers_had_found_each_other_before_the_first_block(network: Network) -> None:
    in_turn = 2
    assert network.web3.eth.get_block(1)["difficulty"] == in_turn


def test_only_the_gateways_node_and_bridge_answer_http(network: Network) -> None:
    gateways = {network.base_port + 90, network.base_port + 92}
    for port in range(network.base_port, network.base_port + 100):
        with closing(socket.socket()) as client:
            client.settimeout(1)
            if client.connect_ex(("127.0.0.1", port)):
                continue
            client.sendall(b"GET / HTTP/1.0\r\n\r\n")
            try:
                speaks_http = client.recv(8).startswith(b"HTTP/")
            except OSError:
                speaks_http = False
        # The engine API answers too; it is closed to everyone without its secret.
        authenticated = range(network.base_port + 30, network.base_port + 51)
        assert speaks_http is (port in gateways) or port in authenticated


def test_keys_are_closed_to_others(network: Network) -> None:
    secrets = [
        *network.directory.glob("hosts/*/node.key"),
        *network.directory.glob("hosts/*/boot.key"),
        *network.directory.rglob("password"),
        *network.directory.rglob("keystore/*"),
        *network.directory.rglob("source-keys.json"),
    ]
    assert len(secrets) > 15
    assert {path for path in secrets if path.stat().st_mode & 0o077} == set()


def test_no_secret_is_in_the_output_or_in_an_argument(bring_up: tuple[Network, Run]) -> None:
    network, run = bring_up
    files = [*network.directory.rglob("password"), *network.directory.rglob("*.key")]
    secrets = [path.read_text().strip() for path in files]
    command_lines = "".join(
        Path(f"/proc/{pid}/cmdline").read_text(errors="replace") for pid in network.processes().values()
    )
    assert [secret for secret in secrets if secret in run.output + command_lines] == []


def test_a_second_run_changes_nothing(network: Network) -> None:
    before = network.processes()
    run = network.bring_up()
    assert run.changed == {}
    assert network.processes() == before


def test_check_mode_foresees_nothing_to_do(network: Network) -> None:
    run = network.play("site.yml", "--check", "--diff")
    assert run.returncode == 0, run.output[-4000:]
    assert run.changed == {}


def test_check_mode_on_an_empty_directory_writes_nothing_and_fails_nowhere(second_directory: Path) -> None:
    second_directory.mkdir()
    empty = Network(second_directory, 32310)
    run = empty.play("site.yml", "--check", "--diff")
    assert run.returncode == 0, run.output[-4000:]
    left = {path.relative_to(second_directory).parts[0] for path in second_directory.rglob("*")}
    # Ansible's own: its home, and the folder it puts modules in before it runs them.
    assert left <= {"ansible", "tmp"}
    assert all(counts["changed"] for counts in run.hosts.values())


def test_a_killed_geth_comes_back_with_its_key_and_nobody_else_restarts(network: Network) -> None:
    before = network.processes()
    key = (network.host("sealer2") / "node.key").read_text()
    os.kill(before["sealer2/geth"], signal.SIGKILL)
    wait_until(
        "sealer2's geth to come back",
        lambda: network.processes().get("sealer2/geth", before["sealer2/geth"]) != before["sealer2/geth"],
        30,
    )
    wait_for_all_to_seal(network, {sealers(network)["sealer2"]}, network.web3.eth.block_number + 1)
    after = network.processes()
    assert {name for name in before if before[name] != after[name]} == {"sealer2/geth"}
    assert (network.host("sealer2") / "node.key").read_text() == key


def test_the_chain_goes_on_without_the_sealer_that_sealed_last(network: Network) -> None:
    """The plain release halts now and then for ever when it is this one that stops: see roles/geth_build."""
    wait_for_all_to_seal(network, set(sealers(network).values()), max(1, network.web3.eth.block_number - WINDOW))
    last = network.signer_of(network.web3.eth.block_number)
    host = {address: name for name, address in sealers(network).items()}[last]
    pid = network.processes()[f"{host}/geth"]
    os.kill(pid, signal.SIGSTOP)
    try:
        network.wait_for_blocks(6, PATIENCE_PERIODS)
    finally:
        os.kill(pid, signal.SIGCONT)
    wait_for_all_to_seal(network, set(sealers(network).values()), network.web3.eth.block_number + 1)


def test_a_datagram_ends_as_a_trade_with_the_right_balances(network: Network) -> None:
    market, accounts = network.market(), network.actors()
    slot = int(time.time()) // 900 + 30_000
    day = slot * 900 // 86_400

    def state() -> dict[str, tuple[int, int]]:
        view = market.functions
        return {
            name: (view.balanceOf(account, day).call(), view.weiOf(account).call())
            for name, account in accounts.items()
        }

    before = state()
    answers = send_readings(
        ("127.0.0.1", network.base_port + 91),
        json.loads((network.host("gateway") / "bridge/source-keys.json").read_text()),
        slot,
        {"pv": (1.5, 0.1), "load": (-1.0, 0.3), "chp": (0, 0.2), "battery": (0, 0.2), "grid": (0, 0.2)},
    )
    assert {answer["status"] for answer in answers.values()} == {"stored"}
    from_block = network.web3.eth.block_number
    trades = wait_until(
        "the trades on the chain",
        lambda: [
            trade
            for batch in settled_batches(market, from_block=from_block)
            for trade in batch.trades
            if trade.slot == slot
        ],
        PATIENCE_PERIODS * network.period_s,
    )
    milliether = 10**15  # 1 ether per kWh is 10^15 wei per Wh
    assert trades == [
        BatchTrade(accounts["pv"], accounts["load"], 1000, milliether // 10, slot),
        BatchTrade(accounts["pv"], accounts["grid"], 500, GRID_BUYS_WEI_PER_WH, slot),
    ]
    gained = {name: (now[0] - before[name][0], now[1] - before[name][1]) for name, now in state().items()}
    assert gained == {
        "pv": (0, 100 * milliether + 500 * GRID_BUYS_WEI_PER_WH),
        "load": (1000, -100 * milliether),
        "grid": (500, -500 * GRID_BUYS_WEI_PER_WH),
        "chp": (0, 0),
        "battery": (0, 0),
    }


def test_a_source_changes_its_secret_without_a_gap(network: Network) -> None:
    path = network.host("gateway") / "bridge/source-keys.json"
    bridge = ("127.0.0.1", network.base_port + 91)
    former = bytes.fromhex(json.loads(path.read_text())["pv"])
    taken = {name: pid for name, pid in network.processes().items() if name != "gateway/bridge"}
    seqs = count()

    def answer(*keys: bytes) -> dict[str, Any]:
        """The first answer to several readings, each under a key of its own; they are repeated as meters do."""
        slot = int(time.time()) // 900 + 10_000
        readings = [(Reading("pv", 2, next(seqs), time.time(), slot, 0, 0), key) for key in keys]
        with closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as client:
            client.settimeout(1)

            def ask() -> dict[str, Any] | None:
                for reading, key in readings:
                    client.sendto(encode_reading(reading, key), bridge)
                with suppress(TimeoutError):
                    return decode_answer(client.recv(512), keys[-1])
                return None

            return wait_until("an answer", ask, 60)

    run = network.play("rotate_source_keys.yml", "-e", "sources=pv")
    assert (run.returncode, run.changed) == (0, {"gateway": 2}), run.output[-4000:]
    new, old = map(bytes.fromhex, json.loads(path.read_text())["pv"])
    assert old == former
    assert [answer(key)["status"] for key in (old, new)] == ["stored", "stored"]
    run = network.play("rotate_source_keys.yml", "-e", "sources=pv", "-e", "retire=true")
    assert run.returncode == 0, run.output[-4000:]
    assert json.loads(path.read_text())["pv"] == new.hex()
    assert answer(old, new)["seq"] == 3
    assert {name: pid for name, pid in network.processes().items() if name != "gateway/bridge"} == taken
    assert network.bring_up().changed == {}


def test_no_sealer_is_restarted_while_too_few_others_are_there(network: Network) -> None:
    network.stop_host("sealer4")
    before = network.processes()
    run = network.play("site.yml", "--limit", "sealer1", geth_node_verbosity=2)
    assert run.returncode != 0
    assert "only 2 are connected and seal, and 3 are needed" in run.said
    assert network.processes() == before
    assert set(network.bring_up().changed) == {"sealer4"}


def test_limit_reaches_one_host_of_a_network_that_exists(network: Network) -> None:
    run = network.bring_up("--limit", "sealer3")
    assert set(run.hosts) == {"sealer3"}
    assert run.changed == {}


@pytest.mark.parametrize("playbook", ["site.yml", "network.yml"])
def test_a_first_run_with_a_limit_is_refused_and_names_who_is_missing(second_directory: Path, playbook: str) -> None:
    run = Network(second_directory, 32310).play(playbook, "--limit", "sealer1,sealer2,gateway")
    assert run.returncode != 0
    assert "sealer3, sealer4" in run.said
    assert not (second_directory / "hosts").exists()


def test_a_port_that_somebody_else_holds_is_named_with_its_pid(second_directory: Path) -> None:
    with closing(socket.socket()) as holder:
        holder.bind(("127.0.0.1", 32311))
        holder.listen()
        run = Network(second_directory, 32310).play("site.yml")
    assert run.returncode != 0
    assert "32311" in run.said
    assert str(os.getpid()) in run.said
    assert not (second_directory / "hosts").exists()


def test_a_genesis_that_would_differ_is_refused_and_nothing_is_lost(network: Network) -> None:
    before = network.processes()
    genesis = (network.directory / "network/genesis.json").read_bytes()
    run = network.play("site.yml", clique_period_s=7)
    assert run.returncode != 0
    assert "period" in run.said
    assert (network.directory / "network/genesis.json").read_bytes() == genesis
    assert network.processes() == before


def test_a_node_whose_key_changed_is_refused(network: Network) -> None:
    key = network.host("sealer1") / "node.key"
    own = key.read_bytes()
    key.write_text("01" * 32)
    try:
        run = network.play("network.yml")
    finally:
        key.write_bytes(own)
    assert run.returncode != 0
    assert "SD card" in run.said
    assert "run replace_sealer.yml -e sealer=sealer1" in run.said


def test_a_sealer_that_is_not_a_signer_runs_as_a_full_node_and_is_named(network: Network, tmp_path: Path) -> None:
    newcomer = tmp_path / "newcomer.json"
    newcomer.write_text(json.dumps({"sealers": {"hosts": {"sealer5": {"clique_node_number": 5}}}}))
    grown = Network(
        network.directory, network.base_port, network.period_s, inventories=(*network.inventories, newcomer)
    )
    before = network.processes()
    run = grown.bring_up()
    after = network.processes()
    assert {name: after[name] for name in before} == before, "adding a host restarts nobody"
    assert f"sealer5 ({network.record['hosts']['sealer5']['address']}) is not authorised to seal" in run.said
    address = network.record["hosts"]["sealer5"]["address"]
    assert address not in network.record["genesis"]["signers"]
    assert "--mine" not in Path(f"/proc/{after['sealer5/geth']}/cmdline").read_text().split("\0")
    newcomer_node = Web3(Web3.IPCProvider(network.host("sealer5") / "geth/geth.ipc"))
    wait_until("the newcomer to follow the chain", lambda: newcomer_node.eth.block_number > 0, 60)
    assert grown.bring_up("--limit", "sealer5").changed == {}


def program_of(pids: Iterable[int]) -> Path:
    """The one program that all these processes run."""
    (program,) = {Path(f"/proc/{pid}/exe").readlink() for pid in pids}
    return program


@pytest.mark.parametrize(
    "change",
    [
        pytest.param({"geth_node_verbosity": 4}, id="another flag"),
        pytest.param({"geth_build_ldflags": "", "geth_node_verbosity": 4}, id="another program"),
    ],
)
def test_a_changed_definition_restarts_sealers_one_at_a_time(network: Network, change: dict[str, Any]) -> None:
    before, head = network.processes(), network.web3.eth.block_number
    # A sealer that another test added is not in this inventory.
    nodes = {f"{host}/geth" for host in ("gateway", *sealers(network))}
    program = program_of(before[name] for name in nodes)
    rebuilt = "geth_build_ldflags" in change
    network.bring_up(**change)
    after = network.processes()
    assert (program_of(after[name] for name in nodes) != program) == rebuilt
    # The bootnode's program is built with the same flags.
    restarted = nodes | {"gateway/bootnode"} if rebuilt else nodes
    assert {name for name in before if before[name] != after[name]} == restarted
    sealed = [
        (network.signer_of(number), network.web3.eth.get_block(number)["timestamp"])
        for number in range(head, network.web3.eth.block_number + 1)
    ]
    restarts = sorted((started_at(after[f"{host}/geth"]), signer) for host, signer in sealers(network).items())
    for (earlier, signer), (later, _next) in pairwise(restarts):
        back = any(by == signer and int(earlier) <= time_s <= later for by, time_s in sealed)
        assert back, "the next sealer did not wait until this one had sealed again"
