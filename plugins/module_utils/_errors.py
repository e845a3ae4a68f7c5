# SPDX-License-Identifier: GPL-3.0-or-later
"""The errors that backends raise and modules show. Private to this collection."""

from __future__ import annotations

__all__ = ["CliqueError"]


class CliqueError(Exception):
    """Something a user can act on: its text is one sentence for them, and becomes a module's msg."""
