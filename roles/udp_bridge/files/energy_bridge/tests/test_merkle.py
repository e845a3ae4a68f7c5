# SPDX-License-Identifier: GPL-3.0-or-later
"""The root of a batch's readings, as somebody else computes it."""

import hashlib

import pytest
from energy_bridge.merkle import merkle_path, merkle_root, root_of_path
from eth_utils.crypto import keccak
from hypothesis import given
from hypothesis import strategies as st

A, B, C, D, E = (hashlib.sha256(letter).digest() for letter in (b"a", b"b", b"c", b"d", b"e"))


def pair(left: bytes, right: bytes) -> bytes:
    return keccak(min(left, right) + max(left, right))


@pytest.mark.parametrize(
    ("digests", "root"),
    [
        ([], bytes(32)),
        ([A], A),
        ([A, B], pair(A, B)),
        ([A, B, C], pair(pair(A, B), C)),
        ([A, B, C, D], pair(pair(A, B), pair(C, D))),
        ([A, B, C, D, E], pair(pair(pair(A, B), pair(C, D)), E)),
    ],
)
def test_the_root_is_that_of_its_pairs(digests: list[bytes], root: bytes) -> None:
    assert merkle_root(digests) == root


def test_the_root_of_five_is_this_one() -> None:
    assert merkle_root([A, B, C, D, E]).hex() == "14e90dbf467bb33f8b30a7f54fc7f601e03ae8dbf4073048925212510e0d3b36"


@given(st.lists(st.binary(min_size=32, max_size=32), min_size=1, max_size=20), st.data())
def test_one_other_digest_is_another_root(digests: list[bytes], data: st.DataObject) -> None:
    place = data.draw(st.integers(0, len(digests) - 1))
    other = [*digests]
    other[place] = hashlib.sha256(other[place]).digest()
    assert merkle_root(other) != merkle_root(digests)


@given(st.lists(st.binary(min_size=32, max_size=32), min_size=1, max_size=20), st.data())
def test_a_path_leads_to_the_root(digests: list[bytes], data: st.DataObject) -> None:
    place = data.draw(st.integers(0, len(digests) - 1))
    assert root_of_path(digests[place], merkle_path(digests, place)) == merkle_root(digests)
