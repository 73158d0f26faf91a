"""The screens and browsers that pages are tested in, and axe's findings on a page."""

from __future__ import annotations

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect

from tests.browser.complete import evaluated

LIGHT = {"viewport": {"width": 1440, "height": 900}, "color_scheme": "light"}
DARK = {"viewport": {"width": 1440, "height": 900}, "color_scheme": "dark"}
PHONE = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True}
LAPTOP = {"viewport": {"width": 1024, "height": 768}}
CHINESE = LIGHT | {"locale": "zh-CN"}
NO_SCRIPT = LIGHT | {"java_script_enabled": False}

# The stylesheets that axe would read beforehand are for a rule that is off: a fifth of the time.
FIND = """(rules) => axe.run({resultTypes: ["violations"], preload: {assets: ["media"]}, rules})
  .then(({violations}) => violations.map(({id, nodes}) =>
    [id, ...nodes.slice(0, 3).map(({html}) => html.slice(0, 160))]))"""
AXE = Axe().axe_script
REDRAWS = 5  # how often a page is read until its plots have the colours of another theme


def violations(page: Page, *, contrast: bool = True) -> list[list[str]]:
    """Each accessibility rule that the page breaks, and the first elements that break it.

    Contrast takes four fifths of the time, and is the same in every language.
    """
    if not evaluated(page, "'axe' in window"):
        page.evaluate(AXE)
    values: list[list[str]] = page.evaluate(FIND, {"color-contrast": {"enabled": contrast}})
    return values


def violations_by_theme(page: Page) -> dict[str, list[list[str]]]:
    """Those of a page in the light theme, and then in the dark one: it is loaded once."""
    light = violations(page)
    page.emulate_media(color_scheme="dark")
    expect(page.locator("html")).to_have_attribute("data-theme", "dark")
    dark = violations(page)
    for _ in range(REDRAWS):
        if not dark:
            break
        page.wait_for_timeout(200)
        dark = violations(page)
    return {"light": light, "dark": dark}


BOTH_CLEAN: dict[str, list[list[str]]] = {"light": [], "dark": []}
