# SPDX-License-Identifier: GPL-3.0-or-later
"""What a user decides about a genesis, and the genesis that follows from it. Private to this collection."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

from ansible_collections.smartenergy.clique.plugins.module_utils._errors import CliqueError
from ansible_collections.smartenergy.clique.plugins.module_utils._genesis_digest import (
    BLOCK_FORKS,
    account_as_file,
    canonical,
    canonical_account,
    number,
)
from ansible_collections.smartenergy.clique.plugins.module_utils._genesis_extra_data import (
    VANITY_BYTES,
    compose,
    signers,
    vanity_bytes,
)
from ansible_collections.smartenergy.clique.plugins.module_utils._keccak import checked_address

__all__ = ["DEFAULTS", "Choice", "addresses", "build", "choice_of", "filled", "valid"]

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
# Puppeth gave each of these one wei, so that no precompiled contract is ever deleted as an empty account.
DUSTED = tuple(f"0x{number:040x}" for number in range(256))
DUST = {"balance": 1}
LOWEST_GAS_LIMIT = 5000
LOWEST_BASE_FEE_WEI = 7
NONCE_BITS, BALANCE_BITS = 64, 256


@dataclass(frozen=True)
class Choice:
    """What a user decides about a network; None stands for what they leave open.

    period_s is the time between blocks, epoch the number of blocks between checkpoints, timestamp seconds since the
    epoch of Unix. Signers are addresses. Prefunded maps addresses to wei, or to accounts with balance, nonce, code and
    storage. Forks maps geth's names to the blocks from which they are on; a fork with None is never on.
    """

    chain_id: int | None = None
    period_s: int | None = None
    epoch: int | None = None
    gas_limit: int | None = None
    base_fee_wei: int | None = None
    signers: tuple[str, ...] | None = None
    prefunded: Mapping[str, Any] | None = None
    vanity: str | None = None
    create2_proxy: bool | None = None
    timestamp: int | None = None
    nonce: int | None = None
    forks: Mapping[str, Any] | None = None
    precompile_dust: bool | None = None


# The base fee is missing here: only a genesis with London has one.
DEFAULTS = Choice(
    chain_id=1337,
    period_s=5,
    epoch=30000,
    gas_limit=30_000_000,
    signers=(),
    prefunded={},
    vanity="",
    create2_proxy=True,
    timestamp=0,
    nonce=0,
    forks=dict.fromkeys(FORKS, 0),
    precompile_dust=False,
)


def filled(choice: Choice, base: Choice) -> Choice:
    """The choice, with the base's word for what it leaves open; forks and accounts are left open one by one."""
    values = {field.name: getattr(choice, field.name) for field in fields(Choice)}
    values = {name: getattr(base, name) if value is None else value for name, value in values.items()}
    for name in ("forks", "prefunded"):
        values[name] = {**(getattr(base, name) or {}), **(values[name] or {})}
    return Choice(**values)


def addresses(values: Sequence[Any], what: str) -> list[str]:
    """Addresses sorted as Clique wants them, each once."""
    found = sorted(checked_address(value, what).lower() for value in values)
    twice = sorted({value for value in found if found.count(value) > 1})
    if twice:
        raise CliqueError(f"{what} {', '.join(twice)} is named twice; name it once")
    return found


def account(key: str, value: Any) -> dict[str, Any]:
    """A prefunded account in its canonical form, from its balance in wei or from an object."""
    if isinstance(value, Mapping):
        strange = sorted(map(str, value.keys() - {"balance", "nonce", "code", "storage"}))
        if strange:
            raise CliqueError(
                f"the prefunded account {key} has {', '.join(strange)}: it can have balance, nonce, code and storage"
            )
    else:
        value = {"balance": value}
    found = canonical_account(key, value)
    for name, bits in (("balance", BALANCE_BITS), ("nonce", NONCE_BITS)):
        if found.get(name, 0).bit_length() > bits:
            raise CliqueError(f"the {name} of the prefunded account {key} has more than {bits} bits")
    return found


def blocks(forks: Mapping[str, Any]) -> dict[str, int | None]:
    """The block of each fork; None for never; raises CliqueError for a fork or a block that is none."""
    unknown = [str(name) for name in forks if name not in BLOCK_FORKS]
    if unknown:
        raise CliqueError(f"there is no fork {', '.join(unknown)}: the forks are {', '.join(BLOCK_FORKS)}")
    return {
        name: None if block is None else number(block, f"block of the fork {name}") for name, block in forks.items()
    }


def valid(choice: Choice) -> Choice:
    """The choice with addresses in lower case and sorted; raises CliqueError for what makes no network."""
    for name, value, least in (
        ("chain_id", choice.chain_id, 1),
        ("period_s", choice.period_s, 0),
        ("epoch", choice.epoch, 1),
        ("gas_limit", choice.gas_limit, LOWEST_GAS_LIMIT),
        ("base_fee_wei", choice.base_fee_wei, 0),
        ("timestamp", choice.timestamp, 0),
        ("nonce", choice.nonce, 0),
    ):
        if value is not None and value < least:
            raise CliqueError(f"{name} is {value} and has to be at least {least}")
        if value is not None and name != "base_fee_wei" and value.bit_length() > NONCE_BITS:
            raise CliqueError(f"{name} is {value} and has to be less than 2^{NONCE_BITS}")
    vanity_bytes(choice.vanity or "")
    if choice.signers is not None:
        choice = replace(choice, signers=tuple(addresses(choice.signers, "the signer")))
    if choice.forks is not None:
        choice = replace(choice, forks=blocks(choice.forks))
    if choice.prefunded is not None:
        addresses(list(choice.prefunded), "the prefunded account")
        accounts = {checked_address(key, "").lower(): account(key, value) for key, value in choice.prefunded.items()}
        choice = replace(choice, prefunded=dict(sorted(accounts.items())))
    return choice


def build(choice: Choice) -> dict[str, Any]:
    """The genesis file's content for a valid choice. Numbers that JSON readers may spoil are 0x-hex strings."""
    whole = filled(choice, DEFAULTS)
    if not whole.signers:
        raise CliqueError("a new network needs at least one signer: name the sealers' addresses in signers")
    alloc: dict[str, dict[str, Any]] = {key: dict(DUST) for key in DUSTED} if whole.precompile_dust else {}
    alloc |= {key: dict(value) for key, value in (whole.prefunded or {}).items()}
    if whole.create2_proxy:
        proxy = alloc.get(CREATE2_PROXY, {"balance": 0})
        if proxy.keys() != {"balance"}:
            raise CliqueError(f"{CREATE2_PROXY} is the CREATE2 proxy: prefund it with a balance, or turn the proxy off")
        alloc[CREATE2_PROXY] = {**proxy, "nonce": 1, "code": CREATE2_PROXY_CODE}
    forks = {name: block for name in BLOCK_FORKS if (block := (whole.forks or {}).get(name)) is not None}
    base_fee_wei = whole.base_fee_wei
    if base_fee_wei is None and forks.get("london") == 0:
        base_fee_wei = LOWEST_BASE_FEE_WEI
    return {
        "config": {
            "chainId": whole.chain_id,
            **{f"{name}Block": block for name, block in forks.items()},
            "clique": {"period": whole.period_s, "epoch": whole.epoch},
        },
        "nonce": hex(whole.nonce or 0),
        "timestamp": hex(whole.timestamp or 0),
        "extraData": compose(whole.vanity or "", whole.signers),
        "gasLimit": hex(whole.gas_limit or 0),
        "difficulty": "0x1",
        **({} if base_fee_wei is None else {"baseFeePerGas": hex(base_fee_wei)}),
        "alloc": {key: account_as_file(value) for key, value in alloc.items()},
    }


def choice_of(genesis: Mapping[str, Any]) -> Choice:
    """The choice that a Clique genesis is the answer to, with nothing left open that it has."""
    form = canonical(genesis)
    config, alloc = form["config"], form["alloc"]
    proxied = alloc.get(CREATE2_PROXY, {}).get("code") == CREATE2_PROXY_CODE
    dusted = alloc.keys() >= set(DUSTED)
    own = {key: value for key, value in alloc.items() if not (dusted and key in DUSTED and value == DUST)}
    if proxied and (balance := own.pop(CREATE2_PROXY)["balance"]):
        own[CREATE2_PROXY] = {"balance": balance}
    return Choice(
        chain_id=config.get("chainId"),
        period_s=config.get("clique", {}).get("period"),
        epoch=config.get("clique", {}).get("epoch"),
        gas_limit=form["gasLimit"],
        base_fee_wei=form.get("baseFeePerGas"),
        signers=tuple(signer.lower() for signer in signers(genesis)),
        prefunded=own,
        vanity=form["extraData"][: 2 + 2 * VANITY_BYTES],
        create2_proxy=proxied,
        timestamp=form["timestamp"],
        nonce=form["nonce"],
        forks={name: config.get(f"{name}Block") for name in BLOCK_FORKS},
        precompile_dust=dusted,
    )
