# SPDX-License-Identifier: GPL-3.0-or-later
"""Pin what pyproject.toml asks for, with hashes, for every Python and platform: a requirements file per group.

What the bridge imports is pinned apart, to the same versions, and for its gateway only: any Python there, and Linux.
"""

import subprocess
import sys
import tempfile
from pathlib import Path

from environment import BRIDGE, CHECKOUT

COMPILE = ["-m", "uv", "pip", "compile", "--quiet", "--generate-hashes", "--no-annotate", "--no-header"]
UNIVERSAL = ["--universal", "--python-version", "3.11"]
LOCKS = {
    "requirements.txt": ["pyproject.toml"],
    "requirements-test.txt": ["pyproject.toml", "--group", "test", "--constraint", "requirements.txt"],
    "requirements-molecule.txt": [
        *["--group", "molecule", "--constraint", "requirements.txt", "--constraint", "requirements-test.txt"]
    ],
    "requirements-go.txt": ["--group", "go"],
    "requirements-node.txt": ["--group", "node"],
}
BRIDGE_LOCK = BRIDGE.parent / "requirements.txt"
GATEWAYS = [
    ["--python-platform", f"{machine}-unknown-linux-gnu", "--python-version", version]
    for machine in ("aarch64", "x86_64")
    for version in ("3.11", "3.12", "3.13")
]


def compile_lock(arguments: list[str], output: str) -> None:
    subprocess.run([sys.executable, *COMPILE, *arguments, "--output-file", output], cwd=CHECKOUT, check=True)


def main() -> None:
    subprocess.run([sys.executable, "-m", "pip", "install", "--quiet", "uv"], check=True)
    for name, source in LOCKS.items():
        compile_lock([*UNIVERSAL, *source], name)
    bridge = [str(BRIDGE / "pyproject.toml"), "--constraint", "requirements.txt"]
    with tempfile.TemporaryDirectory() as scratch:
        for number, gateway in enumerate(GATEWAYS):
            compile_lock([*gateway, *bridge], f"{scratch}/{number}")
        locks = {path.read_text() for path in Path(scratch).iterdir()}
    if len(locks) != 1:
        sys.exit(
            "smartenergy: the bridge needs other packages on some gateways, and one lock has to do for all of them"
        )
    BRIDGE_LOCK.write_text(locks.pop())


if __name__ == "__main__":
    main()
