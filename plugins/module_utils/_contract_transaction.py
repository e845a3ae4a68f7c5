# SPDX-License-Identifier: GPL-3.0-or-later
"""A transaction that calls a function of a contract, once, and what it led to. Private to this collection."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ansible_collections.smartenergy.clique.plugins.module_utils import _send_once
from ansible_collections.smartenergy.clique.plugins.module_utils._chain import (
    Call,
    Identity,
    wait_for_receipt,
    wait_until_idle,
)
from ansible_collections.smartenergy.clique.plugins.module_utils._contract_abi import event, reason
from ansible_collections.smartenergy.clique.plugins.module_utils._contract_calls import (
    CallError,
    Condition,
    Function,
    ask,
    refusal,
)
from ansible_collections.smartenergy.clique.plugins.module_utils._files import in_folder, read_text, write_atomic
from ansible_collections.smartenergy.clique.plugins.module_utils._wait import Clock

with suppress(ImportError):  # _chain.MISSING has it
    from eth_account.signers.local import LocalAccount
    from eth_typing import BlockNumber, HexStr
    from web3 import Web3
    from web3.exceptions import Web3Exception
    from web3.types import TxParams, TxReceipt, Wei

__all__ = ["Job", "Seen", "carry_out", "events", "foresee", "look"]


@dataclass(frozen=True)
class Job:
    """What is to be sent, for how much, and what says that it need not be; record is where it is written down."""

    function: Function
    value_wei: int
    gas: int | None
    confirmations: int
    condition: Condition | None
    record: Path | None

    @property
    def purpose(self) -> dict[str, Any]:
        """What the record tells of it: the same is the same transaction."""
        function = self.function
        data = Web3.to_hex(function.data)
        return {"call": function.named, "to": function.address, "data": data, "value_wei": self.value_wei}

    def params(self, sender: str) -> TxParams:
        """The call as a node is asked what would come of it."""
        return {
            "from": Web3.to_checksum_address(sender),
            "to": self.function.address,
            "data": HexStr(Web3.to_hex(self.function.data)),
            "value": Wei(self.value_wei),
        }


@dataclass(frozen=True)
class Seen:
    """What there is: the result that the condition is about, and what was kept of this very call, with its receipt."""

    answer: Any
    is_met: bool
    kept: _send_once.Kept | None
    receipt: TxReceipt | None

    @property
    def is_done(self) -> bool:
        """Whether there is nothing left to do."""
        return self.is_met or (self.receipt is not None and self.kept == _closed(self.kept, self.receipt))


def look(web3: Web3, job: Job, identity: Identity) -> Seen:
    """See what was done before. With a condition a record only says what is under way, and the condition the rest."""
    answer = ask(web3, job.condition.function) if job.condition else None
    is_met = job.condition is not None and answer == job.condition.result
    kept = _send_once.read(read_text(job.record), identity) if job.record else None
    if kept and (kept.purpose != job.purpose or (job.condition and kept.raw is None)):
        kept = None
    return Seen(answer, is_met, kept, _send_once.found(web3, kept) if kept else None)


def _closed(kept: _send_once.Kept | None, receipt: TxReceipt) -> _send_once.Kept | None:
    return replace(kept, block=receipt["blockNumber"], raw=None) if kept else None


def foresee(web3: Web3, job: Job, account: LocalAccount) -> int:
    """The gas to send it with. Raises CallError with the contract's reason where it would fail now."""
    params = job.params(account.address)
    try:
        if job.gas is None:
            needed = web3.eth.estimate_gas(params)
            return needed + needed // 10
        web3.eth.call({**params, "gas": job.gas})
    except Web3Exception as error:
        raise refusal(job.function, error) from error
    return job.gas


def carry_out(
    web3: Web3,
    job: Job,
    identity: Identity,
    seen: Seen,
    unlock: Callable[[], LocalAccount],
    *,
    timeout_s: float,
    clock: Clock,
) -> TxReceipt:
    """Send it, or finish what an interrupted run began, wait for its confirmations, and record where it is."""
    what, kept = f"call {job.function.named}", seen.kept
    waiting: dict[str, Any] = {"timeout_s": timeout_s, "clock": clock, "confirmations": job.confirmations}

    def write(wanted: _send_once.Kept | None) -> None:
        nonlocal kept
        kept = wanted
        if job.record and wanted is None:
            job.record.unlink(missing_ok=True)
        elif job.record and wanted:
            with in_folder(job.record.parent, mode=0o755):
                write_atomic(job.record, _send_once.text(wanted).encode(), mode=0o600 if wanted.raw else 0o644)

    receipt = _send_once.finish(web3, kept, what, **waiting) if kept else None
    if receipt is None:
        account = unlock()
        kept = _mined_while_waiting(web3, job, identity, account.address, timeout_s=timeout_s, clock=clock)
        if kept:
            receipt = wait_for_receipt(web3, kept.transaction, what, **waiting)
        else:
            call = Call(what, job.function.address, foresee(web3, job, account), job.function.data, job.value_wei)
            receipt = _send_once.send(web3, account, call, identity, purpose=job.purpose, keep=write, **waiting)
    _require_success(web3, job, receipt)
    if kept:
        write(replace(kept, block=receipt["blockNumber"], raw=None))
    return receipt


def _mined_while_waiting(
    web3: Web3, job: Job, identity: Identity, sender: str, *, timeout_s: float, clock: Clock
) -> _send_once.Kept | None:
    """Wait for what this account has under way, and return the very same call, if it was among that."""
    head = web3.eth.block_number
    wait_until_idle(web3, sender, timeout_s=timeout_s, clock=clock)
    for number in range(head + 1, web3.eth.block_number + 1):
        for one in web3.eth.get_block(BlockNumber(number), full_transactions=True)["transactions"]:
            if not isinstance(one, Mapping) or (one["from"], one.get("to")) != (sender, job.function.address):
                continue
            if bytes(one["input"]) == job.function.data and one["value"] == job.value_wei:
                sent = (sender, one["nonce"], Web3.to_hex(one["hash"]), None, number)
                return _send_once.Kept(identity.chain_id, identity.genesis_hash, *sent, job.purpose)
    return None


def _require_success(web3: Web3, job: Job, receipt: TxReceipt) -> None:
    """Raise CallError with the contract's reason where the transaction failed: it is asked again, around that block."""
    if receipt["status"] == 1:
        return
    block = receipt["blockNumber"]
    why = "it had too little gas"
    for state in (block, block - 1):
        try:
            web3.eth.call(job.params(receipt["from"]), BlockNumber(state))
        except Web3Exception as error:
            why = reason(job.function.abi, error)
    raise CallError(
        f"{job.function.named} failed, in {Web3.to_hex(receipt['transactionHash'])} of block {block}: {why}"
    )


def events(function: Function, receipt: TxReceipt) -> list[dict[str, Any]]:
    """What was logged, in its order; topics and data as they are where the contract's interface does not know it."""
    listed = []
    for log in receipt["logs"]:
        topics, data = [bytes(topic) for topic in log["topics"]], bytes(log["data"])
        name, arguments = event(function.abi, topics, data)
        if name is None:
            arguments = {"topics": [f"0x{topic.hex()}" for topic in topics], "data": f"0x{data.hex()}"}
        listed.append({"event": name, "address": log["address"], "arguments": arguments})
    return listed
