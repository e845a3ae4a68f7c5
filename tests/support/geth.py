# SPDX-License-Identifier: GPL-3.0-or-later
"""Geth as the role geth_build has it built by default."""

from pathlib import Path

VERSION = "1.13.15"
_FOLDER = Path(__file__).parents[2] / "roles/geth_build/files/patches" / VERSION
PATCHES = {path.name: path.read_text() for path in sorted(_FOLDER.glob("*.patch"))}
