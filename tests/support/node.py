# SPDX-License-Identifier: GPL-3.0-or-later
"""Single geth processes on a genesis of the test's own."""

from __future__ import annotations

import json
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ansible_collections.smartenergy.clique.plugins.module_utils._rpc import NodeSilentError, Rpc
from ansible_collections.smartenergy.clique.plugins.module_utils._wait import wait_until

ALONE = ("--port=0", "--authrpc.port=0", "--nodiscover", "--networkid=1337", "--cache=64", "--snapshot=false")
FORKS = (
    *("homestead", "eip150", "eip155", "eip158", "byzantium", "constantinople", "petersburg"),
    *("istanbul", "berlin", "london"),
)


def make_genesis(signers: Sequence[str], *, period_s: int = 1, chain_id: int = 1337) -> dict[str, Any]:
    """A genesis.json that these addresses seal; the first of them is rich."""
    forks = {f"{fork}Block": 0 for fork in FORKS}
    listed = "".join(sorted(address.removeprefix("0x").lower() for address in signers))
    return {
        "config": {"chainId": chain_id, **forks, "clique": {"period": period_s, "epoch": 30000}},
        "difficulty": "0x1",
        "gasLimit": "0x1c9c380",
        "extraData": "0x" + "00" * 32 + listed + "00" * 65,
        "alloc": {signers[0]: {"balance": hex(10**24)}},
    }


def initialise(geth: Path, datadir: Path, genesis: Mapping[str, Any]) -> None:
    """Run geth init, without anything of ours."""
    file = datadir.with_suffix(".genesis.json")
    file.write_text(json.dumps(genesis))
    subprocess.run([geth, "--datadir", datadir, "--state.scheme=hash", "init", file], check=True, capture_output=True)
    file.unlink()


@dataclass(frozen=True)
class Node:
    """A running geth: its process, its Unix socket, its log."""

    process: subprocess.Popen[bytes]
    ipc: Path
    log: Path

    @property
    def rpc(self) -> Rpc:
        return Rpc(str(self.ipc))

    def answers(self) -> bool:
        """Whether it answers yet; one that has ended never will."""
        assert self.process.poll() is None, self.log.read_text()
        try:
            return bool(self.rpc.call("web3_clientVersion"))
        except NodeSilentError:
            return False

    @property
    def enode(self) -> str:
        """Where it listens in truth, also with port 0."""
        told = self.rpc.call("admin_nodeInfo")
        return f"{told['enode'].split('@')[0]}@127.0.0.1:{told['ports']['listener']}"


def start(geth: Path, datadir: Path, *flags: str) -> Node:
    """Start a geth process on an initialised data directory; it may not answer yet."""
    log = datadir.with_suffix(".log")
    with log.open("ab") as out:
        process = subprocess.Popen(
            [geth, "--datadir", datadir, "--state.scheme=hash", *ALONE, *flags], stdout=out, stderr=out
        )
    return Node(process, datadir / "geth.ipc", log)


@contextmanager
def running(geth: Path, datadir: Path, *flags: str) -> Iterator[Node]:
    """A geth process on an initialised data directory, from when it answers until the block is left."""
    node = start(geth, datadir, *flags)
    try:
        assert wait_until(node.answers, timeout_s=30, clock=time), node.log.read_text()
        yield node
    finally:
        node.process.send_signal(signal.SIGINT)
        node.process.wait(timeout=60)
