"""On a phone a finger that begins on a picture scrolls the page."""

from __future__ import annotations

import pytest
from playwright.sync_api import Page

from tests.browser.complete import complete, evaluated
from tests.browser.screens import PHONE

PAGES = ["/", "/explore", "/explore?view=matrix", "/explore?view=anatomy", "/compare"]
PAGES += ["/translate", "/generate", "/fill", "/attention", "/masks", "/positions", "/models/bert"]

# One picture of each kind; a picture inside another is a part of it.
PICTURES = """() => {
  const pictures = "main :is(canvas, svg, .js-plotly-plot, .anatomy, .tokens-flow)";
  const all = [...document.querySelectorAll(pictures)].filter((el) =>
    el.checkVisibility({visibilityProperty: true}) && el.getBoundingClientRect().height > 60);
  const whole = all.filter((el) => !all.some((other) => other !== el && other.contains(el)));
  const kinds = new Map(whole.map((el) => [`${el.tagName} ${el.getAttribute("class")}`, el]));
  return [...kinds.values()].map((el, i) => { el.dataset.picture = i; return i; });
}"""
CENTRE = """(i) => {
  const el = document.querySelector(`[data-picture="${i}"]`);
  el.scrollIntoView({block: "center", behavior: "instant"});
  const {left, top, width, height} = el.getBoundingClientRect();
  const y = Math.max(60, Math.min(innerHeight - 60, top + height / 2));
  return [Math.min(left + width / 2, innerWidth - 20), y, scrollY, el.outerHTML.slice(0, 120)];
}"""
MOVED = "(y) => Math.abs(scrollY - y) > 100"
END = "document.documentElement.scrollHeight - innerHeight"


def swipe(page: Page, x: float, y: float, by: int) -> None:
    """As a finger does: Chromium asks the page at each move whether it wants it for itself."""
    finger = page.context.new_cdp_session(page)
    points = [[{"x": x, "y": y + by * i / 10}] for i in range(11)]
    for name, point in zip(["touchStart", *["touchMove"] * 10], points, strict=True):
        finger.send("Input.dispatchTouchEvent", {"type": name, "touchPoints": point})
    finger.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})


@pytest.mark.parametrize("setting", [PHONE])
@pytest.mark.parametrize("path", PAGES)
def test_a_finger_on_a_picture_scrolls_the_page(page: Page, path: str) -> None:
    page.goto(path)
    complete(page)
    page.locator("main :is(canvas, svg, .js-plotly-plot, .tokens-flow)").first.wait_for()
    pictures = evaluated(page, PICTURES)
    assert pictures
    for picture in pictures:
        x, y, before, html = evaluated(page, CENTRE, picture)
        swipe(page, x, y, -250 if before + 300 < evaluated(page, END) else 250)
        trapped = f"no scrolling from {html}"
        assert page.wait_for_function(MOVED, arg=before, timeout=5000), trapped
