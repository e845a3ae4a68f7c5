# SPDX-License-Identifier: GPL-3.0-or-later
"""The mode agreement on a real chain: each trade is a contract, paid when delivered, and else returned."""

from __future__ import annotations

import csv
import io
import signal
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stdout
from pathlib import Path

import pytest
from energy_bridge.cli import main
from support.agreements import Agreement, Parties, make_parties
from support.bridge import DEPOSIT_WEI, GRID
from support.chain import KINDS, Chain
from support.network import wait_until
from support.senders import GRID_PRICE, Delivery, Senders

PATIENCE_S = 60
SLOT = int(time.time()) // 900 - 10  # over: time to deliver runs from when it is traded
PRICE = 10**11
# What a slot has of whom, in Wh: two trades and more.
NEEDS = {"load": -900, "pv": 600, "chp": 200, "battery": 0, GRID: 0}


@contextmanager
def talking(parties: Parties) -> Iterator[Senders]:
    """The actors' senders, and a bridge that is started."""
    senders = Senders(parties.bridge.address, parties.bridge.keys)
    parties.bridge.start()
    try:
        yield senders
    finally:
        parties.bridge.close()
        senders.close()


def send(senders: Senders, slot: int, needs: Mapping[str, int] = NEEDS) -> None:
    for source, energy_wh in needs.items():
        price = GRID_PRICE if source == GRID else PRICE if energy_wh > 0 else 2 * PRICE
        senders.send(source, slot=slot, energy_wh=energy_wh, price_wei_per_wh=price)


def until_ended(senders: Senders) -> None:
    senders.run("all is said", lambda: all(one.ended for one in senders.deliveries), PATIENCE_S)


def assert_agreed_once(parties: Parties, senders: Senders) -> list[Agreement]:
    """Every slot's energies, as they were sent last, are those of its agreements: nothing lost, nothing twice."""
    agreements = parties.agreements()
    newest: dict[tuple[int, str], Delivery] = {}
    for delivery in senders.deliveries:
        if delivery.source != GRID:
            newest[delivery.slot, delivery.source] = delivery
    agreed: Counter[tuple[int, str]] = Counter()
    names: dict[str, str] = {account.address: name for name, account in parties.accounts.items()}
    for one in agreements:
        agreed[one.slot, names[one.seller]] += one.energy_wh
        agreed[one.slot, names[one.buyer]] -= one.energy_wh
    wanted = {key: delivery.energy_wh for key, delivery in newest.items() if delivery.energy_wh}
    assert {key: wh for key, wh in agreed.items() if wh and key[1] != GRID} == wanted
    assert len({one.trade_id for one in agreements}) == len(agreements)
    return agreements


def run(parties: Parties, command: str, *arguments: str) -> str:
    """What a command of this bridge prints, when all is well."""
    printed = io.StringIO()
    with redirect_stdout(printed):
        assert main([command, "--config", str(parties.bridge.write()), *arguments]) == 0
    return printed.getvalue()


def test_what_is_delivered_is_paid_also_by_a_bridge_that_lost_its_database(tmp_path: Path, chain: Chain) -> None:
    parties = make_parties(tmp_path, chain)
    with talking(parties) as senders:
        send(senders, SLOT)
        send(senders, SLOT + 1)
        until_ended(senders)
        senders.send("pv", slot=SLOT, energy_wh=650, price_wei_per_wh=PRICE)
        until_ended(senders)
        assert {one.status for one in senders.deliveries} == {"settled"}
        agreements = assert_agreed_once(parties, senders)
        assert {one.state for one in agreements} == {"Committed"}
        assert sum(parties.balances().values()) < DEPOSIT_WEI * len(KINDS), "the money is set aside"
        assert all(0 < one.deliver_by - chain.block_time_s() <= 86_400 for one in agreements)
        parties.confirm(agreements[:-1])
        wait_until(
            "all but one are settled",
            lambda: sum(one.state == "Settled" for one in parties.agreements()) == len(agreements) - 1,
            PATIENCE_S,
        )
        expected = Counter(dict.fromkeys(KINDS, DEPOSIT_WEI))
        names: dict[str, str] = {account.address: name for name, account in parties.accounts.items()}
        for one in agreements:
            expected[names[one.buyer]] -= one.energy_wh * one.price_wei_per_wh
        for one in agreements[:-1]:
            expected[names[one.seller]] += one.energy_wh * one.price_wei_per_wh
        assert parties.balances() == expected
        wait_until("it knows", lambda: f"{len(agreements) - 1} Settled" in run(parties, "status"), PATIENCE_S)
        rows = export(parties, tmp_path / "before.csv")
        assert [row["agreement"] for row in rows] == [one.address for one in agreements]
        assert [row["ended"] for row in rows] == ["Settled"] * (len(rows) - 1) + [""]
        parties.bridge.end(signal.SIGTERM)
        assert run(parties, "reconcile") == "Database and chain agree.\n"

        prove = ["prove", "--config", str(parties.bridge.write()), "pv", "1", "1"]
        assert main(prove) == 2, "there is no root to prove anything of"

        forget(parties)
        parties.bridge.start()
        wait_until("it says what to do", lambda: "rebuild the database" in parties.bridge.log, PATIENCE_S)
        parties.bridge.close()
        forget(parties)
        assert "in the database again" in run(parties, "reconcile", "--rebuild")
        rebuilt = export(parties, tmp_path / "after.csv")
        assert rebuilt == [{**row, "ended": ""} for row in rows]
        assert run(parties, "reconcile") == "Database and chain agree.\n"
        parties.bridge.start()
        parties.confirm(agreements[-1:])
        wait_until("the last is settled", lambda: parties.states() == {"Settled"}, PATIENCE_S)
        assert len(parties.agreements()) == len(agreements)


def forget(parties: Parties) -> None:
    for path in parties.bridge.directory.glob("bridge.sqlite*"):
        path.unlink()


def export(parties: Parties, path: Path) -> list[dict[str, str]]:
    run(parties, "export", str(path))
    with path.open() as file:
        return list(csv.DictReader(file))


POINTS = (
    "batch after",
    "sign after",
    "mined after",
    "final before",
    "act before",
    "act after",
    "end before",
)


def test_what_is_not_delivered_goes_back_and_nothing_is_agreed_twice_wherever_the_bridge_dies(
    tmp_path: Path, chain: Chain
) -> None:
    parties = make_parties(tmp_path, chain, deliver_within_s=8)
    with talking(parties) as senders:
        for slot, point in enumerate(POINTS, SLOT):
            parties.bridge.close()
            parties.bridge.start(point)
            send(senders, slot)
            senders.run(f"it dies at {point}", lambda: parties.bridge.ended, PATIENCE_S)
            assert parties.bridge.process is not None
            assert parties.bridge.process.exitcode == -signal.SIGKILL, parties.bridge.log
        parties.bridge.start()
        until_ended(senders)
        assert {one.status for one in senders.deliveries} == {"settled"}
        assert_agreed_once(parties, senders)
        wait_until("all are over", lambda: parties.states() == {"Expired"}, PATIENCE_S)
        assert parties.balances() == dict.fromkeys(KINDS, DEPOSIT_WEI)
        parties.bridge.end(signal.SIGTERM)
    assert run(parties, "reconcile") == "Database and chain agree.\n"


def test_who_did_not_accept_agreements_is_told_what_to_do(tmp_path: Path, chain: Chain) -> None:
    parties = make_parties(tmp_path, chain, accepting=["battery", "grid"])
    with talking(parties) as senders:
        send(senders, SLOT, {"load": -900, "pv": 600, "chp": 0, "battery": 0, GRID: 0})
        until_ended(senders)
        by_source = {one.source: one for one in senders.deliveries}
        assert {by_source["load"].status, by_source["pv"].status} == {"refused"}
        assert by_source["chp"].status == "settled", "it had nothing to trade"
        assert "AgreementsNotAccepted" in str(by_source["load"].reason)
        assert "load has to call acceptAgreements(true) of the market 0x" in str(by_source["load"].reason)
        assert parties.agreements() == []
        parties.accept(["load"])
        send(senders, SLOT + 1)
        until_ended(senders)
        assert len(parties.agreements()) > 0


@pytest.fixture(autouse=True)
def _no_traceback(tmp_path: Path) -> Iterator[None]:
    yield
    log = tmp_path / "bridge.log"
    assert not log.exists() or "Traceback" not in log.read_text()
