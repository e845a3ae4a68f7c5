# SPDX-License-Identifier: GPL-3.0-or-later
"""Sealers stopped and killed, ties forced, the power cut: the chain never halts, and what was promised is on it."""

import os
import secrets
from pathlib import Path

from support.chaos import table
from support.chaos_load import chaos_under_load

CHAOS_S = float(os.environ.get("CHAOS_S", "120"))
SEED = int(os.environ.get("CHAOS_SEED", secrets.randbits(32)))
POWER_CUTS = 5  # with them it lasts four minutes


def test_the_chain_goes_on_and_keeps_every_promise(geth: Path, tmp_path: Path) -> None:
    print(f"CHAOS_SEED={SEED}")
    with chaos_under_load(geth, tmp_path, seed=SEED, lasts_s=CHAOS_S, rounds=POWER_CUTS, cuts_per_round=1) as aftermath:
        report = aftermath.report
        print(table({"patched": report}))
        assert not report.halts
        assert not aftermath.damage
        assert report.outages
        assert report.ties
        aftermath.keeps_its_promises()
