# SPDX-License-Identifier: GPL-3.0-or-later
"""The verdict names what is wrong: each fault is planted into a ledger that has none."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

import pytest
from support.senders import GRID_PRICE, GWEI, Delivery
from support.verdict import Deal, Ledger, Settled, judge

SLOT_S = 900
ACTORS = ("load", "pv", "chp", "grid")
DEPOSITS = dict.fromkeys(ACTORS, 10**18)
HASH = "0xab"


def delivery(
    source: str, energy_wh: int, gwei: int, *statuses: str, slot: int = 7, seq: int = 0, late: bool = False
) -> Delivery:
    return Delivery(
        source,
        1,
        seq,
        slot,
        energy_wh,
        gwei * GWEI,
        acknowledged_at=0.0,
        statuses=list(statuses),
        transaction=HASH if "settled" in statuses else None,
        late=late,
    )


def told() -> list[Delivery]:
    """The load needs 1,000 Wh: 300 of the sun, corrected from 200, 500 of the heat, and the rest of the grid."""
    return [
        delivery("load", -1000, 400, "stored", "batched", "settled"),
        delivery("pv", 200, 80, "stored", "superseded"),
        delivery("pv", 300, 80, "stored", "settled", seq=1),
        delivery("chp", 500, 140, "batched", "settled"),
        delivery("grid", 0, 300, "stored", "settled"),
    ]


SUN = Deal(7, "pv", "load", 300, 80 * GWEI)
HEAT = Deal(7, "chp", "load", 500, 140 * GWEI)
REST = Deal(7, "grid", "load", 200, GRID_PRICE)
RIGHT = (SUN, HEAT, REST)


def ledger(deals: Sequence[Deal], *, seqs: Sequence[int] = (0,), transaction: str = HASH) -> Ledger:
    """A chain on which one operator settled these, in the last of its batches."""
    batches = tuple(Settled("0xop", seq, transaction, tuple(deals) if seq == seqs[-1] else ()) for seq in seqs)
    money, energy = Counter(DEPOSITS), Counter[tuple[str, int]]()
    for deal in deals:
        money[deal.seller] += deal.energy_wh * deal.price_wei_per_wh
        money[deal.buyer] -= deal.energy_wh * deal.price_wei_per_wh
        energy[deal.buyer, 0] += deal.energy_wh
    return Ledger(batches, money, energy)


def verdict(deals: Sequence[Deal], deliveries: Sequence[Delivery] | None = None, *, traded: bool = False) -> list[str]:
    return judge(
        told() if deliveries is None else deliveries,
        ledger(deals),
        grid="grid",
        deposits=DEPOSITS,
        slot_s=SLOT_S,
        imbalance_price=(lambda _slot, energy_wh: (50 if energy_wh > 0 else 500) * GWEI) if traded else None,
    )


def test_nothing_is_named_where_all_is_as_promised() -> None:
    assert verdict(RIGHT) == []


def test_a_lost_trade() -> None:
    assert verdict([SUN, REST]) == ["lost: slot 7: 500 Wh from chp to load at 140000000000 wei/Wh"]


def test_a_trade_that_is_there_twice_also_while_its_slot_is_open() -> None:
    assert verdict([*RIGHT, SUN]) == ["twice: slot 7, pv to load, is settled 2 times"]
    unheard = [*told(), delivery("load", -1, 400, "stored", seq=1)]
    assert verdict([*RIGHT, SUN], unheard) == ["twice: slot 7, pv to load, is settled 2 times"]


@pytest.mark.parametrize("wrong", [replace(SUN, price_wei_per_wh=81 * GWEI), replace(SUN, energy_wh=299)])
def test_a_trade_at_another_price_or_of_other_energy(wrong: Deal) -> None:
    assert verdict([wrong, HEAT, REST]) == [f"wrong: {wrong}, where the readings come to {SUN}"]


@pytest.mark.parametrize(
    "foreign",
    [
        Deal(7, "pv", "grid", 1, GRID_PRICE),
        Deal(8, "pv", "load", 1, 80 * GWEI),
        Deal(7, "0x12", "load", 1, 80 * GWEI),
        Deal(7, "pv", "grid", 1, GRID_PRICE, imbalance=True),
    ],
)
def test_a_trade_that_no_reading_explains(foreign: Deal) -> None:
    [found] = verdict([*RIGHT, foreign])
    assert found.startswith("foreign: ")
    assert str(foreign) in found


def test_the_superseded_reading_counted_in_place_of_the_one_that_superseded_it() -> None:
    found = verdict([replace(SUN, energy_wh=200), HEAT, replace(REST, energy_wh=300)])
    assert [sentence.split(":")[0] for sentence in found] == ["wrong", "wrong"]


def test_a_promise_that_is_not_kept() -> None:
    elsewhere = told()
    elsewhere[0].transaction = "0xcd"
    assert verdict(RIGHT, elsewhere) == [
        "promise: load was told stored, batched, settled of seq 0 in slot 7, in 0xcd, where it is not"
    ]
    taken_back = told()
    taken_back[0].statuses = ["stored", "settled", "refused"]
    assert [sentence.split(",")[0] for sentence in verdict(RIGHT, taken_back)] == ["promise: load was told stored"]
    late = told()
    late[3].late, late[3].statuses = True, ["stored", "late"]
    assert "promise: chp was told stored, late of seq 0 in slot 7, though it was in time" in verdict(RIGHT, late)


def test_what_was_refused_need_not_be_there_and_what_was_refused_by_all_must_not() -> None:
    refused = told()
    for entry in refused:
        entry.statuses, entry.transaction = ["stored", "refused"], None
    assert verdict([], refused) == []
    assert [sentence.split(",")[0] for sentence in verdict(RIGHT, refused)] == ["promise: refused"] * 3


def test_a_slot_whose_readings_have_not_all_ended_is_not_looked_at_yet() -> None:
    open_one = told()
    open_one[0].statuses = ["stored", "batched"]
    assert verdict([SUN], open_one) == []


def test_a_grid_that_was_late_trades_at_the_price_that_it_named_before() -> None:
    before = [delivery("grid", 0, 250, "settled", slot=3), delivery("grid", 0, 10, "settled", slot=8)]
    late = [*told()[:-1], delivery("grid", 0, 300, "late", late=True), *before]
    late[-2].transaction = late[-1].transaction = None
    assert verdict([SUN, HEAT, replace(REST, price_wei_per_wh=250 * GWEI)], late) == []


def test_what_came_late_is_an_imbalance_of_what_it_differs_by() -> None:
    late = [*told(), delivery("chp", 450, 140, "late", "settled", seq=1, late=True)]
    less = Deal(7, "grid", "chp", 50, 500 * GWEI, imbalance=True)
    assert verdict([*RIGHT, less], late, traded=True) == []
    assert verdict(RIGHT, late, traded=True) == ["lost: the imbalance of chp in slot 7 of -50 Wh"]
    assert verdict([*RIGHT, less, less], late, traded=True) == ["twice: the imbalance of chp in slot 7 of -50 Wh"]
    dear = replace(less, price_wei_per_wh=501 * GWEI)
    assert verdict([*RIGHT, dear], late, traded=True) == [f"wrong: {dear}, where the price is 500000000000 wei/Wh"]
    assert [sentence.split(":")[0] for sentence in verdict([*RIGHT, less], late)] == ["foreign"]


def test_an_actor_that_was_missing_has_all_of_its_reading_as_an_imbalance() -> None:
    late = [*told(), delivery("chp", 500, 140, "late", late=True)]
    late.pop(3)
    more = [SUN, replace(REST, energy_wh=700), Deal(7, "chp", "grid", 500, 50 * GWEI, imbalance=True)]
    assert verdict(more, late, traded=True) == []


def test_a_gap_in_the_batches_and_books_that_do_not_add_up() -> None:
    skipped = ledger(RIGHT, seqs=(0, 2))
    money = replace(skipped, money={**skipped.money, "pv": 5}, energy={("load", 0): 999})
    found = judge(told(), money, grid="grid", deposits=DEPOSITS, slot_s=SLOT_S)
    assert found == [
        "sequence: the batches of 0xop are numbered [0, 2]",
        f"money: pv has 5 wei, and its trades come to {10**18 + 300 * 80 * GWEI}",
        "energy: load has 999 Wh of day 0, and bought 1000",
    ]
