"""One line of the log for each request, without the texts in its address, and its id."""

from __future__ import annotations

import logging
import re
import time
import uuid
from contextvars import ContextVar
from datetime import UTC, datetime

import orjson
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Receive, Scope, Send
from starlette.types import Message as Event

log = logging.getLogger("app.access")
HEADER = "X-Request-ID"
KNOWN = re.compile(r"[\w.-]{1,64}", re.ASCII)  # an id that a proxy in front has given
request_id: ContextVar[str] = ContextVar("id of the request", default="")


class AccessLog:
    """ASGI middleware: give each request an id, and log what was answered and how long it took."""

    def __init__(self, app: ASGIApp, *, queries: bool = False) -> None:
        self.app = app
        self.queries = queries

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        sent = Headers(scope=scope).get(HEADER, "")
        given = sent if KNOWN.fullmatch(sent) else uuid.uuid4().hex
        request_id.set(given)
        began, status = time.perf_counter(), 500

        async def noted(event: Event) -> None:
            nonlocal status
            if event["type"] == "http.response.start":
                status = event["status"]
                MutableHeaders(scope=event)[HEADER] = given
            await send(event)

        try:
            await self.app(scope, receive, noted)
        finally:
            self._write(scope, status, 1000 * (time.perf_counter() - began))

    def _write(self, scope: Scope, status: int, milliseconds: float) -> None:
        path = scope["path"]
        if self.queries and scope["query_string"]:
            path = f"{path}?{scope['query_string'].decode('ascii', 'replace')}"
        client = scope["client"][0] if scope.get("client") else "-"
        fields = {
            "client": client,
            "method": scope["method"],
            "path": printable(path),
            "status": status,
            "milliseconds": round(milliseconds, 1),
        }
        text = "%(client)s %(method)s %(path)s %(status)d %(milliseconds).1f ms"
        log.info(text, fields, extra={"fields": fields})


def printable(path: str) -> str:
    """A path on one line: no control characters, which could write lines of their own."""
    return "".join(char if char.isprintable() else "\ufffd" for char in path)


class JsonLines(logging.Formatter):
    """Each record as one line of JSON, with the id of its request."""

    def format(self, record: logging.LogRecord) -> str:
        fields = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "request_id": request_id.get(),
        }
        known = getattr(record, "fields", None)
        fields |= known if isinstance(known, dict) else {"message": record.getMessage()}
        if record.exc_info:
            fields["exception"] = self.formatException(record.exc_info)
        return orjson.dumps(fields, default=str).decode()
