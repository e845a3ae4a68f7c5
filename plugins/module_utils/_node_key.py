# SPDX-License-Identifier: GPL-3.0-or-later
"""The key by which a node is known to its peers. Private to this collection."""

from __future__ import annotations

import ipaddress
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

from ansible_collections.smartenergy.clique.plugins.module_utils._errors import CliqueError
from ansible_collections.smartenergy.clique.plugins.module_utils._files import draft_folder, in_folder, write_atomic
from ansible_collections.smartenergy.clique.plugins.module_utils._keccak import keccak256

__all__ = ["Endpoint", "NodeKeyError", "enode", "has_key", "make", "node_id", "public_key"]

_KEY = re.compile(rb"[0-9a-fA-F]{64}\r?\n?")
_PUBLIC_KEY = re.compile(r"[0-9a-f]{128}")
_LAST_PORT = 65535


class NodeKeyError(CliqueError):
    """A node key that cannot be made or used."""


@dataclass(frozen=True)
class Endpoint:
    """Where peers reach a node. A bootnode, which only takes part in discovery, has the TCP port 0."""

    ip: str
    port: int
    discovery_port: int

    def __post_init__(self) -> None:
        try:
            ipaddress.ip_address(self.ip)
        except ValueError as error:
            raise NodeKeyError(f"ip has to be an IPv4 or IPv6 address, and {self.ip!r} is none") from error
        for name, port, lowest in (("port", self.port, 0), ("discovery_port", self.discovery_port, 1)):
            if not lowest <= port <= _LAST_PORT:
                raise NodeKeyError(f"{name} has to be between {lowest} and {_LAST_PORT}, and {port} is not")


def enode(public_key: str, endpoint: Endpoint) -> str:
    """Return the URL by which peers know a node (Ethereum's enode URL format)."""
    ip = f"[{endpoint.ip}]" if ":" in endpoint.ip else endpoint.ip
    discovery = "" if endpoint.discovery_port == endpoint.port else f"?discport={endpoint.discovery_port}"
    return f"enode://{public_key}@{ip}:{endpoint.port}{discovery}"


def node_id(public_key: str) -> str:
    """Return a node's place in the discovery table: the hash of its public key, 64 hexadecimal digits."""
    return keccak256(bytes.fromhex(public_key)).hex()


def has_key(path: Path) -> bool:
    """Whether a key is there; raises NodeKeyError where something else is."""
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return False
    except OSError as error:
        raise NodeKeyError(f"the node key {path} cannot be read: {error.strerror}") from error
    if not _KEY.fullmatch(content):
        raise NodeKeyError(
            f"{path} is no node key, which is 64 hexadecimal digits: put back the right file, or move this one away to "
            "get a new key (to the other nodes this is then another node)"
        )
    return True


def make(path: Path, *, bootnode: Path, owner: str | None, group: str | None) -> None:
    """Make a new key in a folder that is made where it is missing; the file is there whole or not at all."""
    with in_folder(path.parent, mode=0o700, owner=owner, group=group):
        with draft_folder(path.parent) as (draft, lock):
            _run(bootnode, "-genkey", str(draft / "key"), lock=lock)
            if not has_key(draft / "key"):
                raise NodeKeyError(f"{bootnode} makes no key: is it go-ethereum's bootnode?")
            key = (draft / "key").read_bytes()
        write_atomic(path, key, mode=0o600, owner=owner, group=group)


def public_key(path: Path, *, bootnode: Path) -> str:
    """Return the public key, 128 hexadecimal digits, that belongs to a key file."""
    answer = _run(bootnode, "-nodekey", str(path), "-writeaddress").strip()
    if not _PUBLIC_KEY.fullmatch(answer):
        raise NodeKeyError(f"{bootnode} gives no public key for {path}: is it go-ethereum's bootnode?")
    return answer


def _run(bootnode: Path, *arguments: str, lock: int | None = None) -> str:
    command = [str(bootnode), *arguments]
    kept = [] if lock is None else [lock]
    try:
        run = subprocess.run(command, capture_output=True, text=True, check=False, pass_fds=kept)
    except OSError as error:
        raise NodeKeyError(f"{bootnode} cannot be run: {error.strerror}") from error
    if run.returncode:
        last = (run.stderr.strip() or run.stdout.strip() or f"exit status {run.returncode}").splitlines()[-1]
        raise NodeKeyError(f"{bootnode} {arguments[0]} failed: {last}")
    return run.stdout
