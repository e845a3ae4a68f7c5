# SPDX-License-Identifier: GPL-3.0-or-later
"""Stateful fuzzing of whole markets against a plain model, and of markets with a planted bug that it has to find."""

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from support.market_fuzz import Artifacts, Fuzz, MismatchError

CONTRACTS = Path(__file__).parents[1]
SOURCES = ("EnergyMarket.sol", "EnergyToken.sol", "Words.sol")
SEEDS = range(5)
CALLS = 2_000
LEAST_SETTLED = 0.3
CALLS_TO_FIND_A_BUG = 2_000
SEED_FOR_BUGS = 0

assert len(SEEDS) * CALLS >= 10_000


@dataclass(frozen=True)
class Bug:
    """What is done to a source: one place in it, replaced."""

    name: str
    file: str
    before: str
    after: str


BUGS = (
    Bug(
        "a batch can be settled again",
        "EnergyMarket.sol",
        "operator.withNextSeq(seq + 1)",
        "operator.withNextSeq(seq)",
    ),
    Bug(
        "a seller pays a shortfall back also where it had paid",
        "EnergyMarket.sol",
        "bySeller ? (seller, buyer) : (buyer, seller);",
        "(seller, buyer);",
    ),
    Bug(
        "what was entered of a day is overwritten when the next one begins",
        "EnergyMarket.sol",
        "sstore(held, add(sload(held), earlierWh))",
        "sstore(held, earlierWh)",
    ),
    Bug(
        "a balance may end below zero",
        "EnergyMarket.sol",
        "if (takenWei < amountWei) revert InsufficientFunds(account, amountWei - takenWei);",
        "",
    ),
    Bug(
        "a shortfall can be reported again",
        "EnergyMarket.sol",
        "_shortWh[key] += energyWh;",
        "_shortWh[key];",
    ),
    Bug(
        "income from a batch pays no debts",
        "EnergyMarket.sol",
        "_credit(account, uint256(gainedWei));\n            _payDebts(account);",
        "_credit(account, uint256(gainedWei));",
    ),
    Bug(
        "a withdrawal can be had again",
        "EnergyMarket.sol",
        "delete _withdrawals[msg.sender];",
        "",
    ),
    Bug(
        "energy of an open day can be transferred",
        "EnergyToken.sol",
        "_requireApproved(from);\n        _requireClosed(day);",
        "_requireApproved(from);",
    ),
    Bug(
        "an account can stand in a batch twice",
        "EnergyMarket.sol",
        "gt(account, before),",
        "1,",
    ),
    Bug(
        "an operator's earlier day is forgotten when the next one begins",
        "EnergyMarket.sol",
        "if (day > lastDay) _ledgers[lastDay][operator.number()] = ledger;",
        "",
    ),
)


@pytest.fixture(scope="session")
def artifacts() -> Artifacts:
    names = ("EnergyMarket", "EnergyAgreementFactory", "EnergyAgreement")
    return Artifacts(*(json.loads((CONTRACTS / f"artifacts/{name}.json").read_text()) for name in names))


def with_bug(bug: Bug, script: Mapping[str, Any], directory: Path) -> Mapping[str, Any]:
    """The market, compiled as it is elsewhere, from sources with the bug."""
    # Agreements and their factory stay as they are, and compiling takes long enough.
    sources = [Path(shutil.copy(CONTRACTS / "src" / name, directory)) for name in SOURCES]
    planted = directory / bug.file
    text = planted.read_text()
    assert text.count(bug.before) == 1, f"{bug.before!r} stands {text.count(bug.before)} times in {bug.file}"
    planted.write_text(text.replace(bug.before, bug.after))
    compiled = script["compile_with_any"](sources)
    loaded: Mapping[str, Any] = json.loads(compiled.artifacts["EnergyMarket.json"])
    return loaded


@pytest.mark.parametrize("seed", SEEDS)
def test_a_market_does_what_the_model_does(artifacts: Artifacts, seed: int) -> None:
    fuzz = Fuzz(artifacts, seed)
    fuzz.run(CALLS)
    print(f"market {seed}: {fuzz.calls} calls, {fuzz.settlements} batches settled, answers {dict(fuzz.answers)}")
    assert fuzz.calls >= CALLS
    assert fuzz.settlements >= LEAST_SETTLED * fuzz.calls


@pytest.mark.parametrize("bug", BUGS, ids=lambda bug: bug.name.replace(" ", "-"))
def test_a_planted_bug_is_found(artifacts: Artifacts, bug: Bug, script: dict[str, Any], tmp_path: Path) -> None:
    """The same run without the bug is the first one above, and passes."""
    assert SEED_FOR_BUGS in SEEDS
    assert CALLS_TO_FIND_A_BUG <= CALLS
    fuzz = Fuzz(replace(artifacts, market=with_bug(bug, script, tmp_path)), SEED_FOR_BUGS)
    with pytest.raises(MismatchError):
        fuzz.run(CALLS_TO_FIND_A_BUG)
    print(f"{bug.name}: found at call {fuzz.calls}")
