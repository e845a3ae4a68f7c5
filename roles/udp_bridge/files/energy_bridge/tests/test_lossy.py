# SPDX-License-Identifier: GPL-3.0-or-later
"""What a network does to datagrams on purpose is decided by luck that comes from outside, and by nothing else."""

from random import Random

import pytest
from energy_bridge.lossy import Faults, Line, passed
from hypothesis import given
from hypothesis import strategies as st

NEVER, ALWAYS = 0.999, 0.0
HALF = Faults(loss=0.5, duplicate=0.5, reorder=0.5)
PROBABILITY = st.sampled_from([0.0, 0.3, 1.0])


def test_without_faults_everything_passes_as_it_is() -> None:
    assert passed(Line(), b"a", Faults(), (ALWAYS, ALWAYS, ALWAYS)) == (Line(), (b"a",))


def test_what_is_lost_does_not_come_out() -> None:
    assert passed(Line(), b"a", HALF, (ALWAYS, ALWAYS, ALWAYS)) == (Line(lost=1), ())


def test_what_is_doubled_comes_out_twice() -> None:
    assert passed(Line(), b"a", HALF, (NEVER, ALWAYS, NEVER)) == (Line(duplicated=1), (b"a", b"a"))


def test_what_is_reordered_waits_until_the_next_one_has_passed() -> None:
    line, out = passed(Line(), b"a", HALF, (NEVER, NEVER, ALWAYS))
    assert (line, out) == (Line(held=(b"a",), reordered=1), ())
    line, out = passed(line, b"b", HALF, (ALWAYS, NEVER, NEVER))  # b is lost
    assert (line, out) == (Line(held=(b"a",), reordered=1, lost=1), ())
    assert passed(line, b"c", HALF, (NEVER, NEVER, ALWAYS)) == (Line(reordered=1, lost=1), (b"c", b"a"))


def test_a_copy_may_overtake_its_original() -> None:
    line, out = passed(Line(), b"a", HALF, (NEVER, ALWAYS, ALWAYS))
    assert (line, out) == (Line(held=(b"a",), duplicated=1, reordered=1), (b"a",))


@given(loss=PROBABILITY, duplicate=PROBABILITY, reorder=PROBABILITY, seed=st.integers())
def test_all_that_is_not_lost_comes_out_and_what_is_counted_has_happened(
    loss: float, duplicate: float, reorder: float, seed: int
) -> None:
    sent = [bytes([number]) for number in range(100)]

    def run() -> tuple[Line, list[bytes]]:
        luck, line, out = Random(seed), Line(), list[bytes]()  # noqa: S311 - a simulation
        for datagram in sent:
            drawn = luck.random(), luck.random(), luck.random()
            line, more = passed(line, datagram, Faults(loss, duplicate, reorder), drawn)
            out += more
        return line, [*out, *line.held]

    line, out = run()
    assert run() == (line, out)
    assert len(set(out)) == len(sent) - line.lost
    assert len(out) == len(sent) - line.lost + line.duplicated
    if line.reordered and not line.held and not line.duplicated:
        assert out != sorted(out)
    for probability, count in ((loss, line.lost), (duplicate, line.duplicated), (reorder, line.reordered)):
        assert count == 0 or probability > 0
    assert line.lost == 100 or loss < 1


@pytest.mark.parametrize("loss", [0.1, 0.3, 0.9])
def test_as_many_are_lost_as_was_asked_for(loss: float) -> None:
    luck, line = Random(1), Line()  # noqa: S311 - a simulation
    for _ in range(10_000):
        line, _ = passed(line, b"a", Faults(loss=loss), (luck.random(), luck.random(), luck.random()))
    assert line.lost / 10_000 == pytest.approx(loss, abs=0.02)
