# SPDX-License-Identifier: GPL-3.0-or-later
"""How modules are told which node to ask: the same options in each of them. Private to this collection."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ansible_collections.smartenergy.clique.plugins.module_utils._errors import CliqueError

__all__ = ["EITHER", "NODE_OPTIONS", "is_url", "place_of"]

NODE_OPTIONS: dict[str, dict[str, Any]] = {"ipc": {"type": "path"}, "rpc_url": {"type": "str"}}
"""What an argument spec takes over; the doc fragment smartenergy.clique.node describes it."""
EITHER = ("ipc", "rpc_url")
"""Of these a module takes one."""


def place_of(given: Mapping[str, Any]) -> str:
    """Where the node is: the path of its Unix socket, or its URL. Raises CliqueError where a URL is none."""
    if given["ipc"] is not None:
        return str(given["ipc"])
    rpc_url = str(given["rpc_url"])
    if not is_url(rpc_url):
        raise CliqueError(f"{rpc_url} is no URL of a node; it has to begin with http:// or https://")
    return rpc_url


def is_url(place: str) -> bool:
    return place.startswith(("http://", "https://"))
