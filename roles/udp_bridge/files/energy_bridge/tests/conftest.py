# SPDX-License-Identifier: GPL-3.0-or-later
"""What these tests share with the others' is in tests/support."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[5] / "tests"))
