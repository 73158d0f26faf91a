"""What can be done on the explorer's views: several heads, reductions, sorting, figures, keys."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any
from urllib.parse import urlencode
from xml.etree import ElementTree

import numpy as np
import pytest
from playwright.sync_api import Page, expect

from tests.browser.complete import complete, evaluated, query_of, texts_of
from tests.browser.exploring import RIVER, SVG, Explore, api, option, saved, three
from tests.browser.screens import BOTH_CLEAN, CHINESE, LIGHT, PHONE, violations, violations_by_theme


def bank(page: Page) -> Any:
    return page.get_by_role("group", name="query tokens").get_by_role("button").nth(6)


def numbers(page: Page) -> list[str]:
    return texts_of(page.locator(".lines-column.key .n"))


# Several heads at once.


def test_heads_of_the_address_are_drawn_together(explore: Explore, server: str) -> None:
    page = explore(model="bert", text=RIVER, layer=2, head=3, heads="0.2,4.1", query=6, threshold=0)
    rows = [
        api(server, "attention", layer=layer, head=head)["attn"][0][0][6]
        for layer, head in ((2, 3), (0, 2), (4, 1))
    ]
    expect(page.locator(".lines-keys li")).to_have_count(3)
    assert numbers(page) == three([max(values) for values in zip(*rows, strict=True)])
    expect(page.locator(".lines-said")).to_contain_text("L0 H2: bank looks most at")


def test_shift_adds_a_head_and_its_key_takes_it_away(explore: Explore) -> None:
    page = explore(model="bert", text=RIVER, layer=2, head=3)
    grid = page.get_by_role("grid")
    for key in ("ArrowUp", "ArrowLeft", "Shift+Enter"):
        grid.press(key)
    expect(page.locator(".lines-keys li")).to_have_text([re.compile("L2 H3"), re.compile("L1 H2")])
    assert query_of(page)["heads"] == "1.2"
    page.locator(".lines-keys").get_by_role("button").first.click()
    expect(page.get_by_role("heading", name="Layer 1 · Head 2")).to_be_visible()
    assert "heads" not in query_of(page)


def test_a_touch_adds_heads_too(explore: Explore) -> None:
    page = explore(model="bert", text=RIVER, layer=0, head=0)
    page.get_by_role("button", name="Add heads").click()
    grid = page.get_by_role("grid")
    grid.press("ArrowRight")
    grid.press("Enter")
    expect(page.locator(".lines-keys li")).to_have_count(2)


@pytest.mark.parametrize(
    ("toolbar", "index", "first", "n"), [("Layers", 4, "L4 H1", 8), ("Heads", 5, "L2 H5", 6)]
)
def test_a_heading_shows_its_row_or_column(
    explore: Explore, toolbar: str, index: int, first: str, n: int
) -> None:
    page = explore(model="bert", text=RIVER, layer=2, head=1)
    page.get_by_role("toolbar", name=toolbar).get_by_role("button").nth(index).click()
    keys = page.locator(".lines-keys li")
    expect(keys).to_have_count(n)
    expect(keys.first).to_contain_text(first)


def test_never_more_than_eight_heads(explore: Explore) -> None:
    page = explore(model="bert", text=RIVER, layer=4, head=1)
    page.get_by_role("toolbar", name="Layers").get_by_role("button").nth(4).click()
    expect(page.locator(".lines-keys li")).to_have_count(8)
    grid = page.get_by_role("grid")
    grid.press("ArrowUp")
    grid.press("Shift+Enter")
    expect(page.locator(".lines-keys li").last).to_contain_text("L3 H1")
    expect(page.locator(".lines-keys li")).to_have_count(8)


BLIND = {  # Machado et al. 2009, full protanopia, deuteranopia and tritanopia; rows of RGB
    "none": [[1, 0, 0], [0, 1, 0], [0, 0, 1]],
    "protan": [
        [0.152286, 1.052583, -0.204868],
        [0.114503, 0.786281, 0.099216],
        [-0.003882, -0.048116, 1.051998],
    ],
    "deutan": [
        [0.367322, 0.860646, -0.227968],
        [0.280085, 0.672501, 0.047413],
        [-0.01182, 0.04294, 0.968881],
    ],
    "tritan": [
        [1.255528, -0.076749, -0.178779],
        [-0.078411, 0.930809, 0.147602],
        [0.004733, 0.691367, 0.3039],
    ],
}


TO_LMS = [
    [0.4122214708, 0.5363325363, 0.0514459929],
    [0.2119034982, 0.6806995451, 0.1073969566],
    [0.0883024619, 0.2817188376, 0.6299787005],
]


TO_LAB = [
    [0.2104542553, 0.793617785, -0.0040720468],
    [1.9779984951, -2.428592205, 0.4505937099],
    [0.0259040371, 0.7827717662, -0.808675766],
]


def oklab(hues: list[str], blind: list[list[float]]) -> Any:
    """Colours as an eye sees them, in Ottosson's OKLab: (n, 3)."""
    srgb = np.array([[int(hue[i : i + 2], 16) / 255 for i in (1, 3, 5)] for hue in hues])
    linear = np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)
    seen = np.clip(linear @ np.array(blind).T, 0, 1)
    return np.cbrt(seen @ np.array(TO_LMS).T) @ np.array(TO_LAB).T


@pytest.mark.parametrize("sight", BLIND)
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_eight_hues_are_told_apart_by_every_eye(page: Page, sight: str, theme: str) -> None:
    page.goto("/healthz")
    hues = evaluated(page, "async () => (await import('/static/js/lib/color.js')).HUES")[theme]
    seen = oklab(hues, BLIND[sight])
    apart = np.linalg.norm(seen[:, None] - seen[None], axis=-1) + np.eye(8)
    assert len(hues) == 8
    assert apart.min() > 0.1


# What is drawn of a head.


@pytest.mark.parametrize(
    ("name", "reduce", "title"),
    [
        ("mean of all", "mean_heads", "Layer 2 · mean of its heads"),
        ("largest of all", "max_heads", "Layer 2 · largest of its heads"),
        ("rollout", "rollout", "Rollout · layers 0 to 2"),
    ],
)
def test_reductions_are_the_api_s(
    explore: Explore, server: str, name: str, reduce: str, title: str
) -> None:
    page = explore(model="bert", text=RIVER, layer=2, head=3, query=6, threshold=0)
    page.get_by_role("radio", name=name, exact=True).check()
    expect(page.get_by_role("heading", name=title)).to_be_visible()
    layer = "0,1,2" if reduce == "rollout" else "2"
    [[row]] = api(server, "attention", layer=layer, reduce=reduce)["attn"]
    assert numbers(page) == three(row[6])
    assert query_of(page)["reduce"] == reduce


def test_the_matrix_shows_scores_before_the_softmax(explore: Explore, server: str) -> None:
    page = explore(model="bert", text=RIVER, layer=2, head=3, view="matrix")
    option(page, "Numbers").select_option("scores")
    expect(page).to_have_url(re.compile("quantity=scores"))
    for key in ("ArrowDown", "ArrowDown", "ArrowRight"):
        page.locator(".matrix").press(key)
    [[rows]] = api(server, "attention", layer=2, head=3, quantity="scores")["attn"]
    expect(page.locator(".matrix-said")).to_contain_text(f"{rows[1][1]:.3f}")
    option(page, "Words").select_option("words")  # scores are not summed: attention again
    expect(option(page, "Numbers")).to_have_value("attn")


def test_only_the_top_of_each_row(explore: Explore, tmp_path: Path) -> None:
    page = explore(model="bert", text=RIVER, layer=2, head=3, threshold=0, top=2)
    drawn = ElementTree.parse(saved(page, "SVG", tmp_path)).getroot().iter(f"{SVG}path")
    assert len(list(drawn)) == 2 * 13


@pytest.mark.parametrize(("segments", "q", "k"), [("ab", 0, 1), ("ba", 1, 0), ("bb", 1, 1)])
def test_lines_between_two_sentences(
    explore: Explore, server: str, segments: str, q: int, k: int, tmp_path: Path
) -> None:
    pair = {"text": "The cat slept.", "text_pair": "It snored."}
    page = explore(model="bert", **pair, layer=1, head=2, threshold=0.02)
    option(page, "Between").select_option(segments)
    expect(page).to_have_url(re.compile(f"segments={segments}"))
    answer = api(server, "attention", **pair, layer=1, head=2)
    segment = [token["segment"] for token in answer["q_tokens"]]
    [[rows]] = answer["attn"]
    expected = sum(
        value >= 0.02 and (segment[i], segment[j]) == (q, k)
        for i, row in enumerate(rows)
        for j, value in enumerate(row)
    )
    root = ElementTree.parse(saved(page, "SVG", tmp_path)).getroot()
    assert len(list(root.iter(f"{SVG}path"))) == expected


def test_the_colours_have_a_range_and_a_logarithm(explore: Explore, server: str) -> None:
    page = explore(model="bert", text=RIVER, layer=2, head=3, view="matrix", low=0.1, high=0.3)
    page.locator(".matrix .xtick text").first.wait_for()
    trace = "(({zmin, zmax, customdata}) => ({zmin, zmax, customdata}))"
    trace += "(document.querySelector('.matrix-plot').data[0])"
    values = evaluated(page, trace)
    assert (values["zmin"], values["zmax"]) == (0.1, 0.3)
    option(page, "Scale").select_option("log")
    expect(page).to_have_url(re.compile("scale=log"))
    page.wait_for_function("document.querySelector('.matrix-plot').data[0].customdata")
    [[rows]] = api(server, "attention", layer=2, head=3)["attn"]
    assert evaluated(page, trace)["customdata"][6] == pytest.approx(rows[6], abs=1e-6)


TICKS = """[...document.querySelectorAll(".matrix .ytick text")].map((el) => {
  const {top, bottom} = el.getBoundingClientRect();
  return [top, bottom];
})"""


def test_a_crowded_axis_is_thinned_and_a_zoom_brings_labels_back(explore: Explore) -> None:
    page = explore(model="bert", text="the bank of the river " * 30, view="matrix")
    labels = page.locator(".matrix .ytick text")
    labels.first.wait_for()
    boxes = sorted(box for box in evaluated(page, TICKS) if box[0] < box[1])
    assert 10 < len(boxes) < 60
    assert all(end <= start + 1 for (_, end), (start, _) in zip(boxes, boxes[1:], strict=False))
    step = "document.querySelector('.matrix-plot')._fullLayout.yaxis.dtick"
    before = evaluated(page, step)
    zoom = "Plotly.relayout(document.querySelector('.matrix-plot'), {'yaxis.range': [9.5, -0.5]})"
    evaluated(page, zoom)
    page.wait_for_function(f"{step} === 1")
    assert before > 1


# Keys, full screen, languages, accessibility.


def test_the_page_s_own_keys(explore: Explore) -> None:
    page = explore(model="bert", text=RIVER)
    page.keyboard.press("?")
    expect(page.get_by_role("dialog", name="Keys and clicks")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_be_hidden()
    page.keyboard.press("/")
    field = page.get_by_role("textbox", name="Text", exact=True)
    expect(field).to_be_focused()
    field.press("End")
    page.keyboard.type("?/f")
    expect(field).to_have_value(f"{RIVER}?/f")
    expect(page.get_by_role("dialog")).to_be_hidden()


def test_full_screen_and_back(explore: Explore) -> None:
    page = explore(model="bert", text=RIVER)
    page.get_by_role("button", name="Full screen").click()
    page.wait_for_function("document.fullscreenElement?.id === 'picture'")
    page.keyboard.press("f")
    page.wait_for_function("document.fullscreenElement === null")


@pytest.mark.parametrize("setting", [CHINESE], ids=["Chinese"])
def test_the_page_speaks_chinese(explore: Explore) -> None:
    page = explore(model="bert", text=RIVER, layer=2, head=3, query=6)
    expect(page.get_by_role("heading", name="第 2 层 · 第 3 头")).to_be_visible()
    expect(page.get_by_text("bank 最关注")).to_be_visible()
    page.get_by_role("tab", name="表格").click()
    page.get_by_role("link", name="English").click()
    expect(page.get_by_role("tab", name="Table")).to_have_attribute("aria-selected", "true")
    assert query_of(page)["lang"] == "en"


AXE_PAGES = [
    *(f"/explore?{urlencode({'text': RIVER, 'query': 6, 'view': view})}"
      for view in ("lines", "matrix", "tokens", "anatomy", "table")),
    f"/explore?{urlencode({'text': RIVER, 'heads': '0.2,4.1', 'layer': 2, 'metric': 'entropy'})}",
    "/explore?model=translator&text=El+banco.&kind=cross&view=tokens",
    "/explore?text=&layer=99",
    "/models",
    "/models/gpt",
    "/models/nope",
]  # fmt: skip


@pytest.mark.parametrize("setting", [LIGHT, PHONE], ids=["light", "phone"])
@pytest.mark.parametrize("path", AXE_PAGES)
def test_axe_finds_no_violation(page: Page, path: str, setting: dict[str, object]) -> None:
    page.goto(path)
    if path.startswith("/explore") and "99" not in path:
        complete(page)
    if "matrix" in path:
        page.locator(".matrix .xtick text").first.wait_for()
    if setting is LIGHT:
        assert violations_by_theme(page) == BOTH_CLEAN
    else:
        assert violations(page) == []


@pytest.mark.parametrize("setting", [PHONE], ids=["phone"])
def test_a_touch_locks_a_token(explore: Explore) -> None:
    page = explore(model="bert", text=RIVER)
    bank(page).tap()
    expect(bank(page)).to_have_attribute("aria-pressed", "true")
    expect(page.get_by_text("bank looks most at")).to_be_visible()
