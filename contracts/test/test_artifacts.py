# SPDX-License-Identifier: GPL-3.0-or-later
"""The committed artefacts are what the sources give, and hold nothing of the machine that made them."""

from pathlib import Path

from scripts.contracts import ARTIFACTS, CONTRACTS, compare, compile_with_any


def test_the_committed_artifacts_are_what_the_sources_give() -> None:
    assert compare(compile_with_any(sorted((CONTRACTS / "src").glob("*.sol")))) == []


def test_a_difference_is_named(tmp_path: Path) -> None:
    source = tmp_path / "EnergyMarket.sol"
    source.write_text((CONTRACTS / "src/EnergyMarket.sol").read_text().replace("wei_ != 0", "wei_ != 1"))
    (line,) = compare(compile_with_any([source]))
    assert line == "EnergyMarket.json differs in bytecode, deployedBytecode"


def test_no_path_of_a_machine_is_in_an_artifact() -> None:
    for artifact in ARTIFACTS.glob("*.json"):
        assert str(CONTRACTS.parent) not in artifact.read_text()
