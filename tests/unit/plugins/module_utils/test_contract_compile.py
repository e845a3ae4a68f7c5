# SPDX-License-Identifier: GPL-3.0-or-later
"""From a compiler's answer to artefacts; a script gives the answer here, and a real compiler in the module's test."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.smartenergy.clique.plugins.module_utils._contract_compile import (
    Compilation,
    CompileError,
    Settings,
    compile_sources,
    differences,
    write,
)

SETTINGS = Settings(evm_version="london", optimizer_runs=200, via_ir=False)
VERSION = "Version: 0.8.30+commit.73712a01.Linux.g++"
Answer = Callable[..., Compilation]


def contract(code: str) -> dict[str, Any]:
    return {"abi": [], "evm": {"bytecode": {"object": code}, "deployedBytecode": {"object": code[2:]}}}


@pytest.fixture
def compiled(tmp_path: Path) -> Answer:
    """Compile one source with a compiler that answers this."""
    (tmp_path / "Tariff.sol").write_text("contract Tariff {}")

    def answer(version: str = VERSION, **output: Any) -> Compilation:
        (tmp_path / "output.json").write_text(json.dumps(output))
        solc = tmp_path / "solc"
        solc.write_text(
            f'#!/bin/sh\nif [ "$1" = --version ]; then echo "{version}"; exit; fi\n'
            f"cat > {tmp_path}/input.json\ncat {tmp_path}/output.json\n"
        )
        solc.chmod(0o755)
        return compile_sources([tmp_path / "Tariff.sol"], solc=str(solc), settings=SETTINGS)

    return answer


def test_the_compiler_is_told_what_makes_its_code_reproducible(compiled: Answer, tmp_path: Path) -> None:
    compiled(contracts={})
    asked = json.loads((tmp_path / "input.json").read_text())
    assert asked["sources"] == {"Tariff.sol": {"content": "contract Tariff {}"}}
    assert asked["settings"]["metadata"] == {"bytecodeHash": "none", "appendCBOR": False}
    assert asked["settings"]["evmVersion"] == "london"
    assert asked["settings"]["optimizer"] == {"enabled": True, "runs": 200}


def test_what_has_code_becomes_an_artifact(compiled: Answer) -> None:
    done = compiled(contracts={"Tariff.sol": {"Tariff": contract("600a600c"), "Interface": contract("")}})
    assert list(done.artifacts) == ["Tariff.json"]
    assert json.loads(done.artifacts["Tariff.json"]) == {
        "contractName": "Tariff",
        "sourceName": "Tariff.sol",
        "compiler": {"name": "solc", "version": done.compiler, "settings": SETTINGS.as_standard_json()},
        "abi": [],
        "bytecode": "0x600a600c",
        "deployedBytecode": "0x0a600c",
        "linkReferences": {},
        "deployedLinkReferences": {},
        "immutableReferences": {},
    }


@pytest.mark.parametrize("version", [VERSION, VERSION.replace("Linux.g++", "Emscripten.clang")])
def test_the_platform_of_the_compiler_is_left_out(compiled: Answer, version: str) -> None:
    assert compiled(version, contracts={}).compiler == "0.8.30+commit.73712a01"


def test_remarks_are_handed_on_in_a_line_each(compiled: Answer) -> None:
    remark = {"severity": "warning", "formattedMessage": "Warning: Unused\n --> Tariff.sol:4\n"}
    assert compiled(contracts={}, errors=[remark]).remarks == ("Warning: Unused --> Tariff.sol:4",)


def test_two_contracts_of_one_name_are_refused(compiled: Answer) -> None:
    with pytest.raises(CompileError, match="there is more than one contract Tariff; rename the one in B"):
        compiled(contracts={"B.sol": {"Tariff": contract("60")}, "A.sol": {"Tariff": contract("60")}})


def test_an_error_is_quoted_in_a_line(compiled: Answer) -> None:
    error = {"severity": "error", "message": "short", "formattedMessage": "TypeError: no\n --> Tariff.sol:4\n"}
    remark = {"severity": "warning", "message": "other"}
    with pytest.raises(CompileError, match=r"solc 0\.8\.30\S+ refuses the sources: TypeError: no --> Tariff.sol:4$"):
        compiled(errors=[remark, error])


def test_only_what_differs_is_written(tmp_path: Path) -> None:
    wanted = {"A.json": "a", "B.json": "b", "C.json": "c"}
    folder = tmp_path / "artifacts"
    assert differences(wanted, folder) == {"A.json": None, "B.json": None, "C.json": None}
    folder.mkdir()
    (folder / "A.json").write_text("a")
    (folder / "B.json").write_text("old")
    (folder / "Mine.json").write_text("kept")
    different = differences(wanted, folder)
    assert different == {"B.json": "old", "C.json": None}
    write(wanted, list(different), folder)
    assert differences(wanted, folder) == {}
    assert (folder / "Mine.json").read_text() == "kept"
