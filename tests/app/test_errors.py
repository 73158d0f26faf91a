"""Every request that cannot be taken: a problem that names the field and the limit."""

from __future__ import annotations

import pytest

FIELDS = ("type", "title", "status", "detail", "code", "request_id")
BAD = [
    ("/run?model=nope&text=hi", 404, "model", "there are bert, gpt, translator, recurrent"),
    ("/run?model=bert&text=", 422, "text", "empty"),
    ("/run?model=bert&text=%20%20", 422, "text", "no tokens"),
    ("/run?model=bert", 422, "text", "is missing"),
    ("/run?model=bert&text=a%00b", 422, "text", "NUL byte at character 1"),
    ("/run?model=bert&text=hi&speed=9", 422, "speed", "not a field"),
    ("/run?model=gpt&text=hi&text_pair=ho", 422, "text_pair", "one text"),
    ("/run?model=bert&text=hi&target=ho", 422, "target", "no target"),
    ("/run?model=bert&text=hi&edits=%7B", 422, "edits", "is JSON"),
    ("/run?model=bert&text=hi&edits=[{%22op%22:%22x%22}]", 422, "edits.0.op", "'ablate'"),
    (
        "/run?model=bert&text=hi&edits=[{%22op%22:%22ablate%22,%22head%22:12}]",
        422,
        "edits",
        "head 12 does not exist: bert has heads 0 to 11",
    ),
    (
        "/run?model=bert&text=hi&edits=[{%22op%22:%22set%22,%22row%22:[1,2]}]",
        422,
        "edits",
        "row has 2 numbers; there are 3 keys",
    ),
    (
        "/run?model=bert&text=hi&edits=[{%22op%22:%22block%22,%22key%22:9}]",
        422,
        "edits",
        "key 9 does not exist: the text has 3 key tokens",
    ),
    (
        "/run?model=translator&text=hola&edits=[{%22op%22:%22set%22,%22row%22:[1]}]",
        422,
        "edits",
        "needs a target",
    ),
    ("/attention?model=bert&text=hi&layer=99", 422, "layer", "layers 0 to 5"),
    ("/attention?model=bert&text=hi&head=-1", 422, "head", "head -1 does not exist"),
    ("/attention?model=bert&text=hi&layer=1,1", 422, "layer", "named more than once"),
    ("/attention?model=bert&text=hi&layer=9" + "9" * 30, 422, "layer", "is not a number"),
    ("/attention?model=bert&text=hi&reduce=rollout&layer=0,2", 422, "reduce", "needs every layer"),
    (
        "/run?model=bert&text=hi&edits=[{%22op%22:%22scale%22,%22by%22:1e300}]",
        422,
        "edits",
        "too large for float32",
    ),
    ("/attention?model=bert&text=hi&head=two", 422, "head", "'two' is not a number"),
    ("/attention?model=bert&text=hi&kind=cross", 422, "kind", "bert has encoder attention"),
    ("/attention?model=bert&text=hi&kind=sideways", 422, "kind", "'encoder', 'decoder', 'cross'"),
    ("/attention?model=bert&text=hi&format=xml", 422, "format", "'json', 'safetensors'"),
    ("/attention?model=bert&text=hi&format=csv", 422, "format", "csv holds one head"),
    ("/attention?model=bert&text=hi&quantity=scores&merge=words", 422, "merge", "not scores"),
    ("/attention?model=bert&text=hi&reduce=rollout&layer=1", 422, "reduce", "needs every layer"),
    ("/attention/overview?model=bert&text=hi&size=0", 422, "size", "at least 1"),
]


@pytest.mark.parametrize(("url", "status", "field", "says"), BAD)
def test_bad_input_is_a_problem_that_names_the_field(client, url, status, field, says):
    answer = client.get(f"/api/v1{url}")
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    assert set(problem) == {*FIELDS, "errors"}
    assert [error["field"] for error in problem["errors"]] == [field]
    assert says in problem["detail"]


@pytest.mark.parametrize(
    ("model", "text", "says"),
    [
        ("bert", "bank " * 600, "602 tokens is too long: bert takes 512. Remove 90 or more."),
        ("gpt", "bank " * 600, "too long: gpt takes 512"),
        ("translator", "banco " * 200, "too long: translator takes 128"),
        ("bert", "x" * 30_000, "the text has 30000 characters; at most 20000 are taken"),
    ],
)
def test_a_text_too_long_is_told_the_limit_and_its_length(client, model, text, says):
    for answer in (
        client.post("/api/v1/run", json={"model": model, "text": text}),
        client.get("/api/v1/run", params={"model": model, "text": text}),
    ):
        assert answer.status_code == 422
        assert says in answer.json()["detail"]


@pytest.mark.parametrize(
    ("body", "status", "says"),
    [
        (b'{"model": "bert", "text": "\\ud800"}', 422, "half of a surrogate pair at character 0"),
        (b'{"model": "bert", "text": 7}', 422, "must be text"),
        (b'{"model": ["bert"], "text": "hi"}', 422, "must be text"),
        (b"not json", 422, "JSON"),
        (b"[]", 422, "must be an object"),
        (b'{"model": "bert", "text": "' + b"x" * 1_100_000 + b'"}', 413, "at most 1000000"),
    ],
)
def test_a_bad_body_is_a_problem(client, body, status, says):
    headers = {"Content-Type": "application/json"}
    answer = client.post("/api/v1/run", content=body, headers=headers)
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    assert says in answer.json()["detail"]


def test_unknown_paths_and_methods_are_problems(client):
    for answer in (client.get("/api/v1/nope"), client.delete("/api/v1/run")):
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.json()["status"] == answer.status_code
    assert client.get("/api/v1/nope").status_code == 404
    assert client.delete("/api/v1/run").status_code == 405
