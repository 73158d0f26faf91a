"""The API's documentation: Swagger UI inside a page like the others."""

# No `from __future__ import annotations`: FastAPI reads the annotations of the route below.

from attention_atlas.app import language
from attention_atlas.app.pages.beside import beside
from attention_atlas.app.pages.engine import Content
from attention_atlas.app.pages.shared import shared
from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse

router = APIRouter()


@router.get("/docs", response_class=HTMLResponse, include_in_schema=False)
async def documentation(request: Request) -> HTMLResponse:
    """Every resource, with a form to try it; /openapi.json is the twin."""
    return await beside(request, _made)


def _made(request: Request) -> HTMLResponse:
    page = Content()
    paths = request.app.openapi()["paths"]
    content = {"page": page, "json_url": "/openapi.json", "paths": paths}
    content |= shared(request, page)
    headers = {"Content-Language": language.chosen(request).tag, "Vary": "Accept-Language"}
    templates = request.app.state.templates
    return templates.TemplateResponse(request, "docs.html", content, headers=headers)
