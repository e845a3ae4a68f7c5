# SPDX-License-Identifier: GPL-3.0-or-later
"""Files that are written whole or not at all. Private to this collection."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path

from ansible_collections.smartenergy.clique.plugins.module_utils._errors import CliqueError, reason

__all__ = ["give", "in_folder", "make_directory", "read_text", "scratch_in", "write_atomic"]


def give(path: Path, *, owner: str | None, group: str | None, name: Path | None = None) -> None:
    """Hand a file or folder to an owner and a group; None leaves that one as it is. A draft has another name later."""
    if owner is None and group is None:
        return
    try:
        shutil.chown(path, user=owner, group=group)  # type: ignore[arg-type]
    except (LookupError, OSError) as error:
        raise CliqueError(
            f"{name or path} cannot be given to {owner or 'its owner'}:{group or 'its group'}: "
            f"{reason(error) if isinstance(error, OSError) else error}"
        ) from error


def make_directory(path: Path, *, mode: int, owner: str | None = None, group: str | None = None) -> tuple[Path, ...]:
    """Make a folder and what is missing above it, and return these, the innermost first; one that is there stays."""
    try:
        missing = tuple(folder for folder in (path, *path.parents) if not folder.exists())
        with _gone_on_failure(missing):
            path.mkdir(mode=mode, parents=True, exist_ok=True)
            if missing:
                give(path, owner=owner, group=group)
    except OSError as error:
        raise CliqueError(f"the folder {path} cannot be made: {error.strerror}") from error
    return missing


@contextlib.contextmanager
def in_folder(path: Path, *, mode: int, owner: str | None = None, group: str | None = None) -> Iterator[None]:
    """Do something in a folder that is made where it is missing, and is gone again where that fails."""
    with _gone_on_failure(make_directory(path, mode=mode, owner=owner, group=group)):
        yield


@contextlib.contextmanager
def _gone_on_failure(folders: Iterable[Path]) -> Iterator[None]:
    """Remove these folders, as far as they are there and empty, where what is done here fails."""
    try:
        yield
    except BaseException:
        for folder in folders:
            with contextlib.suppress(OSError):
                folder.rmdir()
        raise


@contextlib.contextmanager
def scratch_in(folder: Path, name: str) -> Iterator[Path]:
    """A folder for drafts of what is going to be in another one, so that they are moved there in one step."""
    with contextlib.ExitStack() as stack:
        try:
            scratch = stack.enter_context(tempfile.TemporaryDirectory(dir=folder, prefix=f".{name}-"))
        except OSError as error:
            raise CliqueError(f"nothing can be written in {folder}: {error.strerror}") from error
        yield Path(scratch)


def read_text(path: Path) -> str | None:
    """The text of a file; None where there is none."""
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise CliqueError(f"{path} cannot be read: {reason(error, 'text')}") from error


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
        give(draft, owner=owner, group=group, name=path)
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
