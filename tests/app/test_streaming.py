"""Streams: their events, and a client that goes away stops the work within one token."""

from __future__ import annotations

import asyncio
import json
import threading
from typing import Any

import numpy as np
import pytest
from attention_atlas.app import errors, streaming
from attention_atlas.app.api import generate as at_work
from attention_atlas.app.main import create_app
from attention_atlas.app.settings import Settings
from attention_atlas.model import generate
from fastapi import FastAPI

from tests.asynchronous import awaited

BODY = {"model": "gpt", "text": "The king", "max_new_tokens": 400}
KING = {"model": "gpt", "text": "The king"}
TEXT = "El banco está cerrado."
STEPWISE = [
    ("/translate", {"model": "translator", "text": TEXT}),
    ("/translate", {"model": "translator", "text": TEXT, "num_beams": 3, "reference": "Shut."}),
    ("/translate", {"model": "recurrent", "text": TEXT}),
    ("/generate", {"model": "gpt", "text": "The king", "max_new_tokens": 5, "top_k": 20}),
    ("/few-shot", {"model": "gpt", "pattern": "list", "n_max": 1, "n_prompt": 3}),
    ("/lab/attributions", {"clean": {"model": "gpt", "text": "King"}, "layer": 0, "head": 0}),
    ("/lab/sweep", {"clean": {"model": "gpt", "text": "The king"}}),
    ("/lab/paths", {"clean": KING, "corrupted": KING | {"text": "The queen"}, "n": 12}),
]


@pytest.fixture(scope="module")
def one_worker() -> FastAPI:
    return create_app(Settings(models="gpt", threads=1, workers=1, queue=0))


class Visit:
    """One request, spoken as ASGI, by a client that leaves when it wants to."""

    def __init__(self, app: FastAPI, **body: Any) -> None:
        self.app, self.body = app, json.dumps(body).encode()
        self.gone = asyncio.Event()
        self.read = False
        self.status = 0
        self.chunks: list[bytes] = []
        self.arrived = asyncio.Event()  # the first bytes of an answer

    async def receive(self) -> dict[str, Any]:
        if not self.read:
            self.read = True
            return {"type": "http.request", "body": self.body, "more_body": False}
        await self.gone.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: dict[str, Any]) -> None:
        self.status = message.get("status", self.status)
        if message.get("body"):
            self.chunks.append(message["body"])
            self.arrived.set()

    async def go(self) -> None:
        headers = [(b"content-type", b"application/json"), (b"host", b"testserver")]
        scope = {"type": "http", "method": "POST", "path": "/api/v1/generate", "headers": headers}
        scope |= {"raw_path": b"/api/v1/generate", "query_string": b"", "http_version": "1.1"}
        scope |= {"scheme": "http", "server": ("test", 80), "client": ("test", 1), "root_path": ""}
        await self.app({**scope, "asgi": {"version": "3.0"}}, self.receive, self.send)


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> Any:
    """How many tokens were decoded; the third waits until it is let go."""

    class Counted:
        n = 0
        at_third, go_on, stopped = threading.Event(), threading.Event(), threading.Event()

    def watched(*args: Any, **options: Any) -> Any:
        try:
            for step in generate.generating(*args, **options):
                Counted.n += 1
                if Counted.n == 3:
                    Counted.at_third.set()
                    assert Counted.go_on.wait(20)
                yield step
        finally:
            Counted.stopped.set()

    monkeypatch.setattr(at_work.work, "generating", watched)
    return Counted


@pytest.mark.parametrize("stream", [True, False])
def test_a_client_that_goes_stops_the_work_within_one_token(one_worker, counted, stream):
    async def visit() -> None:
        client = Visit(one_worker, **BODY, stream=stream)
        going = asyncio.ensure_future(client.go())
        await asyncio.to_thread(counted.at_third.wait, 20)
        client.gone.set()
        for _ in range(50):  # turns of the loop in which the answer sees that its client has left
            await asyncio.sleep(0)
        counted.go_on.set()
        await asyncio.wait_for(going, 20)
        assert await asyncio.to_thread(counted.stopped.wait, 20)
        again = Visit(one_worker, **BODY | {"max_new_tokens": 2})
        async with asyncio.timeout(60):  # the slot is given back just after the work has stopped
            await again.go()
            while again.status == 503:
                await asyncio.sleep(0.01)
                again = Visit(one_worker, **BODY | {"max_new_tokens": 2})
                await again.go()
        assert again.status == 200

    awaited(visit)
    assert counted.n <= 4 + 2  # one more token at most, and the two of the second visit


def test_an_error_inside_a_stream_is_an_event(one_worker, monkeypatch):
    def failing(*args: Any, **options: Any) -> Any:
        yield from list(generate.generating(*args, **options))[:1]
        raise errors.Invalid("not that", "text")

    monkeypatch.setattr(at_work.work, "generating", failing)
    client = awaited(visited, one_worker)
    assert client.status == 200
    last = client.chunks[-1].decode()
    assert last.startswith("event: problem\n")
    problem = json.loads(last.split("data: ")[1])
    assert (problem["status"], problem["detail"]) == (422, "not that")
    [error] = problem["errors"]
    assert (error["field"], error["message"]) == ("text", "not that")


def test_a_mistake_of_ours_inside_a_stream_says_so(one_worker, monkeypatch, caplog):
    def broken(*args: Any, **options: Any) -> Any:
        yield from list(generate.generating(*args, **options))[:1]
        raise KeyError("secret")

    monkeypatch.setattr(at_work.work, "generating", broken)
    client = awaited(visited, one_worker)
    last = client.chunks[-1].decode()
    assert "a mistake of ours" in last and "secret" not in last
    assert "secret" in caplog.text


def test_a_busy_server_says_so_before_it_streams(one_worker):
    release = threading.Event()

    async def busy() -> int:
        held = asyncio.ensure_future(one_worker.state.service.compute(release.wait))
        await asyncio.sleep(0)
        client = Visit(one_worker, **BODY, stream=True)
        await client.go()
        release.set()
        await held
        return client.status

    assert awaited(busy) == 503


def test_events_are_one_line_each() -> None:
    text = streaming.event("token", {"text": "a\nb\r\nc\u2028d"}).decode()
    assert text.count("\n") == 3 and text.endswith("\n\n")


async def visited(app: FastAPI) -> Visit:
    client = Visit(app, **BODY | {"max_new_tokens": 3}, stream=True)
    await asyncio.wait_for(client.go(), 20)
    return client


STEPS = {"token", "shot", "progress", "layer", "method", "measured"}  # events between


def events(text: str) -> list[tuple[str, Any]]:
    """Server-sent events as (name, data)."""
    values = []
    for block in text.strip().split("\n\n"):
        fields = dict(line.split(": ", 1) for line in block.splitlines())
        values.append((fields["event"], json.loads(fields["data"])))
    return values


@pytest.mark.parametrize(("path", "body"), STEPWISE)
def test_streamed_and_whole_answers_are_equal(client, post, path, body):
    whole = post(path, **body)
    answer = client.post(f"/api/v1{path}", json={**body, "stream": True})
    assert answer.headers["content-type"].startswith("text/event-stream")
    assert answer.headers["cache-control"] == "no-store"
    result = events(answer.text)
    assert [name for name, _ in result[:1] + result[-1:]] == ["start", "result"]
    assert result[-1][1] == whole
    assert {name for name, _ in result[1:-1]} <= STEPS


@pytest.mark.parametrize(("path", "body"), STEPWISE[:4])
def test_each_token_comes_with_its_row(client, path, body):
    outcome = events(client.post(f"/api/v1{path}", json={**body, "stream": True}).text)
    result = outcome[-1][1]
    tokens = [data for name, data in outcome if name == "token"]
    beams = body.get("num_beams", 1) > 1
    if not beams:
        assert [data["token"]["id"] for data in tokens] == [t["id"] for t in result["tokens"]]
        shared = set(tokens[0]) - {"text", "attn", "token"}
        for data, step in zip(tokens, result["steps"], strict=True):
            assert {name: data[name] for name in shared} == {name: step[name] for name in shared}
    n_key = len(outcome[0][1].get("source") or outcome[0][1]["prompt"])
    for n, data in enumerate(tokens):
        rows = np.array(data["attn"])
        assert rows.shape[1] == (n_key if path == "/translate" else n_key + n)
        np.testing.assert_allclose(rows.sum(1), 1, atol=1e-5)


def test_a_row_is_of_the_head_that_is_asked_for(client, get):
    body = {"model": "translator", "text": TEXT, "stream": True}
    one = events(client.post("/api/v1/translate", json={**body, "head": 7}).text)
    cross = np.array(get("/attention", model="translator", text=TEXT, kind="cross")["attn"])
    for n, (_, data) in enumerate(one[1:-1]):
        np.testing.assert_allclose(data["attn"], cross[:, 7, n], atol=1e-5)
    mean = events(client.post("/api/v1/translate", json=body).text)
    np.testing.assert_allclose(mean[1][1]["attn"], cross[:, :, 0].mean(1), atol=1e-5)


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("path", "body", "said"),
    [
        ("/translate", {"model": "gpt", "text": "hi"}, "gpt is not for translate"),
        ("/translate", {"model": "translator", "text": ""}, "the text is empty"),
        ("/translate", {"model": "translator", "text": "a", "num_beams": 9}, "at most 8"),
        ("/translate", {"model": "translator", "text": "a", "head": 8}, "heads 0 to 7"),
        ("/translate", {"model": "translator", "text": "a", "reference": " "}, "no tokens"),
        (
            "/translate",
            {"model": "translator", "text": "a", "max_new_tokens": 900},
            "900 tokens are too many: translator generates at most 127",
        ),
        ("/translate", {"model": "translator", "text": "a", "text_pair": "b"}, "text_pair"),
        ("/generate", {"model": "gpt", "text": "hi", "temperature": -1}, "at least 0"),
        ("/generate", {"model": "gpt", "text": "hi", "top_p": 0}, "more than 0"),
        ("/generate", {"model": "gpt", "text": "hi", "max_new_tokens": 512}, "at most 509 fit"),
        ("/generate", {"model": "gpt", "text": "hi", "forced": [9000]}, "tokens 0 to 8191"),
        (
            "/generate",
            {"model": "gpt", "text": "hi", "edits": [{"op": "block", "query": 999}]},
            "query 999 does not exist",
        ),
        ("/few-shot", {"model": "bert"}, "bert is not for next-token"),
        ("/few-shot", {"model": "gpt", "n_max": 9}, "at most 8"),
    ],
)
def test_what_cannot_be_is_said_before_anything_streams(client, path, body, said, stream):
    answer = client.post(f"/api/v1{path}", json={**body, "stream": stream})
    assert answer.status_code == 422
    assert answer.headers["content-type"] == "application/problem+json"
    assert said in answer.json()["detail"]


def test_an_unknown_model_is_404_in_a_stream_too(client):
    body = {"model": "nobody", "text": "hi", "stream": True}
    assert client.post("/api/v1/translate", json=body).status_code == 404
