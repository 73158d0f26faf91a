"""Long texts: all heads as a sketch made head by head, one head whole, never all of them."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
from attention_atlas.app import service
from attention_atlas.app.main import create_app
from attention_atlas.app.settings import Settings
from fastapi.testclient import TestClient

TEXT = "The river bank is closed. " * 6
MODELS = ("bert", "gpt", "translator")


@pytest.fixture(scope="module")
def client():
    with TestClient(create_app(Settings(threads=1, cache_mb=64))) as client:
        yield client


def tensors(client: TestClient, path: str, **spec: Any) -> dict[str, np.ndarray]:
    answer = client.get(f"/api/v1/{path}", params={**spec, "format": "safetensors"})
    assert answer.status_code == 200, answer.text
    return safetensors.numpy.load(io.BytesIO(answer.content).read())


def spec_of(model: str) -> dict[str, str]:
    return {"model": model, "text": TEXT} | ({"target": TEXT} if model == "translator" else {})


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("path", ["attention/overview", "metrics"])
def test_a_sketch_is_what_all_heads_whole_would_give(client, monkeypatch, model, path) -> None:
    spec = spec_of(model) | ({"size": "7"} if path.endswith("overview") else {})
    whole = tensors(client, path, **spec)
    client.app.state.service._cache.clear()
    monkeypatch.setattr(service, "LONG", 1)
    sketched = tensors(client, path, **spec)
    assert sketched.keys() == whole.keys()
    for name, tensor in whole.items():
        np.testing.assert_allclose(sketched[name], tensor, atol=1e-5)


def test_of_a_long_text_a_few_heads_at_a_time(client, monkeypatch) -> None:
    spec = spec_of("gpt")
    monkeypatch.setattr(service, "LONG", 20_000)  # three heads of 38 tokens, and not four
    one = client.get("/api/v1/attention", params={**spec, "layer": "1", "head": "2"})
    assert one.status_code == 200 and one.json()["shape"][:2] == [1, 1]
    answer = client.get("/api/v1/attention", params=spec)
    assert answer.status_code == 422
    assert "48 heads of" in answer.json()["detail"]
    assert "ask for 3 heads or fewer" in answer.json()["detail"]


def test_the_pages_of_a_long_text(client, monkeypatch) -> None:
    monkeypatch.setattr(service, "LONG", 20_000)
    spec = spec_of("gpt")
    page = client.get("/explore.json", params=spec)
    assert page.status_code == 200 and page.json()["run"]["kinds"][0]["n_head"] == 8
    assert client.get("/explore.html", params=spec).status_code == 200
    where = {"layer": "1", "head": "2", "query": "4"}
    assert client.get("/api/v1/anatomy", params={**spec, **where}).status_code == 200
