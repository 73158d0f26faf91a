"""GPT in training: a slider on Explore, and where its induction head forms."""

from __future__ import annotations

import re

from playwright.sync_api import Page, expect

from tests.browser.complete import complete

TWICE = "The+river+bank+is+closed.+The+river+bank+is+closed."


def test_the_slider_goes_through_the_training(page: Page) -> None:
    page.goto(f"/explore?model=gpt&lang=en&text={TWICE}")
    complete(page)
    slider = page.get_by_role("slider", name="In training")
    expect(slider).to_have_attribute("aria-valuetext", "the model itself, of a longer run")
    expect(page.locator("#snapshots")).to_contain_text(
        "The induction head forms between 1,000,000 and 2,000,000 tokens"
    )
    slider.focus()
    page.keyboard.press("Home")
    expect(page).to_have_url(re.compile("model=gpt%40500000|model=gpt@500000"))
    expect(slider).to_have_attribute("aria-valuetext", "after 500,000 tokens")
    expect(page.locator("#foot")).to_contain_text("gpt@500000")
    expect(page.get_by_role("combobox", name="Model")).to_have_value("gpt@500000")
    page.go_back()
    expect(slider).to_have_attribute("aria-valuetext", "the model itself, of a longer run")


def test_other_models_have_no_slider(page: Page) -> None:
    page.goto("/explore?model=bert&lang=en")
    complete(page)
    expect(page.get_by_role("slider", name="In training")).to_be_hidden()


def test_two_snapshots_are_compared(page: Page) -> None:
    page.goto(
        f"/compare?model=gpt@500000&model_b=gpt@2000000&text={TWICE}&text_b={TWICE}&word=bank&lang=en"
    )
    complete(page)
    expect(page.get_by_role("alert")).to_be_empty()
    expect(page.get_by_role("combobox", name="Model of B")).to_have_value("gpt@2000000")
    expect(page.locator(".compare-map button")).to_have_count(48)
