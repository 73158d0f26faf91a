"""Middleware for every request: HEAD, and the limit on bodies."""

from __future__ import annotations

from attention_atlas.app import errors
from attention_atlas.model import messages
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send


class BodyLimit:
    """ASGI middleware: a body over the limit is answered 413, as soon as that is known."""

    def __init__(self, app: ASGIApp, limit: int) -> None:
        self.app = app
        self.limit = limit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        declared = dict(scope["headers"]).get(b"content-length", b"0")
        if declared.isdigit() and int(declared) > self.limit:
            error = errors.BodyTooLarge(self._message(int(declared)))
            answer = errors.respond(errors.problem(error))
            await answer(scope, receive, send)
            return
        seen = 0

        async def counted() -> Message:
            nonlocal seen
            message = await receive()
            seen += len(message.get("body", b""))
            if seen > self.limit:
                raise HTTPException(413, self._message(seen))  # FastAPI hides any other as 400
            return message

        await self.app(scope, counted, send)

    def _message(self, size: int) -> str:
        return messages.Message(
            "body-too-large",
            "the body has {value} bytes or more; at most {limit} are taken",
            value=size,
            limit=self.limit,
        )


class HeadAsGet:
    """ASGI middleware: HEAD is answered as GET is; the server leaves the body out."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["method"] == "HEAD":
            scope = {**scope, "method": "GET"}
        await self.app(scope, receive, send)
