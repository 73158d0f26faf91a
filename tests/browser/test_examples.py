"""The examples of the pages: where they open, and what they say there is to see."""

from __future__ import annotations

import re

import pytest
from attention_atlas.app.examples.catalogue import PAGES, Example, offered
from attention_atlas.app.examples.sentences import sentence
from playwright.sync_api import Page, expect

from tests.browser.complete import complete


def opened(page: Page, path: str) -> Page:
    page.goto(path)
    return complete(page)


def says(page: Page, example: Example) -> None:
    text = re.compile(f"^{re.escape(str(sentence(example)))}")
    expect(page.locator("#observation")).to_have_text(text)


@pytest.mark.parametrize("name", PAGES)
def test_a_bare_page_opens_at_its_first_example_and_the_next_is_a_click_away(
    page: Page, name: str
) -> None:
    first, *others = offered(name)
    says(opened(page, f"/{name}"), first)
    for example in others[:2]:
        page.locator(".examples a").nth(offered(name).index(example)).click()
        says(page, example)
    for _ in others[:2]:
        page.go_back()
    says(page, first)
    page.reload()
    says(page, first)


def test_another_head_has_no_observation_and_the_token_is_locked(page: Page) -> None:
    opened(page, "/explore")
    query = offered("explore")[0].opens_at["query"]
    locked = page.get_by_role("group", name="query tokens").locator("[aria-pressed=true]")
    expect(locked).to_have_attribute("data-index", str(query))
    locked.click()
    expect(locked).to_have_count(0)
    says(page, offered("explore")[0])
    page.get_by_role("combobox", name="Layer", exact=True).select_option("3")
    expect(page.locator("#observation")).to_be_hidden()
    page.go_back()
    says(page, offered("explore")[0])
    expect(locked).to_have_count(0)


@pytest.mark.parametrize("setting", [{"java_script_enabled": False}], ids=["no script"])
@pytest.mark.parametrize("name", PAGES)
def test_without_a_script_an_example_is_a_link_that_says_what_there_is_to_see(
    page: Page, name: str
) -> None:
    page.goto(f"/{name}")
    says(page, offered(name)[0])
    page.locator(".examples a").nth(1).click()
    says(page, offered(name)[1])
