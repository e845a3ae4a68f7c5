# SPDX-License-Identifier: GPL-3.0-or-later
"""A household and its grid, slot by slot: what the tutorial's MATLAB simulation emitted. Pure: the seed is the weather.

Powers are kW inside a formula, energies Wh, prices wei per Wh; a time of day is in hours, UTC.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from random import Random

from energy_bridge.model import Offer

__all__ = ["ACTORS", "BATTERY_CAPACITY_WH", "START", "State", "data_set"]

ACTORS = ("load", "pv", "chp", "battery", "grid")

PV_PEAK_KW = 4.0
CHP_KW = 0.8
BATTERY_KW = 2.0
BATTERY_CAPACITY_WH = 8000
BATTERY_SHARE = 0.6  # of a surplus or a lack; the grid has the rest

_GWEI_PER_WH = 10**9  # 1 gwei per Wh = 10^-6 ether per kWh
PV_PRICE = 80 * _GWEI_PER_WH
CHP_PRICE = 140 * _GWEI_PER_WH
BATTERY_BUYS_AT = 100 * _GWEI_PER_WH  # above PV, below CHP: it is the sun that it stores
BATTERY_SELLS_AT = 200 * _GWEI_PER_WH
LOAD_PRICE = 400 * _GWEI_PER_WH  # above all others: the load is always served
GRID_PRICE = 300 * _GWEI_PER_WH
GRID_PRICE_SWING = 60 * _GWEI_PER_WH


@dataclass(frozen=True, slots=True)
class State:
    """What a slot leaves to the next: the battery's state of charge, 0 to BATTERY_CAPACITY_WH."""

    charge_wh: int


START = State(charge_wh=BATTERY_CAPACITY_WH // 2)


def data_set(slot: int, state: State, *, seed: int, slot_s: int) -> tuple[list[Offer], State]:
    """All actors' offers for a slot, and the state after it; the energies add up to zero."""
    day, second = divmod(slot * slot_s, 86400)
    hour = second / 3600
    clouds = Random(f"{seed} sky {day}").uniform(0.35, 1.0)  # noqa: S311 - a simulation
    noise = Random(f"{seed} slot {slot}")  # noqa: S311

    def wh(power_kw: float, jitter: float) -> int:
        return round(power_kw * noise.uniform(1 - jitter, 1 + jitter) * slot_s / 3.6)

    load_wh = -wh(_load_kw(hour), jitter=0.2)
    pv_wh = wh(_sun(hour) * clouds * PV_PEAK_KW, jitter=0.15)
    chp_wh = wh(CHP_KW if _heating(hour) else 0.0, jitter=0.02)
    surplus_wh = load_wh + pv_wh + chp_wh
    battery_wh = _battery(surplus_wh, state, limit_wh=round(BATTERY_KW * slot_s / 3.6))
    grid_price = GRID_PRICE + round(GRID_PRICE_SWING * math.sin((hour - 13) / 24 * math.tau))
    offers = [
        Offer("load", load_wh, LOAD_PRICE),
        Offer("pv", pv_wh, PV_PRICE),
        Offer("chp", chp_wh, CHP_PRICE),
        Offer("battery", battery_wh, BATTERY_SELLS_AT if battery_wh > 0 else BATTERY_BUYS_AT),
        Offer("grid", -surplus_wh - battery_wh, grid_price // _GWEI_PER_WH * _GWEI_PER_WH),
    ]
    return offers, State(state.charge_wh - battery_wh)


def _battery(surplus_wh: int, state: State, *, limit_wh: int) -> int:
    """What the battery provides or takes: its share of the surplus, as far as its power and its charge go."""
    most = min(limit_wh, state.charge_wh)
    least = -min(limit_wh, BATTERY_CAPACITY_WH - state.charge_wh)
    return max(least, min(most, round(-BATTERY_SHARE * surplus_wh)))


def _load_kw(hour: float) -> float:
    """A household: a base, a peak at breakfast, a higher one in the evening."""
    return 0.3 + 0.7 * _bump(hour, 7.5, 1.2) + 0.4 * _bump(hour, 12.5, 1.5) + 1.3 * _bump(hour, 19.0, 1.8)


def _sun(hour: float) -> float:
    """The share of the peak that a clear sky gives, from six in the morning to six in the evening."""
    return max(0.0, math.sin((hour - 6) / 12 * math.pi))


def _heating(hour: float) -> bool:
    """Combined heat and power runs when heat is wanted."""
    return 5 <= hour < 9 or 17 <= hour < 22  # noqa: PLR2004 - hours of a day


def _bump(hour: float, middle: float, width: float) -> float:
    return math.exp(-(((hour - middle) / width) ** 2) / 2)
