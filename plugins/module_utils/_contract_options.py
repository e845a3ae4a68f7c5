# SPDX-License-Identifier: GPL-3.0-or-later
"""Options that the modules for contracts share, and what is left unknown in check mode. Private to this collection."""

from __future__ import annotations

from typing import Any

from ansible_collections.smartenergy.clique.plugins.module_utils._node import NODE_OPTIONS

__all__ = ["ARTIFACT", "CHAIN", "KEY", "KEY_RULES", "has_null"]

CHAIN: dict[str, Any] = {
    **NODE_OPTIONS,
    "chain_id": {"type": "int"},
    "timeout_s": {"type": "float", "default": 120},
}
ARTIFACT: dict[str, Any] = {
    "artifact": {"type": "dict"},
    "artifact_file": {"type": "path"},
    "contract": {"type": "str"},
}
KEY: dict[str, Any] = {
    "keystore": {"type": "path", "no_log": False},
    "password_file": {"type": "path", "no_log": False},
    "private_key": {"type": "str", "no_log": True},
}
KEY_RULES: dict[str, Any] = {
    "mutually_exclusive": [("keystore", "private_key")],
    "required_one_of": [("keystore", "private_key")],
    "required_together": [("keystore", "password_file")],
}


def has_null(value: Any) -> bool:
    """Whether something in it cannot be known yet."""
    if isinstance(value, dict):
        return any(map(has_null, value.values()))
    return any(map(has_null, value)) if isinstance(value, list) else value is None
