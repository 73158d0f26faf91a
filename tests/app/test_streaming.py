"""Streams: a client that goes away stops the work, and frees the worker, within one token."""

from __future__ import annotations

import asyncio
import json
import threading
from typing import Any

import pytest
from attention_atlas.app import errors, streaming
from attention_atlas.app.api import generate as at_work
from attention_atlas.app.main import create_app
from attention_atlas.app.settings import Settings
from attention_atlas.model import generate
from fastapi import FastAPI

BODY = {"model": "gpt", "text": "The king", "max_new_tokens": 400}


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
        headers = [(b"content-type", b"application/json"), (b"host", b"test")]
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
        for _ in range(200):  # the slot is given back just after the work has stopped
            await again.go()
            if again.status != 503:
                break
            again = Visit(one_worker, **BODY | {"max_new_tokens": 2})
            await asyncio.sleep(0.01)
        assert again.status == 200

    asyncio.run(visit())
    assert counted.n <= 4 + 2  # one more token at most, and the two of the second visit


def test_an_error_inside_a_stream_is_an_event(one_worker, monkeypatch):
    def failing(*args: Any, **options: Any) -> Any:
        yield from list(generate.generating(*args, **options))[:1]
        raise errors.Invalid("not that", "text")

    monkeypatch.setattr(at_work.work, "generating", failing)
    client = asyncio.run(visited(one_worker))
    assert client.status == 200
    last = client.chunks[-1].decode()
    assert last.startswith("event: problem\n")
    problem = json.loads(last.split("data: ")[1])
    assert (problem["status"], problem["detail"]) == (422, "not that")
    assert problem["errors"] == [{"field": "text", "message": "not that"}]


def test_a_mistake_of_ours_inside_a_stream_says_so(one_worker, monkeypatch, caplog):
    def broken(*args: Any, **options: Any) -> Any:
        yield from list(generate.generating(*args, **options))[:1]
        raise KeyError("secret")

    monkeypatch.setattr(at_work.work, "generating", broken)
    client = asyncio.run(visited(one_worker))
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

    assert asyncio.run(busy()) == 503


def test_events_are_one_line_each() -> None:
    text = streaming.event("token", {"text": "a\nb\r\nc\u2028d"}).decode()
    assert text.count("\n") == 3 and text.endswith("\n\n")


async def visited(app: FastAPI) -> Visit:
    client = Visit(app, **BODY | {"max_new_tokens": 3}, stream=True)
    await asyncio.wait_for(client.go(), 20)
    return client
