# SPDX-License-Identifier: GPL-3.0-or-later
"""A bridge as a process, on a market of its own: started, killed and started again as often as a test likes."""

from __future__ import annotations

import json
import multiprocessing
import os
import secrets
import signal
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from multiprocessing.context import ForkServerContext, ForkServerProcess
from pathlib import Path
from typing import Any

from eth_account import Account
from eth_account.signers.local import LocalAccount
from web3.contract import Contract

from support import crashing_bridge
from support.chain import ARTIFACT, KINDS, Chain, Terms, free_port, write_keystore
from support.disk import enter
from support.settings import bridge_settings
from support.verdict import Ledger, read_ledger

GRID = "grid"
SOURCES = tuple(name for name in KINDS if name != GRID)
DEPOSIT_WEI = 100 * 10**18
PATIENCE_S = 60


def _processes() -> ForkServerContext:
    """Bridges are forks of a process that has imported what takes a bridge a second to import."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["pytest", "energy_bridge.cli", "energy_bridge.service"])
    return context


def _child(directory: Path, config: Path, point: str | None, nth: int, mounts: Path | None) -> None:
    """Run a bridge in this process, with its folder's log and with nothing of ours."""
    if mounts is not None:
        enter(mounts)
    log = os.open(directory / "bridge.log", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    for number in (1, 2):
        os.dup2(log, number)
    os._exit(crashing_bridge.run(config, point, nth))


@dataclass
class Bridge:
    """A bridge's folder, and the process that runs on it, if any.

    Config is config.json before it is written, mounts the mount namespace that it runs in, if not in ours.
    """

    directory: Path
    market: Contract
    operator: str
    actors: dict[str, str]
    keys: dict[str, bytes]
    port: int
    config: dict[str, Any]
    process: ForkServerProcess | None = None
    mounts: Path | None = None

    @property
    def address(self) -> tuple[str, int]:
        return "127.0.0.1", self.port

    @property
    def database(self) -> Path:
        return Path(self.config["database"])

    @property
    def log(self) -> str:
        path = self.directory / "bridge.log"
        return path.read_text() if path.exists() else ""

    def start(self, point: str | None = None, nth: int = 1) -> None:
        """Start it; with a point, it dies there by itself."""
        self.process = _processes().Process(target=_child, args=(self.directory, self.write(), point, nth, self.mounts))
        self.process.start()

    def write(self) -> Path:
        """Write config.json as it is now."""
        path = self.directory / "config.json"
        path.write_text(json.dumps(self.config))
        return path

    @property
    def ended(self) -> bool:
        return self.process is None or self.process.exitcode is not None

    def end(self, number: signal.Signals) -> int:
        """Send it a signal and return how it ended, as subprocess has it."""
        assert self.process is not None
        assert self.process.pid is not None
        if not self.ended:
            os.kill(self.process.pid, number)
        self.process.join(PATIENCE_S)
        assert self.process.exitcode is not None, f"the bridge does not end after {number.name}: {self.log[-2000:]}"
        return self.process.exitcode

    def close(self) -> None:
        if not self.ended:
            self.end(signal.SIGTERM)

    def ledger(self) -> Ledger:
        return read_ledger(self.market, self.actors, slot_s=self.config["slot_s"])


def make_bridge(
    directory: Path,
    chain: Chain,
    *,
    terms: Terms,
    kinds: Mapping[str, str] = KINDS,
    url: str | None = None,
    deposit_wei: int = DEPOSIT_WEI,
    accounts: Mapping[str, LocalAccount] | None = None,
    **settings: Any,
) -> Bridge:
    """Deploy a market with actors of these kinds, by name, and write down a bridge for it.

    Url is where its node answers, settings are of config.json. Accounts are the actors'; without them they have some
    that nobody can sign for.
    """
    operator = Account.create()
    keystore, password_file = directory / "operator/keystore", directory / "operator/password"
    write_keystore(operator, keystore, password_file)
    actors = {name: (accounts[name] if accounts else Account.create()).address for name in kinds}
    market = chain.market(
        operator=operator.address,
        actors=actors,
        deposits_wei=dict.fromkeys(kinds, deposit_wei),
        terms=terms,
        kinds=kinds,
    )
    keys = {name: secrets.token_bytes(32) for name in kinds}
    source_keys = directory / "source-keys.json"
    source_keys.write_text(json.dumps({name: key.hex() for name, key in keys.items()}))
    port = free_port(socket.SOCK_DGRAM)
    config = bridge_settings(
        listen_port=port,
        web_port=None,
        database=str(directory / "bridge.sqlite"),
        rpc_url=url or chain.url,
        period_s=1,
        market={"address": market.address, "abi": str(ARTIFACT)},
        operator={"keystore": str(keystore), "password_file": str(password_file)},
        actors={name: {"address": address, "kind": kinds[name]} for name, address in actors.items()},
        source_keys=str(source_keys),
        slot_s=terms[0],
        grace_s=3,
        confirmations=2,
        poll_s=0.1,
    )
    config |= settings
    return Bridge(directory, market, operator.address, actors, keys, port, config)
