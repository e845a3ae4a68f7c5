# SPDX-License-Identifier: GPL-3.0-or-later
"""Artefacts of four tools are told by their content, linked, and compared with what stands."""

import json
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.smartenergy.clique.plugins.module_utils._contract_artifact import (
    ArtifactError,
    is_same_code,
    link,
    load,
    recognise,
)
from ansible_collections.smartenergy.clique.plugins.module_utils._keccak import keccak256
from support.artifacts import FORMATS, LIBRARY, hardhat, of

AT = "0x52908400098527886E0F7030069857D2E4169EE7"
OTHER = "0x" + "11" * 20
NEW = f"__${keccak256(b'a/Math.sol:Math').hex()[:34]}$__"


@pytest.mark.parametrize("tool", FORMATS)
def test_an_artefact_is_told_by_its_content(compiled: dict[str, Any], tool: str) -> None:
    contract = link(recognise(FORMATS[tool](compiled, "Tariff"), "Tariff"), {"Rounding": AT})
    plain = link(recognise(of(compiled, "Tariff"), None), {LIBRARY: AT})
    assert contract.name == "Tariff"
    assert contract.abi == of(compiled, "Tariff")["abi"]
    assert (contract.creation.text, contract.runtime.text) == (plain.creation.text, plain.runtime.text)
    assert AT[2:].lower() in contract.creation.text


@pytest.mark.parametrize("tool", FORMATS)
def test_a_library_that_is_missing_is_named(compiled: dict[str, Any], tool: str) -> None:
    contract = recognise(FORMATS[tool](compiled, "Tariff"), "Tariff")
    with pytest.raises(ArtifactError, match=r"^Tariff needs the library (Tariff.sol:)?Rounding; give its address in"):
        link(contract, {})
    with pytest.raises(ArtifactError, match=r"^Tariff uses no library Rnuding; correct its name, or leave it out$"):
        link(contract, {"Rounding": AT, "Rnuding": AT})


@pytest.mark.parametrize("tool", FORMATS)
def test_what_stands_is_compared_but_for_immutables(compiled: dict[str, Any], tool: str) -> None:
    contract = link(recognise(FORMATS[tool](compiled, "Tariff"), "Tariff"), {"Rounding": AT})
    code = bytearray.fromhex(contract.runtime.text)
    places = of(compiled, "Tariff")["evm"]["deployedBytecode"]["immutableReferences"].values()
    for place in (place for listed in places for place in listed):
        code[place["start"] : place["start"] + place["length"]] = bytes([0xAB]) * place["length"]
    assert is_same_code(contract, bytes(code))
    for change in (b"", bytes(code) + b"\0", bytes(code[:-1]) + bytes([code[-1] ^ 1]), bytes([0]) + bytes(code[1:])):
        assert not is_same_code(contract, change)
    elsewhere = link(recognise(FORMATS[tool](compiled, "Tariff"), "Tariff"), {"Rounding": OTHER})
    assert not is_same_code(elsewhere, bytes(code))


def test_a_library_has_its_own_address_in_its_code(compiled: dict[str, Any]) -> None:
    library = link(recognise(hardhat(compiled, "Rounding")), {})
    code = bytes.fromhex(library.runtime.text)
    assert is_same_code(library, code[:1] + bytes.fromhex(AT[2:]) + code[21:])
    assert not is_same_code(library, code[:1] + bytes.fromhex(AT[2:]) + code[21:-1] + b"\1")


@pytest.mark.parametrize(
    ("placeholder", "library"),
    [
        ("__Math".ljust(40, "_"), "Math"),
        ("__a/Math.sol:Math".ljust(40, "_"), "Math"),
        ("__a/Math.sol:Math".ljust(40, "_"), "a/Math.sol:Math"),
        (
            f"__{'a/very/long/folder/of/contracts/Math.sol:Math'[:36]}__",
            "a/very/long/folder/of/contracts/Math.sol:Math",
        ),
        (NEW, "a/Math.sol:Math"),
    ],
)
def test_a_placeholder_alone_will_do(placeholder: str, library: str) -> None:
    contract = recognise({"contractName": "T", "abi": [], "bytecode": f"0x73{placeholder}3014{placeholder}"})
    digits = AT[2:].lower()
    assert link(contract, {library: AT}).creation.text == f"73{digits}3014{digits}"


def test_the_hash_of_a_missing_library_is_told() -> None:
    contract = recognise({"contractName": "T", "abi": [], "bytecode": f"0x73{NEW}"})
    with pytest.raises(ArtifactError, match=r"T needs the library behind __\$[0-9a-f]{34}\$__, as file:Name, which"):
        link(contract, {"Math": AT})


@pytest.mark.parametrize(
    ("artifact", "wanted", "words"),
    [
        ({}, None, "the artefact has no abi; give an artefact of Truffle, Hardhat or Foundry, or solc's standard JSON"),
        ({"abi": {}, "bytecode": "0x"}, None, "the abi of the artefact is not a list of functions, events and errors"),
        *(
            ({"contractName": "T", "abi": [item]}, None, "the abi of T is not a list of functions, events and errors")
            for item in (
                {},
                "f()",
                {"type": "function", "inputs": [], "outputs": []},
                {"type": "function", "name": "f", "inputs": []},
                {"type": "constructor", "inputs": [{"name": "a"}]},
                {"type": "event", "name": "E", "inputs": [{"name": "a", "type": "tuple[]"}]},
            )
        ),
        ({"contracts": {}}, None, "the compiler's output has 0 contracts with code; name one in contract, of: none"),
        ({"contracts": {"a.sol": {"T": {"abi": []}}}}, "T", "the artefact has no evm; give an artefact of"),
        (
            {"contracts": {"a.sol": {"T": {}}, "b.sol": {"T": {}}}},
            "T",
            "has 2 contracts called T; name one in contract",
        ),
        ({"contracts": {"a.sol": {"T": {}}}}, "U", "has 0 contracts called U; name one in contract, of: a.sol:T"),
        ({"contracts": {"a.sol:T": {"bin": "60"}}}, None, "the artefact is not as a compiler writes one"),
        ({"contractName": "T", "abi": [], "bytecode": "0x60"}, "U", "the artefact is of T, not of U"),
        ({"contractName": "T", "abi": [], "bytecode": 60}, None, "the artefact is not as a compiler writes one"),
        ({"abi": [], "bytecode": "0x", "linkReferences": {"a": 1}}, None, "the artefact is not as a compiler writes"),
    ],
)
def test_what_is_no_artefact_is_refused(artifact: dict[str, Any], wanted: str | None, words: str) -> None:
    with pytest.raises(ArtifactError) as refused:
        recognise(artifact, wanted)
    assert words in str(refused.value)


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("0x", "the artefact of T has no bytecode: what is abstract or an interface has none"),
        ("0x60zz", "the bytecode of T is not hex"),
        ("0x600", "the bytecode of T is not hex"),
    ],
)
def test_what_is_no_code_is_refused(code: str, words: str) -> None:
    with pytest.raises(ArtifactError, match=f"^{words}"):
        link(recognise({"contractName": "T", "abi": [], "bytecode": code}), {})


def test_a_file_that_is_no_artefact_is_named(tmp_path: Path) -> None:
    for text, words in (("{", r"a\.json cannot be read"), ("[]", r"a\.json is not an artefact: it has to be a JSON")):
        (tmp_path / "a.json").write_text(text)
        with pytest.raises(ArtifactError, match=words):
            load(tmp_path / "a.json")
    with pytest.raises(ArtifactError, match=r"the artefact .* cannot be read"):
        load(tmp_path)
    (tmp_path / "a.json").write_text(json.dumps({"abi": []}))
    assert load(tmp_path / "a.json") == {"abi": []}
