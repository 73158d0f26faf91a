"""/lab/lens."""

from __future__ import annotations

import pytest

RIVER = {"model": "bert", "text": "He sat on the river [MASK] and watched the water."}
KING = {"model": "gpt", "text": "The king of France was the old"}
SPANISH = {"model": "translator", "text": "El banco está cerrado.", "target": "The bank is"}


@pytest.mark.parametrize(("run", "n_layer"), [(RIVER, 6), (KING, 6), (SPANISH, 4)])
def test_readings_end_in_the_prediction(post, run, n_layer):
    answer = post("/lab/lens", clean=run, n=4)
    names = [reading["state"] for reading in answer["readings"]]
    assert names == ["embedding", *(f"layer {i}" for i in range(n_layer))]
    assert {len(reading["candidates"]) for reading in answer["readings"]} == {4}
    last, metric = answer["readings"][-1], answer["metric"]
    best = [candidate["id"] for candidate in last["candidates"][:2]]
    assert best == [metric["answer"]["id"], metric["other"]["id"]]
    assert last["difference"] == pytest.approx(metric["clean"], abs=1e-4)
    assert (last["rank"], last["other_rank"]) == (0, 1)


def test_a_word_is_followed_through_the_layers(post):
    answer = post("/lab/lens", clean=RIVER, metric={"answer": "money"}, n=20)
    assert answer["metric"]["answer"]["text"] == "money"
    for reading in answer["readings"]:
        ids = [candidate["id"] for candidate in reading["candidates"]]
        i = answer["metric"]["answer"]["id"]
        assert (reading["rank"] < 20) == (i in ids)
        assert i not in ids or ids.index(i) == reading["rank"]


@pytest.mark.parametrize(
    ("body", "field", "code"),
    [
        ({"clean": RIVER, "metric": {"kind": "cosine"}}, "body", "only-logit-difference"),
        ({"clean": SPANISH | {"model": "recurrent"}}, "model", "no-lens"),
        ({"clean": RIVER | {"text": "no blank"}}, "text", "no-blank"),
    ],
)
@pytest.mark.parametrize("language", ["en", "zh"])
def test_what_cannot_be_done_is_said(client, body, field, code, language):
    response = client.post("/api/v1/lab/lens", json=body, headers={"Accept-Language": language})
    assert response.status_code == 422, response.text
    [error] = response.json()["errors"]
    assert (error["field"], error["code"]) == (field, code)
    assert any("\u4e00" <= c <= "\u9fff" for c in error["message"]) == (language == "zh")
