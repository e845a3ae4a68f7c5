# SPDX-License-Identifier: GPL-3.0-or-later
"""Which branch stays, from what the nodes of a chain said. What a node does to follow it is tried on real ones."""

from typing import Any

import pytest
from ansible_collections.smartenergy.clique.plugins.module_utils._clique_tie import find_tie
from ansible_collections.smartenergy.clique.plugins.module_utils._errors import CliqueError
from eth_account import Account

ANN, BOB, CAT, DAN = sorted(Account.from_key(number.to_bytes(32)).address for number in range(1, 5))
SIGNERS = (ANN, BOB, CAT, DAN)
ADDRESSES = {"ann": ANN, "bob": BOB, "cat": CAT, "dan": DAN}
Blocks = list[dict[str, Any]]


def block(number: int, sealer: str, *, in_turn: bool = False, name: str = "") -> dict[str, Any]:
    return {"number": number, "hash": f"0x{number}{name}", "sealer": sealer, "in_turn": in_turn}


SHARED = [block(1, DAN), block(2, CAT)]


def view(*blocks: dict[str, Any]) -> dict[str, Any]:
    mine = [*SHARED, *blocks]
    return {"running": True, "head": mine[-1], "blocks": mine, "signers": SIGNERS}


def tie(**views: dict[str, Any]) -> tuple[int, tuple[str, ...], tuple[str, ...]]:
    found = find_tie(views, ADDRESSES)
    return found.parted_at, found.stays.holders, found.leave


A3, B3 = block(3, ANN, name="b"), block(3, BOB, name="a")


def test_the_branch_stays_that_most_hold() -> None:
    assert tie(ann=view(A3), bob=view(B3), cat=view(A3)) == (2, ("ann", "cat"), ("bob",))


def test_of_two_that_as_many_hold_that_of_the_lower_hash_stays() -> None:
    assert tie(ann=view(A3), bob=view(B3), cat=view(A3), dan=view(B3)) == (2, ("bob", "dan"), ("ann", "cat"))


def test_a_heavier_branch_stays_though_fewer_hold_it() -> None:
    heavy = block(3, BOB, in_turn=True, name="h")
    assert tie(ann=view(A3), bob=view(heavy), cat=view(A3)) == (2, ("bob",), ("ann", "cat"))


def test_a_node_that_is_behind_has_to_follow_too() -> None:
    assert tie(ann=view(A3), bob=view(), cat=view(A3)) == (2, ("ann", "cat"), ("bob",))


SILENT = {"running": False}


@pytest.mark.parametrize(
    ("views", "says"),
    [
        (
            {"ann": view(A3), "bob": view(A3), "cat": view(A3), "dan": SILENT},
            "There is no tie: ann, bob, cat have the same block 3. The next one is for bob or dan to seal.",
        ),
        (
            {"ann": view(A3), "bob": view(B3), "cat": SILENT, "dan": SILENT},
            "Of 4 sealers 2 answer, and 3 are needed. Bring back cat, dan, and look again.",
        ),
        (
            {"ann": {"unreachable": True}, "bob": SILENT},
            "No node answers: start them, and look again.",
        ),
        (
            {"ann": view(A3), "bob": view(A3), "cat": {**view(A3), "blocks": [block(9, ANN)]}},
            "The nodes have none of their last blocks in common, so this is no tie but another chain.",
        ),
    ],
    ids=["one branch", "too few", "nobody", "other chains"],
)
def test_what_is_no_tie_says_what_it_is(views: dict[str, Any], says: str) -> None:
    with pytest.raises(CliqueError) as refused:
        find_tie(views, ADDRESSES)
    assert str(refused.value) == says
