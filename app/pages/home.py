"""The first page, and addresses of earlier versions."""

# No `from __future__ import annotations`: FastAPI reads the annotations of the routes below.

from attention_atlas.app.navigation import MOVED
from fastapi import APIRouter, Request
from fastapi.responses import RedirectResponse

router = APIRouter(tags=["pages"])


@router.get("/", include_in_schema=False)
def home(request: Request) -> RedirectResponse:
    """The explorer is the first page."""
    return moved(request, "/explore", 307)


def moved(request: Request, path: str, status: int = 308) -> RedirectResponse:
    """The same parameters at another path."""
    query = request.scope["query_string"].decode("ascii")
    return RedirectResponse(f"{path}?{query}" if query else path, status)


def _moved_to(path: str) -> object:
    async def redirect(request: Request) -> RedirectResponse:
        return moved(request, path)

    return redirect


for old, new in MOVED.items():
    router.add_api_route(old, _moved_to(new), include_in_schema=False)  # type: ignore[arg-type]
