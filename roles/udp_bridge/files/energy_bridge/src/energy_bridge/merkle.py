# SPDX-License-Identifier: GPL-3.0-or-later
"""One hash for many: the root under which a batch names the readings that it rests on, and a reading's way up to it."""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce

from eth_utils.crypto import keccak

__all__ = ["EMPTY_ROOT", "merkle_path", "merkle_root", "root_of_path"]

EMPTY_ROOT = bytes(32)


def merkle_root(digests: Sequence[bytes]) -> bytes:
    """Hash digests two by two until one is left; that of none is EMPTY_ROOT, and that of one is itself.

    A pair is keccak256 of the lesser and the greater of the two, as OpenZeppelin's MerkleProof has it; an odd one at
    the end goes up as it is. A digest is SHA-256 of a datagram: nobody can pass a pair off as one.
    """
    level = list(digests)
    while len(level) > 1:
        level = _above(level)
    return level[0] if level else EMPTY_ROOT


def merkle_path(digests: Sequence[bytes], place: int) -> list[bytes]:
    """What the digest at this place meets on its way to the root, from the lowest level on."""
    level, path = list(digests), []
    while len(level) > 1:
        path += level[place ^ 1 : (place ^ 1) + 1]
        level, place = _above(level), place // 2
    return path


def root_of_path(digest: bytes, path: Sequence[bytes]) -> bytes:
    """The root that a digest has by this path."""
    return reduce(_pair, path, digest)


def _above(level: Sequence[bytes]) -> list[bytes]:
    pairs = [level[place : place + 2] for place in range(0, len(level), 2)]
    return [_pair(*pair) if len(pair) > 1 else pair[0] for pair in pairs]


def _pair(one: bytes, other: bytes) -> bytes:
    return keccak(min(one, other) + max(one, other))
