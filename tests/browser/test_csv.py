"""Every CSV that a page makes: pandas reads it without options; its name says its source."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode
from urllib.request import urlopen

import pandas as pd
import pytest
from playwright.sync_api import Page, expect

from tests.browser.complete import all_of, complete

TEXT = 'the "bank", the bank,'  # quotes, commas and equal tokens
PAGES = {
    "/positions": {"text": TEXT, "n_positions": 8, "d_model": 6, "dimension": 1},
    "/masks": {"model": "gpt", "texts": f"{TEXT}\na a a"},
    "/attention": {"text": TEXT, "d_k": 16},
    "/generate": {"text": TEXT, "max_new_tokens": 4, "n_max": 1},
    "/translate": {
        "text": "El banco, el banco.",
        "num_beams": 2,
        "reference": "The bank, the bank.",
    },
}

MEASURED = {"/attention": "#memory-plot", "/generate": "#shots-plot"}  # by a button
MISSING = {"after", "surprise", "sinusoidal"}  # a first token follows none; one line is shorter


def sheets(page: Page, tmp_path: Path) -> dict[str, pd.DataFrame]:
    """Each CSV of a page by its file's name, as pandas reads it."""
    values = {}
    for button in all_of(page.get_by_role("button", name="CSV")):
        if not button.is_visible():
            continue
        with page.expect_download() as download:
            button.click()
        path = tmp_path / download.value.suggested_filename
        download.value.save_as(path)
        values[path.name] = pd.read_csv(path)
    return values


def opened(page: Page, path: str, **more: object) -> Page:
    page.goto(f"{path}?{urlencode({**PAGES[path], **more}, quote_via=quote)}")
    complete(page)
    expect(page.get_by_role("alert")).to_be_empty()
    page.get_by_role("button", name="CSV").first.wait_for()
    if path in MEASURED:
        page.locator("#measure").click()
        page.locator(f"{MEASURED[path]} + .beneath").wait_for(timeout=120_000)
        expect(page.locator("#measure")).to_be_enabled(timeout=120_000)
    return page


@pytest.mark.parametrize("path", PAGES)
def test_every_csv_is_tidy_in_every_language(page: Page, path: str, tmp_path: Path) -> None:
    english = sheets(opened(page, path), tmp_path)
    chinese = sheets(opened(page, path, lang="zh"), tmp_path)
    assert len(english) >= 3
    for name, table in english.items():
        assert "Attention-Atlas-0.4.0" in name
        assert not table.empty
        assert all(column.replace("_", "").isalnum() for column in table.columns), name
        assert not table.columns.str.contains("Unnamed").any(), "no column without a name"
        assert table.columns.is_unique
        assert set(table.columns[table.isna().any()]) <= MISSING, name
    headers = [list(table.columns) for table in english.values()]
    assert [list(table.columns) for table in chinese.values()] == headers


def api(server: str, path: str, **query: object) -> Any:
    with urlopen(f"{server}/api/v1/{path}?{urlencode(query)}") as answer:
        return json.load(answer)


def test_a_csv_has_the_api_s_tokens_and_numbers(page: Page, server: str, tmp_path: Path) -> None:
    result = sheets(opened(page, "/masks", texts=TEXT, layer=1, head=2), tmp_path)
    [name] = [name for name in result if "-attn-" in name]
    spec = {"model": "gpt", "text": TEXT, "layer": 1, "head": 2}
    record = api(server, "attention", **spec)
    assert f"weights-{record['provenance']['sha256'][:8]}" in name
    table = result[name]
    assert list(table.columns) == ["query", "query_token", "key", "key_token", "attn"]
    texts = [token["text"].strip() for token in record["q_tokens"]]
    assert [texts[q] for q in table["query"]] == list(table["query_token"])
    [[rows]] = record["attn"]
    expected = [rows[q][k] for q, k in zip(table["query"], table["key"], strict=True)]
    assert list(table["attn"]) == pytest.approx(expected, abs=1e-6)


def test_the_csv_of_a_head_leaves_the_explorer(page: Page, tmp_path: Path) -> None:
    page.goto(f"/explore?{urlencode({'model': 'bert', 'text': TEXT, 'layer': 2, 'head': 3})}")
    complete(page)
    with page.expect_download() as download:
        page.locator("#foot").get_by_role("link", name="csv").click()
    name = download.value.suggested_filename
    assert name.startswith("attention-bert-encoder-L2H3-weights-")
    download.value.save_as(tmp_path / name)
    table = pd.read_csv(tmp_path / name)
    assert list(table.columns) == ["query", "query_token", "key", "key_token", "attn"]
    sums = table.groupby("query")["attn"].sum()
    assert sums.to_list() == pytest.approx([1] * len(sums))


LONG = "🙂" * 40  # BERT reads it as one unknown token


@pytest.mark.parametrize("path", ["/masks", "/lab"])
def test_a_csv_has_every_token_whole(page: Page, path: str, tmp_path: Path) -> None:
    more = {"texts": LONG} if path == "/masks" else {"text": f"{LONG} [MASK]", "over": "positions"}
    page.goto(f"{path}?{urlencode({'model': 'bert', **more})}")
    complete(page)
    names = [table.to_csv() for table in sheets(page, tmp_path).values()]
    assert any(LONG in text for text in names)
    assert not any("…" in text for text in names)
