# SPDX-License-Identifier: GPL-3.0-or-later
"""A small disk of a test's own, that fills up or turns read-only; it is in a mount namespace, and goes with it."""

from __future__ import annotations

import ctypes
import errno
import os
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

CLONE_NEWNS = 0x00020000
MS_RDONLY, MS_REMOUNT, MS_BIND, MS_REC, MS_PRIVATE = 0x1, 0x20, 0x1000, 0x4000, 0x40000
_HOLD = 'mount -t tmpfs -o size="$1" tmpfs "$0" && echo mounted && exec sleep infinity'


@dataclass(frozen=True)
class Disk:
    """A tmpfs that only those see who enter its mounts."""

    folder: Path
    holder: int

    @property
    def mounts(self) -> Path:
        return Path(f"/proc/{self.holder}/ns/mnt")

    @property
    def seen(self) -> Path:
        """The folder as it is seen from outside."""
        return Path(f"/proc/{self.holder}/root{self.folder}")

    @property
    def _filler(self) -> Path:
        return self.seen / "filler"

    def fill(self) -> None:
        """Leave no byte free."""
        with self._filler.open("ab", buffering=0) as file:
            for size in (4096, 1):
                try:
                    while file.write(b"\0" * size):
                        pass
                except OSError as error:
                    if error.errno != errno.ENOSPC:
                        raise

    def free(self) -> None:
        self._filler.unlink()

    def remount(self, how: str) -> None:
        """Make it "ro" or "rw"; nobody may have a file open for writing there."""
        enter_it = ["nsenter", f"--mount={self.mounts}"]
        subprocess.run([*enter_it, "mount", "-o", f"remount,{how}", str(self.folder)], check=True)


@contextmanager
def small_disk(folder: Path, size: str) -> Iterator[Disk]:
    """A disk of that size (as in "2m") at a folder; skips the test where mounting is not allowed."""
    folder.mkdir()
    with subprocess.Popen(
        ["unshare", "--mount", "sh", "-c", _HOLD, str(folder), size], stdout=subprocess.PIPE, text=True
    ) as holder:
        try:
            if next(iter(holder.stdout or ()), "") != "mounted\n":
                pytest.skip("a disk can be mounted by root alone, and not in every container")
            yield Disk(folder, holder.pid)
        finally:
            holder.kill()


def instead(folder: Path, place: Path) -> None:
    """Let this process, which has one thread, see a folder in the place of another one."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(CLONE_NEWNS):
        pytest.skip("a folder can be mounted by root alone, and not in every container")
    everything = (None, b"/", None, MS_REC | MS_PRIVATE, None)
    for arguments in (everything, (bytes(folder), bytes(place), None, MS_BIND, None)):
        if libc.mount(*arguments):
            raise OSError(ctypes.get_errno(), "mount", str(place))


def only_writable(folder: Path) -> Callable[[], None]:
    """What to call in a process, which has one thread, so that it can write nothing of the root's disk but a folder.

    Where that is not allowed it does nothing: only root could have written elsewhere.
    """

    def shut() -> None:
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.unshare(CLONE_NEWNS):
            return
        itself = bytes(folder)
        for arguments in (
            (None, b"/", None, MS_REC | MS_PRIVATE, None),
            (itself, itself, None, MS_BIND, None),
            (None, b"/", None, MS_REMOUNT | MS_BIND | MS_RDONLY, None),
        ):
            if libc.mount(*arguments):
                raise OSError(ctypes.get_errno(), "mount", str(folder))

    return shut


def enter(mounts: Path) -> None:
    """Move this process, which has one thread, into a mount namespace."""
    descriptor = os.open(mounts, os.O_RDONLY)
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.setns(descriptor, CLONE_NEWNS):
        raise OSError(ctypes.get_errno(), "setns", str(mounts))
    os.close(descriptor)
