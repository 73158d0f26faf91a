"""/masks: several texts in one batch, and what masks do to a head."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

TEXTS = ["This is a test", "This is a new test", "This is it"]
KINDS = [
    ("bert", "encoder"),
    ("gpt", "decoder"),
    ("translator", "encoder"),
    ("translator", "decoder"),
    ("translator", "cross"),
]


@pytest.fixture
def batch(client):
    def ask(model="bert", texts=TEXTS, **options):
        place = {"layer": 1, "head": 2, **options}
        answer = client.post("/api/v1/masks", json={"model": model, "texts": texts, **place})
        assert answer.status_code == 200, answer.text
        return answer.json()

    return ask


@pytest.mark.parametrize(("model", "kind"), KINDS)
def test_a_padded_text_attends_as_it_does_alone(batch, get, model, kind):
    answer = batch(model, kind=kind)
    for i, text in enumerate(TEXTS):
        alone = get("/attention", model=model, text=text, kind=kind, layer=1, head=2)
        [[rows]] = alone["attn"]
        q, k = np.shape(rows)
        attn = np.array(answer["attn"][i])
        np.testing.assert_allclose(attn[:q, :k], rows, atol=1e-5)
        assert (attn[:q, k:] == 0).all()
        assert answer["q_tokens"][i] == alone["q_tokens"]


@pytest.mark.parametrize(("model", "kind"), [("gpt", "decoder"), ("translator", "decoder")])
def test_it_does_so_with_the_causal_mask_off(batch, client, model, kind):
    answer = batch(model, kind=kind, off=["causal"])
    for i, text in enumerate(TEXTS):
        body = {"model": model, "text": text, "kind": kind, "layer": 1, "head": 2}
        body["edits"] = [{"op": "unmask", "kind": "decoder"}]
        if model == "translator":
            body["target_ids"] = [token["id"] for token in answer["q_tokens"][i][1:]]
        [[rows]] = client.post("/api/v1/attention", json=body).json()["attn"]
        n = len(answer["q_tokens"][i])
        attn = np.array(answer["attn"][i])
        np.testing.assert_allclose(attn[:n, :n], rows, atol=1e-5)
        assert np.triu(attn[:n, :n], 1).sum() > 0.05
        assert (attn[:, n:] == 0).all()
    assert answer["pad_attention"] == [0, 0, 0]


@pytest.mark.parametrize("model", ["gpt", "translator"])
def test_padding_at_the_end_is_ahead_of_every_word(batch, model):
    """Without the padding mask the causal one still hides it, but from padding itself."""
    texts = ["Hola.", "El banco está cerrado.", "Me senté en el banco del parque."]
    alone = batch(model, texts, kind="decoder", off=["padding"])
    assert alone["pad_attention"] == [0, 0, 0]
    both = batch(model, texts, kind="decoder", off=["causal", "padding"])
    lengths = [len(tokens) for tokens in both["q_tokens"]]
    assert [share > 0.01 for share in both["pad_attention"]] == [n < max(lengths) for n in lengths]
    shortest = lengths.index(min(lengths))
    assert np.array(alone["attn"])[shortest, min(lengths) :, min(lengths) :].max() > 0.01


def test_padding_is_no_part_of_the_loss(batch):
    def total(texts):
        answer = batch("gpt", texts=texts)
        words = sum(len(tokens) - 1 for tokens in answer["q_tokens"])
        return np.array([answer["losses"]["on"], answer["losses"]["off"]]) * words

    np.testing.assert_allclose(total(TEXTS), sum(total([text]) for text in TEXTS), rtol=1e-4)


@pytest.mark.parametrize(("model", "kind"), KINDS)
def test_masks_are_what_they_say(batch, model, kind):
    answer = batch(model, kind=kind)
    padding, combined = np.array(answer["padding"]), np.array(answer["combined"])
    lengths = [len(tokens) for tokens in answer["k_tokens"]]
    assert padding.sum(1).tolist() == lengths
    expected = np.broadcast_to(padding[:, None], combined.shape)
    if kind == "decoder":
        causal = np.array(answer["causal"])
        theirs = torch.nn.Transformer.generate_square_subsequent_mask(len(causal))
        np.testing.assert_array_equal(causal, theirs == 0)
        expected = expected & causal
    else:
        assert answer["causal"] is None
    np.testing.assert_array_equal(combined, expected)
    masked = np.array(answer["masked"], dtype=float)
    np.testing.assert_array_equal(np.isnan(masked), ~combined)
    np.testing.assert_array_equal(np.array(answer["attn"]) == 0, ~combined)
    np.testing.assert_allclose(masked[combined], np.array(answer["scores"])[combined], atol=1e-5)
    np.testing.assert_allclose(answer["row_sums"], 1, atol=1e-5)
    assert answer["leak"] == 0


@pytest.mark.parametrize("off", [("causal",), ("padding",), ("causal", "padding")], ids="+".join)
@pytest.mark.parametrize(("model", "kind"), KINDS)
def test_masks_that_are_off_hide_nothing(batch, model, kind, off):
    answer = batch(model, kind=kind, off=list(off))
    combined, masked = np.array(answer["combined"]), np.array(answer["masked"], dtype=float)
    np.testing.assert_array_equal(np.isnan(masked), ~combined)
    np.testing.assert_array_equal(np.array(answer["attn"]) == 0, ~combined)
    if kind == "decoder":
        T = combined.shape[-1]
        causal = np.ones((T, T)) if "causal" in off else np.tri(T)
        np.testing.assert_array_equal(answer["causal"], causal == 1)


def test_without_the_causal_mask_a_decoder_looks_ahead(batch):
    on, off = batch("gpt"), batch("gpt", off=["causal"])
    assert on["leak"] == 0 and off["leak"] > 0.05
    ahead = np.triu(np.array(off["attn"][1]), 1)
    assert ahead.sum() > 0.1
    assert off["losses"] == on["losses"]
    assert on["losses"]["on"] != pytest.approx(on["losses"]["off"], abs=0.05)


def test_without_the_padding_mask_padding_is_looked_at(batch):
    on, off = batch(), batch(off=["padding"])
    assert on["pad_attention"] == [0, 0, 0]
    assert off["pad_attention"][2] > 0.01
    assert off["pad_attention"][1] == 0, "the longest text has none"


@pytest.mark.parametrize(
    ("fill", "precision", "leaks"),
    [
        (-1, "float32", True),
        (-10, "float32", True),
        (-1e4, "float32", False),
        (-1e4, "float16", False),
    ],
)
def test_a_small_number_in_place_of_infinity_leaks(batch, fill, precision, leaks):
    answer = batch("gpt", layer=0, head=0, fill=fill, precision=precision)
    assert (answer["leak"] > 1e-9) == leaks
    np.testing.assert_allclose(answer["row_sums"], 1, atol=2e-3)


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"texts": []}, "one to eight texts, one a line"),
        ({"texts": ["a"] * 9}, "must be one to eight texts, one a line"),
        ({"texts": ["hi", ""]}, "the text is empty"),
        ({"layer": 6}, "layer 6 does not exist: bert has layers 0 to 5"),
        ({"model": "recurrent"}, "it has no masks"),
        ({"off": ["cross"]}, "'causal', 'padding'"),
        ({"fill": 1}, "may be at most 0"),
        ({"fill": -1e30, "precision": "float16"}, "not in float16, which ends at -65504"),
        ({"fill": -65505, "precision": "float16"}, "-65505 is not in float16"),
        ({"texts": ["hi", "\0"]}, "a NUL byte"),
    ],
)
def test_what_cannot_be_is_said(client, asked, said):
    body = {"model": "bert", "texts": TEXTS, **asked}
    answer = client.post("/api/v1/masks", json=body)
    assert answer.status_code == 422
    assert said in answer.json()["detail"]


def test_the_page_splits_at_new_lines_alone_and_offers_masks_that_are_there(client):
    request = {"texts": "one\u2028two\r\nthree\x0bfour\n\nfive", "off": "causal"}
    page = client.get("/masks.json", params={**request, "model": "bert"}).json()
    assert page["texts"] == ["one\u2028two", "three\x0bfour", "five"]
    assert (page["off"], page["fills"]["dtype"]) == ([], "float16")
    assert "off causal does not exist: padding" in page["ignored"][0]["message"]
    assert client.get("/masks.json", params={**request, "model": "gpt"}).json()["off"] == ["causal"]


def test_get_answers_what_post_answers(client):
    request = {"model": "gpt", "texts": json.dumps(TEXTS), "off": "causal,padding", "layer": 2}
    got = client.get("/api/v1/masks", params=request)
    body = {"model": "gpt", "texts": TEXTS, "off": ["causal", "padding"], "layer": 2}
    assert got.json() == client.post("/api/v1/masks", json=body).json()


def test_a_mask_can_be_edited_away(client):
    body = {"model": "gpt", "text": "Once upon a time", "layer": 0, "head": 0}
    edit = {"op": "unmask", "layer": 0, "head": 0}
    plain = client.post("/api/v1/attention", json=body).json()
    edited = client.post("/api/v1/attention", json={**body, "edits": [edit]}).json()
    assert np.triu(plain["attn"][0][0], 1).sum() == 0
    assert np.triu(edited["attn"][0][0], 1).sum() > 0.1
    assert np.all(edited["mask"])


def test_when_a_number_in_place_of_infinity_leaks_is_said(batch):
    """-1e4 in float16 if none is asked for: this head's own scores, scaled until they leak."""
    answer = batch("gpt", layer=0, head=0)
    fills = answer["fills"]
    assert (fills["fill"], fills["dtype"], fills["n_key"]) == (-1e4, "float16", 6)
    assert fills["blind"] == pytest.approx(1 / 6, abs=1e-3)
    assert (fills["blind_infinity"], fills["lowest"], fills["added"]) == (None, -65504, None)
    scores, combined = np.array(answer["scores"]), np.array(answer["combined"])
    seen, unseen = (np.where(which, scores, -np.inf).max(-1) for which in (combined, ~combined))
    outweighs = (unseen - seen).max()
    assert outweighs * fills["by"] > 1e4 > outweighs * fills["by"] / 10
    assert fills["leak"] > 0.5
    request = batch("gpt", fill=-10, precision="bfloat16")["fills"]
    assert (request["fill"], request["dtype"]) == (-10, "bfloat16")
