# SPDX-License-Identifier: GPL-3.0-or-later
"""A bridge with its page, on a real chain with real trades: what tests of the page look at."""

from __future__ import annotations

import json
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from socket import SOCK_STREAM
from typing import Any

from support.bridge import Bridge, make_bridge
from support.chain import TERMS, Chain, free_port
from support.network import wait_until
from support.verdict import Deal

DAY_S = 86_400
SLOTS_PER_DAY = DAY_S // TERMS[0]
GWEI = 10**9
GRID_BUYS, GRID_SELLS = 70 * GWEI, 320 * GWEI
CURRENCY, WEI_PER_UNIT = "EUR", 10**15
SEALER = "sealer1"
SLOTS = 8


def make_stage(directory: Path, chain: Chain, **settings: Any) -> Bridge:
    """A bridge with a page, and a market of its own that knows the grid's tariff; it is not started."""
    wanted: dict[str, Any] = {
        "web_port": free_port(SOCK_STREAM),
        "confirmations": 3,
        "currency": CURRENCY,
        "wei_per_unit": WEI_PER_UNIT,
        "web_names": ["gateway.test"],
        "sealers": {chain.admin.address: SEALER},
        "clearing": {"grid_buys_wei_per_wh": GRID_BUYS, "grid_sells_wei_per_wh": GRID_SELLS},
        **settings,
    }
    return make_bridge(directory, chain, terms=TERMS, **wanted)


@contextmanager
def on_stage(bridge: Bridge) -> Iterator[Bridge]:
    """Run it, from when its page is there until the end."""
    bridge.start()
    try:
        wait_until("the page is there", lambda: answers(bridge), 30, 0.1)
        yield bridge
    finally:
        bridge.close()


def url_of(bridge: Bridge) -> str:
    return f"http://127.0.0.1:{bridge.config['web_port']}"


def answers(bridge: Bridge) -> bool:
    assert not bridge.ended, bridge.log[-4000:]
    try:
        ask(bridge, "overview")
    except (urllib.error.URLError, ConnectionError):
        return False
    return True


def ask(bridge: Bridge, path: str) -> Any:
    """What the API answers."""
    with urllib.request.urlopen(f"{url_of(bridge)}/api/v1/{path}", timeout=20) as response:  # noqa: S310
        return json.load(response)


def first_slots() -> tuple[int, int]:
    """Where two stretches begin: yesterday at eleven, today at seven, UTC: sun on both, and heating on one."""
    midnight = int(time.time()) // DAY_S * SLOTS_PER_DAY
    return midnight - SLOTS_PER_DAY + 44, midnight + 28


def play(bridge: Bridge, first_slot: int, slots: int = SLOTS) -> None:
    """Let the household trade for so many slots, until all is final."""
    command = [sys.executable, "-m", "energy_bridge", "simulate", "--bridge", f"127.0.0.1:{bridge.port}"]
    command += ["--source-keys", str(bridge.directory / "source-keys.json"), "--slots", str(slots)]
    command += ["--start-slot", str(first_slot), "--interval-s", "0.05", "--settle-s", "90"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{done.stdout[-2000:]}\n{done.stderr[-2000:]}\n{bridge.log[-4000:]}"


def figures(deals: list[Deal], actor: str, grid: str = "grid") -> Mapping[str, int]:
    """What an actor's trades come to, computed once more: Wh and wei."""
    sums: Counter[str] = Counter()
    for deal in deals:
        wh, wei = deal.energy_wh, deal.energy_wh * deal.price_wei_per_wh
        if deal.seller == actor:
            sums.update(sold_wh=wh, received_wei=wei, grid_only_wei=wh * GRID_BUYS)
            sums.update(sold_off_grid_wh=0 if deal.buyer == grid else wh)
        elif deal.buyer == actor:
            sums.update(bought_wh=wh, paid_wei=wei, grid_only_wei=-wh * GRID_SELLS)
            sums.update(bought_off_grid_wh=0 if deal.seller == grid else wh)
    return sums
