"""Explore's Tokens, Anatomy, Table and grid: their numbers are the API's."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import expect

from tests.browser.complete import all_of, evaluated, query_of, texts_of
from tests.browser.exploring import RIVER, Explore, api, option


def test_tokens_are_shaded_by_the_api_s_attention(explore: Explore, server: str) -> None:
    page = explore(model="bert", text=RIVER, layer=0, head=2, query=6, view="tokens")
    [[rows]] = api(server, "attention", layer=0, head=2)["attn"]
    best = max(range(13), key=lambda k: rows[6][k])
    expect(page.locator(".tokens-said")).to_contain_text(f"river {rows[6][best]:.3f}")
    shades = evaluated(
        page,
        """[...document.querySelectorAll(".tokens-text button")]
        .map((el) => getComputedStyle(el).backgroundColor.match(/\\d+/g).map(Number))""",
    )
    assert min(range(13), key=lambda k: sum(shades[k]) if len(shades[k]) == 3 else 999) == best
    page.get_by_role("button", name="who looks at it").click()
    column = [row[6] for row in rows]
    expect(page.locator(".tokens-said")).to_contain_text(f"{max(column):.3f}")
    assert query_of(page)["side"] == "key"


def test_tokens_of_two_texts_are_two_paragraphs(explore: Explore, server: str) -> None:
    spec = {"model": "translator", "text": "El banco está cerrado.", "kind": "cross"}
    page = explore(**spec, view="tokens", layer=1, head=3)
    page.get_by_role("group", name="query tokens").get_by_role("button").nth(1).hover()
    answer = api(server, "attention", **spec, layer=1, head=3)
    [[rows]] = answer["attn"]
    expect(page.locator(".tokens-said")).to_contain_text(f"{max(rows[1]):.3f}")
    expect(page.get_by_role("group", name="key tokens").get_by_role("button")).to_have_count(
        len(answer["k_tokens"])
    )


@pytest.mark.parametrize(
    "spec",
    [
        {"model": "bert", "text": RIVER, "layer": 2, "head": 3},
        {"model": "gpt", "text": "Once upon a time", "layer": 1, "head": 1},
        {"model": "recurrent", "text": "El banco.", "layer": 0, "head": 0},
    ],
    ids=lambda spec: spec["model"],
)
def test_anatomy_shows_the_api_s_steps(
    explore: Explore, server: str, spec: dict[str, object]
) -> None:
    page = explore(**spec, view="anatomy", query=2)
    answer = api(server, "anatomy", **spec, query=2)
    cells = page.locator(".anatomy tbody tr")
    expect(cells).to_have_count(len(answer["k_tokens"]))
    rows = [texts_of(row.locator(".n")) for row in all_of(cells)]
    minus = [[text.replace("−", "-") for text in row] for row in rows]
    for row, dot, score, attn, allowed in zip(
        minus, answer["dots"], answer["scores"], answer["attn"], answer["mask"], strict=True
    ):
        expected = [f"{score:.2f}", f"{attn:.3f}"] if allowed else ["-∞", "masked"]
        assert row == [f"{dot:.2f}", *expected]


def test_anatomy_names_the_dimensions_that_count(explore: Explore, server: str) -> None:
    page = explore(model="bert", text=RIVER, layer=2, head=3, view="anatomy", query=6)
    answer = api(server, "anatomy", layer=2, head=3, query=6)
    view = page.get_by_role("group", name="One query token, step by step")
    for key in ("ArrowDown", "ArrowDown", "ArrowDown"):
        view.press(key)
    products = answer["products"][2]
    most = max(range(32), key=lambda d: abs(products[d]))
    expect(page.locator(".anatomy-said")).to_contain_text(f"most from dimensions {most} (")
    view.press("ArrowRight")
    text = (
        f"sat, dimension 0:  q {answer['q'][0]:.3f} × k {answer['k'][2][0]:.3f} = {products[0]:.3f}"
    )
    expect(page.locator(".anatomy-said")).to_contain_text(text.replace("-", "−"))


def test_anatomy_has_its_own_query_picker(explore: Explore) -> None:
    page = explore(model="bert", text=RIVER, view="anatomy", merge="words")
    expect(page.locator("#notice")).to_contain_text("merge=words")
    expect(option(page, "Query")).to_have_value("1")
    option(page, "Query").select_option(label="6  bank")
    expect(page).to_have_url(re.compile("query=6"))
    page.go_back()
    expect(option(page, "Query")).to_have_value("1")


def test_the_table_sorts_by_any_column(explore: Explore, server: str) -> None:
    page = explore(model="bert", text=RIVER, layer=2, head=3, view="table", query=6)
    [[rows]] = api(server, "attention", layer=2, head=3)["attn"]
    heading = page.get_by_role("columnheader", name="position")
    heading.get_by_role("button").click()
    heading.get_by_role("button").click()
    expect(heading).to_have_attribute("aria-sort", "ascending")
    cells = page.locator("#view tbody td:last-child")
    expect(cells).to_have_text([f"{a:.4f}" for a in rows[6]])


# The grid's numbers.


def test_the_grid_sorts_and_filters_by_a_metric(explore: Explore, server: str) -> None:
    page = explore(model="bert", text=RIVER)
    option(page, "Sorted by").select_option("previous_token")
    scores = api(server, "metrics")["metrics"]["previous_token"]
    ranked = sorted(((s, la, h) for la, row in enumerate(scores) for h, s in enumerate(row)))[::-1]
    grid = page.get_by_role("grid")
    grid.press("ArrowUp")
    for _ in range(12):
        grid.press("ArrowLeft")
    for _ in range(6):
        grid.press("ArrowUp")
    _, layer, head = ranked[0]
    cell = page.get_by_role("gridcell")
    expect(cell).to_have_accessible_name(re.compile(f"layer {layer}, head {head}"))
    page.get_by_label("at least").fill("0.3")
    n = sum(score >= 0.3 for score, _, _ in ranked)
    expect(page.get_by_text(f"{n} of 72 heads")).to_be_visible()
    assert query_of(page)["least"] == "0.3"


def test_the_preview_has_the_metrics_of_the_api(explore: Explore, server: str) -> None:
    page = explore(model="bert", text=RIVER, layer=3, head=4)
    page.get_by_role("grid").focus()
    page.keyboard.press("ArrowDown")
    answer = api(server, "metrics")["metrics"]
    preview = page.locator(".grid-preview")
    expect(preview).to_contain_text("L4 H4")
    expect(preview).to_contain_text(f"entropy {answer['entropy'][4][4]:.2f}")
    expect(preview).to_contain_text(f"special tokens {answer['special'][4][4]:.2f}")


def test_the_grid_has_a_table_for_a_twin(explore: Explore, server: str) -> None:
    page = explore(model="bert", text=RIVER)
    page.get_by_text("The heads as a table").click()
    scores = api(server, "metrics")["metrics"]["previous_token"]
    table = page.get_by_role("table", name="Every head by every metric")
    heading = table.get_by_role("columnheader", name="previous token")
    heading.get_by_role("button").click()
    expect(heading).to_have_attribute("aria-sort", "descending")
    best = max(score for row in scores for score in row)
    expect(table.locator("tbody tr").first).to_contain_text(f"{best:.3f}")
    expect(table.locator("tbody tr")).to_have_count(72)
