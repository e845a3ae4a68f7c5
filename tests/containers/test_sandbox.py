# SPDX-License-Identifier: GPL-3.0-or-later
"""The sandbox of the units as the roles write them: how tight it is, and that it forbids nothing that is needed."""

import json
import re
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.smartenergy.clique.plugins.module_utils._wait import wait_until
from support.containers import Host
from support.node import make_genesis
from support.roles import play_role

ACCOUNT = {"user": "clique", "group": "clique", "service_manager": "systemd"}
NOBODY = "0x" + "1" * 40
ROLES: dict[str, tuple[str, Mapping[str, Any]]] = {
    "geth": ("geth_node", {"directory": "/var/lib/clique", "ip": "192.0.2.11", "memory_mib": 920}),
    "bootnode": ("bootnode", {"directory": "/var/lib/clique", "ip": "192.0.2.15"}),
    "bridge": (
        "udp_bridge",
        {
            "directory": "/var/lib/clique/bridge",
            "python": "/opt/energy-bridge/bin/python",
            "market": {"address": NOBODY, "abi": "/var/lib/clique/abi.json"},
            "operator": {"keystore": "/var/lib/clique/keystore", "password_file": "/var/lib/clique/password"},
            "actors": [{"name": "grid", "address": NOBODY, "kind": "grid"}],
        },
    ),
}
MOST = 2.0
PLACE = "/var/lib/sealer"
IPC = f"{PLACE}/geth/geth.ipc"


@pytest.mark.parametrize("name", list(ROLES))
def test_how_exposed_a_unit_is(host: Host, tmp_path: Path, name: str) -> None:
    role, variables = ROLES[name]
    given = {f"{role}_{key}": value for key, value in {**variables, **ACCOUNT}.items()}
    said = play_role(role, tmp_path, given, "--check", "--diff", hosts=["one"])
    found = re.search(rf"clique-{name}\.service:\n(.*?)\n\+ +multi-user", said.output, re.DOTALL)
    assert found, said.output
    unit = "\n".join(yaml.safe_load(re.sub(r"^\+", "", found[1], flags=re.MULTILINE)))
    path = f"/tmp/clique-{name}.service"  # noqa: S108  in the container
    host.run("python3", "-c", "import sys, pathlib; pathlib.Path(sys.argv[1]).write_text(sys.argv[2])", path, unit)
    rated = host.run("systemd-analyze", "security", "--no-pager", "--offline=yes", path)
    (exposure,) = re.findall(r"Overall exposure level for \S+: ([0-9.]+)", rated)
    print(f"exposure of clique-{name}.service: {exposure}")
    assert float(exposure) <= MOST, rated
    assert "User=clique" in unit


def test_geth_seals_where_a_forbidden_call_would_kill_it(host: Host, binaries: dict[str, Path]) -> None:
    """In its unit such a call fails with EPERM, which nobody would see: here it would be seen."""
    geth = "/usr/local/bin/geth"
    subprocess.run(["docker", "cp", str(binaries["geth"]), f"{host.name}:{geth}"], check=True)
    host.run("install", "--directory", "--owner=pi", "--group=pi", "--mode=0700", PLACE)
    as_pi = ("runuser", "-u", "pi", "--")
    host.run(*as_pi, "sh", "-c", f"umask 077; echo secret > {PLACE}/password")
    secret = f"--password={PLACE}/password"
    made = host.run(*as_pi, geth, f"--datadir={PLACE}/geth", "--lightkdf", "account", "new", secret)
    (address,) = re.findall(r"0x[0-9a-fA-F]{40}", made)
    genesis = json.dumps(make_genesis([address]))
    host.run(*as_pi, "sh", "-c", f'echo "$0" > {PLACE}/genesis.json', genesis)
    host.run(*as_pi, geth, f"--datadir={PLACE}/geth", "--state.scheme=hash", "init", f"{PLACE}/genesis.json")
    drop_in = "/etc/systemd/system/clique-sealer.service.d"
    kill = f"mkdir {drop_in} && printf '[Service]\\nSystemCallErrorNumber=kill\\nRestart=no\\n' > {drop_in}/kill.conf"
    host.run("sh", "-c", kill)
    flags = [f"--datadir={PLACE}/geth", f"--ipcpath={IPC}", "--networkid=1337", "--cache=128", "--snapshot=false"]
    sealing = [secret, f"--unlock={address}", f"--miner.etherbase={address}", "--mine"]
    alone = ["--state.scheme=hash", "--gcmode=archive", "--syncmode=full", "--bootnodes=", "--netrestrict=127.0.0.0/8"]
    asked = {
        "name": "sealer",
        "manager": "systemd",
        "directory": PLACE,
        "writable": [f"{PLACE}/geth"],
        "user": "pi",
        "argv": [geth, *flags, *sealing, *alone],
        "memory_high_mib": 512,
    }
    answer = host.module("clique_service", asked)
    assert answer.get("started") is True, answer
    journal = ("journalctl", "--no-pager", "-o", "cat", "-u", "clique-sealer")

    def height() -> int:
        said = host.run(geth, "attach", "--exec", "eth.blockNumber", IPC, check=False).strip()  # root asks
        return int(said) if said.isdigit() else 0

    assert wait_until(lambda: height() >= 3, timeout_s=60, clock=time, poll_s=0.5), host.run(*journal)
    # It sees the machine's memory, or it would do without a cache.
    assert "Sanitizing cache" not in host.run(*journal)
    host.module("clique_service", {**asked, "state": "absent"})
    assert "Blockchain stopped" in host.run(*journal)
    host.run("rm", "-r", drop_in, PLACE)
