# SPDX-License-Identifier: GPL-3.0-or-later
"""Chaos for long, in a network of plain geth and in one of the patched: what each comes to, as a table."""

import os
import secrets
from pathlib import Path

from support.chaos import table
from support.chaos_load import chaos_under_load

CHAOS_S = float(os.environ.get("CHAOS_S", "1800"))
SEED = int(os.environ.get("CHAOS_SEED", secrets.randbits(32)))
POWER_CUTS = int(os.environ.get("CHAOS_POWER_CUTS", "50"))


def test_the_patched_chain_never_halts(geth: Path, plain_geth: Path, tmp_path: Path) -> None:
    print(f"CHAOS_SEED={SEED}")
    reports = {}
    (tmp_path / "plain").mkdir()
    with chaos_under_load(plain_geth, tmp_path / "plain", seed=SEED, lasts_s=CHAOS_S, cuts_per_round=0) as aftermath:
        reports["plain"] = aftermath.report
    (tmp_path / "patched").mkdir()
    with chaos_under_load(
        geth, tmp_path / "patched", seed=SEED, lasts_s=CHAOS_S, cuts_per_round=POWER_CUTS
    ) as aftermath:
        reports["patched"] = aftermath.report
        print(table(reports))
        assert not reports["patched"].halts
        assert not aftermath.damage
        aftermath.keeps_its_promises()
