"""Coroutines in tests, in another thread: Playwright's event loop runs in that of the tests."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar

from anyio.from_thread import start_blocking_portal

T = TypeVar("T")


def awaited(work: Callable[..., Awaitable[T]], *args: object) -> T:
    """What `await work(*args)` returns."""
    with start_blocking_portal() as portal:
        return portal.call(work, *args)
