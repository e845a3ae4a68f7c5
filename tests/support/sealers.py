# SPDX-License-Identifier: GPL-3.0-or-later
"""A network of plain geth processes: sealers and a gateway that can be killed, started, parted and joined again."""

from __future__ import annotations

import itertools
import signal
import socket
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ansible_collections.smartenergy.clique.plugins.module_utils._genesis_choice import (
    CREATE2_PROXY,
    CREATE2_PROXY_CODE,
)
from ansible_collections.smartenergy.clique.plugins.module_utils._wait import wait_until
from eth_account import Account
from eth_account.signers.local import LocalAccount

from support.chain import GATEWAY_APIS, Chain, free_port, write_keystore
from support.node import Node, initialise, make_genesis, start

PATIENCE_S = 60


@dataclass
class Geth:
    """A geth on a folder of its own, which it takes up again after each start; account is what it seals with."""

    program: Path
    datadir: Path
    flags: tuple[str, ...]
    node: Node
    account: str = ""

    @property
    def head(self) -> int:
        return int(self.call("eth_blockNumber"), 16)

    def hash_of(self, number: int) -> str | None:
        """The hash of the block at that height, None where there is none yet."""
        block: dict[str, Any] | None = self.call("eth_getBlockByNumber", hex(number), False)
        return None if block is None else str(block["hash"])

    def has(self, number: int, block_hash: str | None) -> bool:
        """Whether this is its block at that height."""
        return self.hash_of(number) == block_hash

    def call(self, method: str, *params: Any) -> Any:
        return self.node.rpc.call(method, *params)

    @property
    def ended(self) -> bool:
        return self.node.process.poll() is not None

    def send(self, number: signal.Signals) -> None:
        self.node.process.send_signal(number)

    def end(self, number: signal.Signals) -> None:
        self.send(number)
        self.node.process.wait(timeout=PATIENCE_S)

    def start(self) -> None:
        self.node = start(self.program, self.datadir, *self.flags)
        assert wait_until(self.node.answers, timeout_s=PATIENCE_S, clock=time), self.node.log.read_text()


@dataclass(frozen=True)
class Sealers:
    """Sealers, and a gateway, which does not seal and is what a bridge talks to; nobody looks for peers by itself."""

    sealers: tuple[Geth, ...]
    gateway: Geth
    url: str
    chain: Chain

    @property
    def all(self) -> tuple[Geth, ...]:
        return (*self.sealers, self.gateway)

    def join(self, *nodes: Geth) -> None:
        """Make these peers of each other, and wait until each is told of all others."""
        enodes = {id(node): node.node.enode for node in nodes}
        for one, other in itertools.permutations(nodes, 2):
            one.call("admin_addPeer", enodes[id(other)])
        joined = wait_until(
            lambda: all(len(_peers(node)) >= len(nodes) - 1 for node in nodes), timeout_s=PATIENCE_S, clock=time
        )
        assert joined, [len(_peers(node)) for node in nodes]

    def part(self, one_side: Sequence[Geth], other_side: Sequence[Geth]) -> None:
        """Cut every connection between the two sides."""
        across = list(itertools.product(one_side, other_side))
        pairs = across + [(other, one) for one, other in across]
        enodes = {id(node): node.node.enode for node in self.all}

        def parted() -> bool:
            for one, other in pairs:  # again and again: a call that was under way may still come through
                one.call("admin_removePeer", enodes[id(other)])
            return not any(_id_in(enodes[id(other)]) in _peers(one) for one, other in pairs)

        assert wait_until(parted, timeout_s=PATIENCE_S, clock=time)


def _peers(node: Geth) -> set[str]:
    return {_id_in(peer["enode"]) for peer in node.call("admin_peers")}


def _id_in(enode: str) -> str:
    return enode.partition("@")[0]


@contextmanager
def sealers(geth: Path, directory: Path, count: int, *, period_s: int = 1) -> Iterator[Sealers]:
    """So many sealers and a gateway, joined and sealing, for as long as the context lasts."""
    accounts: list[LocalAccount] = [Account.create() for _ in range(count)]
    genesis = make_genesis([account.address for account in accounts], period_s=period_s)
    genesis["alloc"][CREATE2_PROXY] = {"balance": "0x0", "nonce": "0x1", "code": CREATE2_PROXY_CODE}
    common = ("--syncmode=full", "--gcmode=archive", "--miner.gasprice=1", "--log.format=logfmt")
    nodes: list[Geth] = []

    def add(name: str, *flags: str, account: str = "") -> Geth:
        datadir = directory / name
        initialise(geth, datadir, genesis)
        nodes.append(Geth(geth, datadir, (*common, *flags), start(geth, datadir, *common, *flags), account))
        return nodes[-1]

    try:
        urls = []
        for number, account in enumerate(accounts):
            datadir, password_file = directory / f"sealer{number}", directory / f"sealer{number}.password"
            datadir.mkdir()
            write_keystore(account, datadir / "keystore", password_file)
            port = free_port(socket.SOCK_STREAM)
            urls.append(f"http://127.0.0.1:{port}")
            unlocked = (f"--unlock={account.address}", f"--password={password_file}", "--allow-insecure-unlock")
            mining = ("--mine", f"--miner.etherbase={account.address}")
            add(f"sealer{number}", *unlocked, *mining, "--http", f"--http.port={port}", account=account.address)
        port = free_port(socket.SOCK_STREAM)
        gateway = add("gateway", "--http", f"--http.port={port}", f"--http.api={GATEWAY_APIS}")
        for node in nodes:
            assert wait_until(node.node.answers, timeout_s=PATIENCE_S, clock=time), node.node.log.read_text()
        admin = directory / "sealer0"
        chain = Chain(urls[0], nodes[0].node, accounts[0], admin / "keystore", directory / "sealer0.password")
        network = Sealers(tuple(nodes[:-1]), gateway, f"http://127.0.0.1:{port}", chain)
        network.join(*nodes)
        assert wait_until(lambda: gateway.head >= 3, timeout_s=PATIENCE_S, clock=time)
        yield network
    finally:
        for node in nodes:
            node.send(signal.SIGINT)
            node.send(signal.SIGCONT)  # one that is stopped hears nothing
        for node in nodes:
            node.node.process.wait(timeout=PATIENCE_S)
