"""A text longer than any in its model's training: where that ends is in the answers."""

from __future__ import annotations

import pytest
from attention_atlas.model import zoo

LONG = (
    "El banquero desafortunadamente está cerrado. " * 14
)  # more than 100 tokens, fewer than n_ctx


def axis_ends(get, **spec) -> tuple[int | None, int | None]:
    fields = {"model": "translator", "text": LONG, "target": "The bank.", "layer": "0"}
    answer = get("/attention", **{**fields, **spec})
    return answer["q_trained"], answer["k_trained"]


def test_every_bundled_model_says_how_long_its_training_texts_were(get) -> None:
    models = [each for each in get("/models")["models"] if each["name"] in zoo.names()]
    lengths = {each["name"]: each["trained_length"] for each in models}
    assert lengths == {"bert": 512, "gpt": 512, "translator": 100, "recurrent": 100}


@pytest.mark.parametrize(
    ("kind", "ends"), [("encoder", (100, 100)), ("cross", (None, 100)), ("decoder", (None, None))]
)
def test_each_axis_says_where_training_ended(get, kind: str, ends: tuple[object, object]) -> None:
    assert axis_ends(get, kind=kind) == ends


def test_words_and_hidden_specials_move_the_end(get) -> None:
    pieces = get("/tokenize", model="translator", text=LONG)["tokens"]
    n_word = len({token["word"] for token in pieces[:100] if token["word"] is not None})
    words = axis_ends(get, kind="encoder", merge="words", special="hide")
    assert words == (n_word, n_word)
    assert n_word < 100


def test_a_text_within_the_length_has_no_end(get) -> None:
    assert axis_ends(get, kind="encoder", text="El banco está cerrado.") == (None, None)


def test_the_overview_says_it_in_tokens(get) -> None:
    spec = {"model": "translator", "text": LONG, "target": "The bank.", "kind": "encoder"}
    overview = get("/attention/overview", **spec, size=8)
    assert (overview["q_trained"], overview["k_trained"]) == (100, 100)


def test_the_model_s_page_says_it(client) -> None:
    assert "Trained on texts of at most 100 tokens" in client.get("/models/translator").text
    assert "Trained on texts of at most" not in client.get("/models/bert").text
