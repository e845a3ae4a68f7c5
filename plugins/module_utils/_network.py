# SPDX-License-Identifier: GPL-3.0-or-later
"""The network's record on the controller: its genesis, its hosts and their public keys. Private to this collection."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection, Iterable, Mapping
from pathlib import Path
from typing import Any

from ansible_collections.smartenergy.clique.plugins.module_utils._errors import CliqueError, reason
from ansible_collections.smartenergy.clique.plugins.module_utils._keccak import checked_address

__all__ = ["as_file", "merge", "read", "unknown"]

VERSION = 1
GENESIS_FIELDS = ("hash", "digest", "chain_id", "period_s", "signers")
HIGHEST_PORT = 65535
PUBLIC_KEY = re.compile(r"[0-9a-f]{128}")
BOOTNODE = re.compile(r"enode://(?P<key>[0-9a-f]{128})@(?P<ip>.+):0\?discport=(?P<port>\d+)")


def text(value: Any) -> bool:
    return isinstance(value, str) and value != ""


# What a host's entry holds, and what each value has to be.
HOST_FIELDS: Mapping[str, tuple[Callable[[Any], bool], str]] = {
    "role": (text, "a word"),
    "roles": (lambda value: isinstance(value, list) and all(map(text, value)), "a list of words"),
    "address": (lambda value: value is None or text(value), "an address or null"),
    "node_public_key": (lambda value: text(value) and bool(PUBLIC_KEY.fullmatch(value)), "128 hex digits"),
    "enode": (lambda value: text(value) and value.startswith("enode://"), "an enode URL"),
    "ip": (text, "an IP address"),
    "port": (
        lambda value: isinstance(value, int) and not isinstance(value, bool) and 0 < value <= HIGHEST_PORT,
        "a port number",
    ),
    "bootnode_enode": (
        lambda value: value is None or (text(value) and bool(BOOTNODE.fullmatch(value))),
        "null or enode://KEY@IP:0?discport=PORT",
    ),
}
# What to do about a host that is not the one on record: with an account that may seal, and without.
REPLACED = "if its SD card was replaced, or another host given its name, put its own keys back from a backup, or "
REPLACE_SEALER = "run replace_sealer.yml -e sealer={name}"
FORGET = "take its old entry out of {path}"


def read(path: Path) -> dict[str, Any] | None:
    """The record in a file, or None where there is none."""
    try:
        network = json.loads(path.read_text())
        version = network["version"]
        valid = isinstance(network["hosts"], dict) and set(network["genesis"]) >= set(GENESIS_FIELDS)
    except FileNotFoundError:
        return None
    except (KeyError, TypeError) as error:
        raise CliqueError(
            f"{path} is not a network's record that can be read: it lacks version, genesis or hosts"
        ) from error
    except (OSError, ValueError) as error:
        raise CliqueError(f"{path} is not a network's record that can be read: {reason(error)}") from error
    if version != VERSION or not valid:
        raise CliqueError(f"{path} is not a network's record of version {VERSION}; was it made by another version?")
    return dict(network)


def as_file(network: Mapping[str, Any]) -> str:
    return json.dumps(network, indent=2, sort_keys=True) + "\n"


def unknown(genesis: Mapping[str, Any], hosts: Mapping[str, Mapping[str, Any]]) -> bool:
    """Whether something cannot be known yet, as in check mode before keys and genesis exist."""
    keys = [entry(name, host).get("node_public_key") for name, host in hosts.items()]
    return None in keys or any(genesis.get(name) is None for name in GENESIS_FIELDS)


def bootnode_key(host: Mapping[str, Any]) -> str | None:
    match = BOOTNODE.fullmatch(host["bootnode_enode"] or "")
    return match["key"] if match else None


def entry(name: str, host: Any) -> Mapping[str, Any]:
    """A host's entry as it was given; raises CliqueError where it is no dictionary."""
    if not isinstance(host, Mapping):
        raise CliqueError(f"the entry of {name} is {host!r} and has to be a dictionary")
    return host


def valid_host(name: str, host: Mapping[str, Any]) -> dict[str, Any]:
    strange = sorted(host.keys() - HOST_FIELDS.keys())
    if strange:
        raise CliqueError(f"the entry of {name} has {', '.join(strange)}; it may have {', '.join(HOST_FIELDS)}")
    whole = {"address": None, "bootnode_enode": None, **host}
    for field, (fits, kind) in HOST_FIELDS.items():
        if field not in whole or not fits(whole[field]):
            raise CliqueError(f"the entry of {name} has {whole.get(field)!r} as {field}, which has to be {kind}")
    if whole["address"]:
        checked_address(whole["address"], f"the entry of {name} is wrong: the address")
    return whole


def same_host(name: str, recorded: Mapping[str, Any], host: Mapping[str, Any], path: Path) -> dict[str, Any]:
    """The host's new entry, if it is the host on record: its keys never change, the rest may."""
    kept = {field: host[field] or recorded[field] for field in ("address", "bootnode_enode")}
    changed = {**host, **kept}
    for what, before, now in (
        ("node key", recorded["node_public_key"], changed["node_public_key"]),
        ("address", (recorded["address"] or "").lower(), (changed["address"] or "").lower()),
        ("bootnode key", bootnode_key(recorded), bootnode_key(changed)),
    ):
        if before and now != before:
            way_out = REPLACED + (REPLACE_SEALER if recorded["address"] else FORGET)
            raise CliqueError(
                f"{name} has the {what} {now}, and the network knows it with {before}: "
                + way_out.format(name=name, path=path)
            )
    return changed


def identities(name: str, host: Mapping[str, Any]) -> Iterable[tuple[str, Any, str]]:
    """What no two hosts may share, with the name of who has it."""
    yield "node key", host["node_public_key"], name
    yield "endpoint", f"{host['ip']}:{host['port']}", name
    if host["address"]:
        yield "address", host["address"].lower(), name
    if match := BOOTNODE.fullmatch(host["bootnode_enode"] or ""):
        yield "node key", match["key"], f"{name}'s bootnode"
        yield "endpoint", f"{match['ip']}:{match['port']}", f"{name}'s bootnode"


def refuse_shared(hosts: Mapping[str, Mapping[str, Any]], path: Path) -> None:
    owners: dict[tuple[str, Any], str] = {}
    for name, host in hosts.items():
        for what, value, owner in identities(name, host):
            other = owners.setdefault((what, value), owner)
            if other != owner:
                raise CliqueError(
                    f"{other} and {owner} have the same {what} {value}: give each host its own (a cloned SD card "
                    f"brings the first one's keys), or, if a host was renamed, take its old entry out of {path}"
                )


def merge(
    recorded: Mapping[str, Any] | None,
    genesis: Mapping[str, Any],
    hosts: Mapping[str, Mapping[str, Any]],
    path: Path,
    forget: Collection[str] = (),
) -> dict[str, Any]:
    """The record with this run's hosts in it, and without those to forget; all others stay as they are.

    Raises CliqueError for another genesis, for a host that is not the one on record, and for hosts that share a key,
    an address or an endpoint.
    """
    missing = [name for name in GENESIS_FIELDS if genesis.get(name) is None]
    if missing:
        raise CliqueError(f"the genesis lacks {', '.join(missing)}: give all that clique_genesis returned")
    facts = {name: genesis[name] for name in GENESIS_FIELDS}
    for signer in genesis["signers"]:
        checked_address(signer, "the signer of the genesis")
    facts["signers"] = sorted(genesis["signers"], key=str.lower)
    former: Mapping[str, Any] = {}
    if recorded is not None:
        differing = [
            f"{name}: {recorded['genesis'][name]} ≠ {facts[name]}"
            for name in GENESIS_FIELDS
            if str(recorded["genesis"][name]).lower() != str(facts[name]).lower()
        ]
        if differing:
            raise CliqueError(f"{path} records a network with another genesis: {'; '.join(differing)}")
        former = {name: host for name, host in recorded["hosts"].items() if name not in forget}
    entries = {name: valid_host(name, host) for name, host in hosts.items()}
    entries = {
        name: same_host(name, former[name], host, path) if name in former else host for name, host in entries.items()
    }
    merged = dict(sorted({**former, **entries}.items()))
    refuse_shared(merged, path)
    return {"version": VERSION, "genesis": facts, "hosts": merged}
