"""Every CSV of the API: one header, quoted where needed, read by pandas without options."""

from __future__ import annotations

import io

import pandas as pd
import pytest

from attention_atlas import __version__

TEXTS = [
    '"bank", he said,',
    "a,b;c\td",
    "line\nline\r\nline",
    "# x #",
    "'q' \"\"",
    "水 😀 \u200f א",
]


def resources(client) -> list[str]:
    paths = client.app.openapi()["paths"]
    answers = {
        path: result["get"]["responses"]["200"] for path, result in paths.items() if "get" in result
    }
    return [path for path, answer in answers.items() if "text/csv" in str(answer.get("content"))]


def test_attention_alone_has_a_csv(client):
    assert resources(client) == ["/api/v1/attention"], "another one belongs into these tests"


@pytest.mark.parametrize("text", TEXTS)
@pytest.mark.parametrize("model", ["bert", "gpt"])
def test_pandas_reads_a_head_without_options(client, model, text):
    spec = {"model": model, "text": text, "layer": 1, "head": 0}
    answer = client.get("/api/v1/attention", params={**spec, "format": "csv"})
    table = pd.read_csv(io.BytesIO(answer.content))
    body = client.get("/api/v1/attention", params=spec).json()
    assert list(table.columns) == ["query", "query_token", "key", "key_token", "attn"]
    assert len(table) == sum(sum(row) for row in body["mask"][0][0])
    [[rows]] = body["attn"]
    expected = [rows[q][k] for q, k in zip(table["query"], table["key"], strict=True)]
    assert list(table["attn"]) == pytest.approx(expected)
    texts = [token["text"] or token["raw"] for token in body["k_tokens"]]
    assert list(table["key_token"].astype(str)) == [texts[k] for k in table["key"]]


@pytest.mark.parametrize("format", ["csv", "npz", "safetensors"])
def test_a_file_s_name_says_where_its_numbers_are_from(client, format):
    spec = {"model": "gpt", "text": "a b", "layer": 1, "head": 0, "format": format}
    answer = client.get("/api/v1/attention", params=spec)
    sha256 = client.get("/api/v1/models/gpt").json()["sha256"]
    name = f"attention-gpt-decoder-L1H0-weights-{sha256[:8]}-float32-Attention-Atlas-{__version__}"
    assert answer.headers["content-disposition"] == f'attachment; filename="{name}.{format}"'
