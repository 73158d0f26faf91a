"""A long text scrolls with the page: no box inside it catches the wheel."""

from __future__ import annotations

import pytest
from playwright.sync_api import Page, expect

from tests.browser.complete import box_of
from tests.browser.exploring import Explore

LONG = "The river bank is closed because the water was high and the children left. " * 7
INK = """(canvas) => {
  const {data} = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
  let inked = 0;
  for (let i = 3; i < data.length; i += 4) inked += data[i] > 0;
  return inked;
}"""
BOXES = """() => [...document.querySelectorAll("#view, #view *")].filter((el) =>
  /auto|scroll/.test(getComputedStyle(el).overflowY) && el.scrollHeight > el.clientHeight + 1)
  .map((el) => el.className)"""


def over(page: Page, selector: str) -> None:
    """The pointer over a part of the picture that is on screen."""
    page.locator(selector).scroll_into_view_if_needed()
    box = box_of(page.locator(selector))
    page.mouse.move(box["x"] + box["width"] / 2, max(box["y"], 0) + 40)


@pytest.mark.parametrize(("view", "part"), [("lines", ".lines-stage"), ("anatomy", ".anatomy"),
                                            ("tokens", ".tokens-flow")])  # fmt: skip
def test_the_wheel_over_a_picture_scrolls_the_page(explore: Explore, view: str, part: str) -> None:
    page = explore(model="bert", text=LONG, view=view)
    expect(page.locator(f"#view {part}")).to_be_visible()
    assert page.evaluate(BOXES) == []
    page.evaluate("scrollTo(0, 0)")
    over(page, f"#view {part}")
    before = page.evaluate("scrollY")
    page.mouse.wheel(0, 400)
    page.wait_for_function("(y) => scrollY > y + 100 || scrollY + innerHeight >= "
                           "document.documentElement.scrollHeight - 2", arg=before)  # fmt: skip


def test_lines_are_drawn_wherever_the_page_has_been_scrolled_to(explore: Explore) -> None:
    page = explore(model="bert", text=LONG, layer=0, head=2)
    canvas = page.locator(".lines-sight canvas")
    token = page.locator(".lines-column.key button").nth(70)
    token.scroll_into_view_if_needed()
    page.wait_for_function("""() => {
      const {top, bottom} = document.querySelector(".lines-sight canvas").getBoundingClientRect();
      return top <= 1 && bottom > innerHeight / 2;
    }""")
    page.wait_for_function(f"() => ({INK})(document.querySelector('.lines-sight canvas')) > 500")
    assert canvas.evaluate("(canvas) => canvas.clientHeight <= innerHeight")
    token.hover()
    expect(page.locator(".lines-said")).to_be_in_viewport()


def test_a_table_of_numbers_leaves_the_page_room_to_be_scrolled(explore: Explore) -> None:
    page = explore(model="bert", text=LONG, view="table")
    expect(page.locator(".table tbody tr").first).to_be_visible()
    assert page.locator(".table").evaluate("(el) => el.clientHeight <= 0.7 * innerHeight + 1")
