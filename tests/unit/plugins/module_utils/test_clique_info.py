# SPDX-License-Identifier: GPL-3.0-or-later
"""What is said about a chain, from blocks and signers alone; and waiting, with a clock that a test turns."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.smartenergy.clique.plugins.module_utils._clique_info import (
    Block,
    View,
    WaitError,
    Wanted,
    last_lines,
    problems,
    sealed,
    summary,
    unmet,
    wait,
    wanted_from,
)
from ansible_collections.smartenergy.clique.plugins.module_utils._errors import CliqueError
from ansible_collections.smartenergy.clique.plugins.module_utils._rpc import NodeRefusesError, NodeSilentError

ANN, BOB, CAT = "0xAnn", "0xBob", "0xCat"


def view(*sealers: str, window: int = 6, peers: int | None = 2, out_of_turn: int = 0) -> View:
    """A chain whose blocks 1, 2, … were sealed by these; the first out_of_turn of them not in turn."""
    blocks = [Block(0, "0x0", 1000, in_turn=False, sealer=None)]
    blocks += [
        Block(number, f"0x{number}", 1000 + 5 * number, in_turn=number > out_of_turn, sealer=sealer)
        for number, sealer in enumerate(sealers, 1)
    ]
    return View(tuple(blocks), window=window, genesis_hash="0x0", signers=(ANN, BOB, CAT), peers=peers, votes={})


def test_summary_counts_the_window_only() -> None:
    facts = summary(view(CAT, CAT, ANN, BOB, ANN, BOB, ANN, BOB, out_of_turn=5), now_s=1043.9)
    assert facts["head"] == {"number": 8, "hash": "0x8", "age_s": 3}
    assert facts["sealed"] == {ANN: 3, BOB: 3, CAT: 0}
    assert facts["in_turn_share"] == 0.5
    assert facts["last_sealed_by"] == BOB


def test_summary_of_a_chain_that_has_not_begun() -> None:
    facts = summary(view(), now_s=2000)
    assert (facts["in_turn_share"], facts["last_sealed_by"], facts["sealed"]) == (None, None, {ANN: 0, BOB: 0, CAT: 0})


def test_no_node_has_the_same_facts_all_null() -> None:
    facts = summary(None, now_s=0)
    assert facts.pop("running") is False
    assert facts.keys() == summary(view(), now_s=0).keys() - {"running"}
    assert set(facts.values()) == {None}


ALL = (ANN, BOB, CAT) * 4
MISSING = "has sealed none of the last 12 blocks: it is off or cut off, its disk is full, or its clock is wrong."
OLD = "the chain halts, this node is cut off, or its clock is ahead."


@pytest.mark.parametrize(
    ("sealers", "age_s", "said"),
    [
        (ALL, 4, []),
        (ALL, -1, []),  # between two seconds
        ((CAT, *(ANN, BOB) * 6), 4, [f"Sealer {CAT} {MISSING}"]),
        ((CAT, *(ANN, BOB) * 5, ANN), 4, []),
        ((BOB,) * 12, 4, [f"Sealer {ANN} {MISSING}", f"Sealer {CAT} {MISSING}"]),
        ((ANN, BOB) * 5, 4, []),  # too young to say
        (ALL, 20, []),
        (ALL, 21, [f"Block 11 is 26 s old, and at most one came after it: {OLD}"]),
        ((ANN,), 26, [f"Block 1 is 26 s old, and at most one came after it: {OLD}"]),
        ((), 10**6, []),  # nobody has sealed yet, and a genesis is as old as it is
        (ALL, -30, ["This node's clock is wrong: its newest block was sealed 30 s ahead of it."]),
    ],
)
def test_a_problem_is_one_sentence(sealers: tuple[str, ...], age_s: int, said: list[str]) -> None:
    seen = replace(view(*sealers), chain_config={"clique": {"period": 5}})
    assert problems(seen, now_s=seen.head.timestamp_s + age_s) == said
    assert summary(seen, now_s=seen.head.timestamp_s + age_s)["problems"] == said


def test_a_clock_is_ahead_though_a_sealers_own_block_is_new() -> None:
    *former, newest = view(*ALL).blocks
    own = replace(newest, timestamp_s=newest.timestamp_s + 30)
    seen = replace(view(), blocks=(*former, own), chain_config={"clique": {"period": 5}})
    assert problems(seen, now_s=own.timestamp_s) == [f"Block 11 is 35 s old, and at most one came after it: {OLD}"]


def test_a_chain_of_another_engine_is_looked_at_too() -> None:
    seen = replace(view(*ALL), signers=None, chain_config={"chainId": 1, "ethash": {}})
    assert seen.period_s is None
    assert problems(seen, now_s=seen.head.timestamp_s + 1000) == []


def test_what_http_does_not_offer_is_no_problem() -> None:
    seen = replace(view(*ALL), signers=None, chain_config=None)
    assert problems(seen, now_s=seen.head.timestamp_s + 1000) == []


@pytest.mark.parametrize(
    ("wanted", "missing"),
    [
        (Wanted(), ""),
        (Wanted(peers=2, head=4, signers_seen=(ANN, BOB)), ""),
        (Wanted(peers=3), "3 peers"),
        (Wanted(head=5), "block 5"),
        (Wanted(signers_seen=(ANN, BOB, CAT)), f"a block among the last 3 sealed by {CAT}"),
        (Wanted(signer_sealed=CAT, since_head=0), ""),
        (Wanted(signer_sealed=CAT, since_head=1), f"a block above 1 sealed by {CAT}"),
        (Wanted(new_blocks=1, since_head=3), ""),
        (Wanted(new_blocks=1, since_head=4), "a block above 4"),
        (Wanted(new_blocks=2, since_head=3), "2 blocks above 3"),
    ],
)
def test_what_is_unmet(wanted: Wanted, missing: str) -> None:
    assert "; ".join(unmet(view(CAT, ANN, BOB, ANN, window=3), wanted)) == missing


class Clock:
    """A clock that only sleeping moves."""

    now_s = 0.0

    def monotonic(self) -> float:
        return self.now_s

    def sleep(self, seconds: float, /) -> None:
        self.now_s += seconds


def waiting(looks: list[Any], wanted: Wanted, timeout_s: float = 10) -> View:
    """Wait with these looks, one a second, the last one for ever."""
    clock = Clock()

    def look_at(_since: int | None) -> View:
        found = looks[min(int(clock.now_s), len(looks) - 1)]
        if isinstance(found, Exception):
            raise found
        assert isinstance(found, View)
        return found

    return wait(look_at, wanted, timeout_s=timeout_s, clock=clock, poll_s=1)


def test_waits_through_silence_and_reorganisations_until_all_holds() -> None:
    looks = [NodeSilentError("nobody"), view(), view(ANN, BOB), NodeRefusesError("missing block"), view(ANN, BOB, CAT)]
    assert waiting(looks, Wanted(signers_seen=(ANN, BOB, CAT))).head.number == 3


def test_a_signer_has_to_seal_after_the_wait_began() -> None:
    looks = [view(CAT, ANN), view(CAT, ANN, BOB), view(CAT, ANN, BOB, CAT)]
    assert waiting(looks, Wanted(signer_sealed=CAT)).head.number == 4


def test_a_failed_wait_names_what_is_missing_and_what_was_seen() -> None:
    with pytest.raises(WaitError) as failure:
        waiting([view(ANN, BOB)], Wanted(peers=3, signers_seen=(ANN, BOB, CAT)))
    assert str(failure.value) == (
        "after 10 s this node still lacks 3 peers; and a block among the last 6 sealed by 0xCat"
        "; it has 2 peers, its head is 2, and the last 6 blocks were sealed by 0xAnn, 0xBob"
    )
    assert failure.value.view is not None


def test_a_wait_for_a_node_that_never_answers() -> None:
    with pytest.raises(WaitError, match=r"still lacks an answer \(nobody\)$"):
        waiting([NodeSilentError("nobody")], Wanted(head=1))


def test_a_wait_that_ends_with_a_refusal_shows_what_was_seen_before() -> None:
    with pytest.raises(WaitError, match=r"still lacks an answer \(missing block\); it has 2 peers, its head is 2"):
        waiting([view(ANN, BOB), NodeRefusesError("missing block")], Wanted(head=3))


def test_sealed_has_former_signers_too() -> None:
    assert sealed(view("0xDan", ANN)) == {"0xDan": 1, ANN: 1, BOB: 0, CAT: 0}


def test_wanted_addresses_are_compared_checksummed() -> None:
    lower = "0x71562b71999873db5b286df957af199ec94617f7"
    options = {
        "peers": None,
        "head": None,
        "signers_seen": [lower],
        "signer_sealed": lower,
        "new_blocks": None,
        "since_head": None,
    }
    wanted = wanted_from(options)
    assert wanted.signers_seen == (wanted.signer_sealed,) == ("0x71562b71999873DB5b286dF957af199Ec94617F7",)
    with pytest.raises(CliqueError, match="is not an address"):
        wanted_from({**options, "signer_sealed": "0x12"})


def test_last_lines(tmp_path: Path) -> None:
    log = tmp_path / "geth.log"
    assert last_lines(log) == [f"({log} cannot be read: No such file or directory)"]
    log.write_text("".join(f"line {number}\n" for number in range(20_000)))
    assert last_lines(log, 2) == ["line 19998", "line 19999"]
