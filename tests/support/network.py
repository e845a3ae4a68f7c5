# SPDX-License-Identifier: GPL-3.0-or-later
"""A whole network on loopback, brought up by site.yml in a folder of the test's own, seen from outside with web3."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from ansible_collections.smartenergy.clique.plugins.module_utils._preflight import services_below
from eth_typing import ChecksumAddress
from web3 import Web3
from web3.contract import Contract
from web3.middleware import ExtraDataToPOAMiddleware
from web3.types import RPCEndpoint

CHECKOUT = Path(__file__).parent.parent.parent
VENV = CHECKOUT / ".venv"
RECAP = re.compile(r"^(\S+)\s+: ok=(\d+)\s+changed=(\d+)\s+unreachable=(\d+)\s+failed=(\d+)", re.MULTILINE)


@dataclass(frozen=True)
class Run:
    """What an ansible-playbook run said; hosts holds each host's ok, changed, unreachable and failed."""

    returncode: int
    output: str

    @property
    def said(self) -> str:
        """The output with its line breaks undone, as sentences are searched for."""
        return " ".join(self.output.split())

    @property
    def hosts(self) -> dict[str, dict[str, int]]:
        names = ("ok", "changed", "unreachable", "failed")
        return {host: dict(zip(names, map(int, counts), strict=True)) for host, *counts in RECAP.findall(self.output)}

    @property
    def changed(self) -> dict[str, int]:
        return {host: counts["changed"] for host, counts in self.hosts.items() if counts["changed"]}


T = TypeVar("T")


def wait_until(what: str, poll: Callable[[], T | None], timeout_s: float, every_s: float = 0.2) -> T:
    """Poll until something true comes back and return it; fail saying what was waited for."""
    deadline = time.monotonic() + timeout_s
    while True:
        if found := poll():
            return found
        assert time.monotonic() < deadline, f"waited {timeout_s:.0f} s in vain: {what}"
        time.sleep(every_s)


@dataclass(frozen=True)
class Network:
    """One network: its folder, its ports, and the variables that make it differ from inventories/local."""

    directory: Path
    base_port: int
    period_s: int = 2
    variables: Mapping[str, Any] = field(default_factory=dict)
    inventories: tuple[Path, ...] = (CHECKOUT / "inventories/local",)
    environment: Mapping[str, str] = field(default_factory=dict)

    def play(self, playbook: str = "site.yml", *arguments: str, **variables: Any) -> Run:
        """Run one of the collection's playbooks as a user would; keyword arguments are extra variables."""
        extra = {
            "clique_local_dir": str(self.directory),
            "clique_base_port": self.base_port,
            "clique_period_s": self.period_s,
            "clique_build_cache_directory": str(CHECKOUT / "build/geth"),
            **self.variables,
            **variables,
        }
        inventories = [word for inventory in self.inventories for word in ("-i", str(inventory))]
        command = [str(VENV / "bin/ansible-playbook"), *inventories, f"playbooks/{playbook}"]
        (self.directory / "ansible").mkdir(parents=True, exist_ok=True)
        run = subprocess.run(
            [*command, "-e", json.dumps(extra), *arguments],
            cwd=CHECKOUT,
            env={
                **os.environ,
                **self.environment,
                "ANSIBLE_HOME": str(self.directory / "ansible"),
                "ANSIBLE_NOCOLOR": "true",
                "LC_ALL": "C.UTF-8",
            },
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        with (self.directory / "ansible/plays.log").open("a") as log:
            log.write(f"$ {playbook} {' '.join(arguments)}\n{run.stdout}\n")
        return Run(run.returncode, run.stdout)

    def bring_up(self, *arguments: str, **variables: Any) -> Run:
        run = self.play("site.yml", *arguments, **variables)
        assert run.returncode == 0, run.output[-6000:]
        return run

    @property
    def web3(self) -> Web3:
        web3 = Web3(Web3.HTTPProvider(f"http://127.0.0.1:{self.base_port + 90}"))
        web3.middleware_onion.inject(ExtraDataToPOAMiddleware, layer=0)
        return web3

    def host(self, name: str) -> Path:
        return self.directory / "hosts" / name

    @property
    def record(self) -> dict[str, Any]:
        record: dict[str, Any] = json.loads((self.directory / "network/network.json").read_text())
        return record

    def market(self) -> Contract:
        """The deployed market, from what the run left on the controller."""
        record = self.directory / "network/deployments/1337/EnergyMarket.json"
        abi = json.loads(record.with_suffix(".artifact.json").read_text())["abi"]
        address = Web3.to_checksum_address(json.loads(record.read_text())["address"])
        return self.web3.eth.contract(address=address, abi=abi)

    def actors(self) -> dict[str, ChecksumAddress]:
        """Account of each of the market's actors, by name."""
        view = self.market().functions
        actors = [view.actorAt(index).call() for index in range(view.actorCount().call())]
        return {name: address for address, _kind, name in actors}

    def signer_of(self, number: int) -> str:
        answer = self.web3.provider.make_request(RPCEndpoint("clique_getSigner"), [hex(number)])
        return Web3.to_checksum_address(answer["result"])

    def wait_for_blocks(self, count: int, timeout_periods: int) -> int:
        """Wait until the head has grown by count blocks and return its number."""
        wanted = self.web3.eth.block_number + count
        wait_until(f"block {wanted}", lambda: self.web3.eth.block_number >= wanted, timeout_periods * self.period_s)
        return wanted

    def processes(self) -> dict[str, int]:
        """Pid of each process of this network, by host and service."""
        return {name: pid for pid, name in services_below(self.directory / "hosts").items()}

    def stop_host(self, name: str) -> None:
        """Stop one host's supervisord and wait until its last process is gone."""
        os.kill(self.processes()[f"{name}/supervisord"], signal.SIGTERM)
        wait_until(f"{name} to stop", lambda: not [key for key in self.processes() if key.startswith(f"{name}/")], 60)

    def stop(self) -> None:
        """Stop every supervisord of this network, which stops its programs, and wait until the last process is gone."""
        asked: set[int] = set()

        def gone() -> bool:
            running = self.processes()
            for pid in {pid for name, pid in running.items() if name.endswith("/supervisord")} - asked:
                asked.add(pid)
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGTERM)
            return not running

        wait_until("all processes to stop", gone, 60)
