# SPDX-License-Identifier: GPL-3.0-or-later
"""A bridge in the mode agreement, with actors that can sign, and what the chain says of their agreements."""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from eth_account import Account
from eth_account.signers.local import LocalAccount
from hexbytes import HexBytes
from web3 import Web3
from web3.contract import Contract

from support.bridge import Bridge, make_bridge
from support.chain import CHECKOUT, KINDS, TERMS, Chain, Terms

ARTIFACTS = CHECKOUT / "contracts/artifacts"
STATES = ("None", "Committed", "Delivered", "Settled", "Cancelled", "Expired")


def _artifact(name: str) -> Any:
    return json.loads((ARTIFACTS / f"{name}.json").read_text())


@dataclass(frozen=True)
class Agreement:
    """An agreement as the chain has it: where, what was agreed, and where it stands."""

    contract: Contract
    trade_id: bytes
    seller: str
    buyer: str
    energy_wh: int
    price_wei_per_wh: int
    slot: int
    deliver_by: int
    state: str

    @property
    def address(self) -> str:
        return str(self.contract.address)

    @property
    def payer(self) -> str:
        return self.buyer if self.price_wei_per_wh >= 0 else self.seller


def _read(contract: Contract) -> Agreement:
    trade_id, seller, buyer, energy_wh, price, slot, deliver_by = contract.functions.terms().call()
    state = STATES[contract.functions.state().call()]
    return Agreement(contract, trade_id, seller, buyer, energy_wh, price, slot, deliver_by, state)


@dataclass(frozen=True)
class Parties:
    """A bridge, the factory of its market, and the accounts of its actors by name."""

    chain: Chain
    bridge: Bridge
    factory: Contract
    accounts: dict[str, LocalAccount]

    def agreements(self) -> list[Agreement]:
        """All that the factory's log has, in its order."""
        web3, abi = self.factory.w3, _artifact("EnergyAgreement")["abi"]
        made = [event["args"]["agreement"] for event in self.factory.events.AgreementCreated().get_logs(from_block=0)]
        contracts = [web3.eth.contract(address=address, abi=abi) for address in made]
        return [_read(one) for one in contracts]

    def states(self) -> set[str]:
        return {agreement.state for agreement in self.agreements()}

    def balances(self) -> dict[str, int]:
        """What everybody has in the market, in wei by name."""
        return {name: self.bridge.market.functions.weiOf(one.address).call() for name, one in self.accounts.items()}

    def confirm(self, agreements: Sequence[Agreement]) -> None:
        """Let those who pay say that the energy was delivered."""
        accounts: dict[str, LocalAccount] = {account.address: account for account in self.accounts.values()}
        self._send([(accounts[one.payer], one.contract.functions.confirmDelivery()) for one in agreements])

    def accept(self, names: Collection[str]) -> None:
        """Let actors accept agreements."""
        accept = self.bridge.market.functions.acceptAgreements
        self._send([(self.accounts[name], accept(True)) for name in names])

    def _send(self, calls: Sequence[tuple[LocalAccount, Any]]) -> None:
        web3, sent = self.chain.web3, []
        nonces: dict[str, int] = {}
        for account, call in calls:
            nonce = nonces.get(account.address, web3.eth.get_transaction_count(account.address))
            nonces[account.address] = nonce + 1
            fees = {"gas": 300_000, "maxFeePerGas": 10**11, "maxPriorityFeePerGas": 1, "chainId": 1337}
            transaction = call.build_transaction({"from": account.address, "nonce": nonce, **fees})
            sent.append(web3.eth.send_raw_transaction(account.sign_transaction(transaction).raw_transaction))
        self.chain.wait([HexBytes(one) for one in sent])


def make_parties(
    directory: Path, chain: Chain, *, accepting: Collection[str] = tuple(KINDS), terms: Terms = TERMS, **settings: Any
) -> Parties:
    """Deploy a market with a factory, and write down a bridge for both; settings are of config.json."""
    accounts: dict[str, LocalAccount] = {name: Account.create() for name in KINDS}
    given = [chain.give(account.address, 10**18) for account in accounts.values()]
    bridge = make_bridge(directory, chain, terms=terms, accounts=accounts, **settings)
    web3, artifact = chain.web3, _artifact("EnergyAgreementFactory")
    maker = web3.eth.contract(abi=artifact["abi"], bytecode=artifact["bytecode"])
    deployed = maker.constructor(bridge.market.address).transact({"from": chain.admin.address})
    address = chain.wait([*given, deployed])["contractAddress"]
    assert address is not None
    set_factory = bridge.market.functions.setAgreementFactory(address).transact({"from": chain.admin.address})
    bridge.config |= {"mode": "agreement", "agreement_factory": Web3.to_checksum_address(address)}
    made = Parties(chain, bridge, web3.eth.contract(address=address, abi=artifact["abi"]), accounts)
    made.accept(accepting)
    chain.wait([set_factory])
    return made
