# SPDX-License-Identifier: GPL-3.0-or-later
"""Random and mutated datagrams, half of them signed after the mutation, and what the bridge makes of them."""

import hashlib
import hmac
import math
import random
import re
import struct
from collections import Counter

from energy_bridge.model import Reading
from energy_bridge.wire import RejectionError, Source, Sources, decode_reading, encode_binary, encode_reading

KEYS = {"pv": (bytes(range(32)), bytes(range(32, 64))), "Wärme": (bytes(32),)}
SOURCES = Sources(Source(name, place, keys) for place, (name, keys) in enumerate(KEYS.items(), 1))
# All that is ever said of a datagram: a handful of sentences, whatever is sent.
NUMBERS = "version|boot|seq|time|slot|energy_kwh|price_ether_per_kwh"
SENTENCE = re.compile(
    "longer than 512 bytes|unknown source|wrong MAC|an answer is not a reading|version is not 1"
    "|malformed: (not JSON in UTF-8|not a JSON object|a name stands twice|not nine doubles"
    "|(NaN|-?Infinity) is not a number)"
    rf"|({NUMBERS}) is (missing|too large|not a number|not a whole number from 0 to (9007199254740992|4294967295))"
)
HARD_DOUBLES = (0.0, -0.0, 0.5, -1.0, 1e308, -1e308, 5e-324, 2.0**53, 2.0**63, math.inf, -math.inf, math.nan)
HARD_WORDS = (
    *(b"NaN", b"-Infinity", b"1e999", b"-0", b"1e-400", b"9" * 40, b"0.5", b"true", b"null", b"[]", b"{}", b'""'),
    *(b'"\\ud800"', b"\xff", b"\0", b"[" * 200, b'"source":"pv",', b'"status":1,', b'"seq":1e15,', b" " * 300),
)


def fuzz(count: int, seed: int) -> Counter[str]:
    """Decode so many datagrams, and count what became of each; seed chooses them.

    Raises AssertionError where a datagram is taken that nobody who has the key has written, or rejected in words that
    nobody expects; what else the decoder raises comes through.
    """
    chance = random.Random(seed)  # noqa: S311 - these bytes are to come again
    outcomes: Counter[str] = Counter()
    for _ in range(count):
        name = chance.choice(list(KEYS))
        key = chance.choice(KEYS[name])
        body = _body(chance, name)
        mutated = chance.randbytes(chance.randrange(600)) if chance.random() < 0.05 else _mutate(chance, body)
        signed = chance.random() < 0.5
        # The MAC of what it was before, or one of the right key.
        datagram = mutated + hmac.digest(key, mutated if signed else body, hashlib.sha256)
        if not signed and chance.random() < 0.5:
            datagram = datagram[: chance.randrange(len(datagram) + 1)]
        outcomes[_outcome(datagram, proven=signed or mutated == body)] += 1
    return outcomes


def _outcome(datagram: bytes, *, proven: bool) -> str:
    try:
        question = decode_reading(datagram, SOURCES)
    except RejectionError as error:
        assert SENTENCE.fullmatch(str(error)), (str(error), datagram)
        assert proven or error.source is None, (str(error), datagram)
        return str(error)
    reading = question.reading
    assert proven, datagram
    assert question.key in KEYS[reading.source], datagram
    assert hmac.new(question.key, datagram[:-32], hashlib.sha256).digest() == datagram[-32:], datagram
    assert 0 <= reading.slot < 2**32, datagram
    assert max(reading.boot, reading.seq) <= 2**53, datagram
    assert abs(reading.energy_nwh) <= (2**32 - 1) * 10**9, datagram
    assert abs(reading.price_wei_per_wh) < 2**63, datagram
    return "taken"


def _body(chance: random.Random, name: str) -> bytes:
    """A right reading in either form, without its MAC."""
    reading = Reading(
        name,
        boot=chance.randrange(2**31),
        seq=chance.randrange(2**20),
        time=chance.uniform(0, 2**31),
        slot=chance.randrange(2**32),
        energy_nwh=chance.randrange(-(10**15), 10**15),
        price_wei_per_wh=chance.randrange(-(10**12), 10**12),
    )
    if chance.random() < 0.5:
        return encode_reading(reading, None)
    return encode_binary(reading, list(KEYS).index(name) + 1, None, big_endian=chance.random() < 0.5)


def _mutate(chance: random.Random, body: bytes) -> bytes:
    """Change a bit, a byte, a double or a word, or cut, repeat or move a piece; up to three times."""
    changed = bytearray(body)
    for _ in range(chance.choice((0, 1, 1, 1, 2, 3))):
        place = chance.randrange(len(changed) + 1)
        end = min(len(changed), place + chance.choice((1, 2, 8, 40)))
        match chance.randrange(7):
            case 0 if end > place:
                changed[place] ^= 1 << chance.randrange(8)
            case 1 if end > place:
                changed[place] = chance.randrange(256)
            case 2:
                del changed[place:end]
            case 3:
                changed[place:place] = changed[place:end]
            case 4:
                changed[place:place] = chance.choice(HARD_WORDS)
            case 5:
                changed[place // 8 * 8 : place // 8 * 8 + 8] = struct.pack(
                    chance.choice("<>") + "d", chance.choice(HARD_DOUBLES)
                )
            case 6:
                # One of JSON's values becomes another one.
                values = list(re.finditer(rb"(?<=:)[^,}]+", changed))
                if values:
                    value = chance.choice(values)
                    changed[value.start() : value.end()] = chance.choice(HARD_WORDS)
    return bytes(changed)
