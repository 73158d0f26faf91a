"""/lab/attributions."""

from __future__ import annotations

import json

import pytest
from attention_atlas.app.api import attributions

KING = {"model": "gpt", "text": "The king of France was the old"}
RIVER = {"model": "bert", "text": "He sat on the river [MASK] and watched the water."}


def test_every_method_stands_beside_the_attention(post):
    answer = post("/lab/attributions", clean=KING, layer=2, head=3)
    methods, n = answer["methods"], len(answer["tokens"])
    assert list(methods) == list(attributions.NAMES)
    for method in methods.values():
        assert method["complete"]["holds"] and method["reason"] == ""
        assert len(method["values"]) == n
    assert methods["leave_one_out"]["tau"] == pytest.approx(1)
    assert methods["leave_one_out"]["values"][0] is None, "the token that begins a text"
    assert answer["query"] == answer["metric"]["position"] == n - 1
    looked = post("/attention", **KING, layer=2, head=3)["attn"][0][0]
    assert methods["attention"]["values"] == pytest.approx(looked[-1], abs=1e-6)
    rolled = post("/attention", **KING, reduce="rollout")["attn"][0][0]
    assert methods["rollout"]["values"] == pytest.approx(rolled[-1], abs=1e-5)


def test_methods_come_as_they_are_done(client, post):
    body = {"clean": KING, "layer": 1, "head": 0, "stream": True}
    with client.stream("POST", "/api/v1/lab/attributions", json=body) as response:
        events = [block.split("\n") for block in response.read().decode().split("\n\n") if block]
    names = [lines[0].removeprefix("event: ") for lines in events]
    assert names == ["start", *["method"] * 9, "result"]
    data = [json.loads(lines[1].removeprefix("data: ")) for lines in events]
    for event in data[1:-1]:
        assert event == {"name": event["name"], **data[-1]["methods"][event["name"]]}


def test_get_answers_what_post_answers(client, post):
    query = {"clean": json.dumps(KING), "layer": 2, "head": 3, "query": 4}
    got = client.get("/api/v1/lab/attributions", params=query)
    assert got.json() == post("/lab/attributions", clean=KING, layer=2, head=3, query=4)


def test_two_sentences_are_compared_without_a_predicting_token(post):
    metric = {"kind": "cosine", "beside": "She opened an account at the bank to save money."}
    answer = post("/lab/attributions", clean=RIVER, metric=metric, layer=2, head=3)
    assert (answer["query"], answer["metric"]["position"]) == (0, None)
    chosen = post("/lab/attributions", clean=RIVER, metric=metric, layer=2, head=3, query=5)
    changed = {
        name
        for name in attributions.NAMES
        if chosen["methods"][name]["values"] != answer["methods"][name]["values"]
    }
    assert changed == {
        "attention", "rollout", "flow", "norms", "gradient_attention", "value_zeroing"
    }  # fmt: skip


@pytest.mark.parametrize(
    ("body", "field", "code"),
    [
        ({"clean": RIVER, "layer": 6}, "layer", "out-of-range"),
        ({"clean": RIVER, "query": 13}, "query", "query-out-of-range"),
        ({"clean": {"model": "translator", "text": "El banco."}}, "model", "two-texts"),
        ({"clean": {"model": "recurrent", "text": "El banco."}}, "model", "two-texts"),
        ({"clean": RIVER | {"text": "bank " * 400 + "[MASK]"}}, "text", "too-long-for-parts"),
    ],
)
@pytest.mark.parametrize("language", ["en", "zh"])
def test_what_cannot_be_done_is_said(client, body, field, code, language):
    response = client.post(
        "/api/v1/lab/attributions",
        json={"layer": 0, "head": 0} | body,
        headers={"Accept-Language": language},
    )
    assert response.status_code == 422, response.text
    [error] = response.json()["errors"]
    assert (error["field"], error["code"]) == (field, code)
    assert any("\u4e00" <= c <= "\u9fff" for c in error["message"]) == (language == "zh")


def test_only_the_methods_asked_for_are_computed(post):
    body = {"clean": {"model": "gpt", "text": "The king of France"}, "layer": 1, "head": 2}
    every = post("/lab/attributions", **body)["methods"]
    some = post("/lab/attributions", **body, methods="attention")["methods"]
    assert some == {name: every[name] for name in ("attention", "leave_one_out")}
