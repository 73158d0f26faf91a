"""What can be clicked is large enough to be hit, and looks like it."""

from __future__ import annotations

import pytest
from playwright.sync_api import Page

PAGES = ["/", "/explore", "/compare", "/translate", "/generate", "/fill", "/attention", "/masks"]
PAGES += ["/classify", "/lab", "/positions", "/models", "/models/bert"]
CONTROLS = "a[href], button, input:not([type=hidden]), select, summary, textarea"
# A checkbox is hit by its label; a link in running text has its line.
SMALL = """(controls) => [...document.querySelectorAll(controls)]
  .filter((el) => el.checkVisibility({visibilityProperty: true}) && el.type !== "checkbox"
    && !el.closest(".skip, p, dd, figcaption"))
  .map((el) => [el.outerHTML.slice(0, 80), el.getBoundingClientRect()])
  .filter(([, {width, height}]) => width > 0 && (width < 23.5 || height < 23.5))
  .map(([html, {width, height}]) => `${Math.round(width)} × ${Math.round(height)}: ${html}`)"""
PLAIN = """() => [...document.querySelectorAll("main button, main select, main summary")]
  .filter((el) => el.checkVisibility({visibilityProperty: true})
    && !el.closest("table, .lines-column, .work-tokens, .grid, [role=tablist], .tokens-text"))
  .filter((el) => {
    const {borderTopWidth, backgroundColor} = getComputedStyle(el);
    const hasCaret = el.matches("summary")
      && getComputedStyle(el, "::before").borderRightWidth !== "0px";
    return borderTopWidth === "0px" && backgroundColor === "rgba(0, 0, 0, 0)" && !hasCaret;
  }).map((el) => el.outerHTML.slice(0, 80))"""


@pytest.mark.parametrize("path", PAGES)
def test_targets_have_24_pixels_and_controls_a_border(page: Page, path: str) -> None:
    page.goto(f"{path}?lang=en")
    page.wait_for_function("() => !document.querySelector('[aria-busy=true]')")
    assert page.evaluate(SMALL, CONTROLS) == []
    assert page.evaluate(PLAIN) == []
