"""Below which path the app is, behind a proxy: ROOT_PATH. Inside, no code knows it.

Requests come with the prefix or without it. What goes out is given it in one place for each kind:
HTML, headers, the links of an answer, and in the browser `static/js/lib/root.js`.
"""

from __future__ import annotations

import re
from contextvars import ContextVar
from typing import Any

import jinja2
from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Receive, Scope, Send
from starlette.types import Message as Event

root: ContextVar[str] = ContextVar("path below which the app is", default="")
ADDRESS = re.compile(r'\b(href|src|action)="(/(?!/)[^"]*)"')  # typed quotes are escaped: &#34;
PLACE = re.compile(r"^((?:https?://[^/]+)?)(/.*)")
LINK = re.compile(r"^<(/[^>]*)>")


def rooted(path: str) -> str:
    """An address of this app as clients see it: /explore is /atlas/explore below /atlas."""
    prefix = root.get()
    return path if f"{path}/".startswith(f"{prefix}/") else prefix + path


class Template(jinja2.Template):
    """A template whose links begin with the prefix."""

    def render(self, *args: Any, **kwargs: Any) -> str:
        html = super().render(*args, **kwargs)
        return ADDRESS.sub(lambda m: f'{m[1]}="{rooted(m[2])}"', html) if root.get() else html


def coded(text: str) -> bytes:
    """A pattern of a part of an address, whose letters may be percent-encoded."""
    return b"".join(b"(?:%b|%%(?i:%02x))" % (re.escape(c).encode(), ord(c)) for c in text)


class RootPath:
    """ASGI middleware: requests lose the prefix, headers that name an address get it."""

    def __init__(self, app: ASGIApp, prefix: str) -> None:
        self.app = app
        self.prefix = prefix
        self.path = re.compile(rf"{re.escape(prefix)}(?:/(.*)|)", re.DOTALL)
        self.raw_path = re.compile(rb"%b(?:(?:/|%%2[Ff])(.*)|)" % coded(prefix), re.DOTALL)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not self.prefix:
            await self.app(scope, receive, send)
            return
        root.set(self.prefix)
        if match := self.path.fullmatch(scope["path"]):
            scope["path"] = "/" + (match[1] or "")
            if raw := self.raw_path.fullmatch(scope.get("raw_path") or b""):
                scope["raw_path"] = b"/" + (raw[1] or b"")

        async def named(event: Event) -> None:
            if event["type"] == "http.response.start":
                headers = MutableHeaders(scope=event)
                if "location" in headers:  # always of this app
                    headers["location"] = PLACE.sub(
                        lambda m: m[1] + rooted(m[2]), headers["location"]
                    )
                if "link" in headers:
                    headers["link"] = LINK.sub(lambda m: f"<{rooted(m[1])}>", headers["link"])
            await send(event)

        await self.app(scope, receive, named)
