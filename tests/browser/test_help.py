"""The keys of every page and the dialog that names them; the way back from the documentation."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Page, expect

from tests.browser.complete import all_of, attribute_of
from tests.browser.screens import PHONE

PATHS = [
    "/learn",
    "/learn/0/look",
    "/explore",
    "/compare",
    "/positions",
    "/masks",
    "/attention",
    "/lab",
    "/translate",
    "/generate",
    "/fill",
    "/classify",
    "/models",
    "/models/gpt",
    "/models/nope",
    "/nowhere",
    "/docs",
]


def test_every_page_of_the_top_bar_is_tried(page: Page) -> None:
    page.goto("/models")
    links = all_of(page.locator("header nav a:not([type])"))
    assert {attribute_of(link, "href") for link in links} <= set(PATHS)


@pytest.mark.parametrize("path", PATHS)
def test_the_question_mark_opens_the_help(page: Page, path: str) -> None:
    page.goto(path)
    page.locator("#theme button").wait_for()  # the scripts have run
    page.keyboard.press("?")
    dialog = page.get_by_role("dialog", name="Keys and clicks")
    expect(dialog).to_be_visible()
    expect(dialog).to_contain_text("full screen, and back")
    page.keyboard.press("Escape")
    expect(dialog).to_be_hidden()
    page.get_by_role("button", name="Help").click()
    expect(dialog).to_be_visible()


def test_the_help_names_what_is_on_the_page(page: Page) -> None:
    page.goto("/compare")
    expect(page.locator("#help")).to_contain_text("point at a token")
    expect(page.locator("#help")).not_to_contain_text("arrow keys read the cells")


@pytest.mark.parametrize("path", ["/compare", "/masks", "/translate", "/positions"])
def test_a_slash_leads_to_the_text(page: Page, path: str) -> None:
    page.goto(path)
    page.locator("#theme button").wait_for()
    page.keyboard.press("/")
    expect(page.locator("textarea:focus, input[name=text]:focus")).to_have_count(1)


def test_the_documentation_has_a_way_back(page: Page) -> None:
    page.goto("/docs?lang=zh")
    expect(page.locator("#swagger")).to_contain_text("/api/v1/attention", timeout=30_000)
    expect(page.locator(".bar-pages [aria-current=page]")).to_have_text("API")
    page.get_by_role("link", name="探索", exact=True).click()
    expect(page).to_have_url(re.compile(r"/explore\?(.*&)?lang=zh"))


def test_menus_close_with_escape_and_with_a_click_elsewhere(page: Page) -> None:
    page.goto("/masks")
    page.locator("#theme button").wait_for()
    inside = page.locator(".bar-pages summary", has_text="Inside")
    items = page.locator(".bar-pages").get_by_role("link", name="Positions")
    inside.click()
    expect(items).to_be_visible()
    page.keyboard.press("Escape")
    expect(items).to_be_hidden()
    expect(inside).to_be_focused()
    inside.click()
    page.get_by_role("heading", name="Masks").click()
    expect(items).to_be_hidden()


@pytest.mark.parametrize("setting", [PHONE, PHONE | {"java_script_enabled": False}])
def test_a_phone_has_all_pages_in_less_than_a_fifth_of_its_screen(page: Page) -> None:
    page.goto("/masks")
    height = page.locator("header.top").evaluate("(el) => el.getBoundingClientRect().height")
    assert height < 844 / 5
    page.locator("summary[aria-label=Pages]").click()
    page.locator(".pages").get_by_role("link", name="Positions").click()
    expect(page).to_have_url(re.compile("/positions"))
