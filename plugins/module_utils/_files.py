# SPDX-License-Identifier: GPL-3.0-or-later
"""Files that are written whole or not at all. Private to this collection."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

from ansible_collections.smartenergy.clique.plugins.module_utils._errors import CliqueError

__all__ = ["give", "make_directory", "read_text", "write_atomic"]


def give(path: Path, *, owner: str | None, group: str | None) -> None:
    """Hand a file or folder to an owner and a group; None leaves that one as it is."""
    if owner is None and group is None:
        return
    try:
        shutil.chown(path, user=owner, group=group)  # type: ignore[arg-type]
    except (LookupError, OSError) as error:
        raise CliqueError(
            f"{path} cannot be given to {owner or 'its owner'}:{group or 'its group'}: {error}"
        ) from error


def make_directory(path: Path, *, mode: int, owner: str | None = None, group: str | None = None) -> bool:
    """Make a folder and what is missing above it; True where it was not there. One that is there is left as it is."""
    if path.is_dir():
        return False
    try:
        path.mkdir(mode=mode, parents=True)
    except OSError as error:
        raise CliqueError(f"the folder {path} cannot be made: {error.strerror}") from error
    give(path, owner=owner, group=group)
    return True


def read_text(path: Path) -> str | None:
    """The text of a file; None where there is none."""
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is no text"
        raise CliqueError(f"{path} cannot be read: {reason}") from error


def write_atomic(path: Path, content: bytes, *, mode: int, owner: str | None = None, group: str | None = None) -> None:
    """Replace a file's content durably: after a crash it holds the old bytes or the new ones, never a part."""
    try:
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    except OSError as error:
        raise CliqueError(f"{path} cannot be written: {error.strerror}") from error
    draft = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        draft.chmod(mode)
        give(draft, owner=owner, group=group)
        draft.replace(path)
    except BaseException as error:
        draft.unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise CliqueError(f"{path} cannot be written: {error.strerror}") from error
        raise
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
