"""/positions, /embedding, /permutation: encodings, and what they are for."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

POSITIONED = ["bert", "gpt", "translator"]


def test_sines_are_the_papers_formula(get):
    result = np.array(get("/positions", n_positions=7, d_model=10, base=500)["encoding"])
    for pos in range(7):
        for i in range(5):
            angle = pos / 500 ** (2 * i / 10)
            assert result[pos, 2 * i] == pytest.approx(math.sin(angle), abs=1e-6)
            assert result[pos, 2 * i + 1] == pytest.approx(math.cos(angle), abs=1e-6)


def test_sines_are_those_of_an_independent_implementation(get):
    """The complex form: e^(i pos / base^(2i/D)), whose imaginary part is the sine."""
    result = np.array(get("/positions", n_positions=50, d_model=16)["encoding"])
    turns = np.exp(1j * np.outer(np.arange(50), 10_000.0 ** (-np.arange(8) / 8)))
    np.testing.assert_allclose(result[:, 0::2], turns.imag, atol=1e-6)
    np.testing.assert_allclose(result[:, 1::2], turns.real, atol=1e-6)


def test_wavelengths_run_from_2_pi_up(get):
    answer = get("/positions", d_model=64, base=10_000)["wavelengths"]
    assert answer[0] == pytest.approx(2 * math.pi)
    assert answer[-1] == pytest.approx(2 * math.pi * 10_000 ** (62 / 64), rel=1e-5)


@pytest.mark.parametrize("shift", [0, 1, 5, 63])
def test_a_shift_is_one_matrix(get, shift):
    assert get("/positions", shift=shift)["shift_error"] < 1e-5


def test_a_shift_that_no_two_positions_are_apart_has_no_error(get):
    assert get("/positions", n_positions=7, shift=6)["shift_error"] is not None
    assert get("/positions", n_positions=7, shift=7)["shift_error"] is None


def test_a_shift_turns_each_pair_of_dimensions(get):
    answer = get("/positions", n_positions=20, d_model=6, shift=4, base=50)
    turns, encoding = np.array(answer["turns"]), np.array(answer["encoding"])
    for i, turn in enumerate(turns):
        angle = 4 / 50 ** (2 * i / 6)
        rotation = [[math.cos(angle), math.sin(angle)], [-math.sin(angle), math.cos(angle)]]
        np.testing.assert_allclose(turn, rotation, atol=1e-6)
        pairs = encoding[:, 2 * i : 2 * i + 2]
        np.testing.assert_allclose(pairs[:-4] @ turn.T, pairs[4:], atol=1e-5)
    assert get("/positions", model="bert", n_positions=3)["turns"] == []


@pytest.mark.parametrize("measure", ["cosine", "dot"])
@pytest.mark.parametrize("model", [None, *POSITIONED])
def test_likeness_is_of_the_encodings(get, model, measure):
    request = {"model": model} if model else {}
    answer = get("/positions", **request, n_positions=9, measure=measure)
    x = np.array(answer["encoding"])
    if measure == "cosine":
        x = x / np.linalg.norm(x, axis=1, keepdims=True)
    np.testing.assert_allclose(answer["similarity"], x @ x.T, atol=1e-4)
    mean = np.diagonal(x @ x.T, 3).mean()
    assert answer["by_distance"][3] == pytest.approx(mean, abs=1e-4)


def test_a_models_positions_are_its_own(get, app):
    bert = app.state.service.models["bert"].model
    answer = get("/positions", model="bert", n_positions=12)
    np.testing.assert_allclose(answer["encoding"], bert.position.weight[:12].detach(), atol=1e-7)
    assert (answer["kind"], answer["shift_error"], answer["wavelengths"]) == ("learned", None, [])
    assert get("/positions", model="translator", n_positions=5)["kind"] == "sinusoidal"


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"d_model": 7}, "must be even, 2 to 1024"),
        ({"d_model": 0}, "must be even, 2 to 1024"),
        ({"d_model": 100_000}, "must be even, 2 to 1024"),
        ({"base": 1}, "more than 1"),
        ({"n_positions": 0}, "at least 1"),
        ({"n_positions": 5000}, "at most 1024"),
        ({"model": "bert", "n_positions": 600}, "600 positions are too many: bert has 512"),
        ({"model": "recurrent"}, "recurrent has no position encoding"),
        ({"model": "bert", "kind": "sinusoidal"}, "not both"),
    ],
)
def test_what_cannot_be_is_said_with_its_limit(client, asked, said):
    answer = client.get("/api/v1/positions", params=asked)
    assert answer.status_code == 422
    assert said in answer.json()["detail"]


@pytest.mark.parametrize("model", POSITIONED)
def test_word_and_position_are_the_input(get, app, model):
    answer = get("/embedding", model=model, text="I like NLP")
    loaded = app.state.service.models[model].model
    ids = torch.tensor([token["id"] for token in answer["tokens"]])
    position = loaded.position.weight if model != "translator" else loaded.position
    expected = position[: len(ids)].norm(dim=-1).detach()
    np.testing.assert_allclose(answer["parts"]["position"], expected, rtol=1e-5)
    assert ("segment" in answer["parts"]) == (model == "bert")
    hidden = np.array(get("/hidden-states", model=model, text="I like NLP")["hidden"])[0]
    norms = np.linalg.norm(hidden, axis=-1)
    np.testing.assert_allclose(answer["parts"]["input"], norms, rtol=1e-4)


@pytest.mark.parametrize("model", ["bert", "translator"])
@pytest.mark.parametrize("text", ["I like NLP", "the river bank and the other bank of the river"])
def test_without_positions_order_is_lost(get, model, text):
    answer = get("/permutation", model=model, text=text)
    assert answer["difference"]["without"] < 1e-4
    assert answer["difference"]["with"] > 0.05
    assert sorted(answer["order"]) == list(range(len(answer["tokens_a"])))
    assert not answer["causal"]


@pytest.mark.parametrize("model", POSITIONED)
@pytest.mark.parametrize("text", [" The river bank", "The river bank ", "The  river\nbank"])
def test_spaces_are_no_words(get, model, text):
    answer = get("/permutation", model=model, text=text)
    plain = get("/permutation", model=model, text="The river bank")
    assert answer["by_token"] == plain["by_token"]
    assert answer["text_b"] == "bank river The"


@pytest.mark.parametrize(("model", "text"), [("bert", "unbelievable"), ("translator", "天地人")])
def test_a_text_without_spaces_has_its_tokens_reversed(get, model, text):
    answer = get("/permutation", model=model, text=text)
    ids = [[token["id"] for token in answer[key]] for key in ("tokens_a", "tokens_b")]
    assert ids[0] != ids[1] and sorted(ids[0]) == sorted(ids[1])
    assert answer["difference"]["with"] > 0.05 > 1e-4 > answer["difference"]["without"]
    assert (answer["text_b"], answer["same"]) == ("", False)


@pytest.mark.parametrize("asked", [{"text": "bank"}, {"text": "no no"}])
def test_one_order_alone_is_said(get, asked):
    answer = get("/permutation", model="bert", **asked)
    assert answer["same"]
    assert answer["difference"] == {"with": 0, "without": 0}


def test_a_causal_mask_tells_order_too(get):
    answer = get("/permutation", model="gpt", text="one two three", text_b="two one three")
    assert answer["causal"]
    assert answer["difference"]["without"] > 0.01


def test_other_words_are_no_other_order(client):
    request = {"model": "bert", "text": "the bank", "text_b": "the river"}
    answer = client.get("/api/v1/permutation", params=request)
    assert answer.status_code == 422
    assert "only the second has: river" in answer.json()["detail"]


@pytest.mark.parametrize("model", ["bert", "gpt", "translator"])
def test_positions_can_be_edited_away(client, get, model):
    request = {"model": model, "text": "the bank of the river"}
    plain = np.array(get("/attention", **request)["attn"])

    def edited(edit: dict) -> np.ndarray:
        body = {**request, "edits": [{"op": "positions", **edit}]}
        return np.array(client.post("/api/v1/attention", json=body).json()["attn"])

    assert np.abs(edited({}) - plain).max() > 0.05
    np.testing.assert_array_equal(edited({}), edited({"with": "none"}))
    shuffled = edited({"with": "shuffle", "seed": 3})
    np.testing.assert_array_equal(shuffled, edited({"with": "shuffle", "seed": 3}))
    assert np.abs(shuffled - edited({"with": "shuffle", "seed": 4})).max() > 0.01


@pytest.mark.parametrize(
    ("edit", "said"),
    [
        ({"op": "positions", "layer": 1}, "no layer, no head"),
        ({"op": "positions", "with": "zero"}, "positions, which takes none, shuffle"),
        ({"op": "block", "with": "mean"}, "block, which takes –"),
    ],
)
def test_an_edit_that_does_not_go_together_is_refused(client, edit, said):
    answer = client.post("/api/v1/run", json={"model": "bert", "text": "hi", "edits": [edit]})
    assert answer.status_code == 422
    assert said in answer.json()["detail"]
