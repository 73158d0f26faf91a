"""The screens and browsers that pages are tested in, and axe's findings on a page."""

from __future__ import annotations

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page

from tests.browser.complete import evaluated

LIGHT = {"viewport": {"width": 1440, "height": 900}, "color_scheme": "light"}
DARK = {"viewport": {"width": 1440, "height": 900}, "color_scheme": "dark"}
PHONE = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True}
LAPTOP = {"viewport": {"width": 1024, "height": 768}}
CHINESE = LIGHT | {"locale": "zh-CN"}
NO_SCRIPT = LIGHT | {"java_script_enabled": False}

FIND = """(rules) => axe.run({resultTypes: ["violations"], rules}).then(({violations}) =>
  violations.map(({id, nodes}) =>
    [id, ...nodes.slice(0, 3).map(({html}) => html.slice(0, 160))]))"""
AXE = Axe().axe_script


def violations(page: Page, *, contrast: bool = True) -> list[list[str]]:
    """Each accessibility rule that the page breaks, and the first elements that break it.

    Contrast takes four fifths of the time, and is the same in every language.
    """
    evaluated(page, AXE)
    values: list[list[str]] = evaluated(page, FIND, {"color-contrast": {"enabled": contrast}})
    return values
