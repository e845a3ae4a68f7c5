# SPDX-License-Identifier: GPL-3.0-or-later
"""What a source sends is read exactly, and what is not a reading is rejected with a reason."""

import contextlib
import hashlib
import hmac
import json
from typing import Any

import pytest
from energy_bridge.model import Reading
from energy_bridge.wire import RejectionError, decode_answer, decode_reading, encode_answer, encode_reading
from hypothesis import given
from hypothesis import strategies as st

SECRETS = {"pv": bytes(range(32)), "load": bytes(32)}
READING = Reading("pv", 1795455436, 7, 1795455436.5, 1994950, 869, 80_000_000_000)
DOCUMENT = {
    "version": 1,
    "source": "pv",
    "boot": 1795455436,
    "seq": 7,
    "time": 1795455436.5,
    "slot": 1994950,
    "energy_kwh": 0.869,
    "price_ether_per_kwh": 0.00008,
}


def seal(body: bytes, source: str = "pv") -> bytes:
    return body + hmac.new(SECRETS[source], body, hashlib.sha256).digest()


def decode(datagram: bytes) -> Reading:
    return decode_reading(datagram, sources=SECRETS.keys(), secrets=SECRETS)


def reason_for(datagram: bytes) -> str:
    with pytest.raises(RejectionError) as caught:
        decode(datagram)
    return str(caught.value)


def with_number(name: str, literal: str) -> bytes:
    return seal(json.dumps({**DOCUMENT, name: "@"}).replace('"@"', literal).encode())


def test_a_datagram_is_json_and_its_hmac() -> None:
    assert decode(seal(json.dumps(DOCUMENT).encode())) == READING
    assert decode(encode_reading(READING, SECRETS["pv"])) == READING


def test_without_secrets_a_datagram_is_json_alone() -> None:
    assert decode_reading(json.dumps(DOCUMENT).encode(), sources={"pv"}, secrets=None) == READING


@pytest.mark.parametrize(
    ("literal", "energy_wh"),
    [
        ("2.8689999999999999", 2869),  # seventeen digits, as Octave prints 2.869
        ("0.0005", 0),  # half to even
        ("0.0015", 2),
        ("-0.0025", -2),
        ("-3", -3000),
        ("-0.0", 0),
        ("1e-300", 0),
        ("1E2", 100_000),
    ],
)
def test_energy_is_rounded_to_wh(literal: str, energy_wh: int) -> None:
    assert decode(with_number("energy_kwh", literal)).energy_wh == energy_wh


def test_a_price_may_be_negative_and_is_wei_per_wh() -> None:
    assert decode(with_number("price_ether_per_kwh", "-0.3")).price_wei_per_wh == -300_000_000_000_000


@pytest.mark.parametrize(
    ("name", "literal", "value"),
    [
        ("energy_kwh", "4294967.2954", 2**32 - 1),
        ("energy_kwh", "-4294967.295", -(2**32) + 1),
        ("price_ether_per_kwh", "9223.372036854775", 9_223_372_036_854_775_000),
        ("price_ether_per_kwh", "-9223.372036854775", -9_223_372_036_854_775_000),
    ],
)
def test_a_reading_may_be_as_large_as_a_trade(name: str, literal: str, value: int) -> None:
    reading = decode(with_number(name, literal))
    assert value in (reading.energy_wh, reading.price_wei_per_wh)


def test_whole_numbers_may_be_written_as_doubles() -> None:
    assert decode(with_number("slot", "1994950.0")).slot == 1994950


@pytest.mark.parametrize(
    ("name", "literal", "words"),
    [
        ("energy_kwh", "NaN", "NaN"),
        ("energy_kwh", "-Infinity", "Infinity"),
        ("energy_kwh", "1e999", "too large"),
        ("energy_kwh", "1e17", "too large"),
        ("energy_kwh", "4294967.296", "energy_kwh is too large"),
        ("energy_kwh", "-4294967.2955", "energy_kwh is too large"),  # rounded to even, as all others are
        ("price_ether_per_kwh", "9223.372036854775808", "price_ether_per_kwh is too large"),
        ("price_ether_per_kwh", "-9223.372036854777", "price_ether_per_kwh is too large"),
        ("price_ether_per_kwh", "9" * 100, "too large"),
        ("energy_kwh", "true", "not a number"),
        ("energy_kwh", '"1"', "not a number"),
        ("energy_kwh", "null", "missing"),
        ("version", "2", "version"),
        ("seq", "-1", "seq"),
        ("boot", "1.5", "boot"),
        ("slot", "4294967296", "slot"),
        ("slot", "[" * 90 + "]" * 90, "slot"),
    ],
)
def test_what_is_no_value_is_rejected_by_name(name: str, literal: str, words: str) -> None:
    assert words in reason_for(with_number(name, literal))


@pytest.mark.parametrize(
    ("datagram", "words"),
    [
        (b"", "malformed"),
        (b"\xff" * 64, "malformed"),
        (seal(b"[]"), "not a JSON object"),
        (seal(b'{"source": "pv", "source": "load"}'), "twice"),
        (seal(json.dumps({**DOCUMENT, "source": "mallory"}).encode()), "unknown source"),
        (seal(json.dumps({**DOCUMENT, "source": 5}).encode()), "unknown source"),
        (seal(json.dumps(DOCUMENT).encode(), "load"), "wrong MAC"),
        (json.dumps(DOCUMENT).encode() + bytes(32), "wrong MAC"),
        (seal(json.dumps({**DOCUMENT, "pad": "x" * 330}).encode()), "longer than 512"),
    ],
)
def test_what_is_no_datagram_of_a_source_is_rejected(datagram: bytes, words: str) -> None:
    assert words in reason_for(datagram)


def test_only_a_proven_sender_is_named_in_a_rejection() -> None:
    with pytest.raises(RejectionError) as caught:
        decode(with_number("slot", "-1"))
    assert (caught.value.source, caught.value.boot, caught.value.seq) == ("pv", 1795455436, 7)
    with pytest.raises(RejectionError) as caught:
        decode(with_number("slot", "-1")[:-1] + b"?")
    assert caught.value.source is None


@given(st.binary(max_size=600))
def test_no_bytes_crash_the_decoder(datagram: bytes) -> None:
    with pytest.raises(RejectionError):
        decode(datagram)


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9), st.lists))
def test_no_authenticated_value_crashes_the_decoder(value: Any) -> None:
    for name in DOCUMENT:
        body = json.dumps({**DOCUMENT, name: value}).encode()
        with contextlib.suppress(RejectionError):
            decode(seal(body))


@given(
    energy_wh=st.integers(1 - 2**32, 2**32 - 1),
    price=st.integers(-(10**15), 10**15),
    seq=st.integers(0, 2**53),
    slot=st.integers(0, 2**32 - 1),
)
def test_every_reading_comes_back(energy_wh: int, price: int, seq: int, slot: int) -> None:
    reading = Reading("pv", 1, seq, 0.25, slot, energy_wh, price)
    assert decode(encode_reading(reading, SECRETS["pv"])) == reading


def test_an_answer_comes_back_and_a_changed_one_does_not() -> None:
    datagram = encode_answer({"source": "pv", "status": "stored"}, SECRETS["pv"])
    assert decode_answer(datagram, SECRETS["pv"]) == {"version": 1, "source": "pv", "status": "stored"}
    with pytest.raises(RejectionError, match="wrong MAC"):
        decode_answer(datagram.replace(b"stored", b"STORED"), SECRETS["pv"])


def test_an_answer_sent_back_is_not_a_reading() -> None:
    assert "boot" in reason_for(encode_answer({"source": "pv", "status": "stored"}, SECRETS["pv"]))
