"""create_app(settings): routers, static files, error handlers. No logic."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import plotly
from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse
from fastapi.staticfiles import StaticFiles
from fastapi.templating import Jinja2Templates
from fastapi_offline import FastAPIOffline
from starlette.types import Scope
from starlette_compress import CompressMiddleware

from app import __version__, api, errors, pages
from app.middleware import BodyLimit, HeadAsGet
from app.service import Service
from app.settings import Settings

HERE = Path(__file__).parent
VENDOR = {"vendor/plotly.min.js": Path(plotly.__file__).parent / "package_data/plotly.min.js"}


def folder(name: str) -> Path:
    """static/ or templates/: beside app/ in a checkout, inside it in a wheel."""
    inside = HERE / name
    return inside if inside.exists() else HERE.parent / name


class Assets(StaticFiles):
    """static/ and what we serve of others, also below v-HASH/, where nothing ever changes."""

    def __init__(self) -> None:
        super().__init__(directory=folder("static"))
        digest = hashlib.sha256()
        files = [path for path in sorted(folder("static").rglob("*")) if path.is_file()]
        for path in [*files, *VENDOR.values()]:
            digest.update(path.name.encode() + path.read_bytes())
        self.version = f"v-{digest.hexdigest()[:8]}"

    def lookup_path(self, path: str) -> tuple[str, object]:  # type: ignore[override]
        if path in VENDOR:
            return str(VENDOR[path]), VENDOR[path].stat()
        return super().lookup_path(path)

    async def get_response(self, path: str, scope: Scope) -> Response:
        versioned = path.startswith(f"{self.version}/")
        response = await super().get_response(path.removeprefix(f"{self.version}/"), scope)
        lasting = "public, max-age=31536000, immutable"
        response.headers["Cache-Control"] = lasting if versioned else "no-cache"
        return response


def create_app(settings: Settings | None = None) -> FastAPI:
    """The whole app, its models loaded. ValueError if a setting asks for what is not there."""
    chosen = settings or Settings()
    service = Service(chosen)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        yield
        service.close()

    app: FastAPI = FastAPIOffline(  # its Swagger UI comes from the package, not from a CDN
        title="Attention Atlas",
        version=__version__,
        description="Attention of small trained Transformers, layer by layer and head by head.",
        lifespan=lifespan,
        redoc_url=None,
        favicon_url="data:,",
    )
    app.state.service = service
    assets = Assets()
    app.state.templates = Jinja2Templates(folder("templates"))
    app.state.templates.env.globals |= {
        "static": f"/static/{assets.version}",
        "version": __version__,
    }
    app.mount("/static", assets, name="static")
    app.include_router(api.router)
    app.include_router(pages.router)
    app.add_api_route("/healthz", health, tags=["server"])
    missing: pages.Responses = {503: {"description": "a model is missing; says which, and why"}}
    app.add_api_route("/readyz", ready, tags=["server"], responses=missing)
    app.add_middleware(BodyLimit, limit=chosen.max_body)
    app.add_middleware(CompressMiddleware, minimum_size=500)
    app.add_middleware(HeadAsGet)
    errors.install(app)
    return app


async def health() -> dict[str, str]:
    """The process is up."""
    return {"status": "up"}


async def ready(request: Request) -> JSONResponse:
    """Whether every model is loaded, and why one is not."""
    service: Service = request.app.state.service
    content = {"models": sorted(service.models), "missing": service.missing}
    return JSONResponse(content, 503 if service.missing or not service.models else 200)
