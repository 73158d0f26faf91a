"""Templates are filled in beside the event loop: each takes about 10 ms, and there may be many."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from anyio import to_thread
from fastapi import Request

Made = TypeVar("Made")


async def beside(request: Request, make: Callable[..., Made], *arguments: Any) -> Made:
    """`make(request, *arguments)`, called on a thread, one at a time: threads that run Python
    hold each other up."""
    limiter = request.app.state.rendering
    return await to_thread.run_sync(make, request, *arguments, limiter=limiter)
