"""The Masks page in a real Chromium."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any
from urllib.parse import urlencode
from urllib.request import urlopen

import pandas as pd
import pytest
from playwright.sync_api import Page, expect

from tests.browser.complete import complete, count_of, evaluated, width_of
from tests.browser.screens import (
    BOTH_CLEAN,
    LIGHT,
    NO_SCRIPT,
    PHONE,
    violations,
    violations_by_theme,
)

TEXTS = ["This is a test", "This is a new test", "This is it"]


def api(server: str, **query: object) -> Any:
    spec = {"model": "bert", "texts": json.dumps(TEXTS), **query}
    with urlopen(f"{server}/api/v1/masks?{urlencode(spec)}") as answer:
        return json.load(answer)


def opened(page: Page, **query: object) -> Page:
    page.goto(f"/masks?{urlencode(query)}")
    complete(page)
    page.locator("#attn-plot .xtick text").first.wait_for()
    return page


def choose(page: Page, name: str, value: str) -> None:
    page.get_by_role("combobox", name=name, exact=True).select_option(value)


def drawn(page: Page, part: str, expected: list[list[Any]]) -> None:
    """The plot's numbers become these; null where nothing is drawn."""
    z = f"document.querySelector('#{part}-plot').data?.[0].z"
    page.wait_for_function(
        f"""(wanted) => {z}?.length === wanted.length && {z}.every((row, q) =>
          row.every((value, k) => (value === null) === (wanted[q][k] === null)
            && Math.abs((value ?? 0) - (wanted[q][k] ?? 0)) < 1e-6))""",
        arg=expected,
    )


def absent(rows: list[list[float]]) -> list[list[float | None]]:
    return [[value or None for value in row] for row in rows]


def test_scores_masks_and_attention_are_the_apis(page: Page, server: str) -> None:
    opened(page, layer=1, head=2, row=2)
    answer = api(server, layer=1, head=2)
    drawn(page, "scores", answer["scores"][2])
    drawn(page, "masked", answer["masked"][2])
    drawn(page, "attn", absent(answer["attn"][2]))
    allowed = [[1 if cell else None for cell in row] for row in answer["combined"][2]]
    drawn(page, "combined", allowed)
    expect(page.locator("#ids-table td")).to_have_count(21)
    expect(page.locator("#ids-table")).to_contain_text("[PAD]")


def test_each_control_changes_the_numbers(page: Page, server: str) -> None:
    opened(page, model="gpt", layer=1, head=2)
    choose(page, "Switched off", "causal")
    answer = api(server, model="gpt", layer=1, head=2, off="causal")
    expect(page.locator("#leaks")).to_contain_text(re.compile(rf"{answer['leak']:.2g}"))
    drawn(page, "attn", absent(answer["attn"][0]))
    choose(page, "Switched off", "")
    choose(page, "Masked scores become", "-1")
    answer = api(server, model="gpt", layer=1, head=2, fill=-1)
    drawn(page, "attn", absent(answer["attn"][0]))
    choose(page, "Text shown", "1")
    drawn(page, "attn", absent(answer["attn"][1]))
    page.get_by_role("combobox", name="Layer", exact=True).select_option("3")
    answer = api(server, model="gpt", layer=3, head=2, fill=-1)
    drawn(page, "scores", answer["scores"][1])
    expect(page).to_have_url(re.compile("layer=3.*fill=-1"))


def test_a_mask_that_is_off_is_drawn_so(page: Page) -> None:
    opened(page, model="gpt", off="causal")
    n = len(evaluated(page, "document.querySelector('#combined-plot').data[0].z"))
    length = count_of(page.locator("#ids-table tr").nth(0).locator("td:not(.pad)"))
    rows = [[1 if k < length else None for k in range(n)]] * n
    drawn(page, "causal", [[1] * n] * n)
    drawn(page, "combined", rows)
    drawn(page, "padding", rows[:1])
    expect(page.locator("#causal-title")).to_have_text("Causal mask, switched off")
    choose(page, "Switched off", "causal,padding")
    drawn(page, "combined", [[1] * n] * n)
    drawn(page, "padding", [[1] * n])
    expect(page.locator("#padding-title")).to_have_text("Padding mask, switched off")
    choose(page, "Switched off", "padding")
    drawn(page, "combined", [[1 if k <= q else None for k in range(n)] for q in range(n)])
    expect(page.locator("#causal-title")).to_have_text("Causal mask")


def test_kind_head_and_precision_change_the_numbers(page: Page, server: str) -> None:
    opened(page, model="translator")
    choose(page, "Attention", "cross")
    page.get_by_role("combobox", name="Head", exact=True).select_option("7")
    choose(page, "Masked scores become", "-10")
    choose(page, "in", "bfloat16")
    spec = {"model": "translator", "kind": "cross", "head": 7, "fill": -10}
    answer = api(server, **spec, precision="bfloat16")
    drawn(page, "attn", absent(answer["attn"][0]))
    expect(page).to_have_url(re.compile("kind=cross.*head=7.*precision=bfloat16"))


def test_the_attention_leaves_as_a_table_of_the_apis_numbers(
    page: Page, server: str, tmp_path: Path
) -> None:
    opened(page, model="gpt", layer=1, head=2)
    answer = api(server, model="gpt", layer=1, head=2)
    beneath = page.locator("#masked-plot + .beneath")
    with page.expect_download() as download:
        beneath.get_by_role("button", name="CSV").click()
    assert download.value.suggested_filename.startswith("masks-gpt-decoder-L1H2-masked-0-")
    download.value.save_as(tmp_path / "a.csv")
    table = pd.read_csv(tmp_path / "a.csv")
    values = [answer["masked"][0][q][k] for q, k in zip(table["query"], table["key"], strict=True)]
    assert table["scores"].to_list() == pytest.approx(values)
    assert len(table) == sum(value is not None for row in answer["masked"][0] for value in row)
    beneath.get_by_text("The numbers").click()
    expect(beneath.locator("tbody tr").nth(1)).to_contain_text(f"{answer['masked'][0][1][1]:.4f}")


def test_between_two_sequences_the_mask_is_of_cross_attention(page: Page) -> None:
    opened(page, model="translator", kind="cross")
    expect(page.get_by_role("heading", name="Cross-attention mask")).to_be_visible()
    choose(page, "Attention", "encoder")
    expect(page.get_by_role("heading", name="Both together")).to_be_visible()


def test_my_own_text_joins_the_batch(page: Page) -> None:
    opened(page)
    field = page.get_by_role("textbox", name="Texts, one a line")
    field.fill("\n".join([*TEXTS, "The river bank is closed today"]))
    expect(page.locator("#ids-table")).to_contain_text("river")
    choose(page, "Text shown", "3")
    expect(page.locator("#sums-table")).to_contain_text("closed")


def test_a_decoder_shows_its_causal_mask_and_its_loss(page: Page, server: str) -> None:
    opened(page)
    expect(page.locator("#causal-plot")).to_be_hidden()
    choose(page, "Model", "gpt")
    page.locator("#causal-plot .xtick text").first.wait_for()
    losses = api(server, model="gpt")["losses"]
    expect(page.locator("#leaks")).to_contain_text(f"{losses['on']:.2f}")
    expect(page.locator("#leaks")).to_contain_text(f"{losses['off']:.2f}")


def test_when_a_number_leaks_is_said_with_this_heads_numbers(page: Page, server: str) -> None:
    opened(page, model="gpt", layer=0, head=0)
    fills = api(server, model="gpt", layer=0, head=0)["fills"]
    element = page.locator("#fills")
    expect(element).to_contain_text(f"more than {fills['reach']:.1f} below")
    expect(element).to_contain_text(f"times {fills['by']:g}, with −10000 added")
    expect(element).to_contain_text(f"each of its {fills['n_key']} keys {fills['blind']:.3f}")
    expect(element).to_contain_text("−65504 and −10000, are −∞ in float16")
    expect(page.get_by_role("combobox", name="in", exact=True)).to_be_disabled()
    choose(page, "Masked scores become", "-10")
    expect(page.get_by_role("combobox", name="in", exact=True)).to_be_enabled()
    expect(element).to_contain_text("In float32")


def test_masks_that_are_there_are_offered(page: Page) -> None:
    opened(page, model="gpt", off="causal,padding")
    offered = page.locator("[name=off] option:not([disabled])")
    expect(offered).to_have_count(4)
    choose(page, "Model", "bert")
    expect(offered).to_have_count(2)
    expect(page.locator("[name=off]")).to_have_value("padding")
    expect(page).to_have_url(re.compile("model=bert.*off=padding"))


def test_padding_after_every_word_is_hidden_anyway(page: Page) -> None:
    opened(page, model="gpt", off="padding")
    expect(page.locator("#leaks")).to_contain_text("Padding comes after every word")


def test_too_many_texts_are_refused_and_the_picture_stays(page: Page) -> None:
    opened(page)
    page.get_by_role("textbox", name="Texts, one a line").fill("\n".join(["hi"] * 9))
    expect(page.get_by_role("alert")).to_contain_text("one to eight texts, one a line")
    expect(page.locator("#ids-table")).to_contain_text("test")


def test_nonsense_in_the_address_is_named(page: Page) -> None:
    opened(page, layer=99, off="x", fill=3, kind="cross")
    for part in ("layer 99", "off x", "fill 3", "kind cross"):
        expect(page.locator("#notice")).to_contain_text(part)


@pytest.mark.parametrize("setting", [LIGHT], ids=["light"])
def test_axe_finds_no_violation_in_either_theme(page: Page) -> None:
    opened(page, model="gpt")
    assert violations_by_theme(page) == BOTH_CLEAN


@pytest.mark.parametrize("setting", [PHONE], ids=["phone"])
def test_a_phone_never_scrolls_sideways_and_axe_finds_no_violation(page: Page) -> None:
    assert width_of(opened(page)) == 390
    assert violations(opened(page, model="gpt")) == []


@pytest.mark.parametrize("setting", [NO_SCRIPT], ids=["no script"])
def test_without_a_script_there_are_numbers(page: Page) -> None:
    page.goto("/masks")
    expect(page.locator("#ids-table td")).to_have_count(21)
    expect(page.locator("#sums-table td.n").first).to_have_text("1.000")
