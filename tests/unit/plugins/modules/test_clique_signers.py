# SPDX-License-Identifier: GPL-3.0-or-later
"""Votes on a real chain of two sealers and a node that does not seal."""

import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.smartenergy.clique.plugins.module_utils._wait import wait_until
from eth_account import Account
from support.modules import assert_check_mode_is_truthful, assert_refused, run_module
from support.sealers import PATIENCE_S, Geth, Sealers, sealers

STRANGER = Account.create().address


@pytest.fixture(scope="module")
def network(geth: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sealers]:
    with sealers(geth, tmp_path_factory.mktemp("votes"), 2) as running:
        yield running


def signers(network: Sealers) -> list[str]:
    return [node.account for node in network.sealers]


def asked(node: Geth, *wanted: str, ready: tuple[str, ...] = ()) -> dict[str, Any]:
    return {"ipc": str(node.node.ipc), "signers": list(wanted), "ready": list(ready)}


def test_a_vote_is_proposed_forgotten_by_a_restart_proposed_again_and_taken_back(
    network: Sealers, tmp_path: Path
) -> None:
    first, second = network.sealers
    both = signers(network)
    grow = asked(first, *both, STRANGER.lower(), ready=(STRANGER,))
    real, again = assert_check_mode_is_truthful("clique_signers", grow, tmp_path, moving=("head", "message"))
    assert first.call("clique_proposals") == {STRANGER.lower(): True}
    assert (real["agreed"], real["votes"], real["change"]["needed"]) == (False, {STRANGER: True}, 2)
    assert f'"{STRANGER}": true' in real["diff"]["after"]
    assert again["signers"] == sorted(both)

    def voted() -> dict[str, Any] | None:
        answer = run_module("clique_signers", grow)
        return answer if answer["change"]["voters"] == [first.account] else None

    seen = wait_until(voted, timeout_s=PATIENCE_S, clock=time)
    assert seen is not None
    assert f"1 of 2 votes to authorise {STRANGER}; not voted yet: {second.account}" in seen["message"]

    first.end(signal.SIGINT)
    assert_refused("clique_signers", grow, tmp_path, "no node answers at")
    unknown = run_module("clique_signers", grow, check=True)
    assert (unknown["changed"], unknown["agreed"], unknown["votes"]) == (True, None, None)
    first.start()
    network.join(*network.all)
    assert first.call("clique_proposals") == {}
    assert wait_until(lambda: first.call("eth_mining"), timeout_s=PATIENCE_S, clock=time)
    head = first.head
    assert wait_until(lambda: first.head > head, timeout_s=PATIENCE_S, clock=time)
    assert run_module("clique_signers", grow)["changed"] is True
    assert first.call("clique_proposals") == {STRANGER.lower(): True}

    back = run_module("clique_signers", asked(first, *both))
    assert (back["changed"], back["agreed"], back["votes"], back["change"]) == (True, True, {}, None)
    assert first.call("clique_proposals") == {}


def test_what_cannot_be_voted_for_is_refused_and_nothing_is_proposed(network: Sealers, tmp_path: Path) -> None:
    first = network.sealers[0]
    both = signers(network)
    for wanted, words in (
        (asked(first), "the set of signers is empty"),
        (asked(first, *both, "0x12"), "the signer '0x12' is not an address"),
        (asked(first, *both, STRANGER, ready=("0x",)), "the address '0x' is not an address"),
        (asked(first, STRANGER), f"remove {min(both)} would halt the chain"),
        (asked(network.gateway, *both, STRANGER), "this node does not seal"),
    ):
        assert_refused("clique_signers", wanted, tmp_path, words)
    assert [node.call("clique_proposals") for node in network.all] == [{}, {}, {}]


def test_two_shrink_to_one_and_the_one_that_went_takes_its_vote_back(network: Sealers) -> None:
    stays, goes = network.sealers

    def agreed() -> bool:
        answers = [run_module("clique_signers", asked(node, stays.account)) for node in network.sealers]
        assert not [answer for answer in answers if answer.get("failed")], answers
        return all(answer["agreed"] for answer in answers)

    assert wait_until(agreed, timeout_s=PATIENCE_S, clock=time)
    assert [node.call("clique_proposals") for node in network.all] == [{}, {}, {}]
    head = stays.head
    assert wait_until(lambda: stays.head > head + 1, timeout_s=PATIENCE_S, clock=time)
    answer = run_module("clique_signers", asked(goes, stays.account, goes.account))
    assert "not among the chain's signers" in answer["msg"]
