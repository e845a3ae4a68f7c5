# SPDX-License-Identifier: GPL-3.0-or-later
"""A whole configuration of the bridge, of which a test says what matters to it."""

from __future__ import annotations

from typing import Any

NOBODY_URL = "http://127.0.0.1:9"


def bridge_settings(**own: Any) -> dict[str, Any]:
    """What config.json holds: these settings, and for all others a bridge alone, without authentication or a node."""
    return {
        "listen_host": "127.0.0.1",
        "listen_port": 0,
        "listen_allow": None,
        "web_host": "127.0.0.1",
        "web_port": 0,
        "clock": "simulated",
        "accept_horizon_s": 172_800,
        "database": "bridge.sqlite",
        "rpc_url": NOBODY_URL,
        "chain_id": 1337,
        "period_s": 5,
        "market": {"address": "0x" + "ab" * 20, "abi": "EnergyMarket.json"},
        "mode": "batch",
        "agreement_factory": None,
        "deliver_within_s": 86_400,
        "operator": {"keystore": "keystore", "password_file": "password"},
        "actors": {
            "pv": {"address": "0x" + "01" * 20, "kind": "PV"},
            "grid": {"address": "0x" + "02" * 20, "kind": "Grid"},
        },
        "clearing": {},
        "source_keys": None,
        "slot_s": 900,
        "lead_s": 0,
        "grace_s": 0,
        "retention_days": 60,
        "confirmations": 3,
        "poll_s": 1,
        "strict": False,
        "currency": "EUR",
        "wei_per_unit": 10**15,
        "web_names": [],
        "sealers": {},
        **own,
    }
