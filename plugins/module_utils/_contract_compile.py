# SPDX-License-Identifier: GPL-3.0-or-later
"""Solidity sources to Truffle-style artefacts. Private to this collection."""

from __future__ import annotations

import json
import posixpath
import re
import shutil
import subprocess
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ansible_collections.smartenergy.clique.plugins.module_utils._errors import CliqueError, reason
from ansible_collections.smartenergy.clique.plugins.module_utils._files import in_folder, write_atomic

MISSING: str | None = None
"""Why py-solc-x cannot be imported, for the module to tell."""
try:
    import solcx
    from solcx.exceptions import SolcError
except ImportError:
    MISSING = traceback.format_exc()

__all__ = ["MISSING", "Artifacts", "Compilation", "CompileError", "Settings", "compile_sources", "differences", "write"]

WANTED = [
    "abi",
    *(f"evm.{code}.{part}" for code in ("bytecode", "deployedBytecode") for part in ("object", "linkReferences")),
    "evm.deployedBytecode.immutableReferences",
]
IMPORT = re.compile(r"""\bimport\b[^"';]*["']([^"']+)["']""")

Artifacts = Mapping[str, str]
"""The text of an artefact by the name of its file."""


class CompileError(CliqueError):
    """The sources do not compile, or there is nothing to compile them with."""


@dataclass(frozen=True)
class Settings:
    """How to compile. The code is reproducible: it carries no hash of the metadata, which has paths in it."""

    evm_version: str
    optimizer_runs: int
    via_ir: bool

    def as_standard_json(self) -> dict[str, Any]:
        """The settings as the compiler's standard JSON input has them."""
        return {
            "evmVersion": self.evm_version,
            "optimizer": {"enabled": True, "runs": self.optimizer_runs},
            "viaIR": self.via_ir,
            "metadata": {"bytecodeHash": "none", "appendCBOR": False},
        }


@dataclass(frozen=True)
class Compilation:
    """What came out: artefact texts by file name, the compiler's version, and what it had to remark."""

    artifacts: Artifacts
    compiler: str
    remarks: tuple[str, ...]


def compile_sources(
    sources: Sequence[Path], *, solc: str, settings: Settings, import_paths: Sequence[Path] = ()
) -> Compilation:
    """Compile all sources at once, so that they can import each other by name, with a program like solc.

    What else they import is looked for below import_paths. A contract of the sources themselves that can be deployed
    becomes an artefact; interfaces and abstract contracts do not.
    """
    if not sources:
        raise CompileError("there are no sources; name at least one")
    if settings.optimizer_runs < 0:
        raise CompileError(f"optimizer_runs has to be at least 0, and {settings.optimizer_runs} is not")
    program, version = _find(solc)
    own = _read(sources)
    job = {
        "language": "Solidity",
        "sources": {name: {"content": text} for name, text in _with_imports(own, import_paths).items()},
        "settings": {**settings.as_standard_json(), "outputSelection": {name: {"*": WANTED} for name in own}},
    }
    try:
        output = solcx.compile_standard(job, solc_binary=program)
    except SolcError as error:
        details = [item for item in error.error_dict or [] if item["severity"] == "error"]
        text = details[0].get("formattedMessage", details[0]["message"]) if details else error.stderr_data or str(error)
        raise CompileError(f"solc {version} refuses the sources: {' '.join(text.split())}") from error
    except (OSError, ValueError) as error:
        raise CompileError(f"{program} does not answer --standard-json as solc does: {error}") from error
    artifacts: dict[str, str] = {}
    for source, contracts in sorted(output.get("contracts", {}).items()):
        for name, contract in sorted(contracts.items()):
            if not contract["evm"]["bytecode"]["object"]:
                continue
            file = f"{name}.json"
            if file in artifacts:
                raise CompileError(f"there is more than one contract {name}; rename the one in {source}")
            artifacts[file] = _artifact(name, source, contract, version, settings)
    remarks = tuple(" ".join(item["formattedMessage"].split()) for item in output.get("errors", []))
    return Compilation(artifacts, version, remarks)


def _find(solc: str) -> tuple[Path, str]:
    """The path of the program and its version, without the platform that it was built for."""
    found = shutil.which(solc)
    if found is None:
        raise CompileError(f"there is no program {solc}; name a Solidity compiler, by its path or by its name in PATH")
    try:
        version = subprocess.run([found, "--version"], capture_output=True, text=True, check=True).stdout
    except OSError as error:
        raise CompileError(f"{found} --version does not work: {reason(error)}") from error
    except subprocess.CalledProcessError as error:
        raise CompileError(f"{found} --version does not work: it ends with status {error.returncode}") from error
    if (match := re.search(r"\d+\.\d+\.\d+\S*?\+commit\.[0-9a-f]+", version)) is None:
        raise CompileError(f"{found} --version does not say which solc it is")
    return Path(found), match.group()


def _read(sources: Sequence[Path]) -> dict[str, str]:
    contents: dict[str, str] = {}
    for source in sources:
        if source.name in contents:
            raise CompileError(f"two sources are called {source.name}; sources are told apart by their names")
        try:
            contents[source.name] = source.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise CompileError(f"the source {source} cannot be read: {reason(error, 'text')}") from error
    return contents


def _with_imports(own: Mapping[str, str], import_paths: Sequence[Path]) -> dict[str, str]:
    """The sources and what they import, and what that imports, by the names that a compiler knows them by.

    What is not found is left to the compiler, which says where it is imported.
    """
    contents = dict(own)
    waiting = list(own)
    while waiting:
        name = waiting.pop()
        for wanted in IMPORT.findall(contents[name]):
            relative = wanted.startswith(("./", "../"))
            found = posixpath.normpath(posixpath.join(posixpath.dirname(name), wanted)) if relative else wanted
            path = next((place / found for place in import_paths if (place / found).is_file()), None)
            if path is not None and found not in contents:
                contents[found] = path.read_text(encoding="utf-8", errors="replace")
                waiting.append(found)
    return contents


def _artifact(name: str, source: str, contract: Mapping[str, Any], version: str, settings: Settings) -> str:
    evm = contract["evm"]
    artifact = {
        "contractName": name,
        "sourceName": source,
        "compiler": {"name": "solc", "version": version, "settings": settings.as_standard_json()},
        "abi": contract["abi"],
        "bytecode": f"0x{evm['bytecode']['object']}",
        "deployedBytecode": f"0x{evm['deployedBytecode']['object']}",
        "linkReferences": evm["bytecode"].get("linkReferences", {}),
        "deployedLinkReferences": evm["deployedBytecode"].get("linkReferences", {}),
        "immutableReferences": evm["deployedBytecode"].get("immutableReferences", {}),
    }
    return json.dumps(artifact, indent=2) + "\n"


def differences(wanted: Artifacts, directory: Path) -> dict[str, str | None]:
    """What stands in the directory, for each wanted artefact that differs from it; None where there is none."""
    texts = {name: _text(directory / name) for name in wanted}
    return {name: text for name, text in texts.items() if text != wanted[name]}


def _text(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return None
    except OSError as error:
        raise CompileError(f"{path} cannot be read: {reason(error)}") from error


def write(wanted: Artifacts, names: Sequence[str], directory: Path) -> None:
    """Write these of the wanted artefacts."""
    with in_folder(directory, mode=0o755):
        for name in names:
            write_atomic(directory / name, wanted[name].encode(), mode=0o644)
