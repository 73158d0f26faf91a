"""Every resource: GET and POST, formats, ETags, and an answer that is what its model declares."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any, NoReturn, get_args

import numpy as np
import pytest
import safetensors.numpy
from attention_atlas.app.answers import Answers, Packed
from attention_atlas.app.api.common import PREFIX
from attention_atlas.app.api.routes import ROUTERS
from attention_atlas.app.service import Service
from attention_atlas.app.workers import busy
from attention_atlas.model.spec import Spec
from fastapi import FastAPI
from fastapi.routing import APIRoute
from fastapi.testclient import TestClient
from pydantic import BaseModel, ValidationError

BERT = {"model": "bert", "text": "He sat on the river bank."}
PAIR = {**BERT, "text_pair": "He watched the water."}
GPT = {"model": "gpt", "text": "Bob cashed a check at the bank"}
SPANISH = {"model": "translator", "text": "El banco está cerrado."}
ENGLISH = {**SPANISH, "target": "The bank is closed."}
BLANK = {**BERT, "text": "A [MASK] bank."}
EDITED = {**BERT, "edits": [{"op": "scale", "layer": 0, "head": 1, "by": 2.0}]}
BLANK = {**BERT, "text": "A [MASK] bank."}
EXAMPLES: dict[str, list[dict[str, Any]]] = {  # path -> bodies that show all of its answer
    "/tokenize": [BERT, PAIR, GPT],
    "/run": [
        BERT,
        PAIR,
        BLANK,
        GPT,
        SPANISH,
        EDITED,
        ENGLISH,
    ],
    "/attention": [
        {**GPT, "layer": 1, "head": [0, 2]},
        {**GPT, "layer": 1, "quantity": "scores"},
        {**SPANISH, "kind": "cross", "reduce": "mean_heads"},
        {**PAIR, "merge": "words", "special": "renormalise", "reduce": "rollout"},
        {**BERT, "dtype": "uint8", "layer": 0},
    ],
    "/attention/overview": [GPT, {**SPANISH, "kind": "cross", "size": 4}],
    "/metrics": [BERT, GPT, {**SPANISH, "kind": "cross"}],
    "/anatomy": [{**GPT, "layer": 1, "head": 2, "query": 3}, {**SPANISH, "model": "recurrent"}],
    "/hidden-states": [BERT, {**BERT, "word": "bank"}, {**SPANISH, "sequence": "target"}],
    "/compare": [
        {"a": BERT, "b": {**BERT, "text": "The bank lent him money."}, "word": "bank"},
        {"a": BERT, "b": {**GPT, "text": BERT["text"]}, "word": "bank", "layer": 1, "head": 0},
        {"a": ENGLISH, "b": ENGLISH, "word": "bank", "kind": "cross"},
    ],
    "/positions": [{}, {"model": "bert", "n_positions": 8}, {"n_positions": 5, "shift": 7}],
    "/embedding": [PAIR, GPT],
    "/permutation": [BERT, {**GPT, "text_b": "the bank at check a cashed Bob"}],
    "/masks": [
        {"model": "bert", "texts": ["This is a test", "This is it"]},
        {"model": "gpt", "texts": ["This is a test", "It is"], "fill": -1e4, "off": "causal"},
        {"model": "gpt", "texts": ["A test", "It"], "fill": -1e4, "precision": "float16"},
    ],
    "/arithmetic/scaling": [{"d_k": 16}],
    "/arithmetic/heads": [{**BERT, "layer": 1}],
    "/arithmetic/activations": [{**BERT, "layer": 1}, GPT],
    "/arithmetic/blocks": [GPT],
    "/arithmetic/gradients": [{"depth": 4, "width": 8}],
    "/arithmetic/cost": [{"n_max": 64, "n_head": 1, "d": 4, "n_loop": 4}],
    "/translate": [
        {**SPANISH, "reference": "The bank is closed."},
        {**SPANISH, "num_beams": 2, "model": "recurrent"},
    ],
    "/generate": [
        {**GPT, "max_new_tokens": 3, "top_k": 5},
        {**GPT, "max_new_tokens": 1, "head": 0},
    ],
    "/next-token": [GPT],
    "/fill-mask": [{**PAIR, "words": "4", "words_pair": [2]}, BLANK],
    "/next-sentence": [PAIR],
    "/classify": [PAIR, {**PAIR, "layer": 1, "head": 2, "label": "NotNext"}],
    "/corruption": [PAIR, {"model": "bert", "text": "It is."}],
    "/few-shot": [{"model": "gpt", "n_max": 1, "n_prompt": 2}],
    "/lab/effects": [
        {
            "clean": BLANK,
            "corrupted": {**BLANK, "text": "The [MASK] old bank."},
            "interventions": [
                {"how": "zero", "layer": 1, "head": 2},
                {"how": "noise", "part": "mlp"},
            ],
            "ablations": [{"layer": 1, "head": 2}],
        },
        {"clean": GPT, "metric": {"kind": "loss"}},
    ],
    "/lab/lens": [{"clean": BLANK, "n": 3}, {"clean": GPT}],
    "/lab/paths": [
        {"clean": BLANK, "corrupted": {**BLANK, "text": "The [MASK] bank."}, "n": 8},
    ],
    "/lab/attributions": [{"clean": GPT, "layer": 1, "head": 2}],
    "/lab/writes": [
        {"clean": BLANK, "layer": 1, "head": 2},
        {"clean": ENGLISH, "kind": "cross"},
    ],
    "/lab/sweep": [
        {"clean": GPT},
        {"clean": BLANK, "corrupted": {**BLANK, "text": "The [MASK] bank."}, "how": "denoise"},
        {"clean": GPT, "over": "mlp_positions"},
    ],
}
ROUTES = [route for router in ROUTERS for route in router.routes if isinstance(route, APIRoute)]
POSTED = {
    route.path.removeprefix(PREFIX): route.responses[200]["model"]
    for route in ROUTES
    if "POST" in route.methods and "model" in route.responses.get(200, {})
}
CASES = [(path, body) for path, bodies in EXAMPLES.items() for body in bodies]
RUNS = ("/run", "/attention", "/attention/overview", "/metrics", "/anatomy", "/hidden-states")
BANK = "He sat on the river bank."
ONE = {"model": "bert", "text": BANK, "layer": 2, "head": 3}


def conforms(model: type[BaseModel], content: bytes) -> None:
    """The JSON is the model's: no field more or less, no number as text."""
    model.model_validate_json(content, strict=True, extra="forbid")


def test_a_field_too_many_inside_an_answer_is_seen() -> None:
    token = {"id": 1, "raw": "a", "text": "a", "start": 0, "end": 1, "special": False}
    token |= {"unknown": False, "word": 0, "segment": 0}
    fields = {"model": "bert", "text": "a", "text_pair": None, "n_ctx": 9}
    conforms(POSTED["/tokenize"], json.dumps(fields | {"tokens": [token]}).encode())
    for wrong in ({**token, "more": 1}, {**token, "id": "1"}):
        with pytest.raises(ValidationError):
            conforms(POSTED["/tokenize"], json.dumps(fields | {"tokens": [wrong]}).encode())


def test_every_resource_has_an_example() -> None:
    assert EXAMPLES.keys() == POSTED.keys()


@pytest.mark.parametrize(("path", "body"), CASES, ids=str)
def test_an_answer_is_what_its_model_declares(client: TestClient, path: str, body: Any) -> None:
    answer = client.post(f"{PREFIX}{path}", json=body)
    assert answer.status_code == 200, answer.text
    conforms(POSTED[path], answer.content)


def written(value: Any) -> Any:
    """A field's value as a query string has it."""
    if isinstance(value, list) and all(isinstance(item, int) for item in value):
        return ",".join(map(str, value))
    return value if isinstance(value, str) else json.dumps(value)


@pytest.mark.parametrize(("path", "body"), CASES, ids=str)
def test_a_query_string_is_read_as_a_body_is(path: str, body: Any) -> None:
    """Whole numbers too, which are text there."""
    routes = [route for route in ROUTES if route.path == PREFIX + path]
    [get, post] = (next(r for r in routes if name in r.methods) for name in ("GET", "POST"))
    form, request_type = get_args(get.endpoint.__annotations__["query"])[0], post.endpoint
    request_type = request_type.__annotations__["body"]
    query = form.model_validate({name: written(value) for name, value in body.items()})
    read = request_type.model_validate(query.model_dump(exclude_unset=True))
    assert read == request_type.model_validate(body)


@pytest.mark.parametrize(
    ("path", "route"),
    [
        ("/models", "/models"),
        ("/models/gpt", "/models/{model:path}"),
        ("/models/translator", "/models/{model:path}"),
    ],
)
def test_models_are_what_their_model_declares(client: TestClient, path: str, route: str) -> None:
    [model] = [r.response_model for r in ROUTES if r.path == PREFIX + route and "GET" in r.methods]
    conforms(model, client.get(f"{PREFIX}{path}").content)


@pytest.mark.parametrize(("path", "body"), CASES, ids=str)
def test_a_request_looks_its_models_up_once(
    client: TestClient, monkeypatch: pytest.MonkeyPatch, path: str, body: Any
) -> None:
    counts: Counter[str] = Counter()
    look_up, make_spec = Service.loaded, Spec.__init__

    def loaded(service: Service, name: str) -> Any:
        counts[name] += 1
        return look_up(service, name)

    def made(spec: Spec, *fields: Any, **named: Any) -> None:
        counts["spec"] += 1
        make_spec(spec, *fields, **named)

    monkeypatch.setattr(Service, "loaded", loaded)
    monkeypatch.setattr(Spec, "__init__", made)
    assert client.post(f"{PREFIX}{path}", json=body).status_code == 200
    specs = counts.pop("spec", 0)
    assert path not in RUNS or specs == 1
    sent = {part.get("model") for part in (body, *body.values()) if isinstance(part, dict)}
    assert counts == {name: 1 for name in sent if name}


@pytest.mark.parametrize(
    "resource", ["/attention", "/attention/overview", "/run", "/tokenize", "/metrics", "/anatomy"]
)
def test_post_answers_what_get_answers(client, resource):
    request = {"model": "bert", "text": BANK}
    got = client.get(f"/api/v1{resource}", params=request)
    posted = client.post(f"/api/v1{resource}", json=request)
    assert got.json() == posted.json()
    assert got.headers["etag"] == posted.headers["etag"]


def test_the_same_request_is_answered_304(client):
    url = "/api/v1/attention?model=bert&text=hi&layer=0&head=0"
    first = client.get(url)
    again = client.get(url, headers={"If-None-Match": first.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    assert again.headers["etag"] == first.headers["etag"]
    other = client.get(f"{url}&format=npz", headers={"If-None-Match": first.headers["etag"]})
    assert other.status_code == 200


def test_openapi_describes_every_resource_with_an_example_that_works(client):
    schema = client.get("/openapi.json").json()
    for path in ("tokenize", "run", "attention", "attention/overview"):
        operation = schema["paths"][f"/api/v1/{path}"]["get"]
        assert operation["description"]
        required = [row for row in operation["parameters"] if row["required"]]
        example = {row["name"]: row["schema"]["examples"][0] for row in required}
        assert client.get(f"/api/v1/{path}", params=example).status_code == 200
        assert all(row["description"] for row in operation["parameters"])


@pytest.mark.parametrize(
    ("accept", "media"),
    [
        ("text/csv;q=0.1, application/json", "application/json"),
        ("application/json;q=0, text/csv", "text/csv; charset=utf-8"),
        ("text/html, application/vnd.safetensors;q=0.9, */*", "application/vnd.safetensors"),
        ("*/*", "application/json"),
    ],
)
def test_the_accept_header_is_heeded(client, accept, media):
    url = "/api/v1/attention?model=bert&text=hi&layer=0&head=0"
    assert client.get(url, headers={"Accept": accept}).headers["content-type"] == media


def test_an_overview_is_never_csv(client):
    url = "/api/v1/attention/overview?model=bert&text=hi"
    answer = client.get(url, headers={"Accept": "text/csv, */*"})
    assert answer.headers["content-type"] == "application/json"


def test_a_request_that_is_refused_is_never_304(client):
    url = "/api/v1/attention?model=bert&text=&layer=99"
    assert client.get(url, headers={"If-None-Match": "*"}).status_code == 422


def test_head_answers_as_get_without_the_body(client):
    for path in ("/healthz", "/explore", "/api/v1/run?model=bert&text=hi"):
        head, got = client.head(path), client.get(path)
        assert (head.status_code, head.headers.get("etag")) == (200, got.headers.get("etag"))


def test_a_huge_answer_is_refused_as_json_and_given_as_safetensors(client):
    request = {"model": "bert", "text": "bank " * 300}
    refused = client.post("/api/v1/attention", json=request)
    assert refused.status_code == 422
    assert "6566688 numbers are too many for json" in refused.json()["detail"]
    given = client.post("/api/v1/attention", json={**request, "format": "safetensors"})
    assert safetensors.numpy.load(given.content)["attn"].shape == (6, 12, 302, 302)


@pytest.mark.parametrize("edits", [None, '[{"op": "block", "layer": 0, "head": 1, "key": 0}]'])
def test_an_answer_does_not_depend_on_what_was_asked_before(client, edits):
    request = {"model": "gpt", "text": f"Asked twice {edits}", "layer": "0,1", "head": "1,0"}
    request |= {"edits": edits} if edits else {}
    alone = client.get("/api/v1/attention", params=request)
    client.get("/api/v1/run", params={k: request[k] for k in request if k not in ("layer", "head")})
    cached = client.get("/api/v1/attention", params=request)
    first, second = alone.json(), cached.json()
    assert first["mask"] == second["mask"]
    np.testing.assert_allclose(first["attn"], second["attn"], atol=1e-6)


def test_an_answer_that_was_given_before_waits_for_no_worker(
    app: FastAPI, client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And is the same; in another coding or language it is another."""
    request = {"model": "bert", "text": "An answer that is asked for twice."}
    first = client.get("/api/v1/attention", params=request)

    def full(*_: object) -> NoReturn:
        raise busy(1.0)

    monkeypatch.setattr(app.state.service.workers, "_admitted", full)
    again = client.get("/api/v1/attention", params=request)
    assert again.content == first.content and again.headers["etag"] == first.headers["etag"]
    other = {"accept-encoding": "identity"}
    assert client.get("/api/v1/attention", params=request, headers=other).status_code == 503
    assert client.get("/api/v1/attention", params=request | {"head": 1}).status_code == 503
    for free in ("/healthz", "/readyz", "/static/css/app.css"):
        assert client.get(free).status_code == 200


def test_kept_answers_are_bounded() -> None:
    answers = Answers(5000)
    for n in range(9):
        answers.keep(n, Packed(bytes(1000), {}))
    answers.keep("large", Packed(bytes(9000), {}))
    assert (
        answers.n_byte <= 5000 and answers.get(8) and not (answers.get(0) or answers.get("large"))
    )
