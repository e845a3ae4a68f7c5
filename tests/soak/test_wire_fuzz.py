# SPDX-License-Identifier: GPL-3.0-or-later
"""A million random and mutated datagrams: no crash, and no forgery that is taken."""

import secrets

from support.wire_fuzz import fuzz


def test_a_million_datagrams() -> None:
    seed = secrets.randbits(32)
    print(f"seed {seed}")
    outcomes = fuzz(1_000_000, seed)
    assert outcomes["taken"] > 10_000
