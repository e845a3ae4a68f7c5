# SPDX-License-Identifier: GPL-3.0-or-later
"""Files and folders that are there whole or not at all. Private to this collection.

What is not finished is a draft, in the folder that it is made for. A draft is locked while anybody works on it, so the
next one who makes something there can tell which drafts were left by a run that was killed, and removes those.
"""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from ansible_collections.smartenergy.clique.plugins.module_utils._errors import CliqueError, reason

__all__ = ["draft_folder", "give", "in_folder", "make_directory", "put", "read_text", "sweep", "write_atomic"]

_DRAFT = ".clique-draft-"  # what the names of drafts begin with
_OURS: set[Path] = set()  # what this process works on, and would wait for without end


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
        if not missing:
            path.mkdir(exist_ok=True)  # which says what is wrong with a file
            return ()
        with _gone_on_failure(missing):
            path.parent.mkdir(parents=True, exist_ok=True)
            with _draft(path.parent, _new_folder) as (draft, _lock):
                draft.chmod(mode)
                give(draft, owner=owner, group=group, name=path)
                draft.rename(path)
    except OSError as error:
        if error.errno == errno.ENOTEMPTY:  # somebody else has made it in the meantime
            return ()
        raise CliqueError(f"the folder {path} cannot be made: {error.strerror}") from error
    return missing


@contextmanager
def in_folder(path: Path, *, mode: int, owner: str | None = None, group: str | None = None) -> Iterator[None]:
    """Do something in a folder that is made where it is missing, and is gone again where that fails."""
    with _gone_on_failure(make_directory(path, mode=mode, owner=owner, group=group)):
        yield


@contextmanager
def _gone_on_failure(folders: Iterable[Path]) -> Iterator[None]:
    """Remove these folders, as far as they are there and empty, where what is done here fails."""
    try:
        yield
    except BaseException:
        for folder in folders:
            with suppress(OSError):
                folder.rmdir()
        raise


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
        with _draft(path.parent, _new_file) as (draft, handle):
            with os.fdopen(handle, "wb", closefd=False) as file:
                file.write(content)
            draft.chmod(mode)
            give(draft, owner=owner, group=group, name=path)
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
    with ExitStack() as stack:
        try:
            made = stack.enter_context(_draft(folder, _new_folder))
        except OSError as error:
            raise CliqueError(f"nothing can be written in {folder}: {error.strerror}") from error
        yield made


@contextmanager
def _draft(folder: Path, new: Callable[[Path], tuple[int, str]]) -> Iterator[tuple[Path, int]]:
    folder = folder.resolve()
    sweep(folder)
    while True:
        handle, name = new(folder)
        draft = Path(name)
        try:
            with suppress(OSError):  # NFS locks no folder, and then nobody sweeps it away
                fcntl.flock(handle, fcntl.LOCK_EX)
            if draft.exists():  # nobody swept it away before it was locked
                _OURS.add(draft)
                yield draft, handle
                return
        finally:
            _OURS.discard(draft)
            _remove(draft)
            os.close(handle)


def _new_file(folder: Path) -> tuple[int, str]:
    return tempfile.mkstemp(dir=folder, prefix=_DRAFT)


def _new_folder(folder: Path) -> tuple[int, str]:
    while True:
        name = tempfile.mkdtemp(dir=folder, prefix=_DRAFT)
        with suppress(FileNotFoundError):  # swept away before it was locked
            return os.open(name, os.O_RDONLY), name


def sweep(folder: Path) -> None:
    """Remove the drafts that killed runs left in a folder; whoever still works on one is waited for."""
    for draft in {*folder.glob(f"{_DRAFT}*")} - _OURS:
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
