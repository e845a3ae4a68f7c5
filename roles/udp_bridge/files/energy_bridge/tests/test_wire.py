# SPDX-License-Identifier: GPL-3.0-or-later
"""What a source sends is read exactly, in both forms, and what is not a reading is rejected with a reason."""

import contextlib
import hashlib
import hmac
import json
import math
import struct
from decimal import ROUND_HALF_EVEN, Decimal, localcontext
from typing import Any

import pytest
from energy_bridge.model import Reading
from energy_bridge.wire import (
    Question,
    RejectionError,
    Source,
    Sources,
    decode_answer,
    decode_reading,
    encode_answer,
    encode_binary,
    encode_reading,
)
from hypothesis import given
from hypothesis import strategies as st

NEW, OLD, LOAD = bytes(range(32)), bytes(range(32, 64)), bytes(32)
LISTED = [Source("pv", 2, (NEW, OLD)), Source("load", 1, (LOAD,)), Source("mute", 3)]
SOURCES, STRICT, OPEN = Sources(LISTED), Sources(LISTED, strict=True), Sources(LISTED, authenticated=False)
READING = Reading("pv", 1795455436, 7, 1795455436.5, 1994950, 869 * 10**9, 80_000_000_000)
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
DOUBLES: dict[str, float] = {"magic": 21317, **DOCUMENT, "source": 2}  # type: ignore[dict-item]


def seal(body: bytes, key: bytes = NEW) -> bytes:
    return body + hmac.new(key, body, hashlib.sha256).digest()


def read(datagram: bytes, sources: Sources = SOURCES) -> Reading:
    return decode_reading(datagram, sources).reading


def rejection(datagram: bytes, sources: Sources = SOURCES) -> RejectionError:
    with pytest.raises(RejectionError) as caught:
        decode_reading(datagram, sources)
    return caught.value


def json_body(name: str, literal: str) -> bytes:
    return json.dumps({**DOCUMENT, name: "@"}).replace('"@"', literal).encode()


def binary_body(name: str = "version", value: float = 1, order: str = "<") -> bytes:
    return struct.pack(f"{order}9d", *{**DOUBLES, name: value}.values())


# Both forms of one reading.


def test_json_and_its_hmac_are_a_reading() -> None:
    assert decode_reading(seal(json.dumps(DOCUMENT).encode()), SOURCES) == Question(READING, NEW, rounded=False)


@pytest.mark.parametrize("order", ["<", ">"])
def test_nine_doubles_in_either_order_and_their_hmac_are_a_reading(order: str) -> None:
    body = struct.pack(f"{order}9d", 21317, 1, 2, 1795455436, 7, 1795455436.5, 1994950, 0.869, 0.00008)
    assert decode_reading(seal(body), SOURCES) == Question(READING, NEW, rounded=False)


def test_what_is_written_is_read() -> None:
    assert read(encode_reading(READING, NEW)) == READING
    assert read(encode_binary(READING, 2, NEW)) == READING
    assert read(encode_binary(READING, 2, NEW, big_endian=True)) == READING


def test_where_nobody_is_authenticated_there_is_no_hmac() -> None:
    for body in (json.dumps(DOCUMENT).encode(), binary_body(), binary_body(order=">")):
        assert decode_reading(body, OPEN) == Question(READING, None, rounded=False)
        assert str(rejection(seal(body), OPEN)).startswith("malformed: ")


def test_names_that_nobody_knows_and_white_space_do_not_matter() -> None:
    assert read(seal(json.dumps({**DOCUMENT, "unit": ["kWh"]}, indent=1).encode() + b"\r\n")) == READING


def test_a_name_may_be_written_in_any_way_of_json() -> None:
    sources = Sources([Source("Wärme", 1, (NEW,))])
    for ascii_only in (True, False):
        body = json.dumps({**DOCUMENT, "source": "Wärme"}, ensure_ascii=ascii_only).encode()
        assert read(seal(body), sources).source == "Wärme"


@pytest.mark.parametrize("twice", [[Source("pv", 1), Source("pv", 2)], [Source("pv", 1), Source("load", 1)]])
def test_two_sources_have_two_names_and_two_ids(twice: list[Source]) -> None:
    with pytest.raises(ValueError, match="one name or one id"):
        Sources(twice)


# Keys.


@pytest.mark.parametrize("key", [NEW, OLD])
def test_a_question_under_any_key_of_its_source_is_taken_and_says_which(key: bytes) -> None:
    for datagram in (encode_reading(READING, key), encode_binary(READING, 2, key)):
        question = decode_reading(datagram, SOURCES)
        assert (question.reading, question.key) == (READING, key)
        answer = encode_answer({"source": "pv", "status": "stored"}, question.key)
        assert decode_answer(answer, key)["status"] == "stored"


def test_a_rejection_says_under_which_key_it_is_answered() -> None:
    assert rejection(seal(json_body("slot", "-1"), OLD)).key == OLD


def test_a_key_that_is_retired_or_another_sources_or_nobodys_proves_nothing() -> None:
    renewed = Sources([Source("pv", 2, (NEW,)), Source("load", 1, (LOAD,))])
    for key in (OLD, LOAD, b""):
        for datagram in (encode_reading(READING, key), encode_binary(READING, 2, key)):
            assert str(rejection(datagram, renewed)) == "wrong MAC"
    assert str(rejection(seal(json_body("source", '"mute"'), b""))) == "wrong MAC"


@given(st.integers(0, 8 * 104 - 1))
def test_no_bit_may_change(bit: int) -> None:
    datagram = bytearray(encode_binary(READING, 2, NEW))
    datagram[bit // 8] ^= 1 << bit % 8
    assert rejection(bytes(datagram)).source is None


# Numbers.


@pytest.mark.parametrize(
    ("literal", "energy_nwh", "rounded"),
    [
        ("0.86899999999999999", 869 * 10**9, False),  # seventeen digits, as MATLAB prints 0.869
        ("0.1e1", 10**12, False),
        ("-3", -3 * 10**12, False),
        ("-0.0", 0, False),
        ("1E2", 10**14, False),
        ("0.0005", 5 * 10**8, True),  # half a Wh: clearing makes whole ones
        ("0.0000000000005", 0, True),  # half to even
        ("0.0000000000015", 2, True),
        ("-0.0000000000025", -2, True),
        ("1e-300", 0, True),
        ("5e-324", 0, True),
    ],
)
def test_energy_is_read_to_the_billionth_of_a_wh(literal: str, energy_nwh: int, rounded: bool) -> None:
    for body in (json_body("energy_kwh", literal), binary_body("energy_kwh", float(literal))):
        question = decode_reading(seal(body), SOURCES)
        assert (question.reading.energy_nwh, question.rounded) == (energy_nwh, rounded)


@pytest.mark.parametrize(
    ("literal", "price_wei_per_wh", "rounded"),
    [
        ("-0.3", -300_000_000_000_000, False),
        ("0.000000000000001", 1, False),
        ("0.0000000000000005", 0, True),
        ("0.0000000000000015", 2, True),
        ("-0.0000000000000015", -2, True),
        ("0.30000000000000004", 300_000_000_000_000, True),
    ],
)
def test_a_price_is_read_in_whole_wei_per_wh(literal: str, price_wei_per_wh: int, rounded: bool) -> None:
    for body in (json_body("price_ether_per_kwh", literal), binary_body("price_ether_per_kwh", float(literal))):
        question = decode_reading(seal(body), SOURCES)
        assert (question.reading.price_wei_per_wh, question.rounded) == (price_wei_per_wh, rounded)


@pytest.mark.parametrize(
    ("name", "literal", "value"),
    [
        ("energy_kwh", "4294967.294", (2**32 - 2) * 10**9),
        ("energy_kwh", "-4294967.294", (2 - 2**32) * 10**9),
        ("price_ether_per_kwh", "9223.372036854775", 9_223_372_036_854_775_000),
        ("price_ether_per_kwh", "-9223.372036854775", -9_223_372_036_854_775_000),
        ("slot", "4294967295", 2**32 - 1),
        ("boot", "9007199254740992", 2**53),
        ("seq", "0", 0),
    ],
)
def test_a_reading_may_be_as_large_as_a_trade(name: str, literal: str, value: int) -> None:
    for body in (json_body(name, literal), binary_body(name, float(literal))):
        reading = read(seal(body))
        assert value in (reading.energy_nwh, reading.price_wei_per_wh, reading.slot, reading.boot, reading.seq)


def test_whole_numbers_may_be_written_as_doubles() -> None:
    assert read(seal(json_body("slot", "1994950.0"))).slot == 1994950
    assert read(seal(json_body("slot", "1.99495e6"))).slot == 1994950


@pytest.mark.parametrize(
    ("name", "literal", "sentence"),
    [
        ("energy_kwh", "0.8691", "energy_kwh is not a whole number of Wh"),
        ("energy_kwh", "0.8690000000000001", "energy_kwh is not a whole number of Wh"),
        ("price_ether_per_kwh", "1e-16", "price_ether_per_kwh is not a whole number of wei per Wh"),
    ],
)
def test_a_strict_bridge_rejects_what_it_would_have_to_round(name: str, literal: str, sentence: str) -> None:
    for body in (json_body(name, literal), binary_body(name, float(literal))):
        assert str(rejection(seal(body), STRICT)) == sentence
        assert decode_reading(seal(body), SOURCES).rounded
    assert read(encode_reading(READING, NEW), STRICT) == READING


# Rejections.


@pytest.mark.parametrize(
    ("name", "literal", "sentence"),
    [
        ("energy_kwh", "1e999", "energy_kwh is too large"),
        ("energy_kwh", "1e17", "energy_kwh is too large"),
        ("energy_kwh", "4294967.2941", "energy_kwh is too large"),
        ("energy_kwh", "-4294967.2941", "energy_kwh is too large"),
        ("price_ether_per_kwh", "9223.372036854777", "price_ether_per_kwh is too large"),
        ("price_ether_per_kwh", "-9223.372036854777", "price_ether_per_kwh is too large"),
        ("time", "-1e19", "time is too large"),
        ("version", "2", "version is not 1"),
        ("version", "0.5", "version is not a whole number from 0 to 9007199254740992"),
        ("seq", "-1", "seq is not a whole number from 0 to 9007199254740992"),
        ("boot", "1.5", "boot is not a whole number from 0 to 9007199254740992"),
        ("boot", "9007199254740994", "boot is not a whole number from 0 to 9007199254740992"),
        ("slot", "4294967296", "slot is not a whole number from 0 to 4294967295"),
        ("slot", "-1e-300", "slot is not a whole number from 0 to 4294967295"),
    ],
)
def test_what_is_no_value_is_rejected_by_name_in_both_forms(name: str, literal: str, sentence: str) -> None:
    for body in (json_body(name, literal), *(binary_body(name, float(literal), order) for order in "<>")):
        assert str(rejection(seal(body))) == sentence


@pytest.mark.parametrize("name", ["version", "boot", "seq", "time", "slot", "energy_kwh", "price_ether_per_kwh"])
def test_no_number_is_rejected_by_name(name: str) -> None:
    for literal in ("true", "false", '"1"', "[1]", '{"a": 1}'):
        assert str(rejection(seal(json_body(name, literal)))) == f"{name} is not a number"
    for literal in ("NaN", "Infinity", "-Infinity"):
        assert str(rejection(seal(json_body(name, literal)))) == f"malformed: {literal} is not a number"
    missing = json.dumps({key: value for key, value in DOCUMENT.items() if key != name}).encode()
    for body in (missing, json_body(name, "null")):
        assert str(rejection(seal(body))) == f"{name} is missing"
    for large in ("1e999", "9" * 60):
        assert str(rejection(seal(json_body(name, large)))) == f"{name} is too large"
    assert str(rejection(seal(binary_body(name, math.nan)))) == f"{name} is not a number"
    assert str(rejection(seal(binary_body(name, -math.inf)))) == f"{name} is too large"


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        (b"\xff" * 64, "malformed: not JSON in UTF-8"),
        (b"\xef\xbb\xbf{}", "malformed: not JSON in UTF-8"),
        (b'{"slot": 1', "malformed: not JSON in UTF-8"),
        (b'{"slot": 01}', "malformed: not JSON in UTF-8"),
        (b'{"slot": 1}{"slot": 2}', "malformed: not JSON in UTF-8"),
        (b"[" * 400, "malformed: not JSON in UTF-8"),
        (b"[]", "malformed: not a JSON object"),
        (b'"pv"', "malformed: not a JSON object"),
        (b'{"source": "pv", "source": "load"}', "malformed: a name stands twice"),
        (b'{"a": {"b": 1, "b": 1}}', "malformed: a name stands twice"),
        (binary_body()[:-1], "malformed: not nine doubles"),
        (binary_body() + bytes(8), "malformed: not nine doubles"),
        (binary_body("magic", 21318), "malformed: not JSON in UTF-8"),
        (b"{}", "unknown source"),
        (json_body("source", '"mallory"'), "unknown source"),
        (json_body("source", '"\\ud800"'), "unknown source"),
        *((json_body("source", literal), "unknown source") for literal in ("2", "2.0", "null", "true", "[2]", "{}")),
        *((binary_body("source", value), "unknown source") for value in (9, 2.5, -2, math.nan, math.inf)),
        (json_body("status", '"stored"'), "an answer is not a reading"),
        (json_body("pad", f'"{"x" * 400}"'), "longer than 512 bytes"),
        (bytes(481), "longer than 512 bytes"),
    ],
)
def test_what_is_no_datagram_of_a_source_is_rejected_and_proves_nobody(body: bytes, sentence: str) -> None:
    error = rejection(seal(body))
    assert (str(error), error.source, error.key) == (sentence, None, None)


def test_a_datagram_may_have_512_bytes() -> None:
    pad = 512 - 32 - len(json_body("pad", '""'))
    assert read(seal(json_body("pad", f'"{"x" * pad}"'))) == READING
    assert str(rejection(seal(json_body("pad", f'"{"x" * (pad + 1)}"')))) == "longer than 512 bytes"


@pytest.mark.parametrize("size", range(105))
def test_what_ends_too_early_is_rejected(size: int) -> None:
    for datagram in (encode_binary(READING, 2, NEW), encode_binary(READING, 2, NEW, big_endian=True)):
        if size < len(datagram):
            assert str(rejection(datagram[:size])).startswith("malformed: ")
    assert str(rejection(encode_reading(READING, NEW)[:size])).startswith("malformed: ")


def test_a_source_that_is_proven_is_named_in_a_rejection_with_what_it_wrote() -> None:
    for body in (json_body("slot", "-1"), binary_body("slot", -1)):
        error = rejection(seal(body))
        assert (error.source, error.key, error.boot, error.seq) == ("pv", NEW, 1795455436, 7)
        error = rejection(body + bytes(32))
        assert (str(error), error.source, error.boot, error.seq) == ("wrong MAC", None, None, None)
        error = rejection(body, OPEN)
        assert (error.source, error.key, error.boot, error.seq) == ("pv", None, 1795455436, 7)
    for literal in ("1.5", '"7"', "1e300", "null"):
        assert rejection(seal(json_body("seq", literal))).seq is None
    assert rejection(seal(binary_body("seq", math.nan))).seq is None


# Answers.


def test_an_answer_comes_back_and_a_changed_one_does_not() -> None:
    datagram = encode_answer({"source": "pv", "status": "stored"}, NEW)
    assert decode_answer(datagram, NEW) == {"version": 1, "source": "pv", "status": "stored"}
    for forged in (datagram.replace(b"stored", b"STORED"), datagram[:-1], b"", bytes(40)):
        with pytest.raises(RejectionError, match=r"^wrong MAC$"):
            decode_answer(forged, NEW)


def test_a_question_is_not_an_answer_and_an_answer_is_not_a_question() -> None:
    with pytest.raises(RejectionError, match=r"^not an answer: it has no status$"):
        decode_answer(encode_reading(READING, NEW), NEW)
    # Nobody is named, so nobody is answered: the bridge never talks to itself.
    sent_back = rejection(encode_answer({"source": "pv", "boot": 1, "seq": 7, "status": "stored"}, NEW))
    assert (str(sent_back), sent_back.source) == ("an answer is not a reading", None)


@pytest.mark.parametrize("reason", ["x" * 1000, "ä" * 300, ""])
def test_an_answer_fits_a_datagram_whatever_its_reason(reason: str) -> None:
    datagram = encode_answer({"source": "pv", "boot": 1, "seq": 7, "status": "refused", "reason": reason}, NEW)
    assert len(datagram) <= 512
    answer = decode_answer(datagram, NEW)
    assert (answer["status"], reason.startswith(answer["reason"])) == ("refused", True)


# Whatever the numbers.

WHOLE = st.integers(0, 2**53)
READINGS = st.builds(
    Reading,
    st.just("pv"),
    boot=WHOLE,
    seq=WHOLE,
    time=st.floats(-(2.0**62), 2.0**62),
    slot=st.integers(0, 2**32 - 1),
    energy_nwh=st.integers(1 - 10**15, 10**15 - 1) | st.integers(2 - 2**32, 2**32 - 2).map(lambda wh: wh * 10**9),
    price_wei_per_wh=st.integers(1 - 10**15, 10**15 - 1),
)


@given(READINGS, st.booleans())
def test_every_reading_comes_back_in_both_forms(reading: Reading, big_endian: bool) -> None:
    assert read(encode_reading(reading, NEW)) == reading
    assert read(encode_binary(reading, 2, NEW, big_endian=big_endian)) == reading


@given(energy=st.floats(), price=st.floats(), time=st.floats())
def test_both_forms_of_the_same_doubles_are_the_same_reading(energy: float, price: float, time: float) -> None:
    said: dict[str, Any] = {"energy_kwh": energy, "price_ether_per_kwh": price, "time": time}
    bodies = [json.dumps({**DOCUMENT, **said}).encode()]
    bodies += [struct.pack(f"{order}9d", *{**DOUBLES, **said}.values()) for order in "<>"]
    outcomes: list[Question | None] = []
    for body in bodies:
        outcomes.append(None)
        with contextlib.suppress(RejectionError):
            outcomes[-1] = decode_reading(seal(body), SOURCES)
    assert outcomes[0] == outcomes[1] == outcomes[2]


@given(st.floats(-9223, 9223), st.floats(-9223, 9223))
def test_numbers_are_rounded_half_to_even_from_their_shortest_decimal(energy: float, price: float) -> None:
    question = decode_reading(seal(struct.pack("<9d", *[*DOUBLES.values()][:7], energy, price)), SOURCES)
    with localcontext() as context:
        context.prec = 400
        exact_nwh, exact_price = Decimal(repr(energy)) * 10**12, Decimal(repr(price)) * 10**15
        assert question.reading.energy_nwh == exact_nwh.to_integral_value(ROUND_HALF_EVEN)
        assert question.reading.price_wei_per_wh == exact_price.to_integral_value(ROUND_HALF_EVEN)
        assert question.rounded == (exact_nwh % 10**9 != 0 or exact_price % 1 != 0)


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9), st.lists))
def test_no_authenticated_value_crashes_the_decoder(value: Any) -> None:
    for name in DOCUMENT:
        body = json.dumps({**DOCUMENT, name: value}).encode()
        with contextlib.suppress(RejectionError):
            decode_reading(seal(body), SOURCES)
