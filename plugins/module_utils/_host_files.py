# SPDX-License-Identifier: GPL-3.0-or-later
"""A host's own settings: files, the units that read them, its name. Private to this collection."""

from __future__ import annotations

import errno
import re
import socket
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ansible_collections.smartenergy.clique.plugins.module_utils._errors import CliqueError, reason
from ansible_collections.smartenergy.clique.plugins.module_utils._files import in_folder, write_atomic

__all__ = ["File", "State", "Wanted", "apply", "look", "plan"]

_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?", re.IGNORECASE)
_HOSTNAME, _HOSTS = Path("/etc/hostname"), Path("/etc/hosts")
_UNITS = "/etc/systemd/system/"


@dataclass(frozen=True)
class File:
    """A file of root's that everybody may read; without content it is not to be there."""

    path: str
    content: str | None
    validate: tuple[str, ...] = ()  # fails while the new content is in place where that is wrong
    apply: tuple[str, ...] = ()  # brings about what the new content says


@dataclass(frozen=True)
class Wanted:
    """What is to be."""

    files: tuple[File, ...]
    enabled: tuple[str, ...]  # units that start at boot
    hostname: str | None
    disabled: tuple[str, ...] = ()  # units that do not, and are stopped


@dataclass(frozen=True)
class State:
    """What is: the content of each file, None where there is none; units, whether they are enabled; the host's name."""

    files: Mapping[str, str | None] = field(default_factory=dict)
    enabled: Mapping[str, bool] = field(default_factory=dict)
    hostname: str | None = None


def look(wanted: Wanted) -> State:
    """Read what of it is there. Raises CliqueError."""
    for file in wanted.files:
        if not file.path.startswith("/"):
            raise CliqueError(f"{file.path!r} has to be written from / on")
        if sum(other.path == file.path for other in wanted.files) > 1:
            raise CliqueError(f"{file.path} is named twice: name it once")
    for unit in set(wanted.enabled) & set(wanted.disabled):
        raise CliqueError(f"{unit} is in enabled and in disabled: name it once")
    if wanted.hostname is not None and not _NAME.fullmatch(wanted.hostname):
        raise CliqueError(
            f"{wanted.hostname!r} cannot be the name of a host: take up to 63 letters, digits and inner hyphens"
        )
    return State(
        files={file.path: _read(Path(file.path)) for file in wanted.files},
        enabled={unit: _is_enabled(unit) for unit in (*wanted.enabled, *wanted.disabled)},
        hostname=(_read(_HOSTNAME) or "").strip() if wanted.hostname else None,
    )


def plan(wanted: Wanted) -> State:
    """What there is to be."""
    return State(
        files={file.path: file.content for file in wanted.files},
        enabled=dict.fromkeys(wanted.enabled, True) | dict.fromkeys(wanted.disabled, False),
        hostname=wanted.hostname,
    )


def apply(wanted: Wanted, before: State) -> None:
    """Bring it about. A file that its own check refuses is put back as it was, and CliqueError raised."""
    changed = [file for file in wanted.files if before.files[file.path] != file.content]
    if stopped := [unit for unit in wanted.disabled if before.enabled[unit]]:
        _do(["systemctl", "stop", *stopped])
        _do(["systemctl", "disable", "--quiet", *stopped])
    for file in changed:
        with in_folder(Path(file.path).parent, mode=0o755):
            _write_checked(file, before.files[file.path])
    if any(file.path.startswith(_UNITS) for file in changed):
        _do(["systemctl", "daemon-reload"])
    disabled = [unit for unit in wanted.enabled if not before.enabled[unit]]
    if disabled:
        _do(["systemctl", "enable", "--quiet", *disabled])
    for command in dict.fromkeys(file.apply for file in changed if file.apply):
        _do(command)
    if wanted.hostname and before.hostname != wanted.hostname:
        _name(wanted.hostname)


def _write_checked(file: File, before: str | None) -> None:
    """Write a file, and put back what was there where its own check refuses it."""
    _write(Path(file.path), file.content)
    try:
        if file.validate:
            _do(file.validate)
    except CliqueError as error:
        _write(Path(file.path), before)
        raise CliqueError(f"{file.path} stays as it was: {error}") from error


def _name(name: str) -> None:
    """Give the host its name, which it has to find the address of."""
    lines = (_read(_HOSTS) or "").splitlines()
    if not any(name in line.partition("#")[0].split()[1:] for line in lines):
        others = [line for line in lines if not line.startswith("127.0.1.1")]
        _write(_HOSTS, "\n".join([*others, f"127.0.1.1\t{name}"]) + "\n")
    _write(_HOSTNAME, f"{name}\n")
    socket.sethostname(name)


def _read(path: Path) -> str | None:
    try:
        return path.read_text()
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise CliqueError(f"{path} cannot be read: {reason(error, 'text')}") from error


def _write(path: Path, content: str | None) -> None:
    if content is None:
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            raise CliqueError(f"{path} cannot be removed: {error.strerror}") from error
        return
    try:
        write_atomic(path, content.encode(), mode=0o644)
    except CliqueError as error:
        # A container has its name in files that are mounted one by one, and cannot be replaced.
        if not isinstance(error.__cause__, OSError) or error.__cause__.errno != errno.EBUSY:
            raise
        path.write_text(content)


def _is_enabled(unit: str) -> bool:
    command = ["systemctl", "is-enabled", unit]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip() == "enabled"
    except OSError:  # check mode may look at a host without systemd
        return False


def _do(command: Sequence[str]) -> None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError as error:
        raise CliqueError(f"{command[0]} cannot be run: {error.strerror}") from error
    if done.returncode:
        said = " ".join((done.stderr.strip() or done.stdout.strip() or f"status {done.returncode}").split())
        raise CliqueError(f"`{' '.join(command)}` failed: {said}")
