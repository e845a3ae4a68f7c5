# SPDX-License-Identifier: GPL-3.0-or-later
"""A contract on a chain at an address known in advance, and the record of it. Private to this collection."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ansible_collections.smartenergy.clique.plugins.module_utils._chain import (
    Call,
    ChainError,
    send_all,
    wait_until_idle,
)
from ansible_collections.smartenergy.clique.plugins.module_utils._errors import CliqueError, reason
from ansible_collections.smartenergy.clique.plugins.module_utils._files import in_folder, write_atomic
from ansible_collections.smartenergy.clique.plugins.module_utils._keccak import checked_address
from ansible_collections.smartenergy.clique.plugins.module_utils._wait import Clock

with suppress(ImportError):  # _chain.MISSING has it
    from eth_abi.exceptions import EncodingError
    from eth_account.signers.local import LocalAccount
    from eth_typing import BlockNumber, HexStr
    from web3 import Web3
    from web3.exceptions import TransactionNotFound, Web3Exception
    from web3.types import TxParams

__all__ = ["PROXY", "Deployment", "DeploymentError", "Plan", "deploy", "look", "plan", "read", "texts", "write"]

PROXY = "0x4e59b44847b379578588920cA78FbF26c0B4956C"
"""The well-known deployment proxy: it creates what it is sent, salt first, with CREATE2."""

SALT_BYTES = 32


class DeploymentError(CliqueError):
    """What was given cannot be deployed, or the record does not fit."""


@dataclass(frozen=True)
class Plan:
    """What is to stand on the chain, and the address that follows from it."""

    name: str
    artifact: Mapping[str, Any]
    salt: bytes
    init_code: bytes
    address: str


@dataclass(frozen=True)
class Deployment:
    """Where a contract came to be; block and transaction are None where the node keeps no state that old."""

    block: int | None
    transaction: str | None


def plan(name: str, artifact: Mapping[str, Any], arguments: Sequence[Any], salt: str) -> Plan:
    """Work out code and address without a node. salt is hex of at most 32 bytes, filled with zeros from the left."""
    if lacking := [key for key in ("abi", "bytecode") if not artifact.get(key)]:
        raise DeploymentError(f"the artefact of {name} has no {' and no '.join(lacking)}; is it a contract's?")
    digits = salt.removeprefix("0x")
    try:
        salt_bytes = bytes.fromhex(digits.zfill(2 * SALT_BYTES))
        inputs: Sequence[Mapping[str, Any]] = next(
            (item["inputs"] for item in artifact["abi"] if item["type"] == "constructor"), []
        )
        if len(inputs) != len(arguments):
            raise DeploymentError(f"the constructor of {name} takes {len(inputs)} arguments, not {len(arguments)}")
        given = [_typed(kind["type"], value) for kind, value in zip(inputs, arguments, strict=True)]
        encoded = Web3().codec.encode([kind["type"] for kind in inputs], given)
        init_code = bytes.fromhex(artifact["bytecode"].removeprefix("0x")) + encoded
    except (ValueError, TypeError, EncodingError) as error:
        raise DeploymentError(f"{name} cannot be deployed with this artefact, salt and arguments: {error}") from error
    if len(salt_bytes) > SALT_BYTES:
        raise DeploymentError("a salt has at most 32 bytes, in hex")
    preimage = b"\xff" + bytes.fromhex(PROXY[2:]) + salt_bytes + Web3.keccak(init_code)
    return Plan(name, artifact, salt_bytes, init_code, Web3.to_checksum_address(Web3.keccak(preimage)[12:]))


def _typed(kind: str, value: Any) -> Any:
    """A constructor argument as its type wants it: YAML has no numbers with more than 64 bits worth trusting."""
    if kind.endswith("]") and isinstance(value, list):
        return [_typed(kind[: kind.rindex("[")], item) for item in value]
    if kind == "address":
        try:
            return checked_address(value, "the address")
        except CliqueError as error:
            raise ValueError(str(error)) from error
    if kind.startswith(("uint", "int")) and isinstance(value, str):
        return int(value, 0)
    return value


def _find(web3: Web3, planned: Plan) -> Deployment:
    """Search the chain for the block in which the contract came to be, and that for the transaction."""
    address = Web3.to_checksum_address(planned.address)
    low, high = 0, int(web3.eth.block_number)
    try:
        while low < high:
            middle = (low + high) // 2
            low, high = (low, middle) if web3.eth.get_code(address, BlockNumber(middle)) else (middle + 1, high)
        transactions = web3.eth.get_block(BlockNumber(low), full_transactions=True)["transactions"]
    except (Web3Exception, ValueError):
        return Deployment(None, None)
    payload = planned.salt + planned.init_code
    for transaction in transactions:
        if isinstance(transaction, Mapping) and bytes(transaction["input"]) == payload:
            return Deployment(low, Web3.to_hex(transaction["hash"]))
    return Deployment(low, None)


def deploy(web3: Web3, planned: Plan, account: LocalAccount, *, timeout_s: float, clock: Clock) -> Deployment:
    """Deploy what does not stand yet, and wait for the receipt."""
    wait_until_idle(web3, account.address, timeout_s=timeout_s, clock=clock)
    if (standing := look(web3, planned, None)) is not None:
        return standing
    if not web3.eth.get_code(Web3.to_checksum_address(PROXY)):
        raise DeploymentError(f"the deployment proxy {PROXY} is not on this chain; its genesis has to have it")
    data = planned.salt + planned.init_code
    attempt: TxParams = {"from": account.address, "to": PROXY, "data": data}
    try:
        gas = web3.eth.estimate_gas(attempt)
    except (Web3Exception, ValueError) as error:
        raise DeploymentError(f"the constructor of {planned.name} fails: {error}") from error
    calls = [Call(f"deploy {planned.name}", PROXY, gas + gas // 10, data)]
    (receipt,) = send_all(web3, account, calls, timeout_s=timeout_s, clock=clock)
    if not web3.eth.get_code(Web3.to_checksum_address(planned.address)):
        raise ChainError(f"{planned.name} does not stand at {planned.address} although it was deployed")
    return Deployment(receipt["blockNumber"], Web3.to_hex(receipt["transactionHash"]))


def look(web3: Web3, planned: Plan, record: str | None) -> Deployment | None:
    """The deployment as recorded, where this chain has it so; else as found on the chain; None where there is none.

    The address commits to code, arguments and salt, so whatever stands there is what was planned.
    """
    if not web3.eth.get_code(Web3.to_checksum_address(planned.address)):
        return None
    told = _recorded(record, planned)
    try:
        if told and told.transaction and web3.eth.get_transaction_receipt(HexStr(told.transaction)):
            return told
    except (TransactionNotFound, Web3Exception, ValueError):
        pass  # The record is of a chain that was reset since.
    return _find(web3, planned)


def texts(planned: Plan, deployment: Deployment, chain_id: int) -> dict[str, str]:
    """The files of a deployment by their names: the record, and a Truffle-style artefact."""
    record = {
        "name": planned.name,
        "address": planned.address,
        "chain_id": chain_id,
        **asdict(deployment),
        "salt": f"0x{planned.salt.hex()}",
        "init_code_hash": Web3.to_hex(Web3.keccak(planned.init_code)),
    }
    network = {"address": planned.address, "transactionHash": deployment.transaction}
    artifact = {**planned.artifact, "networks": {str(chain_id): network}}
    return {
        f"{planned.name}.json": json.dumps(record, indent=2) + "\n",
        f"{planned.name}.artifact.json": json.dumps(artifact, indent=2) + "\n",
    }


def read(directory: Path, names: Sequence[str]) -> dict[str, str | None]:
    """The texts of these files; None for one that is not there."""
    return {name: _text(directory / name) for name in names}


def _text(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return None
    except OSError as error:
        raise DeploymentError(f"{path} cannot be read: {reason(error)}") from error


def _recorded(text: str | None, planned: Plan) -> Deployment | None:
    """The deployment that a record tells of, if it is of this contract at this address."""
    try:
        record = json.loads(text or "null")
        if record is None or record["address"] != planned.address:
            return None
        return Deployment(record["block"], record["transaction"])
    except (ValueError, KeyError, TypeError):
        return None


def write(files: Mapping[str, str], directory: Path) -> None:
    """Write the files of a deployment."""
    with in_folder(directory, mode=0o755):
        for name, text in files.items():
            write_atomic(directory / name, text.encode(), mode=0o644)
