# SPDX-License-Identifier: GPL-3.0-or-later
"""EnergyMarket as tests handle it, on whatever chain they have."""

import ast
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pytest
from eth_tester.exceptions import TransactionFailed
from web3 import Web3
from web3.contract import Contract
from web3.logs import DISCARD
from web3.types import TxReceipt, Wei

Trade = tuple[str, str, int, int, int]
"""Seller, buyer, Wh, wei per Wh, slot."""


def decode_error(contract: Contract, data: bytes) -> tuple[str, tuple[Any, ...]]:
    """Name and values of a custom error."""
    for item in contract.abi:
        if item["type"] != "error":
            continue
        types = [argument["type"] for argument in item["inputs"]]
        if Web3.keccak(text=f"{item['name']}({','.join(types)})")[:4] == data[:4]:
            values = contract.w3.codec.decode(types, data[4:])
            pairs = zip(types, values, strict=True)
            return item["name"], tuple(Web3.to_checksum_address(v) if t == "address" else v for t, v in pairs)
    return f"no error of the contract: 0x{data.hex()}", ()


@dataclass(frozen=True)
class Market:
    """The contract, with an admin, an operator and five registered actors: load, pv, chp, battery, grid."""

    web3: Web3
    contract: Contract
    admin: str
    operator: str
    actors: tuple[str, ...]
    stranger: str

    def send(self, call: Any, *, sender: str, wei: int = 0) -> TxReceipt:
        """Send a call of the contract and return its receipt; one that would fail raises instead."""
        transaction = call.transact({"from": sender, "value": Wei(wei)})
        return self.web3.eth.wait_for_transaction_receipt(transaction)

    def settle(self, seq: int, trades: Sequence[Trade], sender: str | None = None) -> TxReceipt:
        return self.send(self.contract.functions.settleBatch(seq, trades), sender=sender or self.operator)

    def deposit(self, account: str, wei: int) -> TxReceipt:
        return self.send(self.contract.functions.depositFor(account), sender=self.admin, wei=wei)

    def view(self, name: str, *arguments: Any) -> Any:
        return self.contract.functions[name](*arguments).call()

    def wallet(self, account: str) -> int:
        """What an account has outside the market, in wei."""
        return self.web3.eth.get_balance(Web3.to_checksum_address(account))

    def balances(self) -> list[int]:
        return [self.view("balanceOf", actor) for actor in self.actors]

    def energies(self) -> list[int]:
        return [self.view("energyBalanceWh", actor) for actor in self.actors]

    def events(self, name: str, receipt: TxReceipt) -> list[dict[str, Any]]:
        """The arguments of the events of this name, in their order."""
        return [dict(event["args"]) for event in self.contract.events[name]().process_receipt(receipt, errors=DISCARD)]

    @contextmanager
    def refuses(self, error: str, *values: Any) -> Iterator[None]:
        """Expect a revert with this custom error and these values."""
        with pytest.raises(TransactionFailed) as caught:
            yield
        data = ast.literal_eval(str(caught.value).removeprefix("execution reverted: "))
        assert decode_error(self.contract, data) == (error, values)
