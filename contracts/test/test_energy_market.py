# SPDX-License-Identifier: GPL-3.0-or-later
"""EnergyMarket, function by function and revert by revert."""

from dataclasses import replace
from typing import Any

import pytest
from eth_abi.abi import encode
from eth_tester.exceptions import TransactionFailed
from support.market import (
    DAY_S,
    LARGEST_WEI,
    REPLACE_S,
    SLOT,
    SLOT_S,
    SLOTS_PER_DAY,
    TODAY,
    WITHDRAW_S,
    ZERO,
    Artifact,
    Deploy,
    Market,
    as_contract_tells,
    digest_of,
    linked,
    trade,
)
from web3 import Web3
from web3.exceptions import ContractPanicError
from web3.types import Wei

ETHER = 10**18
ROOT = bytes(range(32))
REGISTERED, DEBT, PAUSED = 1 << 192, 1 << 193, 1 << 33


def place_of_operators(market: Market) -> int:
    """Where the market's storage has its list of operators: the only one that is as long as this."""
    appointed = 17
    for number in range(1, appointed):
        market.send("setOperator", Web3.to_checksum_address(number.to_bytes(20)), True)
    (place,) = [place for place in range(32) if market.word(place) == appointed]
    return place


def place_in_map(place: int, key: str | int) -> int:
    """Where a mapping has the word of a key."""
    kind = "address" if isinstance(key, str) else "uint256"
    return int.from_bytes(Web3.keccak(encode([kind, "uint256"], [key, place])))


def place_of_account(market: Market, account: str) -> int:
    """Where the market's storage has the word of an actor."""
    places = [place_in_map(place, account) for place in range(32)]
    (place,) = [place for place in places if market.word(place) >> 192 == 1]
    return place


def place_of_operator(market: Market) -> int:
    """Where the market's storage has the word of the operator, who settled one batch."""
    places = [place_in_map(place, market.operator) for place in range(32)]
    (place,) = [place for place in places if market.word(place) & (2**33 - 1) == 2**32 + 1]
    return place


class TestAdministration:
    def test_a_market_says_how_it_was_set_up(self, market: Market) -> None:
        names = ("slotS", "withdrawDelayS", "replaceDelayS", "metered", "paused", "admin", "nextAdmin", "meter")
        expected = [SLOT_S, WITHDRAW_S, REPLACE_S, False, False, market.admin, ZERO, market.meter]
        assert [market.view(name) for name in names] == expected
        assert market.view("agreementFactory") == ZERO

    def test_a_market_needs_an_admin(self, market: Market, deploy: Deploy, artifacts: dict[str, Artifact]) -> None:
        with market.refuses("ZeroAddress"):
            deploy(artifacts["EnergyMarket"], ZERO, 900, 60, 60, False)

    @pytest.mark.parametrize(
        "terms",
        [
            (2, 60, 60, False),
            (0, 60, 60, False),
            (DAY_S + 1, 60, 60, True),
            (900, 900, 899, False),
            (900, 899, 900, False),
        ],
    )
    def test_terms_that_do_not_fit_are_refused(
        self, market: Market, deploy: Deploy, artifacts: dict[str, Artifact], terms: tuple[int, int, int, bool]
    ) -> None:
        with market.refuses("WrongTerms"):
            deploy(artifacts["EnergyMarket"], market.admin, *terms)

    @pytest.mark.parametrize("slot_s", [3, DAY_S])
    def test_the_shortest_and_the_longest_slot_will_do(
        self, market: Market, deploy: Deploy, artifacts: dict[str, Artifact], slot_s: int
    ) -> None:
        contract = deploy(artifacts["EnergyMarket"], market.admin, slot_s, slot_s, slot_s, True)
        assert contract.functions.slotS().call() == slot_s
        assert contract.functions.metered().call() is True

    @pytest.mark.parametrize(
        ("function", "arguments"),
        [
            ("transferAdmin", [ZERO]),
            ("setOperator", [ZERO, True]),
            ("rotateOperator", [ZERO, ZERO]),
            ("setMeter", [ZERO]),
            ("setAgreementFactory", [ZERO]),
            ("setPaused", [True]),
            ("registerActors", [[]]),
            ("requestReplacement", [ZERO, ZERO]),
            ("replaceActor", [ZERO]),
        ],
    )
    def test_only_the_admin_does_what_is_the_admin_s(self, market: Market, function: str, arguments: list[Any]) -> None:
        for caller in (market.operator, market.meter, market.actors[0], market.stranger):
            with market.refuses("NotAdmin", caller):
                market.send(function, *arguments, sender=caller)

    def test_the_administration_goes_over_when_it_is_accepted(self, market: Market) -> None:
        receipt = market.send("transferAdmin", market.newcomer)
        assert market.events("AdminTransferStarted", receipt) == [{"admin": market.admin, "next": market.newcomer}]
        assert market.view("admin") == market.admin
        with market.refuses("NotNextAdmin", market.stranger):
            market.send("acceptAdmin", sender=market.stranger)
        receipt = market.send("acceptAdmin", sender=market.newcomer)
        assert market.events("AdminTransferred", receipt) == [{"before": market.admin, "admin": market.newcomer}]
        assert (market.view("admin"), market.view("nextAdmin")) == (market.newcomer, ZERO)
        with market.refuses("NotAdmin", market.admin):
            market.send("setPaused", True)
        with market.refuses("NotNextAdmin", market.newcomer):
            market.send("acceptAdmin", sender=market.newcomer)

    def test_an_offer_can_be_taken_back(self, market: Market) -> None:
        market.send("transferAdmin", market.newcomer)
        market.send("transferAdmin", ZERO)
        with market.refuses("NotNextAdmin", market.newcomer):
            market.send("acceptAdmin", sender=market.newcomer)

    def test_an_operator_comes_and_goes_and_its_sequence_goes_on(self, market: Market) -> None:
        market.settle_any(0)
        receipt = market.send("setOperator", market.operator, False)
        assert market.events("OperatorSet", receipt) == [{"operator": market.operator, "allowed": False}]
        assert market.view("isOperator", market.operator) is False
        with market.refuses("NotOperator", market.operator):
            market.settle_any(1)
        market.send("setOperator", market.operator, True)
        assert market.view("nextSeq", market.operator) == 1
        market.settle_any(1)

    def test_nobody_is_no_operator(self, market: Market) -> None:
        with market.refuses("ZeroAddress"):
            market.send("setOperator", ZERO, True)
        with market.refuses("ZeroAddress"):
            market.send("rotateOperator", market.operator, ZERO)

    def test_operator_and_meter_are_two(self, market: Market) -> None:
        with market.refuses("OperatorIsMeter", market.operator):
            market.send("setMeter", market.operator)
        with market.refuses("OperatorIsMeter", market.meter):
            market.send("setOperator", market.meter, True)
        with market.refuses("OperatorIsMeter", market.meter):
            market.send("rotateOperator", market.operator, market.meter)

    def test_a_former_operator_may_be_the_meter_but_then_no_operator(self, market: Market) -> None:
        market.send("setOperator", market.operator, False)
        receipt = market.send("setMeter", market.operator)
        assert market.events("MeterSet", receipt) == [{"meter": market.operator}]
        with market.refuses("OperatorIsMeter", market.operator):
            market.send("setOperator", market.operator, True)

    def test_a_market_can_be_without_a_meter(self, market: Market) -> None:
        market.send("setMeter", ZERO)
        with market.refuses("NotMeter", market.meter):
            market.send("closeDay", TODAY, sender=market.meter)

    def test_a_rotated_operator_goes_on_where_it_was(self, market: Market) -> None:
        load, pv, *_ = market.actors
        market.settle(0, [trade(pv, load, 7)])
        before = market.view("ledgerOf", market.operator, TODAY)
        receipt = market.send("rotateOperator", market.operator, market.newcomer)
        assert market.events("OperatorRotated", receipt) == [
            {"before": market.operator, "operator": market.newcomer, "nextSeq": 1}
        ]
        assert market.view("isOperator", market.newcomer) is True
        assert market.view("isOperator", market.operator) is False
        assert market.view("ledgerOf", market.newcomer, TODAY) == market.view("ledgerOf", market.operator, TODAY)
        assert market.view("ledgerOf", market.newcomer, TODAY) == before
        market.settle(1, [trade(pv, load, 5)], sender=market.newcomer)
        assert market.totals() == [12, 12, 0, 12, False]

        proof = market.proof(market.operator, 0, market.newcomer)
        receipt = market.send("reportShortfall", proof.packed(), 0, 3, sender=market.meter)
        assert market.events("ShortfallReported", receipt)[0]["operator"] == market.operator
        assert (
            market.view("shortfallOf", market.newcomer, 0, 0) == market.view("shortfallOf", market.operator, 0, 0) == 3
        )
        again = replace(proof, operator=market.newcomer)
        with market.refuses("MoreThanTraded", 0, 4):
            market.send("reportShortfall", again.packed(), 0, 7, sender=market.meter)

    def test_only_an_operator_s_key_is_rotated_and_only_to_a_new_one(self, market: Market) -> None:
        with market.refuses("NotOperator", market.stranger):
            market.send("rotateOperator", market.stranger, market.newcomer)
        market.send("setOperator", market.stranger, True)
        with market.refuses("OperatorBefore", market.stranger):
            market.send("rotateOperator", market.operator, market.stranger)

    def test_there_is_an_end_to_operators(self, market: Market) -> None:
        place = place_of_operators(market)
        market.put_word(place, 256)
        with market.refuses("TooManyOperators"):
            market.send("setOperator", market.newcomer, True)
        market.put_word(place, 255)
        market.send("setOperator", market.newcomer, True)
        market.settle_any(0, sender=market.newcomer)
        assert market.word(place) == 256

    def test_the_factory_is_said_once(self, market: Market) -> None:
        receipt = market.send("setAgreementFactory", market.stranger)
        assert market.events("AgreementFactorySet", receipt) == [{"factory": market.stranger}]
        assert market.view("agreementFactory") == market.stranger
        with market.refuses("AlreadySet"):
            market.send("setAgreementFactory", market.newcomer)

    def test_a_pause_stops_every_operator_and_new_ones_and_ends(self, market: Market) -> None:
        market.send("setOperator", market.stranger, True)
        receipt = market.send("setPaused", True)
        assert market.events("PausedSet", receipt) == [{"paused": True}]
        assert market.view("paused") is True
        market.send("setOperator", market.newcomer, True)
        for operator in (market.operator, market.stranger, market.newcomer):
            assert market.view("isOperator", operator) is True
            with market.refuses("Paused"):
                market.settle_any(0, sender=operator)
        market.send("setOperator", market.operator, False)
        market.send("setOperator", market.operator, True)
        with market.refuses("Paused"):
            market.settle_any(0)
        market.send("setPaused", False)
        for operator in (market.operator, market.stranger, market.newcomer):
            market.settle_any(0, sender=operator)

    def test_who_was_forbidden_in_a_pause_can_be_appointed_later(self, market: Market) -> None:
        market.send("setPaused", True)
        with market.refuses("NotOperator", market.newcomer):
            market.send("setOperator", market.newcomer, False)
        market.send("setPaused", False)
        market.send("setOperator", market.newcomer, True)
        assert market.view("isOperator", market.newcomer) is True


class TestActors:
    def test_the_actors_stand_in_the_directory_in_their_order(self, market: Market) -> None:
        assert market.view("actorCount") == 5
        assert market.view("actorAt", 4) == [market.actors[4], 4, "grid"]
        assert market.view("isActor", market.actors[0]) is True
        assert market.view("isActor", market.stranger) is False
        assert market.view("currentAccount", market.actors[0]) == market.actors[0]
        with pytest.raises(ContractPanicError, match="out of bounds"):
            market.view("actorAt", 5)

    def test_registering_is_logged(self, market: Market) -> None:
        receipt = market.send("registerActors", [(market.stranger, 1, "roof")])
        assert market.events("ActorRegistered", receipt) == [{"account": market.stranger, "kind": 1, "name": "roof"}]

    def test_registering_is_all_or_none(self, market: Market) -> None:
        with market.refuses("AlreadyRegistered", 1, market.actors[2]):
            market.send("registerActors", [(market.stranger, 0, "new"), (market.actors[2], 2, "chp")])
        assert market.view("actorCount") == 5
        assert market.view("isActor", market.stranger) is False

    @pytest.mark.parametrize(
        ("kind", "error"), [(5, ("UnknownKind", 1, 5)), (255, ("UnknownKind", 1, 255)), (0, ("ActorWithoutAccount", 1))]
    )
    def test_an_actor_has_a_kind_and_an_account(self, market: Market, kind: int, error: tuple[str, int]) -> None:
        account = market.newcomer if kind else ZERO
        with market.refuses(*error):
            market.send("registerActors", [(market.stranger, 4, "a"), (account, kind, "b")])

    def test_one_account_twice_in_a_call_is_refused(self, market: Market) -> None:
        with market.refuses("AlreadyRegistered", 1, market.stranger):
            market.send("registerActors", [(market.stranger, 0, "a"), (market.stranger, 0, "a")])

    def test_an_actor_with_code_says_that_it_takes_tokens(
        self, market: Market, deploy: Deploy, hostile: dict[str, Artifact]
    ) -> None:
        mute = deploy(hostile["Mute"]).address
        with market.refuses("TakesNoTokens", 0, mute):
            market.send("registerActors", [(mute, 0, "mute")])
        puppet = deploy(hostile["Puppet"], market.contract.address).address
        market.send("registerActors", [(puppet, 0, "puppet")])
        assert market.view("isActor", puppet) is True

    def test_an_actor_with_code_that_answers_nothing_is_named(
        self, market: Market, deploy: Deploy, hostile: dict[str, Artifact]
    ) -> None:
        wall = deploy(hostile["Wall"]).address
        with market.refuses("TakesNoTokens", 0, wall):
            market.send("registerActors", [(wall, 0, "wall")])


class TestReplacement:
    def request(self, market: Market, account: str, by: str) -> int:
        """Request a replacement, and say when it is due."""
        (logged,) = market.events("ReplacementRequested", market.send("requestReplacement", account, by))
        assert logged == {"account": account, "by": by, "dueAt": market.now + REPLACE_S}
        return int(logged["dueAt"])

    def replace(self, market: Market, account: str, by: str) -> None:
        market.travel(self.request(market, account, by))
        market.send("replaceActor", account)

    def test_an_actor_gets_another_account_with_all_that_it_had(self, market: Market) -> None:
        load, pv, *_ = market.actors
        market.send("acceptAgreements", True, sender=load)
        market.deposit(load, 100)
        market.settle(0, [trade(pv, load, 4, 5, SLOT - SLOTS_PER_DAY), trade(pv, load, 2, 5, SLOT - 1)])
        market.settle(1, [trade(pv, load, 3, 5)])
        due = self.request(market, load, market.newcomer)
        market.travel(due - 1)
        with market.refuses("NotDue", due):
            market.send("replaceActor", load)
        market.travel(due)
        receipt = market.send("replaceActor", load)

        assert market.events("ActorReplaced", receipt) == [{"account": load, "by": market.newcomer}]
        assert market.events("TransferSingle", receipt) == [
            {"operator": market.admin, "from": load, "to": market.newcomer, "id": TODAY, "value": 3}
        ]
        assert market.view("isActor", load) is False
        assert market.view("actorAt", 0) == [market.newcomer, 0, "load"]
        assert market.view("actorCount") == 5
        assert market.view("currentAccount", load) == market.newcomer
        assert market.view("acceptsAgreements", market.newcomer) is True
        assert [market.view("weiOf", account) for account in (load, market.newcomer)] == [0, 55]
        assert [market.view("balanceOf", market.newcomer, day) for day in (TODAY - 1, TODAY)] == [0, 3]
        assert [market.view("balanceOf", load, day) for day in (TODAY - 1, TODAY)] == [6, 0]

        receipt = market.send("moveEnergy", load, [TODAY - 1, TODAY, TODAY + 1], sender=market.stranger)
        assert market.events("TransferSingle", receipt) == [
            {"operator": market.stranger, "from": load, "to": market.newcomer, "id": TODAY - 1, "value": 6}
        ]
        assert [market.view("balanceOf", account, TODAY - 1) for account in (load, market.newcomer)] == [0, 6]

    def test_a_batch_that_names_the_former_account_is_refused(self, market: Market) -> None:
        load, pv, *_ = market.actors
        self.replace(market, load, market.newcomer)
        with market.refuses("NotAnActor", load):
            market.settle(0, [trade(pv, load)])
        market.settle(0, [trade(pv, market.newcomer)])

    def test_debts_and_credits_go_over(self, market: Market) -> None:
        load, pv, chp, *_ = market.actors
        market.deposit(load, 100)
        market.settle(0, [trade(pv, load, 10, 10)])
        market.settle(1, [trade(chp, pv, 1, 100)])
        market.report(0, 0, 4)
        market.report(0, 0, 2)
        assert market.view("owedWei", pv) == 60
        self.replace(market, pv, market.newcomer)
        assert [market.view("owedWei", account) for account in (pv, market.newcomer)] == [0, 60]
        self.replace(market, load, market.stranger)
        receipt = market.deposit(market.newcomer, 70)
        debt = {"debtor": market.newcomer, "creditor": market.stranger}
        assert market.events("DebtPaid", receipt) == [{**debt, "amountWei": 60}]
        assert [market.view("weiOf", account) for account in (market.stranger, market.newcomer)] == [60, 10]
        assert market.view("owedWei", market.newcomer) == 0

    def test_a_shortfall_of_a_replaced_buyer_is_burnt_in_both_books(self, market: Market) -> None:
        load, pv, *_ = market.actors
        market.deposit(load, 100)
        market.settle(0, [trade(pv, load, 6, 10, SLOT + SLOTS_PER_DAY)])
        market.settle(1, [trade(pv, load, 1, 0, SLOT + 2 * SLOTS_PER_DAY)])
        self.replace(market, load, market.newcomer)
        market.settle(2, [trade(pv, market.newcomer, 4, 0, SLOT + SLOTS_PER_DAY)])
        receipt = market.report(0, 0, 5)
        common = {"operator": market.meter, "to": ZERO, "id": TODAY + 1}
        assert market.events("TransferSingle", receipt) == [{**common, "from": load, "value": 5}]
        assert market.view("weiOf", market.newcomer) == 90
        assert [market.view("balanceOf", account, TODAY + 1) for account in (load, market.newcomer)] == [1, 4]
        market.send("moveEnergy", load, [TODAY + 1])
        receipt = market.report(0, 0, 1)
        assert market.events("TransferSingle", receipt) == [{**common, "from": market.newcomer, "value": 1}]
        market.report(2, 0, 4)

    def test_a_shortfall_of_a_buyer_replaced_twice_is_burnt(self, market: Market) -> None:
        load, pv, *_ = market.actors
        market.settle(0, [trade(pv, load, 6, 0, SLOT + SLOTS_PER_DAY)])
        self.replace(market, load, market.newcomer)
        market.settle(1, [trade(pv, market.newcomer, 1, 0, SLOT + 2 * SLOTS_PER_DAY)])
        self.replace(market, market.newcomer, market.stranger)
        market.report(0, 0, 6)
        assert market.totals(TODAY + 1) == [6, 0, 0, 0, False]

    def test_an_actor_refuses_to_be_replaced(self, market: Market) -> None:
        load = market.actors[0]
        due = self.request(market, load, market.newcomer)
        receipt = market.send("refuseReplacement", sender=load)
        assert market.events("ReplacementRefused", receipt) == [{"account": load, "by": market.newcomer}]
        market.travel(due)
        with market.refuses("NoReplacement", load):
            market.send("replaceActor", load)
        with market.refuses("NoReplacement", load):
            market.send("refuseReplacement", sender=load)

    def test_another_request_begins_anew(self, market: Market) -> None:
        load = market.actors[0]
        market.travel(self.request(market, load, market.newcomer) - 10)
        due = self.request(market, load, market.stranger)
        market.travel(due - 1)
        with market.refuses("NotDue", due):
            market.send("replaceActor", load)

    def test_a_replacement_is_of_an_actor_by_an_account_that_is_free(
        self, market: Market, deploy: Deploy, hostile: dict[str, Artifact]
    ) -> None:
        load, pv, *_ = market.actors
        with market.refuses("NotAnActor", market.stranger):
            market.send("requestReplacement", market.stranger, market.newcomer)
        with market.refuses("ZeroAddress"):
            market.send("requestReplacement", load, ZERO)
        with market.refuses("NoReplacement", load):
            market.send("moveEnergy", load, [TODAY])
        mute = deploy(hostile["Mute"]).address
        for by, error in ((pv, "AlreadyRegistered"), (load, "AlreadyRegistered"), (mute, "TakesNoTokens")):
            market.travel(self.request(market, load, by))
            with market.refuses(error, 0, by):
                market.send("replaceActor", load)

    def test_a_replaced_account_never_comes_back(self, market: Market) -> None:
        load, pv, *_ = market.actors
        self.replace(market, load, market.newcomer)
        with market.refuses("AlreadyRegistered", 0, load):
            market.send("registerActors", [(load, 0, "load")])
        market.travel(self.request(market, pv, load))
        with market.refuses("AlreadyRegistered", 1, load):
            market.send("replaceActor", pv)


class TestMoney:
    def test_anybody_deposits_for_an_actor(self, market: Market) -> None:
        receipt = market.deposit(market.actors[0], 7)
        assert market.balances() == [7, 0, 0, 0, 0]
        assert market.events("Deposited", receipt) == [
            {"account": market.actors[0], "from": market.admin, "amountWei": 7}
        ]

    def test_an_actor_deposits_for_itself(self, market: Market) -> None:
        receipt = market.send("deposit", sender=market.actors[1], wei=9)
        assert market.balances() == [0, 9, 0, 0, 0]
        assert market.events("Deposited", receipt)[0]["from"] == market.actors[1]

    def test_a_deposit_needs_an_actor_and_money(self, market: Market) -> None:
        with market.refuses("NotAnActor", market.stranger):
            market.send("deposit", sender=market.stranger, wei=1)
        with market.refuses("NotAnActor", market.stranger):
            market.deposit(market.stranger, 1)
        with market.refuses("ZeroAmount"):
            market.deposit(market.actors[0], 0)

    def test_money_sent_without_a_word_comes_back(self, market: Market) -> None:
        with pytest.raises(TransactionFailed, match="execution reverted"):
            market.web3.eth.send_transaction({"from": market.admin, "to": market.contract.address, "value": Wei(1)})

    def test_all_balances_together_have_96_bits(self, market: Market) -> None:
        load = market.actors[0]
        with market.refuses("MarketIsFull", 2**96):
            market.deposit(load, 2**96)
        market.deposit(load, LARGEST_WEI)
        assert market.view("weiOf", load) == LARGEST_WEI
        for account in market.actors:
            with market.refuses("MarketIsFull", 2**96):
                market.deposit(account, 1)

    def ask(self, market: Market, account: str, wei: int) -> int:
        """Ask for money, and say when it is due."""
        (logged,) = market.events("WithdrawalRequested", market.send("requestWithdraw", wei, sender=account))
        assert logged == {"account": account, "amountWei": wei, "dueAt": market.now + WITHDRAW_S}
        assert market.view("withdrawalOf", account) == [wei, logged["dueAt"]]
        return int(logged["dueAt"])

    def test_money_is_paid_after_the_delay(self, market: Market) -> None:
        load = market.actors[0]
        market.deposit(load, 3 * ETHER)
        due = self.ask(market, load, 2 * ETHER)
        market.travel(due - 1)
        with market.refuses("NotDue", due):
            market.send("withdraw", sender=load)
        market.travel(due)
        before = market.wallet(load)
        receipt = market.send("withdraw", sender=load)
        assert market.wallet(load) == before + 2 * ETHER - receipt["gasUsed"] * receipt["effectiveGasPrice"]
        assert market.view("weiOf", load) == market.wallet(market.contract.address) == ETHER
        assert market.events("Withdrawn", receipt) == [{"account": load, "amountWei": 2 * ETHER}]
        assert market.view("withdrawalOf", load) == [0, 0]
        with market.refuses("ZeroAmount"):
            market.send("withdraw", sender=load)

    def test_a_later_request_takes_the_place_of_the_former(self, market: Market) -> None:
        load = market.actors[0]
        market.deposit(load, 10)
        market.travel(self.ask(market, load, 4))
        due = self.ask(market, load, 5)
        with market.refuses("NotDue", due):
            market.send("withdraw", sender=load)
        self.ask(market, load, 0)
        market.travel(market.now + WITHDRAW_S)
        with market.refuses("ZeroAmount"):
            market.send("withdraw", sender=load)

    def test_what_is_left_is_paid(self, market: Market) -> None:
        load, pv, *_ = market.actors
        market.deposit(load, 10)
        due = self.ask(market, load, 10)
        market.settle(0, [trade(pv, load, 7, 1)])
        assert market.view("withdrawalOf", load) == [3, due]
        market.travel(due)
        assert market.events("Withdrawn", market.send("withdraw", sender=load)) == [{"account": load, "amountWei": 3}]

    def test_nobody_withdraws_more_than_their_own(self, market: Market) -> None:
        load, pv, *_ = market.actors
        market.deposit(load, 100)
        with market.refuses("InsufficientFunds", pv, LARGEST_WEI):
            market.send("requestWithdraw", LARGEST_WEI, sender=pv)
        with market.refuses("NotAnActor", market.stranger):
            market.send("requestWithdraw", 1, sender=market.stranger)
        with market.refuses("ZeroAmount"):
            market.send("withdraw", sender=market.stranger)

    def test_what_is_asked_for_or_owed_is_not_to_be_counted_on(self, market: Market) -> None:
        load, pv, chp, *_ = market.actors
        market.deposit(load, 100)
        assert market.view("spendableWei", load) == 100
        market.settle(0, [trade(pv, load, 1, 60)])
        due = self.ask(market, pv, 50)
        assert market.view("spendableWei", pv) == 10
        market.travel(due - 1)
        market.settle(1, [trade(chp, pv, 1, 60)])
        market.report(0, 0, 1)
        assert [market.view("spendableWei", account) for account in (load, pv, market.stranger)] == [40, 0, 0]
        assert [market.view("owedWei", account) for account in (load, pv, market.stranger)] == [0, 60, 0]

    def test_who_takes_no_money_keeps_the_balance(
        self, market: Market, deploy: Deploy, hostile: dict[str, Artifact]
    ) -> None:
        miser = deploy(hostile["Puppet"], market.contract.address, wei=10)
        market.send("registerActors", [(miser.address, 0, "miser")])
        act = miser.functions.act
        market.run(act(market.contract.encode_abi("deposit"), 10), sender=market.stranger)
        market.run(act(market.contract.encode_abi("requestWithdraw", [10]), 0), sender=market.stranger)
        market.travel(market.now + WITHDRAW_S)
        with market.refuses("WithdrawalFailed", miser.address):
            market.run(act(market.contract.encode_abi("withdraw"), 0), sender=market.stranger)
        assert market.view("weiOf", miser.address) == 10


class TestSettlement:
    def test_energy_goes_to_the_buyer_and_money_to_the_seller(self, market: Market) -> None:
        load, pv, _, _, grid = market.actors
        market.deposit(load, 1000)
        market.deposit(grid, 1000)
        trades = [trade(pv, load, 30, 7), trade(pv, grid, 5, 2, SLOT + 95), trade(pv, load, 1, 0, imbalance=True)]
        receipt = market.settle(0, trades, ROOT)
        assert market.energies() == [31, 0, 0, 0, 5]
        assert market.balances() == [790, 220, 0, 0, 990]
        assert market.totals() == [36, 36, 0, 36, False]
        (logged,) = market.events("BatchSettled", receipt)
        batch = logged.pop("batch")
        content_hash = bytes(Web3.keccak(batch))
        assert logged == {"operator": market.operator, "seq": 0, "contentHash": content_hash, "readingsRoot": ROOT}
        told = [tuple(one) for one in market.view("decodeBatch", batch)]
        assert told == as_contract_tells(batch)
        assert told == [(t.seller, t.buyer, t.energy_wh, t.price_wei_per_wh, t.slot, t.imbalance) for t in trades]
        minted = {"operator": market.operator, "from": ZERO, "id": TODAY}
        expected = [{**minted, "to": load, "value": 31}, {**minted, "to": grid, "value": 5}]
        assert market.events("TransferSingle", receipt) == sorted(expected, key=lambda event: str(event["to"]).lower())
        assert market.view("nextSeq", market.operator) == 1

    def test_a_seller_in_a_batch_of_its_own_gets_no_token(self, market: Market) -> None:
        load, pv, *_ = market.actors
        receipt = market.settle(0, [trade(pv, load, 3)])
        assert [event["to"] for event in market.events("TransferSingle", receipt)] == [load]

    def test_with_a_negative_price_the_seller_pays(self, market: Market) -> None:
        load, pv, *_ = market.actors
        market.deposit(pv, 100)
        market.settle(0, [trade(pv, load, 10, -3)])
        assert market.balances()[:2] == [30, 70]
        with market.refuses("InsufficientFunds", pv, 5):
            market.settle(1, [trade(pv, load, 25, -3)])

    def test_a_sequence_has_no_gaps_and_is_each_operator_s_own(self, market: Market) -> None:
        market.send("setOperator", market.stranger, True)
        market.settle_any(0)
        with market.refuses("WrongSequence", 1, 2):
            market.settle_any(2)
        with market.refuses("WrongSequence", 0, 1):
            market.settle_any(1, sender=market.stranger)
        market.settle_any(0, sender=market.stranger)

    def test_the_last_seq_is_not_followed_by_the_first(self, market: Market) -> None:
        market.settle_any(0)
        place = place_of_operator(market)
        market.put_word(place, market.word(place) | 2**32 - 1)
        assert market.view("nextSeq", market.operator) == 2**32 - 1
        with pytest.raises(ContractPanicError):
            market.settle_any(2**32 - 1)

    def test_only_an_operator_settles(self, market: Market) -> None:
        for caller in (market.admin, market.meter, market.actors[0], market.stranger):
            with market.refuses("NotOperator", caller):
                market.settle_any(0, sender=caller)

    @pytest.mark.parametrize("backwards", [False, True])
    def test_the_net_of_the_batch_counts_whatever_the_order(self, market: Market, backwards: bool) -> None:
        load, pv, _, battery, _ = market.actors
        market.deposit(load, 100)
        batch = [trade(battery, load, 10, 10), trade(pv, battery, 10, 10)]
        market.settle(0, batch[::-1] if backwards else batch)
        assert market.balances()[:4] == [0, 100, 0, 0]
        assert market.energies()[:4] == [10, 0, 0, 10]

    def test_a_batch_that_an_account_cannot_pay_changes_nothing(self, market: Market) -> None:
        load, pv, chp, *_ = market.actors
        market.deposit(load, 100)
        with market.refuses("InsufficientFunds", load, 1):
            market.settle(0, [trade(pv, load, 100, 1), trade(chp, load, 1, 1)])
        assert market.balances() == [100, 0, 0, 0, 0]
        assert market.energies() == [0] * 5
        assert market.view("nextSeq", market.operator) == 0

    def test_a_balance_that_a_batch_would_overflow_is_refused(self, market: Market) -> None:
        load, pv, *_ = market.actors
        market.deposit(load, 1)
        market.deposit(pv, LARGEST_WEI - 1)
        first, error = (pv, "TooMuch") if pv.lower() < load.lower() else (load, "InsufficientFunds")
        value = 2**96 if first == pv else 1
        with market.refuses(error, first, value):
            market.settle(0, [trade(pv, load, 1, 2)])
        market.settle(0, [trade(pv, load, 1, 1)])
        assert market.view("weiOf", pv) == LARGEST_WEI

    def test_every_account_is_an_actor_s_also_one_without_trades(self, market: Market) -> None:
        load, pv, chp, *_ = market.actors
        with market.refuses("NotAnActor", market.stranger):
            market.settle(0, [trade(pv, load), trade(pv, market.stranger)])
        for also in (market.stranger, chp):
            accounts = sorted(bytes.fromhex(one[2:]) for one in (load, pv, also))
            places = [accounts.index(bytes.fromhex(one[2:])).to_bytes(2) for one in (pv, load)]
            batch = SLOT.to_bytes(4) + (3).to_bytes(2) + b"".join([*accounts, *places]) + (1).to_bytes(4) + bytes(10)
            if also == chp:
                market.settle_bytes(0, batch)
                break
            with market.refuses("NotAnActor", also):
                market.settle_bytes(0, batch)

    @pytest.mark.parametrize(
        ("slots", "index"), [([SLOT - 1, SLOT], 1), ([SLOT, SLOT - 1], 0), ([SLOT + 95, SLOT, SLOT + 96], 2)]
    )
    def test_a_batch_is_of_one_day(self, market: Market, slots: list[int], index: int) -> None:
        load, pv, *_ = market.actors
        with market.refuses("SlotOfAnotherDay", index):
            market.settle(0, [trade(pv, load, 1, 0, slot) for slot in slots])

    def test_days_are_kept_apart_in_any_order(self, market: Market) -> None:
        load, pv, *_ = market.actors
        days = [TODAY, TODAY + 1, TODAY, TODAY - 1, TODAY + 1, TODAY + 2]
        links: dict[int, int] = {}
        for seq, day in enumerate(days):
            receipt = market.settle(seq, [trade(pv, load, 10 + seq, 0, day * SLOTS_PER_DAY + seq)], ROOT)
            (logged,) = market.events("BatchSettled", receipt)
            links[day] = linked(links.get(day, 0), digest_of(seq, ROOT, logged["contentHash"]))
        sold = {TODAY - 1: 13, TODAY: 22, TODAY + 1: 25, TODAY + 2: 15}
        for day, energy_wh in sold.items():
            assert market.view("ledgerOf", market.operator, day) == [energy_wh, links[day]]
            assert market.view("balanceOf", load, day) == energy_wh
            assert market.totals(day) == [energy_wh, energy_wh, 0, energy_wh, False]

    def test_a_day_has_48_bits_of_an_operator(self, market: Market) -> None:
        load, pv, *_ = market.actors
        market.settle(0, [trade(pv, load)])
        place = place_of_operator(market)
        word = market.word(place)
        full = word | (2**48 - 1) << 96
        market.put_word(place, full)
        with market.refuses("TooMuchEnergy", market.operator, TODAY):
            market.settle(1, [trade(pv, load)])
        market.put_word(place, full ^ (1 << 96))
        market.settle(1, [trade(pv, load)])
        assert market.view("ledgerOf", market.operator, TODAY)[0] == 2**48 - 1

    def test_a_day_has_64_bits_of_an_account(self, market: Market) -> None:
        load, pv, *_ = market.actors
        place = place_of_account(market, load)
        market.put_word(place, REGISTERED | TODAY << 160 | (2**64 - 1) << 96)
        with market.refuses("TooMuchEnergy", load, TODAY):
            market.settle(0, [trade(pv, load)])
        market.settle(0, [trade(pv, load, 5, 0, SLOT + SLOTS_PER_DAY)])
        assert market.view("balanceOf", load, TODAY) == 2**64 - 1
        assert market.view("balanceOf", load, TODAY + 1) == 5


class TestShortfalls:
    def test_energy_is_burnt_and_the_money_goes_back(self, market: Market) -> None:
        load, pv, *_ = market.actors
        market.deposit(load, 100)
        market.settle(0, [trade(pv, load, 10, 7)])
        receipt = market.report(0, 0, 4)
        assert market.energies()[0] == 6
        assert market.balances()[:2] == [58, 42]
        assert market.totals() == [10, 6, 0, 6, False]
        assert market.view("shortfallOf", market.operator, 0, 0) == 4
        assert market.events("ShortfallReported", receipt) == [
            {
                "operator": market.operator,
                "seq": 0,
                "index": 0,
                "energyWh": 4,
                "payer": pv,
                "payee": load,
                "paidWei": 28,
                "owedWei": 0,
            }
        ]
        assert market.events("TransferSingle", receipt) == [
            {"operator": market.meter, "from": load, "to": ZERO, "id": TODAY, "value": 4}
        ]
        market.report(0, 0, 6)
        assert market.balances()[:2] == [100, 0]

    @pytest.mark.parametrize("seq", range(4))
    def test_each_batch_of_a_day_has_its_proof(self, market: Market, seq: int) -> None:
        load, pv, *_ = market.actors
        slots = [SLOT, SLOT + 5, SLOT + SLOTS_PER_DAY, SLOT + 7]
        for number, slot in enumerate(slots):
            market.settle(number, [trade(pv, load, 2 + number, 0, slot)], bytes([number]) * 32)
        assert len(market.proof(market.operator, seq).later_digests) == [2, 1, 0, 0][seq]
        market.report(seq, 0, 2 + seq)
        assert market.view("shortfallOf", market.operator, seq, 0) == 2 + seq

    def test_a_seller_that_paid_gets_it_back(self, market: Market) -> None:
        load, pv, *_ = market.actors
        market.deposit(pv, 100)
        market.settle(0, [trade(pv, load, 10, -7)])
        receipt = market.report(0, 0, 3)
        assert market.balances()[:2] == [49, 51]
        (logged,) = market.events("ShortfallReported", receipt)
        assert (logged["payer"], logged["payee"], logged["paidWei"]) == (load, pv, 21)

    def test_what_cannot_be_paid_is_owed_and_income_pays_it(self, market: Market) -> None:
        load, pv, chp, *_ = market.actors
        market.deposit(load, 100)
        market.settle(0, [trade(pv, load, 10, 10)])
        market.settle(1, [trade(chp, pv, 1, 75)])
        receipt = market.report(0, 0, 6)
        assert market.events("Owed", receipt) == [{"debtor": pv, "creditor": load, "amountWei": 35}]
        (logged,) = market.events("ShortfallReported", receipt)
        assert (logged["paidWei"], logged["owedWei"]) == (25, 35)
        assert market.view("owedWei", pv) == 35
        assert market.balances()[:3] == [25, 0, 75]

        receipt = market.deposit(pv, 5)
        assert market.events("DebtPaid", receipt) == [{"debtor": pv, "creditor": load, "amountWei": 5}]
        receipt = market.settle(2, [trade(pv, chp, 10, 2)])
        assert market.events("DebtPaid", receipt) == [{"debtor": pv, "creditor": load, "amountWei": 20}]
        receipt = market.report(1, 0, 1)
        assert market.events("DebtPaid", receipt) == [{"debtor": pv, "creditor": load, "amountWei": 10}]
        assert market.view("owedWei", pv) == 0
        assert market.balances()[:3] == [60, 40 + 5, 0]
        with market.refuses("OwesNothing", pv):
            market.send("payDebts", pv, sender=market.stranger)

    @staticmethod
    def indebt(market: Market, creditors: int) -> None:
        """Let pv owe 10 wei to each of so many actors, and have nothing."""
        _, pv, chp, *_ = market.actors
        accounts = market.register(creditors, 10)
        market.settle(0, [trade(pv, account, 1, 10) for account in accounts])
        market.settle(1, [trade(chp, pv, 1, 10 * creditors)])
        for index in range(creditors):
            market.report(0, index, 1)

    def test_who_owes_cannot_withdraw(self, market: Market) -> None:
        pv = market.actors[1]
        self.indebt(market, 18)
        receipt = market.deposit(pv, 230)
        assert len(market.events("DebtPaid", receipt)) == 8
        assert (market.view("owedWei", pv), market.view("weiOf", pv), market.view("spendableWei", pv)) == (100, 150, 50)
        market.send("requestWithdraw", 150, sender=pv)
        market.travel(market.now + WITHDRAW_S)
        with market.refuses("InDebt", pv):
            market.send("withdraw", sender=pv)
        receipt = market.send("payDebts", pv, sender=market.stranger)
        assert len(market.events("DebtPaid", receipt)) == 8
        assert market.view("withdrawalOf", pv)[0] == 70
        receipt = market.send("withdraw", sender=pv)
        assert len(market.events("DebtPaid", receipt)) == 2
        assert market.events("Withdrawn", receipt) == [{"account": pv, "amountWei": 50}]
        assert market.view("weiOf", pv) == 0

    def test_debts_to_one_creditor_are_one(self, market: Market) -> None:
        load, pv, chp, *_ = market.actors
        market.deposit(load, 100)
        market.deposit(chp, 30)
        market.settle(0, [*(trade(pv, load, 1, 10) for _ in range(10)), trade(pv, chp, 3, 10)])
        market.settle(1, [trade(chp, pv, 1, 130)])
        for index in (0, 1, 10, 2):
            market.report(0, index, 1)
        assert market.view("owedWei", pv) == 40
        receipt = market.deposit(pv, 35)
        assert [event["amountWei"] for event in market.events("DebtPaid", receipt)] == [30, 5]
        market.report(0, 3, 1)
        receipt = market.deposit(pv, 20)
        assert [event["amountWei"] for event in market.events("DebtPaid", receipt)] == [5, 10]
        assert market.view("owedWei", pv) == 0

    def test_who_owes_pays_before_it_spends_in_a_batch(self, market: Market) -> None:
        _, pv, chp, *_ = market.actors
        self.indebt(market, 9)
        market.deposit(pv, 80 + 30)
        assert (market.view("owedWei", pv), market.view("weiOf", pv)) == (10, 30)
        before = market.view("weiOf", chp)
        with market.refuses("InsufficientFunds", pv, 1):
            market.settle(2, [trade(chp, pv, 1, 21)])
        receipt = market.settle(2, [trade(chp, pv, 1, 20)])
        assert [event["amountWei"] for event in market.events("DebtPaid", receipt)] == [10]
        assert market.view("weiOf", chp) == before + 20
        assert (market.view("owedWei", pv), market.view("weiOf", pv)) == (0, 0)

    def test_who_still_owes_after_that_has_nothing_to_spend(self, market: Market) -> None:
        _, pv, chp, *_ = market.actors
        self.indebt(market, 17)
        market.deposit(pv, 500)
        assert market.view("owedWei", pv) == 90
        with market.refuses("InsufficientFunds", pv, 1):
            market.settle(2, [trade(chp, pv, 1, 1)])
        market.send("payDebts", pv, sender=market.stranger)
        market.settle(2, [trade(chp, pv, 1, 1)])

    def test_an_older_debt_is_paid_before_a_newer_shortfall(self, market: Market) -> None:
        _, pv, chp, _, grid = market.actors
        market.deposit(grid, 50)
        market.settle(0, [trade(pv, grid, 5, 10)])
        proof = market.proof(market.operator, 0)
        market.send("keepLink", market.operator, TODAY)
        creditors = market.register(9, 10)
        market.settle(1, [trade(pv, account, 1, 10) for account in creditors])
        market.settle(2, [trade(chp, pv, 1, 140)])
        for index in range(9):
            market.report(1, index, 1)
        market.deposit(pv, 80 + 30)
        receipt = market.send("reportShortfall", proof.packed(), 0, 5, sender=market.meter)
        (logged,) = market.events("ShortfallReported", receipt)
        assert (logged["paidWei"], logged["owedWei"]) == (20, 30)
        assert market.events("DebtPaid", receipt) == [{"debtor": pv, "creditor": creditors[8], "amountWei": 10}]
        assert (market.view("owedWei", pv), market.view("weiOf", grid)) == (30, 20)

    def test_who_has_money_pays_its_debts_by_withdrawing(self, market: Market) -> None:
        pv = market.actors[1]
        self.indebt(market, 10)
        market.deposit(pv, 80 + 20)
        market.send("requestWithdraw", 20, sender=pv)
        market.travel(market.now + WITHDRAW_S)
        with market.refuses("InsufficientFunds", pv, 20):
            market.send("withdraw", sender=pv)
        market.deposit(pv, 50)
        market.send("withdraw", sender=pv)
        assert market.view("weiOf", pv) == 30
        assert market.view("owedWei", pv) == 0

    def test_only_the_meter_reports_and_closes(self, market: Market) -> None:
        load, pv, *_ = market.actors
        market.settle(0, [trade(pv, load)])
        for caller in (market.admin, market.operator, load, market.stranger):
            with market.refuses("NotMeter", caller):
                market.report(0, 0, 1, sender=caller)
            with market.refuses("NotMeter", caller):
                market.send("closeDay", TODAY - 1, sender=caller)

    def test_metered_energy_never_falls_short(
        self, market: Market, deploy: Deploy, artifacts: dict[str, Artifact]
    ) -> None:
        load, pv, *_ = market.actors
        contract = deploy(artifacts["EnergyMarket"], market.admin, SLOT_S, WITHDRAW_S, REPLACE_S, True)
        metered = replace(market, contract=contract)
        metered.send("registerActors", [(load, 0, "load"), (pv, 1, "pv")])
        metered.send("setOperator", market.operator, True)
        metered.send("setMeter", market.meter)
        metered.settle(0, [trade(pv, load)])
        with market.refuses("Metered"):
            metered.report(0, 0, 1)
        metered.close()

    def test_what_cannot_fall_short_is_refused(self, market: Market) -> None:
        load, pv, *_ = market.actors
        market.settle(0, [trade(pv, load, 10), trade(pv, load, 5, imbalance=True)])
        with market.refuses("ZeroEnergy", 0):
            market.report(0, 0, 0)
        with market.refuses("NoSuchTrade", 2):
            market.report(0, 2, 1)
        with market.refuses("ImbalanceHasNoShortfall", 1):
            market.report(0, 1, 1)
        with market.refuses("MoreThanTraded", 0, 10):
            market.report(0, 0, 11)
        market.report(0, 0, 4)
        with market.refuses("MoreThanTraded", 0, 6):
            market.report(0, 0, 2**256 - 1)

    def test_what_no_operator_settled_is_nobody_s(self, market: Market) -> None:
        load, pv, *_ = market.actors
        market.settle(0, [trade(pv, load, 10)])
        proof = replace(market.proof(market.operator, 0), operator=market.stranger)
        with market.refuses("NotSettled", market.stranger, 0):
            market.send("reportShortfall", proof.packed(), 0, 1, sender=market.meter)
        market.report(0, 0, 3)
        assert market.view("ledgerOf", market.stranger, TODAY) == [0, 0]
        assert market.view("shortfallOf", market.stranger, 0, 0) == 0
        with market.refuses("NotOperator", market.stranger):
            market.send("keepLink", market.stranger, TODAY)
        with market.refuses("NotOperator", market.stranger):
            market.send("proveLinks", market.stranger, TODAY, 1, [])

    def test_a_market_without_operators_can_be_asked(
        self, market: Market, deploy: Deploy, artifacts: dict[str, Artifact]
    ) -> None:
        ask = deploy(artifacts["EnergyMarket"], market.admin, 900, 900, 900, False).functions
        assert ask.ledgerOf(market.stranger, TODAY).call() == [0, 0]
        assert ask.shortfallOf(market.stranger, 0, 0).call() == 0
        assert ask.dayTotals(TODAY).call() == [0, 0, 0, 0, False]

    def test_a_long_proof_is_made_in_steps(self, market: Market) -> None:
        load, pv, *_ = market.actors
        for seq in range(7):
            market.settle(seq, [trade(pv, load, 10 + seq)])
        proofs = [market.proof(market.operator, seq) for seq in range(7)]
        digests = proofs[0].later_digests
        with market.refuses("NotLinked", market.operator, TODAY, proofs[3].link):
            market.send("proveLinks", market.operator, TODAY, proofs[3].link, digests[3:5])
        receipt = market.send("proveLinks", market.operator, TODAY, proofs[3].link, digests[3:], sender=market.stranger)
        assert market.events("LinkKept", receipt) == [
            {"operator": market.operator, "day": TODAY, "link": proofs[3].link}
        ]
        market.send("proveLinks", market.operator, TODAY, proofs[1].link, digests[1:3])
        market.settle_any(7)
        short = replace(proofs[0], later_digests=digests[:1])
        market.send("reportShortfall", short.packed(), 0, 10, sender=market.meter)
        itself = replace(proofs[1], later_digests=())
        market.send("reportShortfall", itself.packed(), 0, 11, sender=market.meter)
        with market.refuses("NotSettled", market.operator, 2):
            market.send("reportShortfall", proofs[2].packed(), 0, 1, sender=market.meter)

    def test_the_end_of_an_earlier_day_is_kept(self, market: Market) -> None:
        load, pv, *_ = market.actors
        market.settle(0, [trade(pv, load, 10)])
        market.settle(1, [trade(pv, load, 10, 0, SLOT + SLOTS_PER_DAY)])
        proof = market.proof(market.operator, 0)
        receipt = market.send("keepLink", market.operator, TODAY)
        assert market.events("LinkKept", receipt) == [{"operator": market.operator, "day": TODAY, "link": proof.link}]
        market.settle_any(2)
        market.send("reportShortfall", proof.packed(), 0, 10, sender=market.meter)

    def test_a_day_closes_when_it_is_over_and_once(self, market: Market) -> None:
        load, pv, *_ = market.actors
        market.settle(0, [trade(pv, load, 10)])
        market.travel((TODAY + 1) * DAY_S - 1)
        with market.refuses("DayIsNotOver", TODAY):
            market.send("closeDay", TODAY, sender=market.meter)
        for later in (TODAY + 1, 2**256 - 1):
            with market.refuses("DayIsNotOver", later):
                market.send("closeDay", later, sender=market.meter)
        assert market.events("DayClosed", market.close()) == [{"day": TODAY}]
        assert market.totals() == [10, 10, 0, 10, True]
        with market.refuses("DayIsClosed", TODAY):
            market.send("closeDay", TODAY, sender=market.meter)
        with market.refuses("DayIsClosed", TODAY):
            market.report(0, 0, 1)

    def test_a_shortfall_is_burnt_also_when_the_buyer_went_on_to_another_day(self, market: Market) -> None:
        load, pv, *_ = market.actors
        market.settle(0, [trade(pv, load, 10)])
        market.settle(1, [trade(pv, load, 3, 0, SLOT + SLOTS_PER_DAY)])
        market.report(0, 0, 10)
        assert market.energies() == [0] * 5
        assert market.energies(TODAY + 1)[0] == 3


class TestClosedDays:
    def test_what_is_traded_of_a_closed_day_are_imbalances(self, market: Market) -> None:
        load, pv, *_ = market.actors
        market.settle(0, [trade(pv, load, 10)])
        market.close()
        market.send("retire", TODAY, 4, sender=load)
        late = trade(pv, load, 5, imbalance=True)
        for trades in ([trade(pv, load, 1)], [late, trade(pv, load, 1)], [trade(pv, load, 1), late]):
            with market.refuses("DayIsClosed", TODAY):
                market.settle(1, trades)
        market.settle(1, [late, late])
        assert market.totals() == [20, 20, 4, 16, True]
        assert market.energies()[0] == 16
        with market.refuses("DayIsClosed", TODAY):
            market.report(1, 0, 1)

    def test_a_day_that_is_over_and_not_closed_is_traded(self, market: Market) -> None:
        load, pv, *_ = market.actors
        market.settle(0, [trade(pv, load, 1, 0, SLOT - 1)])
        market.report(0, 0, 1)


class TestCommitments:
    """The market's part of agreements, with an account in the factory's place."""

    @pytest.fixture
    def maker(self, market: Market) -> str:
        """The account; load lets it draw on its 100 wei."""
        market.send("setAgreementFactory", market.stranger)
        market.send("acceptAgreements", True, sender=market.actors[0])
        market.deposit(market.actors[0], 100)
        return market.stranger

    def test_to_accept_agreements_is_an_actor_s_to_say(self, market: Market) -> None:
        load = market.actors[0]
        receipt = market.send("acceptAgreements", True, sender=load)
        assert market.events("AgreementsAccepted", receipt) == [{"account": load, "accepted": True}]
        assert market.view("acceptsAgreements", load) is True
        market.send("acceptAgreements", False, sender=load)
        assert market.view("acceptsAgreements", load) is False
        with market.refuses("NotAnActor", market.stranger):
            market.send("acceptAgreements", True, sender=market.stranger)

    def test_money_is_set_aside_and_comes_back(self, market: Market, maker: str) -> None:
        load = market.actors[0]
        receipt = market.send("commit", market.newcomer, load, 60, SLOT, sender=maker)
        event = {"agreement": market.newcomer, "payer": load, "amountWei": 60}
        assert market.events("Committed", receipt) == [event]
        assert market.view("commitmentOf", market.newcomer) == [load, 60]
        assert market.view("weiOf", load) == 40
        receipt = market.send("returnCommitment", sender=market.newcomer)
        assert market.events("CommitmentReturned", receipt) == [event]
        assert market.view("weiOf", load) == 100
        assert market.view("commitmentOf", market.newcomer) == [ZERO, 0]

    def test_money_that_comes_back_pays_debts(self, market: Market, maker: str) -> None:
        load, pv, *_ = market.actors
        market.deposit(pv, 30)
        market.settle(0, [trade(pv, load, 10, -3)])
        market.send("commit", market.newcomer, load, 130, SLOT, sender=maker)
        market.report(0, 0, 10)
        receipt = market.send("returnCommitment", sender=market.newcomer)
        assert market.events("DebtPaid", receipt) == [{"debtor": load, "creditor": pv, "amountWei": 30}]
        assert market.balances()[:2] == [100, 30]

    def test_a_settled_commitment_pays_debts(self, market: Market, maker: str) -> None:
        load, pv, chp, *_ = market.actors
        market.settle(0, [trade(pv, load, 10, 3)])
        market.settle(1, [trade(chp, pv, 1, 30)])
        market.report(0, 0, 10)
        market.send("commit", market.newcomer, load, 50, SLOT, sender=maker)
        receipt = market.send("settleCommitment", pv, load, pv, SLOT, 4, sender=market.newcomer)
        assert market.events("DebtPaid", receipt) == [{"debtor": pv, "creditor": load, "amountWei": 30}]
        assert market.balances()[:2] == [50, 20]
        assert market.totals() == [11 + 4, 5, 0, 5, False]

    def test_who_owes_pays_before_it_commits(self, market: Market, maker: str) -> None:
        load, _, chp, *_ = market.actors
        creditors = market.register(9, 10)
        market.settle(0, [trade(load, account, 1, 10) for account in creditors])
        market.settle(1, [trade(chp, load, 1, 190)])
        for index in range(9):
            market.report(0, index, 1)
        market.deposit(load, 80 + 30)
        with market.refuses("InsufficientFunds", load, 1):
            market.send("commit", market.newcomer, load, 21, SLOT, sender=maker)
        receipt = market.send("commit", market.newcomer, load, 20, SLOT, sender=maker)
        assert market.events("DebtPaid", receipt) == [{"debtor": load, "creditor": creditors[8], "amountWei": 10}]
        assert market.view("owedWei", load) == market.view("weiOf", load) == 0

    def test_an_agreement_that_was_made_before_its_day_was_closed_settles_after_it(
        self, market: Market, maker: str
    ) -> None:
        load, pv, *_ = market.actors
        market.send("commit", market.newcomer, load, 60, SLOT, sender=maker)
        market.close()
        market.send("settleCommitment", pv, load, pv, SLOT, 4, sender=market.newcomer)
        assert market.totals() == [4, 4, 0, 4, True]
        with market.refuses("DayIsClosed", TODAY):
            market.send("commit", market.admin, load, 1, SLOT, sender=maker)

    def test_what_cannot_be_committed_is_refused(self, market: Market, maker: str) -> None:
        load, pv, *_ = market.actors
        commit = (market.newcomer, load, 60, SLOT)
        with market.refuses("NotAgreementFactory", market.operator):
            market.send("commit", *commit, sender=market.operator)
        with market.refuses("NotAnActor", maker):
            market.send("commit", market.newcomer, maker, 0, SLOT, sender=maker)
        with market.refuses("AgreementsNotAccepted", pv):
            market.send("commit", market.newcomer, pv, 0, SLOT, sender=maker)
        with market.refuses("InsufficientFunds", load, 1):
            market.send("commit", market.newcomer, load, 101, SLOT, sender=maker)
        with market.refuses("DayTooFar", TODAY + 367):
            market.send("commit", *commit[:3], SLOT + 367 * SLOTS_PER_DAY, sender=maker)
        market.send("commit", *commit, sender=maker)
        with market.refuses("AlreadySet"):
            market.send("commit", market.newcomer, load, 0, SLOT, sender=maker)

    def test_a_pause_stops_commitments_but_not_their_return(self, market: Market, maker: str) -> None:
        load, pv, *_ = market.actors
        market.send("commit", market.newcomer, load, 60, SLOT, sender=maker)
        market.send("setPaused", True)
        with market.refuses("Paused"):
            market.send("commit", market.admin, load, 1, SLOT, sender=maker)
        with market.refuses("Paused"):
            market.send("settleCommitment", pv, load, pv, SLOT, 4, sender=market.newcomer)
        market.send("returnCommitment", sender=market.newcomer)

    def test_a_commitment_is_taken_once(self, market: Market, maker: str) -> None:
        load, pv, *_ = market.actors
        for function, arguments in (("settleCommitment", (pv, load, pv, SLOT, 4)), ("returnCommitment", ())):
            with market.refuses("NotCommitted", market.newcomer):
                market.send(function, *arguments, sender=market.newcomer)
        market.send("commit", market.newcomer, load, 60, SLOT, sender=maker)
        receipt = market.send("settleCommitment", pv, load, pv, SLOT, 4, sender=market.newcomer)
        assert market.events("AgreementSettled", receipt) == [
            {"agreement": market.newcomer, "seller": pv, "buyer": load, "slot": SLOT, "energyWh": 4}
        ]
        assert market.events("TransferSingle", receipt) == [
            {"operator": market.newcomer, "from": ZERO, "to": load, "id": TODAY, "value": 4}
        ]
        assert market.balances()[:2] == [40, 60]
        for function, arguments in (("settleCommitment", (pv, load, pv, SLOT, 4)), ("returnCommitment", ())):
            with market.refuses("NotCommitted", market.newcomer):
                market.send(function, *arguments, sender=market.newcomer)
