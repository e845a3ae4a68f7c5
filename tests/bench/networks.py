# SPDX-License-Identifier: GPL-3.0-or-later
"""Networks brought up by site.yml, timed, and counted and weighed while they run."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from support.network import CHECKOUT, Network, wait_until

from bench import executions, programs
from bench.progress import timed
from bench.rows import Row

# Below the ports that the kernel gives to outgoing connections; a network takes 100 of them.
BASE_PORT = 26310
PERIOD_S = 5
PLAIN_NETWORK = Path(__file__).parent / "plain_network.sh"
PATIENCE_S = 60


@contextmanager
def running(network: Network) -> Iterator[Network]:
    """Let nothing of this network run afterwards, however it ends."""
    try:
        yield network
    finally:
        # Whoever is in a hurry presses Ctrl-C twice.
        on_interrupt = signal.signal(signal.SIGINT, signal.SIG_IGN)
        end_plays(network)
        network.stop()
        signal.signal(signal.SIGINT, on_interrupt)


def end_plays(network: Network) -> None:
    """End what an interrupted ansible-playbook left running; it could start further processes of the network."""
    mark = f"ANSIBLE_HOME={network.directory}/".encode()

    def gone() -> bool:
        pids = [int(environ.parent.name) for environ in Path("/proc").glob("[0-9]*/environ") if mark in read(environ)]
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)
        return not pids

    wait_until("Ansible to end", gone, PATIENCE_S)


def read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""


# --- sealing ----------------------------------------------------------------------------------------------------------


def sealing(scratch: Path, _wanted: frozenset[str]) -> Iterator[Row]:
    """Time site.yml's way from nothing to four sealing signers, and a plain script's."""
    with running(Network(scratch / "sealing", BASE_PORT, PERIOD_S)) as network:
        sealing_s, _ = timed("site.yml --tags build,network", lambda: network.bring_up("--tags", "build,network"))
    plain_s, _ = timed("plain_network.sh", lambda: plain_network(scratch / "plain", programs.built()))
    yield Row("sealing_s", sealing_s, plain_s)


def plain_network(directory: Path, bin_directory: Path) -> None:
    """Run the plain script until it says that all have sealed, and end it."""
    command = [str(PLAIN_NETWORK), str(directory), str(bin_directory), str(BASE_PORT + 100), str(PERIOD_S)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as script:
        try:
            said = next(iter(script.stdout or ()), "")
        finally:
            script.terminate()
            script.wait()
    assert said == "sealed\n", f"{PLAIN_NETWORK.name} failed, as it says above"


# --- the whole --------------------------------------------------------------------------------------------------------


def bring_up(scratch: Path, wanted: frozenset[str]) -> Iterator[Row]:
    """Time a first and a second run and weigh the processes in between; then time a first run with eight sealers."""
    with running(Network(scratch / "four", BASE_PORT + 200, PERIOD_S)) as network:
        bring_up_s, _ = timed("site.yml, four sealers", network.bring_up)
        yield Row("bring_up_s", bring_up_s)
        yield from (Row(f"rss_mib/{program}", mib) for program, mib in memory(network.processes()).items())
        if "second_run_s" in wanted:
            yield Row("second_run_s", timed("site.yml again", network.bring_up)[0])
    if "bring_up_8_s" in wanted:
        more = scratch / "more_sealers.json"
        hosts = {f"sealer{number}": {"clique_node_number": number} for number in range(5, 9)}
        more.write_text(json.dumps({"sealers": {"hosts": hosts}}))
        inventories = (CHECKOUT / "inventories/local", more)
        with running(Network(scratch / "eight", BASE_PORT + 300, PERIOD_S, inventories=inventories)) as network:
            yield Row("bring_up_8_s", timed("site.yml, eight sealers", network.bring_up)[0], bring_up_s)


def memory(processes: Mapping[str, int]) -> dict[str, float]:
    """Resident memory in MiB of each kind of process, of the largest where there are several."""
    largest: dict[str, float] = {}
    for name, pid in processes.items():
        host, service = name.split("/")
        program = f"geth-{host.rstrip('0123456789')}" if service == "geth" else service
        fields = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
        largest[program] = max(largest.get(program, 0), int(fields["VmRSS"].removesuffix("kB")) / 1024)
    return largest


# --- modules ----------------------------------------------------------------------------------------------------------


def module_executions(scratch: Path, wanted: frozenset[str]) -> Iterator[Row]:
    """Count the modules of a first and a second run, in runs of their own: saying so much takes Ansible time."""
    with running(Network(scratch / "counted", BASE_PORT + 400, PERIOD_S)) as network:
        yield from executed("first", network)
        if any("/second/" in name for name in wanted):
            yield from executed("second", network)


def executed(run: str, network: Network) -> Iterator[Row]:
    _, said = timed(f"site.yml -vvv, {run} run", lambda: network.bring_up("-vvv"))
    sent = executions.count(said.output)
    most = {
        "sealer": max(sent[host] for host in said.hosts if host.startswith("sealer")),
        "gateway": sent["gateway"],
        "controller": sent["localhost"],
    }
    yield from (Row(f"module_executions_per_host/{run}/{role}", number) for role, number in most.items())
