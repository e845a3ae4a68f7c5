# SPDX-License-Identifier: GPL-3.0-or-later
"""docs/wire.md is true: its vectors, its sentences, its statuses."""

import hashlib
import hmac
import json
import re
import struct
from pathlib import Path

import pytest
from energy_bridge.intake import TimeRules, untimely
from energy_bridge.model import Reading
from energy_bridge.wire import Question, RejectionError, Source, Sources, decode_answer, decode_reading, encode_answer
from support.wire_fuzz import NUMBERS, SENTENCE, fuzz

DOCUMENT = (Path(__file__).parents[2] / "docs/wire.md").read_text()
VECTORS = {
    name: bytes.fromhex(digits.replace("\n", ""))
    for name, digits in re.findall(r"^```hex (\S+)\n([0-9a-f\n]+)```$", DOCUMENT, re.MULTILINE)
}
SECRET = bytes.fromhex(re.findall(r"The secret is\s`(\w{64})`", DOCUMENT)[0])
EXAMPLE, ANSWER = (json.loads(text) for text in re.findall(r"^```json\n(.*?)```$", DOCUMENT, re.MULTILINE | re.DOTALL))
SOURCES = Sources([Source("pv", 2, (SECRET,))])
READING = Reading("pv", 1795455436, 7, 1795455436.5, 1994950, 869 * 10**9, 80_000_000_000)


def test_each_vector_has_the_mac_that_rfc_2104_asks_for() -> None:
    assert VECTORS.keys() == {"json", "little-endian", "big-endian", "answer"}
    for vector in VECTORS.values():
        assert vector[-32:] == hmac.new(SECRET, vector[:-32], hashlib.sha256).digest()
        assert len(vector) <= 512


def test_the_vectors_are_the_reading_of_the_example() -> None:
    doubles = [21317, 1, 2, *(EXAMPLE[name] for name in ("boot", "seq", "time", "slot"))]
    doubles += [EXAMPLE["energy_kwh"], EXAMPLE["price_ether_per_kwh"]]
    assert json.loads(VECTORS["json"][:-32]) == EXAMPLE
    assert list(struct.unpack("<9d", VECTORS["little-endian"][:-32])) == doubles
    assert list(struct.unpack(">9d", VECTORS["big-endian"][:-32])) == doubles


@pytest.mark.parametrize("form", ["json", "little-endian", "big-endian"])
def test_the_bridge_reads_the_vectors(form: str) -> None:
    assert decode_reading(VECTORS[form], SOURCES) == Question(READING, SECRET, rounded=False)


def test_the_bridge_writes_the_answer_of_the_vector() -> None:
    answer = decode_answer(VECTORS["answer"], SECRET)
    assert {**answer, "transaction": "0x5e…5e"} == ANSWER
    assert encode_answer(answer, SECRET) == VECTORS["answer"]


def sentences(heading: str) -> set[str]:
    """The reasons in the table after these words."""
    table = DOCUMENT[DOCUMENT.index(heading) :].split("| reason | |\n|---|---|\n")[1].split("\n\n")[0]
    return set(re.findall(r"^\| `([^`]+)`", table, re.MULTILINE))


SILENT, ANSWERED = sentences("**gets no answer**"), sentences("is answered with `rejected`")


def general(sentence: str) -> str:
    """A reason as the document has it, with <name> for the names and one of the three that are no number."""
    sentence = re.sub(r"-?Infinity", "NaN", sentence)
    if sentence.startswith(("version is not 1", "slot is not a whole")):
        return sentence
    return re.sub(rf"^({NUMBERS}) ", "<name> ", sentence)


def test_all_reasons_that_there_are_stand_in_the_document() -> None:
    said = {general(sentence) for sentence in fuzz(20_000, seed=2) if sentence != "taken"}
    assert said - SILENT - ANSWERED == set()
    assert len(said) > 12


def test_no_other_reasons_stand_in_the_document() -> None:
    strict = {reason for reason in ANSWERED if "whole number of" in reason}
    timely = {reason for reason in ANSWERED if reason.startswith(("time ", "slot N"))}
    written = {reason.replace("<name>", "seq") for reason in (SILENT | ANSWERED) - strict - timely}
    assert [reason for reason in written if not SENTENCE.fullmatch(reason)] == []
    assert (len(strict), len(timely)) == (2, 3)


def test_a_strict_bridge_says_what_the_document_says() -> None:
    strict = Sources([Source("pv", 2)], authenticated=False, strict=True)
    for name in ("energy_kwh", "price_ether_per_kwh"):
        with pytest.raises(RejectionError) as caught:
            decode_reading(json.dumps({**EXAMPLE, name: 1e-16}).encode(), strict)
        assert str(caught.value) in ANSWERED


@pytest.mark.parametrize(("time_s", "slot"), [(121.0, 0), (-172_801.0, 0), (0.0, 366 * 96 + 2)])
def test_what_is_out_of_time_is_told_what_the_document_says(time_s: float, slot: int) -> None:
    now = 1795455436.0
    reading = Reading("pv", 1, 1, now + time_s, int(now) // 900 + slot, 0, 0)
    reason = untimely(reading, now, TimeRules(slot_s=900, accept_horizon_s=172_800, wall_clock=True))
    assert reason is not None
    assert re.sub(r"^(time is|slot) \d+", r"\1 N", reason) in ANSWERED
