# SPDX-License-Identifier: GPL-3.0-or-later
"""The page tells the truth under trouble: each kind in its own words, on a page that was open when it began."""

from __future__ import annotations

import fcntl
import json
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import pytest
from playwright.sync_api import Browser
from support.bridge import Bridge
from support.browser import PHONE, Visit, visit
from support.chain import CHECKOUT, GATEWAY_APIS, Chain, one_sealer, unsteady
from support.network import wait_until
from support.senders import Senders
from support.stage import answers, first_slots, make_stage, on_stage, play, url_of

PICTURES = CHECKOUT / "build/page"
TROUBLES = "#troubles"
# SQLite's locks of a database in WAL mode: bytes of its -shm file, by the documentation of its file format.
WAL_LOCKS, WAL_LOCKS_COUNT = 120, 8


@pytest.fixture(scope="module")
def own_chain(geth: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chain]:
    """A chain that these tests may stop."""
    with one_sealer(geth, tmp_path_factory.mktemp("own"), apis=GATEWAY_APIS) as running:
        yield running


@pytest.fixture(scope="module")
def bridge(own_chain: Chain, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bridge]:
    """A bridge of their own, with a few trades."""
    with on_stage(make_stage(tmp_path_factory.mktemp("bridge"), own_chain)) as made:
        play(made, first_slots()[0], 2)
        yield made


@pytest.fixture
def shown(running_browser: Browser, bridge: Bridge) -> Iterator[Visit]:
    """The first view, while all is well."""
    with visit(running_browser, url_of(bridge)) as page:
        page.go("#/")
        page.wait_for("live", within="header")
        page.wait_for("All is well.", within="main")
        yield page


@contextmanager
def stopped(chain: Chain) -> Iterator[None]:
    """Geth does nothing for so long, as one whose disk does not answer."""
    chain.node.process.send_signal(signal.SIGSTOP)
    try:
        yield
    finally:
        chain.node.process.send_signal(signal.SIGCONT)


@contextmanager
def locked(database: Path) -> Iterator[None]:
    """Nobody else reads or writes this database, as while somebody restores it."""
    with Path(f"{database}-shm").open("r+b") as file:
        fcntl.lockf(file, fcntl.LOCK_EX, WAL_LOCKS_COUNT, WAL_LOCKS)
        yield


def figures_of(page: Visit) -> list[str]:
    return page.values("tr[data-key^='a-'] data")


def test_geth_of_the_gateway_is_down(shown: Visit, own_chain: Chain) -> None:
    before = figures_of(shown)
    with stopped(own_chain):
        shown.wait_for("The node cannot be asked", within=TROUBLES)
        shown.wait_for("Something is wrong.", within="main")
        assert figures_of(shown) == before, "what was known is shown still"
        assert shown.page.title().startswith("(!)")
        shown.picture(PICTURES / "trouble-node.png")
    shown.wait_until_gone("The node cannot be asked")
    shown.wait_for("All is well.", within="main")


def test_the_bridge_is_down_and_then_restarted(shown: Visit, bridge: Bridge) -> None:
    before = figures_of(shown)
    bridge.end(signal.SIGKILL)
    shown.wait_for("The bridge does not answer since", "these figures are from", within=TROUBLES)
    shown.wait_for("not connected", within="header")
    assert figures_of(shown) == before
    shown.picture(PICTURES / "trouble-bridge.png")
    age = "() => document.querySelector('#troubles').innerText"
    first = shown.page.evaluate(age)
    shown.until("its age grows", f"(first) => ({age})() !== first", first)
    bridge.start()
    wait_until("it answers again", lambda: answers(bridge), 30, 0.1)
    shown.wait_for("The bridge was restarted at", within=TROUBLES)
    shown.wait_until_gone("does not answer")
    shown.wait_for("live", within="header")
    assert figures_of(shown) == before
    shown.picture(PICTURES / "trouble-restart.png")


def test_the_database_is_busy_and_nothing_can_be_read_or_stored(shown: Visit, bridge: Bridge) -> None:
    before = figures_of(shown)
    senders = Senders(bridge.address, bridge.keys)
    try:
        with locked(bridge.database):
            sent = senders.send("load", slot=first_slots()[1], energy_wh=-1, price_wei_per_wh=1)
            shown.wait_for("The database cannot be read", "figures are", within=TROUBLES)
            shown.wait_for("Readings cannot be stored and nobody is acknowledged", within=TROUBLES)
            assert figures_of(shown) == before, "what was known is shown still"
            told = shown.page.inner_text("body")
            assert str(bridge.database.parent) not in told, "that is nobody's business"
            assert "The node cannot be asked" not in told, "it can"
            assert not sent.acknowledged
            shown.picture(PICTURES / "trouble-database.png")
        senders.run("it is stored at last", lambda: sent.acknowledged, 60)
    finally:
        senders.close()
    shown.wait_until_gone("The database cannot be read")
    shown.wait_until_gone("Readings cannot be stored")
    shown.wait_for("All is well.", within="main")


def test_clocks_that_differ_and_a_chain_that_halts(
    running_browser: Browser, chain: Chain, tmp_path: Path, axe: Path
) -> None:
    """Of a gateway whose clock is wrong all blocks come from the future, and a chain that halts has old ones only."""
    ahead = SimpleNamespace(s=0)

    def shift(asked: str, told: bytes) -> bytes:
        if ahead.s and "eth_getBlockBy" in asked:
            answers_ = json.loads(told)
            for answer in answers_ if isinstance(answers_, list) else [answers_]:
                block = answer.get("result")
                if isinstance(block, dict) and "timestamp" in block:
                    block["timestamp"] = hex(int(block["timestamp"], 16) + ahead.s)
            return json.dumps(answers_).encode()
        return told

    with (
        unsteady(chain, tells=shift) as url,
        on_stage(make_stage(tmp_path, chain, rpc_url=url)) as bridge,
        visit(running_browser, url_of(bridge), size=PHONE, script=axe) as page,
    ):
        page.go("#/chain")
        page.wait_for("live", within="header")
        ahead.s = 90
        page.wait_for("This gateway's clock is wrong", within=TROUBLES)
        page.picture(PICTURES / "trouble-clock.png")
        ahead.s = -600
        page.wait_for("The chain halts", within=TROUBLES)
        page.wait_until_gone("clock is wrong")
        assert page.faults() == []
        page.picture(PICTURES / "trouble-halt.png")
        ahead.s = 0
        page.wait_until_gone("The chain halts")
        assert page.errors == []


def test_a_device_whose_clock_is_wrong_shows_ages_by_the_bridges(running_browser: Browser, stage: Bridge) -> None:
    with visit(running_browser, url_of(stage)) as page:
        page.page.clock.install(time=0)
        page.page.clock.resume()
        page.go("#/")
        page.wait_for("This device's clock is", "behind the bridge's", within=TROUBLES)
        assert " d " not in page.page.inner_text("main p.lead")
