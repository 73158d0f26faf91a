"""The first page: one picture and the ways in; and addresses of earlier versions."""

# No `from __future__ import annotations`: FastAPI reads the annotations of the routes below.

from attention_atlas.app.api.common import TokenOut
from attention_atlas.app.navigation import MOVED
from attention_atlas.app.pages.engine import Content, page
from attention_atlas.app.pages.explore import ExploreQuery, Top, explore
from fastapi import APIRouter, Request
from fastapi.responses import RedirectResponse
from pydantic import Field

router = APIRouter(tags=["pages"])


class HomePage(Content):
    """The explorer's first picture, and which doors there are."""

    model: str
    text: str
    kind: str
    layer: int
    head: int
    query: int | None = Field(description="the token whose attention is shown at first")
    q_tokens: list[TokenOut]
    k_tokens: list[TokenOut]
    top: list[Top]
    opens: bool = Field(description="whether models can be opened by name")


@page("/", "home.html", HomePage, router)
async def first_page(request: Request) -> HomePage:
    """What this is, in one picture; Learn, Explore, a model of one's own."""
    shown = await explore(request, ExploreQuery())
    return HomePage.model_validate(shown.model_dump())


def moved(request: Request, path: str) -> RedirectResponse:
    """The same parameters at another path."""
    query = request.scope["query_string"].decode("ascii")
    return RedirectResponse(f"{path}?{query}" if query else path, 308)


def _moved_to(path: str) -> object:
    async def redirect(request: Request) -> RedirectResponse:
        return moved(request, path)

    return redirect


for old, new in MOVED.items():
    router.add_api_route(old, _moved_to(new), include_in_schema=False)  # type: ignore[arg-type]
