# SPDX-License-Identifier: GPL-3.0-or-later
"""One browser, and one bridge with two days of trades, for all tests that only look."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser
from support.bridge import Bridge
from support.browser import chromium
from support.chain import GATEWAY_APIS, Chain, one_sealer
from support.stage import first_slots, make_stage, on_stage, play


@pytest.fixture(scope="session")
def running_browser() -> Iterator[Browser]:
    with chromium() as running:
        yield running


@pytest.fixture(scope="session")
def axe(contracts_script: dict[str, Any]) -> Path:
    """axe-core, which finds what shuts people out."""
    return Path(contracts_script["bundle"]("axe-core"))


@pytest.fixture(scope="session")
def chain(geth: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chain]:
    """A chain whose node says who seals, as the gateway's does."""
    with one_sealer(geth, tmp_path_factory.mktemp("chain"), apis=GATEWAY_APIS) as running:
        yield running


@pytest.fixture(scope="session")
def stage(chain: Chain, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bridge]:
    """A bridge on that chain, with all trades of two stretches settled."""
    with on_stage(make_stage(tmp_path_factory.mktemp("stage"), chain)) as bridge:
        for first in first_slots():
            play(bridge, first)
        yield bridge
