# SPDX-License-Identifier: GPL-3.0-or-later
"""How many agreements a bridge makes on four sealers, where each trade is one."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

from support.agreements import Parties, make_parties
from support.bridge import GRID
from support.sealers import Sealers, sealers
from support.senders import GRID_PRICE, GWEI, Delivery, Senders

from bench import programs
from bench.progress import timed
from bench.rows import Row
from bench.scenarios import CONFIRMATIONS, PERIOD_S

SEALERS = 4
WARM_UP_S, MEASURED_S = 30, 120
SLOTS_UNDER_WAY = 60
# What each says in a slot, in Wh: three trades.
NEEDS_WH = {"load": -900, "pv": 600, "chp": 200, "battery": 0, GRID: 0}


def agreed(scratch: Path, _: frozenset[str]) -> Iterator[Row]:
    """Keep a bridge busy in the mode agreement."""
    folder = scratch / "agreeing"
    folder.mkdir()
    with sealers(programs.built() / "geth", folder, SEALERS, period_s=PERIOD_S) as network:
        parties = make_parties(folder, network.chain, url=network.url, confirmations=CONFIRMATIONS, grace_s=30)
        senders = Senders(parties.bridge.address, parties.bridge.keys)
        try:
            parties.bridge.start()
            rate = timed("agreements", lambda: agreements_per_s(network, parties, senders))[1]
        finally:
            parties.bridge.close()
            senders.close()
    yield Row("agreements_per_s", rate)


def agreements_per_s(network: Sealers, parties: Parties, senders: Senders) -> float:
    """Agreements that the blocks of the measured time have, per second of it."""
    slots: list[list[Delivery]] = []
    first_slot = int(time.time()) // 900 - 9_000

    def feed() -> None:
        while sum(not all(one.ended for one in slot) for slot in slots[-SLOTS_UNDER_WAY:]) < SLOTS_UNDER_WAY:
            slots.append(
                [
                    senders.send(
                        source,
                        slot=first_slot + len(slots),
                        energy_wh=energy_wh,
                        price_wei_per_wh=GRID_PRICE if source == GRID else (100 if energy_wh > 0 else 200) * GWEI,
                    )
                    for source, energy_wh in NEEDS_WH.items()
                ]
            )

    senders.run_for(WARM_UP_S, feed)
    first = network.gateway.head
    senders.run_for(MEASURED_S, feed)
    last = network.gateway.head
    made = parties.factory.events.AgreementCreated().get_logs(from_block=first + 1, to_block=last)
    web3 = network.chain.web3
    return len(made) / (web3.eth.get_block(last)["timestamp"] - web3.eth.get_block(first)["timestamp"])
