"""The heads that the cards name do on the pages' examples what they are named for."""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qsl, urlsplit

import numpy as np
import pytest
from fastapi.testclient import TestClient


def looked_at(client: TestClient, model: str, measure: str) -> dict[str, Any]:
    """The attention of a measure's head on the text that its card leads to."""
    place = client.get(f"/models/{model}.json").json()["places"][measure]
    shown = client.get(place.replace("/explore?", "/explore.json?")).json()
    request = dict(parse_qsl(urlsplit(place).query)) | {"text": shown["text"]}
    return client.get("/api/v1/attention", params=request).json()


def most(answer: dict[str, Any]) -> np.ndarray:
    """For each query the key it looks at most."""
    result: np.ndarray = np.array(answer["attn"])[0, 0].argmax(-1)
    return result


@pytest.mark.parametrize(
    ("model", "measure", "offset"),
    [
        ("bert", "encoder_previous_token", -1),
        ("bert", "encoder_next_token", 1),
        ("gpt", "decoder_previous_token", -1),
    ],
)
def test_a_head_looks_at_a_neighbour(
    client: TestClient, model: str, measure: str, offset: int
) -> None:
    best = most(looked_at(client, model, measure))
    inside = np.arange(1, len(best) - 1)
    assert (best[inside] == inside + offset).mean() >= 0.6


def test_an_induction_head_looks_after_the_earlier_copy(client: TestClient) -> None:
    answer = looked_at(client, "gpt", "decoder_induction")
    raw = [token["raw"] for token in answer["q_tokens"]]
    period = (len(raw) - 1) // 2
    assert raw[1 : 1 + period] == raw[1 + period :]
    again = np.arange(1 + period, len(raw) - 1)  # after the last token nothing follows
    attn = np.array(answer["attn"])[0, 0]
    after_copy = attn[again, again - period + 1].mean()  # the rest may go to the first token
    assert after_copy >= 2 * (1 / again).mean(), "twice what equal attention would give"


@pytest.mark.parametrize("model", ["translator", "recurrent"])
def test_a_word_looks_at_the_word_it_translates(client: TestClient, model: str) -> None:
    answer = looked_at(client, model, "cross_alignment_error_rate")
    words = np.array([not token["special"] for token in answer["k_tokens"]])
    attn = np.array(answer["attn"])[0, 0] * words
    keys = [token["text"].strip() for token in answer["k_tokens"]]
    texts = [token["text"].strip() for token in answer["q_tokens"]]
    if model == "recurrent":  # it looks before it reads its input: at what it gives
        texts = [*texts[1:], "</s>"]
    links = {word: keys[k] for word, k in zip(texts, attn.argmax(-1), strict=True)}
    gold = {"The": "El", "bank": "banco", "is": "está", "closed": "cerrado"}
    assert links["bank"] == "banco"
    assert sum(links[word] == gold[word] for word in gold) >= 2


@pytest.mark.parametrize("model", ["translator", "recurrent"])
def test_the_bank_is_closed(client: TestClient, model: str) -> None:
    request = {"model": model, "text": "El banco está cerrado."}
    assert client.get("/api/v1/run", params=request).json()["target"] == "The bank is closed."
