# SPDX-License-Identifier: GPL-3.0-or-later
"""Artefacts of Truffle, Hardhat, Foundry and solc, libraries linked into them, and code compared. Private here."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ansible_collections.smartenergy.clique.plugins.module_utils._errors import CliqueError, reason
from ansible_collections.smartenergy.clique.plugins.module_utils._keccak import keccak256

__all__ = [
    "ArtifactError",
    "Code",
    "Contract",
    "given_contract",
    "interface",
    "is_same_code",
    "link",
    "load",
    "recognise",
]

Places = Sequence[tuple[int, int]]
"""Where something stands in code: offset and length in bytes."""

ADDRESS_BYTES = 20
# PUSH20 with nothing behind it: a library's code begins so, and has its own address there once it stands.
OWN_ADDRESS = bytes([0x73, *bytes(ADDRESS_BYTES)])
# PUSH32 with nothing behind it: what a compiler leaves for an immutable.
IMMUTABLE = bytes([0x7F, *bytes(32)])
PLACEHOLDER = re.compile(r"__\$[0-9a-f]{34}\$__|__[A-Za-z0-9_$:./\\@ -]{38}")
FORMATS = "an artefact of Truffle, Hardhat or Foundry, or solc's standard JSON output"


class ArtifactError(CliqueError):
    """What was given is no artefact that can be used."""


@dataclass(frozen=True)
class Code:
    """Code in hex without 0x, with placeholders until it is linked, and where libraries go, by "file:Name"."""

    text: str
    libraries: Mapping[str, Places] = field(default_factory=dict)


@dataclass(frozen=True)
class Contract:
    """What an artefact says of a contract. immutables has the places they take, and is None where it does not say."""

    name: str | None
    abi: Sequence[Mapping[str, Any]]
    creation: Code
    runtime: Code
    immutables: Mapping[str, Any] | None
    compiler: Mapping[str, Any] | None = None


def load(file: Path) -> dict[str, Any]:
    """Read a JSON file with an artefact in it."""
    try:
        loaded = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ArtifactError(f"the artefact {file} cannot be read: {reason(error)}") from error
    if not isinstance(loaded, dict):
        raise ArtifactError(f"{file} is not an artefact: it has to be a JSON object")
    return loaded


def interface(given: Mapping[str, Any]) -> tuple[str, Sequence[Mapping[str, Any]]]:
    """What a contract is called in messages, and its ABI, from a module's abi, artifact or artifact_file."""
    contract = given_contract(given) if given["abi"] is None else _contract(None, given["abi"], {}, None)
    return contract.name or f"the contract at {given['address']}", contract.abi


def given_contract(given: Mapping[str, Any]) -> Contract:
    """The contract that a module's artifact or artifact_file, and contract, tell of."""
    artifact = load(Path(given["artifact_file"])) if given["artifact"] is None else given["artifact"]
    return recognise(artifact, given["contract"])


def recognise(artifact: Mapping[str, Any], wanted: str | None = None) -> Contract:
    """Tell by its content whose artefact it is. wanted is Name or file:Name, where it has several contracts."""
    try:
        if "contracts" in artifact:
            chosen, found = _choose(artifact["contracts"], wanted)
            return _contract(chosen, found["abi"], found["evm"]["bytecode"], found["evm"].get("deployedBytecode"))
        name = artifact.get("contractName") or _compiled(artifact)
        if wanted is not None and wanted.rpartition(":")[2] != name:
            raise ArtifactError(f"the artefact is of {name or 'a contract without a name'}, not of {wanted}")
        if "evm" in artifact:
            evm = artifact["evm"]
            return _contract(name, artifact["abi"], evm["bytecode"], evm.get("deployedBytecode"))
        creation, runtime = artifact.get("bytecode"), artifact.get("deployedBytecode")
        if not isinstance(creation, Mapping):
            creation = {"object": creation, "linkReferences": artifact.get("linkReferences")}
            runtime = {
                "object": runtime,
                "linkReferences": artifact.get("deployedLinkReferences"),
                "immutableReferences": artifact.get("immutableReferences"),
            }
        compiler = artifact.get("compiler")
        contract = _contract(name, artifact["abi"], creation, runtime)
        return replace(contract, compiler=compiler if isinstance(compiler, Mapping) else None)
    except KeyError as error:
        raise ArtifactError(f"the artefact has no {error.args[0]}; give {FORMATS}") from error
    except (AttributeError, TypeError, ValueError) as error:
        raise ArtifactError(f"the artefact is not as a compiler writes one ({error}); give {FORMATS}") from error


def _choose(sources: Mapping[str, Any], wanted: str | None) -> tuple[str, Mapping[str, Any]]:
    """The one contract of a compiler's output that has code, or that is asked for."""
    every = {f"{file}:{name}": contract for file, names in sources.items() for name, contract in names.items()}
    full = [key for key in every if (wanted in (key, key.rpartition(":")[2]) if wanted else _has_code(every[key]))]
    if len(full) != 1:
        listed = ", ".join(sorted(full or every)) or "none"
        what = f"contracts called {wanted}" if wanted else "contracts with code"
        raise ArtifactError(f"the compiler's output has {len(full)} {what}; name one in contract, of: {listed}")
    return full[0].rpartition(":")[2], every[full[0]]


def _has_code(contract: Mapping[str, Any]) -> bool:
    return bool(contract.get("evm", {}).get("bytecode", {}).get("object"))


def _compiled(artifact: Mapping[str, Any]) -> str | None:
    """The name that Foundry keeps in the compiler's metadata."""
    metadata = artifact.get("metadata")
    if not isinstance(metadata, Mapping):
        return None
    return next(iter(metadata.get("settings", {}).get("compilationTarget", {}).values()), None)


def _contract(name: str | None, abi: Any, creation: Mapping[str, Any], runtime: Mapping[str, Any] | None) -> Contract:
    if not isinstance(abi, list) or not all(map(_is_item, abi)):
        raise ArtifactError(f"the abi of {name or 'the artefact'} is not a list of functions, events and errors")
    runtime = runtime or {}
    references = runtime.get("immutableReferences")
    if references is not None:
        _all_places(references)
    return Contract(name, abi, _code(creation), _code(runtime), references)


def _is_item(item: Any) -> bool:
    if not isinstance(item, Mapping) or "type" not in item:
        return False
    lists = {"function": ["inputs", "outputs"], "constructor": ["inputs"], "event": ["inputs"], "error": ["inputs"]}
    wanted: list[str] = lists.get(item["type"], [])
    named = "name" in item or item["type"] not in ("function", "event", "error")
    return named and all(_are_parameters(item.get(key)) for key in wanted)


def _are_parameters(listed: Any) -> bool:
    return isinstance(listed, list) and all(
        isinstance(one, Mapping)
        and isinstance(one.get("type"), str)
        and (not one["type"].startswith("tuple") or _are_parameters(one.get("components")))
        for one in listed
    )


def _code(part: Mapping[str, Any]) -> Code:
    text = (part.get("object") or "").removeprefix("0x")
    files = part.get("linkReferences") or {}
    references = {
        f"{file}:{name}": tuple(_places(places)) for file, names in files.items() for name, places in names.items()
    }
    return Code(text, references)


def _places(places: Any) -> Iterator[tuple[int, int]]:
    return ((int(place["start"]), int(place["length"])) for place in places)


def _all_places(references: Mapping[str, Any]) -> list[tuple[int, int]]:
    return [place for places in references.values() for place in _places(places)]


def link(contract: Contract, libraries: Mapping[str, str]) -> Contract:
    """Put the addresses of libraries, by Name or file:Name, where the code wants them.

    Raises ArtifactError for a library that is missing, one that nothing asks for, and code that is none then.
    """
    whose = contract.name or "the contract"
    if not contract.creation.text:
        raise ArtifactError(f"the artefact of {whose} has no bytecode: what is abstract or an interface has none")
    used: set[str] = set()
    linked = [_linked(code, libraries, used, whose) for code in (contract.creation, contract.runtime)]
    if idle := sorted(set(libraries) - used):
        raise ArtifactError(f"{whose} uses no library {idle[0]}; correct its name, or leave it out")
    return replace(contract, creation=Code(linked[0]), runtime=Code(linked[1]))


def _linked(code: Code, libraries: Mapping[str, str], used: set[str], whose: str) -> str:
    text = code.text
    for full, places in code.libraries.items():
        key = full if full in libraries else full.rpartition(":")[2]
        if key not in libraries:
            raise ArtifactError(f"{whose} needs the library {full}; give its address in libraries")
        used.add(key)
        for start, length in places:
            text = text[: 2 * start] + _digits(libraries[key]) + text[2 * (start + length) :]

    def fill(match: re.Match[str]) -> str:
        placeholder = match.group()
        short = placeholder.strip("_").rpartition(":")[2]
        key = next((key for key in libraries if key == short or placeholder in _spellings(key)), None)
        if key is None:
            raise ArtifactError(f"{whose} needs the library {_wanted(placeholder)}; give its address in libraries")
        used.add(key)
        return _digits(libraries[key])

    text = PLACEHOLDER.sub(fill, text)
    try:
        bytes.fromhex(text)
    except ValueError as error:
        raise ArtifactError(f"the bytecode of {whose} is not hex: {error}") from error
    return text


def _digits(address: str) -> str:
    return address.removeprefix("0x").lower()


def _spellings(library: str) -> tuple[str, str]:
    """How compilers write the place of a library: its full name cut to 36 characters, or the hash of that name."""
    return f"__{library[:36]}".ljust(40, "_"), f"__${keccak256(library.encode()).hex()[:34]}$__"


def _wanted(placeholder: str) -> str:
    if placeholder.startswith("__$"):
        return f"behind {placeholder}, as file:Name, which that is the hash of"
    return placeholder.strip("_")


def is_same_code(contract: Contract, standing: bytes) -> bool:
    """Whether what stands is this linked contract's code, but for its immutables and a library's own address.

    Where the artefact does not say which places immutables take, they are those that its compiler left empty.
    """
    wanted = bytes.fromhex(contract.runtime.text)
    if len(wanted) != len(standing):
        return False
    places = list(_empty_places(wanted)) if contract.immutables is None else _all_places(contract.immutables)
    if wanted.startswith(OWN_ADDRESS):
        places.append((1, ADDRESS_BYTES))
    return _masked(wanted, places) == _masked(standing, places)


def _empty_places(code: bytes) -> Iterator[tuple[int, int]]:
    at = code.find(IMMUTABLE)
    while at >= 0:
        yield at + 1, len(IMMUTABLE) - 1
        at = code.find(IMMUTABLE, at + len(IMMUTABLE))


def _masked(code: bytes, places: Places) -> bytes:
    masked = bytearray(code)
    for start, length in places:
        masked[start : start + length] = bytes(length)
    return bytes(masked)
