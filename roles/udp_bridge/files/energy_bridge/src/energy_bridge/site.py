# SPDX-License-Identifier: GPL-3.0-or-later
"""The page, its figures and what watches the chain for it, in a thread with an event loop of its own.

What settles waits in its loop for a database that is busy; the page has to be there to say so.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from concurrent.futures import Future
from dataclasses import dataclass
from threading import Thread

from energy_bridge.figures import Board
from energy_bridge.watch import Watch
from energy_bridge.web import Web

__all__ = ["Site", "serving"]


@dataclass(frozen=True)
class Site:
    """What is served, and what keeps its figures; all belong to the loop that they were made in."""

    watch: Watch
    board: Board
    web: Web


@contextlib.asynccontextmanager
async def serving(
    make: Callable[[], Site], host: str, port: int, *, on_failure: Callable[[BaseException], None]
) -> AsyncIterator[int]:
    """Serve for as long as this lasts, on the port that it is given; raises OSError with a sentence.

    make is called in the thread, and so is on_failure, should the thread end before it is asked to.
    """
    listening: Future[tuple[int, Callable[[], object]]] = Future()

    async def serve() -> None:
        site, ended = make(), asyncio.Event()
        keeping: set[asyncio.Task[None]] = set()
        try:
            taken = await site.web.start(host, port)
            keeping = {asyncio.create_task(site.board.run()), asyncio.create_task(site.watch.run())}
            loop = asyncio.get_running_loop()
            listening.set_result((taken, lambda: loop.call_soon_threadsafe(ended.set)))
            waiting = asyncio.create_task(ended.wait())
            done, _ = await asyncio.wait({*keeping, waiting}, return_when=asyncio.FIRST_COMPLETED)
            waiting.cancel()
            for task in done & keeping:
                task.result()
        finally:
            await site.web.stop()
            for task in keeping:
                task.cancel()
            await asyncio.gather(*keeping, return_exceptions=True)
            await asyncio.to_thread(site.board.close)

    def run() -> None:
        try:
            asyncio.run(serve())
        except BaseException as error:  # noqa: BLE001 - whatever it was, somebody else has to know
            if listening.done():
                on_failure(error)
            else:
                listening.set_exception(error)

    thread = Thread(target=run, name="page")
    thread.start()
    try:
        taken, end = await asyncio.wrap_future(listening)
    except BaseException:
        await asyncio.to_thread(thread.join)
        raise
    try:
        yield taken
    finally:
        with contextlib.suppress(RuntimeError):  # its loop is closed: it has ended by itself
            end()
        await asyncio.to_thread(thread.join)
