# SPDX-License-Identifier: GPL-3.0-or-later
"""contract_compile with the compiler that this machine can get."""

import json
from pathlib import Path
from typing import Any

import pytest
from support.modules import assert_check_mode_is_truthful, assert_refused

PRAGMA = "// SPDX-License-Identifier: GPL-3.0-or-later\npragma solidity ^0.8.0;\n"
BASE = PRAGMA + "abstract contract Base { uint256 public base = 1; }\n"
TARIFF = PRAGMA + 'import "./Base.sol";\ncontract Tariff is Base { uint256 public price = 2; }\n'


@pytest.fixture
def arguments(solc: str, tmp_path: Path) -> dict[str, Any]:
    (tmp_path / "Base.sol").write_text(BASE)
    (tmp_path / "Tariff.sol").write_text(TARIFF)
    sources = [str(tmp_path / name) for name in ("Base.sol", "Tariff.sol")]
    return {"sources": sources, "artifacts": str(tmp_path / "artifacts"), "solc": solc}


def test_what_can_be_deployed_becomes_an_artifact_and_another_source_another(
    arguments: dict[str, Any], tmp_path: Path
) -> None:
    real, _ = assert_check_mode_is_truthful("contract_compile", arguments, tmp_path)
    assert real["artifacts"] == {"Tariff": str(tmp_path / "artifacts/Tariff.json")}
    assert real["remarks"] == []
    artifact = json.loads((tmp_path / "artifacts/Tariff.json").read_text())
    assert artifact["contractName"] == "Tariff"
    assert artifact["compiler"]["version"] == real["compiler"]
    assert {item["name"] for item in artifact["abi"]} == {"base", "price"}
    assert artifact["bytecode"].startswith("0x60")
    (tmp_path / "Tariff.sol").write_text(TARIFF.replace("= 2", "= 3"))
    another, _ = assert_check_mode_is_truthful("contract_compile", arguments, tmp_path)
    assert another["changed"] is True
    assert '"bytecode"' in another["diff"][0]["before"]


def test_what_is_imported_is_found_and_makes_no_artefact(arguments: dict[str, Any], tmp_path: Path) -> None:
    package = tmp_path / "node_modules/@rates/contracts"
    (package / "math").mkdir(parents=True)
    (package / "Rates.sol").write_text(PRAGMA + 'import {Sum} from "./math/Sum.sol";\ncontract Rates is Sum {}\n')
    (package / "math/Sum.sol").write_text(PRAGMA + 'import "../math/Up.sol";\ncontract Sum is Up {}\n')
    (package / "math/Up.sol").write_text(PRAGMA + "contract Up { uint256 public immutable start = block.number; }\n")
    imports = '// import "nowhere.sol";\nimport {\n  Rates as Other\n} from "@rates/contracts/Rates.sol";\n'
    (tmp_path / "Tariff.sol").write_text(
        TARIFF.replace("contract Tariff is Base", f"{imports}contract Tariff is Base, Other")
    )
    assert_refused("contract_compile", arguments, tmp_path, "@rates/contracts/Rates.sol", "not found")
    found = {**arguments, "import_paths": [str(tmp_path / "absent"), str(tmp_path / "node_modules")]}
    real, _ = assert_check_mode_is_truthful("contract_compile", found, tmp_path)
    assert list(real["artifacts"]) == ["Tariff"]
    artifact = json.loads((tmp_path / "artifacts/Tariff.json").read_text())
    ((place,),) = artifact["immutableReferences"].values()
    start = 2 + 2 * place["start"]
    assert artifact["deployedBytecode"][start : start + 64] == "0" * 64


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"solc": "/absent/solc"}, ["there is no program /absent/solc"]),
        ({"solc": "/bin/true"}, ["/bin/true --version does not say which solc it is"]),
        ({"sources": ["/absent/A.sol"]}, ["the source /absent/A.sol cannot be read"]),
        ({"sources": ["/"]}, ["the source / cannot be read"]),
        ({"artifacts": "/dev/null/artifacts"}, ["/dev/null"]),
        ({"evm_version": "atlantis"}, ["Invalid EVM version requested"]),
    ],
)
def test_what_cannot_be_is_refused(
    arguments: dict[str, Any], tmp_path: Path, wrong: dict[str, Any], words: list[str]
) -> None:
    assert_refused("contract_compile", {**arguments, **wrong}, tmp_path, *words)


def test_a_mistake_in_a_source_is_shown(arguments: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "Tariff.sol").write_text(TARIFF.replace("= 2", "= two"))
    assert_refused("contract_compile", arguments, tmp_path, "Tariff.sol:4", "Undeclared identifier")


def test_two_sources_of_one_name_are_refused(arguments: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    (tmp_path / "other/Base.sol").write_text(BASE)
    sources = [*arguments["sources"], str(tmp_path / "other/Base.sol")]
    assert_refused("contract_compile", {**arguments, "sources": sources}, tmp_path, "two sources are called Base.sol")
