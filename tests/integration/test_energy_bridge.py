# SPDX-License-Identifier: GPL-3.0-or-later
"""The bridge as a process on a real chain: what its sources were promised is in the chain's logs, once."""

from __future__ import annotations

import csv
import json
import re
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import closing
from copy import copy
from pathlib import Path
from typing import Any

import pyarrow.parquet
import pytest
from energy_bridge.batch import BatchTrade, SettledBatch, encode_batch
from energy_bridge.merkle import merkle_root, root_of_path
from energy_bridge.model import BatchState, Trade
from energy_bridge.store import Store
from eth_account import Account
from support.bridge import make_bridge
from support.chain import TERMS, Chain, Terms, free_port, one_sealer, settled_batches, write_keystore
from support.network import wait_until
from web3 import Web3

ETHER = 10**18
FIRST_SLOT = int(time.time()) // 86_400 * 96


class Bridge:
    """A bridge process with its folder, on a market of its own."""

    def __init__(
        self, directory: Path, chain: Chain, *, deposit_wei: int = ETHER, terms: Terms = TERMS, grace_s: float = 5
    ) -> None:
        self.directory = directory
        made = make_bridge(
            directory, chain, terms=terms, deposit_wei=deposit_wei, grace_s=grace_s, confirmations=3, poll_s=0.2
        )
        self.operator, self.actors, self.market, self.port = made.operator, made.actors, made.market, made.port
        self.config = made.write()
        self.keys = directory / "source-keys.json"
        self.log = directory / "bridge.log"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(self.command("run", "--config", str(self.config)), stdout=log, stderr=log)

    def stop(self, number: signal.Signals) -> int:
        assert self.process is not None
        self.process.send_signal(number)
        return self.process.wait(timeout=20)

    @staticmethod
    def command(*arguments: str) -> list[str]:
        return [sys.executable, "-m", "energy_bridge", *arguments]

    def simulate(self, *more: str, slots: int, start_slot: int) -> subprocess.Popen[bytes]:
        arguments = ["--bridge", f"127.0.0.1:{self.port}", "--source-keys", str(self.keys), "--slots", str(slots)]
        arguments += ["--start-slot", str(start_slot), "--interval-s", "0.2", "--settle-s", "60"]
        return subprocess.Popen(
            self.command("simulate", *arguments, *more, "--report", str(self.report_file)),
            stdout=(self.directory / "simulate.log").open("ab"),
        )

    @property
    def report_file(self) -> Path:
        return self.directory / "report.json"

    @property
    def report(self) -> dict[str, Any]:
        report: dict[str, Any] = json.loads(self.report_file.read_text())
        return report

    def run(self, *arguments: str, status: int = 0) -> str:
        """What a command of this bridge prints, when it ends with that exit status."""
        command = self.command(arguments[0], "--config", str(self.config), *arguments[1:])
        ended = subprocess.run(command, check=False, capture_output=True, text=True)
        assert ended.returncode == status, ended.stderr
        return ended.stdout

    def status(self) -> dict[str, Any]:
        status: dict[str, Any] = json.loads(self.run("status", "--json"))
        return status

    def trades(self) -> list[BatchTrade]:
        """What the chain's log says was traded."""
        return [trade for batch in settled_batches(self.market) for trade in batch.trades]

    def remembered(self) -> list[SettledBatch]:
        """What the bridge's database says that the chain's log has to say, in the order of seq."""
        with closing(Store(self.directory / "bridge.sqlite", read_only=True)) as store:
            return [
                self._as_settled(
                    batch.seq,
                    [trade for _, trade in store.trades(batch.id)],
                    [digest for _, digest in store.readings_of(batch.id)],
                )
                for batch in store.batches(BatchState.FINAL)
                if batch.seq is not None
            ]

    def _as_settled(self, seq: int, cleared: Sequence[Trade], digests: Sequence[bytes]) -> SettledBatch:
        trades = [
            BatchTrade(
                self.actors[t.seller], self.actors[t.buyer], t.energy_wh, t.price_wei_per_wh, t.slot, t.imbalance
            )
            for t in cleared
        ]
        content_hash = bytes(Web3.keccak(encode_batch(trades)))
        return SettledBatch(self.operator, seq, content_hash, merkle_root(digests), tuple(trades))


@pytest.fixture
def bridge(tmp_path: Path, chain: Chain) -> Iterator[Bridge]:
    made = Bridge(tmp_path, chain)
    made.start()
    yield made
    if made.process is not None and made.process.poll() is None:
        made.process.terminate()
        made.process.wait()


def assert_settled_once(bridge: Bridge, report: dict[str, Any]) -> None:
    """Every slot's energies, as its sources sent them, are the chain's net energies: nothing lost, nothing twice."""
    wanted: Counter[tuple[int, str]] = Counter()
    for reading in report["readings"]:
        assert reading["stored"]
        if reading["source"] != "grid":
            wanted[reading["slot"], bridge.actors[reading["source"]]] += reading["energy_wh"]
    traded: Counter[tuple[int, str]] = Counter()
    for trade in bridge.trades():
        traded[trade.slot, trade.seller] += trade.energy_wh
        traded[trade.slot, trade.buyer] -= trade.energy_wh
    grid = bridge.actors["grid"]
    assert {key: wh for key, wh in traded.items() if wh and key[1] != grid} == {
        key: wh for key, wh in wanted.items() if wh
    }


def assert_the_log_has_it_all(bridge: Bridge) -> None:
    """Who has the chain's log alone rebuilds what the database has: every trade, in its batch, and the roots."""
    assert settled_batches(bridge.market) == bridge.remembered() != []


def test_a_played_stretch_is_settled_with_the_right_balances(bridge: Bridge) -> None:
    assert bridge.simulate(slots=6, start_slot=FIRST_SLOT).wait(timeout=90) == 0
    report = bridge.report
    assert (report["sent"], report["stored"], report["settled"]) == (30, 30, 30)
    assert_settled_once(bridge, report)
    balances = Counter(dict.fromkeys(bridge.actors.values(), ETHER))
    for trade in bridge.trades():
        balances[trade.seller] += trade.energy_wh * trade.price_wei_per_wh
        balances[trade.buyer] -= trade.energy_wh * trade.price_wei_per_wh
    assert {account: bridge.market.functions.weiOf(account).call() for account in balances} == balances
    bought = Counter(dict.fromkeys(balances, 0))
    for trade in bridge.trades():
        bought[trade.buyer] += trade.energy_wh
    day = FIRST_SLOT * 900 // 86_400
    assert {account: bridge.market.functions.balanceOf(account, day).call() for account in balances} == bought
    assert_the_log_has_it_all(bridge)
    status = bridge.status()
    assert status["readings"]["stored"] == 30
    assert status["trades"]["made"] == status["trades"]["settled"] == len(bridge.trades())
    assert status["next_slot"] == FIRST_SLOT + 6
    web3: Web3 = bridge.market.w3
    transactions = {reading["transaction"] for reading in report["readings"]} - {None}
    assert all(web3.eth.get_transaction_receipt(transaction)["status"] == 1 for transaction in transactions)


@pytest.mark.parametrize("pause_s", [0.0, 1.5])
def test_every_acknowledged_reading_settles_once_though_the_bridge_is_killed(bridge: Bridge, pause_s: float) -> None:
    player = bridge.simulate(slots=3, start_slot=FIRST_SLOT)
    wait_until("all are stored", lambda: _stored(bridge) == 15, 20)
    time.sleep(pause_s)  # where in its work the bridge dies is what is varied
    bridge.stop(signal.SIGKILL)
    bridge.start()
    assert player.wait(timeout=90) == 0, bridge.log.read_text()
    assert bridge.report["settled"] == 15
    assert_settled_once(bridge, bridge.report)
    assert_the_log_has_it_all(bridge)
    assert "Traceback" not in bridge.log.read_text()


def test_every_reading_settles_once_though_datagrams_are_lost_doubled_and_reordered(
    tmp_path: Path, chain: Chain
) -> None:
    patient = Bridge(tmp_path, chain, grace_s=60)  # repetitions are up to 4 s apart, and some of them are lost as well
    patient.start()
    try:
        faults = ["--loss", "0.3", "--duplicate", "0.3", "--reorder", "0.3"]
        assert patient.simulate(*faults, slots=3, start_slot=FIRST_SLOT).wait(timeout=90) == 0, patient.log.read_text()
        assert min(patient.report[fault] for fault in ("lost", "duplicated", "reordered")) > 0
        assert_settled_once(patient, patient.report)
        assert_the_log_has_it_all(patient)
    finally:
        patient.stop(signal.SIGTERM)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_bridge_stops_when_it_is_asked_to(bridge: Bridge, number: signal.Signals) -> None:
    wait_until("it listens", lambda: "listening" in bridge.log.read_text(), 20)
    assert bridge.stop(number) == 0
    assert "stopped" in bridge.log.read_text().splitlines()[-1]
    assert not any(key in bridge.log.read_text() for key in json.loads(bridge.keys.read_text()).values())


def test_a_slot_that_an_actor_cannot_pay_is_refused_with_the_reason(tmp_path: Path, chain: Chain) -> None:
    poor = Bridge(tmp_path, chain, deposit_wei=1)
    poor.start()
    try:
        assert poor.simulate(slots=1, start_slot=FIRST_SLOT).wait(timeout=60) == 1
        assert {reading["status"] for reading in poor.report["readings"]} == {"refused"}
        assert "InsufficientFunds(account=0x" in poor.report["readings"][0]["reason"]
        assert poor.trades() == []
    finally:
        poor.stop(signal.SIGTERM)


def test_a_batch_waits_while_the_market_is_paused(bridge: Bridge, chain: Chain) -> None:
    pause = bridge.market.functions.setPaused
    chain.wait([pause(True).transact({"from": chain.admin.address})])
    player = bridge.simulate(slots=1, start_slot=FIRST_SLOT)
    wait_until("it says why", lambda: "takes no batch now: Paused()" in bridge.log.read_text(), 30)
    assert bridge.status()["batches"]["BATCHED"] == 1
    chain.wait([pause(False).transact({"from": chain.admin.address})])
    assert player.wait(timeout=60) == 0, bridge.log.read_text()
    assert_settled_once(bridge, bridge.report)


def test_a_batch_of_an_actor_that_got_another_account_settles_with_that(tmp_path: Path, chain: Chain) -> None:
    bridge = Bridge(tmp_path, chain, terms=(3, 3, 3))
    market, admin = bridge.market.functions, chain.admin.address
    successor = Account.create().address
    chain.wait([market.requestReplacement(bridge.actors["pv"], successor).transact({"from": admin})])
    due_at = chain.web3.eth.get_block("latest")["timestamp"] + 3
    wait_until("it is due", lambda: chain.web3.eth.get_block("latest")["timestamp"] >= due_at, 30)
    chain.wait([market.replaceActor(bridge.actors["pv"]).transact({"from": admin})])
    bridge.start()
    try:
        assert bridge.simulate(slots=1, start_slot=FIRST_SLOT + 48).wait(timeout=60) == 0, bridge.log.read_text()
        bridge.actors["pv"] = successor
        assert_settled_once(bridge, bridge.report)
        assert_the_log_has_it_all(bridge)
    finally:
        bridge.stop(signal.SIGTERM)


def test_a_lost_database_is_noticed_before_anything_is_settled_again(bridge: Bridge) -> None:
    assert bridge.simulate(slots=1, start_slot=FIRST_SLOT).wait(timeout=60) == 0
    settled = len(bridge.trades())
    bridge.stop(signal.SIGTERM)
    for path in bridge.directory.glob("bridge.sqlite*"):
        path.unlink()
    bridge.start()
    assert bridge.process is not None
    assert bridge.process.wait(timeout=30) == 1
    log = bridge.log.read_text()
    assert "restore the database" in log.splitlines()[-1]
    assert log.count("listening") == 1, "it acknowledged what it may not keep"
    assert len(bridge.trades()) == settled


def test_a_lost_database_is_made_anew_of_the_chain(bridge: Bridge) -> None:
    assert bridge.simulate(slots=2, start_slot=FIRST_SLOT).wait(timeout=60) == 0
    assert bridge.run("reconcile") == "Database and chain agree.\n"
    bridge.stop(signal.SIGTERM)
    settled = bridge.trades()
    for path in bridge.directory.glob("bridge.sqlite*"):
        path.unlink()
    assert "batches are in the database again" in bridge.run("reconcile", "--rebuild")
    assert bridge.run("reconcile") == "Database and chain agree.\n"
    bridge.start()
    assert bridge.simulate(slots=2, start_slot=FIRST_SLOT).wait(timeout=90) == 0, bridge.log.read_text()
    assert bridge.trades() == settled, "what was settled is not settled again"
    assert bridge.simulate(slots=1, start_slot=FIRST_SLOT + 2).wait(timeout=90) == 0, bridge.log.read_text()
    assert len(bridge.trades()) > len(settled)


def test_a_database_that_says_other_than_the_chain_is_noticed(bridge: Bridge) -> None:
    assert bridge.simulate(slots=1, start_slot=FIRST_SLOT).wait(timeout=60) == 0
    bridge.stop(signal.SIGTERM)
    with closing(sqlite3.connect(bridge.directory / "bridge.sqlite")) as database:
        database.execute("UPDATE trades SET energy_wh = energy_wh + 1 WHERE id = 1")
        database.commit()
    found = bridge.run("reconcile", status=1)
    assert re.match(r"Batch 0 \(transaction 0x[0-9a-f]{64}\), trade 0: the chain has a trade of [0-9]+ Wh from", found)


def test_a_second_bridge_is_kept_off_the_key(bridge: Bridge) -> None:
    wait_until("it listens", lambda: "listening" in bridge.log.read_text(), 20)
    other = bridge.directory / "other.json"
    other.write_text(json.dumps(json.loads(bridge.config.read_text()) | {"listen_port": 0, "database": "other.sqlite"}))
    second = subprocess.run(bridge.command("run", "--config", str(other)), capture_output=True, text=True, check=False)
    assert second.returncode == 1
    assert "Another bridge uses the key in " in second.stderr


def test_two_bridges_settle_on_one_market_with_a_key_each(bridge: Bridge, chain: Chain) -> None:
    operator = Account.create()
    other = copy(bridge)
    other.directory, other.port = bridge.directory / "other", free_port(socket.SOCK_DGRAM)
    other.config, other.log = other.directory / "config.json", other.directory / "bridge.log"
    write_keystore(operator, other.directory / "keystore", other.directory / "password")
    settings = json.loads(bridge.config.read_text())
    settings["operator"] = {
        "keystore": str(other.directory / "keystore"),
        "password_file": str(other.directory / "password"),
    }
    settings |= {"listen_port": other.port, "database": str(other.directory / "bridge.sqlite")}
    other.config.write_text(json.dumps(settings))
    allow = bridge.market.functions.setOperator(operator.address, True)
    chain.wait([allow.transact({"from": chain.admin.address}), chain.give(operator.address, ETHER)])
    other.start()
    try:
        players = [bridge.simulate(slots=2, start_slot=FIRST_SLOT), other.simulate(slots=2, start_slot=FIRST_SLOT + 2)]
        assert [player.wait(timeout=90) for player in players] == [0, 0], other.log.read_text()
    finally:
        other.stop(signal.SIGTERM)
    settled = settled_batches(bridge.market)
    assert {batch.operator for batch in settled} == {bridge.operator, operator.address}
    assert {trade.slot for batch in settled for trade in batch.trades} == set(range(FIRST_SLOT, FIRST_SLOT + 4))


def test_a_reading_is_proven_to_be_in_its_batch(bridge: Bridge) -> None:
    assert bridge.simulate(slots=1, start_slot=FIRST_SLOT).wait(timeout=60) == 0
    said = next(reading for reading in bridge.report["readings"] if reading["transaction"])
    proof = json.loads(bridge.run("prove", said["source"], str(said["boot"]), str(said["seq"])))
    path = [bytes.fromhex(digest) for digest in proof["path"]]
    (batch,) = settled_batches(bridge.market)
    assert root_of_path(bytes.fromhex(proof["digest"]), path) == batch.readings_root
    assert proof["transaction"] == said["transaction"]


def test_a_table_and_a_copy_are_made_while_the_bridge_runs(bridge: Bridge, tmp_path: Path) -> None:
    assert bridge.simulate(slots=2, start_slot=FIRST_SLOT).wait(timeout=60) == 0
    bridge.run("export", str(tmp_path / "trades.csv"))
    with (tmp_path / "trades.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [int(row["energy_wh"]) for row in rows] == [trade.energy_wh for trade in bridge.trades()]
    assert {row["state"] for row in rows} == {"FINAL"}
    bridge.run("export", "--format", "parquet", str(tmp_path / "trades.parquet"))
    table = pyarrow.parquet.read_table(tmp_path / "trades.parquet").to_pylist()
    empty = {None: ""}
    assert [{name: str(empty.get(value, value)) for name, value in row.items()} for row in table] == rows
    bridge.run("backup", str(tmp_path / "copy.sqlite"))
    with closing(Store(tmp_path / "copy.sqlite", read_only=True)) as copy:
        assert copy.status()["trades"]["settled"] == len(rows)


def test_readings_that_come_while_the_node_is_away_settle_when_it_is_back(tmp_path: Path, geth: Path) -> None:
    with one_sealer(geth, tmp_path) as chain:
        bridge = Bridge(tmp_path, chain)
        chain.node.process.send_signal(signal.SIGSTOP)
        try:
            bridge.start()
            player = bridge.simulate(slots=2, start_slot=FIRST_SLOT)
            wait_until("all are stored", lambda: _stored(bridge) == 10, 30)
        finally:
            chain.node.process.send_signal(signal.SIGCONT)
        assert player.wait(timeout=90) == 0, bridge.log.read_text()
        assert_settled_once(bridge, bridge.report)
        bridge.stop(signal.SIGTERM)


def _stored(bridge: Bridge) -> int:
    database = bridge.directory / "bridge.sqlite"
    return int(bridge.status()["readings"]["stored"]) if database.exists() else 0
