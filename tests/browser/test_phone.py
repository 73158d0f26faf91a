"""What a newcomer with a phone sees first: the point of the page, and no text that is cut."""

from __future__ import annotations

import pytest
from playwright.sync_api import Page, expect

from tests.browser.complete import address_of, box_of, complete

PHONE = {"viewport": {"width": 390, "height": 844}}
pytestmark = pytest.mark.parametrize("setting", [PHONE], ids=["phone"])

CUT = """els => els.filter((el) => el.scrollWidth > el.clientWidth + 1)
  .map((el) => el.value ?? el.textContent)"""
CAPTIONS = """els => els.map((el) => {
  const [own, seen] = [el.getBoundingClientRect(), el.closest(".scroll").getBoundingClientRect()];
  return [own.left >= seen.left - 1, own.right <= seen.right + 1];
})"""


@pytest.mark.parametrize("path", ["/explore", "/translate", "/fill", "/generate", "/masks"])
def test_the_first_screen_says_what_to_look_for(page: Page, path: str) -> None:
    page.goto(path)
    complete(page)
    expect(page.locator("#observation")).not_to_be_empty()
    box = box_of(page.locator("#observation"))
    assert box["y"] + box["height"] <= PHONE["viewport"]["height"]


@pytest.mark.parametrize("path", ["/explore", "/compare"])
def test_sentences_and_badges_are_whole(page: Page, path: str) -> None:
    page.goto(path)
    complete(page)
    expect(page.locator(".context textarea").first).not_to_be_empty()
    texts = page.locator(".context textarea").evaluate_all(CUT)
    badges = page.locator(".grid-badge:not(.dot)").evaluate_all(CUT)
    assert [*texts, *badges] == []


@pytest.mark.parametrize("path", ["/generate", "/translate"])
def test_the_caption_of_a_wide_table_is_as_wide_as_the_screen(page: Page, path: str) -> None:
    page.goto(path)
    complete(page)
    expect(page.locator("#candidates caption")).to_be_visible()
    seen = page.locator(".scroll > table > caption:visible").evaluate_all(CAPTIONS)
    assert seen and all(all(sides) for sides in seen)


def test_another_head_does_not_move_the_heads(page: Page) -> None:
    page.goto("/explore")
    complete(page)
    before = box_of(page.locator("#heads"))["y"]
    page.get_by_role("combobox", name="Layer", exact=True).select_option("3")
    expect(page.locator("#observation")).to_be_hidden()
    assert "layer=3" in address_of(page)
    assert box_of(page.locator("#heads"))["y"] == pytest.approx(before, abs=30)


@pytest.mark.parametrize("path", ["/explore?view=anatomy", "/learn/1/context", "/learn/2/formula"])
def test_a_query_taken_apart_fits_the_screen(page: Page, path: str) -> None:
    """And a tablet's, where it stands beside the text of the course."""
    page.goto(path)
    expect(page.locator(".anatomy tbody .n").first).to_be_visible()
    for width in (390, 1024):
        page.set_viewport_size({"width": width, "height": 768})
        sizes = "el => [el.scrollWidth - el.clientWidth, el.clientWidth]"
        over, wide = page.locator(".anatomy-scroll").evaluate(sizes)
        assert over <= 0 and wide > 300, width


def test_the_measures_of_a_card_fit_the_screen(page: Page) -> None:
    page.goto("/models/bert")
    complete(page)
    expect(page.locator(".measures tbody th").first).to_be_visible()
    assert page.locator(".measures").evaluate("el => el.scrollWidth - el.clientWidth") <= 1
    assert page.locator(".measures td").evaluate_all(CUT) == []
