"""The HTTP server: uvicorn's, with deadlines for headers and readers, a limit on connections.

uvicorn has none: a client that sends or reads one byte a minute keeps a connection for ever.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import sys
import threading
from http import HTTPStatus
from typing import Any

import h11
import uvicorn
from attention_atlas.app import errors
from attention_atlas.app.settings import Settings
from attention_atlas.model.messages import Message
from fastapi import FastAPI
from uvicorn.protocols.http.h11_impl import H11Protocol

log = logging.getLogger("app")
FEWEST_PIECES = 2000  # that a request may come in, whatever the longest body is
PIECE = 500  # bytes: a longer body may come in one more piece for each; packets have more
FULL = errors.Busy(Message("too-many-connections", "there are too many connections"))


class Server(uvicorn.Server):
    """uvicorn's server, which names its address when it is ready."""

    url = ""

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        for server in self.servers:
            host, port = server.sockets[0].getsockname()[:2]
            shown = f"[{host}]" if ":" in host else host
            self.url = f"http://{shown}:{port}"
            log.info("Attention Atlas is ready: %s", self.url)


class TooManyPieces(h11.RemoteProtocolError):
    """A request in chunks or packets of a byte: each costs the event loop what 1,000 bytes do."""


class Counted(h11.Connection):
    """Counts what each request comes in: reads of the socket, and parts of its body."""

    def __init__(self, longest_event: int, most: int) -> None:
        super().__init__(h11.SERVER, longest_event)
        self.most = most
        self.n_piece = 0

    def receive_data(self, data: bytes) -> None:
        self.n_piece += 1
        super().receive_data(data)

    def next_event(self) -> h11.Event | type[h11.NEED_DATA] | type[h11.PAUSED]:
        """The next event. Raises TooManyPieces, after which the connection is closed."""
        event = super().next_event()
        self.n_piece += isinstance(event, h11.Data)
        if self.n_piece > self.most:
            raise TooManyPieces(f"more than {self.most} pieces")
        if isinstance(event, h11.Request | h11.EndOfMessage):
            self.n_piece = 0
        return event


class Limited(H11Protocol):
    """uvicorn's protocol for HTTP/1.1, with the limits of the settings."""

    settings: Settings
    conn: Counted
    _deadline: asyncio.TimerHandle | None = None
    _reading: asyncio.TimerHandle | None = None  # until the client must have read

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        longest = self.settings.max_body
        self.conn = Counted(longest, FEWEST_PIECES + longest // PIECE)

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        if len(self.connections) > self.settings.max_connections:
            transport.write(written(FULL))
            transport.close()
        self._wait()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._wait()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._reading = self.loop.call_later(self.settings.send_seconds, self.transport.abort)

    def resume_writing(self) -> None:
        self._stop_reading()
        super().resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_waiting()
        self._stop_reading()
        super().connection_lost(exc)

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self._wait()

    def send_400_response(self, msg: str) -> None:
        """Say why, unless an answer was begun; in either case the connection is closed."""
        message = Message("not-http", "what was sent is not HTTP/1.1")
        if self.conn.n_piece > self.conn.most:
            message = Message(
                "too-many-pieces",
                "the request came in more than {limit} chunks or packets: send larger ones",
                limit=self.conn.most,
            )
        if self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            self.transport.write(written(errors.BadRequest(message)))
        self.transport.close()

    def _wait(self) -> None:
        """Close the connection if the headers of a request are not whole in time."""
        is_between = self.conn.their_state is h11.IDLE
        if not is_between:
            self._stop_waiting()
        elif self._deadline is None:
            seconds = self.settings.header_seconds
            self._deadline = self.loop.call_later(seconds, self.transport.close)

    def _stop_waiting(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _stop_reading(self) -> None:
        if self._reading is not None:
            self._reading.cancel()
            self._reading = None


def protocol(settings: Settings) -> type[H11Protocol]:
    """The protocol with these limits: uvicorn makes one for each connection."""
    return type("Limited", (Limited,), {"settings": settings})


def written(error: errors.AppError) -> bytes:
    """The answer to a connection that reaches no application, and is closed."""
    body = errors.problem(error).model_dump_json().encode()
    head = (
        f"HTTP/1.1 {error.status} {HTTPStatus(error.status).phrase}",
        f"Content-Type: {errors.MEDIA_TYPE}",
        f"Content-Length: {len(body)}",
        *(f"{name}: {value}" for name, value in error.headers.items()),
        "Connection: close",
    )
    return "\r\n".join((*head, "", "")).encode() + body


def server_of(app: FastAPI, settings: Settings) -> Server:
    """The server of an app, which has not started."""
    config = uvicorn.Config(
        app,
        settings.host,
        settings.port,
        ws="none",
        http=protocol(settings),  # httptools answers an address over 64 kB itself, without problem
        h11_max_incomplete_event_size=settings.max_body,
        server_header=False,
        access_log=False,  # access.py writes one without the texts in addresses
        log_config=None,
        timeout_graceful_shutdown=settings.graceful_seconds,
        proxy_headers=bool(settings.trusted_proxies),
        forwarded_allow_ips=settings.trusted_proxies or None,
    )
    return Server(config)


def served(app: FastAPI, settings: Settings) -> int:
    """Serve until interrupted: the exit status."""
    server = server_of(app, settings)
    server.run()
    return 0 if server.started else 1


def leave(status: int) -> None:
    """End the process. A worker thread in the middle of a computation cannot be cancelled, and
    Python would wait for it; the graceful period is over by now."""
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    if any(not thread.daemon for thread in threading.enumerate() if _is_other(thread)):
        os._exit(status)
    sys.exit(status)


def _is_other(thread: threading.Thread) -> bool:
    return thread is not threading.main_thread()
