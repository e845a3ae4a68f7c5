# SPDX-License-Identifier: GPL-3.0-or-later
"""The committed artefacts are what the sources give, fit a chain, and hold nothing of the machine that made them."""

from dataclasses import replace
from typing import Any

import pytest
from support.market import Artifact

Script = dict[str, Any]

LARGEST_CODE_BYTES = 24_576


@pytest.fixture(scope="module")
def compiled(script: Script) -> Any:
    """The sources, compiled."""
    return script["compile_with_any"](sorted((script["CONTRACTS"] / "src").glob("*.sol")))


def test_the_committed_artifacts_are_what_the_sources_give(script: Script, compiled: Any) -> None:
    assert script["compare"](compiled) == []


def test_a_difference_is_named(script: Script, compiled: Any) -> None:
    name, gone = "EnergyMarket.json", "EnergyAgreement.json"
    other = {name: compiled.artifacts[name].replace('ytecode": "0x', 'ytecode": "0xfe'), "New.json": "{}"}
    different = {**compiled.artifacts, **other}
    del different[gone]
    assert script["compare"](replace(compiled, artifacts=different)) == [
        f"{name} differs in bytecode, deployedBytecode",
        "New.json is missing",
        f"{gone} has no source",
    ]


@pytest.mark.parametrize("name", ["EnergyMarket", "EnergyAgreement", "EnergyAgreementFactory"])
def test_code_is_not_larger_than_a_chain_takes(artifacts: dict[str, Artifact], name: str) -> None:
    assert 0 < len(artifacts[name]["deployedBytecode"][2:]) // 2 <= LARGEST_CODE_BYTES


def test_no_path_of_a_machine_is_in_an_artifact(script: Script) -> None:
    for artifact in script["ARTIFACTS"].glob("*.json"):
        assert str(script["CONTRACTS"].parent) not in artifact.read_text()
