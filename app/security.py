"""Who may ask: the Host header, requests of other sites' pages, proxies; what a page may do (CSP).

A server on loopback answers only to the names of this machine: a page of another site that makes
its own name lead here (DNS rebinding) gets nothing. Behind a proxy every client looks local.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from contextvars import ContextVar
from urllib.parse import urlsplit

from attention_atlas.app import errors
from attention_atlas.app.settings import Settings
from attention_atlas.model.messages import Message
from fastapi import Request
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Receive, Scope, Send
from starlette.types import Message as Event

LOCAL = ("localhost", "127.0.0.1", "::1")
FORWARDED = ("forwarded", "x-forwarded-for", "x-forwarded-host", "x-forwarded-proto", "x-real-ip")
cross_site: ContextVar[bool] = ContextVar("asked for by a page of another site", default=False)


class HostCheck:
    """ASGI middleware: refuse requests that name another host; note those of other sites."""

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self.app = app
        self.hosts = allowed_hosts(settings)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            headers = Headers(scope=scope)
            host = headers.get("host", "")
            if self.hosts and host_name(host) not in self.hosts:
                message = Message(
                    "host-not-allowed", "ask 127.0.0.1 or localhost, not {host}", host=host[:60]
                )
                refused = errors.problem(errors.NotAllowed(message, "host"))
                await errors.respond(refused)(scope, receive, send)
                return
            # A link that a person clicked counts as asked for here.
            is_clicked = headers.get("sec-fetch-user") == "?1"
            cross_site.set(headers.get("sec-fetch-site") == "cross-site" and not is_clicked)
        await self.app(scope, receive, send)


def allowed_hosts(settings: Settings) -> frozenset[str]:
    """The names that requests may ask for; empty if any."""
    named = frozenset(settings.hosts.replace(",", " ").lower().split())
    return named | frozenset(LOCAL) if named or settings.is_local else frozenset()


def host_name(host: str) -> str | None:
    """A host without its port; None if it is none."""
    try:
        return urlsplit(f"//{host}").hostname
    except ValueError:
        return None


def check_proxy(request: Request, settings: Settings) -> None:
    """Refuse what came through a proxy that the settings do not name."""
    if settings.trusted_proxies:
        return
    for name in FORWARDED:
        if name in request.headers:
            raise errors.NotAllowed(
                Message(
                    "forwarded",
                    "requests through a proxy ({header}) may not open models; TRUSTED_PROXIES "
                    "names the proxies that may forward them",
                    header=name,
                ),
                "host",
            )


def check_site(name: str) -> None:
    """Refuse to load a model because a page of another site asks for it."""
    if cross_site.get():
        raise errors.NotAllowed(
            Message(
                "cross-site",
                "model {name} is not in memory, and a page of another site may not load it",
                name=name,
            ),
            "model",
        )


class SecurityHeaders:
    """ASGI middleware: what browsers may do with an answer. An answer may bring its own policy."""

    def __init__(self, app: ASGIApp, policy: str) -> None:
        self.app = app
        self.headers = {
            "Content-Security-Policy": policy,
            "X-Content-Type-Options": "nosniff",
            "Referrer-Policy": "same-origin",
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def guarded(event: Event) -> None:
            if event["type"] == "http.response.start":
                headers = MutableHeaders(scope=event)
                for name, value in self.headers.items():
                    headers.setdefault(name, value)
            await send(event)

        await self.app(scope, receive, guarded if scope["type"] == "http" else send)


def content_policy(frame_ancestors: str, scripts: Sequence[str], styles: Sequence[str]) -> str:
    """Scripts and styles of this server alone, and the inline ones that are given, by hashes.

    A style attribute is allowed if it is one of `styles`. What scripts set through the CSSOM needs
    no permission.
    """
    return "; ".join(
        (
            "default-src 'self'",
            f"script-src 'self' {hashes(scripts)}",
            f"style-src 'self' 'unsafe-hashes' {hashes(styles)}",
            "img-src 'self' data: blob:",
            "connect-src 'self' data: blob:",
            "object-src 'none'",
            "base-uri 'none'",
            "form-action 'self'",
            f"frame-ancestors {frame_ancestors}",
        )
    )


def hashes(texts: Sequence[str]) -> str:
    return " ".join(f"'sha256-{digest(text)}'" for text in texts)


def digest(script: str) -> str:
    """An inline text's SHA-256 as a policy names it."""
    return base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
