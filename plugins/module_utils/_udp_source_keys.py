# SPDX-License-Identifier: GPL-3.0-or-later
"""Secrets that the sources of UDP readings share with the bridge. Private to this collection."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from ansible_collections.smartenergy.clique.plugins.module_utils._errors import CliqueError, reason
from ansible_collections.smartenergy.clique.plugins.module_utils._files import in_folder, write_atomic

__all__ = ["plan_keys", "read_keys", "show_plan", "write_keys"]

SECRET_BYTES = 32


class SourceKeysError(CliqueError):
    """The file cannot be used as it is, or not for what is wanted of it."""


def read_keys(path: Path) -> dict[str, list[str]]:
    """The secrets in the file by source, hex, the one to use first; none where there is no file.

    What is no such file is refused. One secret may stand there without a list.
    """
    try:
        document = json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise SourceKeysError(
            f"{path} cannot be read: {reason(error)}; restore it, or remove it to have new secrets"
        ) from None
    if isinstance(document, dict):
        keys = {name: [value] if isinstance(value, str) else value for name, value in document.items()}
        if all(isinstance(value, list) and value and all(map(_is_secret, value)) for value in keys.values()):
            return keys
    raise SourceKeysError(
        f"{path} does not hold {2 * SECRET_BYTES} hex digits for each source, or a list of such; "
        "restore it, or remove it to have new secrets"
    )


def plan_keys(
    keys: Mapping[str, Sequence[str]],
    *,
    sources: Iterable[str] = (),
    rotate: Iterable[str] = (),
    retire: Iterable[str] = (),
) -> dict[str, list[str | None]]:
    """The secrets as they are to be, None for one that is to be made.

    Each of sources has one; those to rotate get a new one before what they have; those to retire keep the first alone.
    Raises SourceKeysError for a source to rotate or to retire that has none.
    """
    sources, rotate, retire = tuple(sources), set(rotate), set(retire)
    if not all(sources):
        raise SourceKeysError("a source has to have a name")
    unknown = sorted((rotate | retire) - keys.keys())
    if unknown:
        known = ", ".join(sorted(keys)) or "none"
        raise SourceKeysError(f"no secret to rotate or to retire of {', '.join(unknown)}; the sources are: {known}")
    plan: dict[str, list[str | None]] = {name: [None] for name in sources}
    for name, secrets_of in keys.items():
        planned = [*([None] if name in rotate else []), *secrets_of]
        plan[name] = planned[:1] if name in retire else planned
    return plan


def show_plan(keys: Mapping[str, Sequence[str]], plan: Mapping[str, Sequence[str | None]]) -> dict[str, list[str]]:
    """A plan in words that give no secret away: the secrets that there are go by their place in the file."""
    return {
        name: ["a new secret" if key is None else f"secret {keys[name].index(key) + 1}" for key in planned]
        for name, planned in sorted(plan.items())
    }


def write_keys(
    path: Path, plan: Mapping[str, Sequence[str | None]], *, owner: str | None = None, group: str | None = None
) -> None:
    """Write the file, with a random secret for each that is to be made."""
    made = {name: [key or secrets.token_hex(SECRET_BYTES) for key in planned] for name, planned in plan.items()}
    document = {name: keys[0] if len(keys) == 1 else keys for name, keys in made.items()}
    content = json.dumps(document, indent=2, sort_keys=True) + "\n"
    with in_folder(path.parent, mode=0o700, owner=owner, group=group):
        write_atomic(path, content.encode(), mode=0o600, owner=owner, group=group)


def _is_secret(value: object) -> bool:
    try:
        return isinstance(value, str) and len(bytes.fromhex(value)) == SECRET_BYTES
    except ValueError:
        return False
