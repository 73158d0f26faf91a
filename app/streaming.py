"""Server-sent events: from a worker's thread to a client, for as long as the client is there."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any

from attention_atlas.app import errors, wire
from attention_atlas.app.wire import Answer
from fastapi import Request, Response
from fastapi.sse import EventSourceResponse, format_sse_event
from pydantic import BaseModel

log = logging.getLogger("app")
Emit = Callable[[str, Mapping[str, Any]], None]  # an event's name and data; raises Gone
MEDIA_TYPE = "text/event-stream"
HEADERS = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}  # proxies must not buffer
CLIENT_GONE = 499  # the status proxies log when a client disconnects


def no_events(name: str, data: Mapping[str, Any]) -> None:
    """An Emit that drops its events."""


class Gone(Exception):
    """The client has disconnected; the rest of the work is not needed."""


class Client:
    """A client that waits for work: events go from the worker's thread to the event loop."""

    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()
        self.events: asyncio.Queue[bytes | None] = asyncio.Queue()  # None: the work is done
        self.gone = threading.Event()

    def emit(self, name: str, data: Mapping[str, Any]) -> None:
        """Send one event, from the worker. Raises Gone if the client has disconnected."""
        self.check(name, data)
        self.loop.call_soon_threadsafe(self.events.put_nowait, event(name, data))

    def check(self, name: str, data: Mapping[str, Any]) -> None:
        """Raise Gone if the client has disconnected; send nothing."""
        if self.gone.is_set():
            raise Gone


async def done_or_gone(request: Request, client: Client, working: asyncio.Future[Any]) -> None:
    """Until the work is done or the client disconnects; then the work stops at its next event."""
    leaving = asyncio.ensure_future(_disconnected(request))
    try:
        await asyncio.wait((working, leaving), return_when=asyncio.FIRST_COMPLETED)
    finally:
        leaving.cancel()
        client.gone.set()


async def _disconnected(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


async def streamed(client: Client, working: asyncio.Future[Answer]) -> Response:
    """The client's events as they come. An error before the first event is raised instead."""
    working.add_done_callback(lambda _: client.events.put_nowait(None))
    first = await client.events.get()
    if first is None:
        raise working.exception() or RuntimeError("the work had no events")

    async def events() -> AsyncIterator[bytes]:
        try:
            content: bytes | None = first
            while content is not None:
                yield content
                content = await client.events.get()
            yield last_event(working)
        finally:
            client.gone.set()
            working.add_done_callback(lambda done: done.cancelled() or done.exception())

    return EventSourceResponse(events(), headers=HEADERS)


def last_event(working: asyncio.Future[Answer]) -> bytes:
    """The result, or the problem that stopped the work."""
    error = working.exception()
    if error is None:
        return event("result", working.result().fields)
    if isinstance(error, errors.AppError):
        return event("problem", errors.problem(error).model_dump())
    log.error("in a stream", exc_info=error)
    return event("problem", errors.bug().model_dump())


def schema(events: Mapping[str, type[BaseModel]]) -> dict[str, Any]:
    """What an event of a stream is, by its name, for the OpenAPI schema."""
    kinds = [
        {
            "type": "object",
            "required": ["event", "data"],
            "properties": {
                "event": {"const": name},
                "data": {
                    "type": "string",
                    "contentMediaType": "application/json",
                    "contentSchema": shared(model),
                },
            },
        }
        for name, model in events.items()
    ]
    return {"oneOf": kinds}


def shared(model: type[BaseModel]) -> dict[str, Any]:
    """A model's schema by reference; the definitions beside it go where all others are."""
    place = "#/components/schemas/{model}"
    whole = model.model_json_schema(mode="serialization", ref_template=place)
    others = whole.pop("$defs", {})
    return {"$ref": place.format(model=model.__name__), "$defs": {**others, model.__name__: whole}}


def event(name: str, data: Mapping[str, Any]) -> bytes:
    return format_sse_event(event=name, data_str=wire.json_bytes(data).decode())
