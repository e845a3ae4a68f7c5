# SPDX-License-Identifier: GPL-3.0-or-later
"""The market on a real chain, through web3.py: what settlement needs, and nothing that it decides."""

from __future__ import annotations

import json
import logging
from collections.abc import AsyncIterator, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
from eth_abi.abi import decode
from eth_abi.exceptions import DecodingError
from eth_account import Account
from eth_account.signers.local import LocalAccount
from eth_account.typed_transactions.typed_transaction import TypedTransaction
from eth_typing import HexStr
from eth_utils.abi import abi_to_signature, collapse_if_tuple, function_signature_to_4byte_selector
from eth_utils.address import to_checksum_address
from hexbytes import HexBytes
from web3 import AsyncHTTPProvider, AsyncWeb3
from web3.exceptions import BlockNotFound, ContractLogicError, TransactionNotFound, Web3Exception, Web3RPCError
from web3.middleware import ExtraDataToPOAMiddleware

from energy_bridge.batch import BatchTrade, SettledBatch, decode_event, encode_batch
from energy_bridge.model import Trade
from energy_bridge.settlement import ChainError, MismatchError, Receipt, Signed, WouldRevertError
from energy_bridge.written import ConfigError

__all__ = ["Logged", "MarketChain", "blamed", "read_abi", "read_operator"]

log = logging.getLogger(__name__)

REQUEST_TIMEOUT_S = 10
LOG_BLOCKS = 10_000  # a query's share of the chain
# A fee that holds while the base fee multiplies by ten; only the base fee and the tip are ever paid.
BASE_FEE_RESERVE = 10
# Errors of the contract that say nothing against the batch: what they name is put right, or passes.
PASSING = ("NotOperator", "NotAgreementFactory", "Paused", "WrongSequence")


def read_abi(path: Path) -> list[Any]:
    """Read a contract's ABI from its artefact; raises ConfigError."""
    try:
        abi = json.loads(path.read_text("utf-8"))["abi"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigError(f"The artefact {path} cannot be read: {error}.") from error
    if not isinstance(abi, list):
        raise ConfigError(f"The artefact {path} has no list of ABI entries under abi.")
    return abi


def read_operator(keystore: Path, password_file: Path) -> LocalAccount:
    """Unlock the one account of a keystore folder; raises ConfigError, never with a secret in it."""
    try:
        files = [path for path in sorted(keystore.iterdir()) if path.is_file() and not path.name.startswith(".")]
        if len(files) != 1:
            raise ConfigError(f"The keystore {keystore} has to hold one account, and it holds {len(files)}.")
        password = password_file.read_text("utf-8").rstrip("\r\n")
        key = Account.decrypt(files[0].read_text("utf-8"), password)
    except OSError as error:
        raise ConfigError(f"The operator's account cannot be read: {error}.") from error
    except ValueError as error:
        raise ConfigError(f"The password in {password_file} does not open the account in {keystore}.") from error
    account: LocalAccount = Account.from_key(key)
    return account


@dataclass(frozen=True, slots=True)
class Logged:
    """A settled batch, and where in the chain it is."""

    batch: SettledBatch
    transaction: str
    block: int
    block_hash: str


class MarketChain:
    """EnergyMarket at an address, used by one operator. Implements settlement.Chain."""

    most_unmined = 4  # batches are large

    def __init__(
        self,
        rpc_url: str,
        *,
        chain_id: int,
        market: str,
        abi: Sequence[Any],
        operator: LocalAccount,
        accounts: Mapping[str, str],
    ) -> None:
        """Accounts maps the actors' names to their addresses."""
        self._rpc_url = rpc_url
        self._web3 = AsyncWeb3(AsyncHTTPProvider(rpc_url, request_kwargs={"timeout": REQUEST_TIMEOUT_S}))
        self._web3.middleware_onion.inject(ExtraDataToPOAMiddleware, layer=0)
        self._chain_id = chain_id
        self._market = to_checksum_address(market)
        self._contract: Any = self._web3.eth.contract(address=self._market, abi=list(abi))
        self._errors = {_selector(entry): entry for entry in abi if entry.get("type") == "error"}
        self._key = operator
        self.operator: str = operator.address
        self._accounts = {name: to_checksum_address(address) for name, address in accounts.items()}

    async def close(self) -> None:
        """Close the connections to the node."""
        await self._web3.provider.disconnect()

    async def identity(self) -> str:
        """Name this chain and market; raises MismatchError when the node does not have them."""
        with self._talking():
            chain_id = await self._web3.eth.chain_id
            genesis = await self._web3.eth.get_block(0)
            code = await self._web3.eth.get_code(self._market)
        if chain_id != self._chain_id:
            raise MismatchError(f"the node at {self._rpc_url} has chain id {chain_id}, and {self._chain_id} is wanted")
        if not code:
            raise ChainError(f"there is no contract at {self._market} yet")
        return f"market {self._market} on chain {chain_id} with genesis {genesis['hash'].to_0x_hex()}"

    async def head(self) -> int:
        """Return the number of the newest block."""
        with self._talking():
            return await self._web3.eth.block_number

    async def block_hash(self, block: int) -> str | None:
        """Return the hash of a block of the present chain; None beyond its head."""
        with self._talking():
            try:
                return (await self._web3.eth.get_block(block))["hash"].to_0x_hex()
            except BlockNotFound:
                return None

    async def next_seq(self, *, pending: bool) -> int | None:
        """Return the sequence number that the contract takes next from this operator, now or after what is pending."""
        with self._talking():
            call = self._contract.functions.nextSeq(self.operator)
            return int(await call.call(block_identifier="pending" if pending else "latest"))

    def _call(self, seq: int, readings_root: bytes, trades: Sequence[Trade], accounts: Mapping[str, str]) -> Any:
        """The contract's function that settles these trades, with its arguments."""
        return self._contract.functions.settleBatch(seq, readings_root, _batch(trades, accounts))

    async def nonce(self) -> int:
        """Return how many transactions of this operator have been mined."""
        with self._talking():
            return await self._web3.eth.get_transaction_count(to_checksum_address(self.operator), "latest")

    async def sign(self, *, seq: int, nonce: int, readings_root: bytes, trades: Sequence[Trade]) -> Signed:
        """Sign a batch without sending it; raises WouldRevertError when the contract would never take it."""
        self._actors_are_there(trades)
        with self._talking():
            accounts: Mapping[str, str] = self._accounts
            try:
                try:
                    call, gas = await self._tried(self._call(seq, readings_root, trades, accounts))
                except ContractLogicError as error:
                    accounts = await self._successors(trades, error)
                    log.warning("batch_with_replaced_accounts seq=%d", seq)
                    call, gas = await self._tried(self._call(seq, readings_root, trades, accounts))
            except ContractLogicError as error:
                reason, values = self._reason(error)
                if reason.startswith(PASSING):
                    raise ChainError(f"the market {self._market} takes no batch now: {reason}") from error
                raise WouldRevertError(reason, blamed(values, trades, accounts)) from error
            block = await self._web3.eth.get_block("latest")
            tip = await self._web3.eth.max_priority_fee
            transaction = await call.build_transaction(
                {
                    "from": self.operator,
                    "chainId": self._chain_id,
                    "nonce": nonce,
                    "gas": gas + gas // 4,
                    "maxPriorityFeePerGas": tip,
                    "maxFeePerGas": BASE_FEE_RESERVE * block["baseFeePerGas"] + tip,
                }
            )
        return self._sign(transaction)

    async def sign_again(self, raw: bytes) -> Signed:
        """Sign the same transaction with fees that are a quarter higher, and what the base fee asks for by now."""
        known = TypedTransaction.from_bytes(HexBytes(raw)).as_dict()
        transaction = {name: value for name, value in known.items() if name not in ("v", "r", "s")}
        with self._talking():
            block = await self._web3.eth.get_block("latest")
        tip = _a_quarter_more(transaction["maxPriorityFeePerGas"])
        most = max(_a_quarter_more(transaction["maxFeePerGas"]), BASE_FEE_RESERVE * block["baseFeePerGas"] + tip)
        return self._sign({**transaction, "maxPriorityFeePerGas": tip, "maxFeePerGas": most})

    def _sign(self, transaction: Any) -> Signed:
        signed = self._key.sign_transaction(transaction)
        return Signed(raw=bytes(signed.raw_transaction), transaction=signed.hash.to_0x_hex())

    async def _successors(self, trades: Sequence[Trade], error: ContractLogicError) -> dict[str, str]:
        """The accounts that the market has in the places of ours; raises the error again where it is not about that.

        They are not remembered: a fork may take a replacement back.
        """
        if not self._reason(error)[0].startswith("NotAnActor"):
            raise error
        names = {name for trade in trades for name in (trade.seller, trade.buyer)}
        accounts = {name: await self._current(self._accounts[name]) for name in names}
        if all(accounts[name] == self._accounts[name] for name in names):
            raise error
        return accounts

    async def _tried(self, call: Any) -> tuple[Any, int]:
        sender = {"from": self.operator}
        # After the batches before it, which may be in no block yet.
        await call.call(sender, block_identifier="pending")
        return call, await call.estimate_gas(sender, block_identifier="pending")

    async def _current(self, account: str) -> str:
        """The account that the market has in the place of one."""
        return to_checksum_address(await self._contract.functions.currentAccount(account).call())

    async def send(self, raw: bytes) -> None:
        """Hand a signed transaction to the node; that the node knows it already is no error."""
        with self._talking():
            try:
                await self._web3.eth.send_raw_transaction(raw)
            except (Web3RPCError, ValueError) as error:
                if "already known" not in str(error):
                    raise

    async def receipt(self, transaction: str) -> Receipt | None:
        """Find a transaction in the present chain, None while no block of it has it."""
        with self._talking():
            try:
                receipt = await self._web3.eth.get_transaction_receipt(HexStr(transaction))
            except TransactionNotFound:
                return None
        block_hash = receipt["blockHash"].to_0x_hex()
        return Receipt(block=receipt["blockNumber"], block_hash=block_hash, succeeded=receipt["status"] == 1)

    async def settled(self) -> AsyncIterator[Logged]:
        """Yield every batch of this operator that is in the chain's logs, in order."""
        with self._talking():
            head = await self._web3.eth.block_number
            for first in range(0, head + 1, LOG_BLOCKS):
                logs = await self._contract.events.BatchSettled.get_logs(
                    from_block=first,
                    to_block=min(head, first + LOG_BLOCKS - 1),
                    argument_filters={"operator": self.operator},
                )
                for entry in logs:
                    yield Logged(
                        decode_event(entry["args"]),
                        transaction=entry["transactionHash"].to_0x_hex(),
                        block=entry["blockNumber"],
                        block_hash=entry["blockHash"].to_0x_hex(),
                    )

    async def names(self, accounts: Collection[str]) -> dict[str, str]:
        """Name accounts as the actors are named: their own, and those that came in their place on the market."""
        names: dict[str, str] = {address: name for name, address in self._accounts.items()}
        if not set(accounts) <= names.keys():
            with self._talking():
                for address in list(names):
                    names[await self._current(address)] = names[address]
        return {account: names.get(account, account) for account in accounts}

    def _actors_are_there(self, trades: Sequence[Trade]) -> None:
        missing = sorted({name for trade in trades for name in (trade.seller, trade.buyer)} - self._accounts.keys())
        if len(missing) == 1:
            raise ChainError(f"{missing[0]} is no longer an actor in the configuration; bring it back")
        if missing:
            raise ChainError(f"{', '.join(missing)} are no longer actors in the configuration; bring them back")

    @contextmanager
    def _talking(self) -> Iterator[None]:
        try:
            yield
        except (Web3Exception, aiohttp.ClientError, OSError, ValueError) as error:
            raise ChainError(f"the node at {self._rpc_url} cannot be used: {error or type(error).__name__}") from error

    def _reason(self, error: ContractLogicError) -> tuple[str, dict[str, Any]]:
        """Why the contract reverts: its custom error with its values, and these by name; or its own words."""
        data = error.data if isinstance(error.data, str) else ""
        entry = self._errors.get(data[:10])
        if entry is None:
            return str(error.message), {}
        types = [collapse_if_tuple(argument) for argument in entry["inputs"]]
        try:
            values = decode(types, bytes.fromhex(data[10:]))
        except (DecodingError, ValueError):
            return str(entry["name"]), {}
        named = {argument["name"]: value for argument, value in zip(entry["inputs"], values, strict=True)}
        return f"{entry['name']}({', '.join(f'{name}={value}' for name, value in named.items())})", named


def blamed(values: Mapping[str, Any], trades: Sequence[Trade], accounts: Mapping[str, str]) -> list[int]:
    """Places of the trades without which the contract may take the rest, by the values of its custom error.

    A trade is named by its index. An account that lacks money loses what it would pay, the last first, until it is
    enough; one that is refused for another reason loses all. A closed day still takes imbalances.
    """
    if "index" in values and int(values["index"]) < len(trades):
        return [int(values["index"])]
    names = {name for name, account in accounts.items() if account.lower() == str(values.get("account")).lower()}
    of_account = [place for place, trade in enumerate(trades) if names & {trade.seller, trade.buyer}]
    if "missingWei" in values:
        missing_wei, refused = int(values["missingWei"]), []
        for place in reversed(of_account):
            paid_wei = trades[place].energy_wh * trades[place].price_wei_per_wh
            paid_wei = paid_wei if trades[place].buyer in names else -paid_wei
            if paid_wei > 0 and missing_wei > 0:
                missing_wei -= paid_wei
                refused.append(place)
        return refused or of_account or list(range(len(trades)))
    cleared = [place for place, trade in enumerate(trades) if not trade.imbalance] if "day" in values else []
    return of_account or cleared or list(range(len(trades)))


def _a_quarter_more(wei: int) -> int:
    return wei + wei // 4 + 1


def _batch(trades: Sequence[Trade], accounts: Mapping[str, str]) -> bytes:
    return encode_batch(
        [
            BatchTrade(
                accounts[trade.seller],
                accounts[trade.buyer],
                trade.energy_wh,
                trade.price_wei_per_wh,
                trade.slot,
                trade.imbalance,
            )
            for trade in trades
        ]
    )


def _selector(entry: Any) -> str:
    return "0x" + function_signature_to_4byte_selector(abi_to_signature(entry)).hex()
