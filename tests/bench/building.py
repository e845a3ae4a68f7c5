# SPDX-License-Identifier: GPL-3.0-or-later
"""Building geth with build.yml, against a bare `go install` of the same programs with the same flags."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

from ansible_collections.smartenergy.clique.plugins.module_utils._geth_binaries import (
    MODULE,
    fetch,
    find_go,
    go_environment,
    linker_flags,
)
from support.network import VENV, Network

from bench.networks import BASE_PORT, running
from bench.progress import timed
from bench.rows import Row

VERSION = "1.13.15"
PROGRAMS = ("geth", "bootnode")


def geth_build(scratch: Path, _wanted: frozenset[str]) -> Iterator[Row]:
    """Time both, each with an empty build cache of its own, with all source already in the module cache."""
    # build.yml has put a Go into .venv where this machine had none.
    go = find_go(None, {**os.environ, "PATH": f"{VENV / 'bin'}{os.pathsep}{os.environ['PATH']}"})
    environment = {**go_environment(os.environ), "CGO_ENABLED": "0"}
    install = [go.path, "install", "-trimpath", f"-ldflags={linker_flags(go, '-s -w')}"]
    install += [f"{MODULE}/cmd/{program}@v{VERSION}" for program in PROGRAMS]

    def download() -> None:
        source, _ = fetch(go, VERSION, os.environ)
        needed = [go.path, "list", "-deps", *(f"./cmd/{program}" for program in PROGRAMS)]
        subprocess.run(needed, cwd=source, env=environment, stdout=subprocess.DEVNULL, check=True)

    def bare() -> None:
        own = {"GOCACHE": str(scratch / "bare-cache"), "GOBIN": str(scratch / "bare-bin")}
        subprocess.run(install, cwd="/", env={**environment, **own}, check=True)

    timed("the source of geth and of what it needs", download)
    # Ours goes first: whoever does has to read all source from the disk.
    own_cache = {"GOCACHE": str(scratch / "our-cache")}
    with running(Network(scratch / "build", BASE_PORT, environment=own_cache)) as network:
        ours_s, _ = timed("build.yml", lambda: build(network, clique_build_cache_directory=str(scratch / "geth")))
    bare_s, _ = timed("go install", bare)
    yield Row("geth_build_s", ours_s, bare_s)


def build(network: Network, **variables: str) -> None:
    """Have build.yml build geth and bootnode where they are not built yet, and install them for one host."""
    run = network.play("build.yml", "--limit", "gateway", **variables)
    assert run.returncode == 0, run.output[-6000:]
