# SPDX-License-Identifier: GPL-3.0-or-later
"""A Python environment made of an archive, without pip. Private to this collection."""

from __future__ import annotations

import hashlib
import os
import re
import shlex
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ansible_collections.smartenergy.clique.plugins.module_utils._errors import CliqueError, reason
from ansible_collections.smartenergy.clique.plugins.module_utils._files import draft_folder, in_folder, sweep

__all__ = ["State", "Wanted", "look", "look_for_any", "make", "plan", "remove", "require"]

VERSION = ".".join(map(str, sys.version_info[:2]))
CONFIG = "pyvenv.cfg"  # what makes a folder an environment


@dataclass(frozen=True)
class Wanted:
    """An environment in a folder of its name, and a command that runs its package with it."""

    directory: Path
    name: str
    package: str
    imports: Sequence[str]
    command: Path

    @property
    def folder(self) -> Path:
        return self.directory / self.name

    @property
    def python(self) -> Path:
        return self.folder / "bin/python"

    @property
    def script(self) -> Path:
        """What the command is a link to."""
        return self.folder / "bin" / self.command.name


@dataclass(frozen=True)
class State:
    """The names of the environments in a directory, and what the command is a link to."""

    environments: frozenset[str]
    command: str | None


def require(python_version: str, name: str) -> None:
    """Raise CliqueError where the archive is for another Python, or the environment's name is that of no folder."""
    if not re.fullmatch(r"\w[\w.+-]*", name):
        raise CliqueError(f"name has to be the name of a folder, and {name!r} is none")
    if python_version != VERSION:
        raise CliqueError(
            f"{sys.executable} is Python {VERSION} and the archive is for {python_version}: was this host "
            "upgraded, run again with --flush-cache"
        )


def look(wanted: Wanted) -> State:
    """What is there; an environment whose Python is gone does not count. Raises CliqueError."""
    command = wanted.command
    if command.exists() and not command.is_symlink():
        raise CliqueError(
            f"{command} is there and was not made by this collection: remove it, or have the command somewhere else"
        )
    names = frozenset(folder.name for folder in _folders(wanted.directory) if (folder / "bin/python").exists())
    return State(names, str(command.readlink()) if command.is_symlink() else None)


def look_for_any(directory: Path, command: Path) -> State:
    """What there is to remove: every environment, and the command where it is a link to one of them."""
    names = frozenset(folder.name for folder in _folders(directory))
    link = str(command.readlink()) if command.is_symlink() else None
    return State(names, link if link and Path(link).is_relative_to(directory) else None)


def _folders(directory: Path) -> list[Path]:
    return [path.parent for path in directory.glob(f"*/{CONFIG}")]


def plan(before: State, wanted: Wanted) -> State:
    """What is to be there. Something may still run in the environment that the command named so far, so it stays."""
    if wanted.name in before.environments and before.command == str(wanted.script):
        return before
    last = {name for name in before.environments if before.command and Path(before.command).parent.parent.name == name}
    return State(frozenset({wanted.name, *last}), str(wanted.script))


def make(wanted: Wanted, after: State, *, archive: Path, sha256: str | None) -> None:
    """Bring about what is planned; the archive is removed in the end. Raises CliqueError, leaving what was there."""
    if sha256 is None:
        raise CliqueError("sha256 has to be given: it says what was sent")
    os.umask(0o022)  # everybody may read it
    try:
        with (
            in_folder(wanted.directory, mode=0o755),
            in_folder(wanted.command.parent, mode=0o755),
            draft_folder(wanted.directory) as (scratch, _lock),
            draft_folder(wanted.command.parent) as (beside_command, _lock),  # which may be on another disk
        ):
            link = beside_command / "link"
            link.symlink_to(wanted.script)
            if wanted.name not in look(wanted).environments:
                draft = scratch / wanted.name
                _verify(archive, sha256)
                _fill(draft, wanted, archive)
                _try(draft, wanted)
                os.sync()  # what has its name is whole, even after a power cut
                if wanted.folder.exists():
                    wanted.folder.rename(scratch / "spoilt")
                draft.rename(wanted.folder)
            link.replace(wanted.command)
        for folder in _folders(wanted.directory):
            if folder.name not in after.environments:
                shutil.rmtree(folder)
        archive.unlink(missing_ok=True)
    except OSError as error:
        raise CliqueError(f"{wanted.folder} cannot be made: {reason(error)}") from error


def remove(before: State, directory: Path, command: Path) -> None:
    """Remove what was looked for, and the directory where nothing else is in it. Raises CliqueError."""
    try:
        sweep(directory)
        for folder in _folders(directory):
            shutil.rmtree(folder)
        if directory.is_dir() and not any(directory.iterdir()):
            directory.rmdir()
        if before.command:  # last of all: while it is there, a run that was cut off is finished by the next one
            command.unlink()
    except OSError as error:
        raise CliqueError(f"{directory} cannot be removed: {reason(error)}") from error


def _verify(archive: Path, sha256: str) -> None:
    try:
        with archive.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
    except FileNotFoundError:
        found = "none"
    except OSError as error:
        raise CliqueError(f"{archive} cannot be read: {reason(error)}") from error
    if found != sha256:
        raise CliqueError(
            f"{archive} is not what was sent: its sha256 is {found} and has to be {sha256}; is the disk full or broken?"
        )


def _fill(draft: Path, wanted: Wanted, archive: Path) -> None:
    """Make what `python -m venv` makes, without pip in it, but for the scripts, which name the final folder."""
    try:
        with zipfile.ZipFile(archive) as content:
            content.extractall(draft / "lib" / f"python{VERSION}")
    except zipfile.BadZipFile as error:
        raise CliqueError(f"{archive} is no archive of python_bundle: {error}") from error
    python = Path(sys.executable).resolve()
    (draft / "bin").mkdir()
    (draft / "bin/python").symlink_to(python)
    (draft / CONFIG).write_text(f"home = {python.parent}\ninclude-system-site-packages = false\n")
    script = draft / "bin" / wanted.command.name
    script.write_text(f'#!/bin/sh\nexec {shlex.quote(str(wanted.python))} -I -m {wanted.package} "$@"\n')
    script.chmod(0o755)


def _try(draft: Path, wanted: Wanted) -> None:
    """Import what is going to be, which also compiles it: those who may not write here would do that at each start."""
    command = [str(draft / "bin/python"), "-I", "-c", f"import {', '.join([wanted.package, *wanted.imports])}"]
    run = subprocess.run(command, cwd="/", capture_output=True, text=True, check=False)
    if run.returncode:
        reason = (run.stderr.strip() or f"it ended with {run.returncode}").splitlines()[-1]
        raise CliqueError(f"{wanted.package} cannot be imported on this machine: {reason}")
