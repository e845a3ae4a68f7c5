# SPDX-License-Identifier: GPL-3.0-or-later
"""The extra data of a Clique genesis: vanity, signers, seal. Standard library only. Private to this collection.

Source: EIP-225. A genesis and every checkpoint block name their signers there, between 32 bytes of vanity and the 65
bytes of a seal, which in a genesis are zero.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ansible_collections.smartenergy.clique.plugins.module_utils._errors import CliqueError
from ansible_collections.smartenergy.clique.plugins.module_utils._keccak import checksum_address

__all__ = ["compose", "signers", "signers_of", "vanity_bytes"]

VANITY_BYTES, ADDRESS_BYTES, SEAL_BYTES = 32, 20, 65
FORM = f"{VANITY_BYTES} bytes, {ADDRESS_BYTES} for each signer and {SEAL_BYTES}"
SHOWN_CHARACTERS = 80


def vanity_bytes(text: str) -> bytes:
    """The 32 bytes in front of the signers, from text or from 0x and hex digits, filled up with zeros."""
    try:
        raw = bytes.fromhex(text[2:]) if text.startswith("0x") else text.encode()
    except ValueError as error:
        raise CliqueError(f"the vanity {text!r} starts with 0x and is not hex") from error
    if len(raw) > VANITY_BYTES:
        raise CliqueError(f"the vanity {text!r} has {len(raw)} bytes, and at most {VANITY_BYTES} fit in")
    return raw.ljust(VANITY_BYTES, b"\0")


def compose(vanity: str, addresses: Sequence[str]) -> str:
    """The extra data (0x and hex) of a genesis with these signers, in this order."""
    listed = b"".join(bytes.fromhex(address[2:]) for address in addresses)
    return "0x" + (vanity_bytes(vanity) + listed + bytes(SEAL_BYTES)).hex()


def signers_of(extra_data: str) -> list[str] | None:
    """The addresses (0x, lower case) in a Clique genesis' extra data, or None where it is none of Clique's."""
    raw = bytes.fromhex(extra_data.removeprefix("0x"))
    listed = raw[VANITY_BYTES:-SEAL_BYTES]
    if len(raw) < VANITY_BYTES + SEAL_BYTES or len(listed) % ADDRESS_BYTES:
        return None
    return ["0x" + listed[start : start + ADDRESS_BYTES].hex() for start in range(0, len(listed), ADDRESS_BYTES)]


def signers(source: Any) -> list[str]:
    """The checksummed addresses that may seal, as they stand in an extra data, or in a genesis or block that has one.

    Raises CliqueError where there are none.
    """
    text = source
    if isinstance(source, Mapping):
        text = next((value for name, value in source.items() if str(name).lower() == "extradata"), None)
        if text is None:
            raise CliqueError("there is no extraData in what should be a genesis, and so no signers")
    try:
        found = signers_of(text)
    except (AttributeError, ValueError) as error:
        shown = repr(text)[:SHOWN_CHARACTERS]
        raise CliqueError(f"the extraData is {shown} and has to be 0x and pairs of hex digits") from error
    if found is None:
        length = len(text.removeprefix("0x")) // 2
        raise CliqueError(f"the extraData has {length} bytes, which is not {FORM}: it is none of Clique's")
    if not found:
        raise CliqueError("the extraData names no signer: only that of a genesis or of a checkpoint block does")
    return [checksum_address(signer) for signer in found]
