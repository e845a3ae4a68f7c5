# SPDX-License-Identifier: GPL-3.0-or-later
"""The hosts' secrets: where they lie, how old they are, and every place where they must not be."""

from __future__ import annotations

import hashlib
import io
import re
import tarfile
from base64 import b64encode
from collections.abc import Iterable, Mapping
from contextlib import suppress
from datetime import datetime
from pathlib import Path

from hosts import Host, Network, at_once

FIND: tuple[str, ...] = ("find", "/var/lib/clique", "-type", "f", "(", "-name", "*.key", "-o", "-name", "password")
FIND += ("-o", "-name", "*keys.json", "-o", "-name", "jwtsecret", "-o", "-path", "*/keystore/*", ")")
# Where a secret must not be, on a host and on the controller, and what shows all that is there.
PLACES = {
    "arguments of processes": "cat /proc/[0-9]*/cmdline",
    "environments of processes": "cat /proc/[0-9]*/environ",
    "journal": "journalctl --sync; journalctl --output=export --all",
    "units": "find /etc/systemd /run/systemd/system -type f -exec cat {} +",
    "Ansible's folder": "find /root /home /tmp /var/tmp -type f -exec cat {} +",
}
LOG, NETWORK_DIR, ANSIBLE_DIR = "Ansible's log", "network directory", "controller's Ansible folder"
ENTRY = re.compile(r"^(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d),\d+ p=(\d+) u=\S+ n=\S+ [A-Z]+\| (.*)", re.MULTILINE)


def secret_files(host: Host) -> dict[str, bytes]:
    """The content of each file of a host that holds a secret."""
    paths = host.run(*FIND, "-print0").decode().split("\0")[:-1]
    with tarfile.open(fileobj=io.BytesIO(host.run("tar", "-c", "-f", "-", *paths))) as archive:
        return {f"/{member.name}": (archive.extractfile(member) or io.BytesIO()).read() for member in archive}


def fingerprints(network: Network) -> dict[str, dict[str, str]]:
    """What tells whether a secret is another one, for each file of each host."""
    files = at_once(secret_files, network.hosts.values())
    return {
        name: {path: hashlib.sha256(text).hexdigest() for path, text in found.items()} for name, found in files.items()
    }


def check_keys_are_kept(network: Network, before: Mapping[str, Mapping[str, str]]) -> None:
    """Every secret that there was is there, and is the same."""
    now = fingerprints(network)
    lost = [f"{path} of {name}" for name, keys in before.items() for path in keys if keys[path] != now[name].get(path)]
    assert not lost, f"these are lost or others now: {', '.join(lost)}"


def check_keys_are_of_the_first_run(network: Network) -> None:
    """Since the second run began no secret was written, not even with what was in it before."""
    second = converged(network.log.read_text(errors="replace"))[1]

    def written(host: Host) -> list[str]:
        lines = host.run(*FIND, "-printf", "%C@ %p\n").decode().splitlines()
        return [line.split(" ", 1)[1] for line in lines if float(line.split(" ", 1)[0]) >= second]

    late = {name: paths for name, paths in at_once(written, network.hosts.values()).items() if paths}
    assert not late, f"these were written after the first run: {late}"


def converged(log: str) -> list[float]:
    """When each run began that was not in check mode, in seconds since the epoch."""
    entries = ENTRY.findall(log)
    tried = {process for _, process, text in entries if text.startswith("DRY RUN")}
    found = [
        time for time, process, text in entries if text.startswith("PLAYBOOK: converge.yml") and process not in tried
    ]
    return [datetime.fromisoformat(time).astimezone().timestamp() for time in found]


def spellings(secret: bytes) -> set[bytes]:
    """What a secret looks like in a text: as it is, as bytes or in capitals where it is hex, and these in base64.

    A base64 text that has a secret somewhere in it shows it in one of three ways, but for its first and last digits.
    """
    texts = {secret}
    if re.fullmatch(rb"([0-9a-f]{2})+", secret):
        texts |= {bytes.fromhex(secret.decode()), secret.upper()}
    coded = {
        b64encode(bytes(before) + text)[-(-before * 8 // 6) : (before + len(text)) * 8 // 6]
        for text in texts
        for before in range(3)
    }
    return texts | coded


def leaks(network: Network) -> set[tuple[str, str, str]]:
    """Each secret that is where it must not be: its host, its file, and the place."""
    files = at_once(secret_files, network.hosts.values())
    needles = {
        (name, path, spelling)
        for name, found in files.items()
        for path, text in found.items()
        for secret in re.findall(rb"[0-9a-f]{64}", text) or [text.strip()]
        for spelling in spellings(secret)
    }
    places = {
        LOG: network.log.read_bytes(),
        NETWORK_DIR: _content(network.network_dir.rglob("*")),
        ANSIBLE_DIR: _content((Path.home() / ".ansible/tmp").rglob("*")),
        "arguments of the controller's processes": _content(Path("/proc").glob("[0-9]*/cmdline")),
    }
    for name, shown in at_once(_show, network.hosts.values()).items():
        places |= {f"{name}'s {place}": text for place, text in shown.items()}
    return {
        (name, path, place) for place, text in places.items() for name, path, spelling in needles if spelling in text
    }


def _show(host: Host) -> dict[str, bytes]:
    # Processes and files may go while they are read.
    return {place: host.shell(f"{{ {command}; }} 2>/dev/null || true") for place, command in PLACES.items()}


def _content(paths: Iterable[Path]) -> bytes:
    texts = []
    for path in paths:
        with suppress(OSError):
            texts.append(path.read_bytes())
    return b"\n".join(texts)


def check_no_secret_is_shown(network: Network) -> None:
    """No secret is in the log, in a list of processes, a journal, a unit, a temporary folder or the record."""
    shown = sorted(leaks(network))
    assert not shown, "; ".join(f"{path} of {name} is in {place}" for name, path, place in shown)
