# SPDX-License-Identifier: GPL-3.0-or-later
"""Each view in a real browser: light and dark, on a desk and on a phone, with the keyboard alone."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser
from support.bridge import Bridge
from support.browser import DESKTOP, PHONE, visit
from support.chain import CHECKOUT
from support.stage import ask, first_slots, url_of

PICTURES = CHECKOUT / "build/page"
VIEWS = ("overview", "actor", "slots", "slot", "trades", "trades_of_one", "transaction", "block", "chain")
# No figure is one of these.
SLIPS = re.compile(r"\b(NaN|undefined|null|Infinity|\[object)\b")


def route(view: str, stage: Bridge) -> str:
    """The address of a view of something that there is."""
    newest = ask(stage, "overview")["trades"][0]
    return {
        "overview": "#/",
        "actor": "#/actors/load",
        "slots": "#/slots",
        "slot": f"#/slots/{first_slots()[0] + 3}",
        "trades": "#/trades",
        "trades_of_one": "#/trades?actor=battery&state=FINAL",
        "transaction": f"#/transactions/{newest['transaction']}",
        "block": f"#/blocks/{newest['block']}",
        "chain": "#/chain",
    }[view]


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", [DESKTOP, PHONE], ids=["desktop", "phone"])
@pytest.mark.parametrize("view", VIEWS)
def test_a_view_is_whole_and_shuts_nobody_out(
    running_browser: Browser, stage: Bridge, axe: Path, *, view: str, size: tuple[int, int], scheme: str
) -> None:
    with visit(running_browser, url_of(stage), size=size, scheme=scheme, script=axe) as shown:
        shown.go(route(view, stage))
        shown.wait_for("live", within="header")
        shown.picture(PICTURES / f"{view}-{'phone' if size == PHONE else 'desktop'}-{scheme}.png")
        assert not SLIPS.findall(shown.page.inner_text("body"))
        widths = shown.page.evaluate("[document.documentElement.scrollWidth, innerWidth]")
        assert widths[0] <= widths[1], "the page scrolls sideways"
        background = shown.page.evaluate("getComputedStyle(document.body).backgroundColor")
        lightness = sum(map(int, re.findall(r"\d+", background)[:3])) / 3
        assert (lightness < 100) == (scheme == "dark"), background
        assert shown.faults() == []
        assert shown.errors == []
        assert shown.hosts == {urlsplit(url_of(stage)).netloc}


@pytest.mark.parametrize("view", VIEWS)
def test_tab_reaches_all_that_can_be_used_and_shows_where_it_is(
    view: str, running_browser: Browser, stage: Bridge
) -> None:
    with visit(running_browser, url_of(stage)) as shown:
        shown.go(route(view, stage))
        stops = shown.walk()
        assert [stop["what"] for stop in stops if not stop["ring"]] == [], "nothing shows that these have the focus"
        assert [stop["what"] for stop in stops if not stop["seen"]] == [], "these have the focus where nobody sees it"
        assert shown.unreached() == []
        assert "skip" in stops[0]["what"]


def test_the_keyboard_alone_leads_from_the_first_view_to_the_block_of_a_trade(
    running_browser: Browser, stage: Bridge
) -> None:
    with visit(running_browser, url_of(stage)) as shown:
        shown.go("#/")
        for wanted, heading in (("#/trades", "Trades"), ("#/transactions/", "Transaction"), ("#/blocks/", "Block")):
            shown.page.locator(f"a[href^='{wanted}']:visible").first.focus()
            shown.page.keyboard.press("Enter")
            shown.until(
                f"{heading} has the focus",
                "(heading) => document.activeElement?.tagName === 'H1'"
                " && document.activeElement.innerText.startsWith(heading)",
                heading,
            )
        shown.page.go_back()
        shown.wait_for("Trades that it settles", within="main")
        assert shown.errors == []


def test_the_skip_link_leads_past_the_navigation(running_browser: Browser, stage: Bridge) -> None:
    with visit(running_browser, url_of(stage)) as shown:
        shown.go("#/trades")
        shown.page.keyboard.press("Tab")
        shown.page.keyboard.press("Enter")
        shown.page.keyboard.press("Tab")
        assert shown.page.evaluate("document.querySelector('main').contains(document.activeElement)")


def test_what_is_not_there_is_said(running_browser: Browser, stage: Bridge) -> None:
    with visit(running_browser, url_of(stage)) as shown:
        for wrong in ("#/actors/nobody", "#/slots/1", f"#/transactions/0x{'1' * 64}", "#/blocks/999999999", "#/x"):
            shown.go(wrong)
            assert re.search(r"not there|no such|There is no|knows no|no block", shown.page.inner_text("main")), wrong
            assert not SLIPS.findall(shown.page.inner_text("main"))


def test_a_reader_who_filters_keeps_focus_and_text_while_the_chain_goes_on(
    running_browser: Browser, stage: Bridge
) -> None:
    with visit(running_browser, url_of(stage)) as shown:
        shown.go("#/")
        shown.page.focus("#actor-filter")
        shown.page.keyboard.type("bat")
        height = int(ask(stage, "overview")["chain"]["head_block"])
        shown.until(
            "two blocks more",
            "(height) => [...document.querySelectorAll('main a[href^=\"#/blocks/\"]')]"
            ".some((link) => Number(link.innerText) > height + 1)",
            height,
        )
        assert shown.page.evaluate("document.activeElement.id") == "actor-filter"
        assert shown.page.input_value("#actor-filter") == "bat"
        assert shown.page.locator("tr[data-key^='a-']").count() == 1
