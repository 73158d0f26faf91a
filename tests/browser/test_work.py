"""The pages of models at work: Translate, Generate, Fill in."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from tests.browser.complete import screenshot, text_of, width_of
from tests.browser.screens import (
    BOTH_CLEAN,
    LIGHT,
    NO_SCRIPT,
    PHONE,
    violations,
    violations_by_theme,
)
from tests.browser.working import opened, texts

DOCS = Path(__file__).parents[2] / "docs"


@pytest.mark.parametrize("path", ["/translate", "/generate", "/fill"])
def test_nonsense_is_said_and_the_picture_stays(page: Page, path: str) -> None:
    opened(page, path, layer=99, model="nobody")
    expect(page.locator("#notice")).to_contain_text("model nobody")
    before = texts(page, ".work-tokens")
    page.locator("textarea[name=text]").fill("")
    expect(page.get_by_role("alert")).to_contain_text("the text is empty")
    assert texts(page, ".work-tokens") == before


PATHS = ["/translate?num_beams=2&reference=Shut.", "/generate", "/fill"]


@pytest.mark.parametrize("setting", [LIGHT], ids=["light"])
@pytest.mark.parametrize("path", PATHS)
def test_axe_finds_no_violation_in_either_theme(page: Page, path: str) -> None:
    opened(page, path)
    assert violations_by_theme(page) == BOTH_CLEAN


@pytest.mark.parametrize("setting", [PHONE], ids=["phone"])
@pytest.mark.parametrize("path", PATHS)
def test_a_phone_never_scrolls_sideways_and_axe_finds_no_violation(page: Page, path: str) -> None:
    assert width_of(opened(page, path)) == 390
    assert violations(page) == []


@pytest.mark.parametrize("setting", [PHONE], ids=["phone"])
def test_a_phone_does_not_scroll_sideways_with_four_beams(page: Page) -> None:
    assert width_of(opened(page, "/translate?num_beams=4")) == 390


@pytest.mark.parametrize("setting", [NO_SCRIPT], ids=["no script"])
def test_without_a_script_there_are_words_and_numbers(page: Page) -> None:
    page.goto("/translate")
    expect(page.locator("#target")).to_contain_text("The bank is closed.")
    page.goto("/generate")
    expect(page.locator("#candidates td.n").first).to_be_visible()
    page.goto("/fill")
    expect(page.locator("#masks td.n").first).to_be_visible()


@pytest.mark.parametrize("setting", [{**LIGHT, "locale": "zh-CN"}], ids=["zh"])
def test_examples_are_one_click(page: Page) -> None:
    for path, expected in (
        ("/translate", "#target"),
        ("/generate", "#said"),
        ("/fill", "#sentence"),
    ):
        opened(page, path)
        expect(page.locator("h1")).to_have_text(re.compile("[\u4e00-\u9fff]"))
        before = text_of(page.locator(expected))
        page.locator(".examples a").nth(1).click()
        expect(page.locator(expected)).not_to_have_text(before)


@pytest.mark.parametrize(
    ("name", "query", "drawn"),
    [
        ("translate", {"step": 3}, "#joint-view .xtick text"),
        ("generate", {"step": 5, "layer": 5}, "#rows-plot .xtick text"),
    ],
)
def test_the_pictures_of_models_at_work(
    page: Page, tmp_path: Path, name: str, query: Any, drawn: str
) -> None:
    opened(page, f"/{name}", **query)
    page.locator(drawn).first.wait_for()
    folder = DOCS if os.environ.get("UPDATE_PICTURES") == "1" else tmp_path
    picture = screenshot(page, folder / f"{name}.png")
    assert picture.startswith(b"\x89PNG") and len(picture) > 30_000
