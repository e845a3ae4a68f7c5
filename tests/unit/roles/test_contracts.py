# SPDX-License-Identifier: GPL-3.0-or-later
"""The market on a real chain: foretold, put there once, and known on the controller."""

import json
from pathlib import Path
from typing import Any

import pytest
from support.chain import ARTIFACT, KINDS, Chain, write_keystore
from support.modules import tree
from support.roles import play_role

ETHER = 10**18


@pytest.fixture
def variables(chain: Chain, geth: Path, tmp_path: Path) -> dict[str, Any]:
    """A host whose admin is the chain's."""
    write_keystore(chain.admin, tmp_path / "host/admin/keystore", tmp_path / "host/admin/password")
    return {
        "contracts_accounts_directory": str(tmp_path / "host"),
        "contracts_geth_program": str(geth),
        "contracts_rpc_url": chain.url,
        "contracts_deployments_directory": str(tmp_path / "host/deployments"),
        "contracts_network_dir": str(tmp_path / "network"),
    }


def test_the_market_is_put_on_the_chain_once(chain: Chain, tmp_path: Path, variables: dict[str, Any]) -> None:
    before = tree(tmp_path / "host")
    checked = play_role("contracts", tmp_path / "play", variables, "--check", "--diff", hosts=["one"])
    assert sum(checked.failed.values()) == 0, checked.output
    assert tree(tmp_path / "host") == before
    made = play_role("contracts", tmp_path / "play", variables, hosts=["one"])
    assert sum(made.failed.values()) == 0, made.output
    result = made.results["one"]
    assert checked.results["one"]["market"]["address"] == result["market"]["address"]
    market = chain.web3.eth.contract(result["market"]["address"], abi=json.loads(ARTIFACT.read_text())["abi"])
    assert market.functions.admin().call() == result["admin"] == chain.admin.address
    assert market.functions.isOperator(result["operator"]).call() is True
    assert chain.web3.eth.get_balance(result["operator"]) == 10 * ETHER
    assert list(result["actors"]) == list(KINDS)
    assert [market.functions.balanceOf(actor).call() for actor in result["actors"].values()] == [100 * ETHER] * 5
    assert tree(tmp_path / "network/deployments") == tree(tmp_path / "host/deployments")
    record = json.loads((tmp_path / "network/deployments/1337/EnergyMarket.json").read_text())
    assert record["address"] == result["market"]["address"]
    kept = play_role("contracts", tmp_path / "play", variables, hosts=["one"])
    assert (sum(kept.changed.values()), kept.results) == (0, made.results), kept.output
    assert "WARNING" not in checked.output + made.output + kept.output
