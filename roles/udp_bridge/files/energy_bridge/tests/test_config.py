# SPDX-License-Identifier: GPL-3.0-or-later
"""A configuration is right as a whole, or every mistake in it is named."""

import json
from pathlib import Path
from typing import Any

import pytest
from energy_bridge.clearing import Battery, Method, Rules
from energy_bridge.cli import main
from energy_bridge.config import parse_config, read_source_keys
from energy_bridge.model import Mode
from energy_bridge.written import ConfigError
from support.settings import bridge_settings

GOOD = bridge_settings(
    listen_port=30401,
    web_port=30402,
    clock="wall",
    rpc_url="http://127.0.0.1:30400",
    market={"address": "0x" + "ab" * 20, "abi": "EnergyMarket.artifact.json"},
    actors={
        "pv": {"address": "0x" + "01" * 20, "kind": "PV"},
        "battery": {"address": "0x" + "03" * 20, "kind": "Battery"},
        "grid": {"address": "0x" + "02" * 20, "kind": "Grid"},
    },
    source_keys="source-keys.json",
    grace_s=30,
)


def test_a_good_configuration() -> None:
    config = parse_config(GOOD)
    assert config.grid == "grid"
    assert config.listen_allow == ()
    assert parse_config({**GOOD, "listen_allow": ["192.0.2.7/24"]}).listen_allow == ("192.0.2.7/24",)
    assert parse_config({**GOOD, "web_port": None}).web_port is None
    assert config.rules == Rules(grid="grid")
    assert config.source_keys == Path("source-keys.json")
    assert parse_config({**GOOD, "source_keys": None}).source_keys is None


def test_an_actor_has_the_id_that_it_is_given_or_its_place() -> None:
    pv, _, grid = GOOD["actors"].values()
    house = {"address": "0x" + "03" * 20, "kind": "Load"}

    def ids(actors: dict[str, Any]) -> dict[str, int]:
        return {name: actor.id for name, actor in parse_config({**GOOD, "actors": actors}).actors.items()}

    assert ids({"pv": pv, "grid": grid, "house": house}) == {"pv": 1, "grid": 2, "house": 3}
    assert ids({"pv": {**pv, "id": 7}, "grid": grid, "house": {**house, "id": 1}}) == {"pv": 7, "grid": 2, "house": 1}


@pytest.mark.parametrize("number", [2, 0, -1, 1.0, True, "7", None, 2**53 + 1])
def test_no_two_actors_have_one_id_and_no_id_is_anything_but_a_number(number: Any) -> None:
    pv, _, grid = GOOD["actors"].values()
    with pytest.raises(ConfigError, match=r"^actors has to be an object .* no id twice\.$"):
        parse_config({**GOOD, "actors": {"pv": {**pv, "id": number}, "grid": grid}})


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("listen_port", 70000, "UDP port"),
        ("currency", "", "currency has to be a name of 1 to 12 characters"),
        ("currency", "a long currency", "currency has to be"),
        ("currency", "E\nR", "currency has to be"),
        ("wei_per_unit", 0, "wei_per_unit has to be a positive whole number"),
        ("wei_per_unit", 1.5, "wei_per_unit has to be"),
        ("web_names", None, "web_names has to be a list of host names"),
        ("web_names", ["http://gateway"], "web_names has to be"),
        ("web_names", ["gateway:80"], "web_names has to be"),
        ("web_names", ["*.local"], "web_names has to be"),
        ("sealers", {"sealer1": "0x" + "0a" * 20}, "sealers has to be an object"),
        ("sealers", {"0x" + "0a" * 20: ""}, "sealers has to be"),
        ("sealers", [], "sealers has to be"),
        ("mode", "agreements", "batch or agreement"),
        ("agreement_factory", "0x12", "the address 0x"),
        ("deliver_within_s", -1, "not negative"),
        ("deliver_within_s", 366 * 86_400, "at most 15552000"),
        ("listen_port", True, "UDP port"),
        ("listen_allow", ["192.0.2.0/33"], "networks"),
        ("listen_allow", "192.0.2.0/24", "networks"),
        ("listen_allow", [3221225984], "networks"),
        ("web_port", -1, "TCP port"),
        ("clock", "moon", "wall or simulated"),
        ("accept_horizon_s", 0, "positive"),
        ("period_s", 0, "block to block"),
        ("rpc_url", "geth.ipc", "http://"),
        ("chain_id", "1337", "positive whole number"),
        ("market", {"address": "0x12", "abi": "x"}, "0x…"),
        ("market", {"address": "0x" + "g" * 40, "abi": "x"}, "0x…"),
        ("operator", {"keystore": "x"}, "password_file"),
        ("actors", {"pv": GOOD["actors"]["pv"]}, "one grid"),
        ("actors", {"a": GOOD["actors"]["grid"], "b": GOOD["actors"]["grid"]}, "one grid"),
        ("actors", {**GOOD["actors"], "x": {**GOOD["actors"]["pv"], "kind": "wind"}}, "Load|PV"),
        ("actors", {**GOOD["actors"], "x": {**GOOD["actors"]["pv"], "kind": "Load"}}, "no address and no id twice"),
        ("clearing", [], "{} for pay as bid"),
        ("slot_s", 0, "positive"),
        ("lead_s", "soon", "a number of seconds"),
        ("retention_days", 0, "positive number of days"),
        ("retention_days", 1, "longer than accept_horizon_s"),
        ("grace_s", -1, "not negative"),
        ("grace_s", float("nan"), "not negative"),
        ("confirmations", 2.5, "blocks"),
        ("poll_s", 0, "positive"),
        ("strict", "no", "true or false"),
        ("strict", 0, "true or false"),
    ],
)
def test_a_wrong_setting_is_named_with_what_it_has_to_be(name: str, value: Any, words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_config({**GOOD, name: value})
    assert str(caught.value).startswith(f"{name} has to be ")
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_rules_of_the_market() -> None:
    clearing = {
        "method": "bilateral",
        "pairs": [["pv", "battery"]],
        "grid_buys_wei_per_wh": -5,
        "grid_sells_wei_per_wh": None,
        "imbalance_sells_wei_per_wh": 9,
        "fee_wei_per_wh": 2,
        "fee_account": "pv",
        "batteries": {"battery": {"capacity_wh": 8000, "charge_wh": 4000}},
    }
    assert parse_config({**GOOD, "clearing": clearing}).rules == Rules(
        grid="grid",
        method=Method.BILATERAL,
        pairs=(("pv", "battery"),),
        grid_buys_wei_per_wh=-5,
        imbalance_sells_wei_per_wh=9,
        fee_wei_per_wh=2,
        fee_account="pv",
        batteries={"battery": Battery(capacity_wh=8000, charge_wh=4000)},
    )


@pytest.mark.parametrize(
    ("clearing", "sentence"),
    [
        ({"colour": "red"}, "colour is not a setting of the bridge."),
        ({"method": []}, "method has to be pay_as_bid or uniform or bilateral."),
        ({"pairs": [["pv"]]}, 'pairs has to be a list of ["seller", "buyer"], two actors each.'),
        ({"pairs": [["pv", "pv"]]}, 'pairs has to be a list of ["seller", "buyer"], two actors each.'),
        (
            {"grid_buys_wei_per_wh": 2**63},
            "grid_buys_wei_per_wh has to be a whole number of wei per Wh, or null for the grid's own price.",
        ),
        ({"fee_wei_per_wh": -1}, "fee_wei_per_wh has to be a whole number of wei per Wh, not negative."),
        ({"fee_account": 7}, "fee_account has to be the name of an actor, or null for none."),
        (
            {"batteries": {"battery": {"capacity_wh": 10, "charge_wh": 11}}},
            'batteries has to be an object {"actor": {"capacity_wh": 8000, "charge_wh": 4000}}, charge up to capacity.',
        ),
        ({"pairs": [["pv", "battery"]]}, "pairs are for the method bilateral, and for no other."),
        ({"method": "bilateral"}, "pairs are missing: in the method bilateral nobody else trades."),
        (
            {"method": "bilateral", "pairs": [["pv", "grid"]]},
            "pairs names 'grid', where an actor other than the grid has to stand.",
        ),
        ({"fee_wei_per_wh": 1}, "fee_account is missing: somebody has to get fee_wei_per_wh."),
        (
            {"fee_wei_per_wh": 1, "fee_account": "dso"},
            "fee_account names 'dso', where an actor other than the grid has to stand.",
        ),
        (
            {"batteries": {"pv": {"capacity_wh": 10, "charge_wh": 0}}},
            "batteries names 'pv', where an actor of the kind Battery has to stand.",
        ),
    ],
)
def test_a_wrong_rule_of_the_market_is_named(clearing: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_config({**GOOD, "clearing": clearing})
    assert str(caught.value) == f"clearing.{sentence}"


def test_all_mistakes_are_named_at_once() -> None:
    wrong = {**GOOD, "slot_s": "x", "colour": "red", "clearing": {"method": "uniform", "fee_wei_per_wh": 1.5}}
    del wrong["database"]
    with pytest.raises(ConfigError) as caught:
        parse_config(wrong)
    assert [line.split()[0] for line in str(caught.value).splitlines()] == [
        "colour",
        "database",
        "slot_s",
        "clearing.fee_wei_per_wh",
    ]


def test_the_mode_agreement_needs_a_factory() -> None:
    with pytest.raises(ConfigError, match=r"^agreement_factory is missing: the mode agreement needs the address"):
        parse_config({**GOOD, "mode": "agreement"})
    config = parse_config({**GOOD, "mode": "agreement", "agreement_factory": "0x" + "0f" * 20})
    assert (config.mode, config.agreement_factory) == (Mode.AGREEMENT, "0x" + "0f" * 20)


def test_check_says_what_is_wrong_and_exits_with_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "config.json"
    path.write_text(json.dumps(GOOD))
    assert main(["check", "--config", str(path)]) == 0
    path.write_text("{")
    assert main(["check", "--config", str(path)]) == 2
    assert "is not JSON" in capsys.readouterr().err
    assert main(["check", "--config", str(tmp_path / "none")]) == 2
    assert "No such file" in capsys.readouterr().err


def test_a_source_has_one_secret_or_more(tmp_path: Path) -> None:
    path = tmp_path / "source-keys.json"
    path.write_text(json.dumps({"pv": ["02" * 32, "01" * 32], "grid": "03" * 32, "load": ["04" * 32]}))
    assert read_source_keys(path) == {
        "pv": (b"\2" * 32, b"\1" * 32),
        "grid": (b"\3" * 32,),
        "load": (b"\4" * 32,),
    }


@pytest.mark.parametrize(
    "content",
    [*({"pv": wrong} for wrong in ("not hex", "", ["", "not hex"], [["not hex"]], None, 5)), ["not hex"]],
)
def test_a_broken_key_file_is_named_without_its_content(tmp_path: Path, content: Any) -> None:
    path = tmp_path / "source-keys.json"
    path.write_text(json.dumps(content))
    with pytest.raises(ConfigError) as caught:
        read_source_keys(path)
    assert str(path) in str(caught.value)
    assert "not hex" not in str(caught.value)


@pytest.fixture
def bridge(tmp_path: Path) -> Path:
    """The configuration of a bridge whose sources pv and grid have secrets."""
    keys, path = tmp_path / "source-keys.json", tmp_path / "config.json"
    keys.write_text(json.dumps({"pv": ["01" * 32, "03" * 32], "grid": "02" * 32}))
    path.write_text(json.dumps({**GOOD, "source_keys": str(keys)}))
    return path


def test_the_secret_of_one_source_is_shown(bridge: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["secret", "pv", "--config", str(bridge)]) == 0
    shown = capsys.readouterr()
    assert shown.out == "01" * 32 + "\n"
    assert "HMAC-SHA256" in shown.err


def test_an_unknown_source_is_told_the_known_ones(bridge: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["secret", "sun", "--config", str(bridge)]) == 2
    shown = capsys.readouterr()
    assert (shown.out, shown.err) == ("", "There is no source 'sun'; there are grid, pv.\n")


def test_all_secrets_are_shown_as_simulate_takes_them(
    bridge: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["secret", "--config", str(bridge)]) == 0
    copied = tmp_path / "copied.json"
    copied.write_text(capsys.readouterr().out)
    assert read_source_keys(copied) == {"pv": (b"\1" * 32,), "grid": (b"\2" * 32,)}


def test_where_nobody_is_authenticated_there_is_no_secret(bridge: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bridge.write_text(json.dumps({**GOOD, "source_keys": None}))
    assert main(["secret", "pv", "--config", str(bridge)]) == 2
    assert "authenticates nobody" in capsys.readouterr().err
