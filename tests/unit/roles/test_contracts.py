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
        # As with --extra-vars name=value.
        "contracts_market_slot_s": "60",
        "contracts_market_metered": "true",
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
    for contract in ("market", "agreement_factory"):
        assert checked.results["one"][contract]["address"] == result[contract]["address"]
    market = chain.web3.eth.contract(result["market"]["address"], abi=json.loads(ARTIFACT.read_text())["abi"])
    assert market.functions.admin().call() == result["admin"] == chain.admin.address
    assert market.functions.isOperator(result["operator"]).call() is True
    assert market.functions.meter().call() == result["meter"]
    assert market.functions.agreementFactory().call() == result["agreement_factory"]["address"]
    assert [chain.web3.eth.get_balance(result[name]) for name in ("operator", "meter")] == [10 * ETHER] * 2
    assert market.functions.metered().call() is True
    terms = (market.functions.slotS(), market.functions.withdrawDelayS(), market.functions.replaceDelayS())
    assert [term.call() for term in terms] == [60, 3600, 604800]
    assert list(result["actors"]) == list(KINDS)
    assert [market.functions.weiOf(actor).call() for actor in result["actors"].values()] == [100 * ETHER] * 5
    assert tree(tmp_path / "network/deployments") == tree(tmp_path / "host/deployments")
    for contract, name in (("market", "EnergyMarket"), ("agreement_factory", "EnergyAgreementFactory")):
        record = json.loads((tmp_path / f"network/deployments/1337/{name}.json").read_text())
        assert record["address"] == result[contract]["address"]
    kept = play_role("contracts", tmp_path / "play", variables, hosts=["one"])
    assert (sum(kept.changed.values()), kept.results) == (0, made.results), kept.output
    assert "WARNING" not in checked.output + made.output + kept.output
