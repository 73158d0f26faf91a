"""The word to compare is clicked; a head to switch off is picked on the map."""

from __future__ import annotations

import re
from urllib.parse import urlencode

from playwright.sync_api import Page, Route, expect

from tests.browser.complete import complete

A, B = "The cat slept on the warm roof.", "Nobody remembers Tuesdays."


def opened(page: Page, **query: str) -> Page:
    page.goto(f"/compare?{urlencode({'model': 'bert', 'lang': 'en', **query})}")
    return complete(page)


def word(page: Page, run: str, text: str) -> None:
    group = page.get_by_role("group", name=f"Word of {run}")
    group.get_by_role("button", name=text, exact=True).first.click()


def test_texts_without_a_common_word_ask_for_one_of_each(page: Page) -> None:
    opened(page)
    page.locator("[name=text]").fill(A)
    page.locator("[name=text_b]").fill(B)
    expect(page.locator("#word-note")).to_contain_text("click the word to compare in each")
    expect(page.get_by_role("alert")).to_be_empty()
    word(page, "A", "cat")
    word(page, "B", "Nobody")
    expect(page).to_have_url(re.compile("word=cat&word_b=Nobody"))
    expect(page.locator("#word-note")).to_be_empty()
    expect(page.get_by_role("alert")).to_be_empty()


def test_a_word_that_is_clicked_is_kept_when_the_other_text_changes(page: Page) -> None:
    """It is in A; the other one, of B as it was, is not in B any more."""
    opened(page, text=A, text_b="She opened an account.", word="cat", word_b="account")
    page.locator("[name=text_b]").fill(B)
    word(page, "A", "roof")  # before the pause in typing is over, or after
    expect(page).to_have_url(re.compile("text_b=Nobody\\+remembers.*word=roof&word_b=remembers"))
    word(page, "B", "Nobody")
    expect(page).to_have_url(re.compile("word=roof&word_b=Nobody"))


def test_an_answer_that_comes_during_a_click_does_not_take_it_away(page: Page) -> None:
    opened(page, text=A, text_b="She opened an account.", word="cat", word_b="account")
    held: list[Route] = []
    page.route(re.compile("compare.*word=slept"), lambda route: held.append(route))
    with page.expect_request(re.compile("compare.*word=slept")):
        page.locator("[name=text_b]").fill(B)
    page.get_by_role("group", name="Word of A").get_by_role("button", name="roof").hover()
    page.mouse.down()
    for route in held:
        route.continue_()
    expect(page).to_have_url(re.compile("text_b=Nobody"))
    page.mouse.up()
    expect(page).to_have_url(re.compile("word=roof&word_b=remembers"))


def test_a_link_without_a_word_opens_with_one(page: Page) -> None:
    opened(page, text=A, text_b=B)
    expect(page.get_by_role("alert")).to_be_empty()
    expect(page.locator("[name=word]")).to_have_value("slept")


def test_the_head_to_switch_off_is_picked_on_the_map(page: Page) -> None:
    opened(page)
    page.get_by_role("button", name="Pick on the map").click()
    page.locator(".compare-map tbody tr").nth(2).get_by_role("button").nth(3).click()
    expect(page).to_have_url(re.compile("off=2.3"))
    expect(page.locator("[name=off]")).to_have_value("2.3")
    page.get_by_role("button", name="Switch it on again").click()
    expect(page).not_to_have_url(re.compile("off="))
