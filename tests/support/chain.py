# SPDX-License-Identifier: GPL-3.0-or-later
"""A real chain for tests: one geth that seals alone, every second, with the deployment proxy in its genesis."""

from __future__ import annotations

import itertools
import json
import socket
import threading
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from ansible_collections.smartenergy.clique.plugins.module_utils._genesis_choice import (
    CREATE2_PROXY,
    CREATE2_PROXY_CODE,
)
from energy_bridge.batch import SettledBatch, decode_event
from eth_account import Account
from eth_account.signers.local import LocalAccount
from eth_typing import HexAddress, HexStr
from hexbytes import HexBytes
from web3 import Web3
from web3.contract import Contract
from web3.middleware import ExtraDataToPOAMiddleware
from web3.types import TxParams, TxReceipt, Wei
from web3.utils.address import get_create_address

from support.node import Node, initialise, make_genesis, running

CHECKOUT = Path(__file__).parent.parent.parent
ARTIFACT = CHECKOUT / "contracts/artifacts/EnergyMarket.json"
GATEWAY_APIS = "eth,net,web3,clique"  # what the gateway's node offers over HTTP
PASSWORD = "for tests only"
REGISTERED_AT_ONCE = 10
KINDS = {"load": "Load", "pv": "PV", "chp": "CHP", "battery": "Battery", "grid": "Grid"}

Terms = tuple[int, int, int]
"""Seconds of a slot, until a withdrawal, and until a replacement."""
TERMS: Terms = (900, 3600, 7200)


@dataclass(frozen=True)
class Chain:
    """A running chain: where it answers, and its admin, who seals, is unlocked in the node, and owns all ether."""

    url: str
    node: Node
    admin: LocalAccount
    keystore: Path
    password_file: Path

    @property
    def web3(self) -> Web3:
        web3 = Web3(Web3.HTTPProvider(self.url))
        web3.middleware_onion.inject(ExtraDataToPOAMiddleware, layer=0)
        return web3

    def give(self, account: str, wei: int) -> HexBytes:
        """Send ether without waiting for it."""
        return self.web3.eth.send_transaction(
            {"from": self.admin.address, "to": Web3.to_checksum_address(account), "value": Wei(wei)}
        )

    def empty_market(self, terms: Terms = TERMS) -> Contract:
        """Deploy EnergyMarket, with nobody in it."""
        contract, deployed = self._deploy(terms)
        self.wait([deployed])
        return contract

    def market(
        self,
        *,
        operator: str,
        actors: Mapping[str, str],
        deposits_wei: Mapping[str, int],
        terms: Terms = TERMS,
        kinds: Mapping[str, str] = KINDS,
    ) -> Contract:
        """Deploy EnergyMarket with this operator and these actors, of these kinds by name, and fund all of them."""
        contract, deployed = self._deploy(terms)
        # All in one block: nobody can estimate gas for a contract that does not stand yet.
        sender: TxParams = {"from": self.admin.address, "gas": 2_000_000}
        numbers = list(KINDS.values())
        listed = [(account, numbers.index(kinds[name]), name) for name, account in actors.items()]
        parts = [listed[start : start + REGISTERED_AT_ONCE] for start in range(0, len(listed), REGISTERED_AT_ONCE)]
        sent = [
            deployed,
            *(contract.functions.registerActors(part).transact(sender) for part in parts),
            contract.functions.setOperator(operator, True).transact(sender),
            self.give(operator, 10**18),
            *(
                contract.functions.depositFor(actors[name]).transact({**sender, "value": Wei(wei)})
                for name, wei in deposits_wei.items()
            ),
        ]
        self.wait(sent)
        return contract

    def _deploy(self, terms: Terms) -> tuple[Contract, HexBytes]:
        """Send EnergyMarket on its way, to an address that is known before it is there."""
        web3, artifact = self.web3, json.loads(ARTIFACT.read_text())
        nonce = web3.eth.get_transaction_count(self.admin.address, "pending")
        address = get_create_address(HexAddress(HexStr(self.admin.address)), nonce)
        factory = web3.eth.contract(abi=artifact["abi"], bytecode=artifact["bytecode"])
        sent = factory.constructor(self.admin.address, *terms, False).transact(
            {"from": self.admin.address, "nonce": nonce}
        )
        return web3.eth.contract(address=address, abi=artifact["abi"]), sent

    def block_time_s(self) -> int:
        """The time of the newest block."""
        return int(self.web3.eth.get_block("latest")["timestamp"])

    def wait(self, transactions: Sequence[HexBytes]) -> TxReceipt:
        """Wait until all are mined, and return the last one's receipt."""
        receipts = [self.web3.eth.wait_for_transaction_receipt(transaction, 30, 0.1) for transaction in transactions]
        assert all(receipt["status"] == 1 for receipt in receipts), receipts
        return receipts[-1]


@contextmanager
def one_sealer(
    geth: Path, directory: Path, *, apis: str = "eth,net,web3", admin: LocalAccount | None = None
) -> Iterator[Chain]:
    """A chain in this folder, for as long as the context lasts; apis are what its node offers over HTTP.

    With the admin of another one it is that one, reset.
    """
    admin = admin or Account.create()
    datadir, keystore, password_file = directory / "chain", directory / "chain/keystore", directory / "chain.password"
    datadir.mkdir()
    write_keystore(admin, keystore, password_file)
    genesis = make_genesis([admin.address])
    genesis["alloc"][CREATE2_PROXY] = {"balance": "0x0", "nonce": "0x1", "code": CREATE2_PROXY_CODE}
    initialise(geth, datadir, genesis)
    port = free_port(socket.SOCK_STREAM)
    flags = [
        *(
            "--http",
            f"--http.api={apis}",
            f"--http.port={port}",
            "--allow-insecure-unlock",
            f"--unlock={admin.address}",
        ),
        *(f"--password={password_file}", "--mine", f"--miner.etherbase={admin.address}"),
        *("--miner.gasprice=1", "--syncmode=full", "--gcmode=archive"),
    ]
    with running(geth, datadir, *flags) as node:
        yield Chain(f"http://127.0.0.1:{port}", node, admin, keystore, password_file)


@contextmanager
def unsteady(
    chain: Chain,
    answers: Callable[[int], bool] = lambda _: True,
    heard: Callable[[str], None] = lambda _: None,
    tells: Callable[[str, bytes], bytes] = lambda _, told: told,
) -> Iterator[str]:
    """A URL that hands requests on to the chain, but hangs up on each whose number, from 1, is not to be answered.

    heard is called with each request, before it is handed on; tells makes of a request and its answer what is told.
    """
    numbers = itertools.count(1)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            asked = self.rfile.read(int(self.headers["Content-Length"]))
            if not answers(next(numbers)):
                return
            heard(asked.decode())
            request = urllib.request.Request(chain.url, asked, {"Content-Type": "application/json"})  # noqa: S310
            with urllib.request.urlopen(request, timeout=30) as told:  # noqa: S310
                answer = tells(asked.decode(), told.read())
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, args=[0.05]).start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()


def settled_batches(market: Contract, *, from_block: int = 0) -> list[SettledBatch]:
    """What the market's log says was settled, and nothing else knows."""
    return [decode_event(event["args"]) for event in market.events.BatchSettled().get_logs(from_block=from_block)]


def write_keystore(account: LocalAccount, keystore: Path, password_file: Path) -> None:
    """Put an account where geth, and whoever reads geth's keystores, finds it."""
    keystore.mkdir(parents=True, exist_ok=True)
    key: Any = account.encrypt(PASSWORD, kdf="scrypt", iterations=2)
    (keystore / f"UTC--{account.address[2:].lower()}").write_text(json.dumps(key))
    password_file.write_text(PASSWORD + "\n")


def free_port(kind: socket.SocketKind) -> int:
    """Name a port of loopback that nobody holds right now."""
    with socket.socket(socket.AF_INET, kind) as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
    return port
