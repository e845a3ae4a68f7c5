# SPDX-License-Identifier: GPL-3.0-or-later
"""The page's API over HTTP, on a database that Store filled and a node that is pretended."""

import asyncio
import gzip
import itertools
import json
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import aiohttp
import pytest
from energy_bridge import api as api_module
from energy_bridge.agreements import Act, Agreements, AgreementStore, State
from energy_bridge.api import Api
from energy_bridge.config import Config, parse_config
from energy_bridge.figures import Board
from energy_bridge.gate import Gate, close_due_slots
from energy_bridge.intake import Intake, TimeRules
from energy_bridge.metrics import Metrics, Rejected
from energy_bridge.model import NWH_PER_WH, BatchState, Reading, Trade
from energy_bridge.openapi import PREFIX
from energy_bridge.receiver import Allowed
from energy_bridge.store import Attempt, Batch, Closing, Store
from energy_bridge.watch import Watch
from energy_bridge.web import HEADERS, Web
from energy_bridge.wire import Sources
from support.pretended_node import PERIOD_S, SEALERS, Node
from support.settings import bridge_settings

PATIENCE_S = 30.0
DAY_SLOTS = 96
FIRST = 20_000 * DAY_SLOTS  # a day's first slot
DAY, DAY_AFTER = "2024-10-04", "2024-10-05"
ADDRESSES = {"pv": "0x" + "01" * 20, "load": "0x" + "02" * 20, "grid": "0x" + "03" * 20}
KINDS = {"pv": "PV", "load": "Load", "grid": "Grid"}
SOURCES = ("pv", "load", "grid")
GATE = Gate(actors=frozenset(SOURCES), slot_s=900, grace_s=0, simulated=True)


def config(directory: Path, url: str, **settings: Any) -> Config:
    document = bridge_settings(
        database=str(directory / "bridge.sqlite"),
        rpc_url=url,
        period_s=PERIOD_S,
        actors={name: {"address": address, "kind": KINDS[name]} for name, address in ADDRESSES.items()},
        web_names=["gateway", "Pi5.local"],
        sealers={SEALERS[0].upper().replace("X", "x"): "sealer1"},
    )
    return parse_config(document | settings)


@dataclass
class Served:
    """A running page with its database and its node; the clock stands until it is set."""

    session: aiohttp.ClientSession
    url: str
    config: Config
    store: Store
    node: Node
    watch: Watch
    board: Board
    metrics: Metrics
    clock: list[float]
    raw: dict[str, str] = field(default_factory=dict)

    async def get(self, path: str, status: int = 200, **headers: str) -> Any:
        """The body of an answer with that status, which has to be JSON."""
        given = {name.replace("_", "-"): value for name, value in headers.items()}
        async with self.session.get(f"{self.url}{PREFIX}/{path}", headers=given) as response:
            assert response.status == status, await response.text()
            return await response.json()

    async def all_ids(self, kind: str, query: str) -> list[int]:
        """The ids of a whole list, from cursor to cursor."""
        found, cursor = [], ""
        while True:
            part = await self.get(f"{kind}?{query}{cursor}")
            found += [one["id"] for one in part[kind]]
            if part["next"] is None:
                return found
            cursor = f"&before={part['next']}"

    async def overview(self) -> Any:
        """The overview after a look at everything."""
        await self.watch.look(self.session)
        await self.board.look()
        return await self.get("overview")

    async def until(self, condition: Callable[[Any], bool]) -> Any:
        """The first overview that fulfils a condition."""
        async with asyncio.timeout(PATIENCE_S):
            while not condition(shown := await self.overview()):
                await asyncio.sleep(0.02)
        return shown


@asynccontextmanager
async def serving(directory: Path, *, node: Node | None = None, **settings: Any) -> AsyncIterator[Served]:
    """A page for as long as this lasts."""
    node = node or Node(head=100)
    async with node.serving(), aiohttp.ClientSession() as session:
        of = config(directory, node.url, **settings)
        clock = [float(node.time_of(node.head))]
        metrics = Metrics()
        with closing(Store(of.database)) as store:
            intake = Intake(
                lambda: Store(of.database),
                sources=Sources([], authenticated=False),
                rules=TimeRules(900, 172_800, wall_clock=False),
                metrics=metrics,
                on_stored=lambda: None,
                on_failure=lambda _: None,
            )
            watch = Watch(of, lambda: board.outbox(), intake, clock=lambda: clock[0])  # noqa: PLW0108 - it is made of the watch
            board = Board(of, watch, counts=metrics.counts, clock=lambda: clock[0])
            web = Web(
                intake,
                allowed=Allowed(None),
                authenticated=False,
                metrics=metrics,
                view=lambda: board.view,
                period_s=of.period_s,
                clock=lambda: clock[0],
                web_names=of.web_names,
                api=Api(of, board),
            )
            port = await web.start("127.0.0.1", 0)
            keeping = asyncio.create_task(board.run())
            try:
                url = f"http://127.0.0.1:{port}"
                yield Served(session, url, of, store, node, watch, board, metrics, clock)
            finally:
                keeping.cancel()
                await asyncio.gather(keeping, return_exceptions=True)
                await web.stop()
                board.close()


def page(directory: Path, use: Callable[[Served], Awaitable[None]], **settings: Any) -> None:
    """Run a page for as long as it is used."""

    async def run() -> None:
        async with serving(directory, **settings) as served:
            await use(served)

    asyncio.run(run())


def say(store: Store, slot: int, **offers: tuple[int, int]) -> None:
    """Readings of a slot: Wh and wei per Wh by source."""
    readings = [Reading(name, 1, slot, 0.0, slot, wh * NWH_PER_WH, price) for name, (wh, price) in offers.items()]
    store.add([(reading, b"%d %s" % (slot, reading.source.encode())) for reading in readings], 1.0)


def trade(store: Store, config: Config, slot: int) -> None:
    """Pv sells 60 Wh to load, and 40 to the grid, for 2 and 5 wei."""
    say(store, slot, pv=(100, 2), load=(-60, 9), grid=(0, 5))
    close_due_slots(store, GATE, config.rules, now=2.0)


def form(store: Store) -> int:
    batch = store.form_batch(slots_per_day=DAY_SLOTS, most_trades=100, now=3.0)
    assert batch is not None
    return batch


def hash_of(seq: int) -> str:
    return f"0x{seq:064x}"


def mine(store: Store, batch: int, *, seq: int, block: int = 9, block_hash: str = "0xb") -> None:
    """A batch's way into a block."""
    store.signed(batch, Attempt(hash_of(seq), seq + 10, b"raw"), seq=seq, operator="0x01", now=4.0)
    store.sent(batch)
    store.mined(batch, BatchState.MINED, transaction=hash_of(seq), block=block, block_hash=block_hash)


def settle(store: Store, config: Config, slot: int, *, seq: int) -> int:
    trade(store, config, slot)
    batch = form(store)
    mine(store, batch, seq=seq)
    store.final(batch)
    return batch


def actor_of(overview: Any, name: str) -> Any:
    return next(actor for actor in overview["actors"] if actor["name"] == name)


def test_the_overview_has_everything_of_the_first_view(tmp_path: Path) -> None:
    async def use(served: Served) -> None:
        settle(served.store, served.config, FIRST, seq=0)
        settle(served.store, served.config, FIRST + DAY_SLOTS, seq=1)
        trade(served.store, served.config, FIRST + DAY_SLOTS + 1)
        say(served.store, FIRST + DAY_SLOTS + 2, pv=(1, 2))
        served.metrics.rejected[Rejected.TIME].inc(3)
        shown = await served.overview()
        assert shown["days"] == [DAY_AFTER, DAY]
        assert shown["totals"] == {"traded_wh": 200, "local_wh": 120, "grid_wh": 80}
        assert shown["market"] == {
            "address": "0x" + "ab" * 20,
            "chain_id": 1337,
            "mode": "batch",
            "currency": "EUR",
            "wei_per_unit": "1000000000000000",
            "slot_s": 900,
            "period_s": PERIOD_S,
            "confirmations": 3,
            "grid": "grid",
            "method": "pay_as_bid",
            "fee_account": None,
            "clock": "simulated",
            "authenticated": False,
        } | {"address": shown["market"]["address"]}
        assert shown["market"]["address"].lower() == "0x" + "ab" * 20
        assert [actor["name"] for actor in shown["actors"]] == list(SOURCES)
        assert actor_of(shown, "pv") == {
            "name": "pv",
            "kind": "PV",
            "address": ADDRESSES["pv"],
            "balance_wei": "7000000000000000",
            "sold_wh": 200,
            "bought_wh": 0,
            "received_wei": str(2 * (60 * 2 + 40 * 5)),
            "paid_wei": "0",
            "grid_only_wei": "1000",
            "self_consumption": 0.6,
            "self_sufficiency": None,
        }
        assert actor_of(shown, "load")["grid_only_wei"] == "-600"
        assert actor_of(shown, "load")["self_sufficiency"] == 1.0
        assert {actor_of(shown, "grid")[name] for name in ("grid_only_wei", "self_consumption")} == {None}
        assert shown["latest_slot"] == FIRST + DAY_SLOTS + 1
        assert [(one["id"], one["state"], one["confirmations"]) for one in shown["trades"]] == [
            (6, "WAITING", None),
            (5, "WAITING", None),
            (4, "FINAL", 92),
            (3, "FINAL", 92),
            (2, "FINAL", 92),
            (1, "FINAL", 92),
        ]
        bridge = shown["bridge"]
        assert bridge["rejected"] == {"stranger": 0, "unproven": 0, "invalid": 0, "time": 3}
        assert (bridge["open_slots"], bridge["outbox_trades"]) == (1, 2)
        assert bridge["outbox_age_s"] == served.clock[0] - 2.0
        assert bridge["readings"]["stored"] == 10
        assert bridge["trades"] == {"made": 6, "settled": 4, "refused": 0, "imbalances": 0}
        assert bridge["batches"]["FINAL"] == 2
        chain = shown["chain"]
        assert (chain["head_block"], chain["window_blocks"], chain["block_time_s"]) == (100, 64, PERIOD_S)
        assert [(one["name"], one["last_block"], one["sealed"], one["in_turn"]) for one in chain["sealers"]] == [
            (None, 99, 32, 32),
            ("sealer1", 100, 32, 32),
        ]
        assert shown["as_of"] == dict.fromkeys(("chain", "market", "balances"), served.clock[0])
        assert shown["started"] == shown["now"] == served.clock[0]

    page(tmp_path, use)


def test_an_empty_database_has_an_overview(tmp_path: Path) -> None:
    async def use(served: Served) -> None:
        shown = await served.overview()
        assert (shown["days"], shown["trades"], shown["latest_slot"]) == ([], [], None)
        assert shown["totals"] == {"traded_wh": 0, "local_wh": 0, "grid_wh": 0}
        assert shown["bridge"]["outbox_age_s"] is None
        assert actor_of(shown, "pv")["grid_only_wei"] == "0"
        assert shown["health"] == {"healthy": True, "problems": [], "notes": []}

    page(tmp_path, use)


def test_a_batch_that_leaves_the_chain_is_taken_out_until_it_is_back(tmp_path: Path) -> None:
    async def use(served: Served) -> None:
        trade(served.store, served.config, FIRST)
        batch = form(served.store)
        assert (await served.overview())["totals"]["traded_wh"] == 0
        mine(served.store, batch, seq=0)
        assert (await served.overview())["totals"]["traded_wh"] == 100
        served.store.sent(batch)  # its block is gone
        shown = await served.overview()
        assert shown["totals"]["traded_wh"] == 0
        assert (shown["days"], shown["trades"][0]["state"]) == ([DAY], "SENT")
        served.store.mined(batch, BatchState.MINED, transaction=hash_of(0), block=12, block_hash="0xc")
        served.store.final(batch)
        assert (await served.overview())["totals"]["traded_wh"] == 100
        # One that was final before it was gone, and came back without one of its trades.
        served.store.sent(batch)
        served.store.mined(batch, BatchState.REVERTED, transaction=hash_of(0), block=13, block_hash="0xd")
        served.store.again(batch)
        served.store.refuse(batch, [1], "NotAnActor")
        mine(served.store, batch, seq=0 + 1, block=14, block_hash="0xe")
        shown = await served.overview()
        assert shown["totals"] == {"traded_wh": 40, "local_wh": 0, "grid_wh": 40}
        assert [(one["state"], one["refused_because"]) for one in shown["trades"]] == [
            ("MINED", None),
            ("REFUSED", "NotAnActor"),
        ]

    page(tmp_path, use)


def test_figures_are_by_day_and_by_counterparty(tmp_path: Path) -> None:
    async def use(served: Served) -> None:
        settle(served.store, served.config, FIRST, seq=0)
        settle(served.store, served.config, FIRST + DAY_SLOTS - 1, seq=1)
        settle(served.store, served.config, FIRST + DAY_SLOTS, seq=2)
        days = await served.get("days?actor=load")
        assert [(day["day"], day["bought_wh"]) for day in days["days"]] == [(DAY_AFTER, 60), (DAY, 120)]
        statement = await served.get(f"actors/pv/statement?day={DAY}")
        assert (statement["actor"], statement["kind"], statement["day"]) == ("pv", "PV", DAY)
        assert statement["address"] == ADDRESSES["pv"]
        assert (statement["sold_wh"], statement["received_wei"]) == (200, "640")
        assert statement["counterparties"] == [
            {"name": "grid", "sold_wh": 80, "bought_wh": 0, "received_wei": "400", "paid_wei": "0", "trades": 2},
            {"name": "load", "sold_wh": 120, "bought_wh": 0, "received_wei": "240", "paid_wei": "0", "trades": 2},
        ]
        empty = await served.get("actors/pv/statement?day=1999-01-01")
        assert (empty["sold_wh"], empty["counterparties"]) == (0, [])
        lines = await served.get(f"trades?actor=pv&day={DAY}")
        assert sum(int(line["amount_wei"]) for line in lines["trades"]) == 640

    page(tmp_path, use)


def test_trades_are_listed_by_every_filter_and_from_cursor_to_cursor(tmp_path: Path) -> None:
    async def use(served: Served) -> None:
        for seq in range(4):
            settle(served.store, served.config, FIRST + 48 * seq, seq=seq)
        trade(served.store, served.config, FIRST + 200)
        under_way = form(served.store)
        served.store.refuse(under_way, [9], "NotAnActor")
        trade(served.store, served.config, FIRST + 201)

        async def ids(query: str) -> list[int]:
            return [one["id"] for one in (await served.get(f"trades?{query}"))["trades"]]

        assert await ids("") == list(range(12, 0, -1))
        assert await ids("actor=load") == [11, 9, 7, 5, 3, 1]
        assert await ids(f"slot={FIRST + 48}") == [4, 3]
        assert await ids(f"day={DAY}") == [4, 3, 2, 1]
        assert await ids(f"day={DAY}&actor=load") == [3, 1]
        assert await ids(f"day={DAY}&slot={FIRST + 96}") == []
        assert await ids(f"day={DAY}&before=3") == [2, 1]
        assert await ids("state=WAITING") == [12, 11]
        assert await ids("state=BATCHED") == [10]
        assert await ids("state=REFUSED") == [9]
        assert await ids("state=FINAL&actor=load&limit=2") == [7, 5]
        assert await ids("state=SENT") == []
        assert await served.all_ids("trades", "limit=5") == list(range(12, 0, -1))

    page(tmp_path, use)


def test_readings_are_listed_by_every_filter_and_from_cursor_to_cursor(tmp_path: Path) -> None:
    async def use(served: Served) -> None:
        for slot in range(FIRST, FIRST + 4):
            say(served.store, slot, pv=(slot - FIRST, -2), load=(-1, 9))
        first = (await served.get("readings"))["readings"]
        assert [(one["source"], one["slot"] - FIRST) for one in first[:3]] == [("load", 3), ("pv", 3), ("load", 2)]
        assert first[1] | {"id": 0} == {
            "id": 0,
            "source": "pv",
            "boot": 1,
            "seq": FIRST + 3,
            "time": 0.0,
            "received_at": 1.0,
            "slot": FIRST + 3,
            "energy_nwh": "3000000000",
            "price_wei_per_wh": "-2",
            "fate": "open",
            "wh": None,
        }
        for query, count in (("source=pv", 4), ("", 8), (f"slot={FIRST}", 2), (f"source=pv&slot={FIRST}", 1)):
            found = await served.all_ids("readings", f"limit=1&{query}")
            assert len(found) == count
            assert found == sorted(found, reverse=True)

    page(tmp_path, use)


def test_a_slot_has_its_offers_and_its_trades(tmp_path: Path) -> None:
    async def use(served: Served) -> None:
        settle(served.store, served.config, FIRST, seq=0)
        say(served.store, FIRST + 1, pv=(7, 2))
        slots = await served.get("slots")
        assert [one["slot"] for one in slots["slots"]] == [FIRST + 1, FIRST]
        assert slots["slots"][0] == {
            "slot": FIRST + 1,
            "first_at": 1.0,
            "closed_at": None,
            "traded": None,
            "missing": None,
            "refusal": None,
        }
        assert [one["slot"] for one in (await served.get(f"slots?before={FIRST + 1}"))["slots"]] == [FIRST]
        slot = await served.get(f"slots/{FIRST}")
        assert (slot["closed_at"], slot["traded"], slot["missing"]) == (2.0, 2, [])
        assert slot["offers"] == [
            {"actor": "load", "kind": "Load", "energy_wh": -60, "price_wei_per_wh": "9"},
            {"actor": "pv", "kind": "PV", "energy_wh": 100, "price_wei_per_wh": "2"},
        ]
        assert [one["id"] for one in slot["trades"]] == [2, 1]
        assert (slot["grid_buys_wei_per_wh"], slot["grid_sells_wei_per_wh"]) == ("5", "5")
        assert "slot 5" in (await served.get("slots/5", 404))["error"]

    page(tmp_path, use)


def test_the_rules_tariffs_come_before_what_the_grid_named(tmp_path: Path) -> None:
    async def use(served: Served) -> None:
        settle(served.store, served.config, FIRST, seq=0)
        slot = await served.get(f"slots/{FIRST}")
        assert (slot["grid_buys_wei_per_wh"], slot["grid_sells_wei_per_wh"]) == ("3", "5")
        assert actor_of(await served.overview(), "pv")["grid_only_wei"] == "300"

    page(tmp_path, use, clearing={"grid_buys_wei_per_wh": 3})


def test_without_a_tariff_nobody_knows_what_the_grid_alone_would_cost(tmp_path: Path) -> None:
    async def use(served: Served) -> None:
        say(served.store, FIRST, pv=(60, 2), load=(-60, 9))
        close_due_slots(served.store, GATE, served.config.rules, now=2.0)
        mine(served.store, form(served.store), seq=0)
        shown = await served.overview()
        assert (actor_of(shown, "pv")["grid_only_wei"], actor_of(shown, "pv")["sold_wh"]) == (None, 60)

    page(tmp_path, use)


def test_a_transaction_is_the_nodes_and_its_trades_are_ours(tmp_path: Path) -> None:
    async def use(served: Served) -> None:
        settle(served.store, served.config, FIRST, seq=3)
        served.node.transactions[hash_of(3)] = {"block": 9, "status": "0x1"}
        served.node.transactions[hash_of(4)] = {"block": None}
        served.node.transactions[hash_of(5)] = {"block": 10, "status": "0x0"}
        await served.overview()
        shown = await served.get(f"transactions/{hash_of(3)}")
        assert [one["id"] for one in shown.pop("trades")] == [1, 2]
        assert (shown.pop("from").lower(), shown.pop("to").lower()) == (SEALERS[0], "0x" + "ab" * 20)
        assert shown == {
            "hash": hash_of(3),
            "block": 9,
            "block_hash": served.node.hash_of(9),
            "time": float(served.node.time_of(9)),
            "succeeded": True,
            "gas_used": 21_000,
            "confirmations": 92,
            "batch_seq": 3,
            "batch_state": "FINAL",
        }
        pending = await served.get(f"transactions/{hash_of(4)}")
        assert (pending["block"], pending["succeeded"], pending["confirmations"]) == (None, None, None)
        assert (pending["batch_seq"], pending["trades"]) == (None, [])
        assert (await served.get(f"transactions/{hash_of(5)}"))["succeeded"] is False
        assert "knows no transaction" in (await served.get(f"transactions/{hash_of(6)}", 404))["error"]
        served.node.is_down = True
        assert "The node cannot be asked" in (await served.get(f"transactions/{hash_of(3)}", 503))["error"]
        assert "The node cannot be asked" in (await served.get("blocks/latest", 503))["error"]

    page(tmp_path, use)


def test_a_block_says_who_sealed_it(tmp_path: Path) -> None:
    async def use(served: Served) -> None:
        served.node.transactions[hash_of(3)] = {"block": 9, "status": "0x1"}
        assert (await served.get("blocks/latest"))["number"] == 100
        assert (await served.get("blocks/100"))["sealer_name"] == "sealer1"
        shown = await served.get("blocks/9")
        assert shown.pop("sealer").lower() == SEALERS[1]
        assert shown == {
            "number": 9,
            "hash": served.node.hash_of(9),
            "parent_hash": served.node.hash_of(8),
            "time": float(served.node.time_of(9)),
            "sealer_name": None,
            "in_turn": True,
            "gas_used": 21_000,
            "gas_limit": 30_000_000,
            "transactions": [hash_of(3)],
        }
        assert (await served.get("blocks/0"))["sealer"] is None
        assert "no block 101" in (await served.get("blocks/101", 404))["error"]

    page(tmp_path, use)


def test_a_node_without_the_clique_api_names_no_sealers(tmp_path: Path) -> None:
    async def use(served: Served) -> None:
        shown = await served.overview()
        assert (shown["chain"]["sealers"], shown["chain"]["head_block"]) == ([], 100)
        assert "does not open the clique API" in shown["health"]["notes"][0]
        assert (await served.get("blocks/9"))["sealer"] is None

    page(tmp_path, use, node=Node(head=100, clique=False))


def test_each_trouble_has_its_own_words_and_the_figures_stay(tmp_path: Path) -> None:
    async def use(served: Served) -> None:
        settle(served.store, served.config, FIRST, seq=0)
        before = served.clock[0]
        await served.overview()

        served.node.is_down = True
        served.clock[0] += 7
        shown = await served.overview()
        assert "The node cannot be asked" in shown["health"]["problems"][0]
        assert (shown["chain"]["head_block"], actor_of(shown, "pv")["balance_wei"]) == (100, "7000000000000000")
        assert (shown["as_of"]["chain"], shown["as_of"]["balances"]) == (before, before)
        assert shown["as_of"]["market"] == served.clock[0]
        assert shown["trades"][0]["confirmations"] == 92

        served.node.is_down = False
        served.clock[0] = before + 31
        problems = (await served.overview())["health"]["problems"]
        assert problems == ["The chain halts: block 100 is the newest, and 31 s old."]

        served.clock[0] = before - 60
        problems = (await served.overview())["health"]["problems"]
        assert problems == ["This gateway's clock is wrong: the newest block was sealed 60 s ahead of it."]
        async with served.session.get(f"{served.url}/healthz") as response:
            assert (response.status, (await response.json())["problems"]) == (503, problems)

    page(tmp_path, use)


def test_a_database_that_cannot_be_read_keeps_the_old_figures_and_says_how_old_they_are(tmp_path: Path) -> None:
    async def use(served: Served) -> None:
        settle(served.store, served.config, FIRST, seq=0)
        before = served.clock[0]
        await served.overview()
        with closing(sqlite3.connect(served.config.database, isolation_level=None)) as other:
            other.execute("ALTER TABLE trades RENAME TO gone")
            served.clock[0] += 12
            shown = await served.overview()
            assert shown["health"]["problems"] == [
                "The database cannot be read: no such table: trades; these figures are 12 s old."
            ]
            assert (shown["totals"]["traded_wh"], shown["as_of"]["market"]) == (100, before)
            assert (await served.get("trades", 503))["error"].startswith("The database cannot be read: ")
            other.execute("ALTER TABLE gone RENAME TO trades")
        shown = await served.overview()
        assert (shown["health"]["healthy"], shown["as_of"]["market"]) == (True, served.clock[0])

    page(tmp_path, use)


def test_an_event_comes_at_once_and_after_a_commit(tmp_path: Path) -> None:
    async def use(served: Served) -> None:
        async with asyncio.timeout(PATIENCE_S), served.session.get(f"{served.url}{PREFIX}/events") as stream:
            assert stream.status == 200
            assert stream.content_type == "text/event-stream"
            first = await _event(stream)
            assert (await served.get("overview"))["version"] >= first["version"]
            settle(served.store, served.config, FIRST, seq=0)
            while True:
                event = await _event(stream)
                shown = await served.get("overview")
                assert event.keys() == {"version", "now"}
                assert shown["version"] >= event["version"] > first["version"]
                if shown["totals"]["traded_wh"] == 100:
                    break

    page(tmp_path, use)


async def _event(stream: aiohttp.ClientResponse) -> dict[str, Any]:
    """The next event of a stream, past its comments."""
    while (line := await stream.content.readline()) != b"event: overview\n":
        assert line == b"\n" or line.startswith(b":"), line
    event: dict[str, Any] = json.loads((await stream.content.readline()).removeprefix(b"data: "))
    return event


def test_there_are_so_many_streams_and_no_more_and_they_end_with_the_bridge(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(api_module, "MOST_STREAMS", 2)

    async def run() -> None:
        async with aiohttp.ClientSession() as session, asyncio.timeout(PATIENCE_S):
            async with serving(tmp_path) as served:
                url = f"{served.url}{PREFIX}/events"
                streams = [await session.get(url) for _ in range(2)]
                for stream in streams:
                    await _event(stream)
                assert "2 streams are open" in (await served.get("events", 503))["error"]
                streams[0].close()
                while served.board.listeners > 1:
                    await asyncio.sleep(0.02)
                streams[0] = await session.get(url)
                assert streams[0].status == 200
            for stream in streams:
                await stream.read()  # it ends, and not by an error

    asyncio.run(run())


def test_who_does_not_read_a_stream_loses_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(api_module, "SLOW_BYTES", -1)

    async def use(served: Served) -> None:
        async with asyncio.timeout(PATIENCE_S), served.session.get(f"{served.url}{PREFIX}/events") as stream:
            assert await stream.read() == b""

    page(tmp_path, use)


def test_the_overview_is_compressed_once_and_not_sent_twice(tmp_path: Path) -> None:
    async def use(served: Served) -> None:
        await served.overview()
        url = f"{served.url}{PREFIX}/overview"
        async with aiohttp.ClientSession(auto_decompress=False) as raw:
            async with raw.get(url, headers={"Accept-Encoding": "gzip"}) as response:
                assert (response.headers["Content-Encoding"], response.headers["Vary"]) == ("gzip", "Accept-Encoding")
                shown, tag = json.loads(gzip.decompress(await response.read())), response.headers["ETag"]
            async with raw.get(url, headers={"Accept-Encoding": "identity, gzip;q=0"}) as response:
                assert "Content-Encoding" not in response.headers
                assert (await response.json())["version"] >= shown["version"]
            async with raw.get(url, headers={"If-None-Match": '"another"'}) as response:
                assert response.status == 200
                tag = response.headers["ETag"]
            async with raw.get(url, headers={"If-None-Match": tag}) as response:
                if response.headers["ETag"] == tag:  # nothing was new meanwhile
                    assert (response.status, await response.read()) == (304, b"")

    page(tmp_path, use)


def test_nothing_new_is_no_new_version(tmp_path: Path) -> None:
    async def use(served: Served) -> None:
        version = (await served.overview())["version"]
        for _ in range(3):
            await served.board.look()
        assert served.board.version == version
        say(served.store, FIRST, pv=(1, 2))
        await served.board.look()
        assert served.board.version > version

    page(tmp_path, use)


def test_who_listens_does_not_wait_longer_because_a_look_took_long(tmp_path: Path) -> None:
    async def run() -> None:
        of = config(tmp_path, "http://127.0.0.1:9")
        seconds = itertools.count(0, 1000)  # so long everything takes
        with closing(Store(of.database)):
            watch = Watch(of, lambda: board.outbox(), cast(Intake, None))  # noqa: PLW0108 - it is made of the watch
            board = Board(of, watch, counts=Metrics().counts, timer=lambda: float(next(seconds)))
            keeping = asyncio.create_task(board.run())
            async with asyncio.timeout(PATIENCE_S):
                with board.listening() as news:
                    for version in range(1, 4):
                        while board.version < version:
                            news.clear()
                            await news.wait()
            keeping.cancel()
            await asyncio.gather(keeping, return_exceptions=True)
            board.close()

    asyncio.run(run())


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("overview?x=1", "'x' is no parameter"),
        ("trades?limit=0", "limit has to be a whole number from 1 to 500"),
        ("trades?limit=501", "limit has to be"),
        ("trades?limit=", "limit has to be"),
        ("trades?limit=1&limit=2", "more than once"),
        ("trades?before=-1", "before has to be"),
        ("trades?before=9223372036854775808", "before has to be"),
        ("trades?before=1e3", "before has to be"),
        ("trades?before=%D9%A1", "before has to be"),
        ("trades?slot=4294967296", "slot has to be"),
        ("trades?slot=007", "slot has to be"),
        ("trades?day=2026-02-30", "day has to be"),
        ("trades?day=20261129", "day has to be"),
        ("trades?state=DONE", "state has to be WAITING, "),
        ("trades?source=pv", "'source' is no parameter"),
        ("readings?actor=pv", "'actor' is no parameter"),
        ("readings?limit=x", "limit has to be"),
        ("slots?before=x", "before has to be"),
        ("slots/x", "slot has to be"),
        ("slots/4294967296", "slot has to be"),
        ("days", "actor is missing"),
        ("actors/pv/statement", "day is missing"),
        ("actors/pv/statement?day=today", "day has to be"),
        ("transactions/0x12", "64 hex digits"),
        ("blocks/-1", "number has to be"),
        ("blocks/newest", "number has to be"),
        ("events?since=1", "'since' is no parameter"),
        ("openapi.json?x", "'x' is no parameter"),
    ],
)
def test_what_is_asked_wrongly_is_told_in_a_sentence(tmp_path: Path, path: str, words: str) -> None:
    async def use(served: Served) -> None:
        error = (await served.get(path, 400))["error"]
        assert words in error
        assert error.endswith(".")

    page(tmp_path, use)


@pytest.mark.parametrize(
    "path", ["days?actor=nobody", "trades?actor=nobody", "readings?source=nobody", f"actors/nobody/statement?day={DAY}"]
)
def test_who_is_nobody_is_not_there(tmp_path: Path, path: str) -> None:
    async def use(served: Served) -> None:
        assert (await served.get(path, 404))["error"] == "There is no actor 'nobody'."

    page(tmp_path, use)


def test_what_is_not_there_and_what_is_not_allowed_has_a_sentence(tmp_path: Path) -> None:
    async def use(served: Served) -> None:
        assert (await served.get("nothing", 404))["error"] == "There is nothing at this path."
        async with served.session.get(f"{served.url}/page/../config.json") as response:
            assert response.status == 404
        async with served.session.post(f"{served.url}{PREFIX}/trades") as response:
            assert (response.status, response.headers["Allow"]) == (405, "GET,HEAD")
            assert "POST is not for this path" in (await response.json())["error"]

    page(tmp_path, use)


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("127.0.0.1:30402", 200),
        ("192.0.2.1", 200),
        ("[::1]:30402", 200),
        ("localhost:30402", 200),
        ("GATEWAY:30402", 200),
        ("pi5.local.", 200),
        ("pi5", 421),
        ("gateway.evil.example", 421),
        ("127.0.0.1.evil.example", 421),
        ("2130706433", 421),
        ("[::1", 421),
        ("", 421),
    ],
)
def test_only_addresses_and_the_names_that_were_given_are_answered(tmp_path: Path, host: str, status: int) -> None:
    async def use(served: Served) -> None:
        for path in ("/", f"{PREFIX}/overview", "/healthz", "/metrics", "/nothing"):
            async with served.session.get(served.url + path, headers={"Host": host}) as response:
                assert (response.status == 421) is (status == 421)
                if status == 421:
                    assert "does not answer under that host name" in (await response.json())["error"]
        # A source signs what it sends, and may know this host by any name.
        async with served.session.post(f"{served.url}/readings", data=b"x" * 600, headers={"Host": host}) as response:
            assert response.status == 413

    page(tmp_path, use)


def test_every_answer_has_the_headers_that_keep_others_out(tmp_path: Path) -> None:
    async def use(served: Served) -> None:
        for path in ("/", "/page/index.html", "/nothing", "/healthz", "/metrics", f"{PREFIX}/events", f"{PREFIX}/days"):
            async with served.session.get(served.url + path) as response:
                assert {name: response.headers.get(name) for name in HEADERS} == HEADERS
        async with served.session.get(served.url, headers={"Host": "evil.example"}) as response:
            assert {name: response.headers.get(name) for name in HEADERS} == HEADERS
        assert "default-src 'none'" in HEADERS["Content-Security-Policy"]
        assert "unsafe" not in HEADERS["Content-Security-Policy"]

    page(tmp_path, use)


def test_the_page_is_served_with_its_type(tmp_path: Path) -> None:
    async def use(served: Served) -> None:
        async with served.session.get(served.url) as response:
            assert (response.status, response.content_type, response.charset) == (200, "text/html", "utf-8")
            tag = response.headers["ETag"]
        async with served.session.get(f"{served.url}/page/index.html", headers={"If-None-Match": tag}) as response:
            assert response.status == 304

    page(tmp_path, use)


def test_the_description_names_every_path(tmp_path: Path) -> None:
    async def use(served: Served) -> None:
        described = await served.get("openapi.json")
        assert described["openapi"] == "3.1.0"
        named = {PREFIX + path for path in described["paths"]}
        assert named == {
            f"{PREFIX}/{path}"
            for path in (
                "overview",
                "events",
                "days",
                "actors/{name}/statement",
                "trades",
                "readings",
                "slots",
                "slots/{slot}",
                "transactions/{hash}",
                "blocks/{number}",
                "openapi.json",
            )
        }

    page(tmp_path, use)


def test_agreements_that_came_to_nothing_are_not_counted(tmp_path: Path) -> None:
    terms = Agreements(1337, "0x" + "ab" * 20, "0x" + "cd" * 20, ADDRESSES, 900, 86_400)

    async def use(served: Served) -> None:
        with closing(AgreementStore(served.config.database, terms)) as store:
            trade(store, served.config, FIRST)
            for seq in range(2):
                batch = store.form_agreement(now=3.0)
                assert batch is not None
                mine(store, batch, seq=seq)
                store.final(batch)
            assert (await served.until(lambda shown: shown["totals"]["traded_wh"] == 100))["days"] == [DAY]
            first, second = store.watched()
            act = store.form_act(first, Act.EXPIRE, now=4.0)
            assert act is not None
            mine(store, act, seq=2)
            store.final(act)
            store.end(first, State.EXPIRED)
            store.end(second, State.SETTLED)
            shown = await served.until(lambda shown: shown["totals"]["traded_wh"] != 100)
            assert shown["totals"] == {"traded_wh": 40, "local_wh": 0, "grid_wh": 40}
            served.node.transactions[hash_of(2)] = {"block": 9, "status": "0x1"}
            ended = await served.get(f"transactions/{hash_of(2)}")
            assert [(one["id"], one["seller"], one["buyer"]) for one in ended["trades"]] == [(1, "pv", "load")]

    page(tmp_path, use, mode="agreement", agreement_factory="0x" + "cd" * 20)


def test_a_rebuilt_database_knows_its_transactions(tmp_path: Path) -> None:
    async def use(served: Served) -> None:
        batch = Batch(1, BatchState.FINAL, 0, hash_of(0), 9, "0xb", None)
        served.store.rebuild(
            [(batch, [Trade("pv", "0x" + "77" * 20, 5, 2, FIRST)])],
            next_seq=1,
            operator="0x01",
            next_nonce=1,
            now=5.0,
        )
        served.node.transactions[hash_of(0)] = {"block": 9, "status": "0x1"}
        assert (await served.get(f"transactions/{hash_of(0)}"))["batch_seq"] == 0
        shown = await served.overview()
        assert shown["actors"][-1]["name"] == "0x" + "77" * 20
        assert (shown["actors"][-1]["kind"], shown["actors"][-1]["bought_wh"]) == (None, 5)
        assert actor_of(shown, "pv")["grid_only_wei"] is None

    page(tmp_path, use)


def test_what_overflows_an_integer_of_sqlite_is_summed_all_the_same(tmp_path: Path) -> None:
    async def use(served: Served) -> None:
        say(served.store, FIRST, pv=(1, 2))
        made = [Trade("pv", "load", 2**32 - 1, 2**63 - 1, FIRST) for _ in range(3)]
        served.store.close_slot(FIRST, Closing({}, made, [], None, {}, {}), 2.0)
        mine(served.store, form(served.store), seq=0)
        shown = await served.overview()
        assert actor_of(shown, "load")["paid_wei"] == str(3 * (2**32 - 1) * (2**63 - 1))

    page(tmp_path, use)
