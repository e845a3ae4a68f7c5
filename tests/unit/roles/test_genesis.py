# SPDX-License-Identifier: GPL-3.0-or-later
"""The genesis is made once for all hosts of a play, on the controller."""

from pathlib import Path
from typing import Any

import pytest
from support.modules import run_module
from support.roles import play_role

SIGNERS = ["0x52908400098527886E0F7030069857D2E4169EE7", "0x27b1fdb04752bbc536007a920d24acb045561c26"]


@pytest.fixture
def variables(tmp_path: Path) -> dict[str, Any]:
    return {
        "genesis_path": str(tmp_path / "network/genesis.json"),
        "genesis_signers": SIGNERS,
        "genesis_prefunded": {SIGNERS[0]: "1000000000000000000000000"},
    }


def test_every_host_gets_the_one_genesis(tmp_path: Path, variables: dict[str, Any]) -> None:
    made = play_role("genesis", tmp_path / "play", variables)
    assert sum(made.changed.values()) == 1, made.output
    one, two = made.results.values()
    assert one == two
    assert one["genesis"]["config"]["chainId"] == one["chain_id"] == 1337
    assert "WARNING" not in made.output
    later = {**variables, "genesis_signers": None, "genesis_prefunded": None}
    kept = play_role("genesis", tmp_path / "play", later)
    assert (sum(kept.changed.values()), kept.results) == (0, made.results), kept.output


def test_a_genesis_is_adopted_as_it_is(tmp_path: Path) -> None:
    asked = {"chain_id": 4242, "period_s": 15, "create2_proxy": False, "signers": SIGNERS}
    made = run_module("clique_genesis", {"path": str(tmp_path / "theirs.json"), **asked})
    variables = {"genesis_path": str(tmp_path / "network/genesis.json"), "genesis_source": made["path"]}
    adopted = play_role("genesis", tmp_path / "play", variables)
    assert sum(adopted.changed.values()) == 1, adopted.output
    one = adopted.results["one"]
    assert (one["hash"], one["digest"]) == (made["genesis_hash"], made["digest"])
    assert (one["chain_id"], one["period_s"]) == (4242, 15)


def test_another_period_is_refused(tmp_path: Path, variables: dict[str, Any]) -> None:
    arguments = {name.removeprefix("genesis_"): value for name, value in variables.items()}
    assert run_module("clique_genesis", arguments)["genesis"]["config"]["clique"]["period"] == 5
    refused = play_role("genesis", tmp_path / "play", {**variables, "genesis_period_s": 2})
    assert sum(refused.failed.values()) >= 1
    assert "config.clique.period: 5 ≠ 2" in refused.output


def test_check_mode_before_there_are_accounts_fails_nowhere(tmp_path: Path, variables: dict[str, Any]) -> None:
    unknown = {**variables, "genesis_signers": [None, None], "genesis_prefunded": {"None": "1"}}
    checked = play_role("genesis", tmp_path / "play", unknown, "--check", "--diff")
    assert sum(checked.failed.values()) == 0, checked.output
    assert checked.results["one"]["hash"] is None
    assert not (tmp_path / "network").exists()
