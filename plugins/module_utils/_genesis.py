# SPDX-License-Identifier: GPL-3.0-or-later
"""The genesis of a network: made or adopted once, made again from its record, or kept. Private to this collection."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from ansible_collections.smartenergy.clique.plugins.module_utils._errors import CliqueError, reason
from ansible_collections.smartenergy.clique.plugins.module_utils._genesis_choice import (
    Choice,
    addresses,
    build,
    choice_of,
    filled,
    valid,
)
from ansible_collections.smartenergy.clique.plugins.module_utils._genesis_digest import (
    canonical,
    canonical_digest,
    differences,
    normalised,
)
from ansible_collections.smartenergy.clique.plugins.module_utils._genesis_faults import faults
from ansible_collections.smartenergy.clique.plugins.module_utils._genesis_hash import genesis_hash

__all__ = ["as_file", "decide", "read", "read_source"]

Genesis = Mapping[str, Any]


def as_file(genesis: Genesis) -> str:
    return json.dumps(genesis, indent=2) + "\n"


def read(path: Path) -> dict[str, Any] | None:
    """The genesis in a file, or None where there is no file."""
    try:
        genesis = json.loads(path.read_text())
        canonical(genesis)
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise CliqueError(f"{path} is not a genesis file that can be read: {reason(error)}") from error
    except CliqueError as error:
        raise CliqueError(f"{path} is not a genesis: {error}") from error
    if not isinstance(genesis, dict):
        raise CliqueError(f"{path} is not a genesis: the genesis is not a JSON object")
    return genesis


def read_source(source: Any) -> dict[str, Any]:
    """The genesis to adopt, from its file or as it is."""
    if isinstance(source, str):
        found = read(Path(source).expanduser())
        if found is None:
            raise CliqueError(f"the source {source} does not exist: name the genesis file to adopt")
        return found
    try:
        canonical(source)
    except CliqueError as error:
        raise CliqueError(f"the source is not a genesis: {error}") from error
    return dict(source)


def adopt(choice: Choice, source: Genesis) -> dict[str, Any]:
    """The genesis to adopt, in this collection's spelling; raises CliqueError where it is not what is chosen."""
    wrong = faults(source)
    if wrong:
        raise CliqueError(f"the source is not the genesis of a Clique network: {'; '.join(wrong)}")
    has = choice_of(source)
    contradicted = differences(build(has), build(filled(choice, has)))
    if contradicted:
        raise CliqueError(
            f"the source differs from what is asked for in {'; '.join(contradicted)}: "
            "ask for what it has, or leave it out"
        )
    return normalised(source)


def kept(choice: Choice, existing: Genesis) -> Choice:
    """The choice, with the existing genesis' word for what a network has of its own and the choice leaves open."""
    has = choice_of(existing)
    return replace(
        choice,
        signers=choice.signers or has.signers,
        prefunded=has.prefunded if choice.prefunded is None else choice.prefunded,
        timestamp=has.timestamp if choice.timestamp is None else choice.timestamp,
        precompile_dust=has.precompile_dust if choice.precompile_dust is None else choice.precompile_dust,
    )


def check_same(existing: Genesis, wanted: Genesis, path: Path) -> None:
    """Raise CliqueError, naming every field, where an existing genesis is not the one wanted."""
    named = differences(existing, wanted)
    if named:
        facts = (("hash", genesis_hash), ("digest", canonical_digest))
        named += [f"{name}: {of(existing)} ≠ {of(wanted)}" for name, of in facts if of(existing) != of(wanted)]
        raise CliqueError(
            f"{path} is the genesis of a network and cannot change; it differs from what is asked for in "
            + "; ".join(named)
            + ": ask for what it has, or begin another network in another directory"
        )


def check_recorded(genesis: Genesis, record: Mapping[str, Any], path: Path) -> None:
    """Raise CliqueError where a genesis is not the one of a recorded network."""
    recorded = record["genesis"]
    if (genesis_hash(genesis), canonical_digest(genesis)) != (recorded["hash"], recorded["digest"]):
        raise CliqueError(
            f"{path} is lost, and what is asked for is another genesis than the one on record with hash "
            f"{recorded['hash']}: put {path.name} back from a backup or from any node of the network"
        )


def make(choice: Choice, record: Mapping[str, Any] | None) -> dict[str, Any]:
    """A new genesis, with the signers on record where there is one and the choice has none."""
    if record is not None and not choice.signers:
        choice = replace(choice, signers=tuple(addresses(record["genesis"]["signers"], "the recorded signer")))
    genesis = build(choice)
    wrong = faults(genesis)
    if wrong:
        raise CliqueError(f"what is asked for makes no Clique network: {'; '.join(wrong)}")
    return genesis


def unknown(choice: Choice) -> bool:
    """Whether an account is not known yet, as in check mode before there are keys."""
    return None in (choice.signers or ()) or any(key in ("", "None", "null") for key in choice.prefunded or {})


def decide(
    choice: Choice,
    existing: Genesis | None,
    source: Genesis | None,
    record: Mapping[str, Any] | None,
    path: Path,
    *,
    may_be_unknown: bool,
) -> dict[str, Any] | None:
    """The network's genesis: the existing one, the source's, the one on record, or a new one; None where it cannot be
    known yet.

    Raises CliqueError where that would be another genesis than the one chosen.
    """
    if may_be_unknown and unknown(choice):
        if existing is None and source is None:
            return None
        choice = replace(choice, signers=None, prefunded=None)
    choice = valid(choice)
    if source is not None:
        wanted = adopt(choice, source)
    elif existing is not None:
        wanted = build(kept(choice, existing))
    else:
        wanted = make(choice, record)
    if existing is not None:
        check_same(existing, wanted, path)
        return dict(existing)
    if record is not None:
        check_recorded(wanted, record, path)
    return wanted
