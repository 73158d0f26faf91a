"""Middleware for every request: HEAD, and the limits on addresses and bodies."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from attention_atlas.app import errors
from attention_atlas.app.language import chosen, of_request
from attention_atlas.model.messages import Message
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send
from starlette.types import Message as Event

MOST_PARAMETERS = 200  # of one address


class BodyLimit:
    """ASGI middleware: a body over the limit is answered 413, as soon as that is known; one that
    does not come in time 408."""

    def __init__(
        self, app: ASGIApp, limit: int, seconds: float, others: Mapping[str, int] | None = None
    ) -> None:
        """`others`: limits of some addresses."""
        self.app = app
        self.limit = limit
        self.others = others or {}
        self.seconds = seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        limit = self.others.get(scope["path"], self.limit)
        declared = dict(scope["headers"]).get(b"content-length", b"0")
        if declared.isdigit() and int(declared) > limit:
            error = errors.BodyTooLarge(self._message(int(declared), limit))
            answer = errors.respond(errors.problem(error))
            await answer(scope, receive, send)
            return
        seen, is_whole = 0, False
        deadline = asyncio.get_running_loop().time() + self.seconds

        async def counted() -> Event:
            nonlocal seen, is_whole
            if is_whole:  # what comes next is that the client goes
                return await receive()
            try:
                async with asyncio.timeout_at(deadline):
                    event = await receive()
            except TimeoutError:
                raise HTTPException(408, self._late()) from None
            is_whole = not event.get("more_body", False)
            seen += len(event.get("body", b""))
            if seen > limit:
                raise HTTPException(
                    413, self._message(seen, limit)
                )  # FastAPI hides any other as 400
            return event

        await self.app(scope, counted, send)

    def _late(self) -> str:
        return Message(
            "body-too-slow",
            "the body was not there after {limit:g} seconds",
            limit=self.seconds,
        )

    def _message(self, size: int, limit: int) -> str:
        return Message(
            "body-too-large",
            "the body has {value} bytes or more; at most {limit} are taken",
            value=size,
            limit=limit,
        )


class AddressLimit:
    """ASGI middleware: an address that is too long is answered 414, one with too many parameters
    400, before anything is parsed."""

    def __init__(self, app: ASGIApp, limit: int) -> None:
        self.app = app
        self.limit = limit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        error = self._error(scope) if scope["type"] == "http" else None
        if error is None:
            await self.app(scope, receive, send)
            return
        # The language of the answer is that of the headers: the address is not parsed.
        of_request.set(chosen(Request({**scope, "query_string": b""})).code)
        await errors.respond(errors.problem(error))(scope, receive, send)

    def _error(self, scope: Scope) -> errors.AppError | None:
        query: bytes = scope["query_string"]
        size = len(scope.get("raw_path") or b"") + len(query)
        if size > self.limit:
            return errors.AddressTooLong(
                Message(
                    "address-too-long",
                    "the address has {value} bytes; at most {limit} are taken: send a POST request",
                    value=size,
                    limit=self.limit,
                )
            )
        if (n := query.count(b"&") + 1) > MOST_PARAMETERS:
            return errors.TooManyParameters(
                Message(
                    "too-many-parameters",
                    "the address has {value} parameters; at most {limit} are taken",
                    value=n,
                    limit=MOST_PARAMETERS,
                )
            )
        return None


class HeadAsGet:
    """ASGI middleware: HEAD is answered as GET is; the server leaves the body out."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] != "HEAD":
            await self.app(scope, receive, send)
            return
        inside = {**scope, "method": "GET"}
        try:
            await self.app(inside, receive, send)
        finally:
            scope["route"] = inside.get("route")  # for the meters
