# SPDX-License-Identifier: GPL-3.0-or-later
"""Pin what pyproject.toml asks for, with hashes, for every Python and platform: a requirements file per group."""

import subprocess
import sys

from environment import CHECKOUT

COMPILE = ["-m", "uv", "pip", "compile", "--quiet", "--universal", "--python-version", "3.11", "--generate-hashes"]
LOCKS = {
    "requirements.txt": ["pyproject.toml"],
    "requirements-test.txt": ["pyproject.toml", "--group", "test", "--constraint", "requirements.txt"],
    "requirements-go.txt": ["--group", "go"],
    "requirements-node.txt": ["--group", "node"],
}


def main() -> None:
    subprocess.run([sys.executable, "-m", "pip", "install", "--quiet", "uv"], check=True)
    for name, source in LOCKS.items():
        command = [sys.executable, *COMPILE, "--no-annotate", "--no-header", *source, "--output-file", name]
        subprocess.run(command, cwd=CHECKOUT, check=True)


if __name__ == "__main__":
    main()
