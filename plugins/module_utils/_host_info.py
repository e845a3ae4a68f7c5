# SPDX-License-Identifier: GPL-3.0-or-later
"""What a host is, and how this very connection came to it. Private to this collection."""

from __future__ import annotations

import contextlib
import ctypes
import os
import re
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ansible_collections.smartenergy.clique.plugins.module_utils._preflight import environment_of, parent_of

__all__ = ["Host", "look"]

_MODEL = Path("/proc/device-tree/model")
_SHADOW = Path("/etc/shadow")
_STOCK_USER, _STOCK_PASSWORD = "pi", b"raspberry"


@dataclass(frozen=True)
class Host:
    """What decides what is to be done on a host."""

    model: str | None  # as the firmware names it; None on what is no such board, a container for instance
    container: bool
    ssh_port: int | None  # None where this did not come by SSH
    ssh_by_key: bool  # false where nobody knows
    password_login: bool  # whether sshd takes passwords; true where nobody knows
    stock_password: bool
    missing_packages: tuple[str, ...]


def look(packages: Sequence[str]) -> Host:
    """Look at this host, as root, and whether it has these Debian packages; changes nothing."""
    client = _ssh_connection()
    return Host(
        model=_MODEL.read_text().rstrip("\0") if _MODEL.exists() else None,
        container=_run("systemd-detect-virt", "--container", "--quiet").returncode == 0,
        ssh_port=int(client[3]) if client else None,
        ssh_by_key=bool(client) and _came_by_key(client[0], client[1]),
        password_login="passwordauthentication no" not in _run("/usr/sbin/sshd", "-T").stdout.splitlines(),
        stock_password=_has_stock_password(),
        missing_packages=_missing(packages),
    )


def _ssh_connection() -> list[str]:
    """The client's address and port, and the server's: sudo drops the variable that a shell above it still has."""
    pid = os.getpid()
    while pid > 1:
        words = environment_of(pid).get("SSH_CONNECTION", "").split()
        if len(words) == 4:  # noqa: PLR2004
            return words
        pid = parent_of(pid)
    return []


def _came_by_key(address: str, port: str) -> bool:
    """Whether sshd logged that it let this connection in by a key."""
    log = _run("journalctl", "--quiet", "--boot", "--output=cat", "--identifier=sshd", "--identifier=sshd-session")
    accepted = re.compile(rf"^Accepted publickey for \S+ from {re.escape(address)} port {port} ", re.MULTILINE)
    return accepted.search(log.stdout) is not None


def _has_stock_password() -> bool:
    """Whether the password that every Pi once had lets anybody in here."""
    try:
        lines = _SHADOW.read_text().splitlines()
        library = ctypes.CDLL("libcrypt.so.1")
    except OSError:
        return False
    library.crypt.restype = ctypes.c_char_p
    for line in lines:
        user, hashed, *_ages = line.split(":")
        if user == _STOCK_USER and hashed.startswith("$"):
            with contextlib.suppress(ValueError):
                return bool(library.crypt(_STOCK_PASSWORD, hashed.encode()) == hashed.encode())
    return False


def _missing(packages: Sequence[str]) -> tuple[str, ...]:
    if not packages:
        return ()
    said = _run("dpkg-query", "--show", "--showformat=${Package} ${db:Status-Status}\\n", *packages).stdout
    return tuple(package for package in packages if f"{package} installed" not in said.splitlines())


def _run(*command: str) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError as error:
        return subprocess.CompletedProcess(command, 1, "", str(error))
