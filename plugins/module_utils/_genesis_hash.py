# SPDX-License-Identifier: GPL-3.0-or-later
"""The hash of any Clique genesis, without geth; needs rlp and trie. Private to this collection."""

from __future__ import annotations

import traceback
from collections.abc import Mapping
from typing import Any

from ansible_collections.smartenergy.clique.plugins.module_utils._errors import CliqueError
from ansible_collections.smartenergy.clique.plugins.module_utils._genesis_digest import canonical

LIBRARY_ERROR: str | None = None
try:
    import rlp  # type: ignore[import-untyped]
    from eth_hash.auto import keccak
    from trie.hexary import HexaryTrie
except ImportError:
    LIBRARY_ERROR = traceback.format_exc()

__all__ = ["LIBRARY_ERROR", "genesis_hash"]

EMPTY_LIST_RLP, EMPTY_STRING_RLP = b"\xc0", b"\x80"
NONCE_BYTES, BLOOM_BYTES = 8, 256
# What geth puts in the header for a gas limit of 0.
FIRST_GAS_LIMIT = 4_712_388


def integer(value: int) -> bytes:
    return value.to_bytes((value.bit_length() + 7) // 8, "big")


def plain(text: str) -> bytes:
    return bytes.fromhex(text[2:])


def root(entries: Mapping[bytes, bytes]) -> bytes:
    """Root of a Merkle-Patricia trie under hashed keys."""
    tree = HexaryTrie({})
    for key, value in entries.items():
        tree[keccak(key)] = value
    return bytes(tree.root_hash)


def account_rlp(account: Mapping[str, Any]) -> bytes:
    stored = {plain(slot): integer(int(word, 16)) for slot, word in account.get("storage", {}).items()}
    storage_root = root({slot: rlp.encode(word) for slot, word in stored.items() if word})
    code = keccak(plain(account.get("code", "0x")))
    return bytes(rlp.encode([integer(account.get("nonce", 0)), integer(account["balance"]), storage_root, code]))


def genesis_hash(genesis: Mapping[str, Any]) -> str:
    """The block hash (0x and 64 hex digits) that geth gives this genesis. Source: the yellow paper, and EIP-1559.

    Raises CliqueError where Shanghai is on from the first block: Clique does not go that far.
    """
    form = canonical(genesis)
    if form["config"].get("shanghaiTime", form["timestamp"] + 1) <= form["timestamp"]:
        raise CliqueError("the genesis has Shanghai from its first block on, and Clique ends with London")
    form["gasLimit"] = form["gasLimit"] or FIRST_GAS_LIMIT
    header = [
        plain(form["parentHash"]),
        keccak(EMPTY_LIST_RLP),  # uncles
        plain(form["coinbase"]),
        root({plain(key): account_rlp(account) for key, account in form["alloc"].items()}),
        keccak(EMPTY_STRING_RLP),  # transactions
        keccak(EMPTY_STRING_RLP),  # receipts
        bytes(BLOOM_BYTES),
        *(integer(form[name]) for name in ("difficulty", "number", "gasLimit", "gasUsed", "timestamp")),
        plain(form["extraData"]),
        plain(form["mixHash"]),
        form["nonce"].to_bytes(NONCE_BYTES, "big"),
    ]
    if "baseFeePerGas" in form:
        header.append(integer(form["baseFeePerGas"]))
    return "0x" + keccak(rlp.encode(header)).hex()
