# SPDX-License-Identifier: GPL-3.0-or-later
"""Whatever is wrong in a scenario is said in a sentence, all of it at once, and what is right becomes integers."""

from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import yaml
from energy_bridge.model import Kind
from energy_bridge.replay import read_replay
from energy_bridge.scenario import Battery, Load, Tariff, built_in, group_vars, parse_scenario, read_scenario
from energy_bridge.written import ConfigError

GRID = {"name": "grid", "kind": "Grid", "buys_per_kwh": 0.08, "sells_per_kwh": 0.32}
LOAD = {"name": "load", "kind": "Load", "kwh_per_day": 10, "gives_per_kwh": 0.4}
PV = {"name": "pv", "kind": "PV", "kwp": 4, "asks_per_kwh": 0.08}
BATTERY = {"name": "battery", "kind": "Battery", "kwh": 8, "kw": 2, "buys_per_kwh": 0.1, "sells_per_kwh": 0.2}
EXAMPLES = Path(__file__).parents[5] / "examples/scenarios"

# The sentences that are long.
A_NAME = (
    "name has to be up to 32 letters, digits, - and _, beginning with a letter or a digit, "
    "and not admin or operator or meter."
)
A_PROFILE = (
    "profile has to be household, business, constant, or a list of numbers, weights of equal parts of a day, not"
)
AN_EFFICIENCY = "efficiency has to be a number above 0 and up to 1, with six decimals at most, not"
AN_ACTOR = "an actor has to be a mapping such as {name: pv, kind: PV, kwp: 4, asks_per_kwh: 0.08}."
A_SIZE = "a number from 0 to 100000 of whole Wh or W, so with three decimals at most, not"
SETTINGS = "wei_per_unit, households, spread, household, actors"


def street(**more: Any) -> dict[str, Any]:
    return deepcopy({"households": 2, "household": [LOAD, PV, BATTERY], "actors": [GRID], **more})


def with_actor(actor: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"actors": [{**actor, **more}, GRID]}


def without(actor: dict[str, Any], name: str) -> dict[str, Any]:
    return {"actors": [{key: value for key, value in actor.items() if key != name}, GRID]}


def said(document: Any) -> list[str]:
    with pytest.raises(ConfigError) as refused:
        parse_scenario(document)
    return str(refused.value).splitlines()


def test_households_become_actors_with_a_number() -> None:
    scenario = parse_scenario(street())
    assert scenario.names == ("load1", "pv1", "battery1", "load2", "pv2", "battery2", "grid")
    assert [actor.household for actor in scenario.actors] == [1, 1, 1, 2, 2, 2, 0]
    assert scenario.grid.name == "grid"


def test_amounts_and_prices_become_integers() -> None:
    scenario = parse_scenario(
        {
            "wei_per_unit": 2 * 10**15,
            "actors": [
                {**BATTERY, "kwh": 7.777, "kw": 1.5, "charge_kwh": 0.001, "efficiency": 0.912345},
                {"name": "load", "kind": "Load", "kwh_per_day": 10, "gives_wei_per_wh": 123},
                {**GRID, "buys_per_kwh": -0.1, "swing_per_kwh": 0.01},
            ],
        }
    )
    battery, load, tariff = (actor.made_of for actor in scenario.actors)
    assert battery == Battery(7777, 1, 1500, 912_345, 0.6, 200 * 10**9, 400 * 10**9)
    assert load == Load(10, "household", 123)
    assert tariff == Tariff(-200 * 10**9, 640 * 10**9, 20 * 10**9)


@pytest.mark.parametrize(
    ("document", "sentence"),
    [
        ([], "A scenario has to be a mapping that has at least actors."),
        ({}, "actors is missing: it has to be a list of actors, one of them the grid."),
        ({"actors": {}}, "actors has to be a list of actors, one of them the grid, not {}."),
        ({"actors": [LOAD]}, "actors has to have exactly one of the kind Grid, and has 0."),
        ({"actors": [GRID, {**GRID, "name": "other"}]}, "actors has to have exactly one of the kind Grid, and has 2."),
        (
            {"actors": ["pv", GRID]},
            f"actors, entry 1: {AN_ACTOR}",
        ),
        ({"actors": [LOAD, LOAD, GRID]}, "load: two actors cannot have one name."),
        (street(actors=[GRID, {**LOAD, "name": "load1"}]), "load1: two actors cannot have one name."),
        (street(households=0), "households has to be a whole number from 1 to 500, not 0."),
        (street(households=True), "households has to be a whole number from 1 to 500, not True."),
        (
            {"actors": [GRID], "households": 2},
            "household is missing: it lists the actors that each of the households has.",
        ),
        (
            {"actors": [GRID], "household": [LOAD]},
            "households is missing: it says how many there are of household.",
        ),
        (street(household=[LOAD, GRID]), "household has a Grid; there is one for all, in actors."),
        (street(spread=2), "spread has to be a number from 0 to 1, not 2."),
        ({"actors": [GRID], "spread": 0.1}, "spread is how households differ, and there are none."),
        (street(wei_per_unit="10"), "wei_per_unit has to be a positive whole number, not '10'."),
        (
            street(speed=2),
            f"speed is not a setting of a scenario; there are {SETTINGS}.",
        ),
        (
            with_actor(LOAD, name="operator"),
            f"operator: {A_NAME}",
        ),
        (
            with_actor(LOAD, name=7),
            f"actors, entry 1: {A_NAME}",
        ),
        (with_actor(LOAD, kind="Sun"), "load: kind has to be one of Load, PV, CHP, Battery, Grid."),
        (with_actor(LOAD, kwh_per_day=-1), "load: kwh_per_day has to be a number from 0 to 100000, not -1."),
        (with_actor(LOAD, kwh_per_day=float("nan")), "load: kwh_per_day has to be a number from 0 to 100000, not nan."),
        (without(LOAD, "kwh_per_day"), "load: kwh_per_day is missing: it has to be a number from 0 to 100000."),
        (
            with_actor(LOAD, profile="night"),
            f"load: {A_PROFILE} 'night'.",
        ),
        (
            with_actor(LOAD, profile=[0, 0]),
            f"load: {A_PROFILE} [0, 0].",
        ),
        (
            with_actor(BATTERY, kwh=1.2345),
            f"battery: kwh has to be {A_SIZE} 1.2345.",
        ),
        (with_actor(BATTERY, charge_kwh=9), "battery: charge_kwh cannot be more than kwh."),
        (
            with_actor(BATTERY, efficiency=0),
            f"battery: {AN_EFFICIENCY} 0.",
        ),
        (
            with_actor(BATTERY, efficiency=90),
            f"battery: {AN_EFFICIENCY} 90.",
        ),
        (with_actor(BATTERY, share=-0.1), "battery: share has to be a number from 0 to 1, not -0.1."),
        (
            with_actor(PV, kw=4),
            "pv: kw is not a setting of a PV; there are asks_per_kwh, asks_wei_per_wh, kind, kwp, name.",
        ),
        (
            without(PV, "asks_per_kwh"),
            "pv: asks_per_kwh is missing: a price in units of currency, or asks_wei_per_wh, in wei.",
        ),
        (with_actor(PV, asks_wei_per_wh=3), "pv: asks_per_kwh and asks_wei_per_wh are one price: give one of them."),
        (
            with_actor(PV, asks_per_kwh="8 cents"),
            "pv: asks_per_kwh has to be a number of units of currency, not '8 cents'.",
        ),
        (
            with_actor(PV, asks_per_kwh=1e-13),
            "pv: asks_per_kwh: 1e-13 is no whole number of wei per Wh; give asks_wei_per_wh.",
        ),
        (
            with_actor(without(PV, "asks_per_kwh")["actors"][0], asks_wei_per_wh=0.5),
            "pv: asks_wei_per_wh has to be a whole number of wei per Wh, not 0.5.",
        ),
    ],
)
def test_a_mistake_is_one_sentence(document: Any, sentence: str) -> None:
    assert said(document) == [sentence]


def test_all_mistakes_are_said_at_once() -> None:
    assert len(said(street(households=0, spread=-1, actors=[{**GRID, "buys_per_kwh": None}, {**PV, "kwp": "4"}]))) == 4


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("actors: [", "is not YAML in line 1: "),
        ("actors: []\nactors: []", "is not YAML in line 2: actors stands twice."),
        ("actors: []", ": actors has to be a list of actors, one of them the grid, not []."),
        ("when: 2026-13-01", "is not YAML: "),
        ("a: \x00", "is not YAML: "),
    ],
)
def test_a_file_that_is_no_scenario_is_named(tmp_path: Path, text: str, sentence: str) -> None:
    path = tmp_path / "s.yml"
    path.write_text(text)
    with pytest.raises(ConfigError) as refused:
        read_scenario(path)
    assert str(refused.value).startswith(f"{path}")
    assert sentence in str(refused.value)


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"none\.yml cannot be read: No such file or directory\."):
        read_scenario(tmp_path / "none.yml")
    (tmp_path / "latin.yml").write_bytes(b"# Stra\xdfe")
    with pytest.raises(ConfigError, match=r"latin\.yml is not a text in UTF-8\."):
        read_scenario(tmp_path / "latin.yml")


def test_group_vars_name_every_actor_and_what_the_bridge_has_to_know() -> None:
    printed = yaml.safe_load(group_vars(parse_scenario(street()), "s.yml"))
    assert [(actor["name"], actor["kind"]) for actor in printed["clique_actors"]] == [
        (actor.name, actor.kind) for actor in parse_scenario(street()).actors
    ]
    assert printed["clique_actors"][0]["deposit_wei"] == "100000000000000000000"
    assert printed["udp_bridge_clearing"] == {
        "grid_buys_wei_per_wh": 80 * 10**9,
        "grid_sells_wei_per_wh": 320 * 10**9,
        "batteries": {name: {"capacity_wh": 8000, "charge_wh": 4000} for name in ("battery1", "battery2")},
    }


def test_group_vars_leave_out_what_the_bridge_cannot_know() -> None:
    """A battery with losses would look ever fuller to the bridge, and a price that changes is none for all day."""
    document = with_actor(BATTERY, efficiency=0.9)
    document["actors"][1] = {**GRID, "swing_per_kwh": 0.01}
    text = group_vars(parse_scenario(document), "s.yml")
    assert yaml.safe_load(text).keys() == {"clique_actors"}
    assert "counts no losses: battery." in text
    assert "the one that the grid names" in text


def test_the_built_in_scenario_has_the_actors_that_a_network_has_by_default() -> None:
    assert [(actor.name, actor.kind) for actor in built_in().actors] == [
        ("load", Kind.LOAD),
        ("pv", Kind.PV),
        ("chp", Kind.CHP),
        ("battery", Kind.BATTERY),
        ("grid", Kind.GRID),
    ]


def test_the_examples_are_what_they_show() -> None:
    street = read_scenario(EXAMPLES / "street.yml")
    assert len(street.actors) == 5 * 3 + 4
    explained = (EXAMPLES.parents[1] / "docs/simulate.md").read_text().split("```yaml\n")[1].split("```")[0]
    assert parse_scenario(yaml.safe_load(explained)) == street
    slots = read_replay(EXAMPLES / "profile.csv", built_in(), slot_s=900)
    assert len(slots) == 96
    assert {tuple(given) for given in slots.values()} == {("load", "pv")}
