"""What all pages share, in Chromium: the newest request, the address, Back, drafts, the theme."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Page, Route, expect

from tests.browser.complete import address_of, complete, query_of, value_of

PAGES = {  # a field, by its name in the address, and what to type into it
    "compare": ("text_b", "They fished from the bank of the river."),
    "positions": ("text", "The river bank"),
    "masks": ("texts", "This is mine"),
    "attention": ("text", "The river bank"),
    "explore": ("text", "The river bank"),
    "fill": ("text", "The river bank"),
    "classify": ("text", "The river bank"),
}
CHOICES = {  # what changes the picture without a request: the control, its value, the address then
    "explore": ("combobox", "Sorted by", "entropy", "metric", "entropy"),
    "generate": ("combobox", "Shaded by", "entropy", "shade", "entropy"),
    "translate": ("combobox", "Shown as", "lines", "view", "lines"),
    "attention": ("combobox", "Stop words", "hidden", "stops", "hidden"),
}


def opened(page: Page, name: str) -> Page:
    page.goto(f"/{name}")
    complete(page)
    expect(page).to_have_url(re.compile("model="))
    return page


def part(page: Page, name: str) -> str:
    return query_of(page).get(name, "")


@pytest.mark.parametrize("name", PAGES)
def test_a_sentence_typed_letter_by_letter_is_one_step_back(page: Page, name: str) -> None:
    field, sentence = PAGES[name]
    box = opened(page, name).locator(f"[name={field}]")
    before = value_of(box)
    box.fill("")
    box.press_sequentially(sentence)
    expect(page).to_have_url(re.compile(rf"{field}={sentence.split()[0]}.*{sentence[-4:-1]}"))
    assert part(page, field) == sentence
    page.go_back()
    expect(box).to_have_value(before)
    complete(page)
    assert part(page, field).splitlines() == before.splitlines()


@pytest.mark.parametrize("name", PAGES)
def test_the_theme_is_in_the_address_and_asks_for_nothing(page: Page, name: str) -> None:
    opened(page, name)
    requests: list[str] = []
    page.on("request", lambda request: requests.append(request.url))
    page.get_by_role("button", name="Dark theme").click()
    expect(page.locator("html")).to_have_attribute("data-theme", "dark")
    assert part(page, "theme") == "dark"
    assert [url for url in requests if "/api/" in url] == []


@pytest.mark.parametrize("name", CHOICES)
def test_back_undoes_a_choice_that_asks_for_nothing(page: Page, name: str) -> None:
    role, label, value, field, written = CHOICES[name]
    opened(page, name)
    requests: list[str] = []
    page.on("request", lambda request: requests.append(request.url))
    box = page.get_by_role(role, name=label)  # type: ignore[arg-type]
    before = value_of(box)
    box.select_option(value)
    assert part(page, field) == written
    page.go_back()
    expect(box).to_have_value(before)
    assert part(page, field) == ""
    assert [url for url in requests if "/api/" in url] == []


@pytest.mark.parametrize("name", ["explore", "masks", "attention", "generate"])
def test_a_refused_text_survives_a_reload(page: Page, name: str) -> None:
    box = opened(page, name).locator("main textarea, main [name=text]").first
    box.fill("\u0000 is no text")
    expect(page.get_by_role("alert")).to_contain_text("NUL")
    expect(page.locator("#notice")).to_contain_text("The picture is of the earlier text")
    page.reload()
    expect(page.get_by_role("alert")).to_contain_text("NUL")
    expect(box).to_have_value("\u0000 is no text")


def test_the_newest_wish_wins(page: Page) -> None:
    opened(page, "masks")
    held: list[Route] = []
    page.route(re.compile("texts=.*slow"), lambda route: held.append(route))
    box = page.get_by_role("textbox")
    with page.expect_request(re.compile("texts=.*slow")):
        box.fill("slow")
    box.fill("quick")
    expect(page.locator("#ids-table")).to_contain_text("quick")
    for route in held:
        route.abort()
    assert part(page, "texts") == "quick"


def test_what_is_refused_leaves_the_picture_and_the_address(page: Page) -> None:
    opened(page, "masks")
    address = address_of(page)
    page.get_by_role("textbox").fill("\n".join(["hi"] * 9))
    expect(page.get_by_role("alert")).to_contain_text("one to eight texts")
    expect(page.locator("#ids-table")).to_contain_text("new")
    assert address_of(page) == address


def test_a_picture_follows_the_words_and_not_an_unfinished_number(page: Page) -> None:
    opened(page, "attention")
    width = page.get_by_label("widths up to", exact=True)
    width.fill("")
    expect(page.get_by_role("alert")).to_be_empty()
    width.fill("9999")
    expect(page.get_by_role("alert")).to_contain_text("widths up to")
    width.fill("32")
    expect(page.get_by_role("alert")).to_be_empty()
    expect(page).to_have_url(re.compile("d_k=32"))
