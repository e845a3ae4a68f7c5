# SPDX-License-Identifier: GPL-3.0-or-later
"""Set up what tests need of this machine where that may be done: as root, on Debian, unless CLIQUE_SETUP is 0."""

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from environment import stop


def run(*command: str, **options: object) -> "subprocess.CompletedProcess[str]":
    """Run a command quietly; what it said is shown where it fails."""
    done = subprocess.run(command, capture_output=True, text=True, check=False, **options)  # type: ignore[call-overload]
    if done.returncode:
        stop(f"`{' '.join(command)}` failed:\n{(done.stderr or done.stdout).strip()}")
    return done  # type: ignore[no-any-return]


def answers(*command: str) -> bool:
    """Does this command end well?"""
    try:
        return subprocess.run(command, capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        return False


def need(tests: str, what: str, way: str) -> None:
    """Stop with a sentence where nothing may be set up here."""
    reasons = {
        "CLIQUE_SETUP is 0": os.environ.get("CLIQUE_SETUP") == "0",
        "you are not root": os.geteuid() != 0,
        "this is neither Debian nor Ubuntu": not Path("/etc/debian_version").exists(),
    }
    reason = next((reason for reason, holds in reasons.items() if holds), None)
    if reason:
        stop(f"the tests {tests} need {what}, and {reason}: {way}. `make test-fast` runs the rest.")


def install(*packages: str) -> None:
    """Install Debian's packages, without what they only recommend, and say so."""
    print(f"setup: installing {', '.join(packages)} from Debian's packages …", flush=True)
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    run("apt-get", "update", env=environment)
    run("apt-get", "install", "--yes", "--no-install-recommends", *packages, env=environment)


def unpack(package: str, folder: Path) -> None:
    """Put what is in a package of Debian's into a folder, whole or not at all, without installing it."""
    print(f"setup: taking {package} from Debian's packages …", flush=True)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent) as scratch:
        run("apt-get", "update")
        # apt's own user, which otherwise downloads, may not write here.
        run("apt-get", "--option", "APT::Sandbox::User=root", "download", package, cwd=scratch)
        (archive,) = Path(scratch).glob("*.deb")
        run("dpkg-deb", "--extract", str(archive), f"{scratch}/files")
        shutil.rmtree(folder, ignore_errors=True)
        Path(f"{scratch}/files").rename(folder)
