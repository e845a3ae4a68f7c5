# SPDX-License-Identifier: GPL-3.0-or-later
"""The trades come out of the logs alone: with ethers, with the bridge's codec, and with the contract's own view."""

import json
import subprocess
from pathlib import Path
from typing import Any

from energy_bridge.batch import BatchTrade, decode_event
from support.market import SLOT, SLOTS_PER_DAY, Market, trade
from web3 import Web3

TEST = Path(__file__).parent

LATEST = SLOT + 367 * SLOTS_PER_DAY - 1
"""The last slot that can be traded yet."""


def by_ethers(market: Market) -> list[dict[str, Any]]:
    """What ethers makes of all logs of the market."""
    logs = market.web3.eth.get_logs({"fromBlock": 0, "address": market.contract.address})
    asked = Web3.to_json({"abi": market.contract.abi, "logs": logs})
    told = subprocess.run(["node", TEST / "decode.mjs"], input=asked, capture_output=True, text=True, check=True).stdout
    return [json.loads(line) for line in told.splitlines()]


def as_ethers_tells(batch: list[BatchTrade]) -> list[dict[str, Any]]:
    return [
        {
            "seller": one.seller,
            "buyer": one.buyer,
            "energyWh": one.energy_wh,
            "priceWeiPerWh": str(one.price_wei_per_wh),
            "slot": one.slot,
            "imbalance": one.imbalance,
        }
        for one in batch
    ]


def test_ethers_the_bridge_and_the_contract_tell_what_was_sent(market: Market, node_modules: Path) -> None:
    assert (node_modules / "ethers").is_dir()
    load, pv, chp, battery, grid = market.actors
    market.deposit(load, 2**95)
    market.deposit(pv, 2**40)
    batches = [
        [trade(pv, load, 30, 7), trade(chp, grid, 5, 0, SLOT + 95), trade(load, battery, 1, 0, imbalance=True)],
        [trade(pv, load, 2**32 - 1, 2**63 - 1, LATEST), trade(grid, chp, 1, 0, LATEST - 1, imbalance=True)],
        [trade(pv, load, 2**32 - 1, -(2**63), SLOT - SLOTS_PER_DAY), trade(pv, load, 1, -1, SLOT - 1)],
    ]
    roots = [bytes([seq]) * 32 for seq in range(len(batches))]
    for seq, batch in enumerate(batches):
        market.settle(seq, batch, roots[seq])
    market.report(0, 0, 1)

    events = [event["args"] for event in market.contract.events.BatchSettled().get_logs(from_block=0)]
    told = [decode_event(event) for event in events]
    assert [list(one.trades) for one in told] == batches
    assert [(one.operator, one.seq, one.readings_root) for one in told] == [
        (market.operator, seq, root) for seq, root in enumerate(roots)
    ]
    assert [one.content_hash for one in told] == [bytes(Web3.keccak(event["batch"])) for event in events]

    for event, batch in zip(events, batches, strict=True):
        assert [BatchTrade(*one) for one in market.view("decodeBatch", event["batch"])] == batch

    assert by_ethers(market) == [
        {
            "operator": one.operator,
            "seq": one.seq,
            "readingsRoot": f"0x{one.readings_root.hex()}",
            "contentHash": f"0x{one.content_hash.hex()}",
            **fields,
        }
        for one, batch in zip(told, batches, strict=True)
        for fields in as_ethers_tells(batch)
    ]
