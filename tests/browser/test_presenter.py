"""Presenter mode: from every page, the sentence and one part of it as large as the screen."""

from __future__ import annotations

import re

import pytest
from attention_atlas.app.navigation import LINKS
from playwright.sync_api import Page, expect

from tests.browser.complete import address_of, box_of, complete, evaluated, query_of, text_of

OTHERS = ("/docs", "/learn")  # the course has a lecture view of its own
PATHS = ["/", *(link.path for link in LINKS if link.path not in OTHERS)]
RIVER = "He sat on the river bank and watched the water."


def present(page: Page, path: str) -> Page:
    page.goto(path)
    complete(page)
    page.get_by_role("button", name="Present").click()
    return page


@pytest.mark.parametrize("path", PATHS)
def test_every_page_can_be_presented(page: Page, path: str) -> None:
    present(page, path)
    expect(page.locator("header.top")).to_be_hidden()
    expect(page.locator(".presenter-part")).to_be_visible()
    assert text_of(page.locator(".presenter-text")).strip()
    page.keyboard.press("Escape")
    expect(page.locator("header.top")).to_be_visible()
    assert "present" not in address_of(page)


def test_arrow_keys_go_through_parts_and_tokens(page: Page) -> None:
    present(page, f"/explore?model=bert&text={RIVER}&query=5")
    expect(page.locator(".presenter-text")).to_have_text(RIVER)
    page.keyboard.press("ArrowRight")
    expect(page.locator(".presenter-place")).to_have_text("2 / 2")
    size = evaluated(
        page.locator(".lines-column.query button").nth(6), "el => el.getBoundingClientRect().height"
    )
    assert size > 28, "as large as the screen allows"
    page.keyboard.press("ArrowDown")
    expect(page).to_have_url(re.compile("query=6"))
    expect(page.locator(".lines-said")).to_contain_text("bank looks most at")
    page.keyboard.press("ArrowLeft")
    expect(page.locator(".presenter-place")).to_have_text("1 / 2")


def test_a_head_is_picked_where_the_pointer_is(page: Page) -> None:
    """The grid is drawn larger than its own CSS pixels."""
    present(page, "/explore?model=bert")
    grid = page.get_by_role("grid")
    box = box_of(grid)
    assert box
    page.mouse.click(box["x"] + box["width"] * 0.95, box["y"] + box["height"] * 0.9)
    expect(page).to_have_url(re.compile("layer=5"))
    assert query_of(page)["head"] == "11"


def test_a_link_opens_the_same_part(page: Page) -> None:
    page.goto("/explore?model=bert&present=1")
    expect(page.locator(".presenter-place")).to_have_text("2 / 2")
