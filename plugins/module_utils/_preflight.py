# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether this machine can carry a node, said before anything is changed. Private to this collection.

Imports nothing but the standard library, not even of this collection: `make demo` asks it before there is an Ansible.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import socket
import struct
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from ipaddress import IPv6Address, ip_address
from pathlib import Path

__all__ = [
    "USERSPACE_BITS",
    "Holder",
    "Port",
    "Requirements",
    "environment_of",
    "fingerprint",
    "holders",
    "memory_mib",
    "own_address",
    "parent_of",
    "pids",
    "problems",
    "services_below",
    "socket_path_problem",
]

_PROC = Path("/proc")
_SYSTEMD = Path("/run/systemd/system")  # there where systemd is what booted
USERSPACE_BITS = 8 * struct.calcsize("P")  # a 64-bit kernel may carry a 32-bit system
# In the environment of every process that this collection starts; what supervises them has no name.
_DIRECTORY, _NAME = "CLIQUE_SERVICE_DIRECTORY", "CLIQUE_SERVICE_NAME"
_SOCKET_BYTES = 107  # what an address of a Unix socket can hold
_LONGEST_SOCKET = "/supervisor.sock.4194304"  # below a node directory; supervisord binds one with its pid behind it
_LISTENS, _UNCONNECTED = "0A", "07"  # states in /proc/net/tcp and /proc/net/udp


# What /proc knows


def pids() -> list[int]:
    """Every process that can be seen."""
    return [int(entry.name) for entry in _PROC.iterdir() if entry.name.isdigit()]


def environment_of(pid: int) -> dict[str, str]:
    """The environment that a process was started with; empty for one that is gone, dead or another user's."""
    try:
        raw = (_PROC / str(pid) / "environ").read_bytes()
    except OSError:
        return {}
    pairs = (entry.partition("=") for entry in raw.decode(errors="surrogateescape").split("\0"))
    return {key: value for key, _equals, value in pairs if key}


def parent_of(pid: int) -> int:
    """The parent of a process; 0 for one that is gone."""
    try:
        stat = (_PROC / str(pid) / "stat").read_text(errors="replace")
    except OSError:
        return 0
    return int(stat.rpartition(")")[2].split()[1])  # the name before the bracket may have anything in it


def memory_mib() -> int:
    """The memory of this machine, swap left out."""
    (kib,) = re.findall(r"^MemTotal:\s+(\d+) kB$", (_PROC / "meminfo").read_text(), re.MULTILINE)
    return int(kib) // 1024


def own_address() -> str | None:
    """The IPv4 address that this machine has towards everybody else, None where it has no way there."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as unsent:
        try:
            unsent.connect(("8.8.8.8", 53))  # chooses a route, and sends nothing
        except OSError:
            return None
        return str(unsent.getsockname()[0])


def services_below(top: Path) -> dict[int, str]:
    """The processes of the services in top's folders, as folder/service by pid, what supervises them among them."""
    found = {}
    for pid, variables in ((pid, environment_of(pid)) for pid in pids()):
        directory = Path(variables.get(_DIRECTORY, "/"))
        if directory.parent == top:
            found[pid] = f"{directory.name}/{variables.get(_NAME, 'supervisord')}"
    return found


# Sockets


@dataclass(frozen=True)
class Port:
    """A port that a node wants to listen on."""

    port: int
    protocol: str  # tcp or udp
    address: str  # an IP address; 0.0.0.0 or :: for all of them


@dataclass(frozen=True)
class Holder:
    """A process that has a wanted port already; one of another user has neither pid nor program."""

    wanted: Port
    pid: int | None
    program: str | None


def holders(ports: Iterable[Port], own_directory: Path | None = None) -> list[Holder]:
    """Who has these ports. Processes of the services below own_directory do not count, nor what they started."""
    wanted = list(ports)
    inodes = {inode: port for inode, port in _held(wanted) if port}
    if not inodes:
        return []
    found: dict[tuple[Port, int | None], Holder] = {}
    seen = set()
    for pid in pids():
        for inode in _sockets_of(pid) & inodes.keys():
            seen.add(inode)
            if own_directory is None or not _is_below(environment_of(pid).get(_DIRECTORY), own_directory):
                found.setdefault((inodes[inode], pid), Holder(inodes[inode], pid, _program(pid)))
    for inode in inodes.keys() - seen:
        found.setdefault((inodes[inode], None), Holder(inodes[inode], None, None))
    return sorted(found.values(), key=lambda holder: wanted.index(holder.wanted))


def _held(wanted: list[Port]) -> Iterator[tuple[int, Port | None]]:
    for protocol in {port.protocol for port in wanted}:
        for family in ("", "6"):
            try:
                lines = (_PROC / "net" / f"{protocol}{family}").read_text().splitlines()[1:]
            except OSError:  # a kernel without IPv6
                continue
            for line in lines:
                fields = line.split()
                if fields[3] not in (_LISTENS, _UNCONNECTED):
                    continue
                address, _colon, port = fields[1].partition(":")
                held = Port(int(port, 16), protocol, _address(address))
                yield int(fields[9]), next((one for one in wanted if _collide(one, held)), None)


def _address(text: str) -> str:
    """The kernel prints an address as words of 32 bits, each a number in the machine's own byte order."""
    raw = b"".join(struct.pack("=I", int(text[i : i + 8], 16)) for i in range(0, len(text), 8))
    address = ip_address(raw)
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return str(mapped or address)


def _collide(wanted: Port, held: Port) -> bool:
    if (wanted.port, wanted.protocol) != (held.port, held.protocol):
        return False
    one, other = ip_address(wanted.address), ip_address(held.address)
    if one == other or str(one) == "::" or str(other) == "::":  # a socket on :: takes IPv4 too, unless told otherwise
        return True
    return one.version == other.version and (one.is_unspecified or other.is_unspecified)


def _sockets_of(pid: int) -> set[int]:
    inodes = set()
    try:
        for descriptor in (_PROC / str(pid) / "fd").iterdir():
            match = re.fullmatch(r"socket:\[(\d+)\]", str(descriptor.readlink()))
            if match:
                inodes.add(int(match[1]))
    except OSError:  # it ended, or is another user's
        pass
    return inodes


def _program(pid: int) -> str | None:
    try:
        words = (_PROC / str(pid) / "cmdline").read_bytes().decode(errors="replace").split("\0")
        return words[0] or (_PROC / str(pid) / "comm").read_text().strip()
    except OSError:
        return None


def _is_below(directory: str | None, top: Path) -> bool:
    return directory is not None and Path(directory).is_relative_to(os.path.realpath(top))


# Keys


def fingerprint(key: Path) -> str | None:
    """What tells whether two hosts have the same key, and nothing else of it; None where there is no key."""
    try:
        return hashlib.sha256(b"smartenergy.clique: the same key?\0" + key.read_bytes().strip().lower()).hexdigest()
    except OSError:
        return None


# The verdict


@dataclass(frozen=True)
class Requirements:
    """What a node needs of a machine. None of it is asked for where it is None."""

    directory: Path
    ports: tuple[Port, ...] = ()
    own_directory: Path | None = None  # services below it do not count as holders; None: those of directory
    python: tuple[int, ...] | None = None
    memory_mib: int | None = None
    disk_mib: int | None = None  # free, where the directory is or will be
    userspace_bits: int | None = None
    systemd: bool = False


def problems(needs: Requirements) -> list[str]:
    """Everything that stands in the way, a sentence each: what it is, and how to go on. Changes nothing."""
    found = (
        _python_problem(needs),
        _bits_problem(needs),
        _systemd_problem(needs),
        _memory_problem(needs),
        _directory_problem(needs),
        _disk_problem(needs),
        socket_path_problem(needs.directory),
    )
    return [*(problem for problem in found if problem), *_port_problems(needs)]


def _python_problem(needs: Requirements) -> str | None:
    if needs.python is None or sys.version_info[:3] >= needs.python:
        return None
    wanted, version = (".".join(map(str, numbers)) for numbers in (needs.python, sys.version_info[:3]))
    return f"Python {version} at {sys.executable} is too old: {wanted} or newer is needed; install one and use that."


def _bits_problem(needs: Requirements) -> str | None:
    if needs.userspace_bits is None or needs.userspace_bits <= USERSPACE_BITS:
        return None
    return (
        f"Its system is a {USERSPACE_BITS}-bit one and a {needs.userspace_bits}-bit one is needed, "
        "whatever its kernel is: "
        "write its card anew with the 64-bit Raspberry Pi OS or Debian."
    )


def _systemd_problem(needs: Requirements) -> str | None:
    if not needs.systemd or _SYSTEMD.is_dir():
        return None
    return "It does not run systemd, which is to keep its services: use a system that does."


def _memory_problem(needs: Requirements) -> str | None:
    if needs.memory_mib is None or memory_mib() >= needs.memory_mib:
        return None
    return (
        f"It has {memory_mib()} MiB of memory, and {needs.memory_mib} MiB are needed: use a larger model for this part."
    )


def _directory_problem(needs: Requirements) -> str | None:
    place = _what_there_is(needs.directory)
    return None if place.is_dir() else f"{place} is not a folder: move it away, or choose another directory."


def _what_there_is(directory: Path) -> Path:
    """The directory, or the first of those above it that is there."""
    return next(path for path in (directory, *directory.parents) if path.exists())


def _disk_problem(needs: Requirements) -> str | None:
    if needs.disk_mib is None:
        return None
    free_mib = shutil.disk_usage(_what_there_is(needs.directory)).free // 2**20
    if free_mib >= needs.disk_mib:
        return None
    return (
        f"Only {free_mib} MiB are free for {needs.directory}, and {needs.disk_mib} MiB are needed: "
        "make room, or use a larger card or disk."
    )


def socket_path_problem(directory: Path) -> str | None:
    """A node's sockets stand in its directory, and the kernel takes short paths only."""
    room = _SOCKET_BYTES - len(_LONGEST_SOCKET)
    length = len(os.fsencode(directory))
    if length <= room:
        return None
    return (
        f"The path {directory} has {length} bytes and leaves no room for the sockets in it, {room} is the most: "
        "use a shorter one."
    )


def _port_problems(needs: Requirements) -> Iterator[str]:
    for holder in holders(needs.ports, needs.own_directory or needs.directory):
        port = f"{holder.wanted.protocol.upper()} port {holder.wanted.port} on {holder.wanted.address}"
        if holder.pid is None:
            yield f"{port} is held by a process of another user: end it or choose other ports."
        else:
            yield f"{port} is held by process {holder.pid} ({holder.program}): end it or choose other ports."
