# SPDX-License-Identifier: GPL-3.0-or-later
"""A node's JSON-RPC through web3: connect, unlock a key, send and wait. Private to this collection."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from ansible_collections.smartenergy.clique.plugins.module_utils._errors import CliqueError
from ansible_collections.smartenergy.clique.plugins.module_utils._node import is_url
from ansible_collections.smartenergy.clique.plugins.module_utils._wait import Clock, wait_until

MISSING: str | None = None
"""Why web3 cannot be imported, for the module to tell; what needs it can be imported without."""
try:
    from eth_account import Account
    from eth_account.signers.local import LocalAccount
    from eth_typing import BlockNumber, HexStr
    from requests.exceptions import RequestException
    from web3 import HTTPProvider, IPCProvider, Web3
    from web3.exceptions import BlockNotFound, TransactionNotFound, Web3Exception
    from web3.middleware import ExtraDataToPOAMiddleware
    from web3.types import TxReceipt
except ImportError:
    MISSING = traceback.format_exc()

__all__ = [
    "MISSING",
    "Call",
    "ChainError",
    "Identity",
    "NodeUnreachableError",
    "Signed",
    "account_of",
    "connect",
    "identify",
    "receipt_of",
    "relying_on",
    "send_all",
    "sign_all",
    "unlock",
    "wait_for_receipt",
    "wait_until_idle",
]

T = TypeVar("T")

POLL_S = 0.2
REQUEST_TIMEOUT_S = 10
# A sealer throws away transactions that it hears of before it has imported a block, and nobody tells it again.
FIRST_HEAD = 2


class ChainError(CliqueError):
    """The chain does not do what was asked of it."""


class NodeUnreachableError(ChainError):
    """Nothing answers at the RPC URL."""


@dataclass(frozen=True)
class Call:
    """A transaction to send: what it is for, in words, where it goes, and the most gas it may use.

    One that goes nowhere makes a contract of its data.
    """

    purpose: str
    to: str | None
    gas: int
    data: bytes = b""
    value_wei: int = 0


@dataclass(frozen=True)
class Signed:
    """A signed transaction: its nonce, its hash, and what to send, both in hex."""

    nonce: int
    transaction: str
    raw: str


@dataclass(frozen=True)
class Identity:
    """Which chain it is: two with one id differ in the hash of their genesis, unless one is the other, reset."""

    chain_id: int
    genesis_hash: str
    network_id: str


def connect(place: str, *, timeout_s: float, clock: Clock, chain_id: int | None = None) -> Web3:
    """Connect to a node of a Clique chain, whose blocks have more extra data than Ethereum's.

    The place is its URL or the path of its Unix socket. One that was just started is asked again for timeout_s;
    raises NodeUnreachableError when that is over, and ChainError where it answers for another chain than that
    with this id.
    """
    web3 = Web3(
        HTTPProvider(place, {"timeout": REQUEST_TIMEOUT_S}, exception_retry_configuration=None)
        if is_url(place)
        else IPCProvider(place, timeout=REQUEST_TIMEOUT_S)
    )
    web3.middleware_onion.inject(ExtraDataToPOAMiddleware, layer=0)
    silent = f"no Ethereum node answers at {place}; start it, or correct the {'URL' if is_url(place) else 'path'}"

    def answers() -> bool:
        try:
            return web3.eth.chain_id >= 0
        except ValueError as error:  # something else than JSON: waiting does not mend it
            raise NodeUnreachableError(silent) from error
        except (OSError, Web3Exception):
            return False

    if not wait_until(answers, timeout_s=timeout_s, clock=clock, poll_s=POLL_S):
        raise NodeUnreachableError(silent)
    if chain_id is not None and web3.eth.chain_id != chain_id:
        raise ChainError(f"the node at {place} is on chain {web3.eth.chain_id}, not on {chain_id}; correct one of them")
    return web3


def identify(web3: Web3) -> Identity:
    """Ask which chain it is. A node that does not offer net is taken to use the chain's id for its network."""
    chain_id = web3.eth.chain_id
    try:
        network_id = str(web3.net.version)
    except Web3Exception:
        network_id = str(chain_id)
    return Identity(chain_id, Web3.to_hex(web3.eth.get_block(0)["hash"]), network_id)


@contextmanager
def relying_on(place: str) -> Iterator[None]:
    """Turn what a node does amiss while a module uses it into one sentence, a ChainError."""
    try:
        yield
    except (RequestException, ConnectionError) as error:
        raise ChainError(f"the node at {place} stopped answering: {_in_words(error)}; run this again") from error
    except Web3Exception as error:
        raise ChainError(f"the node at {place} refuses: {_in_words(error)}; see its log, and run this again") from error


def _in_words(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__


def account_of(keystore: str | None, password_file: str | None, private_key: str | None) -> LocalAccount:
    """The account that signs: of a key in hex, or else of a keystore."""
    if private_key is None:
        return unlock(Path(keystore or ""), Path(password_file or ""))
    try:
        account: LocalAccount = Account.from_key(private_key)
    except Exception:  # noqa: BLE001  whatever a library says of it may have the key in it
        raise ChainError("private_key is no key; give 0x and 64 hex digits") from None
    return account


def unlock(keystore: Path, password_file: Path) -> LocalAccount:
    """Decrypt a keystore file, or the one in a directory, with the first line of a password file."""
    try:
        files = [keystore] if keystore.is_file() else keystore.iterdir()
        keys = sorted(path for path in files if path.is_file() and not path.name.startswith("."))
        password = password_file.read_text(encoding="utf-8").split("\n", 1)[0].rstrip("\r")
        if len(keys) != 1:
            raise ChainError(f"the keystore {keystore} has {len(keys)} accounts, and it has to have one")
        key = Account.decrypt(keys[0].read_text(encoding="utf-8"), password)
    except OSError as error:
        raise ChainError(f"{error.filename} cannot be read: {error.strerror}") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ChainError(f"the account in {keystore} cannot be unlocked with {password_file}") from error
    account: LocalAccount = Account.from_key(key)
    return account


def wait_until_idle(web3: Web3, address: str, *, timeout_s: float, clock: Clock) -> int:
    """Wait until nothing that this account sent is under way, and return its next nonce.

    What an interrupted run sent before has to count before anyone decides what is missing.
    """
    account = Web3.to_checksum_address(address)

    def is_idle() -> bool:
        sent = web3.eth.get_transaction_count(account, "pending")
        return web3.eth.get_transaction_count(account, "latest") == sent

    failure = f"earlier transactions of {address} are not in a block after {timeout_s:g} s"
    _wait(is_idle, failure, timeout_s=timeout_s, clock=clock)
    return web3.eth.get_transaction_count(account, "latest")


def sign_all(
    web3: Web3, account: LocalAccount, calls: Sequence[Call], *, timeout_s: float, clock: Clock
) -> list[Signed]:
    """Sign calls with consecutive nonces, once nothing that the account sent is under way, and it can pay for them."""
    nonce = wait_until_idle(web3, account.address, timeout_s=timeout_s, clock=clock)
    _wait(
        lambda: web3.eth.block_number >= FIRST_HEAD,
        f"the chain is not at block {FIRST_HEAD} after {timeout_s:g} s; do its sealers run?",
        timeout_s=timeout_s,
        clock=clock,
    )
    tip = web3.eth.max_priority_fee
    fee_cap = 2 * web3.eth.get_block("latest")["baseFeePerGas"] + tip
    chain_id = web3.eth.chain_id
    needed = sum(call.value_wei + call.gas * fee_cap for call in calls)
    balance = web3.eth.get_balance(account.address)
    if balance < needed:
        raise ChainError(f"{account.address} has {balance} wei and needs {needed}; send it some first")
    signed = [
        account.sign_transaction(
            {
                "type": 2,
                "chainId": chain_id,
                "nonce": nonce + offset,
                "maxPriorityFeePerGas": tip,
                "maxFeePerGas": fee_cap,
                "to": HexStr(call.to or ""),
                "gas": call.gas,
                "data": call.data,
                "value": call.value_wei,
            }
        )
        for offset, call in enumerate(calls)
    ]
    return [
        Signed(nonce + offset, Web3.to_hex(one.hash), Web3.to_hex(one.raw_transaction))
        for offset, one in enumerate(signed)
    ]


def send_all(
    web3: Web3, account: LocalAccount, calls: Sequence[Call], *, timeout_s: float, clock: Clock
) -> list[TxReceipt]:
    """Send all calls at once, with consecutive nonces, wait for their receipts, and refuse to go on if one failed."""
    signed = sign_all(web3, account, calls, timeout_s=timeout_s, clock=clock)
    for one in signed:
        web3.eth.send_raw_transaction(HexStr(one.raw))
    end_s = clock.monotonic() + timeout_s
    receipts = [
        wait_for_receipt(web3, one.transaction, call.purpose, timeout_s=end_s - clock.monotonic(), clock=clock)
        for call, one in zip(calls, signed, strict=True)
    ]
    for call, done in zip(calls, receipts, strict=True):
        if done["status"] != 1:
            reason = f"0x{done['transactionHash'].hex()} in block {done['blockNumber']}"
            raise ChainError(f"the contract refused to {call.purpose} ({reason}); what else was sent stays in effect")
    return receipts


def wait_for_receipt(
    web3: Web3, transaction: str, purpose: str, *, timeout_s: float, clock: Clock, confirmations: int = 1
) -> TxReceipt:
    """Wait until a transaction is in a block that, with those on top of it, makes so many."""

    def confirmed() -> TxReceipt | None:
        receipt = receipt_of(web3, transaction)
        if receipt is None or web3.eth.block_number - receipt["blockNumber"] + 1 < confirmations:
            return None
        return receipt

    wanted = "is in no block" if confirmations == 1 else f"has not {confirmations} confirmations"
    failure = (
        f"the transaction to {purpose} ({transaction}) {wanted} after {max(timeout_s, 0):.0f} s; do the sealers run?"
    )
    return _wait(confirmed, failure, timeout_s=timeout_s, clock=clock)


def receipt_of(web3: Web3, transaction: str, block: int | None = None) -> TxReceipt | None:
    """The receipt of a transaction; None where it is in no block.

    A node forgets in which block an old transaction is, so where that is told it is looked into.
    """
    try:
        return web3.eth.get_transaction_receipt(HexStr(transaction))
    except TransactionNotFound:
        pass
    try:
        receipts = web3.eth.get_block_receipts(BlockNumber(block)) if block is not None else []
    except BlockNotFound:
        return None
    return next((one for one in receipts if Web3.to_hex(one["transactionHash"]) == transaction), None)


def _wait(condition: Callable[[], T | None], failure: str, *, timeout_s: float, clock: Clock) -> T:
    if not (answer := wait_until(condition, timeout_s=timeout_s, clock=clock, poll_s=POLL_S)):
        raise ChainError(failure)
    return answer
