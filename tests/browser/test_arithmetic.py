"""The Arithmetic page in a real Chromium, and its formulas against PyTorch."""

from __future__ import annotations

import json
import re
from typing import Any
from urllib.parse import urlencode
from urllib.request import urlopen

import numpy as np
import pytest
import torch
from playwright.sync_api import Page, expect
from scipy.stats import pearsonr
from torch.nn import functional as F

LIGHT = {"viewport": {"width": 1440, "height": 900}, "color_scheme": "light"}
DARK = {"viewport": {"width": 1440, "height": 900}, "color_scheme": "dark"}
PHONE = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True}
TEXT = "Bob cashed a check at the bank"


def api(server: str, path: str, **query: object) -> Any:
    with urlopen(f"{server}/api/v1/{path}?{urlencode(query)}") as answer:
        return json.load(answer)


def opened(page: Page, **query: object) -> Page:
    page.goto(f"/arithmetic?{urlencode(query)}")
    page.locator(".sums[aria-busy=false]").wait_for()
    return page


def formula(page: Page, call: str, argument: object) -> Any:
    code = f"async (arg) => {{ const m = await import('/static/js/formulas.js'); return {call}; }}"
    return page.evaluate(code, argument)


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
    rows = table.locator("td.n").all_text_contents()
    assert rows[3] == rows[4], "Pearson and the cosine of the centred vectors"


def test_temperature_softens(page: Page) -> None:
    opened(page)
    page.get_by_label("temperature").fill("5")
    shares = torch.tensor([2.0, 1, 0, -1]).div(5).softmax(0).tolist()
    table = page.get_by_role("table", name="softmax of s at temperature 5.0")
    expect(table.locator("td.n:last-child")).to_have_text([f"{share:.4f}" for share in shares])


def test_query_key_value_are_the_models_own(page: Page, server: str) -> None:
    opened(page)
    found = api(server, "anatomy", model="bert", text=TEXT, layer=0, head=0, query=4)
    scores = page.locator("#anatomy tbody .n:nth-last-child(1), #anatomy .anatomy-attn")
    expect(scores.first).to_have_text(f"{found['attn'][0]:.3f}")
    expect(page.locator("#anatomy tbody tr")).to_have_count(9)
    page.get_by_label("Stop words").select_option("hidden")
    expect(page.locator("#anatomy tbody tr")).to_have_count(6)
    expect(page.locator("#shapes")).to_contain_text("8 × 9 × 32")
    page.get_by_role("combobox", name="Query").select_option(label="1  Bob")
    expect(page).to_have_url(re.compile("word=1"))


def test_each_control_changes_the_numbers(page: Page, server: str) -> None:
    opened(page)
    page.get_by_label("Layer", exact=True).fill("3")
    found = api(server, "arithmetic/heads", model="bert", text=TEXT, layer=3)
    expect(page.locator("#heads-table")).to_contain_text(f"{found['norms'][2][4]:.2f}")
    page.get_by_label("widths up to").select_option("16")
    expect(page.locator("#scaling tbody tr")).to_have_count(5)
    widths = api(server, "arithmetic/scaling", d_k=16)["widths"]
    expect(page.locator("#scaling")).to_contain_text(f"{widths[-1]['variance']:.2f}")
    page.get_by_label("depth of a small stack").select_option("12")
    page.wait_for_function("document.querySelector('#depth-plot').data?.[0].x.length === 13")
    page.get_by_role("combobox", name="Model", exact=True).select_option("gpt")
    blocks = api(server, "arithmetic/blocks", model="gpt", text=TEXT)["layers"]
    expect(page.locator("#norms")).to_contain_text(f"{blocks[1]['residual']:.2f}")
    expect(page).to_have_url(re.compile("model=gpt.*layer=3.*d_k=16.*depth=12"))


def test_the_head_changes_the_anatomy(page: Page, server: str) -> None:
    opened(page)
    page.get_by_label("Head", exact=True).fill("5")
    found = api(server, "anatomy", model="bert", text=TEXT, layer=0, head=5, query=4)
    scores = page.locator("#anatomy .anatomy-attn")
    expect(scores).to_have_text([f"{share:.3f}" for share in found["attn"]])


def test_the_cost_is_measured_when_asked(page: Page) -> None:
    opened(page).get_by_role("button", name="Measure on the server now").click()
    expect(page.locator("#cost-table tbody tr")).to_have_count(4, timeout=30_000)
    expect(page.locator("#cost-table")).to_contain_text("as one product")


def test_a_refused_text_is_said_and_the_picture_stays(page: Page) -> None:
    opened(page)
    page.get_by_label("Text", exact=True).fill("")
    expect(page.get_by_role("alert")).to_contain_text("the text is empty")
    expect(page.locator("#anatomy tbody tr")).to_have_count(9)


@pytest.mark.parametrize("setting", [LIGHT, DARK, PHONE], ids=["light", "dark", "phone"])
def test_axe_finds_no_violation(page: Page) -> None:
    from axe_playwright_python.sync_playwright import Axe

    opened(page).locator("#depth-plot .xtick text").first.wait_for()
    found = Axe().run(page).response["violations"]
    assert [(rule["id"], rule["nodes"][0]["html"][:160]) for rule in found] == []


@pytest.mark.parametrize("setting", [PHONE], ids=["phone"])
def test_a_phone_never_scrolls_sideways(page: Page) -> None:
    opened(page).locator("#depth-plot .xtick text").first.wait_for()
    assert page.evaluate("document.documentElement.scrollWidth") == 390


@pytest.mark.parametrize("setting", [LIGHT | {"java_script_enabled": False}], ids=["no script"])
def test_without_a_script_there_are_numbers(page: Page, server: str) -> None:
    page.goto("/arithmetic")
    found = api(server, "arithmetic/scaling", d_k=256)["widths"]
    expect(page.locator("#scaling td.n").first).to_have_text(f"{found[0]['variance']:.2f}")
