"""The server in a process of its own: deadlines, the limit on connections, and how it stops."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from subprocess import PIPE

import pytest

ROOT = Path(__file__).parents[2]
LONG = 60  # seconds that nothing here takes, on any machine
SETTINGS = {"MODELS": "gpt", "THREADS": "1", "PORT": "0", "LOG_FORMAT": "json"}
HASTY = {"HEADER_SECONDS": "1", "BODY_SECONDS": "1"}
PATIENT = {"HEADER_SECONDS": "60", "BODY_SECONDS": "600", "GRACEFUL_SECONDS": "1"}
PATIENT |= {"MAX_CONNECTIONS": "8"}
Process = subprocess.Popen[str]


@contextmanager
def started(**limits: str) -> Iterator[tuple[Process, int]]:
    """A server, and the port that it says it listens on."""
    command = [sys.executable, "-m", "attention_atlas.app"]
    env = os.environ | SETTINGS | limits
    with subprocess.Popen(command, cwd=ROOT, env=env, stderr=PIPE, text=True) as process:
        try:
            assert process.stderr is not None
            texts = (json.loads(line)["message"] for line in process.stderr)
            ready = next(text for text in texts if "is ready" in text)
            yield process, int(ready.rsplit(":", 1)[1])
        finally:
            process.kill()


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    with started(**HASTY) as (_, port):
        yield port


@pytest.fixture
def stopped() -> Iterator[tuple[Process, int]]:
    """A server of one test, which stops it; it waits for what a client sends."""
    with started(**PATIENT) as running:
        yield running


def connected(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), timeout=LONG)


def answer(client: socket.socket) -> str:
    """All that the server sends until it closes the connection."""
    parts = []
    while part := client.recv(65536):
        parts.append(part)
    return b"".join(parts).decode()


def problem(text: str) -> dict[str, object]:
    head, _, body = text.partition("\r\n\r\n")
    assert "application/problem+json" in head
    return json.loads(body)


HOST = b"Host: 127.0.0.1\r\n"
POST = b"POST /api/v1/tokenize HTTP/1.1\r\n" + HOST + b"Content-Type: application/json\r\n"


def test_headers_that_do_not_come_end_the_connection(port: int) -> None:
    with connected(port) as silent, connected(port) as slow:
        slow.sendall(b"GET /healthz HTTP/1.1\r\nHost: 127")
        assert answer(silent) == answer(slow) == ""
    with connected(port) as again:  # after an answer, too
        again.sendall(b"GET /healthz HTTP/1.1\r\n" + HOST + b"\r\nGET /he")
        assert answer(again).startswith("HTTP/1.1 200 OK")


def test_a_body_that_does_not_come_is_408(port: int) -> None:
    with connected(port) as client:
        client.sendall(POST + b'Content-Length: 100\r\nConnection: close\r\n\r\n{"model": ')
        text = answer(client)
    assert text.startswith("HTTP/1.1 408 ") and problem(text)["code"] == "body-too-slow"


def test_what_is_not_http_gets_a_problem(port: int) -> None:
    with connected(port) as client:
        client.sendall(b"\x16\x03\x01 hello\r\n\r\n")
        text = answer(client)
    assert text.startswith("HTTP/1.1 400 ") and problem(text)["code"] == "not-http"


def test_connections_over_the_limit_are_503(stopped: tuple[Process, int]) -> None:
    _, port = stopped
    clients = [connected(port) for _ in range(8)]
    try:
        with connected(port) as last:
            text = answer(last)
    finally:
        for client in clients:
            client.close()
    assert text.startswith("HTTP/1.1 503 ") and "Retry-After: 1" in text
    assert problem(text)["code"] == "too-many-connections"


def test_an_unfinished_body_does_not_hold_the_exit(stopped: tuple[Process, int]) -> None:
    process, port = stopped
    with connected(port) as client:
        client.sendall(POST + b"Content-Length: 100\r\n\r\n{")
        time.sleep(0.1)
        process.send_signal(signal.SIGTERM)
        assert process.wait(LONG) is not None


def test_a_long_computation_does_not_hold_the_exit(stopped: tuple[Process, int]) -> None:
    """A stream that nobody reads, and work on a thread that cannot be cancelled."""
    process, port = stopped
    generate = {"model": "gpt", "text": "The", "max_new_tokens": 200, "stream": True}
    few = {"model": "gpt", "n_max": 8, "n_prompt": 128}
    with connected(port) as reader, connected(port) as other:
        for client, path, sent in ((reader, "generate", generate), (other, "few-shot", few)):
            body = json.dumps(sent).encode()
            head = f"POST /api/v1/{path} HTTP/1.1\r\nContent-Length: {len(body)}\r\n".encode()
            client.sendall(head + HOST + b"Content-Type: application/json\r\n\r\n" + body)
        assert reader.recv(100)
        began = time.monotonic()
        process.send_signal(signal.SIGTERM)
        process.wait(LONG)
        assert time.monotonic() - began < LONG / 2
