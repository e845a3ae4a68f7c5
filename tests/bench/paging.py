# SPDX-License-Identifier: GPL-3.0-or-later
"""The page with 50 browsers on 200 actors and 100,000 trades, beside one that asks the database each time."""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import re
import socket
import sqlite3
import statistics
import sys
import time
import urllib.request
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp
from energy_bridge.model import NWH_PER_WH, BatchState, Fate, Reading
from energy_bridge.store import Store
from energy_bridge.wire import encode_reading
from support.network import wait_until

from bench.intake import ACTORS, SOURCES, Server, bridge, free_port, on_one_core
from bench.progress import timed
from bench.rows import Row

PLAIN = Path(__file__).parent / "plain_page.py"
CLIENTS, ROUNDS, VIEWS = 50, 6, 5
TRADES, TRADES_PER_SLOT, SLOTS_PER_BATCH, SLOT_S = 100_000, 100, 10, 900
AT_MOST_EVERY_S = 1.0  # as the page asks for what is new
PAUSE_S = (1.2, 2.2)  # from a commit to the next one, once all have seen it
PATIENCE_S = 120.0
GWEI = 10**9
GRID_BUYS, GRID_SELLS = 70 * GWEI, 320 * GWEI
GRID = SOURCES[0].name
ACCEPTED = re.compile(rb'"accepted": ?(\d+)')
# When the last actor is in the table, by the browser's own clock since the navigation began.
STOPWATCH = f"""new MutationObserver((_, observer) => {{
    if (document.querySelectorAll("tr[data-key^='a-']").length < {ACTORS}) return;
    observer.disconnect();
    requestAnimationFrame(() => {{ window.shownAfterMs = performance.now(); }});
}}).observe(document, {{childList: true, subtree: true}});"""


@dataclass
class Client:
    """A browser without a window: the stream of events, and the overview each time that there is a new one."""

    url: str
    seen: int = -1
    told: asyncio.Event = field(default_factory=asyncio.Event)
    news: asyncio.Event = field(default_factory=asyncio.Event)

    async def run(self, session: aiohttp.ClientSession) -> None:
        await asyncio.gather(self._listen(session), self._fetch(session))

    async def _listen(self, session: aiohttp.ClientSession) -> None:
        async with session.get(f"{self.url}/api/v1/events", timeout=aiohttp.ClientTimeout(total=None)) as stream:
            async for line in stream.content:
                if line.startswith(b"data: "):
                    self.news.set()

    async def _fetch(self, session: aiohttp.ClientSession) -> None:
        self.news.set()
        while True:
            await self.news.wait()
            self.news.clear()
            since = time.monotonic()
            async with session.get(f"{self.url}/api/v1/overview") as response:
                found = ACCEPTED.search(await response.read())
            assert found is not None, "an overview without a count of readings"
            self.seen = int(found[1])
            self.told.set()
            await asyncio.sleep(max(0.0, since + AT_MOST_EVERY_S - time.monotonic()))

    async def sees(self, count: int) -> float:
        """Wait for so many readings, and say when they were there (monotonic, seconds)."""
        while self.seen < count:
            self.told.clear()
            await self.told.wait()
        return time.monotonic()


def page(scratch: Path, wanted: frozenset[str]) -> Iterator[Row]:
    """Measure both programs on the same database, one after the other, each on one core."""
    folder = scratch / "page"
    folder.mkdir()
    (folder / "keys.json").write_text(json.dumps({source.name: source.keys[0].hex() for source in SOURCES}))
    database = folder / "page.sqlite"
    timed(f"a database with {TRADES:,} trades among {ACTORS}", lambda: fill(database))
    settings = {
        "slot_s": SLOT_S,
        "clearing": {"grid_buys_wei_per_wh": GRID_BUYS, "grid_sells_wei_per_wh": GRID_SELLS},
    }
    with bridge(folder, "page", **settings) as server:
        url = f"http://127.0.0.1:{server.web_port}"
        wait_until("the figures", lambda: _has_figures(url, folder / "overview.json"), 60)
        with sending(server) as commit:
            ours = timed("the bridge's page", lambda: asyncio.run(measure(url, commit)))[1]
        rss_mib = server.rss_mib()
    with plain(folder, database) as url, inserting(database) as commit:
        peers = timed("a page that asks each time", lambda: asyncio.run(measure(url, commit)))[1]
    for name, figures in zip(
        ("page_first_view_ms", "page_clients/update_ms"), zip(ours, peers, strict=True), strict=True
    ):
        if name in wanted:
            yield Row(name, *figures)
    if "page_clients/rss_mib" in wanted:
        yield Row("page_clients/rss_mib", rss_mib)


async def measure(url: str, commit: Callable[[], Awaitable[None]]) -> tuple[float, float]:
    """First view (median) and update (95 of a hundred), in ms, with all clients there."""
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(total=PATIENCE_S)) as session:
        clients = [Client(url) for _ in range(CLIENTS)]
        running = [asyncio.create_task(client.run(session)) for client in clients]
        try:
            async with asyncio.timeout(PATIENCE_S * (ROUNDS + 1)):
                await asyncio.gather(*(client.sees(0) for client in clients))
                updates = await _updates(clients, commit)
                views = await asyncio.to_thread(first_views, url)
        finally:
            for one in running:
                one.cancel()
            await asyncio.gather(*running, return_exceptions=True)
    return statistics.median(views), statistics.quantiles(updates, n=20)[-1]


async def _updates(clients: list[Client], commit: Callable[[], Awaitable[None]]) -> list[float]:
    """From a commit to its figures at each client, in ms."""
    chance, updates = random.Random(9), []  # noqa: S311
    for _ in range(ROUNDS):
        await asyncio.sleep(chance.uniform(*PAUSE_S))
        count = max(client.seen for client in clients) + 1
        await commit()
        committed = time.monotonic()
        updates += [1000 * (at - committed) for at in await asyncio.gather(*(client.sees(count) for client in clients))]
    return updates


def first_views(url: str) -> list[float]:
    """Open the page again and again, each time as somebody new, and return the ms until all is shown."""
    # It is in the group of tests, and nothing else here needs it.
    from support.browser import chromium, visit  # noqa: PLC0415

    views = []
    with chromium() as running:
        for _ in range(VIEWS):
            with visit(running, url) as shown:
                shown.page.add_init_script(STOPWATCH)
                shown.page.goto(f"{url}/#/")
                shown.until("all actors are shown", "() => window.shownAfterMs !== undefined")
                views.append(float(shown.page.evaluate("window.shownAfterMs")))
    return views


def _has_figures(url: str, copy: Path) -> bool:
    """Whether the bridge has read all trades; its overview is kept."""
    with urllib.request.urlopen(f"{url}/api/v1/overview") as response:  # noqa: S310
        text = response.read().decode()
    overview = json.loads(text)
    copy.write_text(text)
    return bool(overview["totals"]["traded_wh"]) and overview["bridge"]["trades"]["settled"] == TRADES


@contextlib.contextmanager
def sending(server: Server) -> Iterator[Callable[[], Awaitable[None]]]:
    """Commit by a reading to the bridge, which is acknowledged when it is on disk."""
    source, boot, numbers = SOURCES[1], int(time.time() * 1000), iter(range(10**6))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.connect(("127.0.0.1", server.port))
        sock.setblocking(False)

        async def commit() -> None:
            now = time.time()
            slot = int(now) // SLOT_S + 4
            reading = Reading(source.name, boot, next(numbers), round(now, 3), slot, NWH_PER_WH, 100 * GWEI)
            loop = asyncio.get_running_loop()
            await loop.sock_sendall(sock, encode_reading(reading, source.keys[0]))
            assert b'"stored"' in await asyncio.wait_for(loop.sock_recv(sock, 2048), PATIENCE_S)

        yield commit


@contextlib.contextmanager
def inserting(database: Path) -> Iterator[Callable[[], Awaitable[None]]]:
    """Commit by a row of one's own."""
    numbers = iter(range(10**6))
    with contextlib.closing(sqlite3.connect(database, isolation_level=None)) as db:
        (slot,) = db.execute("SELECT max(slot) FROM slots").fetchone()

        async def commit() -> None:
            row = (SOURCES[1].name, 1, next(numbers), b"", time.time(), time.time(), slot, 0, 0, Fate.SUPERSEDED, None)
            db.execute(f"INSERT INTO readings VALUES ({', '.join('?' * len(row))}, NULL)", row)  # noqa: S608

        yield commit


@contextlib.contextmanager
def plain(folder: Path, database: Path) -> Iterator[str]:
    """What is compared with, and where it answers."""
    port = free_port(socket.SOCK_STREAM)
    command = [sys.executable, str(PLAIN), str(port), str(database), str(folder / "overview.json"), GRID]
    with on_one_core(command, folder / "plain.log"):
        listens = f":{port:04X} "
        wait_until("the plain page to listen", lambda: listens in Path("/proc/net/tcp").read_text(), 30)
        yield f"http://127.0.0.1:{port}"


def fill(database: Path) -> None:
    """Days of trades that are all final, with the readings that they were made of."""
    Store(database).close()
    chance, now = random.Random(9), time.time()  # noqa: S311
    slots = range(int(now) // SLOT_S - TRADES // TRADES_PER_SLOT, int(now) // SLOT_S)
    with contextlib.closing(sqlite3.connect(database)) as db:
        for place, slot in enumerate(slots):
            batch, at = place // SLOTS_PER_BATCH + 1, slot * SLOT_S
            if place % SLOTS_PER_BATCH == 0:
                mark = f"0x{batch:064x}"
                row = (batch, BatchState.FINAL, at, batch - 1, mark, batch, mark, None)
                db.execute("INSERT INTO batches VALUES (?, ?, ?, ?, ?, ?, ?, ?)", row)
            db.execute("INSERT INTO slots VALUES (?, ?, ?, ?, '[]', NULL)", (slot, at, at, TRADES_PER_SLOT))
            db.executemany(
                "INSERT INTO readings VALUES (?, 1, ?, x'', ?, ?, ?, ?, ?, ?, ?, ?)",
                [
                    (source.name, slot, at, at, slot, wh * NWH_PER_WH, 100 * GWEI, Fate.COUNTED, wh, batch)
                    for source in SOURCES
                    for wh in [chance.randint(-2_000, 2_000)]
                ],
            )
            db.executemany(
                "INSERT INTO trades (slot, seller, buyer, energy_wh, price_wei_per_wh, imbalance, batch)"
                " VALUES (?, ?, ?, ?, ?, 0, ?)",
                [
                    (slot, *pair(chance), chance.randint(1, 2_000), chance.randint(80, 300) * GWEI, batch)
                    for _ in range(TRADES_PER_SLOT)
                ],
            )
        db.commit()


def pair(chance: random.Random) -> tuple[str, str]:
    """Who sells to whom: neighbours mostly, else the grid takes or gives."""
    seller, buyer = (source.name for source in chance.sample(SOURCES[1:], 2))
    return {0: (GRID, buyer), 1: (seller, GRID)}.get(chance.randrange(8), (seller, buyer))
