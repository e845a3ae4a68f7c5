# SPDX-License-Identifier: GPL-3.0-or-later
"""Addresses known in advance, against web3's own, and the files of a deployment."""

import json
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.smartenergy.clique.plugins.module_utils._contract_deploy import (
    PROXY,
    Deployment,
    DeploymentError,
    plan,
    read,
    texts,
    write,
)
from eth_abi.abi import encode
from eth_typing import HexStr
from hypothesis import given
from hypothesis import strategies as st
from web3 import Web3
from web3.utils.address import get_create2_address

OWNER = "0x52908400098527886E0F7030069857D2E4169EE7"


def artifact(*kinds: str) -> dict[str, Any]:
    """An artefact whose constructor takes arguments of these types; without any it has no constructor at all."""
    constructor = {"type": "constructor", "inputs": [{"name": "", "type": kind} for kind in kinds]}
    return {"abi": [{"type": "receive"}, *([constructor] if kinds else [])], "bytecode": "0x600a600c"}


@given(st.binary(max_size=32), st.integers(0, 2**256 - 1))
def test_the_address_is_that_of_create2_through_the_proxy(salt: bytes, wei: int) -> None:
    planned = plan("Tariff", artifact("address", "uint256"), [OWNER, wei], f"0x{salt.hex()}")
    init_code = "0x600a600c" + encode(["address", "uint256"], [OWNER, wei]).hex()
    filled = HexStr(f"0x{salt.rjust(32, bytes(1)).hex()}")
    assert planned.address == get_create2_address(PROXY, filled, HexStr(init_code))


@pytest.mark.parametrize("salt", ["0x1", "1", "0x01", "01", "0x" + "01".zfill(64)])
def test_a_salt_is_filled_with_zeros_from_the_left(salt: str) -> None:
    assert plan("Tariff", artifact(), [], salt).salt == bytes(31) + b"\x01"


@pytest.mark.parametrize(
    ("kind", "text", "number"),
    [
        ("uint256", str(2**200), 2**200),
        ("uint64", "0x10", 16),
        ("int128", "-5", -5),
        ("uint8[2][]", [["1", 2]], [[1, 2]]),
    ],
)
def test_a_number_may_be_text(kind: str, text: Any, number: Any) -> None:
    assert plan("T", artifact(kind), [text], "0") == plan("T", artifact(kind), [number], "0")


@pytest.mark.parametrize(
    ("change", "arguments", "salt", "words"),
    [
        ({"abi": []}, [], "0", "the artefact of Tariff has no abi; is it a contract's?"),
        ({"abi": [], "bytecode": ""}, [], "0", "has no abi and no bytecode"),
        ({}, [1], "0", "takes 0 arguments, not 1"),
        (artifact("address"), ["someone"], "0", "salt and arguments: the address 'someone' is not an address"),
        (artifact("address[]"), [[OWNER, "x"]], "0", "salt and arguments: the address 'x' is not an address"),
        (artifact("address"), [[OWNER]], "0", "is not an address"),
        (artifact("uint8"), [256], "0", "Tariff cannot be deployed with this artefact, salt and arguments"),
        (artifact("uint8"), ["a few"], "0", "Tariff cannot be deployed with this artefact, salt and arguments"),
        ({"bytecode": "0x__$Library$__"}, [], "0", "Tariff cannot be deployed with this artefact, salt and arguments"),
        ({}, [], "salt", "Tariff cannot be deployed with this artefact, salt and arguments"),
        ({}, [], "0x" + "1" * 66, "a salt has at most 32 bytes, in hex"),
    ],
)
def test_what_cannot_be_planned_is_refused(change: dict[str, Any], arguments: list[Any], salt: str, words: str) -> None:
    with pytest.raises(DeploymentError, match=words.replace("?", r"\?")):
        plan("Tariff", {**artifact(), **change}, arguments, salt)


def test_the_record_and_the_artifact_say_where_it_stands(tmp_path: Path) -> None:
    planned = plan("Tariff", artifact(), [], "0x07")
    files = texts(planned, Deployment(12, "0xabc"), 1337)
    assert json.loads(files["Tariff.json"]) == {
        "name": "Tariff",
        "address": planned.address,
        "chain_id": 1337,
        "block": 12,
        "transaction": "0xabc",
        "salt": "0x" + "07".zfill(64),
        "init_code_hash": Web3.to_hex(Web3.keccak(hexstr="0x600a600c")),
    }
    networks = {"1337": {"address": planned.address, "transactionHash": "0xabc"}}
    assert json.loads(files["Tariff.artifact.json"]) == {**artifact(), "networks": networks}
    assert read(tmp_path / "1337", list(files)) == dict.fromkeys(files)
    write(files, tmp_path / "1337")
    assert read(tmp_path / "1337", list(files)) == files
