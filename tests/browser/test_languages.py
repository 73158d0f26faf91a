"""The languages of a translator, chosen on a page, in a real Chromium."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlencode

import pytest
from playwright.sync_api import Locator, Page, expect

from tests.browser.complete import complete, query_of, value_of
from tests.published import published

TEXT = "He sat on the river bank."
Explore = Callable[..., Page]


@pytest.fixture
def model(explore: Explore, tmp_path: Path) -> str:
    """A random NLLB, opened from the page."""
    folder = published(tmp_path / f"nllb-{tmp_path.name}", "NLLB")
    page = explore(model="bert", text=TEXT)
    expect(page.get_by_label("Target language")).to_be_hidden()
    page.get_by_text("Open another model").click()
    page.get_by_role("textbox", name="Hub name or folder").fill(str(folder))
    page.get_by_role("button", name="Open", exact=True).click()
    expect(page.get_by_role("combobox", name="Model")).to_have_value(folder.name)
    expect(page.locator("#foot")).to_contain_text(folder.name)
    return folder.name


def chosen(page: Page) -> tuple[str | None, str | None]:
    """The languages in the address."""
    query = query_of(page)
    return query.get("source_lang"), query.get("target_lang")


def selects(page: Page) -> tuple[Locator, Locator]:
    source, target = (
        page.get_by_role("combobox", name=f"{side} language") for side in ("Source", "Target")
    )
    return source, target


def test_explore_has_the_languages_of_its_model(page: Page, model: str) -> None:
    source, target = selects(page)
    usual = (value_of(source), value_of(target))
    assert chosen(page) == usual and usual[1] != "deu_Latn"
    page.goto(
        f"/explore?{urlencode({'model': model, 'text': TEXT, 'kind': 'decoder', 'view': 'table'})}"
    )
    shown = page.locator("#view tbody")
    expect(shown).to_contain_text(usual[1])
    target.select_option("German")
    expect(shown).to_contain_text("deu_Latn")
    expect(shown).not_to_contain_text(usual[1])
    expect(page).to_have_url(re.compile(f"source_lang={usual[0]}&target_lang=deu_Latn"))
    page.go_back()
    expect(target).to_have_value(usual[1])
    expect(shown).to_contain_text(usual[1])
    page.go_forward()
    expect(target).to_have_value("deu_Latn")
    expect(shown).to_contain_text("deu_Latn")
    picker = page.get_by_role("combobox", name="Model")
    picker.select_option("bert")
    expect(target).to_be_hidden()
    expect(page.locator("#foot")).to_contain_text("bert")
    expect(page).not_to_have_url(re.compile("_lang="))
    picker.select_option(model)
    expect(target).to_have_value(usual[1])
    expect(page).to_have_url(re.compile(f"target_lang={usual[1]}"))


def test_translate_has_the_languages_of_its_model(page: Page, model: str) -> None:
    page.goto(f"/translate?{urlencode({'model': model, 'text': TEXT, 'model_b': 'none'})}")
    complete(page)
    source, target = selects(page)
    usual = (value_of(source), value_of(target))
    assert chosen(page) == usual
    first = page.locator("#target > *").first
    expect(first).to_contain_text(usual[1])
    target.select_option("German")
    expect(first).to_contain_text("deu_Latn")
    source.select_option("Spanish")
    expect(page.locator("#source > *").first).to_contain_text("spa_Latn")
    expect(page).to_have_url(re.compile("source_lang=spa_Latn&target_lang=deu_Latn"))
    page.get_by_role("combobox", name="Model").select_option("translator")
    expect(page.locator("#foot")).to_contain_text("translator")
    expect(target).to_be_hidden()
    expect(page).not_to_have_url(re.compile("_lang="))
