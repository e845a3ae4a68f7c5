# SPDX-License-Identifier: GPL-3.0-or-later
"""Go's own tests, and those of our patches, of the packages that the patches touch, in the patched source of geth."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from ansible_collections.smartenergy.clique.plugins.module_utils._geth_binaries import (
    Patch,
    Wanted,
    find_go,
    go_environment,
    have_source,
    linker_flags,
)
from environment import CHECKOUT, VENV

VERSION = "1.13.15"
PATCHES = CHECKOUT / "roles/geth_build/files/patches" / VERSION
# Package, and which of its tests: core and eth have an hour of others, the other three some minutes.
PACKAGES = {
    "./core": "Clique|ForkChoice|Reorg|Tie",
    "./eth": "Preserve|UnknownHead|FirstBlock|Stale",
    "./eth/fetcher": "BlockIsImported|Light|Random|Queue",
    "./consensus/clique": ".",
    "./crypto/ecies": ".",
    "./eth/protocols/eth": ".",
    "./eth/protocols/snap": "Lists",
    "./p2p": ".",
    "./p2p/discover": "UDPv4_(neighbor|findnode(MultiReply)?$)",
    "./p2p/discover/v4wire": ".",
    "./p2p/rlpx": ".",
}


def main() -> None:
    # build.yml has put a Go into .venv where this machine had none.
    environ = {**os.environ, "PATH": f"{VENV / 'bin'}{os.pathsep}{os.environ['PATH']}"}
    go = find_go(None, environ)
    patches = tuple(Patch(path.name, path.read_text()) for path in sorted(PATCHES.glob("*.patch")))
    wanted = Wanted(VERSION, "amd64", None, ("geth",), "", patches=patches)
    with tempfile.TemporaryDirectory(prefix="geth-") as place:
        source, _ = have_source(wanted, go, Path(place), environ)
        failed = False
        for package, tests in PACKAGES.items():
            # The vet of a newer Go finds fault with code that is older than it.
            command = [go.path, "test", "-vet=off", f"-ldflags={linker_flags(go, '')}", f"-run={tests}", package]
            failed |= subprocess.call(command, cwd=source, env={**go_environment(environ), "CGO_ENABLED": "0"}) != 0
    sys.exit(int(failed))


if __name__ == "__main__":
    main()
