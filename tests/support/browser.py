# SPDX-License-Identifier: GPL-3.0-or-later
"""The bridge's page in this machine's Chromium, with what a browser has to say about it."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, sync_playwright

from support.network import wait_until

FLAGS = (
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"),
    *("--disable-component-update", "--disable-sync"),
)
PATIENCE_S = 30
DESKTOP, PHONE = (1280, 800), (360, 740)
# A picture of the same thing is the same everywhere.
LOCALE, TIME_ZONE = "en-GB", "Europe/Berlin"
SERIOUS = {"serious", "critical"}
LOADED = (
    "() => document.querySelector('main h1') && !document.querySelector('main').innerText.includes('Asking the bridge')"
)
# What Tab reaches, as the browser sees it; a closed <details> shows its summary only.
TABBABLE = """() => [...document.querySelectorAll(
    'a[href], button, input, select, textarea, summary, [tabindex]:not([tabindex="-1"])'
)].filter((element) => element.checkVisibility({visibilityProperty: true}) && !element.disabled)"""
FOCUSED = """() => {
    const element = document.activeElement;
    if (!element || element === document.body || window.reached.has(element)) return null;
    window.reached.add(element);
    const style = getComputedStyle(element), box = element.getBoundingClientRect();
    return {
        what: element.outerHTML.slice(0, 120),
        ring: style.outlineStyle !== 'none' && parseFloat(style.outlineWidth) > 0 || style.boxShadow !== 'none',
        seen: box.width > 0 && box.height > 0 && box.bottom > 0 && box.top < innerHeight
            && box.right > 0 && box.left < innerWidth,
    };
}"""


@contextmanager
def chromium() -> Iterator[Browser]:
    """A browser, which talks to nobody by itself."""
    program = shutil.which("chromium")
    assert program, "there is no Chromium: python scripts/browser.py installs it"
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=program, args=list(FLAGS))
        try:
            yield running
        finally:
            running.close()


@dataclass
class Visit:
    """A page that was opened, and what happened in it that nobody may want to happen."""

    page: Page
    url: str
    errors: list[str] = field(default_factory=list)
    hosts: set[str] = field(default_factory=set)

    def hear(self, said: ConsoleMessage) -> None:
        """Keep what the console has to complain of."""
        if said.type in {"error", "warning"}:
            self.errors.append(said.text)

    def go(self, route: str) -> None:
        """Show a view, and wait until it is there."""
        self.page.goto("about:blank")  # from view to view nothing would be loaded, and the former one is there still
        self.page.goto(f"{self.url}/{route}")
        self.until(f"{route} is shown", LOADED)

    def until(self, what: str, script: str, argument: Any = None) -> None:
        """Wait until a script says so; Playwright's own waiting needs what the page's policy forbids."""
        wait_until(what, lambda: self.page.evaluate(script, argument), PATIENCE_S, 0.05)

    def wait_for(self, *texts: str, within: str = "body") -> str:
        """Wait until all of these are to be read, in one part of the page; returns what that says then."""
        script = "([within, texts]) => texts.every((text) => document.querySelector(within)?.innerText.includes(text))"
        try:
            self.until(f"{texts} in {within}", script, [within, list(texts)])
        except AssertionError as error:
            raise AssertionError(f"{error}; it says\n{self.page.inner_text(within)}") from error
        return self.page.inner_text(within)

    def wait_until_gone(self, text: str, within: str = "body") -> None:
        """Wait until that is not to be read any more."""
        script = "([within, text]) => !document.querySelector(within).innerText.includes(text)"
        self.until(f"{text!r} is gone", script, [within, text])

    def values(self, selector: str) -> list[str]:
        """The exact values of the figures there, as programs read them."""
        return [str(found) for found in self.page.eval_on_selector_all(selector, "all => all.map((one) => one.value)")]

    def faults(self) -> list[str]:
        """What axe-core finds that is serious: rule, why, where."""
        found = self.page.evaluate("() => axe.run(document, {resultTypes: ['violations']})")
        return [
            f"{fault['id']} ({fault['impact']}): {fault['help']}: {node['html'][:200]}: {node['failureSummary'][:300]}"
            for fault in found["violations"]
            if fault["impact"] in SERIOUS
            for node in fault["nodes"]
        ]

    def walk(self, most: int = 400) -> list[dict[str, Any]]:
        """Press Tab from the top until nothing new gets the focus; returns what got it, in that order."""
        self.page.evaluate("() => { document.activeElement?.blur(); window.reached = new Set(); }")
        stops: list[dict[str, Any]] = []
        for _ in range(most):
            self.page.keyboard.press("Tab")
            stop = self.page.evaluate(FOCUSED)
            if stop is None:
                return stops
            stops.append(stop)
        raise AssertionError(f"Tab has not come around after {most} stops, the last of them {stops[-1]}")

    def unreached(self) -> list[str]:
        """What can be used, and did not get the focus on the last walk."""
        told = (
            f"() => ({TABBABLE})().filter((one) => !window.reached.has(one)).map((one) => one.outerHTML.slice(0, 120))"
        )
        return [str(one) for one in self.page.evaluate(told)]

    def picture(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self.page.screenshot(path=path, full_page=True, animations="disabled")


@contextmanager
def visit(
    running: Browser, url: str, *, size: tuple[int, int] = DESKTOP, scheme: str = "light", script: Path | None = None
) -> Iterator[Visit]:
    """A page in a session of its own, with a script that is there before the page's own ones; nothing may go wrong."""
    width, height = size
    context: BrowserContext = running.new_context(
        viewport={"width": width, "height": height},
        color_scheme=scheme,  # type: ignore[arg-type]
        locale=LOCALE,
        timezone_id=TIME_ZONE,
        reduced_motion="reduce",
    )
    if script is not None:
        context.add_init_script(path=script)
    # A violation of the policy is an error of the console too; this names it.
    context.add_init_script(
        "addEventListener('securitypolicyviolation', (event) => console.error('policy: ' + event.violatedDirective"
        " + ' ' + event.blockedURI + ' ' + event.sample))"
    )
    try:
        made = Visit(context.new_page(), url)
        made.page.on("console", made.hear)
        made.page.on("pageerror", lambda error: made.errors.append(str(error)))
        made.page.on("request", lambda asked: made.hosts.add(urlsplit(asked.url).netloc))
        yield made
    finally:
        context.close()
