# SPDX-License-Identifier: GPL-3.0-or-later
"""EnergyAgreement and its factory, function by function, state by state and revert by revert."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.market import REPLACE_S, SLOT, SLOTS_PER_DAY, TODAY, Artifact, Deploy, Market, refused, trade
from web3 import Web3
from web3.contract import Contract

NONE, COMMITTED, DELIVERED, SETTLED, CANCELLED, EXPIRED = range(6)
HOUR = 3_600
AGREEMENT_ABI = json.loads((Path(__file__).parents[1] / "artifacts/EnergyAgreement.json").read_text())["abi"]

Terms = tuple[bytes, str, str, int, int, int, int]


@pytest.fixture
def terms(market: Market) -> Terms:
    """Pv sells load 10 Wh for 3 wei each, to be delivered in an hour; both have 100 wei."""
    load, pv, *_ = market.actors
    for actor in (load, pv):
        market.deposit(actor, 100)
    return b"trade 1".ljust(32), pv, load, 10, 3, SLOT, market.now + HOUR


Make = Callable[..., Contract]


@pytest.fixture
def make(market: Market, factory: Contract) -> Make:
    """Let the operator make an agreement."""

    def create(terms: Terms) -> Contract:
        market.run(factory.functions.create(terms), sender=market.operator)
        address = factory.functions.addressOf(terms[0]).call()
        agreement: Contract = market.web3.eth.contract(address, abi=AGREEMENT_ABI)
        return agreement

    return create


def state(agreement: Contract) -> int:
    return int(agreement.functions.state().call())


class TestCreating:
    def test_an_agreement_is_where_it_was_said_and_has_its_money(
        self, market: Market, factory: Contract, terms: Terms
    ) -> None:
        load, pv, *_ = market.actors
        address = factory.functions.addressOf(terms[0]).call()
        assert market.web3.eth.get_code(address) == b""
        receipt = market.run(factory.functions.create(terms), sender=market.operator)
        assert market.events("AgreementCreated", receipt, factory) == [
            {"tradeId": terms[0], "agreement": address, "seller": pv, "buyer": load}
        ]
        agreement = market.web3.eth.contract(address, abi=AGREEMENT_ABI)
        assert market.events("StateChanged", receipt, agreement) == [{"state": COMMITTED}]
        assert market.events("Committed", receipt) == [{"agreement": address, "payer": load, "amountWei": 30}]
        assert state(agreement) == COMMITTED
        assert tuple(agreement.functions.terms().call()) == terms
        assert agreement.functions.market().call() == factory.functions.market().call() == market.contract.address
        assert market.balances()[:2] == [70, 100]
        assert market.view("commitmentOf", address) == [load, 30]
        code = market.web3.eth.get_code(address)
        implementation = Web3.to_bytes(hexstr=factory.functions.implementation().call())
        assert code == bytes.fromhex("363d3d373d3d3d363d73") + implementation + bytes.fromhex(
            "5af43d82803e903d91602b57fd5bf3"
        )

    def test_with_a_negative_price_the_seller_s_money_is_set_aside(
        self, market: Market, make: Make, terms: Terms
    ) -> None:
        agreement = make((*terms[:4], -3, *terms[5:]))
        assert market.balances()[:2] == [100, 70]
        assert market.view("commitmentOf", agreement.address)[0] == market.actors[1]

    def test_a_second_one_for_a_trade_changes_nothing(
        self, market: Market, factory: Contract, make: Make, terms: Terms
    ) -> None:
        agreement = make(terms)
        receipt = market.run(factory.functions.create((*terms[:3], 99, *terms[4:])), sender=market.operator)
        assert receipt["logs"] == []
        assert agreement.functions.terms().call()[3] == 10
        assert market.balances()[0] == 70

    def test_many_are_made_and_settled_or_none(self, market: Market, factory: Contract, terms: Terms) -> None:
        load, _, chp, *_ = market.actors
        several = [(bytes([n]) * 32, *terms[1:]) for n in range(3)]
        receipt = market.run(factory.functions.createMany(several), sender=market.operator)
        addresses = [event["agreement"] for event in market.events("AgreementCreated", receipt, factory)]
        assert addresses == [factory.functions.addressOf(one[0]).call() for one in several]
        assert market.balances()[0] == 10
        with market.refuses("InsufficientFunds", load, 20):
            market.run(factory.functions.createMany([(bytes(32)[:-1] + b"x", *terms[1:])]), sender=market.operator)

        for address in addresses:
            confirm = market.web3.eth.contract(address, abi=AGREEMENT_ABI).functions.confirmDelivery()
            market.run(confirm, sender=load)
        market.run(factory.functions.settleMany(addresses[:2]), sender=chp)
        assert market.balances()[:2] == [10, 160]
        with refused(AGREEMENT_ABI, "WrongState", SETTLED):
            market.run(factory.functions.settleMany(addresses[::-1]), sender=chp)
        assert market.balances()[:2] == [10, 160]

    def test_what_is_no_agreement_is_refused(self, market: Market, factory: Contract, terms: Terms) -> None:
        trade_id, pv, load, energy_wh, price, slot, deliver_by = terms
        create = factory.functions.create
        refusals: list[tuple[Terms, str, Any]] = [
            ((trade_id, market.stranger, load, energy_wh, price, slot, deliver_by), "NotAnActor", market.stranger),
            ((trade_id, pv, market.stranger, energy_wh, price, slot, deliver_by), "NotAnActor", market.stranger),
            ((trade_id, pv, pv, energy_wh, price, slot, deliver_by), "SelfTrade", pv),
            ((trade_id, pv, load, energy_wh, price, slot, TODAY), "DeliverByIsOver", TODAY),
        ]
        for wrong, error, value in refusals:
            with refused(factory.abi, error, value):
                market.run(create(wrong), sender=market.operator)
        latest = market.now + 366 * 24 * HOUR + 1
        with refused(factory.abi, "DeliverByTooFar", latest + 1):
            market.run(create((*terms[:6], latest + 1)), sender=market.operator)
        with market.refuses("DayTooFar", TODAY + 367):
            market.run(create((*terms[:5], slot + 367 * SLOTS_PER_DAY, deliver_by)), sender=market.operator)
        with refused(factory.abi, "ZeroEnergy"):
            market.run(create((trade_id, pv, load, 0, price, slot, deliver_by)), sender=market.operator)
        for caller in (market.admin, market.meter, load, market.stranger):
            with refused(factory.abi, "NotOperator", caller):
                market.run(create(terms), sender=caller)
        with market.refuses("InsufficientFunds", load, 5):
            market.run(create((trade_id, pv, load, 35, price, slot, deliver_by)), sender=market.operator)

    def test_who_did_not_accept_agreements_pays_for_none(self, market: Market, factory: Contract, terms: Terms) -> None:
        chp = market.actors[2]
        market.deposit(chp, 100)
        with market.refuses("AgreementsNotAccepted", chp):
            market.run(factory.functions.create((*terms[:2], chp, *terms[3:])), sender=market.operator)
        market.run(factory.functions.create((terms[0], chp, *terms[2:])), sender=market.operator)

    def test_the_largest_agreement_is_exact(self, market: Market, make: Make, terms: Terms) -> None:
        pv = market.actors[1]
        amount = (2**32 - 1) * 2**63
        market.deposit(pv, amount)
        make((*terms[:3], 2**32 - 1, -(2**63), *terms[5:]))
        assert market.balances()[1] == 100

    def test_another_factory_makes_none(
        self, market: Market, factory: Contract, terms: Terms, deploy: Deploy, artifacts: dict[str, Artifact]
    ) -> None:
        other = deploy(artifacts["EnergyAgreementFactory"], market.contract.address)
        assert other.functions.addressOf(terms[0]).call() != factory.functions.addressOf(terms[0]).call()
        with market.refuses("NotAgreementFactory", other.address):
            market.run(other.functions.create(terms), sender=market.operator)

    def test_a_pause_stops_making_and_settling(
        self, market: Market, factory: Contract, make: Make, terms: Terms
    ) -> None:
        agreement = make(terms)
        market.run(agreement.functions.confirmDelivery(), sender=market.actors[0])
        market.send("setPaused", True)
        with market.refuses("Paused"):
            market.run(factory.functions.create((bytes(32), *terms[1:])), sender=market.operator)
        with market.refuses("Paused"):
            market.run(agreement.functions.settle(), sender=market.stranger)
        assert state(agreement) == DELIVERED
        market.send("setPaused", False)
        market.run(agreement.functions.settle(), sender=market.stranger)

    def test_nobody_but_the_factory_begins_one(
        self, market: Market, factory: Contract, make: Make, terms: Terms
    ) -> None:
        implementation = market.web3.eth.contract(factory.functions.implementation().call(), abi=AGREEMENT_ABI)
        with refused(AGREEMENT_ABI, "NotFactory", market.operator):
            market.run(implementation.functions.begin(terms), sender=market.operator)
        agreement = make(terms)
        with refused(AGREEMENT_ABI, "WrongState", COMMITTED):
            market.run(agreement.functions.begin(terms), sender=market.operator)
        assert state(implementation) == NONE


class TestLiving:
    @pytest.mark.parametrize("by", ["seller", "meter"])
    def test_with_a_negative_price_the_seller_confirms_not_the_buyer_who_is_paid(
        self, market: Market, make: Make, terms: Terms, by: str
    ) -> None:
        load, pv, *_ = market.actors
        agreement = make((*terms[:4], -3, *terms[5:]))
        with refused(AGREEMENT_ABI, "NotConfirmer", load):
            market.run(agreement.functions.confirmDelivery(), sender=load)
        market.run(agreement.functions.confirmDelivery(), sender=pv if by == "seller" else market.meter)
        assert state(agreement) == DELIVERED

    @pytest.mark.parametrize("confirmer", ["buyer", "meter"])
    def test_what_was_delivered_is_paid(self, market: Market, make: Make, terms: Terms, confirmer: str) -> None:
        load, pv, *_ = market.actors
        agreement = make(terms)
        market.travel(terms[6])
        sender = load if confirmer == "buyer" else market.meter
        receipt = market.run(agreement.functions.confirmDelivery(), sender=sender)
        assert market.events("StateChanged", receipt, agreement) == [{"state": DELIVERED}]
        assert market.balances()[:2] == [70, 100]
        receipt = market.run(agreement.functions.settle(), sender=market.stranger)
        assert market.events("StateChanged", receipt, agreement) == [{"state": SETTLED}]
        assert market.events("AgreementSettled", receipt) == [
            {"agreement": agreement.address, "seller": pv, "buyer": load, "slot": SLOT, "energyWh": 10}
        ]
        assert market.balances()[:2] == [70, 130]
        assert market.energies()[:2] == [10, 0]
        assert market.totals() == [10, 10, 0, 10, False]

    def test_with_a_negative_price_the_buyer_is_paid(self, market: Market, make: Make, terms: Terms) -> None:
        agreement = make((*terms[:4], -3, *terms[5:]))
        market.run(agreement.functions.confirmDelivery(), sender=market.actors[1])
        market.run(agreement.functions.settle(), sender=market.stranger)
        assert market.balances()[:2] == [130, 70]
        assert market.energies()[:2] == [10, 0]

    def test_a_delivery_is_confirmed_by_who_may_and_in_time(self, market: Market, make: Make, terms: Terms) -> None:
        agreement = make(terms)
        confirm = agreement.functions.confirmDelivery()
        for caller in (market.actors[1], market.operator, market.admin, market.stranger):
            with refused(AGREEMENT_ABI, "NotConfirmer", caller):
                market.run(confirm, sender=caller)
        market.travel(terms[6] + 1)
        with refused(AGREEMENT_ABI, "TooLate", terms[6]):
            market.run(confirm, sender=market.actors[0])

    @pytest.mark.parametrize("first", [0, 1])
    def test_both_cancel(self, market: Market, make: Make, terms: Terms, first: int) -> None:
        agreement = make(terms)
        one, other = market.actors[first], market.actors[1 - first]
        receipt = market.run(agreement.functions.cancel(), sender=one)
        assert market.events("CancellationAsked", receipt, agreement) == [{"by": one}]
        assert agreement.functions.asksToCancel(one).call() is True
        assert agreement.functions.asksToCancel(other).call() is False
        market.run(agreement.functions.cancel(), sender=one)
        assert state(agreement) == COMMITTED
        receipt = market.run(agreement.functions.cancel(), sender=other)
        assert market.events("StateChanged", receipt, agreement) == [{"state": CANCELLED}]
        assert market.events("CommitmentReturned", receipt) == [
            {"agreement": agreement.address, "payer": market.actors[0], "amountWei": 30}
        ]
        assert market.balances()[:2] == [100, 100]

    def test_only_parties_cancel(self, market: Market, make: Make, terms: Terms) -> None:
        agreement = make(terms)
        for caller in (market.operator, market.meter, market.admin, market.stranger):
            with refused(AGREEMENT_ABI, "NotParty", caller):
                market.run(agreement.functions.cancel(), sender=caller)

    def test_what_was_not_delivered_expires(self, market: Market, make: Make, terms: Terms) -> None:
        agreement = make(terms)
        market.travel(terms[6])
        with refused(AGREEMENT_ABI, "TooEarly", terms[6]):
            market.run(agreement.functions.expire(), sender=market.stranger)
        market.travel(terms[6] + 1)
        receipt = market.run(agreement.functions.expire(), sender=market.stranger)
        assert market.events("StateChanged", receipt, agreement) == [{"state": EXPIRED}]
        assert market.balances()[:2] == [100, 100]

    @pytest.mark.parametrize("end", [DELIVERED, SETTLED, CANCELLED, EXPIRED])
    def test_nothing_is_done_out_of_its_state(self, market: Market, make: Make, terms: Terms, end: int) -> None:
        load, pv, *_ = market.actors
        agreement = make(terms)
        functions = agreement.functions
        with refused(AGREEMENT_ABI, "WrongState", COMMITTED):
            market.run(functions.settle(), sender=load)
        steps = {
            DELIVERED: [(functions.confirmDelivery(), load)],
            SETTLED: [(functions.confirmDelivery(), load), (functions.settle(), load)],
            CANCELLED: [(functions.cancel(), load), (functions.cancel(), pv)],
            EXPIRED: [(functions.expire(), load)],
        }
        if end == EXPIRED:
            market.travel(terms[6] + 1)
        for call, sender in steps[end]:
            market.run(call, sender=sender)
        assert state(agreement) == end
        impossible = [functions.confirmDelivery(), functions.cancel(), functions.expire()]
        for call in impossible if end == DELIVERED else [*impossible, functions.settle()]:
            with refused(AGREEMENT_ABI, "WrongState", end):
                market.run(call, sender=load)

    def test_a_replaced_party_is_the_new_account(self, market: Market, make: Make, terms: Terms) -> None:
        load, pv, *_ = market.actors
        agreement = make((*terms[:6], terms[6] + REPLACE_S))
        market.run(agreement.functions.cancel(), sender=pv)
        for account, by in ((load, market.newcomer), (pv, market.stranger)):
            market.send("requestReplacement", account, by)
        market.travel(market.now + REPLACE_S)
        for account in (load, pv):
            market.send("replaceActor", account)
        with refused(AGREEMENT_ABI, "NotConfirmer", load):
            market.run(agreement.functions.confirmDelivery(), sender=load)
        with refused(AGREEMENT_ABI, "NotParty", pv):
            market.run(agreement.functions.cancel(), sender=pv)
        market.run(agreement.functions.cancel(), sender=market.newcomer)
        assert state(agreement) == COMMITTED
        market.run(agreement.functions.confirmDelivery(), sender=market.newcomer)
        market.run(agreement.functions.settle(), sender=load)
        assert [market.view("weiOf", account) for account in (load, pv)] == [0, 0]
        assert [market.view("weiOf", account) for account in (market.newcomer, market.stranger)] == [70, 130]
        assert market.view("balanceOf", market.newcomer, TODAY) == 10

    def test_money_that_is_set_aside_is_out_of_a_batch_s_reach(self, market: Market, make: Make, terms: Terms) -> None:
        load, pv, *_ = market.actors
        make(terms)
        with market.refuses("InsufficientFunds", load, 1):
            market.settle(0, [trade(pv, load, 71, 1)])
        market.settle(0, [trade(pv, load, 70, 1)])
        assert market.wallet(market.contract.address) == 200
        assert sum(market.balances()) == 170
