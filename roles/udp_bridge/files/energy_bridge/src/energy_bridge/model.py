# SPDX-License-Identifier: GPL-3.0-or-later
"""The words that every part of the bridge uses: actors, readings, trades, states."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

__all__ = [
    "DAY_S",
    "INT64_MAX",
    "IN_CHAIN",
    "NWH_PER_WH",
    "UINT32_MAX",
    "UNMINED",
    "BatchState",
    "Fate",
    "Kind",
    "Mode",
    "Offer",
    "Reading",
    "Trade",
]

DAY_S = 86_400
INT64_MAX = 2**63 - 1  # the contract's price, and what SQLite keeps in one integer
UINT32_MAX = 2**32 - 1  # the contract's slot and energy
NWH_PER_WH = 10**9  # the finest part of a Wh in which UINT32_MAX Wh still fit INT64_MAX


class Kind(StrEnum):
    """What an actor is, in the contract's words; battery and grid provide and need."""

    LOAD = "Load"
    PV = "PV"
    CHP = "CHP"
    BATTERY = "Battery"
    GRID = "Grid"


class Mode(StrEnum):
    """What trades become on the chain: batches of the market, or an agreement each."""

    BATCH = "batch"
    AGREEMENT = "agreement"


class Fate(StrEnum):
    """What became of a stored reading."""

    OPEN = "open"
    COUNTED = "counted"
    SUPERSEDED = "superseded"  # a later reading of the same source and slot was counted
    LATE = "late"  # it came after the slot had closed, and nothing was made of it yet
    IMBALANCE = "imbalance"  # it was late, and its difference is traded with the grid


class BatchState(StrEnum):
    """Where a batch stands; FINAL and REFUSED are ends."""

    BATCHED = "BATCHED"
    SIGNED = "SIGNED"  # an attempt is stored, perhaps not sent
    SENT = "SENT"
    MINED = "MINED"
    REVERTED = "REVERTED"  # mined without effect; goes back to BATCHED once that is final
    FINAL = "FINAL"
    REFUSED = "REFUSED"  # the contract takes none of its trades


UNMINED = (BatchState.SIGNED, BatchState.SENT)
IN_CHAIN = (BatchState.MINED, BatchState.FINAL)


@dataclass(frozen=True, slots=True)
class Reading:
    """What one source says about one slot; (source, boot, seq) is its key.

    energy_nwh (10^-9 Wh) is provided when positive, needed when negative; what it is in whole Wh is known when its slot
    is cleared, because the remainder is carried from slot to slot. time is the source's clock, seconds since the epoch.
    """

    source: str
    boot: int
    seq: int
    time: float
    slot: int
    energy_nwh: int
    price_wei_per_wh: int


@dataclass(frozen=True, slots=True)
class Offer:
    """What an actor brings into a slot's clearing: energy provided (positive) or needed (negative), and its limit."""

    actor: str
    energy_wh: int
    price_wei_per_wh: int


@dataclass(frozen=True, slots=True)
class Trade:
    """Energy that passes from one actor to another in a slot; energy_wh > 0, the price may be negative.

    An imbalance is energy that was not in the slot's clearing: it came late, or differs from what was said in time.
    """

    seller: str
    buyer: str
    energy_wh: int
    price_wei_per_wh: int
    slot: int
    imbalance: bool = False
