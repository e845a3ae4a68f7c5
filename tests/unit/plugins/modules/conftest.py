# SPDX-License-Identifier: GPL-3.0-or-later
"""What the tests of modules share."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from support.sealed import SealedChain, sealed


@pytest.fixture(scope="session")
def sealed_chain(geth: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[SealedChain]:
    """One chain for all tests; each makes contracts of its own on it."""
    with sealed(geth, tmp_path_factory.mktemp("sealed")) as chain:
        yield chain
