# SPDX-License-Identifier: GPL-3.0-or-later
"""Run `ansible-test sanity`, all of it, with nothing ignored, on a copy of the collection; what it makes is in build/.

The copy holds what Ansible reads and runs. The Python beside it (bridge, tests, scripts) runs without Ansible, and has
ruff and mypy to look after it.
"""

import os
import re
import shutil
import subprocess
import sys

from environment import CHECKOUT, VENV

CONTENT = [
    "README.md",
    "changelogs",
    "galaxy.yml",
    "inventories",
    "meta",
    "playbooks",
    "plugins",
    "roles",
    "tests/config.yml",
]
BESIDE = ":!roles/udp_bridge/files"
PLACE = CHECKOUT / "build/sanity"
COLLECTION = PLACE / "ansible_collections/smartenergy/clique"
HOME = PLACE / "home"
# ansible-test would fetch the first pip of its environments from a host of its own; Python has one in it.
FIRST_PIP = HOME / ".ansible/test/cache/get_pip_24_2.py"
PYTHON = ".".join(map(str, sys.version_info[:2]))
# What it says beside the words of pip.
HEADLINE = re.compile(r"^(Running|WARNING|ERROR|FATAL|See documentation|>>>|[a-z-]+( --python [0-9.]+)?$)")


def copy_collection() -> None:
    """Put what git tracks, and what it would, where ansible-test wants a collection to be."""
    listed = [
        "git",
        "ls-files",
        "-z",
        "--cached",
        "--others",
        "--exclude-standard",
        "--",
        *CONTENT,
        BESIDE,
    ]
    names = subprocess.run(listed, cwd=CHECKOUT, check=True, capture_output=True, text=True).stdout.split("\0")
    shutil.rmtree(PLACE / "ansible_collections", ignore_errors=True)
    for name in filter(None, names):
        if (source := CHECKOUT / name).exists():
            (target := COLLECTION / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, target, follow_symlinks=False)
    # Otherwise ansible-test asks the checkout's git, to which all of build/ is unknown.
    make = ["git", "init", "--quiet", str(COLLECTION)]
    subprocess.run(make, check=True)


def main() -> None:
    copy_collection()
    FIRST_PIP.parent.mkdir(parents=True, exist_ok=True)
    FIRST_PIP.write_text("import ensurepip\nensurepip.bootstrap(default_pip=True)\n")
    command = [str(VENV / "bin/ansible-test"), "sanity", "--python", PYTHON, "--color", "no", *sys.argv[1:]]
    with subprocess.Popen(
        command,
        cwd=COLLECTION,
        env={**os.environ, "HOME": str(HOME)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as run:
        for line in run.stdout or []:
            if HEADLINE.search(line):
                print(line, end="", flush=True)
    sys.exit(run.returncode)


if __name__ == "__main__":
    main()
