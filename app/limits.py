"""How often a client may ask: a bucket of tokens for each, in memory."""

from __future__ import annotations

import ipaddress
import math
import time
from collections.abc import Callable
from dataclasses import dataclass

from attention_atlas.app import errors
from attention_atlas.app.settings import Settings
from attention_atlas.model.messages import Message
from cachetools import LRUCache
from prometheus_client import Counter
from starlette.types import ASGIApp, Receive, Scope, Send

MOST_CLIENTS = 10_000  # remembered; who has not asked for longest has a full bucket again
FREE = ("/static/", "/static-offline-docs/", "/healthz", "/readyz", "/metrics")


@dataclass
class Bucket:
    tokens: float
    since: float


class Buckets:
    """Each client has `burst` tokens, and gets `rate` of them back a second."""

    def __init__(self, rate: float, burst: int, now: Callable[[], float] = time.monotonic) -> None:
        self.rate = rate
        self.burst = burst
        self.now = now
        self.clients: LRUCache[str, Bucket] = LRUCache(MOST_CLIENTS)

    def wait(self, client: str) -> float:
        """Take a token: 0; or the seconds until there is one."""
        now = self.now()
        bucket = self.clients.get(client) or Bucket(self.burst, now)
        tokens = min(self.burst, bucket.tokens + (now - bucket.since) * self.rate)
        taken = tokens >= 1
        self.clients[client] = Bucket(tokens - taken, now)
        return 0.0 if taken else (1 - tokens) / self.rate


class ClientLimit:
    """ASGI middleware: a client that asks too often is answered 429. Off on loopback."""

    def __init__(self, app: ASGIApp, settings: Settings, limited: Counter) -> None:
        self.app = app
        self.limited = limited
        self.is_on = settings.rate > 0 and not settings.is_private
        self.buckets = Buckets(settings.rate, settings.burst)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        is_free = scope["type"] != "http" or scope["path"].startswith(FREE)
        seconds = 0.0 if is_free or not self.is_on else self.buckets.wait(client_of(scope))
        if not seconds:
            await self.app(scope, receive, send)
            return
        self.limited.inc()
        error = errors.TooManyRequests(
            Message(
                "too-many-requests",
                "too many requests from one address; try again in {seconds} s",
                seconds=math.ceil(seconds),
            )
        )
        headers = {"Retry-After": str(math.ceil(seconds))}
        await errors.respond(errors.problem(error), headers)(scope, receive, send)


def client_of(scope: Scope) -> str:
    """Who asks: an address, of IPv6 its network, since a client has all of that."""
    host = scope["client"][0] if scope.get("client") else ""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host
    if isinstance(address, ipaddress.IPv6Address):
        return str(ipaddress.ip_network((address, 64), strict=False))
    return host
