# SPDX-License-Identifier: GPL-3.0-or-later
"""What every test may ask for: the real programs, built once by the collection's own module."""

import os
import runpy
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

CHECKOUT = Path(__file__).parent.parent
sys.path.insert(0, str(CHECKOUT / "tests"))

from support.artifacts import compile_tariff  # noqa: E402
from support.chain import Chain, one_sealer  # noqa: E402
from support.geth import PATCHES  # noqa: E402
from support.modules import run_module  # noqa: E402


@pytest.fixture
def tmp_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of the test's own, with a short name: the paths of sockets have 107 bytes at most."""
    return tmp_path_factory.mktemp("t")


@pytest.fixture(scope="session")
def binaries() -> dict[str, Path]:
    """Geth and bootnode for this machine; `make test` has built them before, also where there is no Go."""
    arch = {"x86_64": "amd64", "aarch64": "arm64"}[os.uname().machine]
    asked = {"cache_dir": str(CHECKOUT / "build/geth"), "arch": arch, "patches": PATCHES}
    answer = run_module("geth_binaries", asked)
    assert not answer.get("failed"), answer
    return {name: Path(binary["path"]) for name, binary in answer["binaries"].items()}


@pytest.fixture(scope="session")
def geth(binaries: dict[str, Path]) -> Path:
    return binaries["geth"]


@pytest.fixture(scope="session")
def bootnode(binaries: dict[str, Path]) -> Path:
    return binaries["bootnode"]


@pytest.fixture(scope="session")
def chain(geth: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chain]:
    """One chain for all tests; each makes contracts of its own on it."""
    with one_sealer(geth, tmp_path_factory.mktemp("chain")) as running:
        yield running


@pytest.fixture(scope="session")
def contracts_script() -> dict[str, Any]:
    """What scripts/contracts.py defines."""
    return runpy.run_path(str(CHECKOUT / "scripts/contracts.py"))


@pytest.fixture(scope="session")
def solc(contracts_script: dict[str, Any]) -> str:
    """The Solidity compiler that this machine can get."""
    return str(contracts_script["native_solc"]() or contracts_script["npm_solc"]())


@pytest.fixture(scope="session")
def compiled(solc: str) -> dict[str, Any]:
    """A contract of a user's, in the compiler's own output."""
    return compile_tariff(solc)
