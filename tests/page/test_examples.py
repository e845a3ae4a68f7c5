# SPDX-License-Identifier: GPL-3.0-or-later
"""examples/chain says of the chain what the page says."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from support.bridge import Bridge
from support.chain import Chain
from support.stage import ask

EXAMPLES = Path(__file__).parents[2] / "examples/chain"


@pytest.fixture(scope="module")
def artifact(stage: Bridge, chain: Chain, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The market's artefact, as the collection exports it."""
    market = stage.config["market"]
    document = json.loads(Path(market["abi"]).read_text())
    networks = {str(chain.web3.eth.chain_id): {"address": market["address"]}}
    path = tmp_path_factory.mktemp("artifact") / "EnergyMarket.artifact.json"
    path.write_text(json.dumps({**document, "networks": networks}))
    return path


@pytest.fixture(scope="module")
def transactions(stage: Bridge) -> dict[str, list[dict[str, Any]]]:
    """The page's trades, by transaction."""
    found: dict[str, list[dict[str, Any]]] = {}
    for trade in ask(stage, "trades?limit=500")["trades"]:
        found.setdefault(trade["transaction"], []).append(trade)
    return found


def said(command: list[str]) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout


def test_one_transaction_with_web3_py(
    chain: Chain, artifact: Path, transactions: dict[str, list[dict[str, Any]]]
) -> None:
    transaction, trades = next(iter(transactions.items()))
    told = said([sys.executable, str(EXAMPLES / "trades.py"), chain.url, str(artifact), transaction])
    for trade in trades:
        pair = f"{trade['seller']} -> {trade['buyer']}"
        price, amount = trade["price_wei_per_wh"], trade["amount_wei"]
        assert f"slot {trade['slot']}  {pair:<20} {trade['energy_wh']} Wh x {price} wei = {amount} wei\n" in told
    gained = re.findall(r"^  (\w+) +([+-]\d+) wei +([+-]\d+) wei$", told, re.MULTILINE)
    assert {name for name, *_ in gained} >= {name for trade in trades for name in (trade["seller"], trade["buyer"])}
    assert [by_trades for _, by_trades, _ in gained] == [by_balances for *_, by_balances in gained]


def test_all_trades_with_ethers(
    chain: Chain,
    artifact: Path,
    transactions: dict[str, list[dict[str, Any]]],
    contracts_script: dict[str, Any],
    tmp_path: Path,
) -> None:
    contracts_script["npm"]()
    (tmp_path / "node_modules").symlink_to(contracts_script["npm_packages"]())
    script = shutil.copy(EXAMPLES / "trades.mjs", tmp_path)
    node = shutil.which("node", path=os.environ["PATH"])
    assert node
    told = said([node, str(script), chain.url, str(artifact)])
    assert set(re.findall(r"transaction (0x\w+)", told)) == transactions.keys()
    assert told.count(" Wh x ") == sum(map(len, transactions.values()))
    for trade in (trade for trades in transactions.values() for trade in trades):
        line = f"slot {trade['slot']}  {trade['seller']} -> {trade['buyer']}  {trade['energy_wh']} Wh x "
        assert f"{line}{trade['price_wei_per_wh']} wei\n" in told
