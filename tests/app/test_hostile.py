"""What means harm, sent to a server of its own that has little memory: it answers, and lives."""

from __future__ import annotations

import json
import os
import re
import resource
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.hostile.wire import CLOSED, WIRE, Case

ROOT = Path(__file__).parents[2]
MEMORY = 8_000_000_000  # bytes of address space, most of it torch's own
LONG = 60  # seconds that nothing here takes, on any machine
SETTINGS = {"MODELS": "gpt", "THREADS": "1", "PORT": "0", "LOG_FORMAT": "json", "HOSTS": ""}
SETTINGS |= {"BODY_SECONDS": "2", "HEADER_SECONDS": "2", "SEND_SECONDS": "1"}


class Running(NamedTuple):
    process: subprocess.Popen[bytes]
    port: int
    log: Path


def little_memory() -> None:
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))


@contextmanager
def started(folder: Path, **others: str) -> Iterator[Running]:
    command, log = [sys.executable, "-m", "attention_atlas.app"], folder / "log"
    env = os.environ | SETTINGS | others
    with log.open("wb") as out:
        process = subprocess.Popen(command, cwd=ROOT, env=env, stderr=out, preexec_fn=little_memory)
    try:
        while not (match := re.search(r"is ready: \S+:(\d+)\"", log.read_text())):
            assert process.poll() is None, log.read_text()
            time.sleep(0.05)
        yield Running(process, int(match[1]), log)
    finally:
        process.kill()
        process.wait()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with started(tmp_path_factory.mktemp("server")) as running:
        yield running


def answer(server: Running, sent: bytes) -> bytes:
    """All that comes until the server closes the connection, which it does."""
    parts = []
    with socket.create_connection(("127.0.0.1", server.port), timeout=LONG) as client:
        with suppress(ConnectionError):
            client.sendall(sent)
        with suppress(ConnectionError):
            while part := client.recv(1 << 16):
                parts.append(part)
    return b"".join(parts)


@pytest.mark.parametrize("case", WIRE.values(), ids=WIRE)
def test_harm_gets_an_answer_that_it_should(server: Running, case: Case) -> None:
    sent, expected = case
    text = answer(server, sent).decode("latin-1")
    statuses = {int(status) for status in re.findall(r"(?m)^HTTP/1.1 (\d{3}) ", text)} or {CLOSED}
    assert statuses <= expected, text[:500]
    assert not re.search(r"(?im)^set-cookie|^location: *(//|\w+://(?!127|localhost))", text)
    assert "Traceback" not in text and "root:" not in text
    if statuses & {400, 403, 405, 408, 413, 414, 422}:
        assert "application/problem+json" in text
    assert server.process.poll() is None


def test_the_server_lives_and_made_no_mistake(server: Running) -> None:
    """After all of the above, in the same process."""
    with urllib.request.urlopen(f"http://127.0.0.1:{server.port}/readyz", timeout=LONG) as ready:
        assert json.load(ready)["models"] == ["gpt"]
    lines = [json.loads(line) for line in server.log.read_text().splitlines()]
    assert not [line for line in lines if line["level"] == "error" or line.get("status") == 500]


def test_who_does_not_read_is_left(server: Running) -> None:
    """A stream, and the largest file: no connection is held for ever by not reading it."""
    lines = b"GET /static-offline-docs/swagger-ui-bundle.js HTTP/1.1\r\nHost: localhost\r\n\r\n"
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.settimeout(LONG)
        client.connect(("127.0.0.1", server.port))
        client.sendall(lines * 20)
        until = time.monotonic() + LONG
        while _connections(server) and time.monotonic() < until:
            time.sleep(0.1)  # not read
        assert not _connections(server)


def _connections(server: Running) -> int:
    """Sockets of the server's process that are connected."""
    local = f":{server.port:04X}"
    rows = [row.split() for row in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return sum(row[1].endswith(local) and row[3] == "01" for row in rows)


PROXY = {"TRUSTED_PROXIES": "127.0.0.1", "LOAD_MODELS": "off", "RATE": "0.001", "BURST": "3"}


@pytest.mark.parametrize(
    ("trusted", "header", "n_client"),
    [
        ("10.0.0.1", "1.1.1.{n}", 1),  # who asks is no proxy of ours: what it says is not believed
        ("127.0.0.1", "1.1.1.{n}, 2.2.2.2", 1),  # the proxy adds whom it saw; the rest is forged
        ("127.0.0.1", "1.1.1.{n}", 8),
        ("127.0.0.1", "2001:db8::{n}", 1),  # of one network
    ],
)
def test_forged_addresses_give_no_other_bucket(
    tmp_path: Path, trusted: str, header: str, n_client: int
) -> None:
    with started(tmp_path, **(PROXY | {"TRUSTED_PROXIES": trusted, "BURST": "1"})) as server:
        statuses = []
        for n in range(8):
            forged = f"X-Forwarded-For: {header.format(n=n)}\r\nConnection: close\r\n\r\n"
            text = answer(
                server, f"GET /models.json HTTP/1.1\r\nHost: localhost\r\n{forged}".encode()
            )
            statuses.append(text.split(b" ", 2)[1])
        for path in ("/metrics", "/metrics?"):
            here = "X-Forwarded-For: 127.0.0.1\r\nConnection: close\r\n\r\n"
            text = answer(server, f"GET {path} HTTP/1.1\r\nHost: localhost\r\n{here}".encode())
            assert text.startswith(b"HTTP/1.1 403")
    assert statuses.count(b"200") == n_client and statuses.count(b"429") == 8 - n_client
