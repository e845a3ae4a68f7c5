# SPDX-License-Identifier: GPL-3.0-or-later
"""Run `ansible-test sanity` on a copy of what git tracks, with nothing ignored; all that it makes stays in build/."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

from environment import CHECKOUT, VENV

PLACE = CHECKOUT / "build/sanity"
COLLECTION = PLACE / "ansible_collections/smartenergy/clique"
HOME = PLACE / "home"
PYTHON = ".".join(map(str, sys.version_info[:2]))
# ansible-test would fetch the first pip of its environments from a host of its own; Python has one in it.
FIRST_PIP = HOME / ".ansible/test/cache/get_pip_24_2.py"


def copy_collection() -> None:
    """Put what git tracks, and what it would, where ansible-test wants a collection to be."""
    listed = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(listed, cwd=CHECKOUT, check=True, capture_output=True, text=True).stdout.split("\0")
    shutil.rmtree(PLACE / "ansible_collections", ignore_errors=True)
    for name in filter(None, names):
        if (source := CHECKOUT / name).exists():
            (target := COLLECTION / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, target, follow_symlinks=False)
    # Otherwise ansible-test asks the checkout's git, to which all of build/ is unknown.
    subprocess.run(["git", "init", "--quiet", COLLECTION], check=True)


def main() -> None:
    copy_collection()
    FIRST_PIP.parent.mkdir(parents=True, exist_ok=True)
    FIRST_PIP.write_text("import ensurepip\nensurepip.bootstrap(default_pip=True)\n")
    sys.exit(
        subprocess.call(
            [VENV / "bin/ansible-test", "sanity", "--python", PYTHON, "--color", "no", *sys.argv[1:]],
            cwd=COLLECTION,
            env={**os.environ, "HOME": str(HOME), "PIP_QUIET": "1"},
        )
    )


if __name__ == "__main__":
    main()
