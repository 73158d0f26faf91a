"""Explore's files: SVG, PNG, CSV, and a page that stands alone."""

from __future__ import annotations

import re
from pathlib import Path
from xml.etree import ElementTree

import pytest
from playwright.sync_api import expect

from tests.browser.complete import count_of
from tests.browser.exploring import RIVER, SVG, Explore, api, saved, three


def test_an_svg_of_the_lines_says_all_that_a_figure_must(explore: Explore, tmp_path: Path) -> None:
    page = explore(model="bert", text=RIVER, layer=2, head=3, query=6)
    path = saved(page, "SVG", tmp_path)
    assert path.name == "bert-encoder-L2H3-lines.svg"
    texts = [el.text for el in ElementTree.parse(path).getroot().iter(f"{SVG}text")]
    assert {"Layer 2 · Head 3 · bert", RIVER, "query", "key", "bank", "[SEP]"} <= set(texts)
    assert re.search(r"weights .* Attention Atlas", " ".join(text for text in texts if text))


def test_an_svg_of_the_matrix_has_a_cell_for_each_number(explore: Explore, tmp_path: Path) -> None:
    page = explore(model="gpt", text="Once upon a time", view="matrix", theme="dark")
    root = ElementTree.parse(saved(page, "SVG", tmp_path)).getroot()
    cells = sum(path.attrib["d"].count("z") for path in root.iter(f"{SVG}path"))
    assert cells == 5 * 5


@pytest.mark.parametrize("view", ["tokens", "anatomy", "table"])
def test_every_view_can_be_taken_along(explore: Explore, view: str, tmp_path: Path) -> None:
    page = explore(model="bert", text="</text> & <b>", view=view, query=2)
    texts = ElementTree.parse(saved(page, "SVG", tmp_path)).getroot().itertext()
    assert "&" in list(texts)


def test_all_heads_can_be_taken_along(explore: Explore, tmp_path: Path) -> None:
    page = explore(model="bert", text=RIVER)
    root = ElementTree.parse(saved(page, "All heads as SVG", tmp_path)).getroot()
    assert len(list(root.iter(f"{SVG}image"))) == 72


def test_a_png_is_twice_as_sharp(explore: Explore, tmp_path: Path) -> None:
    page = explore(model="bert", text=RIVER, view="matrix")
    picture = saved(page, "PNG", tmp_path).read_bytes()
    assert picture.startswith(b"\x89PNG")
    width = ElementTree.parse(saved(page, "SVG", tmp_path)).getroot().attrib["width"]
    assert int.from_bytes(picture[16:20], "big") == round(2 * int(float(width)))


def test_a_file_that_stands_alone_opens_without_a_server(
    explore: Explore, server: str, tmp_path: Path
) -> None:
    page = explore(model="bert", text=RIVER, layer=2, head=3, query=6, threshold=0)
    path = saved(page, "HTML", tmp_path)
    assert path.name == "attention-bert-L2H3.html"
    [[rows]] = api(server, "attention", layer=2, head=3)["attn"]
    [[others]] = api(server, "attention", layer=2, head=4)["attn"]
    page.context.set_offline(True)
    page = page.context.new_page()
    page.goto(path.as_uri())
    expect(page.locator(".lines-column.key .n")).to_have_text(three(rows[6]))
    grid = page.get_by_role("grid")
    grid.press("ArrowRight")
    grid.press("Enter")
    expect(page.locator(".lines-column.key .n")).to_have_text(three(others[6]))
    page.get_by_role("tab", name="Matrix").click()
    page.locator(".matrix .xtick text").first.wait_for()
    page.go_back()
    page.go_back()
    expect(page.get_by_role("heading", name="Layer 2 · Head 3")).to_be_visible()
    assert count_of(page.get_by_role("tab", name="Anatomy")) == 0
