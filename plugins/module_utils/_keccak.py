# SPDX-License-Identifier: GPL-3.0-or-later
"""Keccak-256 and what Ethereum makes of it, for nodes that have the standard library only. Private to this collection.

Keccak as it was before NIST changed its padding for SHA-3, so hashlib has no such hash. A hash takes about a third of
a millisecond, which is enough for addresses and node ids and for nothing larger.
Source: the Keccak reference, version 3.0, sections 1.2 and 1.3; EIP-55 for the checksum.
"""

from __future__ import annotations

import re
from typing import Any

from ansible_collections.smartenergy.clique.plugins.module_utils._errors import CliqueError

__all__ = ["checked_address", "checksum_address", "keccak256"]

_RATE_BYTES = 136  # 1600 bits of state less a capacity of twice 256
_LANE = (1 << 64) - 1
_ROUNDS = 24
_ADDRESS = re.compile(r"(0x)?[0-9a-fA-F]{40}")


def _round_constants() -> tuple[int, ...]:
    """One bit of the degree-8 LFSR x⁸ + x⁶ + x⁵ + x⁴ + 1 for each of the positions 2ʲ - 1 of each round."""
    register, constants = 1, []
    for _round in range(_ROUNDS):
        constant = 0
        for j in range(7):
            constant |= (register & 1) << ((1 << j) - 1)
            register = (register << 1) ^ (0x171 if register & 0x80 else 0)
        constants.append(constant)
    return tuple(constants)


def _walk() -> tuple[tuple[int, int], ...]:
    """The lanes in the order in which pi moves them from (1, 0) on, each with rho's rotation; a lane is x + 5y."""
    x, y, rotation, steps = 1, 0, 0, []
    for t in range(24):
        rotation += t + 1
        x, y = y, (2 * x + 3 * y) % 5
        steps.append((x + 5 * y, rotation % 64))
    return tuple(steps)


_CONSTANTS = _round_constants()
_STEPS = _walk()


def _rotate(lane: int, bits: int) -> int:
    return ((lane << bits) | (lane >> (64 - bits))) & _LANE


def _permute(lanes: list[int]) -> None:
    for constant in _CONSTANTS:
        parity = [lanes[x] ^ lanes[x + 5] ^ lanes[x + 10] ^ lanes[x + 15] ^ lanes[x + 20] for x in range(5)]
        for x in range(5):  # theta
            mix = parity[x - 1] ^ _rotate(parity[(x + 1) % 5], 1)
            for y in range(0, 25, 5):
                lanes[x + y] ^= mix
        carried = lanes[1]
        for lane, rotation in _STEPS:  # rho and pi
            carried, lanes[lane] = lanes[lane], _rotate(carried, rotation)
        for y in range(0, 25, 5):  # chi
            row = lanes[y : y + 5]
            for x in range(5):
                lanes[x + y] = row[x] ^ (~row[(x + 1) % 5] & row[(x + 2) % 5])
        lanes[0] ^= constant  # iota


def keccak256(data: bytes) -> bytes:
    """Return the 32 bytes of Keccak-256."""
    padded = bytearray(data) + b"\x01" + bytes(-(len(data) + 1) % _RATE_BYTES)
    padded[-1] |= 0x80
    lanes = [0] * 25
    for block in range(0, len(padded), _RATE_BYTES):
        for lane in range(_RATE_BYTES // 8):
            start = block + 8 * lane
            lanes[lane] ^= int.from_bytes(padded[start : start + 8], "little")
        _permute(lanes)
    return b"".join(lane.to_bytes(8, "little") for lane in lanes[:4])


def checksum_address(address: str) -> str:
    """Return an address, given with or without 0x and in any case of letters, as EIP-55 writes it."""
    if not _ADDRESS.fullmatch(address):
        raise CliqueError(f"{address!r} is no Ethereum address: it has to be 0x and 40 hexadecimal digits")
    digits = address[-40:].lower()
    digest = keccak256(digits.encode()).hex()
    return "0x" + "".join(d.upper() if h > "7" else d for d, h in zip(digits, digest, strict=False))


def checked_address(value: Any, what: str) -> str:
    """Return an address that somebody typed as EIP-55 writes it; what names it in the CliqueError for a wrong one.

    Digits whose letters are of one case have no checksum; with letters of both, it has to be right.
    """
    try:
        checksummed = checksum_address(value)
    except (TypeError, CliqueError) as error:
        raise CliqueError(f"{what} {value!r} is not an address: it has to be 0x and 40 hex digits") from error
    digits = value[-40:]
    if digits not in (digits.lower(), digits.upper(), checksummed[2:]):
        raise CliqueError(f"{what} {value} has a wrong checksum: a digit is mistyped, or its case is")
    return checksummed
