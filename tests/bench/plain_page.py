# SPDX-License-Identifier: GPL-3.0-or-later
"""The page as one would serve it in an hour: every request asks the database anew.

Arguments: port, database, a file with an overview of the bridge's (what is no sum is as there), the grid's name.
"""

import asyncio
import json
import sqlite3
import sys
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import energy_bridge
from aiohttp import web

PAGE = Path(energy_bridge.__file__).parent / "page"
LOOK_S = 0.25
GWEI = 10**9
SETTLED = "FROM trades JOIN batches ON batches.id = batch WHERE state IN ('MINED', 'FINAL') AND trades.reason IS NULL"
NO_FIGURES = (0, 0, 0)


class PlainPage:
    def __init__(self, database: str, template: dict[str, Any], grid: str) -> None:
        self.database, self.template, self.grid = database, template, grid
        self.version = 1
        self.changed = asyncio.Condition()

    def overview(self) -> dict[str, Any]:
        with closing(sqlite3.connect(f"file:{self.database}?mode=ro", uri=True)) as db:
            sides = {
                side: {
                    name: figures
                    for name, *figures in db.execute(
                        # In gwei, as their sums in wei are too much for SQLite.
                        f"SELECT {side}, sum(energy_wh), sum(energy_wh * (price_wei_per_wh / {GWEI})),"
                        f" sum(CASE WHEN {other} = ? THEN 0 ELSE energy_wh END) {SETTLED} GROUP BY {side}",
                        (self.grid,),
                    )
                }
                for side, other in (("seller", "buyer"), ("buyer", "seller"))
            }
            traded, with_grid = db.execute(
                f"SELECT sum(energy_wh), sum(CASE WHEN ? IN (seller, buyer) THEN energy_wh ELSE 0 END) {SETTLED}",
                (self.grid,),
            ).fetchone()
            (accepted,) = db.execute("SELECT count(*) FROM readings").fetchone()
        actors = []
        for actor in self.template["actors"]:
            sold_wh, received, sold_off = sides["seller"].get(actor["name"], NO_FIGURES)
            bought_wh, paid, bought_off = sides["buyer"].get(actor["name"], NO_FIGURES)
            actors.append(
                {
                    **actor,
                    "sold_wh": sold_wh,
                    "bought_wh": bought_wh,
                    "received_wei": str(received * GWEI),
                    "paid_wei": str(paid * GWEI),
                    "self_consumption": sold_off / sold_wh if sold_wh else None,
                    "self_sufficiency": bought_off / bought_wh if bought_wh else None,
                }
            )
        return {
            **self.template,
            "version": self.version,
            "now": time.time(),
            "actors": actors,
            "totals": {"traded_wh": traded, "local_wh": traded - with_grid, "grid_wh": with_grid},
            "bridge": {**self.template["bridge"], "accepted": accepted},
        }

    async def show_overview(self, _: web.Request) -> web.Response:
        response = web.json_response(await asyncio.to_thread(self.overview))
        response.enable_compression()
        return response

    async def events(self, request: web.Request) -> web.StreamResponse:
        stream = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await stream.prepare(request)
        told = 0
        while True:
            async with self.changed:
                await self.changed.wait_for(lambda: self.version != told)  # noqa: B023
                told = self.version
            line = json.dumps({"version": told, "now": time.time()})
            await stream.write(f"event: overview\ndata: {line}\n\n".encode())

    async def watch(self, _: web.Application) -> None:
        async def look() -> None:
            with closing(sqlite3.connect(f"file:{self.database}?mode=ro", uri=True)) as db:
                seen = None
                while True:
                    (now,) = db.execute("PRAGMA data_version").fetchone()
                    if seen is not None and now != seen:
                        async with self.changed:
                            self.version += 1
                            self.changed.notify_all()
                    seen = now
                    await asyncio.sleep(LOOK_S)

        self.looking = asyncio.create_task(look())


async def index(_: web.Request) -> web.FileResponse:
    return web.FileResponse(PAGE / "index.html")


async def nothing(_: web.Request) -> web.Response:
    return web.json_response({"error": "not here"}, status=404)


def main(port: str, database: str, template: str, grid: str) -> None:
    page = PlainPage(database, json.loads(Path(template).read_text()), grid)
    application = web.Application()
    application.on_startup.append(page.watch)
    application.router.add_get("/", index)
    application.router.add_static("/page", PAGE)
    application.router.add_get("/api/v1/overview", page.show_overview)
    application.router.add_get("/api/v1/events", page.events)
    application.router.add_get("/api/v1/{rest:.*}", nothing)
    web.run_app(application, host="127.0.0.1", port=int(port), print=None, handle_signals=True, shutdown_timeout=1)


if __name__ == "__main__":
    main(*sys.argv[1:])
