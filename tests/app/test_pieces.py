"""Requests in chunks or packets of a byte: refused after so many, and counted, not timed."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable, Iterator
from typing import Any

import h11
import pytest
from attention_atlas.app.server import FEWEST_PIECES, PIECE, server_of
from attention_atlas.app.settings import Settings
from fastapi import FastAPI
from uvicorn.server import ServerState

from tests.asynchronous import awaited

SETTINGS = Settings(max_body=1_000_000)
MOST = FEWEST_PIECES + SETTINGS.max_body // PIECE
READ = 65_536  # bytes of one read of a socket
HEAD = b"POST / HTTP/1.1\r\nHost: 127.0.0.1\r\n"
CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"


class Transport(asyncio.Transport):
    """Keeps what is written to it."""

    def __init__(self) -> None:
        super().__init__()
        self.written = b""
        self.closed = False

    def write(self, data: Any) -> None:
        self.written += data

    def close(self) -> None:
        self.closed = True

    def is_closing(self) -> bool:
        return self.closed

    def pause_reading(self) -> None: ...

    def resume_reading(self) -> None: ...


async def silent(scope: Any, receive: Any, send: Any) -> None:
    """An application that never answers."""
    await asyncio.Event().wait()


async def begun(scope: Any, receive: Any, send: Any) -> None:
    """An application that has begun to answer."""
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"once", "more_body": True})
    await asyncio.Event().wait()


async def read(sent: Iterable[bytes], app: Any = silent) -> tuple[Transport, int]:
    """What a connection that reads this is answered, and how many reads it took."""
    config = server_of(FastAPI(), SETTINGS).config
    config.load()
    config.loaded_app = app
    made: Any = config.http_protocol_class
    connection, transport, n = made(config, ServerState(), {}), Transport(), 0
    connection.connection_made(transport)
    for data in sent:
        if transport.closed:
            break
        n += 1
        connection.data_received(data)
        await asyncio.sleep(0)
    connection.connection_lost(None)
    tasks = list(connection.tasks)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    return transport, n


@pytest.fixture
def events(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """Every event that is parsed."""
    parsed: list[object] = []
    plain = h11.Connection.next_event

    def noted(connection: h11.Connection) -> Any:
        parsed.append(event := plain(connection))
        return event

    monkeypatch.setattr(h11.Connection, "next_event", noted)
    return parsed


def reads(data: bytes) -> Iterator[bytes]:
    return (data[start : start + READ] for start in range(0, len(data), READ))


def singly(data: bytes) -> Iterator[bytes]:
    return (data[i : i + 1] for i in range(len(data)))


def code(transport: Transport) -> str:
    head, _, body = transport.written.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 400 ")
    return json.loads(body)["code"]


SHORT = {
    "chunks": reads(CHUNKED + b"1\r\n \r\n" * 1_000_000),
    "packets of a body": [HEAD + b"Content-Length: 900000\r\n\r\n", *[b" "] * 900_000],
    "packets of a chunk's length": [CHUNKED, *[b"0"] * 900_000],
    "packets of the headers": singly(HEAD + b"X: " + b"a" * 900_000),
}


@pytest.mark.parametrize("kind", SHORT)
def test_so_many_pieces_are_the_last(kind: str, events: list[object]) -> None:
    transport, n = awaited(read, SHORT[kind])
    assert code(transport) == "too-many-pieces"
    assert n <= MOST + 2 and len(events) <= 2 * MOST + 5


def test_an_answer_that_was_begun_is_cut_off(events: list[object]) -> None:
    transport, _ = awaited(read, [CHUNKED, *reads(b"1\r\n \r\n" * 100_000)], begun)
    assert transport.closed and transport.written.endswith(b"once\r\n")
    assert transport.written.count(b"HTTP/1.1") == 1


@pytest.mark.parametrize("size", [500, 1460, READ])
def test_the_longest_body_in_packets_or_chunks_of_usual_length_is_taken(size: int) -> None:
    n = SETTINGS.max_body // size
    body = [b" " * size] * n
    plain = [HEAD + b"Content-Length: %d\r\n\r\n" % (n * size), *body]
    for sent in (plain, [CHUNKED, *(b"%x\r\n%b\r\n" % (size, part) for part in body)]):
        transport, n_read = awaited(read, sent)
        assert (n_read, transport.written) == (len(sent), b"")


def test_each_request_of_a_connection_has_its_own_count(events: list[object]) -> None:
    one = HEAD + b"X: " + b"a" * (MOST // 2) + b"\r\nContent-Length: 2\r\n\r\nab"

    async def answers(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    transport, _ = awaited(read, singly(one * 4), answers)
    assert transport.written.count(b"HTTP/1.1 204") == 4
