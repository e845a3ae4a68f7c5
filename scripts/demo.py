# SPDX-License-Identifier: GPL-3.0-or-later
"""A network on this machine, for one person and no Pi: bring it up, look at it, stop it, remove it.

`up` starts on whatever python3 there is, makes .venv and goes on in there; all else that it writes is below .demo.
"""

import argparse
import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import environment
from environment import CHECKOUT, VENV, stop

# For _preflight, which needs no collection around it; it is imported where Python is known to be new enough to read it.
sys.path.insert(0, str(CHECKOUT / "plugins/module_utils"))

DEMO = CHECKOUT / ".demo"
SETTINGS = DEMO / "demo.json"
SUMMARY = DEMO / "summary.json"
ANSIBLE_HOME = DEMO / "ansible"
SITE_LOG = DEMO / "log/site.log"
BRIDGE = DEMO / "hosts/gateway/bridge"
REPORT = DEMO / "simulation.json"

BASE_PORT, PORTS = 30310, 100
CHAIN_ID = 1337
DAY_S, SLOTS_PER_DAY = 86400, 96
FIRST_SLOT = 36  # 9 o'clock, when there is sun
INTERVAL_S = 2
SETTLE_S = 300
PHASES = ("geth", "network", "contracts", "bridge")
SHUTDOWN_S = 200  # geth gets 180 s to write its state


# --- bringing it up ---------------------------------------------------------------------------------------------------


def up(options: argparse.Namespace) -> None:
    """Make the environment, then everything else inside it."""
    base_port = options.base_port or recorded_base_port()
    if options.environment_s is None:
        environment.check_machine()
        check_place(base_port)
        since = time.monotonic()
        environment.make([])
        go_on_in_environment("--environment-s", f"{time.monotonic() - since:.1f}")
    for stale in (SUMMARY, REPORT):
        if stale.exists():
            stale.unlink()
    (DEMO / "tmp").mkdir(parents=True, exist_ok=True)
    SETTINGS.write_text(json.dumps({"base_port": base_port}))
    seconds = {"environment": options.environment_s, **site(base_port)}
    since = time.monotonic()
    settled = simulate(base_port, options.slots)
    seconds["simulation"] = round(time.monotonic() - since, 1)
    summarise(base_port, seconds)
    if not settled:
        stop(f"not every reading has settled, see above; the bridge's log is {DEMO / 'hosts/gateway/log/bridge.log'}")


def go_on_in_environment(*more: str) -> None:
    """Run this same command with the Python of .venv instead; does not come back."""
    python = str(VENV / "bin/python")
    os.execv(python, [python, __file__, *sys.argv[1:], *more])  # noqa: S606


def recorded_base_port() -> int:
    return int(json.loads(SETTINGS.read_text())["base_port"]) if SETTINGS.exists() else BASE_PORT


def check_place(base_port: int) -> None:
    """Say where this checkout lies too deep for sockets, and who holds one of the network's ports."""
    from _preflight import Port, Requirements, problems, socket_path_problem  # noqa: PLC0415

    gateway = DEMO / "hosts/gateway"
    too_deep = socket_path_problem(gateway)
    if too_deep:
        stop(too_deep)
    ports = [Port(base_port + n, protocol, "127.0.0.1") for n in range(PORTS) for protocol in ("tcp", "udp")]
    found = problems(Requirements(gateway, tuple(ports), own_directory=gateway.parent))
    if found:
        others = f"The demo takes {PORTS} ports; others are chosen like this: make demo BASE_PORT=31310"
        stop("\n".join([*found, others]))


def child_environment() -> "dict[str, str]":
    """Keep everybody's temporary files and caches below .demo, and give Ansible the locale that it insists on."""
    ours = {
        "PATH": f"{VENV / 'bin'}{os.pathsep}{os.environ['PATH']}",
        "ANSIBLE_HOME": ANSIBLE_HOME,
        "ANSIBLE_NOCOLOR": "true",
        "LC_ALL": "C.UTF-8",
        "TMPDIR": DEMO / "tmp",
    }
    return {**os.environ, **{key: str(value) for key, value in ours.items()}}


def site(base_port: int) -> "dict[str, float]":
    """Run site.yml and name each task as it starts; return the seconds of each phase (the first word of a play)."""
    extra = json.dumps({"clique_base_port": base_port, "clique_chain_id": CHAIN_ID})
    command = [str(VENV / "bin/ansible-playbook"), "-i", "inventories/local", "playbooks/site.yml", "-e", extra]
    seconds = dict.fromkeys(PHASES, 0.0)
    phase, since, said, failed = PHASES[0], time.monotonic(), "", False
    SITE_LOG.parent.mkdir(exist_ok=True)
    run = subprocess.Popen(
        command,
        cwd=CHECKOUT,
        env=child_environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    with run, SITE_LOG.open("w") as log:
        for line in run.stdout or ():
            log.write(line)
            failed = failed or line.startswith(("fatal:", "[ERROR]"))
            play = re.match(r"PLAY \[((\w+): .*)\]", line)
            task = re.match(r"TASK \[(?:\S+ : )?(.*)\]", line)
            if play:
                now = time.monotonic()
                seconds[phase] += now - since
                phase, since = play[2].lower() if play[2].lower() in PHASES else phase, now
            text = said
            if failed:
                text = line.rstrip()
            elif play:
                text = f"\n{play[1]}"
            elif task and not task[1].startswith("Validating"):
                text = f"  · {task[1]}"
            if failed or text != said:  # a play that takes its hosts one by one comes back for each of them
                print(text, flush=True)
            said = text
    seconds[phase] += time.monotonic() - since
    if run.returncode != 0:
        stop(f"the network could not be brought up; why is said above, and all of it stands in {SITE_LOG}")
    return {phase: round(spent, 1) for phase, spent in seconds.items()}


def bridge_command(*arguments: str) -> "list[str]":
    return [str(VENV / "bin/python"), "-m", "energy_bridge", *arguments]


def bridge_status() -> "dict[str, Any]":
    command = bridge_command("status", "--json", "--config", str(BRIDGE / "config.json"))
    run = subprocess.run(command, stdout=subprocess.PIPE, check=True)
    return dict(json.loads(run.stdout))


def simulate(base_port: int, slots: int) -> bool:
    """Play slots that were not played before, one data set every two seconds; whether all of it has settled."""
    quarters = f"{slots} quarter-hours of load, PV, CHP, battery and grid"
    print(f"\nSimulation: {quarters}, one every {INTERVAL_S} s", flush=True)
    arguments = {
        "--bridge": f"127.0.0.1:{base_port + 91}",
        "--source-keys": BRIDGE / "source-keys.json",
        "--slots": slots,
        "--start-slot": bridge_status()["next_slot"] or int(time.time()) // DAY_S * SLOTS_PER_DAY + FIRST_SLOT,
        "--interval-s": INTERVAL_S,
        "--settle-s": SETTLE_S,
        "--report": REPORT,
    }
    command = bridge_command("simulate", *(str(word) for pair in arguments.items() for word in pair))
    return subprocess.run(command, check=False).returncode == 0


# --- looking at it ----------------------------------------------------------------------------------------------------


def look(base_port: int) -> "tuple[Any, str, dict[str, Any]]":
    """Read the chain once; the summary.Chain, what a person reads of it, and what programs do."""
    import summary  # noqa: PLC0415 - web3 is only there inside .venv

    network = json.loads((DEMO / "network/network.json").read_text())
    deployment = DEMO / f"network/deployments/{CHAIN_ID}/EnergyMarket.json"
    artifact = deployment.with_suffix(".artifact.json")
    market = json.loads(deployment.read_text())["address"]
    rpc_url = f"http://127.0.0.1:{base_port + 90}"
    chain = summary.read_chain(rpc_url, market, json.loads(artifact.read_text())["abi"], time.time())
    names = {host["address"]: name for name, host in network["hosts"].items() if host["address"]}
    document = {
        "chain_id": CHAIN_ID,
        "genesis_hash": chain.genesis_hash,
        "rpc_url": rpc_url,
        "bridge_udp": f"127.0.0.1:{base_port + 91}",
        "bridge_http": f"http://127.0.0.1:{base_port + 92}",
        "head": chain.head,
        "signers": chain.signers,
        "trades": {"made": bridge_status()["trades"]["made"], "settled": len(chain.trades)},
        "duplicated": summary.duplicated(chain.trades),
        "market": {
            "address": market,
            "artifact": str(artifact.relative_to(CHECKOUT)),
            "energy_traded_wh": chain.energy_traded_wh,
            "energy_held_wh": chain.energy_held_wh,
        },
    }
    return chain, f"{summary.as_text(chain, names)}\nMarket      {market}", document


def summarise(base_port: int, seconds: "dict[str, float]") -> None:
    """Print the summary that ends `make demo`, and write it to .demo/summary.json."""
    import summary  # noqa: PLC0415

    chain, text, document = look(base_port)
    report = json.loads(REPORT.read_text())
    document["readings"] = {"sent": report["sent"], "stored": report["stored"]}
    document["lost"] = summary.lost(report["readings"], chain)
    document["seconds"] = seconds
    SUMMARY.write_text(json.dumps(document, indent=2) + "\n")
    took = ", ".join(f"{phase} {spent:.0f} s" for phase, spent in seconds.items())
    print(f"""
──────────────────────────────────────────────────────────────────────────────
{text}
Readings    {report["sent"]} sent, {report["stored"]} stored, {report["settled"]} settled; \
lost {document["lost"]}, settled twice {document["duplicated"]}
Time        {took}

The network keeps running. Where to look next
  {document["bridge_http"]}/                  what everybody trades, saves and owns, and whether all is well
  make demo-status                         the network as it is now
  make demo                                another stretch of the day, on the same chain
  .venv/bin/energy-bridge reconcile --config .demo/hosts/gateway/bridge/config.json
                                           its database against the chain; status shows it, --help what else there is
  {document["bridge_http"]}/healthz           is all well? /metrics for Prometheus
  {document["rpc_url"]}                   JSON-RPC for web3, ethers or a wallet (chain id {CHAIN_ID})
  {document["market"]["artifact"]}
                                           the market's ABI and address
  make demo-down, make demo-clean          stop it; stop and remove it
──────────────────────────────────────────────────────────────────────────────""")


def status(_options: argparse.Namespace) -> None:
    """Print the network as it is now, and exit with 1 where something of it does not run."""
    running = set(processes().values())
    if not running:
        stop("no demo is running here; start one: make demo")
    if Path(sys.prefix) != VENV:
        go_on_in_environment()
    wanted = {f"{path.parent.parent.name}/{path.stem}" for path in (DEMO / "hosts").glob("*/services/*.conf")}
    print(f"Processes   {', '.join(sorted(running & wanted))}")
    missing = ", ".join(sorted(wanted - running))
    from web3.exceptions import Web3Exception  # noqa: PLC0415

    try:
        print(look(recorded_base_port())[1])
    except (OSError, Web3Exception) as error:
        stop(
            f"the market cannot be asked ({error}); not running: {missing or 'nothing'}; `make demo` goes on from here"
        )
    if missing:
        stop(f"these do not run: {missing}; `make demo` starts them")


# --- taking it down ---------------------------------------------------------------------------------------------------


def processes() -> "dict[int, str]":
    """host/service of each process of this demo that runs, by pid."""
    from _preflight import services_below  # noqa: PLC0415

    return services_below(DEMO / "hosts")


def plays() -> "dict[int, str]":
    """What an interrupted run of Ansible left running, by pid: it could start further processes of the network."""
    from _preflight import environment_of, pids  # noqa: PLC0415

    homes = {pid: environment_of(pid).get("ANSIBLE_HOME") for pid in pids() if pid != os.getpid()}
    return {pid: "ansible" for pid, home in homes.items() if home == str(ANSIBLE_HOME)}


def end(found: "Callable[[], dict[int, str]]") -> None:
    """End these processes with SIGTERM, and wait until they are gone; those that come meanwhile too."""
    asked: set[int] = set()
    deadline = time.monotonic() + SHUTDOWN_S
    left = found()
    while left and time.monotonic() < deadline:
        for pid in set(left) - asked:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)
        asked.update(left)
        time.sleep(0.2)
        left = found()
    if left:
        stop(f"these processes do not stop: {', '.join(map(str, left))}; their logs are in {DEMO / 'hosts'}")


def down(_options: argparse.Namespace) -> None:
    """Stop every process of the demo and keep its data; geth gets the time to write its state."""
    if DEMO.exists() and os.geteuid() not in (0, DEMO.stat().st_uid):
        stop(f"{DEMO} and what runs there belong to another user, who has to stop it")
    running = bool(processes())
    end(plays)
    # supervisord stops its programs and ends; whatever outlived one that was killed is stopped after that.
    end(lambda: {pid: name for pid, name in processes().items() if name.endswith("/supervisord")})
    end(processes)
    print("the network is stopped; .demo keeps its chain, and `make demo` continues it" if running else "nothing ran")


def clean(options: argparse.Namespace) -> None:
    """Stop the demo and remove all that it made."""
    down(options)
    if DEMO.exists():
        shutil.rmtree(DEMO)
        print(".demo removed")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    commands = parser.add_subparsers(metavar="command")
    for command in (up, status, down, clean):
        sub = commands.add_parser(command.__name__, help=command.__doc__)
        sub.set_defaults(command=command)
        if command is up:
            ports = f"the network takes {PORTS} ports from here (default {BASE_PORT})"
            sub.add_argument("--slots", type=int, default=12, help="quarter-hours to play")
            sub.add_argument("--base-port", type=int, help=ports)
            sub.add_argument("--environment-s", type=float, help=argparse.SUPPRESS)
    options = parser.parse_args()
    try:
        options.command(options)
    except KeyboardInterrupt:
        stop("interrupted; `make demo` goes on from here, `make demo-down` stops what runs")


if __name__ == "__main__":
    main()
