"""Several tokens locked in Lines, their attention summed; odd tokens explained where they are."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from urllib.parse import urlencode
from urllib.request import urlopen

from playwright.sync_api import Page, expect

from tests.browser.complete import complete, texts_of

RIVER = "He sat on the river bank and watched the water."
Explore = Callable[..., Page]


def test_tokens_are_added_with_ctrl_and_their_attention_is_summed(
    explore: Explore, server: str
) -> None:
    spec = {"model": "bert", "text": RIVER, "layer": 2, "head": 3}
    page = explore(**spec, threshold=0, lang="en")
    tokens = page.get_by_role("group", name="query tokens").get_by_role("button")
    tokens.nth(5).click()
    tokens.nth(6).click(modifiers=["Control"])
    tokens.nth(8).click(modifiers=["Shift"])
    expect(page).to_have_url(re.compile(r"query=5.*queries=6%2C8"))
    page.mouse.move(5, 5)
    expect(page.locator(".lines-said")).to_contain_text("river + bank + watched looks most at")
    with urlopen(f"{server}/api/v1/attention?{urlencode(spec)}") as answer:
        [[rows]] = json.load(answer)["attn"]
    sums = [sum(values) for values in zip(rows[5], rows[6], rows[8], strict=True)]
    shown = texts_of(page.locator(".lines-column.key .n"))
    assert shown == [f"{value:.3f}" for value in sums]
    page.reload()
    complete(page)
    expect(tokens.nth(8)).to_have_attribute("aria-pressed", "true")
    tokens.nth(5).click(modifiers=["Control"])
    expect(page).to_have_url(re.compile(r"query=6.*queries=8"))
    tokens.nth(2).click()
    expect(page).not_to_have_url(re.compile("queries"))


def test_bytes_and_unknown_words_are_explained(explore: Explore) -> None:
    page = explore(model="gpt", text="他 sat", lang="en")
    expect(page.locator("#notice")).to_contain_text("他: several tokens, one for each byte")
    page = explore(model="bert", text="☃ sat", lang="en")
    expect(page.locator("#notice")).to_contain_text("☃: [UNK], the one token for all")
    page = explore(model="bert", text="a" * 300, lang="en")
    expect(page.locator("#notice")).to_contain_text(f"{'a' * 23}…: [UNK]")
    page = explore(model="bert", text=RIVER, lang="en")
    expect(page.locator("#notice")).to_have_text("")
