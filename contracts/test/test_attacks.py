# SPDX-License-Identifier: GPL-3.0-or-later
"""What somebody could try in order to cheat somebody else, one by one."""

from collections.abc import Callable
from dataclasses import replace

import pytest
from energy_bridge.batch import BatchTrade, encode_batch
from support.market import (
    DAY_S,
    LARGEST_WEI,
    REPLACE_S,
    SLOT,
    SLOTS_PER_DAY,
    TODAY,
    WITHDRAW_S,
    Artifact,
    Deploy,
    Market,
    Proof,
    as_contract_tells,
    digest_of,
    trade,
)
from web3.contract import Contract

LARGEST_WH, LARGEST_PRICE, SMALLEST_PRICE, LAST_SLOT = 2**32 - 1, 2**63 - 1, -(2**63), 2**32 - 1
LAST_DAY = LAST_SLOT * 3 // DAY_S
"""Where slots last 3 s."""


class TestReentrancy:
    @pytest.fixture
    def robber(self, market: Market, deploy: Deploy, hostile: dict[str, Artifact]) -> Contract:
        """An actor with 20 wei in the market, where others have 100."""
        robber = deploy(hostile["Robber"], market.contract.address, wei=20)
        market.send("registerActors", [(robber.address, 0, "robber")])
        market.deposit(market.actors[0], 100)
        market.run(robber.functions.act(market.contract.encode_abi("deposit"), 20), sender=market.stranger)
        return robber

    def test_who_asks_again_while_it_is_paid_is_paid_once(self, market: Market, robber: Contract) -> None:
        code = market.contract.encode_abi
        market.run(robber.functions.act(code("requestWithdraw", [10]), 0), sender=market.stranger)
        plan = [code("withdraw"), code("requestWithdraw", [10]), code("withdraw")]
        market.run(robber.functions.plan(plan), sender=market.stranger)
        market.travel(market.now + WITHDRAW_S)
        market.run(robber.functions.act(code("withdraw"), 0), sender=market.stranger)
        assert robber.functions.succeeded().call() == [False, True, False]
        assert market.wallet(robber.address) == 10
        assert market.view("weiOf", robber.address) == 10
        assert market.view("weiOf", market.actors[0]) == 100
        assert market.wallet(market.contract.address) == 110

    @pytest.mark.parametrize("several", [False, True])
    def test_who_moves_energy_while_it_gets_it_moves_it_once(
        self, market: Market, robber: Contract, several: bool
    ) -> None:
        load, pv, *_ = market.actors
        market.settle(0, [trade(pv, load, 10)])
        market.close()
        code = market.contract.encode_abi
        plan = [
            code("safeTransferFrom", [load, robber.address, TODAY, 3, b""]),
            code("safeTransferFrom", [robber.address, market.stranger, TODAY, 3, b""]),
            code("safeTransferFrom", [robber.address, market.stranger, TODAY, 3, b""]),
            code("retire", [TODAY, 1]),
        ]
        market.run(robber.functions.plan(plan), sender=market.stranger)
        if several:
            market.send("safeBatchTransferFrom", load, robber.address, [TODAY] * 2, [1, 2], b"", sender=load)
        else:
            market.send("safeTransferFrom", load, robber.address, TODAY, 3, b"", sender=load)
        assert robber.functions.succeeded().call() == [False, True, False, False]
        holders = [load, robber.address, market.stranger]
        assert market.view("balanceOfBatch", holders, [TODAY] * 3) == [7, 0, 3]


class TestGriefing:
    @pytest.mark.parametrize("manner", [0, 1, 2], ids=["wrong answer", "revert", "burn gas"])
    def test_a_receiver_that_refuses_stops_no_batch(
        self, market: Market, deploy: Deploy, hostile: dict[str, Artifact], manner: int
    ) -> None:
        load, pv, *_ = market.actors
        refuser = deploy(hostile["Refuser"], market.contract.address, manner).address
        market.send("registerActors", [(refuser, 0, "refuser")])
        plain = market.settle(0, [trade(pv, load, 10), trade(pv, market.actors[3], 10)])["gasUsed"]
        market.deposit(refuser, 10)
        spent = market.settle(1, [trade(pv, load, 10), trade(pv, refuser, 10, 1)])["gasUsed"]
        assert market.view("balanceOf", refuser, TODAY) == 10
        assert spent < plain + 10_000
        market.report(1, 1, 10)
        assert market.view("balanceOf", refuser, TODAY) == 0

    def test_no_number_of_debts_stops_a_batch(self, market: Market) -> None:
        _, pv, chp, *_ = market.actors
        creditors = market.register(20, 10)
        market.settle(0, [trade(pv, creditor, 1, 10) for creditor in creditors])
        market.settle(1, [trade(chp, pv, 1, 200)])
        spent: list[int] = []
        for debts in (9, 20):
            for index in range(len(spent) * 9, debts):
                market.report(0, index, 1)
            snapshot = market.chain.take_snapshot()
            receipt = market.settle(2, [trade(pv, chp, 1, 200)])
            assert [event["amountWei"] for event in market.events("DebtPaid", receipt)] == [10] * 8
            assert market.view("owedWei", pv) == 10 * (debts - 8)
            spent.append(receipt["gasUsed"])
            market.chain.revert_to_snapshot(snapshot)
        assert abs(spent[1] - spent[0]) < 100

    def test_an_operator_that_adds_to_a_day_makes_the_meter_look_again(self, market: Market) -> None:
        load, pv, *_ = market.actors
        market.settle(0, [trade(pv, load, 10)])
        before = market.proof(market.operator, 0)
        market.settle_any(1)
        with market.refuses("NotSettled", market.operator, 0):
            market.send("reportShortfall", before.packed(), 0, 1, sender=market.meter)
        market.report(0, 0, 1)

    def test_a_kept_link_stops_that(self, market: Market) -> None:
        load, pv, *_ = market.actors
        market.settle(0, [trade(pv, load, 10)])
        before = market.proof(market.operator, 0)
        market.send("keepLink", market.operator, TODAY, sender=market.meter)
        for seq in (1, 2):
            market.settle_any(seq)
            market.send("reportShortfall", before.packed(), 0, 1, sender=market.meter)

    def test_batches_of_nothing_are_refused(self, market: Market) -> None:
        load = bytes.fromhex(market.actors[0][2:])
        for batch in (joined(SLOT.to_bytes(4), [], []), joined(SLOT.to_bytes(4), [load], []), bytes(6)):
            with market.refuses("NoTrades"):
                market.settle_bytes(0, batch)

    def test_nobody_fills_the_market_so_that_others_cannot_be_paid(self, market: Market) -> None:
        load, pv, *_ = market.actors
        market.deposit(load, 100)
        market.deposit(pv, LARGEST_WEI - 100)
        with market.refuses("MarketIsFull", 2**96):
            market.deposit(load, 1)
        market.settle(0, [trade(pv, load, 1, 100)])
        assert market.view("weiOf", pv) == LARGEST_WEI

    def test_a_far_day_leads_no_account_away_from_the_cheap_ones(self, market: Market) -> None:
        load, pv, *_ = market.actors
        with market.refuses("DayTooFar", TODAY + 367):
            market.settle(0, [trade(pv, load, 1, 0, SLOT + 367 * SLOTS_PER_DAY)])
        market.settle(0, [trade(pv, load, 1, 0, SLOT + 366 * SLOTS_PER_DAY)])


class TestReplay:
    def test_a_batch_settles_once(self, market: Market) -> None:
        load, pv, *_ = market.actors
        market.deposit(load, 100)
        batch = [trade(pv, load, 1, 10)]
        market.settle(0, batch)
        with market.refuses("WrongSequence", 1, 0):
            market.settle(0, batch)
        assert market.view("nextSeq", market.operator) == 1
        assert market.balances()[:2] == [90, 10]

    def test_of_two_batches_of_two_forks_one_settles(self, market: Market) -> None:
        load, pv, chp, *_ = market.actors
        market.deposit(load, 100)
        fork = market.chain.take_snapshot()
        market.settle(0, [trade(pv, load, 1, 10)])
        market.chain.revert_to_snapshot(fork)
        assert market.view("nextSeq", market.operator) == 0
        market.settle(0, [trade(chp, load, 1, 10)])
        with market.refuses("WrongSequence", 1, 0):
            market.settle(0, [trade(pv, load, 1, 10)])
        assert market.balances()[:3] == [90, 0, 10]

    def test_a_batch_of_one_fork_proves_nothing_on_the_other(self, market: Market) -> None:
        load, pv, chp, *_ = market.actors
        fork = market.chain.take_snapshot()
        market.settle(0, [trade(pv, load, 5)])
        lost = market.proof(market.operator, 0)
        market.chain.revert_to_snapshot(fork)
        market.settle(0, [trade(chp, load, 5)])
        with market.refuses("NotSettled", market.operator, 0):
            market.send("reportShortfall", lost.packed(), 0, 1, sender=market.meter)


class TestWithdrawingBeforeTheBatch:
    def test_a_request_after_the_gate_is_due_after_the_batch(self, market: Market) -> None:
        load, pv, *_ = market.actors
        market.deposit(load, 100)
        gate = market.now
        market.send("requestWithdraw", 100, sender=load)
        market.travel(gate + WITHDRAW_S)
        with market.refuses("NotDue", gate + 1 + WITHDRAW_S):
            market.send("withdraw", sender=load)
        market.settle(0, [trade(pv, load, 60, 1)])
        receipt = market.send("withdraw", sender=load)
        assert market.events("Withdrawn", receipt) == [{"account": load, "amountWei": 40}]

    def test_a_request_before_the_gate_is_there_to_be_seen(self, market: Market) -> None:
        load, pv, *_ = market.actors
        market.deposit(load, 100)
        market.send("requestWithdraw", 70, sender=load)
        due = market.now + WITHDRAW_S
        assert market.view("withdrawalOf", load) == [70, due]
        assert market.view("spendableWei", load) == 30
        market.travel(due + WITHDRAW_S - 1)
        market.send("withdraw", sender=load)
        with market.refuses("InsufficientFunds", load, 1):
            market.settle(0, [trade(pv, load, 31, 1)])
        market.settle(0, [trade(pv, load, 30, 1)])

    def test_nobody_asks_for_what_is_not_there_yet(self, market: Market) -> None:
        load, pv, *_ = market.actors
        market.deposit(load, 100)
        with market.refuses("InsufficientFunds", pv, 100):
            market.send("requestWithdraw", 100, sender=pv)
        market.deposit(pv, 60)
        with market.refuses("InsufficientFunds", pv, 40):
            market.send("requestWithdraw", 100, sender=pv)

    def test_a_request_does_not_stand_for_ever(self, market: Market) -> None:
        load = market.actors[0]
        market.deposit(load, 100)
        market.send("requestWithdraw", 70, sender=load)
        lapses = market.now + 2 * WITHDRAW_S
        market.travel(lapses)
        with market.refuses("Lapsed", lapses):
            market.send("withdraw", sender=load)
        market.chain.mine_block()
        assert market.view("spendableWei", load) == 100
        market.send("requestWithdraw", 70, sender=load)
        market.travel(market.now + WITHDRAW_S)
        market.send("withdraw", sender=load)

    @pytest.mark.parametrize("by", ["batch", "shortfall", "agreement"])
    def test_income_takes_no_place_of_what_was_spent_of_a_request(self, market: Market, by: str) -> None:
        load, pv, *_ = market.actors
        market.deposit(load, 30)
        market.deposit(pv, 70)
        market.settle(0, [trade(load, pv, 10, 7)])
        market.send("requestWithdraw", 100, sender=load)
        if by == "batch":
            market.settle(1, [trade(pv, load, 1, 70)])
        elif by == "shortfall":
            market.report(0, 0, 10)
        else:
            market.send("setAgreementFactory", market.stranger)
            market.send("acceptAgreements", True, sender=load)
            market.send("commit", market.newcomer, load, 70, SLOT, sender=market.stranger)
        assert market.view("withdrawalOf", load)[0] == 30
        market.deposit(load, 500)
        assert market.view("spendableWei", load) == 500
        market.travel(market.now + WITHDRAW_S)
        receipt = market.send("withdraw", sender=load)
        assert market.events("Withdrawn", receipt) == [{"account": load, "amountWei": 30}]

    def test_a_request_that_was_spent_whole_is_gone(self, market: Market) -> None:
        load, pv, *_ = market.actors
        market.deposit(load, 100)
        market.send("requestWithdraw", 100, sender=load)
        market.settle(0, [trade(pv, load, 1, 100)])
        market.deposit(load, 100)
        market.travel(market.now + WITHDRAW_S)
        with market.refuses("ZeroAmount"):
            market.send("withdraw", sender=load)

    def test_what_is_requested_stays_liable_for_shortfalls(self, market: Market) -> None:
        load, pv, *_ = market.actors
        market.deposit(load, 50)
        market.settle(0, [trade(pv, load, 5, 10)])
        market.send("requestWithdraw", 50, sender=pv)
        market.report(0, 0, 4)
        assert market.view("withdrawalOf", pv)[0] == 10
        market.travel(market.now + WITHDRAW_S)
        receipt = market.send("withdraw", sender=pv)
        assert market.events("Withdrawn", receipt) == [{"account": pv, "amountWei": 10}]

    def test_a_pause_lengthens_no_withdrawal(self, market: Market) -> None:
        load = market.actors[0]
        market.deposit(load, 100)
        market.send("requestWithdraw", 50, sender=load)
        due = market.now + WITHDRAW_S
        market.send("setPaused", True)
        assert market.view("withdrawalOf", load) == [50, due]
        market.travel(due)
        market.send("withdraw", sender=load)
        market.send("requestWithdraw", 50, sender=load)
        market.travel(market.now + WITHDRAW_S)
        market.send("withdraw", sender=load)
        assert market.view("weiOf", load) == 0


class TestLimits:
    @pytest.fixture
    def fine(self, market: Market, deploy: Deploy, artifacts: dict[str, Artifact]) -> Market:
        """A market with the shortest slots: a chain in memory gets to its last one."""
        load, pv, *_ = market.actors
        fine = replace(market, contract=deploy(artifacts["EnergyMarket"], market.admin, 3, 3, 3, False))
        fine.send("registerActors", [(load, 0, "load"), (pv, 1, "pv")])
        fine.send("setOperator", market.operator, True)
        fine.send("setMeter", market.meter)
        return fine

    @pytest.mark.parametrize("price", [LARGEST_PRICE, SMALLEST_PRICE])
    def test_the_largest_trade_is_exact(self, fine: Market, price: int) -> None:
        market, (load, pv, *_) = fine, fine.actors
        payer, payee = (load, pv) if price > 0 else (pv, load)
        amount = LARGEST_WH * abs(price)
        market.travel(LAST_DAY * DAY_S)
        largest = [trade(pv, load, LARGEST_WH, price, LAST_SLOT)]
        with market.refuses("InsufficientFunds", payer, amount):
            market.settle(0, largest)
        market.deposit(payer, amount)
        receipt = market.settle(0, largest)
        assert (market.view("weiOf", payer), market.view("weiOf", payee)) == (0, amount)
        assert market.view("balanceOf", load, LAST_DAY) == LARGEST_WH
        batch = market.events("BatchSettled", receipt)[0]["batch"]
        assert [tuple(one) for one in market.view("decodeBatch", batch)] == as_contract_tells(batch)
        market.report(0, 0, LARGEST_WH)
        assert (market.view("weiOf", payer), market.view("weiOf", payee)) == (amount, 0)

    def test_largest_trades_that_cancel_out_need_no_funds(self, market: Market) -> None:
        load, pv, *_ = market.actors
        there, back = (trade(*pair, LARGEST_WH, LARGEST_PRICE) for pair in ((pv, load), (load, pv)))
        market.settle(0, [there, back] * 50)
        assert market.balances() == [0] * 5
        assert market.energies()[:2] == [50 * LARGEST_WH] * 2
        assert market.totals()[0] == 100 * LARGEST_WH

    @pytest.mark.parametrize("price", [LARGEST_PRICE, SMALLEST_PRICE])
    def test_largest_trades_do_not_wrap_around(self, market: Market, price: int) -> None:
        """Of the two accounts the first one in the batch is refused: the one cannot pay, the other cannot hold it."""
        load, pv, *_ = market.actors
        payer, payee = (load, pv) if price > 0 else (pv, load)
        market.deposit(payer, LARGEST_WEI)
        amount = 50 * LARGEST_WH * abs(price)
        errors = {payer: ("InsufficientFunds", payer, amount - LARGEST_WEI), payee: ("TooMuch", payee, amount)}
        with market.refuses(*errors[min(load, pv, key=str.lower)]):
            market.settle(0, [trade(pv, load, LARGEST_WH, price)] * 50)

    def test_the_largest_balance_is_spent_and_withdrawn_whole(self, market: Market) -> None:
        load, pv, *_ = market.actors
        market.deposit(load, LARGEST_WEI)
        wh, price = 2**32 - 1, 2**63 - 1
        rest = LARGEST_WEI - wh * price
        market.settle(0, [trade(pv, load, wh, price)])
        assert market.balances()[:2] == [rest, LARGEST_WEI - rest]
        market.send("requestWithdraw", LARGEST_WEI - rest, sender=pv)
        market.travel(market.now + WITHDRAW_S)
        receipt = market.send("withdraw", sender=pv)
        assert market.events("Withdrawn", receipt) == [{"account": pv, "amountWei": LARGEST_WEI - rest}]

    def test_the_longest_offset_is_that_of_the_day(self, fine: Market) -> None:
        load, pv, *_ = fine.actors
        first, slots = TODAY * 28_800, 28_800
        for offset in (slots, 2**15 - 1):
            with fine.refuses("SlotOfAnotherDay", 1):
                fine.settle(0, [trade(pv, load, 1, 0, first), trade(pv, load, 1, 0, first + offset)])
        receipt = fine.settle(0, [trade(pv, load, 1, 0, first), trade(pv, load, 1, 0, first + slots - 1)])
        batch = fine.events("BatchSettled", receipt)[0]["batch"]
        assert fine.view("decodeBatch", batch)[1][4] == first + slots - 1
        assert fine.view("balanceOf", load, TODAY) == 2

    def test_no_slot_is_after_the_last_one(self, fine: Market) -> None:
        load, pv, *_ = fine.actors
        fine.travel(LAST_DAY * DAY_S)
        with fine.refuses("SlotOfAnotherDay", 1):
            fine.settle(0, [trade(pv, load, 1, 0, LAST_SLOT), trade(pv, load, 1, 0, LAST_SLOT + 1)])
        fine.settle(0, [trade(pv, load, 1, 0, LAST_SLOT)])


def parts(trades: list[BatchTrade]) -> tuple[bytes, list[bytes], list[bytes]]:
    """A batch in its pieces: the first slot, the accounts, the trades."""
    batch = encode_batch(trades)
    count = int.from_bytes(batch[4:6])
    rest = batch[6 + 20 * count :]
    accounts = [batch[6 + 20 * place : 26 + 20 * place] for place in range(count)]
    return batch[:4], accounts, [rest[at : at + 18] for at in range(0, len(rest), 18)]


def joined(first_slot: bytes, accounts: list[bytes], trades: list[bytes]) -> bytes:
    return b"".join([first_slot, len(accounts).to_bytes(2), *accounts, *trades])


def one_wh(seller: int, buyer: int) -> bytes:
    return seller.to_bytes(2) + buyer.to_bytes(2) + (1).to_bytes(4) + bytes(10)


class TestMalformedBatches:
    """Of two fine trades between two accounts."""

    @pytest.fixture
    def pieces(self, market: Market) -> tuple[bytes, list[bytes], list[bytes]]:
        load, pv, *_ = market.actors
        return parts([trade(pv, load, 3), trade(load, pv, 2)])

    @pytest.mark.parametrize(
        "spoil",
        [
            lambda _: b"",
            lambda batch: batch[:5],
            lambda batch: batch[:6],
            lambda batch: batch[:-1],
            lambda batch: batch[:-17],
            lambda batch: batch + b"\0",
            lambda batch: batch + bytes(17),
            lambda batch: batch[:4] + b"\0\1" + batch[6:],
            lambda batch: batch[:4] + b"\0\3" + batch[6:],
            lambda batch: batch[:4] + b"\xff\xff" + batch[6:],
        ],
        ids=["nothing", "half a head", "head", "cut", "cut far", "and 1", "and 17", "an account less", "more", "most"],
    )
    def test_a_length_that_does_not_fit(
        self, market: Market, pieces: tuple[bytes, list[bytes], list[bytes]], spoil: Callable[[bytes], bytes]
    ) -> None:
        batch = spoil(joined(*pieces))
        with market.refuses("WrongLength", len(batch)):
            market.settle_bytes(0, batch)
        with market.refuses("WrongLength", len(batch)):
            market.view("decodeBatch", batch)

    @pytest.mark.parametrize("place", [2, 2**16 - 1])
    @pytest.mark.parametrize("end", [0, 2])
    def test_a_place_that_is_no_account_s(
        self, market: Market, pieces: tuple[bytes, list[bytes], list[bytes]], place: int, end: int
    ) -> None:
        first, accounts, (one, other) = pieces
        batch = joined(first, accounts, [one, other[:end] + place.to_bytes(2) + other[end + 2 :]])
        with market.refuses("AccountNotInBatch", 1):
            market.settle_bytes(0, batch)
        with market.refuses("AccountNotInBatch", 1):
            market.view("decodeBatch", batch)

    def test_trailing_zeros_as_long_as_a_trade(
        self, market: Market, pieces: tuple[bytes, list[bytes], list[bytes]]
    ) -> None:
        first = min(market.actors[:2], key=str.lower)
        with market.refuses("SelfTrade", 2, first):
            market.settle_bytes(0, joined(*pieces) + bytes(18))

    @pytest.mark.parametrize("index", [0, 1])
    def test_a_trade_of_nothing(
        self, market: Market, pieces: tuple[bytes, list[bytes], list[bytes]], index: int
    ) -> None:
        first, accounts, trades = pieces
        trades[index] = trades[index][:4] + bytes(4) + trades[index][8:]
        with market.refuses("ZeroEnergy", index):
            market.settle_bytes(0, joined(first, accounts, trades))

    def test_a_trade_with_oneself(self, market: Market) -> None:
        load, pv, *_ = market.actors
        with market.refuses("SelfTrade", 1, pv):
            market.settle(0, [trade(pv, load), trade(pv, pv)])

    def test_a_trade_with_oneself_by_standing_there_twice(
        self, market: Market, pieces: tuple[bytes, list[bytes], list[bytes]]
    ) -> None:
        first, (account, _), trades = pieces
        with market.refuses("AccountsNotAscending", 1):
            market.settle_bytes(0, joined(first, [account, account], trades))

    def test_accounts_out_of_order(self, market: Market, pieces: tuple[bytes, list[bytes], list[bytes]]) -> None:
        first, accounts, trades = pieces
        with market.refuses("AccountsNotAscending", 1):
            market.settle_bytes(0, joined(first, accounts[::-1], trades))

    @pytest.mark.parametrize("owing", [False, True], ids=["plain", "owing"])
    def test_accounts_twice_whatever_they_are(self, market: Market, owing: bool) -> None:
        """In the loop for plain accounts, and in the one for those in debt."""
        load, pv, chp, *_ = market.actors
        seq = 0
        if owing:
            market.deposit(load, 10)
            market.settle(0, [trade(pv, load, 1, 10)])
            market.settle(1, [trade(chp, pv, 1, 10)])
            market.report(0, 0, 1)
            seq = 2
        account = bytes.fromhex(pv[2:])
        with market.refuses("AccountsNotAscending", 1):
            market.settle_bytes(seq, joined(SLOT.to_bytes(4), [account, account], [one_wh(0, 1)]))

    def test_nobody_among_the_accounts(self, market: Market, pieces: tuple[bytes, list[bytes], list[bytes]]) -> None:
        first, accounts, trades = pieces
        moved = [bytes([0, one[1] + 1, 0, one[3] + 1]) + one[4:] for one in trades]
        with market.refuses("AccountsNotAscending", 0):
            market.settle_bytes(0, joined(first, [bytes(20), *accounts], moved))


class TestOperatorAgainstActors:
    def test_invented_trades_end_at_the_balance(self, market: Market) -> None:
        load, pv, *_ = market.actors
        market.deposit(load, 100)
        with market.refuses("InsufficientFunds", load, 1):
            market.settle(0, [trade(pv, load, 1, 101)])
        with market.refuses("InsufficientFunds", load, 100):
            market.settle(0, [trade(pv, load, 1, 100), trade(pv, load, 1, 100)])

    def test_invented_trades_pay_nobody_but_actors(self, market: Market) -> None:
        load = market.actors[0]
        market.deposit(load, 100)
        for accomplice in (market.operator, market.stranger, market.contract.address):
            with market.refuses("NotAnActor", accomplice):
                market.settle(0, [trade(accomplice, load, 1, 100)])

    def test_what_was_paid_out_is_out_of_reach(self, market: Market) -> None:
        load, pv, *_ = market.actors
        market.deposit(load, 100)
        market.send("requestWithdraw", 100, sender=load)
        market.settle(0, [trade(pv, load, 1, 30)])
        assert market.view("withdrawalOf", load)[0] == 70
        market.travel(market.now + WITHDRAW_S)
        market.send("withdraw", sender=load)
        with market.refuses("InsufficientFunds", load, 1):
            market.settle(1, [trade(pv, load, 1, 1)])

    def test_an_operator_withdraws_nothing(self, market: Market) -> None:
        load = market.actors[0]
        market.deposit(load, 100)
        market.send("requestWithdraw", 100, sender=load)
        market.travel(market.now + WITHDRAW_S)
        with market.refuses("NotAnActor", market.operator):
            market.send("requestWithdraw", 100, sender=market.operator)
        with market.refuses("ZeroAmount"):
            market.send("withdraw", sender=market.operator)
        assert market.view("withdrawalOf", load)[0] == 100

    def test_a_rotated_key_settles_nothing_and_never_again(self, market: Market) -> None:
        market.settle_any(0)
        market.send("rotateOperator", market.operator, market.newcomer)
        with market.refuses("NotOperator", market.operator):
            market.settle_any(1)
        with market.refuses("OperatorBefore", market.operator):
            market.send("setOperator", market.operator, True)
        with market.refuses("OperatorBefore", market.operator):
            market.send("rotateOperator", market.newcomer, market.operator)
        with market.refuses("NotOperator", market.operator):
            market.send("rotateOperator", market.operator, market.stranger)

    def test_a_key_that_was_rotated_unused_never_settles(self, market: Market) -> None:
        market.send("rotateOperator", market.operator, market.newcomer)
        with market.refuses("OperatorBefore", market.operator):
            market.send("setOperator", market.operator, True)
        with market.refuses("NotOperator", market.operator):
            market.send("setOperator", market.operator, False)
        with market.refuses("NotOperator", market.operator):
            market.settle_any(0)


class TestMeterAgainstActors:
    @pytest.fixture
    def proof(self, market: Market) -> Proof:
        """Of the second of three batches of a day."""
        load, pv, *_ = market.actors
        for seq in range(3):
            market.settle(seq, [trade(pv, load, 10 + seq)])
        return market.proof(market.operator, 1)

    def report(self, market: Market, proof: Proof, energy_wh: int = 1) -> None:
        market.send("reportShortfall", proof.packed(), 0, energy_wh, sender=market.meter)

    def test_a_trade_that_never_was(self, market: Market, proof: Proof) -> None:
        load, _, chp, *_ = market.actors
        with market.refuses("NotSettled", market.operator, 1):
            self.report(market, replace(proof, batch=encode_batch([trade(chp, load, 11)])))

    @pytest.mark.parametrize(
        "spoil",
        [
            lambda proof: replace(proof, readings_root=b"\1" * 32),
            lambda proof: replace(proof, link_before=proof.link_before ^ 1),
            lambda proof: replace(proof, link_before=0),
            lambda proof: replace(proof, later_digests=()),
            lambda proof: replace(proof, later_digests=(b"\1" * 32,)),
            lambda proof: replace(proof, later_digests=proof.later_digests * 2),
            lambda proof: replace(proof, batch=proof.batch + proof.batch[-18:]),
        ],
        ids=["root", "link", "no link", "no later ones", "another later one", "too many later ones", "a trade more"],
    )
    def test_a_proof_that_does_not_fit(self, market: Market, proof: Proof, spoil: Callable[[Proof], Proof]) -> None:
        with market.refuses("NotSettled", market.operator, 1):
            self.report(market, spoil(proof))
        self.report(market, proof)

    @pytest.mark.parametrize("seq", [0, 2, 7])
    def test_the_same_batch_by_another_number(self, market: Market, proof: Proof, seq: int) -> None:
        with market.refuses("NotSettled", market.operator, seq):
            self.report(market, replace(proof, seq=seq))

    def test_a_batch_of_another_operator(self, market: Market, proof: Proof) -> None:
        market.send("setOperator", market.stranger, True)
        with market.refuses("NotSettled", market.stranger, 1):
            self.report(market, replace(proof, operator=market.stranger))

    def test_a_day_without_batches(self, market: Market, proof: Proof) -> None:
        batch = (SLOT + SLOTS_PER_DAY).to_bytes(4) + proof.batch[4:]
        with market.refuses("NotSettled", market.operator, 1):
            self.report(market, replace(proof, batch=batch, link_before=0, later_digests=()))

    def test_a_digest_of_the_chain_is_no_batch(self, market: Market, proof: Proof) -> None:
        link = market.view("ledgerOf", market.operator, TODAY)[1]
        digest = digest_of(1, proof.readings_root, bytes(32))
        for link_before in (link, 0):
            with market.refuses("NotSettled", market.operator, 1):
                self.report(market, replace(proof, link_before=link_before, later_digests=(digest,)))

    def test_the_same_energy_twice(self, market: Market, proof: Proof) -> None:
        self.report(market, proof, 11)
        with market.refuses("MoreThanTraded", 0, 0):
            self.report(market, proof)

    def test_more_than_was_traded(self, market: Market, proof: Proof) -> None:
        with market.refuses("MoreThanTraded", 0, 11):
            self.report(market, proof, 12)
        with market.refuses("MoreThanTraded", 0, 11):
            self.report(market, proof, 2**256 - 1)

    def test_energy_of_a_closed_day(self, market: Market, proof: Proof) -> None:
        market.close()
        with market.refuses("DayIsClosed", TODAY):
            self.report(market, proof)

    def test_an_end_of_another_day_or_operator(self, market: Market) -> None:
        """A kept link holds for its own chain alone."""
        load, pv, *_ = market.actors
        market.send("setOperator", market.stranger, True)
        market.settle(0, [trade(pv, load, 11)], sender=market.stranger)
        other = market.proof(market.stranger, 0)
        market.send("keepLink", market.stranger, TODAY)
        with market.refuses("NotSettled", market.operator, 0):
            self.report(market, replace(other, operator=market.operator))
        with market.refuses("NotLinked", market.operator, TODAY, other.link):
            market.send("proveLinks", market.operator, TODAY, other.link, [])
        with market.refuses("NotLinked", market.stranger, TODAY + 1, other.link):
            market.send("proveLinks", market.stranger, TODAY + 1, other.link, [])

    def test_energy_that_came_late(self, market: Market) -> None:
        load, pv, *_ = market.actors
        market.settle(0, [trade(pv, load, 10, imbalance=True)])
        with market.refuses("ImbalanceHasNoShortfall", 0):
            market.report(0, 0, 1)

    def test_the_money_goes_to_the_other_party_alone(self, market: Market) -> None:
        load, pv, *_ = market.actors
        market.deposit(load, 100)
        market.settle(0, [trade(pv, load, 10, 10)])
        market.report(0, 0, 10)
        assert market.balances() == [100, 0, 0, 0, 0]
        assert market.view("weiOf", market.meter) == 0


class TestFormerKeyAgainstActor:
    def test_energy_of_a_replaced_account_goes_nowhere_but_to_its_successor(self, market: Market) -> None:
        load, pv, chp, *_ = market.actors
        market.settle(0, [trade(pv, load, 10)])
        market.settle(1, [trade(pv, load, 1, 0, SLOT + SLOTS_PER_DAY)])
        market.send("setApprovalForAll", chp, True, sender=load)
        market.replace(load, market.newcomer)
        market.close()
        assert market.view("balanceOf", load, TODAY) == 10
        for sender in (load, chp):
            with market.refuses("WasReplaced", load):
                market.send("safeTransferFrom", load, market.stranger, TODAY, 10, b"", sender=sender)
            with market.refuses("WasReplaced", load):
                market.send("safeBatchTransferFrom", load, market.stranger, [TODAY], [10], b"", sender=sender)
            with market.refuses("WasReplaced", load):
                market.send("retireFor", load, TODAY, 10, sender=sender)
        market.send("moveEnergy", load, [TODAY], sender=market.stranger)
        market.send("retire", TODAY, 10, sender=market.newcomer)


class TestAdminAgainstActors:
    def test_an_actor_takes_its_money_out_before_it_is_replaced(self, market: Market) -> None:
        load = market.actors[0]
        market.deposit(load, 100)
        market.send("requestReplacement", load, market.newcomer)
        market.send("requestWithdraw", 100, sender=load)
        market.travel(market.now + WITHDRAW_S)
        market.send("withdraw", sender=load)
        market.travel(market.now + REPLACE_S)
        market.send("replaceActor", load)
        assert market.view("weiOf", market.newcomer) == 0

    def test_a_refused_replacement_needs_another_request_and_its_delay(self, market: Market) -> None:
        load = market.actors[0]
        market.send("requestReplacement", load, market.newcomer)
        market.travel(market.now + REPLACE_S)
        market.send("refuseReplacement", sender=load)
        with market.refuses("NoReplacement", load):
            market.send("replaceActor", load)
        market.send("requestReplacement", load, market.newcomer)
        with market.refuses("NotDue", market.now + REPLACE_S):
            market.send("replaceActor", load)

    def test_a_request_to_withdraw_does_not_outlive_its_account(self, market: Market) -> None:
        load = market.actors[0]
        market.deposit(load, 100)
        market.send("requestWithdraw", 100, sender=load)
        market.send("requestReplacement", load, market.newcomer)
        market.travel(market.now + REPLACE_S)
        market.send("replaceActor", load)
        for account in (load, market.newcomer):
            with market.refuses("ZeroAmount"):
                market.send("withdraw", sender=account)
        with market.refuses("NotAnActor", load):
            market.send("requestWithdraw", 1, sender=load)
