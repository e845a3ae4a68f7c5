# SPDX-License-Identifier: GPL-3.0-or-later
"""What tests of services share; loaded alone where they run inside a container."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from support.services import a_place


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Path]:
    """A node directory that is not there yet; afterwards nothing of this test runs any more."""
    yield from a_place(tmp_path)
