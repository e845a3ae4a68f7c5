# SPDX-License-Identifier: GPL-3.0-or-later
"""EnergyToken as ERC-1155 has it, with OpenZeppelin's receiver and its checker of interfaces at the other end."""

from collections import Counter
from typing import Any

import pytest
from support.market import SLOT, SLOTS_PER_DAY, TODAY, ZERO, Artifact, Deploy, Market, trade
from web3 import Web3
from web3.contract import Contract

YESTERDAY = TODAY - 1


@pytest.fixture
def held(market: Market) -> Market:
    """Load holds 10 Wh of yesterday and 6 Wh of today, and battery 4 Wh of yesterday; yesterday is closed."""
    load, pv, _, battery, _ = market.actors
    market.settle(0, [trade(pv, load, 10, 0, SLOT - 1), trade(pv, battery, 4, 0, SLOT - 1)])
    market.settle(1, [trade(pv, load, 6)])
    market.close(YESTERDAY)
    return market


@pytest.fixture
def receiver(market: Market, deploy: Deploy, hostile: dict[str, Artifact]) -> Contract:
    return deploy(hostile["Puppet"], market.contract.address)


class TestInterfaces:
    @pytest.mark.parametrize(
        ("interface", "expected"),
        [
            ("0x01ffc9a7", True),  # ERC-165
            ("0xd9b67a26", True),  # ERC-1155
            ("0x4e2312e0", False),  # ERC-1155 receiver
            ("0x0e89341c", False),  # ERC-1155 metadata
            ("0xffffffff", False),
        ],
    )
    def test_what_it_is_others_can_ask(
        self, market: Market, deploy: Deploy, hostile: dict[str, Artifact], interface: str, expected: bool
    ) -> None:
        checker = deploy(hostile["Checker"]).functions
        assert market.view("supportsInterface", interface) is expected
        assert checker.knowsErc165(market.contract.address).call() is True
        assert checker.knows(market.contract.address, interface).call() is expected

    def test_functions_and_events_are_those_of_the_standard(self, market: Market) -> None:
        def signature(item: Any) -> str:
            return f"{item['name']}({','.join(argument['type'] for argument in item['inputs'])})"

        abi = market.contract.abi
        functions = {signature(item) for item in abi if item["type"] == "function"}
        standard = {
            "safeTransferFrom(address,address,uint256,uint256,bytes)",
            "safeBatchTransferFrom(address,address,uint256[],uint256[],bytes)",
            "balanceOf(address,uint256)",
            "balanceOfBatch(address[],uint256[])",
            "setApprovalForAll(address,bool)",
            "isApprovedForAll(address,address)",
        }
        assert standard <= functions
        selectors = [int.from_bytes(Web3.keccak(text=name)[:4]) for name in standard]
        interface = 0
        for selector in selectors:
            interface ^= selector
        assert interface == 0xD9B67A26
        events = {
            signature(item): [argument["indexed"] for argument in item["inputs"]]
            for item in abi
            if item["type"] == "event"
        }
        assert events["TransferSingle(address,address,address,uint256,uint256)"] == [True, True, True, False, False]
        assert events["TransferBatch(address,address,address,uint256[],uint256[])"] == [True] * 3 + [False] * 2
        assert events["ApprovalForAll(address,address,bool)"] == [True, True, False]


class TestBalances:
    def test_balances_can_be_had_together(self, held: Market) -> None:
        load, pv, _, battery, _ = held.actors
        accounts = [load, load, battery, pv, held.stranger]
        days = [YESTERDAY, TODAY, YESTERDAY, YESTERDAY, TODAY]
        assert held.view("balanceOfBatch", accounts, days) == [10, 6, 4, 0, 0]
        assert held.view("balanceOfBatch", [], []) == []

    def test_lists_are_of_one_length(self, held: Market) -> None:
        load = held.actors[0]
        with held.refuses("LengthsDiffer", 1, 2):
            held.view("balanceOfBatch", [load], [TODAY, TODAY])
        with held.refuses("LengthsDiffer", 2, 1):
            held.send("safeBatchTransferFrom", load, held.stranger, [YESTERDAY, TODAY], [1], b"", sender=load)

    def test_all_balances_come_out_of_the_logs(self, held: Market) -> None:
        load, pv, _, battery, _ = held.actors
        held.report(1, 0, 2)
        held.send("safeTransferFrom", load, held.stranger, YESTERDAY, 3, b"", sender=load)
        held.send("safeBatchTransferFrom", load, pv, [YESTERDAY] * 2, [1, 2], b"", sender=load)
        held.send("retire", YESTERDAY, 1, sender=battery)
        balances: Counter[tuple[str, int]] = Counter()
        for event in held.contract.events.TransferSingle().get_logs(from_block=0):
            moved = event["args"]
            balances[moved["to"], moved["id"]] += moved["value"]
            balances[moved["from"], moved["id"]] -= moved["value"]
        for event in held.contract.events.TransferBatch().get_logs(from_block=0):
            moved = event["args"]
            for day, energy_wh in zip(moved["ids"], moved["values"], strict=True):
                balances[moved["to"], day] += energy_wh
                balances[moved["from"], day] -= energy_wh
        for account in (*held.actors, held.stranger):
            for day in (YESTERDAY, TODAY):
                assert held.view("balanceOf", account, day) == balances[account, day]
        assert -balances[ZERO, YESTERDAY] == held.totals(YESTERDAY)[3] == 13
        assert -balances[ZERO, TODAY] == held.totals()[3] == 4


class TestTransfers:
    def test_who_holds_energy_of_a_closed_day_transfers_it(self, held: Market) -> None:
        load = held.actors[0]
        receipt = held.send("safeTransferFrom", load, held.stranger, YESTERDAY, 4, b"", sender=load)
        assert held.events("TransferSingle", receipt) == [
            {"operator": load, "from": load, "to": held.stranger, "id": YESTERDAY, "value": 4}
        ]
        assert held.view("balanceOfBatch", [load, held.stranger], [YESTERDAY] * 2) == [6, 4]
        held.send("safeTransferFrom", held.stranger, load, YESTERDAY, 1, b"", sender=held.stranger)
        assert held.view("balanceOfBatch", [load, held.stranger], [YESTERDAY] * 2) == [7, 3]
        assert held.totals(YESTERDAY) == [14, 14, 0, 14, True]

    def test_what_was_bought_for_the_last_day_is_transferred_when_it_is_closed(self, held: Market) -> None:
        load = held.actors[0]
        held.close(TODAY)
        held.send("safeTransferFrom", load, held.stranger, TODAY, 6, b"", sender=load)
        assert held.view("balanceOfBatch", [load, held.stranger], [TODAY] * 2) == [0, 6]

    def test_several_days_go_together(self, held: Market) -> None:
        load = held.actors[0]
        held.close(TODAY)
        arguments = (load, held.stranger, [YESTERDAY, TODAY, YESTERDAY], [4, 6, 1], b"")
        receipt = held.send("safeBatchTransferFrom", *arguments, sender=load)
        assert held.events("TransferBatch", receipt) == [
            {
                "operator": load,
                "from": load,
                "to": held.stranger,
                "ids": [YESTERDAY, TODAY, YESTERDAY],
                "values": [4, 6, 1],
            }
        ]
        assert held.view("balanceOfBatch", [load, held.stranger] * 2, [YESTERDAY] * 2 + [TODAY] * 2) == [5, 5, 0, 6]

    def test_all_of_several_or_none(self, held: Market) -> None:
        load = held.actors[0]
        with held.refuses("InsufficientEnergy", load, YESTERDAY, 2):
            held.send("safeBatchTransferFrom", load, held.stranger, [YESTERDAY] * 2, [6, 6], b"", sender=load)
        assert held.view("balanceOf", load, YESTERDAY) == 10

    def test_to_oneself_and_nothing_at_all_are_transfers(self, held: Market) -> None:
        load = held.actors[0]
        held.send("safeTransferFrom", load, load, YESTERDAY, 10, b"", sender=load)
        held.send("safeTransferFrom", load, held.stranger, YESTERDAY, 0, b"", sender=load)
        held.send("safeBatchTransferFrom", load, held.stranger, [], [], b"", sender=load)
        assert held.view("balanceOf", load, YESTERDAY) == 10

    @pytest.mark.parametrize("several", [False, True])
    def test_what_may_not_be_transferred_is_refused(self, held: Market, several: bool) -> None:
        load = held.actors[0]

        def move(by: str, to: str, day: int, energy_wh: int) -> None:
            if several:
                held.send("safeBatchTransferFrom", load, to, [day], [energy_wh], b"", sender=by)
            else:
                held.send("safeTransferFrom", load, to, day, energy_wh, b"", sender=by)

        with held.refuses("DayIsOpen", TODAY):
            move(load, held.stranger, TODAY, 1)
        with held.refuses("ZeroAddress"):
            move(load, ZERO, YESTERDAY, 1)
        with held.refuses("NotApproved", load, held.stranger):
            move(held.stranger, held.stranger, YESTERDAY, 1)
        with held.refuses("InsufficientEnergy", load, YESTERDAY, 1):
            move(load, held.stranger, YESTERDAY, 11)
        with held.refuses("InsufficientEnergy", load, YESTERDAY, 2**256 - 11):
            move(load, held.stranger, YESTERDAY, 2**256 - 1)

    def test_who_is_approved_transfers_and_retires_until_it_is_not(self, held: Market) -> None:
        load = held.actors[0]
        receipt = held.send("setApprovalForAll", held.stranger, True, sender=load)
        assert held.events("ApprovalForAll", receipt) == [
            {"account": load, "operator": held.stranger, "approved": True}
        ]
        assert held.view("isApprovedForAll", load, held.stranger) is True
        assert held.view("isApprovedForAll", held.stranger, load) is False
        receipt = held.send("safeTransferFrom", load, held.newcomer, YESTERDAY, 1, b"", sender=held.stranger)
        assert held.events("TransferSingle", receipt)[0]["operator"] == held.stranger
        receipt = held.send("retireFor", load, YESTERDAY, 2, sender=held.stranger)
        assert held.events("Retired", receipt) == [
            {"account": load, "day": YESTERDAY, "energyWh": 2, "by": held.stranger}
        ]
        held.send("setApprovalForAll", held.stranger, False, sender=load)
        with held.refuses("NotApproved", load, held.stranger):
            held.send("retireFor", load, YESTERDAY, 1, sender=held.stranger)


class TestReceivers:
    def test_a_receiver_with_code_accepts(self, held: Market, receiver: Contract) -> None:
        load = held.actors[0]
        held.send("safeTransferFrom", load, receiver.address, YESTERDAY, 3, b"hello", sender=load)
        held.send("safeBatchTransferFrom", load, receiver.address, [YESTERDAY], [2], b"", sender=load)
        assert held.view("balanceOf", receiver.address, YESTERDAY) == 5
        back = held.contract.encode_abi("safeTransferFrom", [receiver.address, load, YESTERDAY, 5, b""])
        held.run(receiver.functions.act(back, 0), sender=held.stranger)
        assert held.view("balanceOf", load, YESTERDAY) == 10

    @pytest.mark.parametrize("manner", ["WrongAnswer", "Revert", "BurnGas", "Mute"])
    def test_a_receiver_that_does_not_accept_is_named(
        self, held: Market, deploy: Deploy, hostile: dict[str, Artifact], manner: str
    ) -> None:
        load = held.actors[0]
        manners = ("WrongAnswer", "Revert", "BurnGas")
        arguments = (held.contract.address, manners.index(manner)) if manner in manners else ()
        refuser = deploy(hostile["Refuser" if arguments else "Mute"], *arguments).address
        with held.refuses("ReceiverRefused", refuser):
            held.send("safeTransferFrom", load, refuser, YESTERDAY, 3, b"", sender=load)
        with held.refuses("ReceiverRefused", refuser):
            held.send("safeBatchTransferFrom", load, refuser, [YESTERDAY], [3], b"", sender=load)
        assert held.view("balanceOf", load, YESTERDAY) == 10

    def test_a_receiver_that_answers_nothing_is_named(
        self, held: Market, deploy: Deploy, hostile: dict[str, Artifact]
    ) -> None:
        load, wall = held.actors[0], deploy(hostile["Wall"]).address
        with held.refuses("ReceiverRefused", wall):
            held.send("safeTransferFrom", load, wall, YESTERDAY, 3, b"", sender=load)

    def test_no_receiver_is_called_by_a_batch(self, market: Market, receiver: Contract) -> None:
        """The deviation from ERC-1155: an actor with code accepted when it was registered."""
        market.send("registerActors", [(receiver.address, 0, "puppet")])
        receipt = market.settle(0, [trade(market.actors[1], receiver.address, 3)])
        assert market.view("balanceOf", receiver.address, TODAY) == 3
        assert [event["to"] for event in market.events("TransferSingle", receipt)] == [receiver.address]


class TestRetiring:
    def test_energy_is_used_up(self, held: Market) -> None:
        load = held.actors[0]
        receipt = held.send("retire", YESTERDAY, 4, sender=load)
        assert held.events("Retired", receipt) == [{"account": load, "day": YESTERDAY, "energyWh": 4, "by": load}]
        assert held.events("TransferSingle", receipt) == [
            {"operator": load, "from": load, "to": ZERO, "id": YESTERDAY, "value": 4}
        ]
        assert held.view("balanceOf", load, YESTERDAY) == 6
        assert held.totals(YESTERDAY) == [14, 14, 4, 10, True]

    def test_what_may_not_be_retired_is_refused(self, held: Market) -> None:
        load = held.actors[0]
        with held.refuses("DayIsOpen", TODAY):
            held.send("retire", TODAY, 1, sender=load)
        with held.refuses("InsufficientEnergy", load, YESTERDAY, 1):
            held.send("retire", YESTERDAY, 11, sender=load)
        with held.refuses("NotApproved", load, held.stranger):
            held.send("retireFor", load, YESTERDAY, 1, sender=held.stranger)
        with held.refuses("InsufficientEnergy", held.stranger, YESTERDAY, 1):
            held.send("retire", YESTERDAY, 1, sender=held.stranger)


def test_a_day_whose_energy_was_bought_late_is_in_the_books(held: Market) -> None:
    """An imbalance of a day before the last one that the actor bought for goes into the books straight away."""
    load, pv, *_ = held.actors
    held.settle(2, [trade(pv, load, 2, 0, SLOT - SLOTS_PER_DAY, imbalance=True)])
    assert held.view("balanceOfBatch", [load, load], [YESTERDAY, TODAY]) == [12, 6]
    held.send("retire", YESTERDAY, 12, sender=load)
