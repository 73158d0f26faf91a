"""Heat maps of every page: a title, a scale, whole labels, the first tick too."""

from __future__ import annotations

import re
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from tests.browser.complete import count_of, evaluated, texts_of
from tests.browser.screens import LAPTOP, PHONE

MAPS = {  # page -> its heat maps
    "/positions?n_positions=40": ["own-encoding", "own-similarity", "sines-similarity"],
    "/masks?model=gpt": ["causal-plot", "combined-plot", "scores-plot", "masked-plot", "attn-plot"],
    "/generate?max_new_tokens=3": ["rows-plot"],
    "/translate": ["own-plot", "other-plot"],
}
FLAGS = ("causal-plot", "combined-plot")
LABELS = """(el) => [...el.querySelectorAll(".xtick text, .ytick text")].map((text) => {
  const [a, b] = [text, el.querySelector(".main-svg")].map((one) => one.getBoundingClientRect());
  return {text: text.textContent, isWhole: a.left >= b.left - 1 && a.right <= b.right + 1
    && a.top >= b.top - 1 && a.bottom <= b.bottom + 1};
})"""


def labels_of(page: Page, name: str) -> list[dict[str, Any]]:
    page.locator(f"#{name} .xtick text").first.wait_for()
    values: list[dict[str, Any]] = evaluated(page.locator(f"#{name}"), LABELS)
    return values


@pytest.mark.parametrize("setting", [LAPTOP, PHONE], ids=["laptop", "phone"])
@pytest.mark.parametrize("path", MAPS)
def test_a_heat_map_has_a_title_a_scale_and_whole_labels(page: Page, path: str) -> None:
    page.goto(path)
    for name in MAPS[path]:
        labels = labels_of(page, name)
        assert all(label["isWhole"] for label in labels), name
        before = evaluated(page.locator(f"#{name}"), "(el) => el.previousElementSibling.tagName")
        assert before in ("H2", "H3"), name
        legend = page.locator(f"#{name} + .beneath .legend")
        assert count_of(legend.locator(".scale")) >= 1, name
        [written] = texts_of(legend)
        assert re.search("allowed" if name in FLAGS else r"\d.*\d", written)


def test_the_first_position_has_its_tick(page: Page) -> None:
    page.goto("/positions?n_positions=64")
    for name in ("sines-encoding", "sines-similarity", "own-encoding", "own-similarity"):
        labels = [label["text"] for label in labels_of(page, name) if label["isWhole"]]
        assert labels.count("0") == 2, "of rows and of columns"


@pytest.mark.parametrize("setting", [LAPTOP, PHONE], ids=["laptop", "phone"])
def test_a_special_token_is_written_in_full(page: Page) -> None:
    page.goto("/masks?model=gpt")
    texts = [label["text"] for label in labels_of(page, "attn-plot")]
    assert "<|endoftext|>" in texts


def test_a_difference_has_a_scale(page: Page) -> None:
    page.goto("/compare")
    page.locator("#difference .xtick text").first.wait_for()
    expect(page.locator("#difference .legend")).to_contain_text(re.compile(r"A minus B\s*−"))


WIDE, NARROW = ({"width": width, "height": 900} for width in (1440, 420))
FITS = """([name, widest]) => {
  const el = document.querySelector(name);
  const {width} = el.querySelector(".main-svg").getBoundingClientRect();
  return width > 0 && width <= el.clientWidth && width <= widest;
}"""


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("/masks?model=gpt", "#attn-plot"),
        ("/positions?n_positions=40", "#own-similarity"),
        ("/explore?view=matrix", ".matrix .js-plotly-plot"),
        ("/compare", "#difference .js-plotly-plot"),
        ("/learn/2/all-queries", ".matrix .js-plotly-plot"),
    ],
)
def test_a_heat_map_follows_the_width_of_its_window(page: Page, path: str, name: str) -> None:
    """It shrinks and grows, and keeps the colours and numbers that it had."""
    page.goto(path)
    page.locator(f"{name} .xtick text").first.wait_for()
    size = "(el) => [el.layout.width, el.data[0].z]"
    before = evaluated(page.locator(name).first, size)
    page.set_viewport_size(NARROW)
    page.wait_for_function(FITS, arg=[name, 420])
    page.set_viewport_size(WIDE)
    page.wait_for_function(
        "([name, width]) => document.querySelector(name).layout.width === width",
        arg=[name, before[0]],
    )
    assert evaluated(page.locator(name).first, size) == before
