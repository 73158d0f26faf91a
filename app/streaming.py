"""Answers that come step by step: server-sent events, and work that stops when its client goes."""

# No `from __future__ import annotations`: FastAPI reads annotations of what is registered here.

import asyncio
import logging
import threading
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any, TypeVar

from attention_atlas.app import errors, wire
from attention_atlas.app.api.resource import Named, named, packed, served
from attention_atlas.app.api.spec import Stepwise
from attention_atlas.app.service import Service
from attention_atlas.app.wire import Answer
from fastapi import APIRouter, Request, Response
from fastapi.sse import EventSourceResponse, format_sse_event
from pydantic import BaseModel

log = logging.getLogger("app")
Asking = TypeVar("Asking", bound=Stepwise)
Emit = Callable[[str, Mapping[str, Any]], None]  # an event's name and data; raises Gone
Make = Callable[[Service, Asking, Emit], Answer]
HEADERS = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}  # nobody on the way waits
CLIENT_GONE = 499  # what proxies log; nobody reads it


class Gone(Exception):
    """The client has gone away: nobody waits for the rest of the work."""


class Client:
    """Who waits for some work: its events go from the worker's thread to the event loop."""

    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()
        self.events: asyncio.Queue[bytes | None] = asyncio.Queue()  # None: the work is done
        self.gone = threading.Event()

    def emit(self, name: str, data: Mapping[str, Any]) -> None:
        """One event, from the worker. Gone, so that the work stops, if nobody waits."""
        self.check(name, data)
        self.loop.call_soon_threadsafe(self.events.put_nowait, event(name, data))

    def check(self, name: str, data: Mapping[str, Any]) -> None:
        """For a client that wants the whole answer alone."""
        if self.gone.is_set():
            raise Gone


def stepwise(
    router: APIRouter, path: str, asking: type[Asking], answer: type[BaseModel]
) -> Callable[[Make[Asking]], Make[Asking]]:
    """A resource whose function also emits events, which `stream=true` gives out as they come.

    The last event, `result`, holds what a request without `stream` is answered.
    """
    return served(router, path, asking, answer, respond)


async def respond(request: Request, body: Asking, make: Make[Asking]) -> Response:
    """The events, or the whole answer; when the client goes, the work stops at its next event."""
    service: Service = request.app.state.service
    name = await named(request, body)
    if body.stream:
        return await streamed(service, body, make)
    if name.known:
        return Response(status_code=304, headers=name.headers)
    return await whole(request, body, make, name)


async def whole(request: Request, body: Asking, make: Make[Asking], name: Named) -> Response:
    service: Service = request.app.state.service
    client = Client()

    def work() -> tuple[bytes, dict[str, str]]:
        return packed(request, service, make(service, body, client.check), name.format)

    working = asyncio.ensure_future(service.compute(work))
    leaving = asyncio.ensure_future(left(request))
    try:
        await asyncio.wait((working, leaving), return_when=asyncio.FIRST_COMPLETED)
    finally:
        leaving.cancel()
        client.gone.set()
    try:
        content, coding = await working
    except Gone:
        return Response(status_code=CLIENT_GONE)
    media_type = wire.MEDIA_TYPES[name.format]
    return Response(content, media_type=media_type, headers=name.headers | coding)


async def left(request: Request) -> None:
    """Until the client goes away."""
    while (await request.receive())["type"] != "http.disconnect":
        pass


async def streamed(service: Service, body: Asking, make: Make[Asking]) -> Response:
    """Server-sent events. What goes wrong before the first is an answer of its own status."""
    client = Client()
    working = asyncio.ensure_future(service.compute(lambda: make(service, body, client.emit)))
    working.add_done_callback(lambda _: client.events.put_nowait(None))
    first = await client.events.get()
    if first is None:
        raise working.exception() or RuntimeError("the work had no events")

    async def events() -> AsyncIterator[bytes]:
        try:
            found: bytes | None = first
            while found is not None:
                yield found
                found = await client.events.get()
            yield last_event(working)
        finally:
            client.gone.set()
            working.add_done_callback(lambda done: done.cancelled() or done.exception())

    return EventSourceResponse(events(), headers=HEADERS)


def last_event(working: asyncio.Future[Answer]) -> bytes:
    """The whole result, or the problem that came in between."""
    error = working.exception()
    if error is None:
        return event("result", working.result().fields)
    if isinstance(error, errors.AppError):
        return event("problem", errors.problem(error).model_dump())
    log.error("in a stream", exc_info=error)
    return event("problem", errors.bug().model_dump())


def event(name: str, data: Mapping[str, Any]) -> bytes:
    return format_sse_event(event=name, data_str=wire.json_bytes(data).decode())
