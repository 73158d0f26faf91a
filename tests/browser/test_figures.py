"""Pictures to take along: what they name, their scales, and that they are full and whole."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlencode
from urllib.request import urlopen
from xml.etree import ElementTree

import pytest
from playwright.sync_api import Page, expect

from tests.browser.complete import evaluated, texts_of

RIVER = "He sat on the river bank and watched the water."
SVG = "{http://www.w3.org/2000/svg}"
SEVERAL = {"model": "bert", "text": RIVER, "layer": 2, "head": 3}

Explore = Callable[..., Page]


def attention(server: str, **query: object) -> Any:
    spec = {"model": "bert", "text": RIVER, **query}
    with urlopen(f"{server}/api/v1/attention?{urlencode(spec)}") as answer:
        [[rows]] = json.load(answer)["attn"]
    return rows


def saved(page: Page, button: str, tmp_path: Path) -> Path:
    with page.expect_download() as download:
        page.locator("#foot").get_by_role("button", name=button, exact=True).click()
    path = tmp_path / download.value.suggested_filename
    download.value.save_as(path)
    return path


def texts(path: Path) -> list[str]:
    return [el.text or "" for el in ElementTree.parse(path).getroot().iter(f"{SVG}text")]


@pytest.mark.parametrize(
    ("heads", "title"),
    [("2.5,2.0", "Layer 2 · Heads 3, 5, 0"), ("0.2,4.1", "Heads L2 H3, L0 H2, L4 H1")],
)
def test_every_head_that_is_drawn_is_named(
    explore: Explore, heads: str, title: str, tmp_path: Path
) -> None:
    page = explore(**SEVERAL, heads=heads)
    expect(page.locator("#head-title")).to_have_text(title)
    expect(page.locator("#foot")).to_contain_text(title)
    expect(page.locator("#foot")).to_contain_text("L2 H3 alone:")
    expect(page.locator("#stats")).to_contain_text("L2 H3:entropy")
    head = page.get_by_role("combobox", name="Head", exact=True)
    expect(head.locator("option:checked")).to_have_text("3 and 2 more")
    expect(page.get_by_role("radio", name="3 chosen", exact=True)).to_be_checked()
    result = " ".join(texts(saved(page, "SVG", tmp_path)))
    assert f"{title} · bert" in result
    assert re.search(f"bert · weights .* · {title} · encoder", result)
    page.get_by_role("tab", name="Matrix").click()
    expect(page.locator("#head-title")).to_have_text("Layer 2 · Head 3")


@pytest.mark.parametrize("side", ["query", "key"])
@pytest.mark.parametrize("heads", ["", "0.2,4.1"])
def test_a_figure_of_lines_keeps_the_weights_on_screen(
    explore: Explore, heads: str, side: str, tmp_path: Path
) -> None:
    page = explore(**SEVERAL, heads=heads, query=6, side=side)
    other = {"query": "key", "key": "query"}[side]
    shown = texts_of(page.locator(f".lines-column.{other} .n"))
    numbers = [text for text in texts(saved(page, "SVG", tmp_path)) if re.match(r"0\.\d{3}$", text)]
    assert numbers == [text for text in shown if text]
    assert len(numbers) > 1


def test_all_heads_are_named_as_all_and_have_a_scale(explore: Explore, tmp_path: Path) -> None:
    page = explore(model="gpt", text="Once upon a time, there was a king", layer=2, head=3)
    result = texts(saved(page, "All heads as SVG", tmp_path))
    whole = " ".join(result)
    assert "layers × heads: 6 × 8 · decoder attention" in whole
    assert "Head 3" not in whole
    assert "attention  0" in result
    assert {"1", "masked"} <= set(result)


def test_a_figure_says_when_its_pixels_are_of_several_tokens(
    explore: Explore, tmp_path: Path
) -> None:
    page = explore(model="bert", text="the bank of the river " * 30)
    whole = " ".join(texts(saved(page, "All heads as SVG", tmp_path)))
    assert "152 × 152 tokens as" in whole


BOXES = """(svg) => {
  const box = document.body.appendChild(document.createElement("div"));
  box.innerHTML = svg;
  const picture = box.firstElementChild;
  const {left, top, width, height} = picture.getBoundingClientRect();
  const of = (el) => {
    const r = el.getBoundingClientRect();
    return [r.left - left, r.top - top, r.right - left, r.bottom - top];
  };
  const parts = [...picture.querySelectorAll("text, image")].map(of);
  return {width, height, parts, drawing: of(picture.querySelector(".drawing"))};
}"""


@pytest.mark.parametrize("text", ["The bank of the river", RIVER, "他坐在河岸上，望着水面。"])
@pytest.mark.parametrize("view", ["lines", "matrix", "tokens", "anatomy", "grid"])
def test_a_figure_is_full_and_nothing_of_it_is_cut(
    explore: Explore, view: str, text: str, tmp_path: Path
) -> None:
    shown = "lines" if view == "grid" else view
    page = explore(model="bert", text=text, view=shown, query=2, heads="0.1,0.2,1.1,1.2,3.3,4.4")
    button = "All heads as SVG" if view == "grid" else "SVG"
    values = evaluated(page, BOXES, saved(page, button, tmp_path).read_text("utf-8"))
    for left, top, right, bottom in values["parts"]:
        assert left >= 0 and top >= 0
        assert right <= values["width"] and bottom <= values["height"]
    left, _, right, _ = values["drawing"]
    assert right - left > 0.5 * values["width"], "no half of it is blank"
