"""What a request may cost before it is refused: errors, addresses, bodies, parameters, work."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from attention_atlas.app.api import arithmetic, compare, generate, masks, resource
from attention_atlas.app.api.spec import ApiRequest, Closed, EditSpec
from attention_atlas.model.generate import Sampling, filtered
from fastapi import FastAPI
from fastapi.testclient import TestClient
from pydantic import BaseModel, ValidationError

from tests.asynchronous import awaited

MANY = 20_000
TEXT = "He sat on the river bank."
SOUND: dict[str, Any] = {
    "model": "bert",
    "text": TEXT,
    "text_pair": TEXT,
    "texts": [TEXT],
    "word": "bank",
    "a": {"model": "bert", "text": TEXT},
    "b": {"model": "bert", "text": TEXT},
    "op": "set",
}


def descendants(cls: type[BaseModel]) -> Iterator[type[BaseModel]]:
    for child in cls.__subclasses__():
        yield child
        yield from descendants(child)


def requests() -> list[type[BaseModel]]:
    """Every type of request, and what is inside of them; made from the modules of all resources."""
    assert resource and compare and generate and masks and ApiRequest
    names = {child for child in descendants(Closed) if not child.__name__.endswith("Query")}
    return sorted(names, key=lambda child: child.__name__)


def sound(request: type[BaseModel]) -> dict[str, Any]:
    return {name: SOUND[name] for name in request.model_fields if name in SOUND}


def errors_of(request: type[BaseModel], sent: dict[str, Any]) -> list[Any]:
    try:
        request.model_validate(sent)
    except ValidationError as error:
        return error.errors(include_url=False)
    return []


def test_every_type_of_request_is_tried() -> None:
    names = {request.__name__ for request in requests()}
    assert {"RunRequest", "MasksRequest", "CompareRequest", "EditSpec", "GenerateRequest"} <= names


@pytest.mark.parametrize("request_type", requests())
def test_a_list_of_wrong_items_is_a_few_errors(request_type: type[BaseModel]) -> None:
    for field, info in request_type.model_fields.items():
        for item in (7.5, "x", {}, [], None):
            sent = {**sound(request_type), info.alias or field: [item] * MANY}
            assert 1 <= len(errors_of(request_type, sent)) <= 20, (field, item)


@pytest.mark.parametrize("request_type", requests())
def test_unknown_fields_are_a_few_errors(request_type: type[BaseModel]) -> None:
    result = errors_of(
        request_type, {**sound(request_type), **dict.fromkeys(map(str, range(MANY)))}
    )
    assert len(result) == 1
    [error] = result
    assert error["ctx"]["error"].args[0].code == "too-many-fields"


def test_lists_as_long_as_they_may_be_are_taken() -> None:
    assert len(EditSpec(op="set", row=[0.5] * 8192).row) == 8192
    ids = {"model": "gpt", "text": TEXT, "forced": list(range(4096))}
    assert len(generate.GenerateRequest.model_validate(ids).forced) == 4096


@pytest.mark.parametrize(
    ("path", "field", "item"),
    [
        ("masks", "texts", 7),
        ("masks", "off", "x"),
        ("attention", "head", "x"),
        ("attention", "layer", 1.5),
        ("run", "edits", "x"),
        ("run", "target_ids", -1),
        ("generate", "forced", {}),
        ("fill-mask", "words", None),
        ("compare", "align", [-1, 0]),
    ],
)
def test_a_body_full_of_errors_gets_a_short_answer(
    client: TestClient, path: str, field: str, item: object
) -> None:
    body = {**SOUND, field: [item] * 100_000}
    kept = {"masks": ("model", "texts"), "compare": ("a", "b", "word")}.get(path, ("model", "text"))
    sent = {name: value for name, value in body.items() if name in (*kept, field)}
    answer = client.post(f"/api/v1/{path}", json=sent)
    assert answer.status_code == 422 and len(answer.content) < 20_000
    assert 1 <= len(answer.json()["errors"]) <= 20


def test_a_row_full_of_errors_gets_a_short_answer(client: TestClient) -> None:
    edit = {"op": "set", "query": 0, "row": [-1] * 100_000}
    body = {"model": "bert", "text": TEXT, "edits": [edit]}
    answer = client.post("/api/v1/run", json=body)
    assert answer.status_code == 422 and len(answer.content) < 20_000
    assert answer.json()["errors"][0]["code"] == "too-many"


@pytest.mark.parametrize("path", ["/explore", "/explore.json", "/api/v1/run", "/nothing"])
def test_very_many_parameters_are_400(client: TestClient, path: str) -> None:
    query = "&".join(f"p{n}=" for n in range(5000))
    answer = client.get(f"{path}?{query}", headers={"accept-language": "zh"})
    assert answer.status_code == 400
    problem = answer.json()
    assert problem["code"] == "too-many-parameters" and "最多 200 个" in problem["detail"]
    assert answer.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize("path", ["/explore", "/api/v1/run", "/static/x"])
def test_an_address_that_is_too_long_is_414(app: FastAPI, path: str) -> None:
    """By ASGI: clients in Python refuse to send it."""
    sent: list[Any] = []

    async def request() -> None:
        async def send(event: Any) -> None:
            sent.append(event)

        query = b"text=" + b"x" * 250_000
        scope = {"type": "http", "method": "GET", "path": path, "raw_path": path.encode()}
        await app({**scope, "query_string": query, "headers": []}, never, send)

    awaited(request)
    start, body = sent
    assert start["status"] == 414
    problem = json.loads(body["body"])
    assert problem["code"] == "address-too-long" and "250000" in problem["detail"]


async def never() -> Any:
    """A client that sends nothing."""
    await asyncio.Event().wait()


def test_a_body_that_is_no_text_is_worded_here(client: TestClient) -> None:
    headers = {"content-type": "application/json", "accept-language": "zh"}
    for body, code in ((b'{"text": "\xff"}', "not-utf-8"), (b"[" * 300_000, "too-deep")):
        answer = client.post("/api/v1/run", content=body, headers=headers)
        assert (answer.status_code, answer.json()["code"]) == (400, code)
        assert "请求正文" in answer.json()["detail"]


def test_a_long_body_is_parsed_beside_the_event_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    """While a body is parsed, other coroutines of the same loop run."""
    plain, has_turned = json.loads, threading.Event()

    def slow(body: bytes) -> Any:
        assert has_turned.wait(60)
        return plain(body)

    monkeypatch.setattr(resource.json, "loads", slow)

    async def turns_while_parsing() -> int:
        body = json.dumps({"text": "x" * resource.SMALL_BODY}).encode()

        async def receive() -> dict[str, Any]:
            return {"type": "http.request", "body": body}

        scope = {"type": "http", "method": "POST", "headers": []}
        request = resource.ParsedElsewhere(scope, receive)
        parsing, turns = asyncio.ensure_future(request.json()), 0
        while not parsing.done():
            turns += 1
            if turns == 4:
                has_turned.set()
            await asyncio.sleep(0)
        assert len((await parsing)["text"]) == resource.SMALL_BODY
        return turns

    assert awaited(turns_while_parsing) >= 4


@pytest.mark.parametrize(
    ("request_type", "sent", "field"),
    [
        (arithmetic.ScalingRequest, {"d_k": 4002, "n_key": 243}, "n_key"),
        (arithmetic.ScalingRequest, {"d_k": 4096, "n_key": 17}, "n_key"),
        (arithmetic.CostRequest, {"n_max": 1024, "n_head": 32, "d": 256}, "d"),
        (arithmetic.CostRequest, {"n_loop": 128, "d": 65}, "n_loop"),
    ],
)
def test_work_is_limited_by_the_product_of_its_sizes(
    client: TestClient, request_type: type[ApiRequest], sent: dict[str, int], field: str
) -> None:
    path = "scaling" if request_type is arithmetic.ScalingRequest else "cost"
    for answer in (
        client.get(f"/api/v1/arithmetic/{path}", params=sent),
        client.post(f"/api/v1/arithmetic/{path}", json=sent),
    ):
        assert answer.status_code == 422
        [error] = answer.json()["errors"]
        assert (error["field"], error["code"]) == (field, "too-much-work")


@pytest.mark.parametrize("temperature", [1e-300, 5e-324, 1e-46, 1e-9])
def test_a_temperature_near_zero_takes_the_most_probable_token(
    client: TestClient, temperature: float
) -> None:
    body = {"model": "gpt", "text": TEXT, "max_new_tokens": 3}
    result, greedy = (
        client.post("/api/v1/generate", json={**body, "temperature": value})
        for value in (temperature, 0)
    )
    assert result.status_code == 200, result.text
    assert result.json()["continuation"] == greedy.json()["continuation"]


@pytest.mark.parametrize("temperature", [5e-324, 1e-300, 1e-40, 0.5, 10.0])
def test_filtered_probabilities_are_numbers_that_sum_to_one(temperature: float) -> None:
    import torch

    logits = torch.tensor([1.0, 3.0, 3.0, -1e30, 2.0])
    for probabilities in filtered(logits, Sampling(temperature, top_k=4, top_p=0.9)).values():
        assert probabilities.isfinite().all()
        torch.testing.assert_close(probabilities.sum().item(), 1.0)
