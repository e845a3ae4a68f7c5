# SPDX-License-Identifier: GPL-3.0-or-later
"""The network under test as its containers: everything here is seen through Docker, sockets and geth's own IPC."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

# geth ends each of its messages with a line break.
RELAY = """
import socket, sys
with socket.socket(socket.AF_UNIX) as node:
    node.settimeout(30)
    node.connect(sys.argv[1])
    node.sendall(sys.stdin.buffer.read())
    sys.stdout.buffer.write(node.makefile("rb").readline())
"""
# Within so many periods every signer has sealed, whatever happened before.
PATIENCE_PERIODS = 24

T = TypeVar("T")
Call = tuple[str, list[Any]]


class SilentError(Exception):
    """A container or a node that does not answer, for now or for good."""


def wait_until(what: Callable[[], str], poll: Callable[[], bool], timeout_s: float) -> None:
    """Poll until it is so; who is silent is asked again. Raises AssertionError with what was waited for."""
    deadline = time.monotonic() + timeout_s
    while True:
        try:
            if poll():
                return
            last = ""
        except SilentError as error:
            last = f" ({error})"
        assert time.monotonic() < deadline, f"waited {timeout_s:.0f} s in vain: {what()}{last}"
        time.sleep(0.5)


def at_once(task: Callable[[Host], T], hosts: Iterable[Host]) -> dict[str, T]:
    """Do the same on several hosts at a time; the result of each by its name."""
    several = list(hosts)
    with ThreadPoolExecutor(max_workers=max(1, len(several))) as pool:
        return dict(zip((host.name for host in several), pool.map(task, several), strict=True))


def docker(*arguments: str, stdin: bytes | None = None) -> bytes:
    """Have Docker do something and return its output. Raises SilentError where it fails."""
    done = subprocess.run(["docker", *arguments], input=stdin, capture_output=True, timeout=180, check=False)
    if done.returncode:
        raise SilentError(
            f"docker {arguments[0]} … {arguments[-1]} ended with {done.returncode}: {done.stderr[-400:]!r}"
        )
    return done.stdout


@dataclass(frozen=True)
class Host:
    """A container, by the name that the inventory gives it."""

    name: str
    container: str
    ipc: str = "/var/lib/clique/geth/geth.ipc"

    @cached_property
    def addresses(self) -> list[str]:
        """Its addresses in the containers' network: that of IPv4, and that of IPv6 where the machine has it."""
        template = "{{range .NetworkSettings.Networks}}{{.IPAddress}} {{.GlobalIPv6Address}} {{end}}"
        return docker("inspect", f"--format={template}", self.container).decode().split()

    def run(self, *command: str, stdin: bytes = b"") -> bytes:
        """Run a command in the container, as root, and return its output. Raises SilentError where it fails."""
        return docker("exec", "--interactive", self.container, *command, stdin=stdin)

    def shell(self, script: str, *arguments: str, stdin: bytes = b"") -> bytes:
        """The same with a script, whose arguments are $1 and on."""
        return self.run("sh", "-ec", script, "sh", *arguments, stdin=stdin)

    def rpc(self, *calls: Call) -> list[Any]:
        """Ask the node for several things at once, over its IPC. What it refuses is None; raises SilentError."""
        questions = [
            {"jsonrpc": "2.0", "id": number, "method": method, "params": parameters}
            for number, (method, parameters) in enumerate(calls)
        ]
        text = self.run("python3", "-SE", "-c", RELAY, self.ipc, stdin=json.dumps(questions).encode())
        try:
            answers = sorted(json.loads(text), key=lambda answer: int(answer["id"]))
        except ValueError as error:
            raise SilentError(f"{self.name}: geth answers with {text[:80]!r}") from error
        return [answer.get("result") for answer in answers]

    def state(self, unit: str) -> str:
        """What systemd says about a unit: active, failed and so on."""
        return self.run("systemctl", "show", "--property=ActiveState", "--value", unit).decode().strip()


@dataclass(frozen=True)
class Network:
    """All containers, and what is kept on the controller. The log is all that Ansible said, at -vvv with --diff."""

    hosts: Mapping[str, Host]
    source: Host
    neighbour: Host
    network_dir: Path
    log: Path
    inventory: Sequence[str]
    period_s: int
    base_port: int

    @classmethod
    def from_environment(cls) -> Network:
        """What verify.yml hands over in CLIQUE_VERIFY."""
        given = json.loads(os.environ["CLIQUE_VERIFY"])
        return cls(
            hosts={name: Host(name, container) for name, container in given["hosts"].items()},
            source=Host("source", given["source"]),
            neighbour=Host("neighbour", given["neighbour"]),
            network_dir=Path(given["network_dir"]),
            log=Path(given["log"]),
            inventory=given["inventory"],
            period_s=int(given["period_s"]),
            base_port=int(given["base_port"]),
        )

    @property
    def record(self) -> dict[str, Any]:
        """network.json."""
        record: dict[str, Any] = json.loads((self.network_dir / "network.json").read_text())
        return record

    @property
    def signers(self) -> dict[str, str]:
        """The name of each sealer by its address, in lower case."""
        hosts = self.record["hosts"].items()
        return {host["address"].lower(): name for name, host in hosts if host["address"]}

    @property
    def gateway(self) -> Host:
        return self.hosts["gateway"]

    @property
    def bridge_port(self) -> int:
        return self.base_port + 91

    def services(self, host: Host) -> tuple[str, ...]:
        """The units that have to run on a host."""
        return ("clique-geth", "clique-bootnode", "clique-bridge") if host == self.gateway else ("clique-geth",)
