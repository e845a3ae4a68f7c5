# SPDX-License-Identifier: GPL-3.0-or-later
"""Secrets that the sources of UDP readings share with the bridge. Private to this collection."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterable, Mapping
from pathlib import Path

from ansible_collections.smartenergy.clique.plugins.module_utils._errors import CliqueError
from ansible_collections.smartenergy.clique.plugins.module_utils._files import make_directory, write_atomic

__all__ = ["add_missing", "read_keys"]

SECRET_BYTES = 32


class SourceKeysError(CliqueError):
    """The file cannot be used as it is."""


def read_keys(path: Path) -> dict[str, str]:
    """The secrets in the file by source, hex; none where there is no file. What is no such file is refused."""
    try:
        keys = json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not JSON"
        raise SourceKeysError(
            f"{path} cannot be read: {reason}; restore it, or remove it to have new secrets"
        ) from None
    if not isinstance(keys, dict) or not all(_is_secret(value) for value in keys.values()):
        raise SourceKeysError(
            f"{path} does not hold {2 * SECRET_BYTES} hex digits for each source; "
            "restore it, or remove it to have new secrets"
        )
    return keys


def add_missing(
    path: Path, keys: Mapping[str, str], sources: Iterable[str], *, owner: str | None = None, group: str | None = None
) -> None:
    """Write the file with the secrets that it has and a random one for each source without."""
    made = {source: secrets.token_hex(SECRET_BYTES) for source in sources if source not in keys}
    make_directory(path.parent, mode=0o700, owner=owner, group=group)
    content = json.dumps({**keys, **made}, indent=2, sort_keys=True) + "\n"
    write_atomic(path, content.encode(), mode=0o600, owner=owner, group=group)


def _is_secret(value: object) -> bool:
    try:
        return isinstance(value, str) and len(bytes.fromhex(value)) == SECRET_BYTES
    except ValueError:
        return False
