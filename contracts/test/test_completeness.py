# SPDX-License-Identifier: GPL-3.0-or-later
"""No function, error or event of a contract is without a test: a new one is noticed here."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from support.market import Artifact

HERE = Path(__file__).parent
TESTS = {
    "EnergyMarket": ("test_energy_market.py", "test_energy_token.py", "test_attacks.py", "test_decoding.py"),
    "EnergyAgreement": ("test_energy_agreement.py",),
    "EnergyAgreementFactory": ("test_energy_agreement.py",),
}


def untested(abi: Sequence[Any], text: str) -> list[str]:
    """What of an interface the tests do not name: an error or event in quotes, a function so or as .name(."""
    names = sorted({item["name"] for item in abi if item["type"] in {"function", "error", "event"}})
    return [name for name in names if not re.search(rf'"{name}"|\.{name}\(', text)]


def text_of(contract: str) -> str:
    paths = [*(HERE / name for name in TESTS[contract]), HERE.parents[1] / "tests/support/market.py"]
    return "".join(path.read_text() for path in paths)


@pytest.mark.parametrize("contract", sorted(TESTS))
def test_all_of_a_contract_is_tested(artifacts: dict[str, Artifact], contract: str) -> None:
    assert sorted(artifacts) == sorted(TESTS)
    assert untested(artifacts[contract]["abi"], text_of(contract)) == []


def test_what_is_new_is_noticed() -> None:
    new = [{"type": kind, "name": f"New{kind}"} for kind in ("error", "event", "function")]
    assert untested(new, text_of("EnergyMarket")) == ["Newerror", "Newevent", "Newfunction"]
