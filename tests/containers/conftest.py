# SPDX-License-Identifier: GPL-3.0-or-later
"""A host with systemd, of this machine's own architecture: emulation would not enforce a sandbox."""

import sys
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.containers import Host

CHECKOUT = Path(__file__).parents[2]
sys.path.insert(0, str(CHECKOUT / "scripts"))

import containers  # noqa: E402


@pytest.fixture(scope="session")
def host() -> Iterator[Host]:
    """A running container whose systemd has come up; it goes with the tests."""
    containers.engine()
    host = Host(f"clique-test-{uuid.uuid4().hex[:8]}")
    host.start(containers.image(containers.SUITE, containers.NATIVE), CHECKOUT)
    try:
        yield host
    finally:
        host.remove()
