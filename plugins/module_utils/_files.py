# SPDX-License-Identifier: GPL-3.0-or-later
"""Files and folders that are there whole or not at all. Private to this collection.

What is not finished is a draft, in the folder that it is made for. A draft is locked while anybody works on it, so the
next one who makes something there can tell which drafts were left by a run that was killed, and removes those.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ansible_collections.smartenergy.clique.plugins.module_utils._errors import CliqueError

__all__ = ["draft_folder", "give", "make_directory", "put", "write_atomic"]

_DRAFT = ".clique-draft-"  # what the names of drafts begin with


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
        path.parent.mkdir(parents=True, exist_ok=True)
        with draft_folder(path.parent) as (draft, _):
            draft.chmod(mode)
            give(draft, owner=owner, group=group)
            draft.rename(path)
    except OSError as error:
        if path.is_dir():  # somebody else has made it in the meantime
            return False
        raise CliqueError(f"the folder {path} cannot be made: {error.strerror}") from error
    return True


def write_atomic(path: Path, content: bytes, *, mode: int, owner: str | None = None, group: str | None = None) -> None:
    """Replace a file's content durably: after a crash it holds the old bytes or the new ones, never a part."""
    try:
        with _draft(path.parent, _new_file) as (draft, handle):
            with os.fdopen(handle, "wb", closefd=False) as file:
                file.write(content)
            draft.chmod(mode)
            give(draft, owner=owner, group=group)
            put(draft, path)
    except OSError as error:
        raise CliqueError(f"{path} cannot be written: {error.strerror}") from error


def put(draft: Path, path: Path) -> None:
    """Let a finished draft take its place, in one step that outlasts a crash with all that is in it."""
    for made in (*draft.rglob("*"), draft):
        _sync(made)
    draft.replace(path)
    _sync(path.parent)


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextmanager
def draft_folder(folder: Path) -> Iterator[tuple[Path, int]]:
    """A new folder, for its maker only, in which something for this folder is made; removed in the end, unless put.

    The number is its lock's, for the pass_fds of a program that works in it and may outlive a run that is killed.
    """
    with _draft(folder, _new_folder) as made:
        yield made


@contextmanager
def _draft(folder: Path, new: Callable[[Path], tuple[int, str]]) -> Iterator[tuple[Path, int]]:
    _sweep(folder)
    while True:
        handle, name = new(folder)
        draft = Path(name)
        try:
            with suppress(OSError):  # NFS locks no folder, and then nobody sweeps it away
                fcntl.flock(handle, fcntl.LOCK_EX)
            if draft.exists():  # nobody swept it away before it was locked
                yield draft, handle
                return
        finally:
            _remove(draft)
            os.close(handle)


def _new_file(folder: Path) -> tuple[int, str]:
    return tempfile.mkstemp(dir=folder, prefix=_DRAFT)


def _new_folder(folder: Path) -> tuple[int, str]:
    while True:
        name = tempfile.mkdtemp(dir=folder, prefix=_DRAFT)
        with suppress(FileNotFoundError):  # swept away before it was locked
            return os.open(name, os.O_RDONLY), name


def _sweep(folder: Path) -> None:
    """Remove the drafts that killed runs left in a folder; whoever still works on one is waited for."""
    for draft in folder.glob(f"{_DRAFT}*"):
        with suppress(OSError):
            handle = os.open(draft, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
            try:
                fcntl.flock(handle, fcntl.LOCK_EX)
                _remove(draft)
            finally:
                os.close(handle)


def _remove(draft: Path) -> None:
    if draft.is_dir():
        shutil.rmtree(draft, ignore_errors=True)
    else:
        draft.unlink(missing_ok=True)
