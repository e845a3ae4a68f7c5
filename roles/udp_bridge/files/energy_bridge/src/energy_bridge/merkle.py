# SPDX-License-Identifier: GPL-3.0-or-later
"""One hash for many: the root under which a batch names the readings that it was cleared from."""

from __future__ import annotations

from collections.abc import Sequence

from eth_utils.crypto import keccak

__all__ = ["EMPTY_ROOT", "merkle_root"]

EMPTY_ROOT = bytes(32)


def merkle_root(digests: Sequence[bytes]) -> bytes:
    """Hash digests two by two until one is left; that of none is EMPTY_ROOT, and that of one is itself.

    A pair is keccak256 of the lesser and the greater of the two, as OpenZeppelin's MerkleProof has it; an odd one at
    the end goes up as it is. A digest is SHA-256 of a datagram: nobody can pass a pair off as one.
    """
    level = list(digests)
    while len(level) > 1:
        pairs = [level[place : place + 2] for place in range(0, len(level), 2)]
        level = [keccak(b"".join(sorted(pair))) if len(pair) > 1 else pair[0] for pair in pairs]
    return level[0] if level else EMPTY_ROOT
