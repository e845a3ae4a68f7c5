# SPDX-License-Identifier: GPL-3.0-or-later
"""Which branch stays, from what the nodes of a chain said. What a node does to follow it is tried on real ones, too."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest
from ansible_collections.smartenergy.clique.plugins.module_utils._clique_tie import find_tie, follow
from ansible_collections.smartenergy.clique.plugins.module_utils._errors import CliqueError
from ansible_collections.smartenergy.clique.plugins.module_utils._rpc import Call, Rpc
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


def test_the_shorter_of_two_stays_because_every_geth_that_hears_of_it_takes_it() -> None:
    in_turn = block(3, ANN, in_turn=True, name="b")
    assert tie(ann=view(in_turn), bob=view(B3, block(4, CAT)), cat=view(B3, block(4, CAT))) == (
        2,
        ("ann",),
        ("bob", "cat"),
    )


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


@dataclass(frozen=True)
class OtherwiseMindedNode(Rpc):
    """A node that a peer gives the other branch, with a new block on it, as soon as it is set back."""

    calls: list[str] = field(default_factory=list)

    def batch(self, calls: Sequence[Call]) -> list[Any]:
        self.calls.extend(call.method for call in calls)
        head = 4 if "debug_setHead" in self.calls else 3
        answers = {"eth_mining": True, "admin_peers": [], "eth_blockNumber": hex(head)}
        return [
            {"hash": "0x2" if call.params[0] == "0x2" else "0xother"}
            if call.method == "eth_getHeaderByNumber"
            else answers.get(call.method)
            for call in calls
        ]


def test_a_node_is_left_on_the_branch_on_which_the_chain_goes_on_meanwhile() -> None:
    node = OtherwiseMindedNode("node")
    follow(node, [SHARED[1], A3], holders=["enode://a"], peers=[], seal=False, timeout_s=60, clock=time)
    assert node.calls.count("debug_setHead") == 1
    assert node.calls[-1] == "miner_start"
