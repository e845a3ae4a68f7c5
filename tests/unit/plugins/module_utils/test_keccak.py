# SPDX-License-Identifier: GPL-3.0-or-later
"""Keccak-256 against the libraries that everybody uses."""

import pytest
from ansible_collections.smartenergy.clique.plugins.module_utils._errors import CliqueError
from ansible_collections.smartenergy.clique.plugins.module_utils._keccak import checksum_address, keccak256
from eth_hash.auto import keccak
from eth_utils.address import to_checksum_address
from hypothesis import given
from hypothesis import strategies as st


@given(st.binary(max_size=600))
def test_any_bytes(data: bytes) -> None:
    assert keccak256(data) == keccak(data)


@pytest.mark.parametrize("size", [0, 1, 134, 135, 136, 137, 271, 272])
def test_sizes_around_a_block(size: int) -> None:
    assert keccak256(bytes(size)) == keccak(bytes(size))


@given(st.binary(min_size=20, max_size=20), st.booleans(), st.booleans())
def test_addresses(raw: bytes, prefix: bool, upper: bool) -> None:
    digits = raw.hex().upper() if upper else raw.hex()
    assert checksum_address(("0x" if prefix else "") + digits) == to_checksum_address(raw)


@pytest.mark.parametrize("text", ["", "0x", "0x" + "1" * 39, "0x" + "1" * 41, "0x" + "g" * 40, "0x" + "1" * 40 + "\n"])
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(CliqueError, match="no Ethereum address: it has to be 0x and 40 hexadecimal digits"):
        checksum_address(text)
