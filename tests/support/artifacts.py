# SPDX-License-Identifier: GPL-3.0-or-later
"""A contract with a library, immutables and everything else, compiled, and as four tools write their artefacts."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import solcx

SOURCE = Path(__file__).parent / "contracts/Tariff.sol"
LIBRARY = f"{SOURCE.name}:Rounding"
ADDRESS_DIGITS = 40

Artifact = dict[str, Any]


def compile_tariff(solc: str) -> Artifact:
    """The compiler's standard JSON output, with the metadata that it puts behind the code."""
    evm = [f"evm.{code}" for code in ("bytecode", "deployedBytecode")]
    job = {
        "language": "Solidity",
        "sources": {SOURCE.name: {"content": SOURCE.read_text()}},
        "settings": {
            "evmVersion": "london",
            "optimizer": {"enabled": True},
            "outputSelection": {"*": {"*": ["abi", "metadata", *evm]}},
        },
    }
    output: Artifact = solcx.compile_standard(job, solc_binary=solc)
    return output


def of(output: Mapping[str, Any], name: str) -> Artifact:
    contract: Artifact = output["contracts"][SOURCE.name][name]
    return contract


def _spelt_as_before(code: str) -> str:
    """Code with the placeholders that solc had before 0.5, and that Truffle still writes."""
    for part in code.split("__$")[1:]:
        code = code.replace(f"__${part[:34]}$__", "__Rounding".ljust(ADDRESS_DIGITS, "_"))
    return code


def truffle(output: Mapping[str, Any], name: str) -> Artifact:
    contract = of(output, name)
    evm = contract["evm"]
    return {
        "contractName": name,
        "abi": contract["abi"],
        "metadata": contract["metadata"],
        "bytecode": f"0x{_spelt_as_before(evm['bytecode']['object'])}",
        "deployedBytecode": f"0x{_spelt_as_before(evm['deployedBytecode']['object'])}",
        "immutableReferences": evm["deployedBytecode"]["immutableReferences"],
        "compiler": {"name": "solc", "version": "0.8.37"},
        "networks": {},
        "schemaVersion": "3.4.16",
    }


def hardhat(output: Mapping[str, Any], name: str) -> Artifact:
    """As Hardhat 2 writes it, which does not say where immutables are."""
    contract = of(output, name)
    evm = contract["evm"]
    return {
        "_format": "hh-sol-artifact-1",
        "contractName": name,
        "sourceName": SOURCE.name,
        "abi": contract["abi"],
        "bytecode": f"0x{evm['bytecode']['object']}",
        "deployedBytecode": f"0x{evm['deployedBytecode']['object']}",
        "linkReferences": evm["bytecode"]["linkReferences"],
        "deployedLinkReferences": evm["deployedBytecode"]["linkReferences"],
    }


def foundry(output: Mapping[str, Any], name: str) -> Artifact:
    contract = of(output, name)
    bytecode, deployed = contract["evm"]["bytecode"], contract["evm"]["deployedBytecode"]
    return {
        "abi": contract["abi"],
        "bytecode": {"object": f"0x{bytecode['object']}", "linkReferences": bytecode["linkReferences"]},
        "deployedBytecode": {
            "object": f"0x{deployed['object']}",
            "linkReferences": deployed["linkReferences"],
            "immutableReferences": deployed["immutableReferences"],
        },
        "methodIdentifiers": {},
        "metadata": {"settings": {"compilationTarget": {SOURCE.name: name}}},
        "id": 0,
    }


def solc(output: Mapping[str, Any], _: str) -> Artifact:
    return dict(output)


FORMATS: dict[str, Callable[[Mapping[str, Any], str], Artifact]] = {
    "Truffle": truffle,
    "Hardhat": hardhat,
    "Foundry": foundry,
    "solc": solc,
}
