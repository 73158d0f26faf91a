"""The Arithmetic page in a real Chromium, and its formulas against PyTorch."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit
from urllib.request import urlopen

import numpy as np
import pandas as pd
import pytest
import torch
from playwright.sync_api import Page, expect
from scipy.stats import pearsonr
from torch.nn import functional as F

from tests.browser.complete import attribute_of, box_of, complete, evaluated, texts_of, width_of
from tests.browser.screens import (
    BOTH_CLEAN,
    LIGHT,
    NO_SCRIPT,
    PHONE,
    violations,
    violations_by_theme,
)

TEXT = "Bob cashed a check at the bank"


def api(server: str, path: str, **query: object) -> Any:
    with urlopen(f"{server}/api/v1/{path}?{urlencode(query)}") as answer:
        return json.load(answer)


def opened(page: Page, **query: object) -> Page:
    page.goto(f"/attention?{urlencode(query)}")
    return complete(page)


def formula(page: Page, call: str, argument: object) -> Any:
    module = "await import('/static/js/lib/formulas.js')"
    code = f"async (arg) => {{ const m = {module}; return {call}; }}"
    return evaluated(page, code, argument)


@pytest.mark.parametrize("seed", range(5))
def test_the_formulas_are_pytorchs_and_scipys(page: Page, seed: int) -> None:
    page.goto("/healthz")
    x, y = np.random.default_rng(seed).normal(size=(2, 7))
    both = [x.tolist(), y.tolist()]
    a, b = torch.tensor(x), torch.tensor(y)
    assert formula(page, "m.dot(arg[0], arg[1])", both) == pytest.approx(float(a @ b))
    cosine = F.cosine_similarity(a, b, dim=0).item()
    assert formula(page, "m.cosine(arg[0], arg[1])", both) == pytest.approx(cosine)
    r = formula(page, "m.pearson(arg[0], arg[1])", both)
    assert r == pytest.approx(pearsonr(x, y).statistic)
    centred = formula(page, "m.cosine(m.centred(arg[0]), m.centred(arg[1]))", both)
    assert centred == pytest.approx(r), "Pearson's r is the cosine of the centred vectors"
    soft = formula(page, "m.softmax(arg[0], 0.5)", both)
    assert soft == pytest.approx((a / 0.5).softmax(0).tolist())
    relu = formula(page, "arg[0].map(m.relu)", both)
    assert relu == pytest.approx(F.relu(a).tolist())
    gelu = formula(page, "arg[0].map(m.gelu)", both)
    assert gelu == pytest.approx(F.gelu(a, approximate="tanh").tolist())


def test_two_vectors_by_hand(page: Page) -> None:
    opened(page)
    table = page.get_by_role("table", name="x and y of 4 dimensions")
    expect(table).to_contain_text("4.5000")
    page.get_by_label("x, dimension 0").fill("3")
    expect(table).to_contain_text("8.5000")
    rows = texts_of(table.locator("td.n"))
    assert rows[3] == rows[4], "Pearson and the cosine of the centred vectors"


def test_temperature_softens(page: Page) -> None:
    opened(page)
    page.get_by_label("temperature").fill("5")
    shares = torch.tensor([2.0, 1, 0, -1]).div(5).softmax(0).tolist()
    table = page.get_by_role("table", name="softmax of s at temperature 5.0")
    expect(table.locator("td.n:last-child")).to_have_text([f"{share:.4f}" for share in shares])


def test_a_scores_slider_moves_the_softmax(page: Page) -> None:
    opened(page)
    page.get_by_label("s, dimension 3", exact=True).fill("3")
    shares = torch.tensor([2.0, 1, 0, 3]).softmax(0).tolist()
    table = page.get_by_role("table", name="softmax of s at temperature 1.0")
    expect(table.locator("td.n:last-child")).to_have_text([f"{share:.4f}" for share in shares])
    expect(page).to_have_url(re.compile("scores=2%2C1%2C0%2C3"))


def test_query_key_value_are_the_models_own(page: Page, server: str) -> None:
    opened(page, model="bert", text=TEXT, layer=0, head=0)
    answer = api(server, "anatomy", model="bert", text=TEXT, layer=0, head=0, query=5)
    scores = page.locator("#anatomy tbody .n:nth-last-child(1), #anatomy .anatomy-attn")
    expect(scores.first).to_have_text(f"{answer['attn'][0]:.3f}")
    expect(page.locator("#anatomy tbody tr")).to_have_count(10)
    page.get_by_label("Stop words").select_option("hidden")
    expect(page.locator("#anatomy tbody tr")).to_have_count(7)
    hidden = [i for i, t in enumerate(answer["k_tokens"]) if t["text"] in ("a", "at", "the")]
    share = sum(answer["attn"][i] for i in hidden)
    expect(page.locator("#left-out")).to_contain_text(f"{100 * share:.1f} % of this query")
    expect(page.locator("#left-out")).to_contain_text("the 3 keys left out")
    expect(page.locator("#shapes")).to_contain_text("12 × 10 × 32")
    page.get_by_role("combobox", name="Query").select_option(label="1  Bob")
    expect(page).to_have_url(re.compile("word=1"))


def test_another_model_has_the_same_query(page: Page, server: str) -> None:
    opened(page)  # check is BERT's fifth token
    for model in ("gpt", "translator", "bert"):
        page.get_by_role("combobox", name="Model", exact=True).select_option(model)
        expect(page).to_have_url(re.compile(f"model={model}"))
        tokens = api(server, "tokenize", model=model, text=TEXT)["tokens"]
        word = [token["text"].strip() for token in tokens].index("check")
        expect(page).to_have_url(re.compile(f"word={word}\\b"))


def test_a_decoders_parts_lead_to_a_decoders_numbers(page: Page) -> None:
    opened(page, model="translator", layer=2, head=3)
    decoder = page.locator("#diagram svg").nth(1)
    for name, kinds in (
        ("q, k, v", ["decoder", "cross"]),
        ("heads together", ["decoder", "cross"]),
    ):
        links = decoder.locator("a", has_text=name)
        hrefs = [attribute_of(links.nth(i), "href") for i in range(len(kinds))]
        for href, kind in zip(hrefs, kinds, strict=True):
            request = parse_qs(urlsplit(href).query)
            assert (request["kind"], request["layer"], request["head"]) == ([kind], ["2"], ["3"])
    within = texts_of(decoder.locator("a[href^='#']"))
    assert [text for text in within if not text.startswith("1/")] == []
    first = page.locator("#diagram svg").first.locator("a", has_text="q·k")
    assert attribute_of(first, "href") == "#anatomy"


def test_each_control_changes_the_numbers(page: Page, server: str) -> None:
    opened(page)
    page.get_by_role("combobox", name="Layer", exact=True).select_option("3")
    answer = api(server, "arithmetic/heads", model="bert", text=TEXT, layer=3)
    expect(page.locator("#heads-table")).to_contain_text(f"{answer['norms'][2][4]:.2f}")
    page.get_by_label("widths up to", exact=True).fill("16")
    expect(page.locator("#scaling tbody tr")).to_have_count(5)
    widths = api(server, "arithmetic/scaling", d_k=16)["widths"]
    expect(page.locator("#scaling")).to_contain_text(f"{widths[-1]['variance']:.2f}")
    page.get_by_label("depth of a small stack, slider").fill("12")
    expect(page.get_by_label("depth of a small stack", exact=True)).to_have_value("12")
    page.wait_for_function("document.querySelector('#depth-plot').data?.[0].x.length === 13")
    page.get_by_role("combobox", name="Model", exact=True).select_option("gpt")
    blocks = api(server, "arithmetic/blocks", model="gpt", text=TEXT)["layers"]
    expect(page.locator("#norms")).to_contain_text(f"{blocks[1]['residual']:.2f}")
    expect(page).to_have_url(re.compile("model=gpt.*layer=3.*d_k=16.*depth=12"))


def test_the_head_changes_the_anatomy(page: Page, server: str) -> None:
    opened(page, model="bert", text=TEXT, layer=0)
    page.get_by_role("combobox", name="Head", exact=True).select_option("5")
    answer = api(server, "anatomy", model="bert", text=TEXT, layer=0, head=5, query=5)
    scores = page.locator("#anatomy .anatomy-attn")
    expect(scores).to_have_text([f"{share:.3f}" for share in answer["attn"]])


def test_the_cost_is_measured_when_asked(page: Page) -> None:
    opened(page).get_by_role("button", name="Measure on the server now").click()
    expect(page.locator("#cost-table tbody tr")).to_have_count(4, timeout=30_000)
    expect(page.locator("#cost-table")).to_contain_text("as one product")
    page.locator("#memory-plot .legendtext").first.wait_for()
    written = evaluated(page, "document.querySelector('#memory-plot').data.at(-1)")
    assert written["x"] == [64, 128, 256, 512]
    assert re.fullmatch(r"naive ~ T\^(1\.9|2\.0)\d", written["name"])


def point_of(page: Page, x: float, y: float) -> tuple[float, float]:
    """Where the plane has a point, on the screen."""
    page.locator("svg.plane").scroll_into_view_if_needed()
    box = box_of(page.locator("svg.plane"))
    return box["x"] + box["width"] * (x + 3.5) / 7, box["y"] + box["height"] * (3.5 - y) / 7


def test_a_vector_can_be_dragged(page: Page) -> None:
    opened(page)
    page.mouse.move(*point_of(page, 1, 2))
    page.mouse.down()
    page.mouse.move(*point_of(page, 2, -1), steps=3)
    table = page.get_by_role("table", name="x and y of 4 dimensions")
    expect(table).to_contain_text("3.5000")
    page.mouse.up()
    expect(page.get_by_label("x, dimension 1", exact=True)).to_have_value("-1")
    expect(page).to_have_url(re.compile(r"x=2%2C-1%2C-1%2C0\.5"))
    page.reload()
    expect(table).to_contain_text("3.5000")


def test_a_vector_moves_by_the_arrow_keys_and_not_out_of_the_plane(page: Page) -> None:
    opened(page)
    handle = page.get_by_role("slider", name="y, dimensions 0 and 1")
    handle.focus()
    page.keyboard.press("ArrowUp")
    expect(handle).to_have_attribute("aria-valuetext", "2.0, 1.1")
    for _ in range(12):
        page.keyboard.press("ArrowRight")
    expect(handle).to_have_attribute("aria-valuetext", "3.0, 1.1")
    expect(page.get_by_label("y, dimension 0", exact=True)).to_have_value("3")


def test_another_models_tokens_keep_the_word_of_the_query(page: Page) -> None:
    opened(page, text="He saw Kathmandu", word="3")  # Kat ##h ##man ##d ##u
    page.get_by_role("combobox", name="Model", exact=True).select_option("translator")
    expect(page).to_have_url(re.compile("word=2"))  # K ath m and u, with no [CLS] before


def test_a_stop_word_inside_a_word_is_not_one(page: Page) -> None:
    opened(page, model="gpt", text="He saw Kathmandu and the theatre", stops="hidden")
    keys = texts_of(page.locator("#anatomy tbody th"))
    assert [key.split()[-1] for key in keys] == [
        "<|endoftext|>", "saw", "K", "ath", "m", "and", "u", "theatre",
    ]  # fmt: skip


def test_stop_words_are_in_the_address(page: Page) -> None:
    opened(page, stops="hidden")
    expect(page.locator("#anatomy tbody tr")).to_have_count(7)


def test_a_width_that_cannot_be_is_said(page: Page) -> None:
    opened(page)
    field = page.get_by_label("widths up to", exact=True)
    field.fill("1000000")
    expect(page.get_by_role("alert")).to_contain_text("4096")
    field.fill("48")
    expect(page.get_by_role("alert")).to_be_empty()
    expect(page.locator("#scaling tbody tr").last).to_contain_text("48")


def test_a_plots_numbers_are_the_apis(page: Page, server: str, tmp_path: Path) -> None:
    opened(page, d_k=48)
    widths = api(server, "arithmetic/scaling", d_k=48)["widths"]
    beneath = page.locator("#variance-plot + .beneath")
    with page.expect_download() as download:
        beneath.get_by_role("button", name="CSV").click()
    download.value.save_as(tmp_path / "a.csv")
    assert "seed-0" in download.value.suggested_filename
    table = pd.read_csv(tmp_path / "a.csv")
    assert list(table.columns) == ["d_k", "variance", "d"]
    assert table.to_numpy().tolist() == [
        [width["d_k"], width["variance"], width["d_k"]] for width in widths
    ]
    beneath.get_by_text("The numbers").click()
    expect(beneath.locator("tbody tr").last).to_contain_text(f"{widths[-1]['variance']:.4f}")


PARTS = {
    "gpt": ["self-attention, causal", "6 layers like this", "add"],
    "bert": ["self-attention", "learned", "add, layer norm"],
    "translator": ["cross-attention", "sin, cos", "4 layers like this"],
}


@pytest.mark.parametrize("model", PARTS)
def test_every_part_of_the_drawing_leads_to_its_numbers(page: Page, model: str) -> None:
    opened(page, model=model, text=TEXT, lang="en")
    drawing = page.locator("#diagram")
    for part in PARTS[model]:
        expect(drawing.get_by_text(part, exact=part == "add").first).to_be_visible()
    expect(drawing.locator("svg.diagram")).to_have_count(2 if model == "translator" else 1)
    links = drawing.locator("a").evaluate_all("all => all.map((a) => a.getAttribute('href'))")
    for link in set(links):
        if link.startswith("#"):
            expect(page.locator(link)).to_have_count(1)
            continue
        query = parse_qs(urlsplit(link).query)
        assert query["model"] == [model]
        assert query.get("text", query.get("texts")) == [TEXT]
        answer = page.request.get(link)
        assert answer.status == 200, link
        assert "does not exist" not in answer.text()


def test_the_drawing_follows_the_model_and_the_keyboard(page: Page) -> None:
    opened(page)
    page.get_by_role("combobox", name="Model", exact=True).select_option("translator")
    expect(page.locator("svg.diagram")).to_have_count(2)
    part = page.locator("#diagram").get_by_role("link", name="mask").last
    part.focus()
    page.keyboard.press("Enter")
    expect(page).to_have_url(re.compile(r"/masks\?model=translator.*kind=cross"))


def test_a_refused_text_is_said_and_the_picture_stays(page: Page) -> None:
    opened(page)
    page.get_by_label("Text", exact=True).fill("")
    expect(page.get_by_role("alert")).to_contain_text("the text is empty")
    expect(page.locator("#anatomy tbody tr")).to_have_count(10)


def test_a_refused_text_in_the_address_leaves_the_rest(page: Page) -> None:
    page.goto("/attention?text=")
    expect(page.get_by_role("alert")).to_contain_text("the text is empty")
    page.get_by_label("x, dimension 0", exact=True).fill("3")
    expect(page.get_by_role("table", name="x and y of 4 dimensions")).to_contain_text("8.5000")
    page.get_by_role("button", name="Measure on the server now").click()
    expect(page.locator("#cost-table tbody tr")).to_have_count(4, timeout=30_000)


@pytest.mark.parametrize("setting", [LIGHT], ids=["light"])
def test_axe_finds_no_violation_in_either_theme(page: Page) -> None:
    opened(page).locator("#depth-plot .xtick text").first.wait_for()
    assert violations_by_theme(page) == BOTH_CLEAN


@pytest.mark.parametrize("setting", [PHONE], ids=["phone"])
def test_a_phone_never_scrolls_sideways_and_axe_finds_no_violation(page: Page) -> None:
    opened(page).locator("#depth-plot .xtick text").first.wait_for()
    assert width_of(page) == 390
    assert violations(page) == []


@pytest.mark.parametrize("setting", [NO_SCRIPT], ids=["no script"])
def test_without_a_script_there_are_numbers(page: Page, server: str) -> None:
    page.goto("/attention")
    answer = api(server, "arithmetic/scaling", d_k=256)["widths"]
    expect(page.locator("#scaling td.n").first).to_have_text(f"{answer[0]['variance']:.2f}")
    mask = page.locator(".sums-map").get_by_role("link", name="mask")
    expect(mask).to_have_attribute("href", re.compile(r"/masks\?model=bert&texts=Bob"))
