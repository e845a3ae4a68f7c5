# SPDX-License-Identifier: GPL-3.0-or-later
"""A transaction is kept before it is sent, so that an interrupted run is not repeated. Private to this collection."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import Any

from ansible_collections.smartenergy.clique.plugins.module_utils._chain import (
    Call,
    Identity,
    receipt_of,
    sign_all,
    wait_for_receipt,
)
from ansible_collections.smartenergy.clique.plugins.module_utils._wait import Clock

with suppress(ImportError):  # _chain.MISSING has it
    from eth_account.signers.local import LocalAccount
    from eth_typing import HexStr
    from web3 import Web3
    from web3.exceptions import Web3RPCError
    from web3.types import TxReceipt

__all__ = ["Kept", "finish", "found", "read", "send", "text"]

HASH = re.compile(r"0x[0-9a-f]{64}")
# What geth says of a transaction that it has, in its pool or in a block.
HEARD_OF = ("already known", "nonce too low")


@dataclass(frozen=True)
class Kept:
    """A signed transaction of a chain, and what it is for. Once it is in a block, raw is not needed any more."""

    chain_id: int
    genesis_hash: str
    sender: str
    nonce: int
    transaction: str
    raw: str | None
    block: int | None
    purpose: Mapping[str, Any]


def read(told: str | None, identity: Identity) -> Kept | None:
    """What was kept, if it is of this chain."""
    try:
        kept = Kept(**json.loads(told or "null"))
    except (ValueError, TypeError):
        return None
    is_whole = (
        HASH.fullmatch(str(kept.transaction))
        and Web3.is_address(kept.sender)
        and isinstance(kept.nonce, int)
        and isinstance(kept.raw, str | None)
        and isinstance(kept.block, int | None)
        and isinstance(kept.purpose, Mapping)
    )
    if not is_whole:
        return None
    return kept if (kept.chain_id, kept.genesis_hash) == (identity.chain_id, identity.genesis_hash) else None


def text(kept: Kept) -> str:
    """The text of the file that keeps it."""
    return json.dumps(asdict(kept), indent=2) + "\n"


def found(web3: Web3, kept: Kept) -> TxReceipt | None:
    """The receipt of what was kept, if it is in a block of this chain and did what it was for."""
    receipt = receipt_of(web3, kept.transaction, kept.block)
    return receipt if receipt and receipt["status"] == 1 else None


def finish(
    web3: Web3, kept: Kept, what: str, *, timeout_s: float, clock: Clock, confirmations: int = 1
) -> TxReceipt | None:
    """Wait for what was kept, and send it again where it is in no block yet; None where it failed or never can be.

    Its nonce tells: once that is used, the transaction is in a block, or another one is in its place.
    """
    used = web3.eth.get_transaction_count(Web3.to_checksum_address(kept.sender), "latest")
    if receipt_of(web3, kept.transaction, kept.block) is None:
        if used != kept.nonce or kept.raw is None:
            return None
        _send(web3, kept.raw)
    if kept.raw is not None:
        wait_for_receipt(web3, kept.transaction, what, timeout_s=timeout_s, clock=clock, confirmations=confirmations)
    return found(web3, kept)


def send(
    web3: Web3,
    account: LocalAccount,
    call: Call,
    identity: Identity,
    *,
    purpose: Mapping[str, Any],
    keep: Callable[[Kept | None], None],
    timeout_s: float,
    clock: Clock,
    confirmations: int = 1,
) -> TxReceipt:
    """Sign, keep, send and wait, in this order; whether it failed is up to the caller to see.

    keep is called with None where the node does not take it, so that nothing is left of it.
    """
    (signed,) = sign_all(web3, account, [call], timeout_s=timeout_s, clock=clock)
    chain = (identity.chain_id, identity.genesis_hash)
    keep(Kept(*chain, account.address, signed.nonce, signed.transaction, signed.raw, None, purpose))
    try:
        _send(web3, signed.raw)
    except Web3RPCError:
        keep(None)
        raise
    return wait_for_receipt(
        web3, signed.transaction, call.purpose, timeout_s=timeout_s, clock=clock, confirmations=confirmations
    )


def _send(web3: Web3, raw: str) -> None:
    try:
        web3.eth.send_raw_transaction(HexStr(raw))
    except Web3RPCError as error:
        if not any(words in str(error) for words in HEARD_OF):
            raise
