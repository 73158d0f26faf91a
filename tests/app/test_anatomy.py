"""/anatomy: one head and one query token, step by step."""

from __future__ import annotations

import numpy as np
import pytest
import safetensors.numpy

from tests.kinds import EVERY_KIND

BANK = "He sat on the river bank."


@pytest.mark.parametrize(("model", "kind"), EVERY_KIND)
def test_anatomy_leads_step_by_step_to_the_attention(get, model, kind):
    place = {"model": model, "text": "El banco está cerrado.", "kind": kind}
    place |= {"layer": 0, "head": 0}
    answer = get("/anatomy", **place, query=2)
    q, k, products, v = (np.array(answer[name]) for name in ("q", "k", "products", "v"))
    mask = np.array(answer["mask"])
    if answer["score"] == "dot_product":
        np.testing.assert_allclose(products, q * k, atol=1e-5)
        assert answer["scale"] == pytest.approx(q.size**-0.5)
    np.testing.assert_allclose(products.sum(-1), answer["dots"], atol=1e-4)
    scores = np.array([-np.inf if score is None else score for score in answer["scores"]])
    scaled = np.where(mask, np.array(answer["dots"]) * answer["scale"], -np.inf)
    np.testing.assert_allclose(scores, scaled, atol=1e-4)
    np.testing.assert_allclose(np.array(answer["attn"]) @ v, answer["z"], atol=1e-5)
    whole = get("/attention", **place)
    np.testing.assert_allclose(answer["attn"], whole["attn"][0][0][2], atol=1e-6)
    assert answer["q_tokens"] == whole["q_tokens"]
    assert answer["k_tokens"] == whole["k_tokens"]


@pytest.mark.parametrize(
    ("place", "message"),
    [
        ({"query": 99}, "query 99 does not exist: the text has query tokens 0 to 8"),
        ({"layer": 6}, "layer 6 does not exist: bert has layers 0 to 5"),
        ({"head": 12}, "head 12 does not exist: bert has heads 0 to 11"),
        ({"kind": "cross"}, "bert has encoder attention, not cross"),
    ],
)
def test_anatomy_names_what_is_there(client, place, message):
    answer = client.get("/api/v1/anatomy", params={"model": "bert", "text": BANK, **place})
    assert answer.status_code == 422
    assert message in answer.json()["detail"]


def test_anatomy_comes_as_safetensors_too(client, get):
    request = {"model": "bert", "text": BANK, "layer": 2, "head": 3, "query": 6}
    answer = client.get("/api/v1/anatomy", params={**request, "format": "safetensors"})
    tensors = safetensors.numpy.load(answer.content)
    assert tensors["k"].shape == (9, 32)
    np.testing.assert_allclose(tensors["attn"], get("/anatomy", **request)["attn"], atol=1e-7)
