"""The first page: a picture that follows the pointer, three doors, and the way back."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Page, expect

from tests.browser.complete import address_of, complete

PHONE = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True}


def opened(page: Page) -> Page:
    page.goto("/")
    page.locator("#view .lines, #view .tokens").wait_for()
    return page


def test_the_picture_follows_the_pointer(page: Page) -> None:
    element = opened(page).locator(".lines-said")
    expect(element).to_contain_text("bank looks most at")
    word = page.get_by_role("group", name="query tokens").get_by_role("button", name="watched")
    word.hover()
    expect(element).to_contain_text("watched looks most at")
    word.click()
    page.mouse.move(5, 5)
    expect(element).to_contain_text("watched looks most at")


@pytest.mark.parametrize("setting", [PHONE])
def test_a_finger_moves_the_picture_too(page: Page) -> None:
    opened(page).locator("#view").get_by_role("button", name="watched").tap()
    expect(page.locator("#view [aria-pressed=true]", has_text="watched")).to_have_count(1)


def test_its_doors_lead_to_the_pages(page: Page) -> None:
    opened(page).locator(".home-doors a", has_text="Your own model").click()
    expect(page.get_by_role("textbox", name="Hub name or folder")).to_be_focused()
    opened(page).get_by_role("link", name="Open this picture in Explore").click()
    expect(page).to_have_url(re.compile(r"/explore\?model="))


def test_a_reader_who_returns_is_one_click_from_where_they_were(page: Page) -> None:
    opened(page)
    expect(page.locator("#again")).to_be_hidden()
    page.goto("/masks?model=gpt&texts=A+bank&layer=1&head=2&lang=zh&theme=dark")
    complete(page)
    was = address_of(page)
    opened(page).locator("#again a").click()
    expect(page).to_have_url(was)
