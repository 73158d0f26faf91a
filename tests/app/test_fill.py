"""/fill-mask, /next-sentence, /corruption."""

from __future__ import annotations

import numpy as np
import pytest


@pytest.mark.parametrize("text", ["[MASK]", "[SEP]", "[CLS] [SEP]"])
def test_nothing_but_special_tokens_has_no_loss(post, text):
    answer = post("/corruption", model="bert", text=text)
    assert (answer["chosen"], answer["loss"]) == ([], None)


def test_blanks_sentences_and_noise(get):
    answer = get("/fill-mask", model="bert", text="He sat on the [MASK] bank.", top=4)
    assert [len(mask["candidates"]) for mask in answer["masks"]] == [4]
    a, b = "The children went to the river.", "They played in the water all day."
    ab, ba = (get("/next-sentence", model="bert", text=x, text_pair=y) for x, y in ((a, b), (b, a)))
    assert ab["is_next"] == pytest.approx(ba["swapped"], abs=1e-5)
    noise = get("/corruption", model="bert", text=a, text_pair=b, seed=5)
    losses = [place["loss"] for place in noise["chosen"]]
    assert noise["loss"] == pytest.approx(sum(losses) / len(losses))
    assert [np.exp(-loss) for loss in losses] == pytest.approx(
        [place["probability"] for place in noise["chosen"]]
    )


@pytest.mark.parametrize(
    ("path", "params", "said"),
    [
        ("/next-token", {"model": "bert", "text": "hi"}, "bert is not for next-token"),
        ("/fill-mask", {"model": "bert", "text": "hi"}, "no [MASK]"),
        ("/fill-mask", {"model": "gpt", "text": "hi"}, "gpt is not for fill-mask"),
        ("/next-sentence", {"model": "bert", "text": "hi"}, "text_pair"),
        ("/next-sentence", {"model": "bert", "text": "hi", "text_pair": " "}, "second text"),
        ("/next-token", {"model": "gpt", "text": "hi", "top": 101}, "at most 100"),
        ("/corruption", {"model": "bert", "text": "hi", "seed": -1}, "at least 0"),
    ],
)
def test_what_cannot_be_is_said(client, path, params, said):
    answer = client.get(f"/api/v1{path}", params=params)
    assert answer.status_code == 422
    assert said in answer.json()["detail"]


def test_a_text_without_words_is_said_in_the_language_of_the_page(client) -> None:
    spec = {"model": "bert", "text": " ", "text_pair": "a"}
    page = client.get("/api/v1/next-sentence", params=spec, headers={"accept-language": "zh"})
    assert page.status_code == 422
    assert page.json()["detail"] == "第一段文本中没有词；请至少输入一个词"
