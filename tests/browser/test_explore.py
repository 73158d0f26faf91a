"""The explorer in a real Chromium, on the bundled models, against the API's own numbers."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from urllib.error import HTTPError
from urllib.parse import urlencode
from urllib.request import urlopen

import pytest
from playwright.sync_api import Page, expect

from tests.browser.complete import attribute_of, evaluated, query_of, screenshot, texts_of, width_of
from tests.browser.exploring import (
    RIVER,
    Explore,
    api,
    option,
    point_at_head,
    text_field,
    token,
    tokens,
)
from tests.browser.screens import DARK, LIGHT, NO_SCRIPT, PHONE

DOCS = Path(__file__).parents[2] / "docs"


def head_of(server: str, text: str, layer: int, head: int) -> list[list[float]]:
    """The API's attention of one head of BERT: rows of numbers."""
    spec = {"model": "bert", "text": text, "layer": layer, "head": head}
    rows: list[list[float]] = api(server, "attention", **spec)["attn"][0][0]
    return rows


RUNS = """([x, y]) => {
  const canvas = document.querySelector("[role=grid] canvas");
  const {width, height} = canvas;
  const {data} = canvas.getContext("2d").getImageData(0, 0, width, height);
  const opaque = (i) => data[4 * i + 3] === 255;
  const count = (indices) => indices.filter((i, n) => opaque(i) && !opaque(indices[n - 1])).length;
  const row = Array.from({length: width - x}, (_, i) => (height + y) * width + x + i);
  const column = Array.from({length: height}, (_, i) => i * width + x);
  const shades = new Set(new Uint32Array(data.buffer)).size;
  return {heads: count(row), layers: count(column), shades};
}"""


def test_the_grid_shows_every_head(explore: Explore) -> None:
    values = evaluated(explore(model="bert", text=RIVER), RUNS, [26, -10])
    assert (values["layers"], values["heads"]) == (6, 12)
    assert values["shades"] > 20, "they are pictures, not blank squares"


def test_a_click_picks_a_head(explore: Explore) -> None:
    page = explore(model="bert", text=RIVER)
    page.get_by_role("grid").click(position=point_at_head(page, 3, 5))
    expect(page.get_by_role("heading", name="Layer 3 · Head 5")).to_be_visible()
    assert query_of(page)["layer"] == "3"
    assert query_of(page)["head"] == "5"


def test_arrow_keys_and_enter_pick_a_head(explore: Explore) -> None:
    page = explore(model="bert", text=RIVER, layer=1, head=1)
    grid = page.get_by_role("grid")
    for key in ("ArrowDown", "ArrowRight", "ArrowRight"):
        grid.press(key)
    expect(page.get_by_role("gridcell")).to_have_accessible_name("layer 2, head 3")
    expect(page.get_by_text("L2 H3")).to_be_visible()
    grid.press("Enter")
    expect(page.get_by_role("heading", name="Layer 2 · Head 3")).to_be_visible()
    expect(page.get_by_role("gridcell")).to_have_accessible_name("layer 2, head 3, chosen")


def test_hover_enlarges_a_head(explore: Explore) -> None:
    page = explore(model="bert", text=RIVER)
    page.get_by_role("grid").hover(position=point_at_head(page, 4, 2))
    expect(page.get_by_text("L4 H2")).to_be_visible()
    page.mouse.move(5, 5)
    expect(page.get_by_text("L4 H2")).to_be_hidden()


def test_lines_show_the_numbers_of_the_api(explore: Explore, server: str) -> None:
    page = explore(model="bert", text=RIVER, layer=2, head=3, threshold=0)
    token(page, "query", 6).hover()
    row = head_of(server, RIVER, 2, 3)[6]
    expect(page.locator(".lines-column.key .n")).to_have_text([f"{a:.3f}" for a in row])


def test_a_key_shows_who_looks_at_it(explore: Explore, server: str) -> None:
    page = explore(model="bert", text=RIVER, layer=2, head=3, threshold=0)
    token(page, "key", 6).focus()
    column = [row[6] for row in head_of(server, RIVER, 2, 3)]
    page.keyboard.press("ArrowUp")
    page.keyboard.press("ArrowDown")
    expect(page.locator(".lines-column.query .n")).to_have_text([f"{a:.3f}" for a in column])


def test_numbers_below_the_threshold_are_left_out(explore: Explore, server: str) -> None:
    page = explore(model="bert", text=RIVER, layer=2, head=3)
    page.get_by_label("Threshold", exact=True).fill("0.08")
    token(page, "query", 6).hover()
    row = head_of(server, RIVER, 2, 3)[6]
    expected = [f"{a:.3f}" if a >= 0.08 else "" for a in row]
    expect(page.locator(".lines-column.key .n")).to_have_text(expected)
    assert query_of(page)["threshold"] == "0.08"


def test_the_matrix_shows_the_number_of_the_api(explore: Explore, server: str) -> None:
    page = explore(model="bert", text=RIVER, layer=2, head=3, view="matrix")
    page.locator(".matrix .xtick text").first.wait_for()
    page.locator(".matrix .nsewdrag").hover()  # its middle: of 13 tokens, number 6
    value = head_of(server, RIVER, 2, 3)[6][6]
    expect(page.locator(".hoverlayer")).to_contain_text("query bank")
    expect(page.locator(".hoverlayer")).to_contain_text(f"attention {value:.3f}")


def test_the_matrix_names_its_axes_and_reads_to_the_keyboard(explore: Explore, server: str) -> None:
    page = explore(model="bert", text=RIVER, layer=2, head=3, view="matrix")
    expect(page.locator(".xtitle")).to_have_text("key")
    expect(page.locator(".ytitle")).to_have_text("query")
    for key in ("ArrowDown", "ArrowDown", "ArrowRight"):
        page.locator(".matrix").press(key)
    value = head_of(server, RIVER, 2, 3)[1][1]
    expect(page.locator(".matrix-said")).to_have_text(
        f"he looks at he: {value:.3f}", ignore_case=True
    )


def test_masked_cells_are_absent_from_the_matrix(explore: Explore) -> None:
    page = explore(model="gpt", text="Once upon a time", view="matrix")
    page.locator(".matrix .xtick text").first.wait_for()
    z = evaluated(page, "document.querySelector('.matrix-plot').data[0].z")
    assert all((cell is None) == (k > q) for q, row in enumerate(z) for k, cell in enumerate(row))


def test_masked_keys_have_no_number(explore: Explore) -> None:
    page = explore(model="gpt", text="a b c", threshold=0, query=1)
    shown = texts_of(page.locator(".lines-column.key .n"))
    assert [text != "" for text in shown] == [True, True, False, False]


def test_the_table_has_the_locked_row_sorted(explore: Explore, server: str) -> None:
    page = explore(model="bert", text=RIVER, layer=2, head=3, view="table", query=6)
    row = head_of(server, RIVER, 2, 3)[6]
    cells = page.locator("#view tbody td:last-child")
    expect(cells).to_have_text([f"{a:.4f}" for a in sorted(row, reverse=True)])


def test_the_first_numbers_agree_with_the_api(explore: Explore, server: str) -> None:
    page = explore(model="bert", text=RIVER, layer=2, head=3)
    rows = head_of(server, RIVER, 2, 3)
    first = sum(row[0] for row in rows) / len(rows)
    expect(page.locator("#stats")).to_contain_text(f"first token {first:.2f}")


def tab_to(page: Page, selector: str) -> None:
    """Press Tab until the focus is there; 40 stops are more than there are."""
    for _ in range(40):
        page.keyboard.press("Tab")
        if evaluated(page, "(selector) => document.activeElement.matches(selector)", selector):
            return
    raise AssertionError(f"Tab does not come to {selector}")


def test_everything_works_by_keyboard_alone(explore: Explore) -> None:
    page = explore(model="bert", text=RIVER)
    text_field(page).focus()
    tab_to(page, "[role=grid]")
    for key in ("ArrowDown", "ArrowRight", "Enter"):
        page.keyboard.press(key)
    expect(page.get_by_role("heading", name="Layer 1 · Head 1")).to_be_visible()
    tab_to(page, "[role=tab]")
    for _ in range(5):  # round to Lines again
        page.keyboard.press("ArrowRight")
    expect(page.get_by_role("tab", name="Lines")).to_be_focused()
    tab_to(page, ".lines-column button")
    for key in ("ArrowDown", "ArrowRight", "Enter"):
        page.keyboard.press(key)
    assert query_of(page)["side"] == "key"
    expect(page.locator(".lines-column [aria-pressed=true]")).to_be_focused()


@pytest.mark.parametrize(
    "text", ["👩‍👩‍👧 😀", "שלום العالم", "他坐在河岸上。", "e\u0301a\u0308 क्षि"]
)
@pytest.mark.parametrize("model", ["bert", "gpt", "translator", "recurrent"])
def test_every_script_is_shown_as_what_it_is(explore: Explore, model: str, text: str) -> None:
    page = explore(model=model, text=text)
    expect(text_field(page)).to_have_value(text)
    shown = tokens(page, "query")
    assert len(shown) > 2
    assert all(re.search(r"\S", token) and "\ufffd" not in token for token in shown)


def test_an_unknown_piece_is_marked_and_shown_as_its_text(explore: Explore) -> None:
    page = explore(model="bert", text="the 😀 bank")
    unknown = page.locator(".lines-column.query .token.unknown")
    expect(unknown).to_have_text("😀 (unknown)")
    expect(unknown).to_have_attribute("title", re.compile(r"\[UNK\]"))


def test_the_translator_decodes_and_shows_three_kinds(explore: Explore) -> None:
    page = explore(model="translator", text="El banco está cerrado.")
    expect(page.locator("#predictions")).to_contain_text("decoded by the model")
    option(page, "Attention").select_option("cross")
    expect(page).to_have_url(re.compile("kind=cross"))
    assert "<s>" in tokens(page, "query")
    assert "banco" in "".join(tokens(page, "key"))
    page.get_by_role("textbox", name="Target").fill("The bank is closed.")
    expect(page.locator("#predictions")).to_contain_text("given")


def test_two_sentences_say_whether_the_second_follows(explore: Explore) -> None:
    page = explore(model="bert", text="The cat [MASK].", text_pair="It slept.")
    expect(page.locator("#predictions")).to_contain_text("[MASK] at 3")
    expect(page.locator("#predictions")).to_contain_text("The second sentence follows the first")


def test_an_example_is_one_click_away(explore: Explore) -> None:
    page = explore(model="gpt", text="Once")
    page.get_by_role("link", name="river bank").click()
    expect(text_field(page)).to_have_value(RIVER)
    expect(page.get_by_label("Model")).to_have_value("bert")
    expect(page).to_have_url(re.compile("model=bert"))


def test_words_and_special_tokens_can_be_merged_and_hidden(explore: Explore) -> None:
    page = explore(model="gpt", text="Unbelievable riverbanks", query=1)
    option(page, "Words").select_option("words")
    option(page, "Special tokens").select_option("renormalise")
    expect(page.locator(".lines-column.key .token")).to_have_text(["Unbelievable", "riverbanks"])
    expect(page).to_have_url(re.compile("special=renormalise"))


def test_plotly_comes_only_with_the_matrix(explore: Explore) -> None:
    page = explore(model="bert", text=RIVER)
    assert evaluated(page, "globalThis.Plotly === undefined")
    page.get_by_role("tab", name="Matrix").click()
    page.locator(".matrix .xtick text").first.wait_for()
    assert evaluated(page, "globalThis.Plotly !== undefined")


def test_the_ways_out_lead_to_the_numbers_on_screen(explore: Explore, server: str) -> None:
    page = explore(model="bert", text=RIVER, layer=2, head=3)
    link = attribute_of(page.locator("#foot").get_by_role("link", name="json"), "href")
    with urlopen(f"{server}{link}") as answer:
        assert json.load(answer)["attn"][0][0] == head_of(server, RIVER, 2, 3)


def test_the_theme_can_be_chosen_and_is_in_the_address(explore: Explore) -> None:
    page = explore(model="bert", text=RIVER)
    page.get_by_role("button", name="Dark theme").click()
    expect(page.locator("html")).to_have_attribute("data-theme", "dark")
    assert query_of(page)["theme"] == "dark"
    page.reload()
    expect(page.locator("html")).to_have_attribute("data-theme", "dark")


CONTRAST = """() => {
  const canvas = document.createElement("canvas").getContext("2d", {willReadFrequently: true});
  const bytes = (color) => {
    canvas.fillStyle = color;
    canvas.fillRect(0, 0, 1, 1);
    return Array.from(canvas.getImageData(0, 0, 1, 1).data.slice(0, 3), (c) => {
      const x = c / 255;
      return x <= 0.04045 ? x / 12.92 : ((x + 0.055) / 1.055) ** 2.4;
    });
  };
  const share = [0.2126, 0.7152, 0.0722];
  const light = (color) => bytes(color).reduce((sum, c, i) => sum + c * share[i], 0);
  const behind = (el) => {
    const color = getComputedStyle(el).backgroundColor;
    const clear = color === "transparent" || color.endsWith(", 0)");
    return clear && el.parentElement ? behind(el.parentElement) : color;
  };
  return [...document.querySelectorAll("main *")].filter((el) => el.childNodes.length
      && el.childNodes[0].nodeType === 3 && el.textContent.trim() && el.checkVisibility())
    .map((el) => {
      const [ink, paper] = [getComputedStyle(el).color, behind(el)].map(light);
      return (Math.max(ink, paper) + 0.05) / (Math.min(ink, paper) + 0.05);
    });
}"""


@pytest.mark.parametrize("setting", [LIGHT, DARK], ids=["light", "dark"])
def test_all_text_can_be_read(explore: Explore) -> None:
    ratios = evaluated(explore(model="bert", text=RIVER, query=6), CONTRAST)
    assert len(ratios) > 40
    assert min(ratios) >= 4.5


@pytest.mark.parametrize("setting", [PHONE], ids=["phone"])
@pytest.mark.parametrize("view", ["lines", "matrix", "tokens", "anatomy", "table"])
def test_a_phone_never_scrolls_sideways(explore: Explore, view: str) -> None:
    page = explore(model="gpt", text=RIVER, view=view)
    page.locator("#view .numbers, #view .xtick text, #view button").first.wait_for()
    assert width_of(page) == 390


@pytest.mark.parametrize("setting", [PHONE], ids=["phone"])
def test_everything_to_touch_is_as_large_as_a_finger(explore: Explore) -> None:
    page = explore(model="translator", text="El banco está cerrado.")
    heights = evaluated(
        page,
        """[...document.querySelectorAll("button, select, a, .field")]
        .filter((el) => el.checkVisibility() && !el.matches(".skip"))
        .map((el) => [el.textContent.trim(), el.getBoundingClientRect().height,
          el.matches(".grid-headings *") ? 24 : 44])""",  # WCAG 2.2: 24 is enough, 44 is better
    )
    assert [name for name, height, least in heights if height < least] == []


@pytest.mark.parametrize("path", ["/explore", "/api/v1/run"])
def test_an_address_of_100000_characters_is_told_the_limit(server: str, path: str) -> None:
    with pytest.raises(HTTPError) as refused:
        urlopen(f"{server}{path}?model=bert&text={'x' * 100_000}")
    assert refused.value.code == 422
    limit = "the text has 100000 characters; at most 20000 are taken"
    assert limit in refused.value.read().decode()


@pytest.mark.parametrize("setting", [NO_SCRIPT], ids=["no script"])
def test_without_a_script_there_are_tokens_and_numbers(page: Page, server: str) -> None:
    page.goto(f"/explore?{urlencode({'model': 'bert', 'text': RIVER, 'layer': 2, 'head': 3})}")
    most = [max(row) for row in head_of(server, RIVER, 2, 3)]
    expect(page.locator("#view td.n")).to_have_text([f"{a:.3f}" for a in most])
    expect(page.locator("ol.tokens li").nth(6)).to_have_text("bank")
    page.get_by_role("link", name="L4 H1", exact=True).click()
    expect(page.get_by_role("heading", name="Layer 4 · Head 1")).to_be_visible()
    text_field(page).fill("the </textarea> bank")
    page.get_by_role("button", name="Show").click()
    expect(text_field(page)).to_have_value("the </textarea> bank")


@pytest.mark.parametrize(
    ("setting", "name"), [(LIGHT, "light"), (DARK, "dark")], ids=["light", "dark"]
)
def test_the_picture_of_the_readme(explore: Explore, name: str, tmp_path: Path) -> None:
    page = explore(model="bert", text=RIVER, layer=2, head=0, query=6)
    expect(page.get_by_text("bank looks most at")).to_be_visible()
    folder = DOCS if os.environ.get("UPDATE_PICTURES") == "1" else tmp_path
    picture = screenshot(page, folder / f"explore-{name}.png")
    assert picture.startswith(b"\x89PNG") and len(picture) > 30_000
    paper = evaluated(page, "getComputedStyle(document.body).backgroundColor")
    assert paper == {"light": "oklch(0.988 0.003 95)", "dark": "oklch(0.175 0.012 270)"}[name]


def test_a_line_says_whether_attention_and_effect_agree(page: Page, server: str) -> None:
    text = "The river bank was full of [MASK]."
    page.goto(f"/explore?{urlencode({'model': 'bert', 'text': text, 'layer': 5, 'head': 10})}")
    line = page.locator("#honesty")
    expect(line).to_contain_text(re.compile("Attention and effect .*agree"))
    expect(line).to_contain_text("at “[MASK]”")
    expect(line.get_by_role("link")).to_have_attribute(
        "href", re.compile(r"/lab\?.*how=zero.*layer=5&head=10")
    )
    page.locator("textarea[name=text]").fill("He sat down.")
    expect(line).to_be_empty()
