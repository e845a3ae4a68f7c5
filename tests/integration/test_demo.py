# SPDX-License-Identifier: GPL-3.0-or-later
"""The first minute of a new user, in a fresh clone and beside another network: make demo, and what follows it."""

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.chain import settled_batches
from support.network import CHECKOUT, Network, wait_until

BASE_PORT = 31510
SLOTS = 12


class Demo:
    """A fresh clone and its make targets, for a user with an empty home and the caches of pip and Go."""

    def __init__(self, directory: Path) -> None:
        self.clone, self.home, self.temporary = (directory / name for name in ("a clone", "home", "tmp"))
        self.home.mkdir()
        self.temporary.mkdir()
        subprocess.run(["git", "clone", "--quiet", str(CHECKOUT), str(self.clone)], check=True)

    def make(self, *words: str) -> subprocess.CompletedProcess[str]:
        caches = {
            "GOENV": Path.home() / ".config/go/env",
            "GOCACHE": Path.home() / ".cache/go-build",
            "GOPATH": Path.home() / "go",
            "PIP_CACHE_DIR": Path.home() / ".cache/pip",
            "RUSTUP_HOME": Path.home()
            / ".rustup",  # pip asks rustc for its version, and rustup writes down that it ran
        }
        own = {"HOME": str(self.home), "TMPDIR": str(self.temporary), "LC_ALL": "C"}
        return subprocess.run(
            ["make", *words],
            cwd=self.clone,
            env={**{name: str(path) for name, path in caches.items()}, **os.environ, **own},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )

    def written_outside(self) -> list[Path]:
        return [path for top in (self.home, self.temporary) for path in top.rglob("*") if path.is_file()]

    def up(self, slots: int) -> tuple[str, dict[str, Any]]:
        run = self.make("demo", f"BASE_PORT={BASE_PORT}", f"SLOTS={slots}")
        assert run.returncode == 0, f"{run.stdout[-6000:]}\n{self.last_words()}"
        return run.stdout, json.loads((self.clone / ".demo/summary.json").read_text())

    def last_words(self) -> str:
        """The end of every process's log, and what the demo says of itself: the last is what is read first."""
        logs = {
            path: path.read_text(errors="replace") for path in sorted((self.clone / ".demo/hosts").glob("*/log/*.log"))
        }
        ends = [f"{path}:\n" + "\n".join(text.splitlines()[-12:]) for path, text in logs.items()]
        return "\n".join([*ends, self.make("demo-status").stdout])

    @property
    def network(self) -> Network:
        return Network(self.clone / ".demo", BASE_PORT, period_s=5)


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demo]:
    demo = Demo(tmp_path_factory.mktemp("d"))
    try:
        yield demo
    finally:
        demo.make("demo-down")


@pytest.mark.usefixtures("network")  # side by side with another network
def test_a_fresh_clone_becomes_a_network_with_trades_and_comes_back_to_its_chain(demo: Demo) -> None:
    output, summary = demo.up(SLOTS)

    assert demo.written_outside() == []
    assert (summary["lost"], summary["duplicated"]) == (0, 0)
    assert summary["readings"] == {"sent": 5 * SLOTS, "stored": 5 * SLOTS}
    assert summary["trades"]["made"] == summary["trades"]["settled"] >= SLOTS
    assert summary["market"]["energy_traded_wh"] == summary["market"]["energy_held_wh"] > 0
    assert set(summary["seconds"]) == {"environment", "geth", "network", "contracts", "bridge", "simulation"}
    # The same, seen from outside.
    web3 = demo.network.web3
    assert summary["rpc_url"] == f"http://127.0.0.1:{BASE_PORT + 90}"
    assert summary["chain_id"] == web3.eth.chain_id
    assert summary["genesis_hash"] == web3.eth.get_block(0)["hash"].to_0x_hex()
    sealed = [demo.network.signer_of(number) for number in range(1, summary["head"] + 1)]
    assert summary["signers"] == {signer: sealed.count(signer) for signer in summary["signers"]}
    assert len(summary["signers"]) == 4
    assert min(summary["signers"].values()) > 0
    trades = [trade for batch in settled_batches(demo.network.market()) for trade in batch.trades]
    assert len({(trade.seller, trade.buyer, trade.slot) for trade in trades}) == len(trades)
    assert sum(trade.energy_wh for trade in trades) == summary["market"]["energy_traded_wh"]
    # What a person reads.
    assert "sealer4" in output
    assert summary["market"]["address"] in output
    assert "WARNING" not in output

    status = demo.make("demo-status")
    assert status.returncode == 0
    assert summary["market"]["address"] in status.stdout

    os.kill(demo.network.processes()["sealer2/supervisord"], signal.SIGTERM)
    wait_until("sealer2 to stop", lambda: "sealer2/geth" not in demo.network.processes(), 60)
    ailing = demo.make("demo-status")
    assert ailing.returncode != 0
    assert "these do not run: sealer2/geth" in ailing.stdout

    down = demo.make("demo-down")
    assert down.returncode == 0, down.stdout
    assert demo.network.processes() == {}
    assert demo.make("demo-status").returncode != 0

    _, later = demo.up(4)
    assert later["genesis_hash"] == summary["genesis_hash"]
    assert later["head"] > summary["head"]
    assert later["market"]["address"] == summary["market"]["address"]
    assert later["trades"]["settled"] > summary["trades"]["settled"]
    assert (later["lost"], later["duplicated"]) == (0, 0)

    assert demo.written_outside() == []
    assert demo.make("demo-clean").returncode == 0
    assert demo.network.processes() == {}
    assert not (demo.clone / ".demo").exists()


def test_foreign_port_stops_the_demo_before_anything_is_made(
    tmp_path_factory: pytest.TempPathFactory, network: Network
) -> None:
    fresh = Demo(tmp_path_factory.mktemp("p"))
    run = fresh.make("demo", f"BASE_PORT={network.base_port}")
    assert run.returncode != 0
    assert f"TCP port {network.base_port + 90} on 127.0.0.1 is held by process" in run.stdout
    assert str(network.processes()["gateway/geth"]) in run.stdout
    assert not (fresh.clone / ".demo").exists()
    assert not (fresh.clone / ".venv").exists()
