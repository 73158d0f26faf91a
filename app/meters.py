"""What operators watch, for Prometheus: /metrics. (/api/v1/metrics are numbers of heads.)"""

# No `from __future__ import annotations`: FastAPI reads the annotations of the route below.

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from attention_atlas.app import errors
from attention_atlas.app.security import FORWARDED
from attention_atlas.app.settings import Settings, is_loopback
from attention_atlas.model.messages import Message
from fastapi import FastAPI, Request, Response
from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    generate_latest,
)
from starlette.types import ASGIApp, Receive, Scope, Send
from starlette.types import Message as Event

METHODS = ("GET", "HEAD", "POST", "OPTIONS")
SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
PREFIX = "attention_atlas_"


class Meters:
    """All meters of one app."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self.requests = self._counter("requests", "by route", "method", "route", "status")
        self.seconds = self._histogram("request_seconds", "from a request to its end", "route")
        self.work = self._histogram("work_seconds", "of one piece of work on a worker")
        self.waited = self._histogram("waited_seconds", "of one piece of work for a worker")
        self.forward = self._histogram("forward_seconds", "forward passes, by model", "model")
        self.openings = self._counter("openings", "models opened, or why not", "outcome")
        self.limited = self._counter("limited", "requests over a client's limit, answered 429")
        self.accepted = self._gauge("accepted", "pieces of work on a worker or in the queue")
        self.computing = self._gauge("computing", "pieces of work on a worker")

    def watch(self, name: str, what: str, value: Callable[[], float]) -> None:
        """A number that is looked up when it is asked for."""
        self._gauge(name, what).set_function(value)

    @contextmanager
    def passing(self, model: str) -> Iterator[None]:
        """Time forward passes of a model."""
        with self.forward.labels(model).time():
            yield

    def _counter(self, name: str, what: str, *labels: str) -> Counter:
        return Counter(PREFIX + name, what, labels, registry=self.registry)

    def _gauge(self, name: str, what: str) -> Gauge:
        return Gauge(PREFIX + name, what, registry=self.registry)

    def _histogram(self, name: str, what: str, *labels: str) -> Histogram:
        return Histogram(PREFIX + name, what, labels, buckets=SECONDS, registry=self.registry)


class Measured:
    """ASGI middleware: count each request by its route's template, and time it to its end."""

    def __init__(self, app: ASGIApp, meters: Meters) -> None:
        self.app = app
        self.meters = meters

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        began, status = time.perf_counter(), 500

        async def noted(event: Event) -> None:
            nonlocal status
            if event["type"] == "http.response.start":
                status = event["status"]
            await send(event)

        try:
            await self.app(scope, receive, noted)
        finally:
            route, method = template(scope), scope["method"]
            known = method if method in METHODS else "other"
            self.meters.requests.labels(known, route, status).inc()
            self.meters.seconds.labels(route).observe(time.perf_counter() - began)


def template(scope: Scope) -> str:
    """A request's route, not its path: there are few. `none` where nothing is."""
    path: str | None = getattr(scope.get("route"), "path", None)
    is_file = path is None and scope["path"].startswith("/static/")
    return path or ("/static" if is_file else "none")


def install(app: FastAPI, meters: Meters, settings: Settings) -> None:
    """Add the resource. Who may read it is a setting."""

    async def metrics(request: Request) -> Response:
        """Requests, latency, queue, workers, models, caches, openings, in Prometheus's format."""
        check_reader(request, settings)
        return Response(generate_latest(meters.registry), media_type=CONTENT_TYPE_LATEST)

    text = {"content": {"text/plain": {}}, "description": "the metrics"}
    app.add_api_route(
        "/metrics", metrics, tags=["server"], response_class=Response, responses={200: text}
    )


def check_reader(request: Request, settings: Settings) -> None:
    """Refuse who may not read the metrics."""
    is_here = is_loopback(request.client.host if request.client else "")
    is_direct = is_here and not any(name in request.headers for name in FORWARDED)
    if settings.metrics == "off" or (settings.metrics == "local" and not is_direct):
        message = Message(
            "metrics-not-allowed",
            "the metrics are for this machine alone; METRICS=any lets others read them",
        )
        raise errors.NotAllowed(message)
