"""Every resource: its answer is what its model declares, and its models are looked up once."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

import pytest
from attention_atlas.app.api.common import PREFIX
from attention_atlas.app.api.routes import ROUTERS
from attention_atlas.app.service import Service
from attention_atlas.model.spec import Spec
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
EXAMPLES: dict[str, list[dict[str, Any]]] = {  # path -> bodies that show all of its answer
    "/tokenize": [BERT, PAIR, GPT],
    "/run": [
        BERT,
        PAIR,
        {**BERT, "text": "A [MASK] bank."},
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
    "/corruption": [PAIR, {"model": "bert", "text": "It is."}],
    "/few-shot": [{"model": "gpt", "n_max": 1, "n_prompt": 2}],
}
ROUTES = [route for router in ROUTERS for route in router.routes if isinstance(route, APIRoute)]
POSTED = {
    route.path.removeprefix(PREFIX): route.responses[200]["model"]
    for route in ROUTES
    if "POST" in route.methods and "model" in route.responses[200]
}
CASES = [(path, body) for path, bodies in EXAMPLES.items() for body in bodies]


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


RUNS = ("/run", "/attention", "/attention/overview", "/metrics", "/anatomy", "/hidden-states")


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
    sent = {half.get("model") for half in (body, body.get("a", {}), body.get("b", {}))}
    assert counts == {name: 1 for name in sent if name}
