"""Where a text leaves the length that its model was trained on: a notice, and a line."""

from __future__ import annotations

from pathlib import Path

from playwright.sync_api import expect

from tests.app.test_trained_length import LONG
from tests.browser.exploring import Explore, saved

SPEC = {"model": "translator", "text": LONG, "target": "The bank.", "kind": "cross"}
SHORT = {"model": "translator", "text": "El banco está cerrado.", "kind": "cross"}
REDDISH = """(canvas) => {
  const {data, width, height} = canvas.getContext("2d")
    .getImageData(0, 0, canvas.width, canvas.height);
  const columns = new Set();
  for (let i = 0; i < data.length; i += 4) {
    if (data[i] > data[i + 2] + 60 && data[i] > 120) columns.add((i / 4) % width);
  }
  return [...columns].length;
}"""


def test_the_notice_says_which_text_is_too_long_for_training(explore: Explore) -> None:
    page = explore(**SPEC)
    expect(page.locator("#notice")).to_contain_text(
        "translator was trained on texts of at most 100 tokens, and the text has"
    )
    page = explore(**SHORT)
    expect(page.locator("#notice")).to_have_text("")


def test_lines_have_a_dashed_line_over_the_first_token_beyond(explore: Explore) -> None:
    page = explore(**SPEC)
    key = page.locator(".lines-column.key button")
    expect(key.nth(100)).to_have_class("beyond")
    expect(key.nth(100)).to_have_attribute("title", "end of the trained length")
    expect(key.nth(100)).to_have_css("border-top-style", "dashed")
    expect(page.locator("button.beyond")).to_have_count(1)
    page = explore(**SHORT)
    expect(page.locator("button.beyond")).to_have_count(0)


def test_the_matrix_has_the_line_and_its_legend(explore: Explore) -> None:
    page = explore(**SPEC, view="matrix")
    expect(page.locator(".matrix .legend")).to_contain_text("end of the trained length")
    dashes = page.locator(".matrix-plot .shapelayer path[style*='stroke-dasharray: 4px, 3px']")
    expect(dashes).to_have_count(1)


def test_every_head_of_the_grid_has_the_line(explore: Explore) -> None:
    page = explore(**SPEC)
    picture = page.locator("#heads [role=grid] canvas")
    assert picture.evaluate(REDDISH) >= 8, "one upright line in each of eight columns of heads"
    page = explore(**SHORT)
    assert page.locator("#heads [role=grid] canvas").evaluate(REDDISH) == 0


def test_figures_have_the_line(explore: Explore, tmp_path: Path) -> None:
    page = explore(**SPEC)
    for button, n in (("SVG", 1), ("All heads as SVG", 32)):
        figure = saved(page, button, tmp_path).read_text()
        assert figure.count('class="trained-end"') == n
        assert "end of the trained length" in figure
