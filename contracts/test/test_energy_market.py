# SPDX-License-Identifier: GPL-3.0-or-later
"""EnergyMarket, function by function and revert by revert, and against a model in plain Python."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.market import Market, Trade
from web3.contract import Contract
from web3.types import Wei

Artifact = dict[str, Any]
Deploy = Callable[..., Contract]

SLOT = 1_900_000
ETHER = 10**18
ZERO = "0x" + "00" * 20
LARGEST_WH, LARGEST_PRICE, SMALLEST_PRICE = 2**64 - 1, 2**127 - 1, -(2**127)


class TestAdministration:
    def test_the_actors_stand_in_the_directory_in_their_order(self, market: Market) -> None:
        assert market.view("actorCount") == 5
        assert market.view("actorAt", 4) == [market.actors[4], 4, "grid"]
        assert market.view("isActor", market.actors[0]) is True
        assert market.view("isActor", market.stranger) is False

    def test_registering_is_logged(self, market: Market) -> None:
        receipt = market.send(
            market.contract.functions.registerActors([(market.stranger, 1, "roof")]), sender=market.admin
        )
        assert market.events("ActorRegistered", receipt) == [{"account": market.stranger, "kind": 1, "name": "roof"}]

    def test_only_the_admin_registers(self, market: Market) -> None:
        with market.refuses("NotAdmin", market.operator):
            market.send(market.contract.functions.registerActors([]), sender=market.operator)

    def test_registering_is_all_or_none(self, market: Market) -> None:
        register = market.contract.functions.registerActors
        with market.refuses("AlreadyRegistered", 1, market.actors[2]):
            market.send(register([(market.stranger, 0, "new"), (market.actors[2], 2, "chp")]), sender=market.admin)
        assert market.view("actorCount") == 5
        assert market.view("isActor", market.stranger) is False

    def test_one_account_twice_in_a_call_is_refused(self, market: Market) -> None:
        twice = [(market.stranger, 0, "a"), (market.stranger, 0, "a")]
        with market.refuses("AlreadyRegistered", 1, market.stranger):
            market.send(market.contract.functions.registerActors(twice), sender=market.admin)

    def test_kinds_end_with_the_grid(self, market: Market) -> None:
        with market.refuses("UnknownKind", 0, 5):
            market.send(market.contract.functions.registerActors([(market.stranger, 5, "x")]), sender=market.admin)

    def test_an_actor_needs_an_account(self, market: Market) -> None:
        with market.refuses("ActorWithoutAccount", 0):
            market.send(market.contract.functions.registerActors([(ZERO, 0, "x")]), sender=market.admin)

    def test_a_market_needs_an_admin(self, market: Market, deploy: Deploy, artifact: Artifact) -> None:
        with market.refuses("ZeroAddress"):
            deploy(artifact, ZERO)

    def test_an_operator_comes_and_goes(self, market: Market) -> None:
        receipt = market.send(market.contract.functions.setOperator(market.operator, False), sender=market.admin)
        assert market.events("OperatorSet", receipt) == [{"operator": market.operator, "allowed": False}]
        assert market.view("isOperator", market.operator) is False
        with market.refuses("NotOperator", market.operator):
            market.settle(0, [])

    def test_only_the_admin_appoints(self, market: Market) -> None:
        with market.refuses("NotAdmin", market.operator):
            market.send(market.contract.functions.setOperator(market.stranger, True), sender=market.operator)

    def test_nobody_is_no_operator(self, market: Market) -> None:
        with market.refuses("ZeroAddress"):
            market.send(market.contract.functions.setOperator(ZERO, True), sender=market.admin)


class TestMoney:
    def test_the_admin_deposits_for_an_actor(self, market: Market) -> None:
        receipt = market.deposit(market.actors[0], 7)
        assert market.balances() == [7, 0, 0, 0, 0]
        assert market.events("Deposited", receipt) == [
            {"account": market.actors[0], "from": market.admin, "amountWei": 7}
        ]

    def test_an_actor_deposits_for_itself(self, market: Market) -> None:
        receipt = market.send(market.contract.functions.deposit(), sender=market.actors[1], wei=9)
        assert market.balances() == [0, 9, 0, 0, 0]
        assert market.events("Deposited", receipt)[0]["from"] == market.actors[1]

    def test_a_deposit_needs_an_actor(self, market: Market) -> None:
        with market.refuses("NotAnActor", market.stranger):
            market.send(market.contract.functions.deposit(), sender=market.stranger, wei=1)
        with market.refuses("NotAnActor", market.stranger):
            market.deposit(market.stranger, 1)

    def test_a_deposit_needs_money(self, market: Market) -> None:
        with market.refuses("ZeroAmount"):
            market.deposit(market.actors[0], 0)

    def test_money_sent_without_a_word_comes_back(self, market: Market) -> None:
        with pytest.raises(Exception, match="execution reverted"):
            market.web3.eth.send_transaction({"from": market.admin, "to": market.contract.address, "value": Wei(1)})

    def test_a_deposit_that_a_signed_balance_cannot_hold_is_refused(self, market: Market) -> None:
        with market.refuses("AmountTooLarge", 2**255):
            market.deposit(market.actors[0], 2**255)

    def test_withdrawing_pays_out(self, market: Market) -> None:
        market.deposit(market.actors[0], 3 * ETHER)
        before = market.wallet(market.actors[0])
        receipt = market.send(market.contract.functions.withdraw(2 * ETHER), sender=market.actors[0])
        fee = receipt["gasUsed"] * receipt["effectiveGasPrice"]
        assert market.wallet(market.actors[0]) == before + 2 * ETHER - fee
        assert market.balances()[0] == ETHER
        assert market.wallet(market.contract.address) == ETHER
        assert market.events("Withdrawn", receipt) == [{"account": market.actors[0], "amountWei": 2 * ETHER}]

    def test_nobody_withdraws_more_than_their_own(self, market: Market) -> None:
        market.deposit(market.actors[0], 100)
        market.deposit(market.actors[1], 5)
        with market.refuses("InsufficientFunds", market.actors[1], 1):
            market.send(market.contract.functions.withdraw(6), sender=market.actors[1])
        with market.refuses("InsufficientFunds", market.stranger, 2**256 - 1):
            market.send(market.contract.functions.withdraw(2**256 - 1), sender=market.stranger)

    def test_withdrawing_nothing_is_refused(self, market: Market) -> None:
        with market.refuses("ZeroAmount"):
            market.send(market.contract.functions.withdraw(0), sender=market.actors[0])

    def test_a_reentrant_actor_gets_its_money_once(
        self, market: Market, deploy: Deploy, hostile: dict[str, Artifact]
    ) -> None:
        robber = deploy(hostile["Robber"], market.contract.address, wei=10)
        market.send(market.contract.functions.registerActors([(robber.address, 0, "robber")]), sender=market.admin)
        market.deposit(market.actors[0], 100)
        market.send(robber.functions.deposit(10), sender=market.stranger)

        market.send(robber.functions.rob(10), sender=market.stranger)
        assert robber.functions.triedAgain().call() is True
        assert robber.functions.gotMore().call() is False
        assert market.wallet(robber.address) == 10
        assert market.wallet(market.contract.address) == market.view("balanceOf", market.actors[0]) == 100

    def test_who_refuses_to_be_paid_keeps_the_balance(
        self, market: Market, deploy: Deploy, hostile: dict[str, Artifact]
    ) -> None:
        miser = deploy(hostile["Miser"], market.contract.address, wei=10)
        market.send(market.contract.functions.registerActors([(miser.address, 0, "miser")]), sender=market.admin)
        market.send(miser.functions.deposit(10), sender=market.stranger)
        with market.refuses("WithdrawalFailed", miser.address):
            market.send(miser.functions.withdraw(10), sender=market.stranger)
        assert market.view("balanceOf", miser.address) == 10


class TestSettlement:
    def test_energy_goes_to_the_buyer_and_money_to_the_seller(self, market: Market) -> None:
        load, pv, _, _, grid = market.actors
        market.deposit(load, 1000)
        market.deposit(grid, 1000)
        receipt = market.settle(0, [(pv, load, 30, 7, SLOT), (pv, grid, 5, 2, SLOT)])
        assert market.energies() == [30, -35, 0, 0, 5]
        assert market.balances() == [790, 220, 0, 0, 990]
        assert market.view("energySoldWh") == market.view("energyBoughtWh") == 35
        common = {"operator": market.operator, "seq": 0, "slot": SLOT, "seller": pv}
        assert market.events("TradeSettled", receipt) == [
            {**common, "buyer": load, "energyWh": 30, "priceWeiPerWh": 7},
            {**common, "buyer": grid, "energyWh": 5, "priceWeiPerWh": 2},
        ]
        assert market.events("BatchSettled", receipt) == [{"operator": market.operator, "seq": 0, "trades": 2}]

    def test_with_a_negative_price_the_seller_pays(self, market: Market) -> None:
        load, pv, *_ = market.actors
        market.deposit(pv, 100)
        market.settle(0, [(pv, load, 10, -3, SLOT)])
        assert market.balances()[:2] == [30, 70]
        assert market.energies()[:2] == [10, -10]
        with market.refuses("InsufficientFunds", pv, 5):
            market.settle(1, [(pv, load, 25, -3, SLOT)])

    def test_energy_may_be_free(self, market: Market) -> None:
        load, pv, *_ = market.actors
        market.settle(0, [(pv, load, 10, 0, SLOT)])
        assert market.energies()[:2] == [10, -10]

    def test_a_batch_settles_once(self, market: Market) -> None:
        load, pv, *_ = market.actors
        market.deposit(load, 100)
        batch = [(pv, load, 1, 10, SLOT)]
        market.settle(0, batch)
        with market.refuses("WrongSequence", 1, 0):
            market.settle(0, batch)
        with market.refuses("WrongSequence", 1, 2):
            market.settle(2, batch)
        assert market.view("nextSeq", market.operator) == 1
        assert market.balances()[:2] == [90, 10]

    def test_every_operator_has_a_sequence_of_its_own_and_keeps_it(self, market: Market) -> None:
        appoint = market.contract.functions.setOperator
        market.send(appoint(market.stranger, True), sender=market.admin)
        market.settle(0, [])
        market.settle(0, [], sender=market.stranger)
        market.send(appoint(market.stranger, False), sender=market.admin)
        market.send(appoint(market.stranger, True), sender=market.admin)
        with market.refuses("WrongSequence", 1, 0):
            market.settle(0, [], sender=market.stranger)

    def test_only_an_operator_settles(self, market: Market) -> None:
        with market.refuses("NotOperator", market.admin):
            market.settle(0, [], sender=market.admin)

    @pytest.mark.parametrize("paying", [0, 1])
    def test_the_net_of_the_batch_counts_whatever_the_order(self, market: Market, paying: int) -> None:
        load, pv, _, battery, _ = market.actors
        market.deposit(load, 100)
        batch = [(battery, load, 10, 10, SLOT), (pv, battery, 10, 10, SLOT)]
        market.settle(0, batch[::-1] if paying else batch)
        assert market.balances()[:4] == [0, 100, 0, 0]

    def test_a_batch_that_an_account_cannot_pay_changes_nothing(self, market: Market) -> None:
        load, pv, chp, *_ = market.actors
        market.deposit(load, 100)
        with market.refuses("InsufficientFunds", load, 1):
            market.settle(0, [(pv, load, 100, 1, SLOT), (chp, load, 1, 1, SLOT)])
        assert market.balances() == [100, 0, 0, 0, 0]
        assert market.energies() == [0] * 5
        assert market.view("energySoldWh") == market.view("nextSeq", market.operator) == 0

    def test_what_is_wrong_with_a_trade_is_named_with_its_place(self, market: Market) -> None:
        load, pv, *_ = market.actors
        fine = (pv, load, 1, 0, SLOT)
        with market.refuses("ZeroEnergy", 1):
            market.settle(0, [fine, (pv, load, 0, 1, SLOT)])
        with market.refuses("SelfTrade", 1, pv):
            market.settle(0, [fine, (pv, pv, 1, 1, SLOT)])
        with market.refuses("TraderNotAnActor", 1, market.stranger):
            market.settle(0, [fine, (pv, market.stranger, 1, 1, SLOT)])
        with market.refuses("TraderNotAnActor", 1, market.stranger):
            market.settle(0, [fine, (market.stranger, load, 1, 1, SLOT)])

    @pytest.mark.parametrize("price", [LARGEST_PRICE, SMALLEST_PRICE])
    def test_the_largest_trade_is_exact(self, market: Market, price: int) -> None:
        load, pv, *_ = market.actors
        payer, payee = (load, pv) if price > 0 else (pv, load)
        amount = LARGEST_WH * abs(price)
        with market.refuses("InsufficientFunds", payer, amount):
            market.settle(0, [(pv, load, LARGEST_WH, price, 2**32 - 1)])
        market.deposit(payer, amount)
        market.settle(0, [(pv, load, LARGEST_WH, price, 2**32 - 1)])
        assert market.view("balanceOf", payer) == 0
        assert market.view("balanceOf", payee) == amount
        assert market.energies()[:2] == [LARGEST_WH, -LARGEST_WH]

    def test_largest_trades_that_cancel_out_need_no_funds(self, market: Market) -> None:
        load, pv, *_ = market.actors
        back_and_forth = [(pv, load, LARGEST_WH, LARGEST_PRICE, SLOT), (load, pv, LARGEST_WH, LARGEST_PRICE, SLOT)]
        market.settle(0, back_and_forth * 10)
        assert market.balances() == market.energies() == [0] * 5
        assert market.view("energySoldWh") == 20 * LARGEST_WH

    def test_a_balance_that_would_overflow_reverts(self, market: Market) -> None:
        load = market.actors[0]
        market.deposit(load, 2**255 - 1)
        with pytest.raises(Exception, match="execution reverted"):
            market.send(market.contract.functions.depositFor(load), sender=market.stranger, wei=1)
        assert market.balances()[0] == 2**255 - 1


Choice = tuple[int, int, tuple[int, int, int]]
"""Who sells, who buys (by their places among the actors), and Wh, wei per Wh, slot."""

trade = st.tuples(
    st.integers(0, 4),
    st.integers(0, 4),
    st.tuples(
        st.one_of(st.integers(0, 50), st.integers(0, LARGEST_WH)),
        st.one_of(st.integers(-20, 20), st.integers(SMALLEST_PRICE, LARGEST_PRICE)),
        st.integers(0, 2**32 - 1),
    ),
)
batch = st.lists(trade, max_size=6)


def settled(batch: list[Choice], money: list[int], energy: list[int]) -> bool:
    """The model: settle the batch in place and say True, or leave everything and say False."""
    new_money, new_energy = list(money), list(energy)
    for seller, buyer, (energy_wh, price, _) in batch:
        if energy_wh == 0 or seller == buyer:
            return False
        new_energy[seller] -= energy_wh
        new_energy[buyer] += energy_wh
        new_money[buyer] -= energy_wh * price
        new_money[seller] += energy_wh * price
    if min(new_money) < 0:
        return False
    money[:], energy[:] = new_money, new_energy
    return True


@settings(max_examples=25, deadline=None)
@given(
    deposits=st.lists(st.one_of(st.integers(1, 2000), st.integers(1, 2**200)), min_size=5, max_size=5),
    batches=st.lists(batch, max_size=4),
)
def test_random_batches_do_what_the_model_says(
    afresh: Callable[[], AbstractContextManager[Market]], deposits: list[int], batches: list[list[Choice]]
) -> None:
    with afresh() as market:
        play(market, deposits, batches)


def play(market: Market, deposits: list[int], batches: list[list[Choice]]) -> None:
    """Settle the batches on the chain and in the model, and compare after all of them."""
    money, energy, seq, sold = list(deposits), [0] * 5, 0, 0
    for actor, wei in zip(market.actors, deposits, strict=True):
        market.deposit(actor, wei)
    for batch in batches:
        trades: list[Trade] = [(market.actors[s], market.actors[b], *rest) for s, b, rest in batch]
        if settled(batch, money, energy):
            market.settle(seq, trades)
            seq += 1
            sold += sum(energy_wh for _, _, (energy_wh, _, _) in batch)
        else:
            with pytest.raises(Exception, match="execution reverted"):
                market.settle(seq, trades)
    assert market.balances() == money
    assert market.energies() == energy
    assert sum(energy) == 0
    assert sum(money) == sum(deposits) == market.wallet(market.contract.address)
    assert market.view("energySoldWh") == market.view("energyBoughtWh") == sold
    assert market.view("nextSeq", market.operator) == seq
