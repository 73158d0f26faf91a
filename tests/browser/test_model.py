"""A model's card in a real Chromium."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from urllib.request import urlopen

import pytest
from playwright.sync_api import Page, expect

from tests.browser.complete import evaluated, screenshot, width_of

DOCS = Path(__file__).parents[2] / "docs"
LINES = "el => el.data.map(({name, x, y}) => ({name, last: y.at(-1), n: x.length}))"


def card(server: str, name: str) -> dict:
    with urlopen(f"{server}/api/v1/models/{name}") as answer:
        return json.load(answer)


def drawn(page: Page, plot: str) -> dict[str, dict]:
    """The lines of a plot by name, once it is there."""
    element = page.locator(f"#{plot}")
    expect(element.locator(".trace").first).to_be_attached()
    return {line["name"]: line for line in evaluated(element, LINES)}


def test_the_curve_is_the_cards(page: Page, server: str) -> None:
    page.goto("/models/bert")
    curve = card(server, "bert")["curve"]
    lines = drawn(page, "curve")
    assert lines["held out"]["last"] == curve[-1]["held_out_loss"]
    assert lines["training"]["last"] == curve[-1]["loss"]
    assert lines["held out"]["n"] == len(curve)


def test_every_heads_line_is_the_cards(page: Page, server: str) -> None:
    page.goto("/models/gpt?metric=previous_token")
    scores = card(server, "gpt")["heads"][-1]["decoder"]["previous_token"]
    lines = drawn(page, "forming")
    expected = {
        f"L{layer} H{head}": score
        for layer, row in enumerate(scores)
        for head, score in enumerate(row)
    }
    assert {name: line["last"] for name, line in lines.items()} == expected


def test_another_metric_is_a_link_and_back_goes_back(page: Page) -> None:
    page.goto("/models/translator")
    page.get_by_role("link", name="cross").click()
    expect(page).to_have_url(re.compile("kind=cross"))
    page.get_by_role("link", name="distance", exact=True).click()
    expect(page).to_have_url(re.compile("kind=cross&metric=distance"))
    expect(page.locator('.choose [aria-current="true"]')).to_have_text(["cross", "distance"])
    page.go_back()
    expect(page.locator('.choose [aria-current="true"]')).to_have_text(["cross", "entropy"])


def test_the_numbers_of_a_plot_can_be_read(page: Page, server: str) -> None:
    page.goto("/models/gpt?metric=induction")
    section = page.get_by_role("region", name="How its heads formed")
    section.get_by_text("The numbers").click()
    rows = section.get_by_role("row")
    expect(rows).to_have_count(1 + len(card(server, "gpt")["heads"]))
    best = max(map(max, card(server, "gpt")["heads"][-1]["decoder"]["induction"]))
    expect(rows.last).to_contain_text(f"{best:.3f}")


def test_the_theme_stays_from_metric_to_metric(page: Page) -> None:
    page.goto("/models/bert")
    page.get_by_role("button", name="Dark theme").click()
    expect(page.locator("html")).to_have_attribute("data-theme", "dark")
    page.get_by_role("link", name="self", exact=True).click()
    expect(page).to_have_url(re.compile("theme=dark.*metric=self|metric=self.*theme=dark"))
    expect(page.locator("html")).to_have_attribute("data-theme", "dark")


@pytest.mark.parametrize("setting", [{"viewport": {"width": 390, "height": 844}}])
def test_a_card_fits_a_phone(page: Page, setting: dict[str, object]) -> None:
    page.goto("/models/bert")
    drawn(page, "curve")
    assert width_of(page) <= 390


def test_all_models_lead_to_their_cards(page: Page) -> None:
    page.goto("/models")
    page.get_by_role("link", name="recurrent").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("recurrent")


@pytest.mark.parametrize(
    ("name", "model", "measure", "called"),
    [
        ("previous", "bert", "encoder_previous_token", "previous-token head, encoder"),
        ("next", "bert", "encoder_next_token", "next-token head, encoder"),
        ("induction", "gpt", "decoder_induction", "induction head, decoder"),
        ("alignment", "translator", "alignment_error_rate", "alignment error rate"),
    ],
)
def test_the_pictures_of_the_heads(
    page: Page, server: str, tmp_path: Path, name: str, model: str, measure: str, called: str
) -> None:
    page.goto(f"/models/{model}")
    detail = card(server, model)["metrics"][measure]["detail"]
    row = re.compile(rf"^{called} \d")  # not the measure "… as output"
    page.get_by_role("row", name=row).get_by_role("link").click()
    page.wait_for_url(re.compile("/explore"))
    layer, head = detail.split()
    section = page.get_by_role("region", name=f"Layer {layer[1:]} · Head {head[1:]}")
    folder = DOCS if os.environ.get("UPDATE_PICTURES") == "1" else tmp_path
    picture = screenshot(section, folder / f"head-{name}.png")
    assert picture.startswith(b"\x89PNG") and len(picture) > 10_000


APART = """el => [...el.querySelectorAll(".annotation-text")].map((text) => {
  const {top, bottom} = text.getBoundingClientRect();
  return [top, bottom];
})"""


def test_the_names_of_two_lines_do_not_cover_each_other(page: Page) -> None:
    page.goto("/models/bert")
    drawn(page, "curve")
    (top, bottom), (other_top, other_bottom) = evaluated(page.locator("#curve"), APART)
    assert bottom <= other_top or other_bottom <= top


@pytest.mark.parametrize("setting", [{"viewport": {"width": 390, "height": 844}}])
def test_the_table_of_models_fits_a_phone(page: Page) -> None:
    page.goto("/models?lang=zh")
    table = page.locator("table.models")
    expect(table).to_be_visible()
    assert evaluated(table, "el => el.scrollWidth - el.parentElement.clientWidth") <= 0
    assert evaluated(table.locator("td").first, "el => el.getClientRects()[0].height") < 40
