# SPDX-License-Identifier: GPL-3.0-or-later
"""A tie on purpose: four sealers, parted at the block after which either half comes to the same weight."""

import time
from collections.abc import Sequence

from ansible_collections.smartenergy.clique.plugins.module_utils._wait import wait_until

from support.sealers import Geth, Sealers

TRIES = 10


def parted_into_a_tie(network: Sealers) -> tuple[Sequence[Geth], Sequence[Geth]]:
    """Part the sealers in two and two, which end with one difficulty, and where each has sealed lately.

    When all seal in turn, one side adds one block in turn, of difficulty 2; the other two out of turn, of 1 each.
    """
    for _ in range(TRIES):
        second_last, last, first, second = next_in_turn(network)
        one_side, other_side = (last, first), (second, second_last)
        network.part([*one_side, network.gateway], other_side)
        wait_until(lambda: all(has_sealed_lately(node) for node in network.sealers), timeout_s=30, clock=time)
        (difficulty, head), (others_difficulty, others_head) = map(difficulty_and_head, (first, second))
        if difficulty == others_difficulty and head != others_head:
            return one_side, other_side
        network.join(*network.all)  # a block came between
    raise AssertionError(f"no tie in {TRIES} partings")


def next_in_turn(network: Sealers) -> list[Geth]:
    """The sealers of the last two blocks and those of the next two, as soon as four in a row were sealed in turn."""
    by_address = {node.account.lower(): node for node in network.sealers}
    order = [by_address[address] for address in sorted(by_address)]
    seen = network.gateway.head

    def just_now() -> bool:
        head = network.gateway.head
        return head > seen and all(in_turn(network.gateway, number) for number in range(head - 3, head + 1))

    assert wait_until(just_now, timeout_s=120, clock=time)
    head = network.gateway.head
    return [order[number % 4] for number in range(head - 1, head + 3)]


def in_turn(node: Geth, number: int) -> bool:
    return int(node.call("eth_getBlockByNumber", hex(number), False)["difficulty"], 16) == 2


def has_sealed_lately(node: Geth) -> bool:
    """Whether the rules of Clique forbid it to seal the next block on its own head."""
    head = node.head
    return node.account.lower() in {node.call("clique_getSigner", hex(number)) for number in (head - 1, head)}


def difficulty_and_head(node: Geth) -> tuple[int, str]:
    block = node.call("eth_getBlockByNumber", "latest", False)
    return int(block["totalDifficulty"], 16), str(block["hash"])
