# SPDX-License-Identifier: GPL-3.0-or-later
"""The batches whose gas is measured, and the trades in them."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

from energy_bridge.batch import BatchTrade

SLOT_S = 900
SLOTS_PER_DAY = 86_400 // SLOT_S
# Few accounts stand in a ring, where each sells to the next one; many in pairs, of which the first one sells.
RING, PAIRED = 5, 200

PERIOD_S = 5
CONFIRMATIONS = 3  # what four sealers take
# Half of the gas limit is what a chain carries for ever: with fuller blocks, its base fee rises without end.
BLOCK_GAS = {"sustained": 15_000_000, "burst": 30_000_000}


@dataclass(frozen=True)
class Scenario:
    """A batch, and the most gas that each of its trades may take."""

    trades: int
    accounts: int
    goal: int
    first_of_a_day: bool = False

    @property
    def name(self) -> str:
        return f"n={self.trades}/accounts={self.accounts}{'/first_batch_of_a_day' if self.first_of_a_day else ''}"

    @property
    def meaning(self) -> str:
        return f"{self.trades} among {self.accounts}{', first of a day' if self.first_of_a_day else ''}"


# The first of a day ends the day of those before it.
SCENARIOS = (
    Scenario(1, RING, 50_000),
    Scenario(4, RING, 18_700),
    Scenario(10, RING, 8_200),
    Scenario(100, RING, 1_700),
    Scenario(500, RING, 1_000),
    Scenario(100, PAIRED, 15_500),
    Scenario(1_000, PAIRED, 2_400),
    Scenario(100, PAIRED, 38_000, first_of_a_day=True),
)


def make_trades(chance: random.Random, accounts: Sequence[str], count: int, day: int) -> list[BatchTrade]:
    """Trades of one day among these accounts: round after round, each in a slot of its own while there are any."""
    pairs = partners(accounts)
    return [
        BatchTrade(
            *pairs[number % len(pairs)],
            energy_wh=chance.randint(1, 4_000),
            price_wei_per_wh=chance.randint(8 * 10**13, 12 * 10**13),
            slot=day * SLOTS_PER_DAY + number // len(pairs) % SLOTS_PER_DAY,
        )
        for number in range(count)
    ]


def partners(accounts: Sequence[str]) -> list[tuple[str, str]]:
    """Who sells to whom."""
    if len(accounts) == RING:
        return list(zip(accounts, [*accounts[1:], accounts[0]], strict=True))
    return list(zip(accounts[::2], accounts[1::2], strict=True))


def trades_per_s(gas_per_trade: float, block_gas: int) -> float:
    """How many trades a second blocks have room for."""
    return block_gas / gas_per_trade / PERIOD_S
