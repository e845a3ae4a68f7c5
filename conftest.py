# SPDX-License-Identifier: GPL-3.0-or-later
"""What holds for all tests, wherever they are: none is judged by how long it takes."""

from hypothesis import settings

settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")
