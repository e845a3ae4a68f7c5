# SPDX-License-Identifier: GPL-3.0-or-later
"""The genesis of a Clique network: made once, made again from its record, or kept. Private to this collection."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ansible_collections.smartenergy.clique.plugins.module_utils._errors import CliqueError
from ansible_collections.smartenergy.clique.plugins.module_utils._genesis_digest import (
    canonical,
    canonical_digest,
    differences,
    number,
)
from ansible_collections.smartenergy.clique.plugins.module_utils._genesis_extra_data import (
    compose,
    signers,
    vanity_bytes,
)
from ansible_collections.smartenergy.clique.plugins.module_utils._genesis_hash import genesis_hash
from ansible_collections.smartenergy.clique.plugins.module_utils._keccak import checksum_address

__all__ = ["Choice", "as_file", "build", "decide", "read"]

# Clique ends with London: what comes after it needs a proof-of-stake network.
FORKS = (
    *("homestead", "eip150", "eip155", "eip158", "byzantium", "constantinople", "petersburg", "istanbul", "berlin"),
    "london",
)
# The well-known deployment proxy: calls CREATE2 with its input's first 32 bytes as salt and the rest as code.
# Source: github.com/Arachnid/deterministic-deployment-proxy; nonce 1 is what a deployed contract has.
CREATE2_PROXY = "0x4e59b44847b379578588920ca78fbf26c0b4956c"
CREATE2_PROXY_CODE = (
    "0x7fffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffe0360160008160208237803582"
    "8234f58015156039578182fd5b8082525050506014600cf3"
)
LOWEST_GAS_LIMIT = 5000


@dataclass(frozen=True)
class Choice:
    """What a user decides about a network.

    period_s is the time between blocks, epoch the number of blocks between checkpoints. Signers are addresses; None
    stands for the recorded ones. Prefunded maps addresses to wei; None stands for the recorded accounts, too. Timestamp
    is in seconds since the epoch; None stands for the recorded one, and for 0 in a new genesis.
    """

    chain_id: int
    period_s: int
    epoch: int
    gas_limit: int
    base_fee_wei: int
    signers: tuple[str, ...] | None
    prefunded: Mapping[str, Any] | None
    vanity: str
    create2_proxy: bool
    timestamp: int | None = None


def address(value: Any, what: str) -> str:
    """An address in lower case; one in mixed case has to have the right checksum."""
    try:
        checksummed = checksum_address(value)
    except (TypeError, CliqueError) as error:
        raise CliqueError(f"{what} {value!r} is not an address: it has to be 0x and 40 hex digits") from error
    digits = value.removeprefix("0x")
    if digits not in (digits.lower(), digits.upper(), checksummed[2:]):
        raise CliqueError(f"{what} {value} has a wrong checksum: a digit is mistyped, or its case is")
    return checksummed.lower()


def addresses(values: Sequence[Any], what: str) -> list[str]:
    """Addresses sorted as Clique wants them, each once."""
    found = sorted(address(value, what) for value in values)
    twice = sorted({value for value in found if found.count(value) > 1})
    if twice:
        raise CliqueError(f"{what} {', '.join(twice)} is named twice; name it once")
    return found


def valid(choice: Choice) -> Choice:
    """The choice with addresses in lower case and sorted; raises CliqueError for what makes no network."""
    for name, value, least in (
        ("chain_id", choice.chain_id, 1),
        ("period_s", choice.period_s, 1),
        ("epoch", choice.epoch, 1),
        ("gas_limit", choice.gas_limit, LOWEST_GAS_LIMIT),
        ("base_fee_wei", choice.base_fee_wei, 0),
        ("timestamp", choice.timestamp or 0, 0),
    ):
        if value < least:
            raise CliqueError(f"{name} is {value} and has to be at least {least}")
    vanity_bytes(choice.vanity)
    signers = None if choice.signers is None else tuple(addresses(choice.signers, "the signer"))
    if choice.prefunded is None:
        return replace(choice, signers=signers)
    addresses(list(choice.prefunded), "the prefunded account")
    wei = {address(key, ""): number(value, f"balance of {key}") for key, value in choice.prefunded.items()}
    return replace(choice, signers=signers, prefunded=dict(sorted(wei.items())))


def build(choice: Choice) -> dict[str, Any]:
    """The genesis file's content for a valid choice. Numbers that JSON readers may spoil are 0x-hex strings."""
    if not choice.signers:
        raise CliqueError("a new network needs at least one signer: name the sealers' addresses in signers")
    alloc: dict[str, dict[str, str]] = {
        account: {"balance": hex(wei)} for account, wei in (choice.prefunded or {}).items()
    }
    if choice.create2_proxy:
        alloc[CREATE2_PROXY] = {"balance": "0x0", **alloc.get(CREATE2_PROXY, {}), "nonce": "0x1"}
        alloc[CREATE2_PROXY]["code"] = CREATE2_PROXY_CODE
    return {
        "config": {
            "chainId": choice.chain_id,
            **{f"{fork}Block": 0 for fork in FORKS},
            "clique": {"period": choice.period_s, "epoch": choice.epoch},
        },
        "nonce": "0x0",
        "timestamp": hex(choice.timestamp or 0),
        "extraData": compose(choice.vanity, choice.signers),
        "gasLimit": hex(choice.gas_limit),
        "difficulty": "0x1",
        "baseFeePerGas": hex(choice.base_fee_wei),
        "alloc": alloc,
    }


def as_file(genesis: Mapping[str, Any]) -> str:
    return json.dumps(genesis, indent=2) + "\n"


def read(path: Path) -> dict[str, Any] | None:
    """The genesis in a file, or None where there is no file."""
    try:
        genesis = json.loads(path.read_text())
        canonical(genesis)
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise CliqueError(f"{path} is not a genesis file that can be read: {error}") from error
    except CliqueError as error:
        raise CliqueError(f"{path} is not a genesis: {error}") from error
    if not isinstance(genesis, dict):
        raise CliqueError(f"{path} is not a genesis: the genesis is not a JSON object")
    return genesis


def settle(choice: Choice, existing: Mapping[str, Any], path: Path) -> None:
    """Raise CliqueError, naming every field, where an existing genesis is not the one chosen.

    The genesis of a network stays what it was when the network began: what is left open of signers, prefunded
    accounts and timestamp is taken from it.
    """
    form = canonical(existing)
    alloc = form["alloc"]
    proxy = {CREATE2_PROXY} if choice.create2_proxy else set()
    recorded = {key: account["balance"] for key, account in alloc.items() if key not in proxy}
    wanted = build(
        replace(
            choice,
            signers=choice.signers or tuple(signer.lower() for signer in signers(existing)),
            prefunded=recorded if choice.prefunded is None else choice.prefunded,
            timestamp=form["timestamp"] if choice.timestamp is None else choice.timestamp,
        )
    )
    named = differences(existing, wanted)
    if named:
        facts = (("hash", genesis_hash), ("digest", canonical_digest))
        named += [f"{name}: {of(existing)} ≠ {of(wanted)}" for name, of in facts if of(existing) != of(wanted)]
        raise CliqueError(
            f"{path} is the genesis of a network and cannot change; it differs from what is asked for in "
            + "; ".join(named)
            + ". Ask for what it has, or begin another network in another directory"
        )


def restore(choice: Choice, record: Mapping[str, Any], path: Path) -> dict[str, Any]:
    """Make the genesis of a recorded network again; raises CliqueError where it would be another one."""
    recorded = record["genesis"]
    signers_on_record = tuple(addresses(recorded["signers"], "the recorded signer"))
    genesis = build(replace(choice, signers=choice.signers or signers_on_record))
    if (genesis_hash(genesis), canonical_digest(genesis)) != (recorded["hash"], recorded["digest"]):
        raise CliqueError(
            f"{path} is lost, and what is asked for is another genesis than the one on record with hash "
            f"{recorded['hash']}: put {path.name} back from a backup or from any node of the network"
        )
    return genesis


def unknown(choice: Choice) -> bool:
    """Whether an account is not known yet, as in check mode before there are keys."""
    return None in (choice.signers or ()) or any(key in ("", "None", "null") for key in choice.prefunded or {})


def decide(
    choice: Choice,
    existing: Mapping[str, Any] | None,
    record: Mapping[str, Any] | None,
    path: Path,
    *,
    may_be_unknown: bool,
) -> dict[str, Any] | None:
    """The network's genesis: the existing one, the one on record, or a new one; None where it cannot be known yet.

    Raises CliqueError where that would be another genesis than the one chosen.
    """
    if may_be_unknown and unknown(choice):
        if existing is None:
            return None
        choice = replace(choice, signers=None, prefunded=None)
    choice = valid(choice)
    if existing is not None:
        settle(choice, existing, path)
        return dict(existing)
    return build(choice) if record is None else restore(choice, record, path)
