# SPDX-License-Identifier: GPL-3.0-or-later
"""The committed artefacts are what the sources give, and hold nothing of the machine that made them."""

from pathlib import Path
from typing import Any

Script = dict[str, Any]


def test_the_committed_artifacts_are_what_the_sources_give(script: Script) -> None:
    sources = sorted((script["CONTRACTS"] / "src").glob("*.sol"))
    assert script["compare"](script["compile_with_any"](sources)) == []


def test_a_difference_is_named(script: Script, tmp_path: Path) -> None:
    source = tmp_path / "EnergyMarket.sol"
    source.write_text((script["CONTRACTS"] / "src/EnergyMarket.sol").read_text().replace("wei_ != 0", "wei_ != 1"))
    (line,) = script["compare"](script["compile_with_any"]([source]))
    assert line == "EnergyMarket.json differs in bytecode, deployedBytecode"


def test_no_path_of_a_machine_is_in_an_artifact(script: Script) -> None:
    for artifact in script["ARTIFACTS"].glob("*.json"):
        assert str(script["CONTRACTS"].parent) not in artifact.read_text()
