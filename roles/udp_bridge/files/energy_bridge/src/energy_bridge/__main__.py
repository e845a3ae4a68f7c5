# SPDX-License-Identifier: GPL-3.0-or-later
"""`python -m energy_bridge` is `energy-bridge`."""

import sys

from energy_bridge.cli import main

sys.exit(main())
