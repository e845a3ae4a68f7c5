# SPDX-License-Identifier: GPL-3.0-or-later
"""What the chaos is planned by and what it is counted by: no network is needed for either."""

from itertools import islice
from random import Random

import pytest
from support.chaos import Aim, Position, Report, Sealed, Way, longest_gap_s, outages, sealed_in, table, ties


def test_a_seed_makes_the_same_outages_again_and_all_kinds_of_them() -> None:
    one, again, other = (list(islice(outages(Random(seed)), 50)) for seed in (1, 1, 2))  # noqa: S311
    assert one == again != other
    assert {(outage.aim, outage.way) for outage in one} == {(aim, way) for aim in Aim for way in Way}


@pytest.mark.parametrize(
    ("head", "recent", "rivals"),
    [
        (10, (1, 2), ()),  # all seal in turn: 3 is next, and of difficulty 2
        (10, (2, 3), (0, 1)),
        (11, (2, 0), (1, 3)),
        (10, (0, 1), ()),
    ],
)
def test_rivals_are_two_that_may_seal_and_are_not_in_turn(
    head: int, recent: tuple[int, int], rivals: tuple[int, ...]
) -> None:
    position = Position(head, recent)
    assert position.rivals == rivals
    assert position.only_hope == recent[0]


LOG = f"""
t=2026-01-01T00:00:00+0000 lvl=info msg="Commit new sealing work" number=7 sealhash=0x{"1" * 64} txs=0
t=2026-01-01T00:00:00+0000 lvl=info msg="Successfully sealed new block" number=7 sealhash=0x{"1" * 64} hash=0x{"a" * 64} elapsed=1s
t=2026-01-01T00:00:02+0000 lvl=info msg="Successfully sealed new block" number=1,234 sealhash=0x{"1" * 64} hash=0x{"b" * 64} elapsed=1s
"""  # noqa: E501


def test_a_log_tells_what_was_sealed() -> None:
    assert sealed_in(LOG, 3) == [Sealed(7, f"0x{'a' * 64}", 3), Sealed(1234, f"0x{'b' * 64}", 3)]


def test_a_tie_is_of_one_height_and_difficulty() -> None:
    difficulties = {"a": 10, "b": 10, "c": 12, "d": 13, "e": 14, "f": None}
    sealed = [Sealed(7, "a", 0), Sealed(7, "b", 1), Sealed(8, "c", 0), Sealed(9, "d", 0), Sealed(9, "e", 1)]
    sealed += [Sealed(10, "e", 2), Sealed(10, "f", 3)]
    assert ties(sealed, lambda block: difficulties[block.hash]) == 1


def test_the_longest_time_from_block_to_block() -> None:
    assert longest_gap_s([1, 2, 5, 5, 6]) == 3
    assert longest_gap_s([1]) == 0


def test_the_table_has_a_line_for_each_build() -> None:
    shown = table({"plain": Report(300, 20, 5, ("block 7 stands",), 91, 0), "patched": Report(300, 40, 9, (), 4, 2)})
    assert [line.split() for line in shown.splitlines()[1:]] == [
        ["plain", "5.0", "20", "0", "5", "1", "91", "s"],
        ["patched", "5.0", "40", "2", "9", "0", "4", "s"],
    ]
