# SPDX-License-Identifier: GPL-3.0-or-later
"""The datagrams between a source and the bridge.

A question is one JSON object in UTF-8 followed by the 32 bytes of HMAC-SHA256 over it, at most 512 bytes together
(MATLAB splits what is longer)::

    {"version": 1, "source": "pv", "boot": 1795455436, "seq": 7, "time": 1795455436.5, "slot": 1994950,
     "energy_kwh": 0.869, "price_ether_per_kwh": 0.00008}

source, boot and seq name the reading for ever: boot is a number that the source never used before it started, seq any
number that it did not use since. time is the source's clock in seconds since the epoch, slot the number of slot lengths
(900 s) since then. energy_kwh is provided when positive and needed when negative; price_ether_per_kwh may be negative.

Sources compute in IEEE doubles, so a decimal number is read as the shortest decimal that names the same double
(2.8689999999999999 is 2.869), and then rounded half to even to whole Wh and whole wei per Wh
(1 ether per kWh = 10^15 wei per Wh). Inside the bridge both are ints, as large as a trade on the market can be:
at most 2^32 - 1 Wh, and less than 2^63 wei per Wh, whatever their sign.

An answer has the same form under the same key: version, source, boot, seq, status, and what that status brings
(slot, transaction, deliver, reason). Without keys (a classroom's mode) a datagram is the JSON object alone.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import math
from collections.abc import Collection, Mapping
from decimal import ROUND_HALF_EVEN, Decimal
from typing import Any, NoReturn

from energy_bridge.model import INT64_MAX, UINT32_MAX, Reading

__all__ = [
    "MAC_BYTES",
    "MAX_DATAGRAM_BYTES",
    "VERSION",
    "RejectionError",
    "decode_answer",
    "decode_reading",
    "encode_answer",
    "encode_reading",
    "ether_per_kwh",
]

VERSION = 1
MAX_DATAGRAM_BYTES = 512
MAC_BYTES = 32
MAX_WHOLE = 2**53  # every whole number up to here is a double
# How far the point moves: 1 kWh = 10^3 Wh, and 1 ether per kWh = 10^18 wei per 10^3 Wh.
_WH_PER_KWH_DIGITS = 3
_WEI_PER_WH_DIGITS = 15


class RejectionError(Exception):
    """A datagram that is not a reading; its text says why.

    source is the proven sender (None while nothing is proven: then nobody is answered), boot and seq what it wrote.
    """

    def __init__(self, reason: str, *, source: str | None = None, boot: int | None = None, seq: int | None = None):
        super().__init__(reason)
        self.source = source
        self.boot = boot
        self.seq = seq


def decode_reading(datagram: bytes, *, sources: Collection[str], secrets: Mapping[str, bytes] | None) -> Reading:
    """Read a source's datagram; secrets None means that nobody is authenticated. Raises RejectionError for all else."""
    if len(datagram) > MAX_DATAGRAM_BYTES:
        raise RejectionError(f"longer than {MAX_DATAGRAM_BYTES} bytes")
    body = datagram if secrets is None else datagram[:-MAC_BYTES]
    document = _parse(body)
    source = document.get("source")
    if not isinstance(source, str) or source not in sources:
        raise RejectionError("unknown source")
    if secrets is not None:
        _verify(datagram, secrets.get(source))
    try:
        return _reading(source, document)
    except ValueError as error:
        boot, seq = (value if type(value) is int else None for value in (document.get("boot"), document.get("seq")))
        raise RejectionError(str(error), source=source, boot=boot, seq=seq) from error


def encode_reading(reading: Reading, secret: bytes | None) -> bytes:
    """Write a reading as a source does; exact while energy and price have at most 15 digits."""
    document = {
        "version": VERSION,
        "source": reading.source,
        "boot": reading.boot,
        "seq": reading.seq,
        "time": reading.time,
        "slot": reading.slot,
        "energy_kwh": reading.energy_wh / 1e3,
        "price_ether_per_kwh": ether_per_kwh(reading.price_wei_per_wh),
    }
    return _seal(document, secret)


def encode_answer(answer: Mapping[str, Any], secret: bytes | None) -> bytes:
    """Write what the bridge answers."""
    return _seal({"version": VERSION, **answer}, secret)


def decode_answer(datagram: bytes, secret: bytes | None) -> dict[str, Any]:
    """Read what the bridge answered; raises RejectionError for a wrong MAC or what is no JSON object."""
    if secret is not None:
        _verify(datagram, secret)
        datagram = datagram[:-MAC_BYTES]
    return _parse(datagram)


def ether_per_kwh(price_wei_per_wh: int) -> float:
    """The price as a source writes it."""
    return price_wei_per_wh / 1e15


def _seal(document: Mapping[str, Any], secret: bytes | None) -> bytes:
    body = json.dumps(document, separators=(",", ":")).encode()
    return body if secret is None else body + hmac.digest(secret, body, hashlib.sha256)


def _verify(datagram: bytes, secret: bytes | None) -> None:
    body, mac = datagram[:-MAC_BYTES], datagram[-MAC_BYTES:]
    if secret is None or not hmac.compare_digest(mac, hmac.digest(secret, body, hashlib.sha256)):
        raise RejectionError("wrong MAC")


def _parse(body: bytes) -> dict[str, Any]:
    try:
        document = json.loads(
            body.decode("utf-8"), parse_float=_decimal, parse_constant=_no_number, object_pairs_hook=_without_doubles
        )
    except (ValueError, RecursionError) as error:  # UnicodeDecodeError and JSONDecodeError are ValueErrors
        raise RejectionError(f"malformed: {error}") from error
    if not isinstance(document, dict):
        raise RejectionError("malformed: not a JSON object")
    return document


def _without_doubles(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    document = dict(pairs)
    if len(document) != len(pairs):
        raise ValueError("a name stands twice")
    return document


def _decimal(text: str) -> Decimal:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{text} is too large for a double")
    return Decimal(repr(value))


def _no_number(text: str) -> NoReturn:
    raise ValueError(f"{text} is not a number")


def _reading(source: str, document: Mapping[str, Any]) -> Reading:
    if _whole(document, "version", MAX_WHOLE) != VERSION:
        raise ValueError(f"version is not {VERSION}")
    return Reading(
        source=source,
        boot=_whole(document, "boot", MAX_WHOLE),
        seq=_whole(document, "seq", MAX_WHOLE),
        time=float(_number(document, "time")),
        slot=_whole(document, "slot", UINT32_MAX),
        energy_wh=_scaled(document, "energy_kwh", _WH_PER_KWH_DIGITS, UINT32_MAX),
        price_wei_per_wh=_scaled(document, "price_ether_per_kwh", _WEI_PER_WH_DIGITS, INT64_MAX),
    )


def _number(document: Mapping[str, Any], name: str) -> Decimal:
    value = document.get(name)
    if value is None:
        raise ValueError(f"{name} is missing")
    if isinstance(value, bool) or not isinstance(value, int | Decimal):
        raise ValueError(f"{name} is not a number")  # noqa: TRY004 - it is the sender's mistake, not ours
    number = Decimal(value)
    if abs(number) > INT64_MAX:
        raise ValueError(f"{name} is too large")
    return number


def _whole(document: Mapping[str, Any], name: str, largest: int) -> int:
    value = _number(document, name)
    if value % 1 or not 0 <= value <= largest:
        raise ValueError(f"{name} is not a whole number from 0 to {largest}")
    return int(value)


def _scaled(document: Mapping[str, Any], name: str, digits: int, largest: int) -> int:
    value = int(_number(document, name).scaleb(digits).to_integral_value(ROUND_HALF_EVEN))
    if abs(value) > largest:
        raise ValueError(f"{name} is too large")
    return value
