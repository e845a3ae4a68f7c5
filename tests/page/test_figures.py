# SPDX-License-Identifier: GPL-3.0-or-later
"""What the page shows is what the chain's logs say, computed once more without anything of the bridge's."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import ROUND_HALF_UP, Decimal

import pytest
from playwright.sync_api import Browser
from support.bridge import GRID, Bridge
from support.browser import Visit, visit
from support.chain import KINDS
from support.stage import DAY_S, WEI_PER_UNIT, figures, first_slots, url_of
from support.verdict import Deal, Ledger

MINUS = "\u2212"
SLOT_S = 900


@pytest.fixture(scope="module")
def ledger(stage: Bridge) -> Ledger:
    return stage.ledger()


@pytest.fixture(scope="module")
def deals(ledger: Ledger) -> list[Deal]:
    found = [deal for batch in ledger.batches for deal in batch.deals]
    assert {deal.slot * SLOT_S // DAY_S for deal in found} == {slot * SLOT_S // DAY_S for slot in first_slots()}
    assert {GRID} < {name for deal in found for name in (deal.seller, deal.buyer)}
    return found


@pytest.fixture(scope="module")
def shown(running_browser: Browser, stage: Bridge) -> Iterator[Visit]:
    with visit(running_browser, url_of(stage)) as page:
        yield page


def kwh(wh: int) -> str:
    return f"{Decimal(wh) / 1000:,.3f}" if wh else "0"


def money(wei: int, digits: int = 2, *, signed: bool = False) -> str:
    """Euros as Britons write them, halves away from zero."""
    rounded = (Decimal(wei) / WEI_PER_UNIT).quantize(Decimal(1).scaleb(-digits), ROUND_HALF_UP)
    sign = MINUS if rounded < 0 else "+" if signed and rounded > 0 else ""
    return f"{sign}€{abs(rounded):,}"


def share(part: int, whole: int) -> str | None:
    return f"{part / whole:g}" if whole else None


@pytest.mark.parametrize("actor", KINDS)
def test_the_first_view_has_what_everybody_traded_and_owns(
    actor: str, shown: Visit, deals: list[Deal], ledger: Ledger
) -> None:
    shown.go("#/")
    wanted = figures(deals, actor)
    net = wanted["received_wei"] - wanted["paid_wei"]
    exact = [str(ledger.money[actor]), str(net)]
    if actor != GRID:
        exact.append(str(net - wanted["grid_only_wei"]))
    exact += [str(wanted["sold_wh"]), str(wanted["bought_wh"])]
    if actor != GRID:
        shares = (
            share(wanted["sold_off_grid_wh"], wanted["sold_wh"]),
            share(wanted["bought_off_grid_wh"], wanted["bought_wh"]),
        )
        exact += [known for known in shares if known is not None]
    row = f"tr[data-key='a-{actor}']"
    assert [_same(value) for value in shown.values(f"{row} data")] == [_same(value) for value in exact]
    text = shown.page.inner_text(row)
    for figure in (money(ledger.money[actor]), kwh(wanted["sold_wh"]), kwh(wanted["bought_wh"])):
        assert figure in text, text


def _same(value: str) -> str:
    """A share to six digits, everything else as it is."""
    return f"{float(value):g}" if "." in value or "e" in value else value


def test_the_totals_are_those_of_all_trades(shown: Visit, deals: list[Deal]) -> None:
    shown.go("#/")
    traded = sum(deal.energy_wh for deal in deals)
    local = sum(deal.energy_wh for deal in deals if GRID not in (deal.seller, deal.buyer))
    values = shown.values("main dl.headline data")
    assert str(traded) in values
    assert str(traded - local) in values
    assert f"{kwh(traded)}\u00a0kWh" in shown.page.inner_text("main dl.headline").replace(" ", "\u00a0")
    assert f"{len(deals)} settled trades" in shown.page.inner_text("main dl.headline")


@pytest.mark.parametrize("first_slot", first_slots())
@pytest.mark.parametrize("actor", ["load", "pv", "battery", GRID])
def test_the_statement_of_a_day_is_that_of_the_log(
    actor: str, first_slot: int, shown: Visit, deals: list[Deal], ledger: Ledger
) -> None:
    number = first_slot * SLOT_S // DAY_S
    day = datetime.fromtimestamp(number * DAY_S, UTC).date().isoformat()
    mine = [deal for deal in deals if deal.slot * SLOT_S // DAY_S == number and actor in (deal.seller, deal.buyer)]
    shown.go(f"#/actors/{actor}?day={day}")
    wanted = figures(mine, actor)
    statement = shown.values("section.statement dl.facts data")
    assert statement[:4] == [str(wanted[name]) for name in ("sold_wh", "received_wei", "bought_wh", "paid_wei")]
    assert statement[4] == str(wanted["received_wei"] - wanted["paid_wei"])
    for other in {name for deal in mine for name in (deal.seller, deal.buyer)} - {actor}:
        for way, sells in (("sold to", True), ("bought from", False)):
            pair = [deal for deal in mine if (deal.seller, deal.buyer) == ((actor, other) if sells else (other, actor))]
            row = shown.page.locator(f"tr[data-key='c-{way}-{other}']")
            assert row.count() == (1 if pair else 0)
            if pair:
                wei = sum(deal.energy_wh * deal.price_wei_per_wh for deal in pair)
                assert row.locator("data").nth(0).get_attribute("value") == str(sum(deal.energy_wh for deal in pair))
                assert row.locator("data").nth(1).get_attribute("value") == str(wei if sells else -wei)
    transactions = {deal: batch.transaction for batch in ledger.batches for deal in batch.deals if deal in mine}
    links = shown.page.locator("section.statement tr[data-key^='t'] a[href^='#/transactions/']")
    listed = [str(link.get_attribute("href")).removeprefix("#/transactions/") for link in links.all()]
    assert sorted(listed) == sorted(transactions[deal] for deal in mine)


@pytest.mark.parametrize("first_slot", first_slots())
def test_a_slot_has_the_trades_of_the_log(first_slot: int, shown: Visit, deals: list[Deal]) -> None:
    slot = first_slot + 2
    shown.go(f"#/slots/{slot}")
    rows = shown.page.locator("tr[data-key^='t']")
    listed = []
    for row in rows.all():
        seller, buyer = (str(row.locator("a[href^='#/actors/']").nth(place).inner_text()) for place in (0, 1))
        values = [str(one.get_attribute("value")) for one in row.locator("data").all()]
        listed.append((seller, buyer, *values[:3]))
    wanted = [
        (d.seller, d.buyer, str(d.energy_wh), str(d.price_wei_per_wh), str(d.energy_wh * d.price_wei_per_wh))
        for d in deals
        if d.slot == slot
    ]
    assert wanted
    assert sorted(listed) == sorted(wanted)
    assert shown.page.locator("main svg path").count() > 0, "nothing is drawn"


def test_a_transaction_and_a_block_are_as_the_node_has_them(shown: Visit, stage: Bridge, ledger: Ledger) -> None:
    batch = ledger.batches[-1]
    web3 = stage.market.w3
    receipt = web3.eth.get_transaction_receipt(batch.transaction)  # type: ignore[arg-type]
    shown.go(f"#/transactions/{batch.transaction}")
    text = shown.page.inner_text("main")
    for part in (receipt["blockHash"].to_0x_hex(), f"{receipt['gasUsed']:,}", "succeeded", "the market"):
        assert part in text
    assert shown.page.locator("tr[data-key^='t']").count() == len(batch.deals)
    shown.go(f"#/blocks/{receipt['blockNumber']}")
    block = web3.eth.get_block(receipt["blockNumber"])
    text = shown.page.inner_text("main")
    for part in (block["hash"].to_0x_hex(), block["parentHash"].to_0x_hex(), batch.transaction, "sealer1", "in turn"):
        assert part in text
