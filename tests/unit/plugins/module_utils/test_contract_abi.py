# SPDX-License-Identifier: GPL-3.0-or-later
"""What a user writes becomes what a contract's types are, or a sentence that names the argument and its type."""

from typing import Any

import pytest
from ansible_collections.smartenergy.clique.plugins.module_utils._contract_abi import (
    AbiError,
    choose,
    decode,
    encode,
    event,
    selector,
    signature,
)
from eth_abi.abi import encode as abi_encode
from hypothesis import given
from hypothesis import strategies as st
from web3 import Web3

OWNER = "0x52908400098527886E0F7030069857D2E4169EE7"
MIXED = "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed"
ORDER = [
    {"name": "owner", "type": "address"},
    {
        "name": "parts",
        "type": "tuple[]",
        "components": [{"name": "wh", "type": "uint64"}, {"name": "", "type": "bool"}],
    },
]


def parameter(kind: str, **more: Any) -> dict[str, Any]:
    return {"name": "it", "type": kind, **more}


@pytest.mark.parametrize(
    ("kind", "written", "meant"),
    [
        ("uint256", str(2**200), 2**200),
        ("uint64", "0x10", 16),
        ("int128", "-5", -5),
        ("uint", 7, 7),
        ("uint8[2][]", [["1", 2]], [[1, 2]]),
        ("bool", "True", True),
        ("bool", False, False),
        ("string", "Wärme", "Wärme"),
        ("bytes", "0x", b""),
        ("bytes4", "0xdeadBEEF", bytes.fromhex("deadbeef")),
        ("address", MIXED.lower(), MIXED),
        ("address", "0x" + MIXED[2:].upper(), MIXED),
        ("address[]", [MIXED], [MIXED]),
    ],
)
def test_what_is_written_is_what_is_meant(kind: str, written: Any, meant: Any) -> None:
    data = encode([parameter(kind)], [written], "the constructor of T")
    assert data == abi_encode([kind], [meant])
    shown = f"0x{meant.hex()}" if isinstance(meant, bytes) else meant
    assert decode([parameter(kind)], data) == [shown]


def test_a_tuple_is_a_list_or_has_names() -> None:
    order = parameter("tuple", components=ORDER)
    data = abi_encode(["(address,(uint64,bool)[])"], [(OWNER, [(5, True)])])
    for written in ([OWNER, [["5", True]]], {"owner": OWNER, "parts": [{"wh": 5, "2": True}]}):
        assert encode([order], [written], "f of T") == data
    assert decode([order], data) == [{"owner": OWNER, "parts": [[5, True]]}]


@pytest.mark.parametrize(
    ("kind", "written", "words"),
    [
        ("uint8", 256, "256 as it (uint8); give a whole number from 0 to 255, or its digits in quotes"),
        ("int8", "-129", "'-129' as it (int8); give a whole number from -128 to 127, or its digits in quotes"),
        ("uint256", -1, "-1 as it (uint256); give a whole number from 0 to "),
        ("uint256", 1.5, "1.5 as it (uint256); give a whole number"),
        ("uint256", "1e18", "'1e18' as it (uint256); give a whole number"),
        ("uint256", True, "True as it (uint256); give a whole number"),
        ("uint256", None, "None as it (uint256); give a whole number"),
        ("bool", 1, "1 as it (bool); give true or false"),
        ("string", 5, "5 as it (string); give text, in quotes"),
        ("bytes4", "0xdead", "'0xdead' as it (bytes4); give 0x and 8 hex digits, in quotes"),
        ("bytes", "dead", "'dead' as it (bytes); give 0x and an even number of hex digits, in quotes"),
        ("bytes", "0xdea", "'0xdea' as it (bytes); give 0x and an even number of hex digits, in quotes"),
        ("address", 0x5AAEB6053F, "as it (address); give 0x and 40 hex digits, in quotes"),
        ("address", "0x12", "'0x12' as it (address); give 0x and 40 hex digits, in quotes"),
        ("address", MIXED.replace("a", "A", 1), f"give {MIXED} if it is meant, because its checksum is wrong"),
        ("address[]", [OWNER, "x"], "'x' as it[1] (address); give"),
        ("uint8[2]", [1], "[1] as it (uint8[2]); give a list of 2 items"),
        ("uint8[]", 1, "1 as it (uint8[]); give a list"),
        ("fixed128x18", "1", "'1' as it (fixed128x18); give nothing: this type is not known here"),
    ],
)
def test_what_does_not_fit_is_named_with_its_type(kind: str, written: Any, words: str) -> None:
    with pytest.raises(AbiError) as refused:
        encode([parameter(kind)], [written], "the constructor of T")
    assert str(refused.value).startswith("the constructor of T cannot take ")
    assert words in str(refused.value)


@pytest.mark.parametrize(
    ("written", "words"),
    [
        (
            {"owner": OWNER},
            "as it ((address,(uint64,bool)[])); give its 2 values, in a list or by their names: owner, parts",
        ),
        ([OWNER, [[-1, True]]], "-1 as it.parts[0].wh (uint64); give a whole number"),
        ([OWNER, [[1, "x"]]], "'x' as it.parts[0].2 (bool); give true or false"),
    ],
)
def test_a_part_of_a_tuple_is_named_with_its_type(written: Any, words: str) -> None:
    with pytest.raises(AbiError) as refused:
        encode([parameter("tuple", components=ORDER)], [written], "f of T")
    assert words in str(refused.value)


def test_the_number_of_arguments_is_told_with_what_they_are() -> None:
    inputs = [{"name": "wei", "type": "uint256"}, {"name": "", "type": "address"}]
    with pytest.raises(AbiError, match=r"f of T takes 2 arguments, not 1; give wei \(uint256\), one \(address\)$"):
        encode(inputs, [1], "f of T")


@given(st.integers(0, 2**256 - 1), st.binary(max_size=70), st.text(), st.lists(st.booleans()))
def test_what_is_answered_can_be_written(number: int, data: bytes, text: str, flags: list[bool]) -> None:
    kinds = [parameter(kind) for kind in ("uint256", "bytes", "string", "bool[]")]
    written = [number, f"0x{data.hex()}", text, flags]
    assert decode(kinds, encode(kinds, written, "f of T")) == written


def function(name: str, *kinds: str) -> dict[str, Any]:
    return {"type": "function", "name": name, "inputs": [parameter(kind) for kind in kinds]}


def test_a_function_is_chosen_by_name_count_or_signature() -> None:
    abi = [function("f", "uint256"), function("f", "string"), function("f"), function("g", "address")]
    assert choose(abi, "g", 3, "T") == abi[3]
    assert choose(abi, "f", 0, "T") == abi[2]
    assert choose(abi, "f(string)", 1, "T") == abi[1]
    with pytest.raises(AbiError, match=r"T has several functions f; name one of f\(uint256\), f\(string\)"):
        choose(abi, "f", 1, "T")
    with pytest.raises(AbiError, match=r"T has no function h; it has f\(\), f\(string\), f\(uint256\), g\(address\)"):
        choose(abi, "h", 0, "T")


def test_the_selector_is_that_of_the_signature_with_its_tuples() -> None:
    item = {"name": "f", "inputs": [parameter("tuple[2]", components=ORDER)]}
    assert signature(item) == "f((address,(uint64,bool)[])[2])"
    assert selector(item) == bytes(Web3.keccak(text=signature(item))[:4])


def test_an_event_that_is_not_known_or_not_whole_is_nobodys() -> None:
    item = {"type": "event", "name": "E", "inputs": [{**parameter("uint256"), "indexed": False}]}
    topic = bytes(Web3.keccak(text="E(uint256)"))
    assert event([item], [topic], abi_encode(["uint256"], [7])) == ("E", {"it": 7})
    assert event([item], [topic], b"") == (None, [])
    assert event([item], [bytes(32)], b"") == (None, [])
    assert event([item], [], b"") == (None, [])
