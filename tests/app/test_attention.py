"""/attention and /attention/overview: numbers, masks, reductions, formats."""

from __future__ import annotations

import csv
import io
import json

import numpy as np
import pytest
import safetensors.numpy

from tests.kinds import EVERY_KIND

BANK = "He sat on the river bank."
ONE = {"model": "bert", "text": BANK, "layer": 2, "head": 3}


@pytest.mark.parametrize(("model", "kind"), EVERY_KIND)
def test_rows_sum_to_one_and_axes_have_their_tokens(get, model, kind):
    answer = get("/attention", model=model, text="El banco está cerrado.", kind=kind)
    attn = np.array(answer["attn"], np.float32)
    assert attn.shape == tuple(answer["shape"])
    assert attn.shape[2:] == (len(answer["q_tokens"]), len(answer["k_tokens"]))
    np.testing.assert_allclose(attn.sum(-1), 1, atol=1e-5)


@pytest.mark.parametrize(("model", "kind"), [("gpt", "decoder"), ("translator", "decoder")])
def test_masked_places_are_zero_and_their_scores_null(get, model, kind):
    request = {"model": model, "text": "El banco.", "kind": kind, "layer": 1, "head": 2}
    attn = np.array(get("/attention", **request)["attn"][0][0])
    scores = get("/attention", **request, quantity="scores")["attn"][0][0]
    ahead = np.triu(np.ones_like(attn, dtype=bool), 1)
    assert (attn[ahead] == 0).all()
    assert (np.array([[value is None for value in row] for row in scores]) == ahead).all()


def test_scores_soften_to_attention(get):
    attn = np.array(get("/attention", **ONE)["attn"])
    scores = np.exp(np.array(get("/attention", **ONE, quantity="scores")["attn"]))
    np.testing.assert_allclose(scores / scores.sum(-1, keepdims=True), attn, atol=1e-5)


def test_a_part_is_that_part_of_the_whole(get):
    whole = np.array(get("/attention", model="gpt", text=BANK)["attn"])
    part = get("/attention", model="gpt", text=BANK, layer="4,1", head=7)
    assert (part["layers"], part["heads"], part["shape"][:2]) == ([4, 1], [7], [2, 1])
    np.testing.assert_array_equal(np.array(part["attn"]), whole[[4, 1]][:, [7]])


def test_cross_attention_goes_from_target_to_source(get):
    request = {"model": "translator", "text": "El banco.", "target": "The bank."}
    answer = get("/attention", **request, kind="cross")
    assert [token["text"] for token in answer["q_tokens"]] == ["<s>", "The", " bank", "."]
    assert [token["text"] for token in answer["k_tokens"]] == ["El", " banco", ".", "</s>"]


def test_every_format_holds_the_same_numbers(client):
    request = {**ONE, "model": "gpt"}
    as_json = client.get("/api/v1/attention", params=request).json()
    attn = np.array(as_json["attn"], np.float32)
    accept = {"Accept": "application/vnd.safetensors"}
    content = client.get("/api/v1/attention", params=request, headers=accept).content
    tensors = safetensors.numpy.load(content)
    np.testing.assert_array_equal(tensors["attn"], attn)
    np.testing.assert_array_equal(tensors["mask"], np.array(as_json["mask"]))
    header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
    labels = {name: json.loads(value) for name, value in header["__metadata__"].items()}
    assert labels == {name: as_json[name] for name in as_json if name not in ("attn", "mask")}
    answer = client.get("/api/v1/attention", params={**request, "format": "npz"})
    npz = np.load(io.BytesIO(answer.content))
    np.testing.assert_array_equal(npz["attn"], attn)
    assert json.loads(str(npz["metadata"])) == labels
    answer = client.get("/api/v1/attention", params={**request, "format": "csv"})
    rows = list(csv.DictReader(answer.text.splitlines()))
    for row in rows:
        q, k = int(row["query"]), int(row["key"])
        assert np.float32(row["attn"]) == attn[0, 0, q, k]
    assert len(rows) == np.array(as_json["mask"]).sum()


@pytest.mark.parametrize(("dtype", "atol"), [("float16", 5e-4), ("uint8", 0.5)])
def test_smaller_dtypes_are_the_rounded_numbers(client, dtype, atol):
    request = {"params": {**ONE, "format": "safetensors"}}
    exact = safetensors.numpy.load(client.get("/api/v1/attention", **request).content)["attn"]
    request["params"]["dtype"] = dtype
    small = safetensors.numpy.load(client.get("/api/v1/attention", **request).content)["attn"]
    assert str(small.dtype) == dtype
    scale = 255 if dtype == "uint8" else 1
    np.testing.assert_allclose(small.astype(np.float32), exact * scale, atol=atol)


def test_words_are_summed_over_keys_and_averaged_over_queries(get):
    request = {"model": "bert", "text": "Unquestionably brilliant.", "layer": 1, "head": 1}
    pieces, words = get("/attention", **request), get("/attention", **request, merge="words")
    attn = np.array(pieces["attn"][0][0])
    owner = [token["word"] for token in pieces["q_tokens"]]
    first = [i for i, word in enumerate(owner) if word == 0]
    assert len(first) > 1
    assert words["q_tokens"][1]["text"] == "Unquestionably"
    expected = attn[first][:, first].sum(1).mean()
    assert words["attn"][0][0][1][1] == pytest.approx(expected, abs=1e-6)
    np.testing.assert_allclose(np.sum(words["attn"], -1), 1, atol=1e-5)


def test_special_tokens_are_hidden_or_rows_renormalised(get):
    kept, hidden, renormalised = (
        get("/attention", **ONE, special=special) for special in ("keep", "hide", "renormalise")
    )
    inner = np.array(kept["attn"])[..., 1:-1, 1:-1]
    np.testing.assert_array_equal(hidden["attn"], inner)
    total = inner.sum(-1, keepdims=True)
    np.testing.assert_allclose(renormalised["attn"], inner / total, atol=1e-5)
    assert not any(token["special"] for token in hidden["k_tokens"])


def test_reductions_go_over_heads(get):
    request = {"model": "bert", "text": BANK, "layer": "0,1"}
    attn = np.array(get("/attention", **request)["attn"])
    mean = get("/attention", **request, reduce="mean_heads")
    np.testing.assert_allclose(mean["attn"], attn.mean(1, keepdims=True), atol=1e-6)
    largest = get("/attention", **request, reduce="max_heads")["attn"]
    np.testing.assert_allclose(largest, attn.max(1, keepdims=True), atol=1e-6)
    eye = np.eye(attn.shape[-1])
    first, second = (attn.mean(1) + eye) / 2
    rolled = get("/attention", **request, reduce="rollout")["attn"]
    np.testing.assert_allclose(rolled, (second @ first)[None, None], atol=1e-6)


def test_the_overview_is_the_largest_of_each_block(get):
    request = {"model": "gpt", "text": "one two three four five six seven eight nine"}
    attn = np.array(get("/attention", **request)["attn"])
    small = get("/attention/overview", **request, size=4)
    T = attn.shape[-1]
    block = -(-T // 4)
    assert small["block"] == [block, block]
    assert small["attn"][3][5][0][0] == round(255 * attn[3, 5, :block, :block].max())
    assert small["mask"][0][0][0] == [True] + [False] * (small["shape"][-1] - 1)


def test_the_largest_over_heads_of_words_is_never_more_than_one(get):
    request = {"model": "bert", "text": "Antidisestablishmentarianism.", "layer": 0}
    words = np.array(get("/attention", **request, merge="words")["attn"])
    largest = np.array(get("/attention", **request, merge="words", reduce="max_heads")["attn"])
    np.testing.assert_array_equal(largest, words.max(1, keepdims=True))
    assert largest.max() <= 1 + 1e-5
