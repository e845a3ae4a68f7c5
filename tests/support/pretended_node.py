# SPDX-License-Identifier: GPL-3.0-or-later
"""A node that answers JSON-RPC as a test likes it to: a chain of blocks that can fork, and balances."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import web

SEALERS = ("0x" + "0a" * 20, "0x" + "0b" * 20)
PERIOD_S = 5


def name_of(number: int, branch: str) -> str:
    """The hash of a block, by its number and its branch."""
    return f"0x{branch.encode().hex():0<8}{number:056x}"


class Node:
    """Its chain has blocks from 0 to head, those from `forked_at` on of another branch; calls has what it was asked."""

    def __init__(self, *, head: int = 10, started: int = 1000, clique: bool = True) -> None:
        self.head, self.started, self.clique = head, started, clique
        self.forked_at, self.branch = 10**9, ""
        self.calls: list[str] = []
        self.balance_wei = 7 * 10**15
        self.transactions: dict[str, dict[str, Any]] = {}
        self.is_down = False
        self.url = ""

    def hash_of(self, number: int) -> str:
        return name_of(number, self.branch if number >= self.forked_at else "main")

    def time_of(self, number: int) -> int:
        return self.started + PERIOD_S * number

    def block(self, number: int) -> dict[str, Any] | None:
        """A header as eth_getBlockByNumber shows it; odd blocks are out of turn where they are of the branch."""
        if not 0 <= number <= self.head:
            return None
        return {
            "number": hex(number),
            "hash": self.hash_of(number),
            "parentHash": self.hash_of(number - 1),
            "timestamp": hex(self.time_of(number)),
            "difficulty": "0x1" if number >= self.forked_at else "0x2",
            "gasUsed": "0x5208",
            "gasLimit": "0x1c9c380",
            "transactions": [known for known, of in self.transactions.items() if of["block"] == number],
        }

    def _at(self, block_hash: str) -> int:
        return next(number for number in range(self.head + 1) if self.hash_of(number) == block_hash)

    def answer(self, method: str, params: list[Any]) -> Any:
        self.calls.append(method)
        answers: dict[str, Callable[..., Any]] = {
            "eth_blockNumber": lambda: hex(self.head),
            "eth_getBlockByNumber": lambda number, _: self.block(self.head if number == "latest" else int(number, 16)),
            "eth_getBlockByHash": lambda block_hash, _: self.block(self._at(block_hash)),
            "clique_getSigners": lambda: list(SEALERS),
            "clique_getSigner": lambda block_hash: SEALERS[self._at(block_hash) % len(SEALERS)],
            "eth_call": lambda *_: f"0x{self.balance_wei:064x}",
            "eth_getTransactionByHash": self._transaction,
            "eth_getTransactionReceipt": self._receipt,
        }
        return answers[method](*params)

    def _transaction(self, sought: str) -> Any:
        return {"hash": sought, "from": SEALERS[0], "to": "0x" + "ab" * 20} if sought in self.transactions else None

    def _receipt(self, sought: str) -> Any:
        known = self.transactions.get(sought, {"block": None})
        if known["block"] is None:
            return None
        return {"blockHash": self.hash_of(known["block"]), "status": known["status"], "gasUsed": "0x5208"}

    async def _serve(self, request: web.Request) -> web.Response:
        if self.is_down:
            return web.Response(status=500, text="down")
        answers = []
        for call in await request.json():
            if call["method"].startswith("clique_") and not self.clique:
                answers.append({"id": call["id"], "error": {"code": -32601, "message": "does not exist"}})
            else:
                answers.append({"id": call["id"], "result": self.answer(call["method"], call["params"])})
        return web.json_response(list(reversed(answers)))

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[Node]:
        """Answer at `url` for as long as this lasts."""
        application = web.Application()
        application.router.add_post("/", self._serve)
        runner = web.AppRunner(application)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        self.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        try:
            yield self
        finally:
            await runner.cleanup()
