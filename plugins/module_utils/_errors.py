# SPDX-License-Identifier: GPL-3.0-or-later
"""The errors that backends raise and modules show. Private to this collection."""

from __future__ import annotations

__all__ = ["CliqueError", "reason", "sentence"]


class CliqueError(Exception):
    """Something a user can act on: its text is one sentence for them, and becomes a module's msg."""


def reason(error: OSError | ValueError, kind: str = "JSON") -> str:
    """Why a file could not be read: what the system said, or that its content is not of this kind."""
    return str(error.strerror or error) if isinstance(error, OSError) else f"it is not {kind}"


def sentence(error: CliqueError | OSError) -> str:
    """What a module's msg says: a backend's own words, or what the system refused and no backend foresaw."""
    if isinstance(error, CliqueError):
        return str(error)
    return f"{error.filename or 'this machine'} cannot be used: {reason(error)}"
