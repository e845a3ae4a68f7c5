# SPDX-License-Identifier: GPL-3.0-or-later
"""What `energy-bridge simulate` plays: a YAML file of actors, what they are made of and what they ask, as integers.

docs/simulate.md explains the file line by line. Every mistake in it is one sentence, and all of them are said at once.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from importlib import resources
from pathlib import Path
from random import Random
from typing import Any

import yaml

from energy_bridge.model import INT64_MAX, Kind
from energy_bridge.profiles import PROFILES, Profile
from energy_bridge.written import ConfigError, Settings, is_int, is_number, naming, read_text

__all__ = [
    "MICRO",
    "WEI_PER_UNIT",
    "Actor",
    "Battery",
    "Heat",
    "Load",
    "Scenario",
    "Sun",
    "Tariff",
    "built_in",
    "group_vars",
    "parse_scenario",
    "read_scenario",
]

MICRO = 10**6  # the parts of an efficiency, and those of a Wh in which a battery's charge is counted
WEI_PER_UNIT = 10**15  # what a unit of currency is, unless the scenario says otherwise: 1 ether is 1,000 of them
DEPOSIT_WEI = 100 * 10**18

_WH_PER_KWH = 1000
_MOST_HOUSEHOLDS = 500
_MOST = 100_000  # kW and kWh: what a village needs
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,31}")
_NOT_ACTORS = ("admin", "operator", "meter")  # the other accounts of a market


@dataclass(frozen=True, slots=True)
class Load:
    """Who needs energy: how much in a day, when, and at most at what price."""

    kwh_per_day: float
    profile: Profile
    gives_wei_per_wh: int


@dataclass(frozen=True, slots=True)
class Sun:
    """Photovoltaics: what the panels give in full sun, and at least at what price."""

    kwp: float
    asks_wei_per_wh: int


@dataclass(frozen=True, slots=True)
class Heat:
    """Combined heat and power: what it gives while heat is wanted, and at least at what price."""

    kw: float
    asks_wei_per_wh: int


@dataclass(frozen=True, slots=True)
class Battery:
    """A battery; of what it takes, efficiency_ppm parts in a million are there to be given back.

    It takes or provides share of what the others have too much or too little.
    """

    capacity_wh: int
    charge_wh: int
    power_w: int
    efficiency_ppm: int
    share: float
    buys_wei_per_wh: int
    sells_wei_per_wh: int


@dataclass(frozen=True, slots=True)
class Tariff:
    """The grid: what it pays, what it takes, and by how much both rise until 19 h and fall until 7 h, UTC."""

    buys_wei_per_wh: int
    sells_wei_per_wh: int
    swing_wei_per_wh: int


@dataclass(frozen=True, slots=True)
class Actor:
    """One actor of the market. household counts from 1; 0 is what belongs to nobody's house."""

    name: str
    kind: Kind
    household: int
    made_of: Load | Sun | Heat | Battery | Tariff


@dataclass(frozen=True, slots=True)
class Scenario:
    """All actors, in the order in which they are shown; one of them is the grid."""

    actors: tuple[Actor, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """The actors' names."""
        return tuple(actor.name for actor in self.actors)

    @property
    def grid(self) -> Actor:
        """The one that takes and gives what is left."""
        return next(actor for actor in self.actors if actor.kind is Kind.GRID)


def built_in() -> Scenario:
    """The tutorial's household."""
    text = (resources.files("energy_bridge") / "scenarios/household.yml").read_text("utf-8")
    return parse_scenario(yaml.safe_load(text))


def read_scenario(path: Path) -> Scenario:
    """Read and check a scenario; raises ConfigError with a sentence for each mistake."""
    text = read_text(path)
    try:
        document = yaml.load(text, _Loader)  # noqa: S506 - a SafeLoader
    except yaml.MarkedYAMLError as error:
        line = f" in line {error.problem_mark.line + 1}" if error.problem_mark else ""
        raise ConfigError(f"{path} is not YAML{line}: {error.problem}.") from error
    except (yaml.YAMLError, ValueError) as error:
        raise ConfigError(f"{path} is not YAML: {' '.join(str(error).split())}.") from error
    with naming(path):
        return parse_scenario(document)


def parse_scenario(document: Any) -> Scenario:
    """Check what a scenario's file holds; raises ConfigError with a sentence for each mistake, all of them at once."""
    if not isinstance(document, dict):
        raise ConfigError("A scenario has to be a mapping that has at least actors.")
    problems = list(_wrong(document, _SETTINGS, ""))
    wei_per_unit = document.get("wei_per_unit", WEI_PER_UNIT)
    if not _is_wei_per_unit(wei_per_unit):
        wei_per_unit = WEI_PER_UNIT
    groups = {name: document.get(name) for name in ("household", "actors")}
    for name, listed in groups.items():
        if isinstance(listed, list):
            for place, entry in enumerate(listed, 1):
                problems += _wrong_actor(entry, _called(entry, f"{name}, entry {place}"), wei_per_unit)
    problems += _at_odds(document)
    if problems:
        raise ConfigError("\n".join(problems))
    actors = tuple(_expanded(document, wei_per_unit))
    names = Counter(actor.name for actor in actors)
    if doubled := sorted(name for name, times in names.items() if times > 1):
        raise ConfigError(f"{', '.join(doubled)}: two actors cannot have one name.")
    return Scenario(actors)


def group_vars(scenario: Scenario, title: str) -> str:
    """What a network's group_vars need for these actors to exist, as YAML; title is the scenario's name."""
    tariff = scenario.grid.made_of
    assert isinstance(tariff, Tariff)  # noqa: S101 - the grid has nothing else
    lines = [
        f"# The actors of {title}. Those that a network has already stay where they are, new ones go to the end.",
        "clique_actors:",
        *(
            f'  - {{name: {json.dumps(actor.name)}, kind: {actor.kind}, deposit_wei: "{DEPOSIT_WEI}"}}'
            for actor in scenario.actors
        ),
    ]
    batteries = {actor.name: actor.made_of for actor in scenario.actors if isinstance(actor.made_of, Battery)}
    lossless = {name: battery for name, battery in batteries.items() if battery.efficiency_ppm == MICRO}
    rules = []
    if tariff.swing_wei_per_wh:
        lines.append("# The grid's price changes over the day, so it is the one that the grid names in its readings.")
    else:
        rules += [
            f"  grid_buys_wei_per_wh: {tariff.buys_wei_per_wh}",
            f"  grid_sells_wei_per_wh: {tariff.sells_wei_per_wh}",
        ]
    if lossless:
        rules.append("  batteries:")
        rules += [
            f"    {json.dumps(name)}: {{capacity_wh: {battery.capacity_wh}, charge_wh: {battery.charge_wh}}}"
            for name, battery in lossless.items()
        ]
    if lossy := sorted(batteries.keys() - lossless.keys()):
        lines.append(f"# Not among the batteries, because the bridge counts no losses: {', '.join(lossy)}.")
    return "\n".join([*lines, *(["udp_bridge_clearing:", *rules] if rules else [])]) + "\n"


class _Loader(yaml.SafeLoader):
    """YAML in which a name that stands twice is a mistake, not the last one."""

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        """Make a mapping of its node."""
        seen = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode):
                if key.value in seen:
                    raise yaml.constructor.ConstructorError(None, None, f"{key.value} stands twice", key.start_mark)
                seen.add(key.value)
        return super().construct_mapping(node, deep)


def _called(entry: Any, otherwise: str) -> str:
    name = entry.get("name") if isinstance(entry, dict) else None
    return name if isinstance(name, str) and name else otherwise


def _is_amount(value: Any) -> bool:
    return is_number(value) and 0 <= value <= _MOST


def _is_size(value: Any) -> bool:
    """A kW or kWh that is whole W or Wh."""
    return _is_amount(value) and _times(value, _WH_PER_KWH) is not None


def _is_share(value: Any) -> bool:
    return is_number(value) and 0 <= value <= 1


def _is_efficiency(value: Any) -> bool:
    return _is_share(value) and value > 0 and _times(value, MICRO) is not None


def _is_wei_per_unit(value: Any) -> bool:
    return is_int(value) and value > 0


def _is_profile(value: Any) -> bool:
    if isinstance(value, list):
        return bool(value) and all(_is_amount(weight) for weight in value) and any(value)
    return isinstance(value, str) and value in PROFILES


def _times(value: float, scale: int) -> int | None:
    """A number as it is written, times a scale, where that is whole."""
    product = Decimal(repr(value)) * scale
    return int(product) if product == product.to_integral_value() else None


_AMOUNT = f"a number from 0 to {_MOST}"
_SIZE = f"{_AMOUNT} of whole Wh or W, so with three decimals at most"
_SHARE = ("a number from 0 to 1", _is_share)
_SETTINGS: Settings = {
    "wei_per_unit": ("a positive whole number", _is_wei_per_unit),
    "households": (
        f"a whole number from 1 to {_MOST_HOUSEHOLDS}",
        lambda value: is_int(value) and 1 <= value <= _MOST_HOUSEHOLDS,
    ),
    "spread": _SHARE,
    "household": (
        "a list of actors, such as {name: load, kind: Load, …}",
        lambda value: isinstance(value, list) and bool(value),
    ),
    "actors": ("a list of actors, one of them the grid", lambda value: isinstance(value, list) and bool(value)),
}
_MADE_OF: Mapping[Kind, Settings] = {
    Kind.LOAD: {
        "kwh_per_day": (_AMOUNT, _is_amount),
        "profile": (f"{', '.join(PROFILES)}, or a list of numbers, weights of equal parts of a day", _is_profile),
    },
    Kind.PV: {"kwp": (_AMOUNT, _is_amount)},
    Kind.CHP: {"kw": (_AMOUNT, _is_amount)},
    Kind.BATTERY: {
        "kwh": (_SIZE, _is_size),
        "kw": (_SIZE, _is_size),
        "charge_kwh": (_SIZE, _is_size),
        "efficiency": ("a number above 0 and up to 1, with six decimals at most", _is_efficiency),
        "share": _SHARE,
    },
    Kind.GRID: {},
}
_NEEDED = {"kwh_per_day", "kwp", "kw", "kwh"}
_PRICES: Mapping[Kind, tuple[str, ...]] = {
    Kind.LOAD: ("gives",),
    Kind.PV: ("asks",),
    Kind.CHP: ("asks",),
    Kind.BATTERY: ("buys", "sells"),
    Kind.GRID: ("buys", "sells", "swing"),
}
_FREE = {"swing"}  # prices that may be left out


def _wrong(document: Mapping[Any, Any], settings: Settings, prefix: str) -> Iterator[str]:
    for name, (wanted, accepts) in settings.items():
        if name in document and not accepts(document[name]):
            yield f"{prefix}{name} has to be {wanted}, not {document[name]!r}."
    if not prefix:
        for name in document.keys() - settings.keys():
            yield f"{name} is not a setting of a scenario; there are {', '.join(settings)}."
        if "actors" not in document:
            yield "actors is missing: it has to be a list of actors, one of them the grid."


def _wrong_actor(entry: Any, called: str, wei_per_unit: int) -> Iterator[str]:
    if not isinstance(entry, dict):
        yield f"{called}: an actor has to be a mapping such as {{name: pv, kind: PV, kwp: 4, asks_per_kwh: 0.08}}."
        return
    name = entry.get("name")
    if not isinstance(name, str) or not _NAME.fullmatch(name) or name in _NOT_ACTORS:
        yield (
            f"{called}: name has to be up to 32 letters, digits, - and _, beginning with a letter or a digit, "
            f"and not {' or '.join(_NOT_ACTORS)}."
        )
    if entry.get("kind") not in list(Kind):
        yield f"{called}: kind has to be one of {', '.join(Kind)}."
        return
    kind = Kind(entry["kind"])
    settings, stems = _MADE_OF[kind], _PRICES[kind]
    yield from _wrong(entry, settings, f"{called}: ")
    for missing in (name for name in settings if name in _NEEDED and name not in entry):
        yield f"{called}: {missing} is missing: it has to be {settings[missing][0]}."
    for stem in stems:
        yield from (f"{called}: {sentence}" for sentence in _wrong_price(entry, stem, wei_per_unit))
    sizes = [entry.get(name, 0) for name in ("charge_kwh", "kwh")]
    if kind is Kind.BATTERY and all(map(_is_size, sizes)) and sizes[0] > sizes[1]:
        yield f"{called}: charge_kwh cannot be more than kwh."
    known = {"name", "kind", *settings, *(f"{stem}_{unit}" for stem in stems for unit in ("per_kwh", "wei_per_wh"))}
    for other in entry.keys() - known:
        yield f"{called}: {other} is not a setting of a {kind}; there are {', '.join(sorted(known))}."


def _wrong_price(entry: Mapping[str, Any], stem: str, wei_per_unit: int) -> Iterator[str]:
    units, wei = f"{stem}_per_kwh", f"{stem}_wei_per_wh"
    if units in entry and wei in entry:
        yield f"{units} and {wei} are one price: give one of them."
    elif wei in entry:
        if not is_int(entry[wei]) or abs(entry[wei]) > INT64_MAX:
            yield f"{wei} has to be a whole number of wei per Wh, not {entry[wei]!r}."
    elif units in entry:
        if not is_number(entry[units]):
            yield f"{units} has to be a number of units of currency, not {entry[units]!r}."
        elif _per_wh(entry[units], wei_per_unit) is None:
            yield f"{units}: {entry[units]!r} is no whole number of wei per Wh; give {wei}."
    elif stem not in _FREE:
        yield f"{units} is missing: a price in units of currency, or {wei}, in wei."


def _per_wh(price_per_kwh: float, wei_per_unit: int) -> int | None:
    """The price in wei per Wh, where that is whole and one that the market takes."""
    wei_per_kwh = _times(price_per_kwh, wei_per_unit)
    if wei_per_kwh is None or wei_per_kwh % _WH_PER_KWH or abs(wei_per_kwh) > INT64_MAX * _WH_PER_KWH:
        return None
    return wei_per_kwh // _WH_PER_KWH


def _at_odds(document: Mapping[str, Any]) -> Iterator[str]:
    """What is wrong with all of it together."""
    if "households" in document and "household" not in document:
        yield "household is missing: it lists the actors that each of the households has."
    if "household" in document and "households" not in document:
        yield "households is missing: it says how many there are of household."
    if "spread" in document and "household" not in document:
        yield "spread is how households differ, and there are none."
    kinds = {
        group: [entry.get("kind") for entry in document[group] if isinstance(entry, dict)]
        for group in ("household", "actors")
        if isinstance(document.get(group), list)
    }
    if kinds.get("actors") and kinds["actors"].count(Kind.GRID) != 1:
        yield f"actors has to have exactly one of the kind Grid, and has {kinds['actors'].count(Kind.GRID)}."
    if Kind.GRID in kinds.get("household", []):
        yield "household has a Grid; there is one for all, in actors."


def _expanded(document: Mapping[str, Any], wei_per_unit: int) -> Iterator[Actor]:
    for number in range(1, document.get("households", 0) + 1):
        for entry in document["household"]:
            yield _actor(entry, wei_per_unit, household=number, spread=document.get("spread", 0))
    for entry in document["actors"]:
        yield _actor(entry, wei_per_unit, household=0, spread=0)


def _actor(entry: Mapping[str, Any], wei_per_unit: int, *, household: int, spread: float) -> Actor:
    name, kind = f"{entry['name']}{household or ''}", Kind(entry["kind"])
    luck = Random(f"{name}")  # noqa: S311 - how a household differs is the scenario's, whatever the weather's seed
    size, worth = luck.uniform(1 - spread, 1 + spread), luck.uniform(1 - spread, 1 + spread)

    def price(stem: str) -> int:
        wei = entry.get(f"{stem}_wei_per_wh", _per_wh(entry.get(f"{stem}_per_kwh", 0), wei_per_unit))
        return round(wei * worth) if spread else int(wei)

    def whole(key: str, scale: int, otherwise: int) -> int:
        product = _times(entry[key], scale) if key in entry else otherwise
        assert product is not None  # noqa: S101 - it was checked
        return product

    made_of: Load | Sun | Heat | Battery | Tariff
    if kind is Kind.LOAD:
        profile = entry.get("profile", "household")
        shape: Profile = profile if isinstance(profile, str) else tuple(map(float, profile))
        made_of = Load(entry["kwh_per_day"] * size, shape, price("gives"))
    elif kind is Kind.PV:
        made_of = Sun(entry["kwp"] * size, price("asks"))
    elif kind is Kind.CHP:
        made_of = Heat(entry["kw"] * size, price("asks"))
    elif kind is Kind.BATTERY:
        capacity_wh = whole("kwh", _WH_PER_KWH, 0)
        made_of = Battery(
            capacity_wh=capacity_wh,
            charge_wh=whole("charge_kwh", _WH_PER_KWH, capacity_wh // 2),
            power_w=whole("kw", _WH_PER_KWH, 0),
            efficiency_ppm=whole("efficiency", MICRO, MICRO),
            share=entry.get("share", 0.6),
            buys_wei_per_wh=price("buys"),
            sells_wei_per_wh=price("sells"),
        )
    else:
        made_of = Tariff(price("buys"), price("sells"), price("swing"))
    return Actor(name, kind, household, made_of)
