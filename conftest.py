# SPDX-License-Identifier: GPL-3.0-or-later
"""What holds for all tests, wherever they are: none is judged by how long it takes."""

import os

from hypothesis import settings

settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")

# A worker and its forks are measured; every program that they start would start later for it, so that is for who asks.
if "PYTEST_XDIST_WORKER" in os.environ and "MEASURE_PROGRAMS" not in os.environ:
    os.environ.pop("COVERAGE_PROCESS_CONFIG", None)
