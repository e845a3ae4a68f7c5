# SPDX-License-Identifier: GPL-3.0-or-later
"""Addresses known in advance, against web3's own, and the files of a deployment."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.smartenergy.clique.plugins.module_utils._chain import Identity
from ansible_collections.smartenergy.clique.plugins.module_utils._contract_artifact import recognise
from ansible_collections.smartenergy.clique.plugins.module_utils._contract_deploy import (
    PROXY,
    Deployment,
    Files,
    Plan,
    plan,
    texts,
)
from ansible_collections.smartenergy.clique.plugins.module_utils._errors import CliqueError
from ansible_collections.smartenergy.clique.plugins.module_utils._send_once import Kept, read
from eth_abi.abi import encode
from eth_typing import HexAddress, HexStr
from hypothesis import given
from hypothesis import strategies as st
from web3 import Web3
from web3.utils.address import get_create2_address

OWNER = "0x52908400098527886E0F7030069857D2E4169EE7"
CHAIN = Identity(1337, "0x" + "ab" * 32, "7331")


def artifact(*kinds: str) -> dict[str, Any]:
    """An artefact whose constructor takes arguments of these types; without any it has no constructor at all."""
    constructor = {"type": "constructor", "inputs": [{"name": "", "type": kind} for kind in kinds]}
    return {"abi": [{"type": "receive"}, *([constructor] if kinds else [])], "bytecode": "0x600a600c"}


def planned(given: dict[str, Any], arguments: list[Any], salt: str | None, **more: Any) -> Plan:
    name = more.pop("name", "Tariff")
    return plan(name, recognise(given), arguments, libraries=more.pop("libraries", {}), salt=salt, **more)


@given(st.binary(max_size=32), st.integers(0, 2**256 - 1))
def test_the_address_is_that_of_create2_through_the_proxy(salt: bytes, wei: int) -> None:
    foretold = planned(artifact("address", "uint256"), [OWNER, wei], f"0x{salt.hex() or '0'}")
    init_code = "0x600a600c" + encode(["address", "uint256"], [OWNER, wei]).hex()
    filled = HexStr(f"0x{salt.rjust(32, bytes(1)).hex()}")
    assert foretold.address == get_create2_address(HexAddress(HexStr(PROXY)), filled, HexStr(init_code))


@pytest.mark.parametrize("salt", ["0x1", "1", "0x01", "01", "0x" + "01".zfill(64)])
def test_a_salt_is_filled_with_zeros_from_the_left(salt: str) -> None:
    assert planned(artifact(), [], salt).salt == bytes(31) + b"\x01"


@pytest.mark.parametrize(
    ("change", "arguments", "more", "words"),
    [
        ({}, [1], {}, "the constructor of Tariff takes 0 arguments, not 1"),
        (
            artifact("address"),
            ["someone"],
            {},
            "cannot take 'someone' as argument 1 (address); give 0x and 40 hex digits",
        ),
        (artifact("uint8"), [256], {}, "cannot take 256 as argument 1 (uint8); give a whole number from 0 to 255"),
        ({"bytecode": f"0x__${'a' * 34}$__"}, [], {}, f"Tariff needs the library behind __${'a' * 34}$__"),
        ({}, [], {"salt": "salt"}, "the salt salt is not hex of at most 32 bytes"),
        ({}, [], {"salt": "0x" + "1" * 65}, "is not hex of at most 32 bytes"),
        ({}, [], {"salt": None}, "the artefact of Tariff has no deployedBytecode, which what stands is compared with"),
        ({}, [], {"value_wei": -1}, "Tariff cannot be given -1 wei; give 0 or more"),
        ({}, [], {"name": "../Tariff"}, "../Tariff cannot be the name of a record; use letters, digits, _, $ and -"),
        ({}, [], {"name": None}, "the artefact does not say what the contract is called; give it a name"),
        ({}, [], {"libraries": {"Math": "0x12"}}, "Tariff cannot have '0x12' as the library Math (address); give 0x"),
    ],
)
def test_what_cannot_be_planned_is_refused(
    change: dict[str, Any], arguments: list[Any], more: dict[str, Any], words: str
) -> None:
    with pytest.raises(CliqueError) as refused:
        planned({**artifact(), **change}, arguments, **{"salt": "0", **more})
    assert words in str(refused.value)


def test_the_record_and_the_artifact_say_where_it_stands(tmp_path: Path) -> None:
    wanted = planned(artifact(), [], "0x07")
    assert wanted.address
    told = texts(wanted, Deployment(wanted.address, 12, "0xabc", wanted.salt_text, wanted.init_code_hash), CHAIN)
    assert json.loads(told["record"]) == {
        "name": "Tariff",
        "address": wanted.address,
        "chain_id": 1337,
        "genesis_hash": CHAIN.genesis_hash,
        "block": 12,
        "transaction": "0xabc",
        "salt": "0x" + "07".zfill(64),
        "init_code_hash": Web3.to_hex(Web3.keccak(hexstr="0x600a600c")),
    }
    assert json.loads(told["artifact"]) == {
        "contractName": "Tariff",
        **artifact(),
        "deployedBytecode": "0x",
        # By the network's id, as Truffle has it, which need not be the chain's.
        "networks": {"7331": {"address": wanted.address, "transactionHash": "0xabc"}},
    }
    files = Files.of(tmp_path, CHAIN, "Tariff")
    assert files.read() == {"record": None, "artifact": None, "pending": None}
    sent = Kept(1337, CHAIN.genesis_hash, OWNER, 7, "0x" + "cd" * 32, "0x02", None, {})
    files.keep(sent)
    assert read(files.read()["pending"], CHAIN) == sent
    assert files.pending.stat().st_mode & 0o777 == 0o600
    for change in ({"raw": 5}, {"nonce": "7"}, {"sender": "me"}, {"transaction": None}, {"purpose": None}, {"more": 1}):
        assert read(json.dumps({**asdict(sent), **change}), CHAIN) is None
    assert read(json.dumps({**asdict(sent), "genesis_hash": "0x" + "12" * 32}), CHAIN) is None
    files.keep(None)
    assert files.read()["pending"] is None
    files.keep(sent)
    files.write(told)
    assert files.read() == {**told, "pending": None}
    assert {path.name for path in (tmp_path / "1337").iterdir()} == {"Tariff.json", "Tariff.artifact.json"}
