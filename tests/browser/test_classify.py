"""Classify: labels with bars, the token that is read, attributions of the label, the way to open
a model of one's own."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Page, expect

from tests.browser.complete import text_of
from tests.browser.screens import (
    BOTH_CLEAN,
    CHINESE,
    LIGHT,
    NO_SCRIPT,
    PHONE,
    violations,
    violations_by_theme,
)
from tests.browser.working import api, opened

PAIR = {"text": "The king died in the winter.", "text_pair": "Gold is heavier than iron."}


def test_the_page_says_what_the_api_says(page: Page, server: str) -> None:
    opened(page, "/classify", model="bert", layer=4, head=3, **PAIR)
    answer = api(server, "/classify", model="bert", layer=4, head=3, **PAIR)
    rows = page.locator("#labels tbody tr")
    expect(rows).to_have_count(2)
    for i, label in enumerate(answer["labels"]):
        expect(rows.nth(i)).to_contain_text(label["label"])
        expect(rows.nth(i)).to_contain_text(f"{label['probability']:.3f}")
    expect(page.locator("#verdict")).to_contain_text(answer["labels"][0]["label"])
    expect(page.locator("#reads-said")).to_contain_text(f"{max(answer['attention']):.2f}")
    expect(page.locator("#sentence .work-token.masked")).to_have_text("[CLS]")
    expect(page.locator("#head-view .lines-column.query [aria-pressed=true]")).to_have_text("[CLS]")


def test_a_click_on_a_label_is_a_step_that_back_undoes(page: Page) -> None:
    opened(page, "/classify")
    other = page.locator("#labels tbody button[aria-pressed=false]")
    name = text_of(other)
    other.click()
    expect(page.locator("#labels tr[aria-current]")).to_contain_text(name)
    expect(page).to_have_url(re.compile(f"label={name}"))
    page.go_back()
    expect(page.locator("#labels tr[aria-current]")).not_to_contain_text(name)


def test_the_attributions_are_of_the_label(page: Page, server: str) -> None:
    opened(page, "/classify", model="bert", layer=5, head=7, **PAIR)
    page.get_by_role("button", name="Compute them").click()
    expect(page.locator("#agreement-said")).to_contain_text("Attention and effect")
    answer = api(
        server, "/lab/attributions",
        clean={"model": "bert", **PAIR}, metric={"kind": "class_logit"}, layer=5, head=7,
    )  # fmt: skip
    [first, second, *_] = answer["methods"]["attention"]["values"]
    row = page.locator("#attributions tr", has_text="attention of the head")
    expect(row.locator("td").nth(0)).to_have_text(f"{first:.2f}")
    expect(row.locator("td").nth(1)).to_have_text(f"{second:.2f}")


def test_without_a_second_text_the_page_says_what_the_head_needs(page: Page) -> None:
    opened(page, "/classify")
    page.get_by_role("textbox", name="Second text").fill("")
    page.keyboard.press("Enter")
    expect(page.get_by_role("alert").first).to_contain_text("whether a second text follows")


@pytest.mark.parametrize("setting", [NO_SCRIPT])
def test_without_scripts_the_labels_and_the_ways_are_there(page: Page) -> None:
    page.goto("/classify")
    expect(page.locator("#labels")).to_contain_text("IsNext")
    expect(page.locator(".classify-own")).to_contain_text("atlas.serve(model, tokenizer)")


@pytest.mark.parametrize("setting", [CHINESE, PHONE])
def test_axe_finds_nothing(page: Page) -> None:
    opened(page, "/classify")
    assert violations(page) == []


@pytest.mark.parametrize("setting", [LIGHT])
def test_axe_finds_nothing_in_either_theme(page: Page) -> None:
    opened(page, "/classify")
    assert violations_by_theme(page) == BOTH_CLEAN
