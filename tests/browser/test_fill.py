"""Fill in: blanks, their attention, next sentences, BERT's masking."""

from __future__ import annotations

import re

from playwright.sync_api import Page, expect

from tests.browser.complete import count_of
from tests.browser.working import api, opened

CHILDREN, PLAYED = "The children went to the river.", "They played in the water all day."


def test_a_click_hides_a_word_and_another_shows_it(page: Page, server: str) -> None:
    text = "He sat on the river bank and watched the water."
    opened(page, "/fill", text=text)
    expect(page.locator("#mask-said")).to_have_text("No word is hidden.")
    page.locator("#sentence").get_by_text("bank", exact=True).click()
    answer = api(server, "/fill-mask", model="bert", text=text, words=[5])
    expect(page.locator("#masks tbody tr")).to_have_count(10)
    best = answer["masks"][0]["candidates"][0]
    expect(page.locator("#masks tbody tr").first).to_contain_text(f"{best['probability']:.4f}")
    page.locator("#sentence").get_by_text("river", exact=True).click()
    expect(page.locator("#masks table")).to_have_count(2)
    expect(page).to_have_url(re.compile("words=4%2C5"))
    page.locator("#sentence .masked").nth(1).click()
    expect(page.locator("#masks table")).to_have_count(1)
    expect(page.locator("#sentence")).to_contain_text("bank")
    page.go_back()
    expect(page.locator("#masks table")).to_have_count(2)


def test_words_beside_a_typed_mask_and_of_the_second_sentence(page: Page) -> None:
    opened(page, "/fill", text="He sat on the [MASK] bank.", text_pair="It was cold.")
    page.locator("#sentence").get_by_text("bank", exact=True).click()
    expect(page).to_have_url(re.compile("words=5"))
    page.locator("#sentence").get_by_text("cold", exact=True).click()
    expect(page).to_have_url(re.compile("words_pair=2"))
    expect(page.locator("#masks table")).to_have_count(3)
    page.get_by_role("button", name="Show where it looks").nth(2).click()
    expect(page.locator("#mask-said")).to_contain_text("[MASK] at 11")
    page.reload()
    expect(page.locator("#mask-said")).to_contain_text("[MASK] at 11")
    expect(page.locator("#sentence button")).to_have_count(10)


def test_a_lock_of_a_longer_text_is_let_go(page: Page) -> None:
    opened(page, "/fill", text=CHILDREN, text_pair=PLAYED)
    page.locator("#across-view .lines-column.query button").last.click()
    expect(page).to_have_url(re.compile("query="))
    page.get_by_role("textbox", name="Second sentence").fill("No.")
    expect(page.locator("#across-view .lines-column.query button")).to_have_count(12)
    expect(page.get_by_role("alert")).to_be_empty()


def test_the_attention_from_a_blank_shades_the_text(page: Page, server: str) -> None:
    text = "He sat on the [MASK] bank."
    opened(page, "/fill", text=text, layer=2, head=3)
    row = api(server, "/attention", model="bert", text=text, layer=2, head=3)["attn"][0][0][5]
    expect(page.locator("#mask-said")).to_contain_text(f"{max(row):.2f}")
    assert count_of(page.locator("#sentence .work-token[style]")) == sum(value > 0 for value in row)


def test_sentences_are_swapped_and_partnered(page: Page, server: str) -> None:
    opened(page, "/fill", text=CHILDREN, text_pair=PLAYED)
    a, b = CHILDREN, PLAYED
    answer = api(server, "/next-sentence", model="bert", text=a, text_pair=b)
    cells = page.locator("#next-table td")
    expect(cells).to_have_text([f"{answer['is_next']:.3f}", f"{answer['swapped']:.3f}"])
    page.get_by_role("button", name="Swap them").click()
    expect(cells).to_have_text([f"{answer['swapped']:.3f}", f"{answer['is_next']:.3f}"])
    page.get_by_role("button", name="A random second sentence").click()
    expect(page.get_by_role("textbox", name="Second sentence")).not_to_have_value(a)
    expect(page.locator("#across-view .lines-column.query button").first).to_be_visible()


def test_the_noise_is_the_apis(page: Page, server: str) -> None:
    opened(page, "/fill", text="The king and the queen lived in a castle by the sea.")
    page.get_by_label("Seed").fill("5")
    answer = api(
        server,
        "/corruption",
        model="bert",
        text="The king and the queen lived in a castle by the sea.",
        seed=5,
    )
    expect(page.locator("#noise-said")).to_contain_text(f"{answer['loss']:.2f}")
    expect(page.locator("#noise-table tbody tr")).to_have_count(len(answer["chosen"]))
    fates = [place["fate"] for place in answer["chosen"]]
    for fate in ("masked", "replaced", "kept"):
        expect(page.locator(f"#noisy .{fate}")).to_have_count(fates.count(fate))
