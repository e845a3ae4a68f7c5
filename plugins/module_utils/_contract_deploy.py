# SPDX-License-Identifier: GPL-3.0-or-later
"""A contract on a chain, the record of it, and an artefact with its address. Private to this collection."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from ansible_collections.smartenergy.clique.plugins.module_utils import _send_once
from ansible_collections.smartenergy.clique.plugins.module_utils._chain import (
    Call,
    ChainError,
    Identity,
    receipt_of,
    wait_until_idle,
)
from ansible_collections.smartenergy.clique.plugins.module_utils._contract_abi import (
    address,
    constructor,
    encode,
    reason,
)
from ansible_collections.smartenergy.clique.plugins.module_utils._contract_artifact import Contract, is_same_code, link
from ansible_collections.smartenergy.clique.plugins.module_utils._errors import CliqueError
from ansible_collections.smartenergy.clique.plugins.module_utils._files import in_folder, read_text, write_atomic
from ansible_collections.smartenergy.clique.plugins.module_utils._wait import Clock

with suppress(ImportError):  # _chain.MISSING has it
    from eth_account.signers.local import LocalAccount
    from eth_typing import BlockNumber
    from web3 import Web3
    from web3.exceptions import Web3Exception
    from web3.types import TxParams, Wei

__all__ = [
    "PROXY",
    "Deployment",
    "DeploymentError",
    "Files",
    "Plan",
    "Seen",
    "deploy",
    "look",
    "plan",
    "refuse_another",
    "texts",
]

PROXY = "0x4e59b44847b379578588920cA78FbF26c0B4956C"
"""The well-known deployment proxy: it creates what it is sent, salt first, with CREATE2."""

SALT = re.compile(r"(?:0x)?([0-9a-fA-F]{1,64})")
HASH = re.compile(r"0x[0-9a-f]{64}")
NAME = re.compile(r"[A-Za-z0-9_$][A-Za-z0-9_$-]*")


class DeploymentError(CliqueError):
    """What was given cannot be deployed, or something else stands where it should."""


@dataclass(frozen=True)
class Plan:
    """What is to stand on the chain. With a salt its address follows from it; else from who sends it, and when."""

    name: str
    contract: Contract
    init_code: bytes
    salt: bytes | None
    address: str | None
    value_wei: int = 0

    @property
    def init_code_hash(self) -> str:
        return Web3.to_hex(Web3.keccak(self.init_code))

    @property
    def salt_text(self) -> str | None:
        return None if self.salt is None else f"0x{self.salt.hex()}"

    @property
    def data(self) -> bytes:
        """What has to be sent: to the proxy, or to nobody."""
        return (self.salt or b"") + self.init_code


@dataclass(frozen=True)
class Deployment:
    """Where a contract came to be; block and transaction are None where the node keeps no state that old."""

    address: str
    block: int | None
    transaction: str | None
    salt: str | None
    init_code_hash: str


@dataclass(frozen=True)
class Seen:
    """The deployment that is wanted, and another one that has its name, each if it stands."""

    standing: Deployment | None
    other: Deployment | None


@dataclass(frozen=True)
class Files:
    """The record, the artefact with the address in it, and what was sent last, for as long as it is under way."""

    record: Path
    artifact: Path
    pending: Path

    @classmethod
    def of(cls, deployments: Path, identity: Identity, name: str) -> Files:
        """Those of a contract on a chain."""
        stem = deployments / str(identity.chain_id) / name
        return cls(*(Path(f"{stem}{suffix}.json") for suffix in ("", ".artifact", ".pending")))

    def read(self) -> dict[str, str | None]:
        """Their texts, by their names here; None for one that is not there."""
        return {field.name: read_text(getattr(self, field.name)) for field in fields(self)}

    def keep(self, pending: _send_once.Kept | None) -> None:
        """Remember what is about to be sent, which whoever reads it could send; None forgets it."""
        if pending is None:
            self.pending.unlink(missing_ok=True)
            return
        with in_folder(self.pending.parent, mode=0o755):
            write_atomic(self.pending, _send_once.text(pending).encode(), mode=0o600)

    def write(self, wanted: Mapping[str, str]) -> None:
        """Write the record and the artefact, and forget what was under way."""
        with in_folder(self.record.parent, mode=0o755):
            write_atomic(self.artifact, wanted["artifact"].encode(), mode=0o644)
            write_atomic(self.record, wanted["record"].encode(), mode=0o644)
            self.pending.unlink(missing_ok=True)


def plan(
    name: str | None,
    contract: Contract,
    arguments: Sequence[Any],
    *,
    libraries: Mapping[str, str],
    salt: str | None,
    value_wei: int = 0,
) -> Plan:
    """Work out the code, and with a salt the address, without a node.

    salt is hex of at most 32 bytes, filled with zeros from the left; None deploys without the proxy.
    """
    called = name or contract.name
    if called is None:
        raise DeploymentError("the artefact does not say what the contract is called; give it a name")
    if not NAME.fullmatch(called):
        raise DeploymentError(f"{called} cannot be the name of a record; use letters, digits, _, $ and -")
    linked = link(
        replace(contract, name=called),
        {library: address(at, f"the library {library}", called) for library, at in libraries.items()},
    )
    if salt is None and not linked.runtime.text:
        raise DeploymentError(
            f"the artefact of {called} has no deployedBytecode, which what stands is compared with; "
            "give one that has it, or deploy with create2"
        )
    if value_wei < 0:
        raise DeploymentError(f"{called} cannot be given {value_wei} wei; give 0 or more")
    encoded = encode(constructor(linked.abi)["inputs"], arguments, f"the constructor of {called}")
    init_code = bytes.fromhex(linked.creation.text) + encoded
    if salt is None:
        return Plan(called, linked, init_code, None, None, value_wei)
    if (match := SALT.fullmatch(salt)) is None:
        raise DeploymentError(f"the salt {salt} is not hex of at most 32 bytes")
    salt_bytes = bytes.fromhex(match[1].zfill(64))
    preimage = b"\xff" + bytes.fromhex(PROXY[2:]) + salt_bytes + Web3.keccak(init_code)
    foretold = Web3.to_checksum_address(Web3.keccak(preimage)[12:])
    return Plan(called, linked, init_code, salt_bytes, foretold, value_wei)


def look(web3: Web3, planned: Plan, identity: Identity, kept: Mapping[str, str | None]) -> Seen:
    """What there is. A record is believed only where this chain has its transaction, and code stands at its address.

    kept has the texts of the record and of what is pending, under these names. Raises DeploymentError where the code
    that stands is another than its record or its address says.
    """
    known = _known(web3, identity, kept)
    if known and known.init_code_hash == planned.init_code_hash and planned.address in (None, known.address):
        _require_same(planned, _code_at(web3, known.address), known.address)
        return Seen(known, None)
    if planned.address and (code := _code_at(web3, planned.address)):
        _require_same(planned, code, planned.address)
        return Seen(_find(web3, planned, planned.address), known)
    return Seen(None, known)


def _code_at(web3: Web3, address: str) -> bytes:
    return bytes(web3.eth.get_code(Web3.to_checksum_address(address)))


def _require_same(planned: Plan, code: bytes, address: str) -> None:
    if planned.contract.runtime.text and not is_same_code(planned.contract, code):
        raise DeploymentError(
            f"what stands at {address} is not the deployedBytecode of {planned.name}; "
            "is the artefact of one compilation, and with all its immutableReferences?"
        )


def _known(web3: Web3, identity: Identity, kept: Mapping[str, str | None]) -> Deployment | None:
    """What goes by the name, as this chain confirms it."""
    pending = _send_once.read(kept["pending"], identity)
    if pending and (receipt := _send_once.found(web3, pending)):
        told = pending.purpose
        at = told.get("address") or receipt["contractAddress"]
        if isinstance(at, str) and Web3.is_checksum_address(at) and _code_at(web3, at):
            block = receipt["blockNumber"]
            return Deployment(at, block, pending.transaction, told.get("salt"), told.get("init_code_hash", ""))
    recorded = _recorded(kept["record"], identity)
    if recorded is None or not _code_at(web3, recorded.address):
        return None
    if recorded.transaction is None:
        return recorded
    found = receipt_of(web3, recorded.transaction, recorded.block)
    if found is None or (recorded.salt is None and found["contractAddress"] != recorded.address):
        return None
    return replace(recorded, block=found["blockNumber"])


def _recorded(text: str | None, identity: Identity) -> Deployment | None:
    """The deployment that a record tells of, if it is of this chain and as it was written here."""
    try:
        record = json.loads(text or "null")
        if (record["chain_id"], record["genesis_hash"]) != (identity.chain_id, identity.genesis_hash):
            return None
        deployment = Deployment(**{field.name: record[field.name] for field in fields(Deployment)})
        is_whole = Web3.is_checksum_address(deployment.address) and isinstance(deployment.block, int | None)
        is_sent = HASH.fullmatch(deployment.transaction) if deployment.transaction else deployment.salt
    except (ValueError, KeyError, TypeError):
        return None
    return deployment if is_whole and is_sent else None


def _find(web3: Web3, planned: Plan, at: str) -> Deployment:
    """Search the chain for the block in which the contract came to be, and that for the transaction."""
    checked = Web3.to_checksum_address(at)
    low, high = 0, int(web3.eth.block_number)
    try:
        while low < high:
            middle = (low + high) // 2
            low, high = (low, middle) if web3.eth.get_code(checked, BlockNumber(middle)) else (middle + 1, high)
        transactions = web3.eth.get_block(BlockNumber(low), full_transactions=True)["transactions"]
    except (Web3Exception, ValueError):
        return _deployment(planned, at, None, None)
    for transaction in transactions:
        if isinstance(transaction, Mapping) and bytes(transaction["input"]) == planned.data:
            return _deployment(planned, at, low, Web3.to_hex(transaction["hash"]))
    return _deployment(planned, at, low, None)


def _deployment(planned: Plan, address: str, block: int | None, transaction: str | None) -> Deployment:
    return Deployment(address, block, transaction, planned.salt_text, planned.init_code_hash)


def refuse_another(web3: Web3, planned: Plan, other: Deployment, identity: Identity) -> None:
    """Raise DeploymentError that says in what another deployment of this name differs."""
    code = _code_at(web3, other.address)
    same = bool(planned.contract.runtime.text) and is_same_code(planned.contract, code)
    different = "other arguments, or another salt" if same else "other code or libraries"
    raise DeploymentError(
        f"{planned.name} stands at {other.address} on chain {identity.chain_id} with {different}; "
        "set on_change to redeploy to have it anew beside that, or give this one another name"
    )


def deploy(
    web3: Web3,
    planned: Plan,
    account: LocalAccount,
    identity: Identity,
    *,
    keep: Callable[[_send_once.Kept | None], None],
    timeout_s: float,
    clock: Clock,
) -> Deployment:
    """Deploy what does not stand yet, and wait for the receipt; keep remembers what is about to be sent."""
    wait_until_idle(web3, account.address, timeout_s=timeout_s, clock=clock)
    if planned.address and (code := _code_at(web3, planned.address)):
        _require_same(planned, code, planned.address)
        return _find(web3, planned, planned.address)
    to = None if planned.salt is None else PROXY
    if to and not _code_at(web3, to):
        raise DeploymentError(
            f"the deployment proxy {PROXY} is not on this chain; its genesis has to have it, or deploy with create"
        )
    attempt: TxParams = {"from": account.address, "data": planned.data, "value": Wei(planned.value_wei)}
    try:
        gas = web3.eth.estimate_gas({**attempt, "to": to} if to else attempt)
    except (Web3Exception, ValueError) as error:
        why = reason(planned.contract.abi, error)
        raise DeploymentError(f"the constructor of {planned.name} fails: {why}") from error
    receipt = _send_once.send(
        web3,
        account,
        Call(f"deploy {planned.name}", to, gas + gas // 10, planned.data, planned.value_wei),
        identity,
        purpose={"address": planned.address, "salt": planned.salt_text, "init_code_hash": planned.init_code_hash},
        keep=keep,
        timeout_s=timeout_s,
        clock=clock,
    )
    transaction = Web3.to_hex(receipt["transactionHash"])
    at = planned.address or receipt["contractAddress"]
    if receipt["status"] != 1 or not at or not (code := _code_at(web3, at)):
        raise ChainError(
            f"{planned.name} does not stand although it was sent ({transaction} in block {receipt['blockNumber']})"
        )
    _require_same(planned, code, at)
    return _deployment(planned, at, receipt["blockNumber"], transaction)


def texts(planned: Plan, deployment: Deployment, identity: Identity) -> dict[str, str]:
    """The texts of the record and of a Truffle-style artefact, under these names."""
    record = {
        "name": planned.name,
        "address": deployment.address,
        "chain_id": identity.chain_id,
        "genesis_hash": identity.genesis_hash,
        "block": deployment.block,
        "transaction": deployment.transaction,
        "salt": deployment.salt,
        "init_code_hash": deployment.init_code_hash,
    }
    network = {"address": deployment.address}
    if deployment.transaction:
        network["transactionHash"] = deployment.transaction
    contract = planned.contract
    artifact = {
        "contractName": planned.name,
        "abi": contract.abi,
        "bytecode": f"0x{contract.creation.text}",
        "deployedBytecode": f"0x{contract.runtime.text}",
        **({} if contract.immutables is None else {"immutableReferences": contract.immutables}),
        **({} if contract.compiler is None else {"compiler": contract.compiler}),
        "networks": {identity.network_id: network},
    }
    return {"record": json.dumps(record, indent=2) + "\n", "artifact": json.dumps(artifact, indent=2) + "\n"}
