# SPDX-License-Identifier: GPL-3.0-or-later
"""When in a day a load needs its energy: shapes that have a name, by the hour, UTC."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

__all__ = ["PROFILES", "Profile"]

# A name of these, or the weights of equal parts of a day.
Profile = str | tuple[float, ...]


def _household_kw(hour: float) -> float:
    """A base, a peak at breakfast, a higher one in the evening."""
    return 0.3 + 0.7 * _bump(hour, 7.5, 1.2) + 0.4 * _bump(hour, 12.5, 1.5) + 1.3 * _bump(hour, 19.0, 1.8)


def _business_kw(hour: float) -> float:
    """A base, and a working day."""
    return 0.2 + 1.0 * _bump(hour, 10.5, 2.0) + 0.8 * _bump(hour, 15.0, 2.0)


def _constant_kw(hour: float) -> float:  # noqa: ARG001 - that is what constant means
    return 1.0


def _bump(hour: float, middle: float, width: float) -> float:
    return math.exp(-(((hour - middle) / width) ** 2) / 2)


# The shape of a day, in kW by the hour, and what it comes to in kWh.
PROFILES: Mapping[str, tuple[Callable[[float], float], float]] = {
    "household": (_household_kw, 16.66),
    "business": (_business_kw, 13.82),
    "constant": (_constant_kw, 24.0),
}
