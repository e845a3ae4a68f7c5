# SPDX-License-Identifier: GPL-3.0-or-later
"""The actors of a scenario, slot by slot: what the tutorial's MATLAB simulation emitted. Pure: the seed is the weather.

Powers are kW inside a formula, energies Wh, prices wei per Wh; a time of day is in hours, UTC.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from random import Random

from energy_bridge.model import Kind, Offer
from energy_bridge.profiles import PROFILES, Profile
from energy_bridge.scenario import MICRO, Actor, Battery, Heat, Load, Scenario, Sun, Tariff

__all__ = ["State", "data_set", "start"]

_GWEI_PER_WH = 10**9  # a price of the grid that changes is told in whole ones
_HOUR_S = 3600
_DAY_H = 24


@dataclass(frozen=True, slots=True)
class State:
    """What a slot leaves to the next: each battery's charge in millionths of a Wh, 0 to its capacity."""

    charge_uwh: Mapping[str, int]


def start(scenario: Scenario) -> State:
    """The state before the first slot."""
    batteries = ((actor.name, actor.made_of) for actor in scenario.actors)
    return State({name: made.charge_wh * MICRO for name, made in batteries if isinstance(made, Battery)})


def data_set(
    scenario: Scenario,
    slot: int,
    state: State,
    *,
    seed: int,
    slot_s: int,
    replayed: Mapping[str, int] | None = None,
) -> tuple[list[Offer], State]:
    """All actors' offers for a slot, and the state after it; the energies add up to zero.

    replayed has the Wh of actors that are not simulated in this slot, positive where they provide.
    """
    day, second = divmod(slot * slot_s, 86400)
    hour = second / _HOUR_S
    given = replayed or {}
    clouds = Random(f"{seed} sky {day}").uniform(0.35, 1.0)  # noqa: S311 - a simulation
    energies: dict[str, int] = {}
    charges = dict(state.charge_uwh)
    for household, actors in _houses(scenario):
        # Weather and people do not depend on who else is in the scenario.
        noise = Random(f"{seed} slot {slot}{f' household {household}' if household else ''}")  # noqa: S311
        for actor in actors:
            if (drawn := _drawn(actor, hour, clouds)) is not None:
                power_kw, jitter = drawn
                # Drawn for those that are replayed too: the others are what they would be without.
                energy_wh = round(power_kw * noise.uniform(1 - jitter, 1 + jitter) * slot_s / 3.6)
                energies[actor.name] = given.get(actor.name, -energy_wh if actor.kind is Kind.LOAD else energy_wh)
        # What belongs to no house looks at what all houses leave.
        surplus_wh = sum(
            energies[actor.name] for actor in (scenario.actors if not household else actors) if actor.name in energies
        )
        for actor in actors:
            if isinstance(actor.made_of, Battery):
                if actor.name in given:
                    energies[actor.name] = given[actor.name]
                else:
                    energies[actor.name], charges[actor.name] = _battery(
                        surplus_wh, charges[actor.name], actor.made_of, slot_s=slot_s
                    )
                surplus_wh += energies[actor.name]
    energies[scenario.grid.name] = -sum(energies.values())
    return [_offer(actor, energies[actor.name], hour) for actor in scenario.actors], State(charges)


def _houses(scenario: Scenario) -> list[tuple[int, list[Actor]]]:
    """The actors of each household, by its number; what belongs to none, number 0, comes last."""
    houses: dict[int, list[Actor]] = {}
    for actor in scenario.actors:
        houses.setdefault(actor.household, []).append(actor)
    return sorted(houses.items(), key=lambda house: (house[0] == 0, house[0]))


def _drawn(actor: Actor, hour: float, clouds: float) -> tuple[float, float] | None:
    """The power in kW that is likely, and by which share it is more or less; None where the others decide it."""
    match actor.made_of:
        case Load(kwh_per_day, profile):
            return _load_kw(profile, hour, kwh_per_day), 0.2
        case Sun(kwp):
            return _sun(hour) * clouds * kwp, 0.15
        case Heat(kw):
            return kw if _heating(hour) else 0.0, 0.02
    return None


def _battery(surplus_wh: int, charge_uwh: int, battery: Battery, *, slot_s: int) -> tuple[int, int]:
    """What a battery provides or takes, in Wh, and its charge after it: as far as its power and its charge go."""
    limit_wh = battery.power_w * slot_s // _HOUR_S
    most = min(limit_wh, charge_uwh // MICRO)
    least = -min(limit_wh, (battery.capacity_wh * MICRO - charge_uwh) // battery.efficiency_ppm)
    energy_wh = max(least, min(most, round(-battery.share * surplus_wh)))
    # What is lost, is lost on the way in.
    return energy_wh, charge_uwh - energy_wh * (MICRO if energy_wh > 0 else battery.efficiency_ppm)


def _offer(actor: Actor, energy_wh: int, hour: float) -> Offer:
    match actor.made_of:
        case Load(gives_wei_per_wh=price) | Sun(asks_wei_per_wh=price) | Heat(asks_wei_per_wh=price):
            return Offer(actor.name, energy_wh, price)
        case Battery(buys_wei_per_wh=buys, sells_wei_per_wh=sells):
            return Offer(actor.name, energy_wh, sells if energy_wh > 0 else buys)
        case Tariff(buys, sells, swing):
            return Offer(actor.name, energy_wh, _tariff(buys if energy_wh < 0 else sells, swing, hour))


def _tariff(price: int, swing: int, hour: float) -> int:
    """The grid's price at a time of day: the lowest at 7 h, the highest at 19 h."""
    if not swing:
        return price
    return (price + round(swing * math.sin((hour - 13) / 24 * math.tau))) // _GWEI_PER_WH * _GWEI_PER_WH


def _load_kw(profile: Profile, hour: float, kwh_per_day: float) -> float:
    if isinstance(profile, str):
        shape_kw, shape_kwh = PROFILES[profile]
        return shape_kw(hour) * (kwh_per_day / shape_kwh)
    return kwh_per_day / _DAY_H * len(profile) * profile[int(hour / _DAY_H * len(profile))] / sum(profile)


def _sun(hour: float) -> float:
    """The share of the peak that a clear sky gives, from six in the morning to six in the evening."""
    return max(0.0, math.sin((hour - 6) / 12 * math.pi))


def _heating(hour: float) -> bool:
    """Combined heat and power runs when heat is wanted."""
    return 5 <= hour < 9 or 17 <= hour < 22  # noqa: PLR2004 - hours of a day
