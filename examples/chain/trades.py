# SPDX-License-Identifier: GPL-3.0-or-later
"""Read the trades of a transaction and of its block from the log alone; compare them with what the accounts gained.

usage: python trades.py RPC_URL EnergyMarket.artifact.json 0xTRANSACTION   (it needs web3, which .venv has)
"""

import json
import sys
from collections import Counter
from pathlib import Path

from eth_typing import HexStr
from hexbytes import HexBytes
from web3 import Web3
from web3.middleware import ExtraDataToPOAMiddleware


def main(url: str, artifact_file: str, transaction: str) -> None:
    artifact = json.loads(Path(artifact_file).read_text("utf-8"))
    web3 = Web3(Web3.HTTPProvider(url))
    web3.middleware_onion.inject(ExtraDataToPOAMiddleware, layer=0)  # Clique's headers are longer than others
    address = artifact["networks"][str(web3.eth.chain_id)]["address"]
    market = web3.eth.contract(address=address, abi=artifact["abi"])
    actors = [market.functions.actorAt(place).call() for place in range(market.functions.actorCount().call())]
    names = {account: name for account, _, name in actors}

    block = web3.eth.get_transaction_receipt(HexStr(transaction))["blockNumber"]
    gained_wei: Counter[str] = Counter()
    for event in market.events.BatchSettled.get_logs(from_block=block, to_block=block):
        is_asked_for = event["transactionHash"] == HexBytes(transaction)
        print(f"batch {event['args']['seq']} in block {block}" + ("" if is_asked_for else ", of another transaction"))
        trades = market.functions.decodeBatch(event["args"]["batch"]).call()
        for seller, buyer, energy_wh, price_wei_per_wh, slot, imbalance in trades:
            amount_wei = energy_wh * price_wei_per_wh
            gained_wei[seller] += amount_wei
            gained_wei[buyer] -= amount_wei
            pair = f"{names.get(seller, seller)} -> {names.get(buyer, buyer)}"
            kind = " (imbalance)" if imbalance else ""
            print(f"  slot {slot}  {pair:<20} {energy_wh} Wh x {price_wei_per_wh} wei = {amount_wei} wei{kind}")

    print("gained by these trades, and by the balances before and after this block")
    for account, trades_wei in sorted(gained_wei.items(), key=lambda item: names.get(item[0], item[0])):
        before, after = (market.functions.weiOf(account).call(block_identifier=at) for at in (block - 1, block))
        print(f"  {names.get(account, account):<10} {trades_wei:+d} wei   {after - before:+d} wei")


if __name__ == "__main__":
    if len(sys.argv) != 4:  # noqa: PLR2004 - three arguments and the program's name
        sys.exit(__doc__)
    main(*sys.argv[1:])
