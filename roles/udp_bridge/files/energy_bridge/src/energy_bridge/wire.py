# SPDX-License-Identifier: GPL-3.0-or-later
"""The datagrams between a source and the bridge, as docs/wire.md has them: two forms of one reading.

JSON is one object in UTF-8::

    {"version": 1, "source": "pv", "boot": 1795455436, "seq": 7, "time": 1795455436.5, "slot": 1994950,
     "energy_kwh": 0.869, "price_ether_per_kwh": 0.00008}

and binary is nine IEEE doubles: MAGIC, version, the source's id, boot, seq, time, slot, energy in kWh, price in ether
per kWh; in either byte order, which MAGIC tells. Either is followed by the 32 bytes of HMAC-SHA256 over it, unless
nobody is authenticated, and is at most 512 bytes long with them (MATLAB splits what is longer).

source, boot and seq name the reading for ever: boot is a number that the source never used before it started, seq any
number that it did not use since. time is the source's clock in seconds since the epoch, slot the number of slot lengths
(900 s) since then. The energy is provided when positive and needed when negative; the price may be negative.

A number is an IEEE double read by its shortest decimal form (0.86899999999999999 is 0.869). Prices are rounded half to
even to whole wei per Wh (1 ether per kWh = 10^15 wei per Wh), energies to 10^-9 Wh, of which clearing makes whole Wh.
Inside the bridge both are ints, as large as a trade on the market can be: less than 2^32 - 1 Wh, and less than 2^63 wei
per Wh, whatever their sign.

An answer is a JSON object under the key of the question, and at most 512 bytes long too: version, source, boot, seq,
status, and what that status brings (slot, transaction, deliver, reason). What has a status is never a reading: whoever
sends an answer back to the bridge gets none.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import struct
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from decimal import ROUND_HALF_EVEN, Decimal
from functools import lru_cache
from typing import Any, NoReturn

from energy_bridge.model import INT64_MAX, NWH_PER_WH, UINT32_MAX, Reading

__all__ = [
    "BINARY_BYTES",
    "MAC_BYTES",
    "MAGIC",
    "MAX_DATAGRAM_BYTES",
    "MAX_WHOLE",
    "VERSION",
    "Question",
    "RejectionError",
    "Source",
    "Sources",
    "decode_answer",
    "decode_reading",
    "encode_acknowledgement",
    "encode_answer",
    "encode_binary",
    "encode_reading",
    "ether_per_kwh",
]

VERSION = 1
MAGIC = 21317  # 0x5345, "SE"
MAX_DATAGRAM_BYTES = 512
MAC_BYTES = 32
MAX_WHOLE = 2**53  # every whole number up to here is a double
_NWH_PER_KWH = 10**12
_WEI_PER_WH = 10**15  # in 1 ether per kWh, which is 10^18 wei per 10^3 Wh
_EXACT = 10**15  # no two decimals of fifteen digits are the same double
_MOST_NWH = (UINT32_MAX - 1) * NWH_PER_WH  # the remainder that is carried may add one Wh
_NUMBERS = frozenset((int, float))

_LITTLE, _BIG = struct.Struct("<9d"), struct.Struct(">9d")
_ORDERS = {struct.pack("<d", MAGIC): _LITTLE, struct.pack(">d", MAGIC): _BIG}
BINARY_BYTES = _LITTLE.size


@dataclass(frozen=True, slots=True)
class Source:
    """Who may send: its name in JSON, its id in binary, and its secrets.

    The first secret is the one to use; the others, older or newer, are taken as well while they are being exchanged.
    """

    name: str
    id: int
    keys: tuple[bytes, ...] = ()


class Sources:
    """All that may send. Raises ValueError for a name or an id that stands twice."""

    def __init__(self, sources: Iterable[Source], *, authenticated: bool = True, strict: bool = False) -> None:
        """Authenticated asks for a MAC; strict rejects an energy or a price that had to be rounded."""
        listed = list(sources)
        self.by_name = {source.name: source for source in listed}
        self.by_id = {source.id: source for source in listed}
        self.authenticated = authenticated
        self.strict = strict
        if len(self.by_name) != len(listed) or len(self.by_id) != len(listed):
            raise ValueError("two sources have one name or one id")


@dataclass(frozen=True, slots=True)
class Question:
    """What a datagram says: the reading, the key that it is proven with (None: nobody is), and was it rounded?"""

    reading: Reading
    key: bytes | None
    rounded: bool


class RejectionError(Exception):
    """A datagram that is not a reading; its text says why.

    source is the proven sender (None while nothing is proven: then nobody is answered), key what proved it; boot and
    seq are what it wrote.
    """

    def __init__(
        self,
        reason: str,
        *,
        source: str | None = None,
        key: bytes | None = None,
        boot: int | None = None,
        seq: int | None = None,
    ):
        super().__init__(reason)
        self.source = source
        self.key = key
        self.boot = boot
        self.seq = seq


def decode_reading(datagram: bytes, sources: Sources) -> Question:
    """Read a source's datagram of either form. Raises RejectionError for all else."""
    if len(datagram) > MAX_DATAGRAM_BYTES:
        raise RejectionError(f"longer than {MAX_DATAGRAM_BYTES} bytes")
    body = datagram[:-MAC_BYTES] if sources.authenticated else datagram
    order = _ORDERS.get(datagram[:8])
    document = _parse(body) if order is None else _unpack(body, order)
    if "status" in document:
        raise RejectionError("an answer is not a reading")
    source = _source(document.get("source"), sources, binary=order is not None)
    key = _verify(datagram, source.keys) if sources.authenticated else None
    try:
        reading, rounded = _reading(source.name, document, strict=sources.strict)
    except ValueError as error:
        boot, seq = (_whole_or_none(document.get(name)) for name in ("boot", "seq"))
        raise RejectionError(str(error), source=source.name, key=key, boot=boot, seq=seq) from error
    return Question(reading, key, rounded)


def encode_reading(reading: Reading, key: bytes | None) -> bytes:
    """Write a reading as a source does, in JSON; exact while energy and price have at most 15 digits."""
    document = {
        "version": VERSION,
        "source": reading.source,
        "boot": reading.boot,
        "seq": reading.seq,
        "time": reading.time,
        "slot": reading.slot,
        "energy_kwh": _kwh(reading.energy_nwh),
        "price_ether_per_kwh": ether_per_kwh(reading.price_wei_per_wh),
    }
    return _seal(_write(document), key)


def encode_binary(reading: Reading, source_id: int, key: bytes | None, *, big_endian: bool = False) -> bytes:
    """Write a reading as a source does, in nine doubles."""
    order = _BIG if big_endian else _LITTLE
    body = order.pack(
        MAGIC,
        VERSION,
        source_id,
        reading.boot,
        reading.seq,
        reading.time,
        reading.slot,
        _kwh(reading.energy_nwh),
        ether_per_kwh(reading.price_wei_per_wh),
    )
    return _seal(body, key)


def encode_answer(answer: Mapping[str, Any], key: bytes | None) -> bytes:
    """Write what the bridge answers; a reason is cut where it would make the datagram too long."""
    body = _write({"version": VERSION, **answer})
    if (excess := len(body) + MAC_BYTES - MAX_DATAGRAM_BYTES) > 0 and answer.get("reason"):
        body = _write({"version": VERSION, **answer, "reason": answer["reason"][:-excess]})
    return _seal(body, key)


def encode_acknowledgement(reading: Reading, status: str, key: bytes | None) -> bytes:
    """Write the answer that most readings get, with a status that needs no more than the slot, in half of the time."""
    body = (
        f'{{"version":{VERSION},"source":{_quoted(reading.source)},"boot":{reading.boot},"seq":{reading.seq},'
        f'"status":"{status}","slot":{reading.slot}}}'
    )
    return _seal(body.encode(), key)


def decode_answer(datagram: bytes, key: bytes | None) -> dict[str, Any]:
    """Read what the bridge answered; raises RejectionError for a wrong MAC or what is no answer."""
    if key is not None:
        _verify(datagram, (key,))
        datagram = datagram[:-MAC_BYTES]
    answer = _parse(datagram)
    if "status" not in answer:
        raise RejectionError("not an answer: it has no status")
    return answer


def ether_per_kwh(price_wei_per_wh: int) -> float:
    """The price as a source writes it."""
    return price_wei_per_wh / _WEI_PER_WH


def _kwh(energy_nwh: int) -> float:
    return energy_nwh / _NWH_PER_KWH


def _write(document: Mapping[str, Any]) -> bytes:
    # Half of what json.dumps takes, which is made for more than one flat object.
    members = [f'"{name}":{_WRITERS.get(type(value), json.dumps)(value)}' for name, value in document.items()]
    return f"{{{','.join(members)}}}".encode()


def _seal(body: bytes, key: bytes | None) -> bytes:
    return body if key is None else body + _mac(key, body)


def _mac(key: bytes, body: bytes) -> bytes:
    mac = _keyed(key).copy()
    mac.update(body)
    return mac.digest()


@lru_cache(maxsize=4096)
def _keyed(key: bytes) -> hmac.HMAC:
    # To begin with a key takes as long as the rest, and a source asks again.
    return hmac.new(key, digestmod=hashlib.sha256)


def _verify(datagram: bytes, keys: Iterable[bytes]) -> bytes:
    body, mac = datagram[:-MAC_BYTES], datagram[-MAC_BYTES:]
    for key in keys:
        if hmac.compare_digest(mac, _mac(key, body)):
            return key
    raise RejectionError("wrong MAC")


def _parse(body: bytes) -> dict[str, Any]:
    # There are few sentences, whatever is sent: they are what logs and metrics are counted by.
    try:
        document = _DECODER.decode(body.decode("utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise RejectionError("malformed: not JSON in UTF-8") from error
    except ValueError as error:
        raise RejectionError(f"malformed: {error}") from error
    if not isinstance(document, dict):
        raise RejectionError("malformed: not a JSON object")
    return document


def _unpack(body: bytes, order: struct.Struct) -> dict[str, Any]:
    if len(body) != BINARY_BYTES:
        raise RejectionError("malformed: not nine doubles")
    names = ("version", "source", "boot", "seq", "time", "slot", "energy_kwh", "price_ether_per_kwh")
    return dict(zip(names, order.unpack(body)[1:], strict=True))


def _source(named: Any, sources: Sources, *, binary: bool) -> Source:
    known: Mapping[Any, Source] = sources.by_id if binary else sources.by_name
    source = known.get(named) if isinstance(named, float if binary else str) else None
    if source is None:
        raise RejectionError("unknown source")
    return source


def _without_doubles(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    document = dict(pairs)
    if len(document) != len(pairs):
        raise ValueError("a name stands twice")
    return document


def _no_number(text: str) -> NoReturn:
    raise ValueError(f"{text} is not a number")


_quoted = json.encoder.encode_basestring_ascii
_WRITERS: Mapping[type, Callable[[Any], str]] = {int: int.__repr__, str: _quoted}
_DECODER = json.JSONDecoder(parse_constant=_no_number, object_pairs_hook=_without_doubles)


def _reading(source: str, document: Mapping[str, Any], *, strict: bool) -> tuple[Reading, bool]:
    """The reading, and is its energy or price rounded, here or when its slot is cleared?"""
    if _whole(document, "version", MAX_WHOLE) != VERSION:
        raise ValueError(f"version is not {VERSION}")
    energy_nwh, energy_rounded = _scaled(document, "energy_kwh", _NWH_PER_KWH, _MOST_NWH)
    price, price_rounded = _scaled(document, "price_ether_per_kwh", _WEI_PER_WH, INT64_MAX)
    reading = Reading(
        source=source,
        boot=_whole(document, "boot", MAX_WHOLE),
        seq=_whole(document, "seq", MAX_WHOLE),
        time=float(_number(document, "time")),
        slot=_whole(document, "slot", UINT32_MAX),
        energy_nwh=energy_nwh,
        price_wei_per_wh=price,
    )
    energy_rounded = energy_rounded or energy_nwh % NWH_PER_WH != 0
    if strict and energy_rounded:
        raise ValueError("energy_kwh is not a whole number of Wh")
    if strict and price_rounded:
        raise ValueError("price_ether_per_kwh is not a whole number of wei per Wh")
    return reading, energy_rounded or price_rounded


def _number(document: Mapping[str, Any], name: str) -> int | float:
    value: Any = document.get(name)
    if type(value) not in _NUMBERS or value != value:  # noqa: PLR0124 - NaN is not
        raise ValueError(f"{name} is missing" if value is None else f"{name} is not a number")
    if not -INT64_MAX <= value <= INT64_MAX:
        raise ValueError(f"{name} is too large")
    return value  # type: ignore[no-any-return]


def _whole(document: Mapping[str, Any], name: str, largest: int) -> int:
    value = document.get(name)
    if type(value) is int and 0 <= value <= largest:
        return value
    value = _number(document, name)
    if not 0 <= value <= largest or (whole := int(value)) != value:
        raise ValueError(f"{name} is not a whole number from 0 to {largest}")
    return whole


def _whole_or_none(value: Any) -> int | None:
    return int(value) if type(value) in (int, float) and abs(value) <= MAX_WHOLE and value % 1 == 0 else None


def _scaled(document: Mapping[str, Any], name: str, scale: int, largest: int) -> tuple[int, bool]:
    """A number times a power of ten, and was it rounded?"""
    number = _number(document, name)
    value, rounded = round(number * scale), False
    # As a rule it is one of the decimals of which no two are the same double: then there is no need for slow ones.
    if abs(value) >= _EXACT or value / scale != number:
        exact = Decimal(repr(number)) * scale  # at most 19 digits and zeros: nothing is lost
        value = int(exact.to_integral_value(ROUND_HALF_EVEN))
        rounded = value != exact
    if abs(value) > largest:
        raise ValueError(f"{name} is too large")
    return value, rounded
