"""/openapi.json says what is answered: errors, headers, events, types, the limits of fields."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import jsonschema_rs
import pytest
from attention_atlas.app.errors import MEDIA_TYPE
from attention_atlas.app.openapi import operations, parts
from fastapi import FastAPI
from fastapi.testclient import TestClient

PREFIX = "/api/v1"
BERT = {"model": "bert", "text": "He sat on the river bank."}
GPT = {"model": "gpt", "text": "Bob cashed a check at the bank"}
SPANISH = {"model": "translator", "text": "El banco."}


@pytest.fixture(scope="module")
def schema(app: FastAPI) -> Any:
    return json.loads(json.dumps(app.openapi()))


def test_every_error_is_a_problem(schema: Any) -> None:
    for operation in operations(schema):
        errors = {n: each for n, each in operation["responses"].items() if n >= "400"}
        assert {"400", "403", "414", "500"} <= errors.keys()
        for answer in errors.values():
            assert answer["content"][MEDIA_TYPE]["schema"]["$ref"].endswith("/Problem")


def test_every_reference_leads_to_something(schema: Any) -> None:
    for part in parts(schema):
        if isinstance(name := part.get("$ref"), str):
            place = schema
            for step in name.removeprefix("#/").split("/"):
                place = place[step]
        assert "$defs" not in part and "x-setting" not in part


def test_headers_and_304_are_described(schema: Any, client: TestClient) -> None:
    for method in ("get", "post"):
        answers = schema["paths"]["/api/v1/run"][method]["responses"]
        assert "ETag" in answers["200"]["headers"] and "ETag" in answers["304"]["headers"]
        assert "content" not in answers["304"]
        assert "Retry-After" in answers["503"]["headers"]
    assert {"408", "413"} <= schema["paths"]["/api/v1/run"]["post"]["responses"].keys()
    for operation in operations(schema):
        assert all("X-Request-ID" in each["headers"] for each in operation["responses"].values())


def events(text: str) -> Iterator[tuple[str, Any]]:
    for block in text.strip().split("\n\n"):
        name, data = (line.split(": ", 1)[1] for line in block.split("\n")[:2])
        yield name, json.loads(data)


@pytest.mark.parametrize(
    ("path", "body", "names"),
    [
        ("/translate", SPANISH, {"start", "token", "result"}),
        ("/translate", {**SPANISH, "num_beams": 2}, {"start", "token", "result"}),
        ("/generate", {**GPT, "max_new_tokens": 2}, {"start", "token", "result"}),
        ("/generate", {**GPT, "text": ""}, set()),
        (
            "/few-shot",
            {"model": "gpt", "n_max": 1, "n_prompt": 2},
            {"start", "progress", "shot", "result"},
        ),
        (
            "/lab/sweep",
            {"clean": {"model": "gpt", "text": "The king"}},
            {"start", "layer", "result"},
        ),
        (
            "/lab/attributions",
            {"clean": {"model": "gpt", "text": "The king"}, "layer": 0, "head": 0},
            {"start", "method", "result"},
        ),
        (
            "/lab/paths",
            {
                "clean": {"model": "gpt", "text": "The king"},
                "corrupted": {"model": "gpt", "text": "The queen"},
                "n": 12,
            },
            {"start", "measured", "result"},
        ),
        ("/models", {"model": "gpt"}, {"done"}),
        ("/models", {"model": "nobody/nothing"}, {"progress", "problem"}),
    ],
)
def test_each_event_is_as_described(
    client: TestClient, schema: Any, path: str, body: Any, names: set[str]
) -> None:
    stream = {} if path == "/models" else {"stream": True}
    answer = client.post(f"{PREFIX}{path}", json={**body, **stream})
    if not names:
        assert answer.status_code == 422 and answer.headers["content-type"] == MEDIA_TYPE
        return
    content = schema["paths"][f"{PREFIX}{path}"]["post"]["responses"]["200"]["content"]
    kinds = {
        kind["properties"]["event"]["const"]: kind["properties"]["data"]["contentSchema"]
        for kind in content["text/event-stream"]["itemSchema"]["oneOf"]
    }
    seen = list(events(answer.text))
    assert {name for name, _ in seen} == names
    for name, data in seen:
        reference = kinds[name]["$ref"]
        whole = {"$ref": reference, "components": schema["components"]}
        jsonschema_rs.validate(whole, data)
        described = schema["components"]["schemas"][reference.rpartition("/")[2]]
        assert "anyOf" in described or data.keys() <= described["properties"].keys()


STRICT: list[tuple[str, dict[str, Any], str, str]] = [
    ("/anatomy", {**BERT, "layer": False}, "layer", "not-a-whole-number"),
    ("/anatomy", {**BERT, "layer": "1"}, "layer", "not-a-whole-number"),
    ("/attention", {**BERT, "layer": [True]}, "layer.0", "not-a-whole-number"),
    ("/attention", {**BERT, "layer": True}, "layer", "not-a-list"),
    ("/attention", {**BERT, "layer": ["1"]}, "layer.0", "not-a-whole-number"),
    ("/generate", {**GPT, "temperature": True}, "temperature", "not-a-number"),
    ("/generate", {**GPT, "top_p": "1"}, "top_p", "not-a-number"),
    ("/generate", {**GPT, "seed": False}, "seed", "not-a-whole-number"),
    ("/generate", {**GPT, "stream": 0}, "stream", "not-true-or-false"),
    ("/generate", {**GPT, "stream": "yes"}, "stream", "not-true-or-false"),
    ("/generate", {**GPT, "forced": [True]}, "forced.0", "not-a-whole-number"),
    ("/masks", {"model": "bert", "texts": ["a"], "fill": False}, "fill", "not-a-number"),
    (
        "/run",
        {**BERT, "edits": [{"op": "set", "row": [True, False]}]},
        "edits.0.row.0",
        "not-a-number",
    ),
    (
        "/run",
        {**BERT, "edits": [{"op": "scale", "layer": True}]},
        "edits.0.layer",
        "not-a-whole-number",
    ),
]


@pytest.mark.parametrize(("path", "body", "field", "code"), STRICT, ids=str)
def test_true_is_no_number_and_text_is_none(
    client: TestClient, path: str, body: Any, field: str, code: str
) -> None:
    answer = client.post(f"{PREFIX}{path}", json=body)
    assert answer.status_code == 422, answer.text
    error = answer.json()["errors"][0]
    assert (error["field"], error["code"]) == (field, code)


@pytest.mark.parametrize("body", [{"layer": 1.0, "head": [2.0]}, {"layer": 1, "head": 2}])
def test_one_point_zero_is_a_whole_number_as_in_json_schema(
    client: TestClient, body: dict[str, Any]
) -> None:
    answer = client.post(f"{PREFIX}/attention", json={**BERT, **body})
    assert answer.status_code == 200 and answer.json()["layers"] == [1]
    query = {**BERT, "layer": 1, "head": "2", "query": 1}
    assert client.get(f"{PREFIX}/anatomy", params=query).status_code == 200


RULES: list[tuple[str, dict[str, Any]]] = [  # that a validator checks
    ("RunRequest", {**BERT, "text": "a\0b"}),
    ("RunRequest", {**BERT, "text": "x" * 20_001}),
    ("RunRequest", {**BERT, "edits": [{"op": "ablate", "with": "shuffle"}]}),
    ("RunRequest", {**BERT, "edits": [{"op": "block", "row": [1]}]}),
    ("RunRequest", {**BERT, "edits": [{"op": "positions", "layer": 1}]}),
    ("RunRequest", {**BERT, "speed": 1}),
    ("AttentionRequest", {**BERT, "layer": [1, 1]}),
    ("AttentionRequest", {**BERT, "layer": "1;2"}),
    ("AttentionRequest", {**BERT, "layer": []}),
    ("PositionsRequest", {"kind": "sinusoidal", "model": "bert"}),
    ("PositionsRequest", {"d_model": 7}),
    ("MasksRequest", {"model": "bert", "texts": ["a"], "fill": -1e5, "precision": "float16"}),
    ("MasksRequest", {"model": "bert", "texts": []}),
    ("CompareRequest", {"a": BERT, "b": BERT, "word": "bank", "align": "0;1"}),
]
PATHS = {"RunRequest": "run", "AttentionRequest": "attention", "PositionsRequest": "positions"}
PATHS |= {"MasksRequest": "masks", "CompareRequest": "compare"}


@pytest.mark.parametrize(("name", "body"), RULES, ids=str)
def test_what_is_refused_is_refused_by_the_schema(
    client: TestClient, schema: Any, name: str, body: Any
) -> None:
    whole = {"$ref": f"#/components/schemas/{name}", "components": schema["components"]}
    assert not jsonschema_rs.is_valid(whole, body)
    assert client.post(f"{PREFIX}/{PATHS[name]}", json=body).status_code == 422


def test_a_query_string_says_how_lists_and_json_are_written(schema: Any) -> None:
    parameters = schema["paths"]["/api/v1/attention"]["get"]["parameters"]
    by_name = {
        row["name"]: row["schema"]["anyOf"][0] for row in parameters if "anyOf" in row["schema"]
    }
    assert "pattern" in by_name["layer"]
    assert by_name["edits"]["contentMediaType"] == "application/json"
