"""The Compare page in a real Chromium, against the API's own numbers."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any
from urllib.parse import urlencode
from urllib.request import Request, urlopen

import pytest
from attention_atlas.app.examples.catalogue import offered
from playwright.sync_api import Page, expect

from tests.browser.complete import complete, evaluated, query_of, texts_of, width_of
from tests.browser.screens import (
    BOTH_CLEAN,
    LIGHT,
    NO_SCRIPT,
    PHONE,
    violations,
    violations_by_theme,
)

RIVER = "He sat on the river bank and watched the water."
MONEY = "She opened an account at the bank to save money."


def compared(server: str, a: str = RIVER, b: str = MONEY, **options: object) -> Any:
    specs = {"a": {"model": "bert", "text": a}, "b": {"model": "bert", "text": b}, "word": "bank"}
    specs["positional_last"] = True
    body = json.dumps({**specs, **options}).encode()
    headers = {"content-type": "application/json"}
    with urlopen(Request(f"{server}/api/v1/compare", body, headers)) as answer:
        return json.load(answer)


def opened(page: Page, **query: object) -> Page:
    page.goto(f"/compare?{urlencode(query)}")
    return complete(page)


def lines_of(page: Page, plot: str) -> dict[str, list[float]]:
    code = "(id) => document.getElementById(id).data.map(({name, y}) => [name, y])"
    return dict(evaluated(page, code, plot))


def token(page: Page, run: str, index: int) -> Any:
    group = page.locator(f"#view-{run}").get_by_role("group", name="query tokens")
    return group.get_by_role("button").nth(index)


def test_the_map_has_the_divergence_of_every_head(page: Page, server: str) -> None:
    cells = opened(page).locator(".compare-map button")
    answer = compared(server)["divergence"]
    expect(cells).to_have_text([f"{value:.2f}" for row in answer for value in row])


def test_the_curve_is_the_similarity_of_the_api(page: Page, server: str) -> None:
    opened(page).get_by_text("Cosine of A and B, and of pairs").click()
    page.locator("#curve .xtick text").first.wait_for()
    drawn = lines_of(page, "curve")
    answer = compared(server)
    assert drawn["A and B"] == pytest.approx(answer["similarity"], abs=1e-6)
    assert drawn["two of different senses"] == pytest.approx(answer["references"]["between"])
    page.get_by_text("The numbers", exact=True).click()
    ticks = texts_of(page.locator("#curve .xtick text"))
    assert ticks == ["embedding", *(f"L{i}" for i in range(6))]
    table = page.get_by_role("table", name="Cosine of the word's hidden states")
    names = texts_of(table.get_by_role("rowheader"))
    assert names == ["embedding", *(f"Layer {i}" for i in range(6))]
    expect(table).to_contain_text(f"{answer['similarity'][3]:.3f}")


def test_the_first_line_is_the_verdict_and_two_lines_part(page: Page, server: str) -> None:
    opened(page).locator("#margins .xtick text").first.wait_for()
    expect(page.locator("#verdict")).to_contain_text(
        "Two senses: in A “bank” is nearer the “river”"
    )
    answer = compared(server)["references"]
    drawn = lines_of(page, "margins")
    assert drawn["A: nearer river"] == pytest.approx(answer["verdict_a"]["margins"], abs=1e-6)
    assert drawn["B: nearer money"] == pytest.approx(answer["verdict_b"]["margins"], abs=1e-6)
    page.get_by_label("Text of B").fill("They fished from the bank of the river.")
    expect(page.locator("#verdict")).to_contain_text("The same sense: “bank”")
    page.get_by_label("Word", exact=True).fill("the")
    expect(page.locator("#verdict")).to_contain_text("there are no reference sentences")
    expect(page.locator("#margins")).to_be_hidden()
    expect(page.locator("#curve")).to_be_visible()


def test_two_lists_of_ones_own_give_the_verdict(page: Page) -> None:
    opened(page, text="The dog ran home.", text_b="The cat ran home.", word="ran")
    page.get_by_text("Reference sentences of your own").click()
    page.get_by_label("The word in one sense").fill("The boy ran fast.\nA horse ran past.")
    page.get_by_label("The word in another sense").fill("She ran a shop.\nHe ran the school.")
    expect(page.locator("#verdict")).to_contain_text("list” sentences")
    expect(page.locator("#curve-note")).to_contain_text("4 sentences of your own")
    page.reload()
    expect(page.locator("#verdict")).to_contain_text("list” sentences")
    page.get_by_label("The word in one sense").fill("The boy was fast.")
    expect(page.get_by_role("alert")).to_contain_text(
        "'ran' is not a word of the sentence: The boy"
    )


def test_heads_that_follow_position_are_marked_and_last(page: Page, server: str) -> None:
    answer = compared(server)
    assert answer["positional"] and not answer["ranked"][0]["positional"]
    cells = opened(page).locator(".compare-map button")
    layer, head = answer["positional"][0]
    marked = page.locator(".compare-map .positional")
    expect(marked).to_have_count(len(answer["positional"]))
    name = re.compile(f"layer {layer}, head {head}: divergence .*, positional")
    expect(marked.first).to_have_accessible_name(name)
    page.get_by_label("Content words only").check()
    of_content = compared(server, content_words=True)
    expect(cells).to_have_text([f"{x:.2f}" for row in of_content["divergence"] for x in row])
    expect(page.locator("#function-words")).to_contain_text(", ".join(of_content["function_words"]))
    expect(page).to_have_url(re.compile("content=1"))
    page.get_by_label("Function words").select_option("Spanish")
    expect(page.locator("#function-words")).to_contain_text(
        "(Spanish): special tokens, marks and he, ."
    )
    page.get_by_label("Function words").select_option("of the model's language")
    first = page.locator("#ranked tbody tr").first
    expect(first).to_contain_text(f"{of_content['ranked'][0]['baseline']:.3f}")


def test_a_click_on_the_map_shows_the_head_of_both(page: Page, server: str) -> None:
    opened(page).get_by_role("button", name="layer 0, head 7").click()
    expect(page.get_by_role("heading", name="Layer 0 · Head 7")).to_be_visible()
    answer = compared(server, layer=0, head=7)
    best = max(answer["row_a"])
    expect(page.locator("#view-a .lines-said")).to_contain_text(f"{best:.3f}")
    expect(page.locator("#view-b .lines-said")).to_contain_text(f"{max(answer['row_b']):.3f}")
    assert (query_of(page)["layer"], query_of(page)["head"]) == ("0", "7")
    drawn = "document.querySelector('#difference .matrix-plot').data?.[0].z"
    is_drawn = f"(value) => Math.abs({drawn}?.[2][0] - value) < 1e-7"
    page.wait_for_function(is_drawn, arg=answer["difference"][2][0])
    assert evaluated(page, drawn)[2] == pytest.approx(answer["difference"][2], abs=1e-6)
    page.go_back()
    expect(page.get_by_role("heading", name="Layer 0 · Head 7")).to_be_hidden()


def test_a_ranked_head_is_one_click_away(page: Page, server: str) -> None:
    answer = compared(server)["ranked"][3]
    opened(page).locator("#ranked tbody th button").nth(3).click()
    title = f"Layer {answer['layer']} · Head {answer['head']}"
    expect(page.get_by_role("heading", name=title)).to_be_visible()


def test_pointing_in_a_shows_the_same_word_in_b(page: Page) -> None:
    opened(page, layer=0, head=7)
    token(page, "a", 4).hover()  # "the", with its partner at 6
    expect(page.locator("#view-b .lines-said")).to_contain_text("the looks most at")
    expect(token(page, "b", 6)).to_have_class(re.compile("active"))
    token(page, "b", 7).hover()
    expect(token(page, "a", 6)).to_have_class(re.compile("active"))


def test_a_locked_word_is_locked_in_both(page: Page) -> None:
    opened(page, layer=0, head=7)
    expect(token(page, "a", 6)).to_have_attribute("aria-pressed", "true")
    expect(token(page, "b", 7)).to_have_attribute("aria-pressed", "true")
    token(page, "a", 4).click()
    expect(token(page, "b", 6)).to_have_attribute("aria-pressed", "true")


def locked(page: Page, run: str) -> Any:
    return page.locator(f"#view-{run} button[aria-pressed=true]")


def test_a_lock_without_a_partner_leaves_the_other_as_it_is(page: Page) -> None:
    opened(page, layer=0, head=7)
    token(page, "a", 3).click()  # "on", which B does not have
    expect(locked(page, "a")).to_have_attribute("data-index", "3")
    expect(token(page, "b", 7)).to_have_attribute("aria-pressed", "true")
    token(page, "a", 4).click()
    expect(token(page, "b", 6)).to_have_attribute("aria-pressed", "true")
    token(page, "b", 10).click()  # "money"
    expect(token(page, "a", 4)).to_have_attribute("aria-pressed", "true")
    token(page, "b", 10).click()
    expect(locked(page, "b")).to_have_count(0)
    expect(token(page, "a", 4)).to_have_attribute("aria-pressed", "true")


def test_the_lock_is_in_the_address(page: Page) -> None:
    opened(page, layer=0, head=7)
    assert not query_of(page).keys() & {"query", "side", "query_b", "side_b"}, "the word is locked"
    token(page, "a", 4).click()
    assert query_of(page).items() >= {"query": "4", "query_b": "6"}.items()
    token(page, "a", 4).click()
    assert query_of(page).items() >= {"query": "none", "query_b": "none"}.items()
    page.reload()
    expect(page.locator("#view-a .lines-said")).to_be_visible()
    expect(locked(page, "a")).to_have_count(0)
    opened(page, layer=0, head=7, query=2, side="key", query_b=8, side_b="key")
    for run, index in (("a", "2"), ("b", "8")):
        expect(locked(page, run)).to_have_attribute("data-index", index)
        expect(locked(page, run)).to_have_attribute("data-side", "key")
    page.get_by_role("button", name="layer 0, head 3").click()
    expect(page.get_by_role("heading", name="Layer 0 · Head 3")).to_be_visible()
    expect(locked(page, "a")).to_have_attribute("data-index", "2")
    page.get_by_label("Text of B").fill("They fished from the bank of the river.")
    expect(page).to_have_url(re.compile("text_b=They\\+fished"))
    assert not query_of(page).keys() & {"query", "query_b"}, "other words, and the word again"


def test_the_alignment_can_be_changed_and_is_in_the_address(page: Page, server: str) -> None:
    opened(page, layer=0, head=7)
    expect(page.locator("#alignment-note")).to_contain_text("5 of 13 words of A have a partner")
    page.locator(".compare-alignment select").nth(10).select_option(label="money")
    expect(page.locator("#alignment-note")).to_contain_text("6 of 13 words of A have a partner")
    pairs = [tuple(map(int, pair.split("-"))) for pair in query_of(page)["align"].split(",")]
    answer = compared(server, align=pairs, layer=0, head=7)
    unaligned = f"{answer['unaligned_a'][0][7]:.2f}"
    expect(page.locator("#stats")).to_contain_text(f"A on words without a partner {unaligned}")
    page.get_by_role("button", name="Align equal words again").click()
    expect(page.locator("#alignment-note")).to_contain_text("5 of 13")
    assert "align" not in query_of(page)


def test_typing_compares_again(page: Page) -> None:
    opened(page)
    page.get_by_label("Text of B").fill("They fished from the bank of the river.")
    expect(page.locator("#view-b")).to_contain_text("fished")
    expect(page).to_have_url(re.compile("text_b=They\\+fished"))


def test_a_word_that_is_not_there_is_named_and_the_picture_stays(page: Page) -> None:
    opened(page)
    page.get_by_label("Word", exact=True).fill("river")
    expect(page.get_by_role("alert")).to_contain_text("'river' is not a word of the text: She")
    expect(page.locator("#view-a")).to_contain_text("watched")
    page.get_by_label("Word in B").fill("money")
    expect(page.get_by_role("alert")).to_be_empty()
    expect(page.locator("#view-b .lines-said")).to_contain_text("money looks most at")


def test_nonsense_in_the_address_is_named_and_put_aside(page: Page) -> None:
    opened(page, layer=99, head="x", align="1", off="zz", kind="cross", query=99, side_b="x")
    for part in ("layer 99", "head x", "align 1", "off zz", "kind cross", "query 99", "side_b x"):
        expect(page.locator("#notice")).to_contain_text(part)
    expect(page.get_by_role("alert")).to_be_empty()
    expect(page.locator(".compare-map button")).to_have_count(72)


def test_words_that_are_not_there_are_named_and_put_aside(page: Page) -> None:
    opened(page, align="99-99", occurrence_a=5)
    for part in ("align 99-99", "occurrence_a 5"):
        expect(page.locator("#notice")).to_contain_text(part)
    expect(page.get_by_role("alert")).to_be_empty()
    expect(page.locator("#alignment-note")).to_contain_text("5 of 13")


def test_a_head_can_be_switched_off_in_b(page: Page) -> None:
    opened(page, text=RIVER, text_b=RIVER, word="bank", off="0.2")
    cells = texts_of(page.locator(".compare-map button"))
    assert cells[:8] == ["0.00"] * 8, "the layer before feels nothing"
    assert any(cell != "0.00" for cell in cells[8:])


def test_spaces_and_other_forms_of_a_word_have_readable_names(page: Page) -> None:
    opened(page, model="gpt", text="le café  noir", text_b="le cafe\u0301  noir", word="noir")
    expect(page.locator("#alignment")).to_contain_text("␣ →")
    ticks = page.locator("#difference .xtick text")
    expect(ticks).to_have_text(["<|endoftext|>", "le", "café", "␣", "noir"])


def test_two_models_are_compared_without_a_curve(page: Page) -> None:
    opened(page, text=RIVER, text_b=RIVER, word="bank", model_b="gpt")
    expect(page.locator("#curve")).to_be_hidden()
    expect(page.locator("#verdict")).to_contain_text("Two models have two spaces")
    expect(page.locator("#view-b")).to_contain_text("<|endoftext|>")


@pytest.mark.parametrize("example", range(len(offered("compare"))))
def test_every_example_works(page: Page, example: int) -> None:
    opened(page)
    page.locator(".examples a").nth(example).click()
    complete(page)
    expect(page.get_by_role("alert")).to_be_empty()
    expect(page.locator("#view-a .lines-said")).to_contain_text("looks most at")


def test_a_picture_can_be_taken_along(page: Page, tmp_path: Path) -> None:
    opened(page, layer=0, head=7)
    with page.expect_download() as download:
        page.get_by_role("button", name="B as SVG").click()
    assert download.value.suggested_filename == "compare-b-bert-L0H7.svg"
    download.value.save_as(tmp_path / "b.svg")
    assert "account" in (tmp_path / "b.svg").read_text()


def drawn(page: Page, query: str) -> Page:
    page.goto(f"/compare{query}")
    complete(page)
    if "nope" not in query:
        page.locator("#difference .xtick text").first.wait_for()
    return page


QUERIES = ["", "?word=nope", "?lang=zh&off=0.2"]


@pytest.mark.parametrize("setting", [LIGHT], ids=["light"])
@pytest.mark.parametrize("query", QUERIES)
def test_axe_finds_no_violation_in_either_theme(page: Page, query: str) -> None:
    assert violations_by_theme(drawn(page, query)) == BOTH_CLEAN


@pytest.mark.parametrize("setting", [PHONE], ids=["phone"])
@pytest.mark.parametrize("query", QUERIES)
def test_a_phone_never_scrolls_sideways_and_axe_finds_no_violation(page: Page, query: str) -> None:
    assert width_of(drawn(page, query)) == 390
    assert violations(page) == []


@pytest.mark.parametrize("setting", [NO_SCRIPT], ids=["no script"])
def test_without_a_script_there_are_numbers(page: Page, server: str) -> None:
    page.goto("/compare")
    answer = compared(server)
    rows = page.locator("#ranked td.n")
    expect(rows).to_have_text([f"{head['divergence']:.3f}" for head in answer["ranked"]])
    expect(page.locator("#by-layer-table td.n")).to_have_text(
        [f"{value:.3f}" for value in answer["similarity"]]
    )
