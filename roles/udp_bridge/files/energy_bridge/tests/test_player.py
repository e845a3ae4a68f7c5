# SPDX-License-Identifier: GPL-3.0-or-later
"""A source keeps what it learnt: the network repeats, reorders and reflects datagrams."""

import asyncio
from typing import Any

import pytest
from energy_bridge.model import NWH_PER_WH, Offer, Reading
from energy_bridge.player import Source
from energy_bridge.wire import encode_answer, encode_reading

SECRET = b"p" * 32
QUESTION = encode_reading(Reading("pv", 1, 0, 1000.0, 5, 100 * NWH_PER_WH, 2), SECRET)


def answer(status: Any) -> bytes:
    return encode_answer({"source": "pv", "boot": 1, "seq": 0, "status": status}, SECRET)


def after(*datagrams: bytes) -> tuple[str, bool]:
    """The status that a source holds for its reading, and whether it takes it as stored, once it heard these."""

    async def hear() -> tuple[str, bool]:
        source = Source("pv", boot=1, secret=SECRET)
        delivering = asyncio.create_task(source.deliver(5, Offer("pv", 100, 2), now=1000.0))
        await asyncio.sleep(0)  # the reading is on its way
        for datagram in datagrams:
            source.datagram_received(datagram, None)
        heard = source.deliveries[0].status, source.deliveries[0].stored
        source.datagram_received(answer("settled"), None)
        await asyncio.wait_for(delivering, 5)
        return heard

    return asyncio.run(hear())


def test_answers_are_noted_as_they_come() -> None:
    assert after() == ("unanswered", False)
    assert after(answer("stored")) == ("stored", True)
    assert after(answer("stored"), answer("batched"), answer("settled")) == ("settled", True)
    assert after(answer("late"), answer("settled")) == ("settled", True)


@pytest.mark.parametrize("end", ["superseded", "settled", "refused", "rejected", "conflict"])
@pytest.mark.parametrize(
    "afterwards", [answer("stored"), answer("batched"), QUESTION], ids=["stored", "batched", "question"]
)
def test_nothing_that_comes_afterwards_changes_an_end(end: str, afterwards: bytes) -> None:
    assert after(answer(end), afterwards)[0] == end


@pytest.mark.parametrize(
    "datagram",
    [
        pytest.param(QUESTION, id="its own question, reflected"),
        pytest.param(answer(None), id="no status"),
        pytest.param(answer(["settled"]), id="a status that is no text"),
        pytest.param(answer("settled")[:-1], id="a wrong MAC"),
    ],
)
def test_what_is_no_answer_is_nothing(datagram: bytes) -> None:
    assert after(answer("stored"), datagram) == ("stored", True)
    assert after(datagram) == ("unanswered", False)
