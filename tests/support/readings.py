# SPDX-License-Identifier: GPL-3.0-or-later
"""A data set, sent as meters send it."""

import hashlib
import hmac
import json
import socket
import time
from collections.abc import Mapping
from contextlib import closing
from typing import Any


def send_readings(
    bridge: tuple[str, int], secrets: Mapping[str, str], slot: int, offers: Mapping[str, tuple[float, float]]
) -> dict[str, Any]:
    """Send what each source offers, as kWh (provided is positive) and ether per kWh; return the first answers."""
    answers = {}
    for name, (energy_kwh, price) in offers.items():
        body = json.dumps(
            {"version": 1, "source": name, "boot": 1, "seq": slot, "time": time.time(), "slot": slot}
            | {"energy_kwh": energy_kwh, "price_ether_per_kwh": price}
        ).encode()
        with closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as client:
            client.settimeout(10)
            client.sendto(body + hmac.digest(bytes.fromhex(secrets[name]), body, hashlib.sha256), bridge)
            answers[name] = json.loads(client.recv(512)[:-32])
    return answers
