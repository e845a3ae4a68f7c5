# SPDX-License-Identifier: GPL-3.0-or-later
"""What a sealer votes for, decided from one look at its chain."""

from typing import Any

import pytest
from ansible_collections.smartenergy.clique.plugins.module_utils._clique_signers import (
    Change,
    State,
    changes,
    majority,
    plan,
    standing,
    wanted_from,
)
from ansible_collections.smartenergy.clique.plugins.module_utils._errors import CliqueError
from ansible_collections.smartenergy.clique.plugins.module_utils._keccak import checksum_address

ANN, BOB, CAT, DAN, EVE = sorted(checksum_address(f"0x{number:040x}") for number in range(1, 6))
FOUR = frozenset({ANN, BOB, CAT, DAN})


def state(**different: Any) -> State:
    """Four signers that all seal, seen by the first of them."""
    healthy: dict[str, Any] = {
        "head": 57,
        "growing": True,
        "signers": FOUR,
        "sealed": FOUR,
        "votes": {},
        "proposals": {},
        "account": ANN,
    }
    return State(**{**healthy, **different})


def test_who_comes_is_there_before_anybody_goes() -> None:
    assert changes({ANN, BOB, CAT}, {CAT, DAN, EVE}) == (
        Change(DAN, True),
        Change(EVE, True),
        Change(ANN, False),
        Change(BOB, False),
    )
    assert changes(FOUR, FOUR) == ()


def test_one_change_is_proposed_at_a_time() -> None:
    first = plan(state(), frozenset({ANN, BOB, CAT, EVE}))
    assert (first.change, first.propose, first.discard) == (Change(EVE, True), True, ())
    assert first.proposals == {EVE: True}
    then = plan(state(signers=FOUR | {EVE}, proposals={EVE: True}), frozenset({ANN, BOB, CAT, EVE}))
    assert (then.change, then.propose, then.discard) == (Change(DAN, False), True, (EVE,))


@pytest.mark.parametrize(
    ("proposals", "propose", "discard"),
    [
        ({}, True, ()),
        ({EVE: True}, False, ()),
        ({EVE: False}, True, ()),
        ({EVE: True, BOB: False}, False, (BOB,)),
    ],
)
def test_what_is_proposed_already_stays_and_everything_else_goes(
    proposals: dict[str, bool], propose: bool, discard: tuple[str, ...]
) -> None:
    next_step = plan(state(proposals=proposals), FOUR | {EVE})
    assert (next_step.propose, next_step.discard, next_step.changed) == (propose, discard, propose or bool(discard))


def test_when_the_chain_agrees_nothing_stays_proposed() -> None:
    agreed = plan(state(proposals={DAN: True, EVE: False}), FOUR)
    assert (agreed.change, agreed.propose, agreed.discard, agreed.proposals) == (None, False, (DAN, EVE), {})
    assert not plan(state(), FOUR).changed


def test_who_was_voted_out_can_take_its_own_votes_back() -> None:
    gone = state(signers=FOUR - {ANN}, account=ANN, proposals={ANN: False})
    assert plan(gone, FOUR - {ANN}).discard == (ANN,)
    assert plan(state(signers=FOUR, account=None, growing=False, proposals={EVE: True}), FOUR).discard == (EVE,)


@pytest.mark.parametrize(
    ("different", "words"),
    [
        ({"account": None}, "this node does not seal, so it has no vote"),
        ({"account": EVE}, f"seals as {EVE}, which is not among the chain's signers"),
        ({"growing": False}, "the chain stands still at block 57"),
    ],
)
def test_who_has_no_vote_is_refused(different: dict[str, Any], words: str) -> None:
    with pytest.raises(CliqueError, match=words):
        plan(state(**different), FOUR | {EVE})


@pytest.mark.parametrize(
    ("sealed", "wanted", "ready", "refused"),
    [
        (FOUR, {*FOUR, EVE}, (), None),
        ({ANN, BOB, CAT}, {*FOUR, EVE}, (), None),
        ({ANN, BOB, CAT}, {ANN, BOB, CAT}, (), None),
        ({ANN, BOB, CAT}, {ANN, DAN}, (), f"to remove {CAT} would halt the chain: of its then 2 signers 1 are known"),
        ({ANN, BOB, CAT}, {ANN, DAN}, (DAN,), None),
        ({ANN}, {ANN}, (), f"to remove {BOB} would halt the chain: of its then 3 signers 1 are known"),
        (
            {ANN, BOB},
            {*FOUR, EVE},
            (),
            f"of its then 5 signers 2 are known to be up, and 3 are needed; bring back {CAT}",
        ),
        ({ANN, BOB}, {*FOUR, EVE}, (EVE,), None),
        (FOUR, {EVE}, (), "of its then 2 signers 1 are known"),
        (FOUR, {EVE}, (EVE,), None),
    ],
)
def test_no_step_on_the_way_leaves_too_few(
    sealed: set[str], wanted: set[str], ready: tuple[str, ...], refused: str | None
) -> None:
    def decide() -> Any:
        return plan(state(sealed=frozenset(sealed)), frozenset(wanted), frozenset(ready)).change

    if refused is None:
        assert decide() is not None
    else:
        with pytest.raises(CliqueError, match=refused):
            decide()


def test_half_and_one_more_decide() -> None:
    assert [majority(signers) for signers in (1, 2, 3, 4, 5)] == [1, 2, 2, 3, 3]


def test_how_a_vote_stands() -> None:
    change = Change(EVE, True)
    facts = standing(state(votes={change: frozenset({ANN, CAT}), Change(BOB, False): frozenset({DAN})}), change)
    assert facts == {
        "head": 57,
        "signers": sorted(FOUR),
        "agreed": False,
        "change": {"address": EVE, "authorize": True, "voters": [ANN, CAT], "not_voted": [BOB, DAN], "needed": 3},
        "message": f"block 57: 2 of 3 votes to authorise {EVE}; not voted yet: {BOB}, {DAN}",
    }
    assert standing(state(), None)["agreed"] is True


def test_a_set_is_named_by_addresses() -> None:
    assert wanted_from([ANN.lower(), ANN]) == {ANN}
    with pytest.raises(CliqueError, match="the set of signers is empty"):
        wanted_from([])
    with pytest.raises(CliqueError, match="the signer '0x12' is not an address"):
        wanted_from([ANN, "0x12"])
