# SPDX-License-Identifier: GPL-3.0-or-later
"""A real chain for the modules that speak to one: a geth that seals alone, every second, with the deployment proxy."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from ansible_collections.smartenergy.clique.plugins.module_utils._genesis import CREATE2_PROXY, CREATE2_PROXY_CODE
from eth_account import Account
from eth_account.signers.local import LocalAccount
from web3 import Web3
from web3.middleware import ExtraDataToPOAMiddleware

from support.chain import free_port, write_keystore
from support.node import initialise, make_genesis, running


@dataclass(frozen=True)
class SealedChain:
    """Where the chain answers, and the keystore of the admin, who has all its ether."""

    url: str
    keystore: Path
    password_file: Path
    admin: LocalAccount

    @property
    def web3(self) -> Web3:
        web3 = Web3(Web3.HTTPProvider(self.url))
        web3.middleware_onion.inject(ExtraDataToPOAMiddleware, layer=0)
        return web3


@contextmanager
def sealed(geth: Path, directory: Path) -> Iterator[SealedChain]:
    """Such a chain in this folder, for as long as the context lasts."""
    datadir, password_file = directory / "geth", directory / "password"
    datadir.mkdir()
    admin: LocalAccount = Account.create()
    write_keystore(admin, datadir / "keystore", password_file)
    genesis = make_genesis([admin.address])
    genesis["alloc"][CREATE2_PROXY] = {"balance": "0x0", "nonce": "0x1", "code": CREATE2_PROXY_CODE}
    initialise(geth, datadir, genesis)
    port = free_port(socket.SOCK_STREAM)
    sealing = [f"--unlock={admin.address}", f"--password={password_file}", "--mine", "--miner.gasprice=1"]
    http = ["--http", f"--http.port={port}", "--allow-insecure-unlock"]
    keeping = ["--syncmode=full", "--gcmode=archive", f"--miner.etherbase={admin.address}"]
    with running(geth, datadir, *sealing, *http, *keeping):
        yield SealedChain(f"http://127.0.0.1:{port}", datadir / "keystore", password_file, admin)
