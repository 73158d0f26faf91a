"""create_app(settings): routers, static files, error handlers. No logic."""

from __future__ import annotations

import re
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from anyio import CapacityLimiter
from attention_atlas.app import errors, language, navigation, openapi
from attention_atlas.app.access import HEADER, AccessLog
from attention_atlas.app.api import routes as api
from attention_atlas.app.api.common import PREFIX
from attention_atlas.app.assets import Assets, folder, plotly_styles
from attention_atlas.app.learn.figures import written
from attention_atlas.app.limits import ClientLimit
from attention_atlas.app.meters import Measured, Meters
from attention_atlas.app.meters import install as install_meters
from attention_atlas.app.middleware import AddressLimit, BodyLimit, HeadAsGet
from attention_atlas.app.pages import routes as pages
from attention_atlas.app.pages.engine import Responses, problem_page
from attention_atlas.app.root import RootPath, Template
from attention_atlas.app.security import HostCheck, SecurityHeaders, content_policy
from attention_atlas.app.service import Service
from attention_atlas.app.settings import Settings
from attention_atlas.model.zoo import names
from fastapi import FastAPI, Request
from fastapi.middleware.cors import CORSMiddleware
from fastapi.responses import JSONResponse
from fastapi.templating import Jinja2Templates
from fastapi_offline import FastAPIOffline
from markupsafe import Markup
from starlette_compress import CompressMiddleware

from attention_atlas import __version__

OTHERS = ("/static", "/static-offline-docs", "/healthz", "/readyz", "/metrics", "/openapi.json")


def create_app(
    settings: Settings | None = None, settle: Callable[[], None] = lambda: None
) -> FastAPI:
    """The whole app, its models loaded. ValueError for a setting that names nothing."""
    chosen = settings or Settings()
    service = Service(chosen, settle)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        yield
        service.close()

    app: FastAPI = FastAPIOffline(  # Swagger UI's files come from the package, not from a CDN
        docs_url=None,  # pages/docs.py
        title="Attention Atlas",
        version=__version__,
        description="Attention of small trained Transformers, layer by layer and head by head.",
        lifespan=lifespan,
        redoc_url=None,
        servers=[{"url": chosen.root_path}] if chosen.root_path else None,
    )
    app.state.service = service
    assets = Assets(chosen.root_path)
    app.state.assets = assets
    app.state.rendering = CapacityLimiter(1)  # pages/beside.py
    app.state.templates = templates_of(assets)
    app.mount("/static", assets, name="static")
    for router in (*api.ROUTERS, *pages.ROUTERS):
        app.include_router(router)
    app.add_api_route("/healthz", health, tags=["server"])
    missing: Responses = {503: {"description": "a bundled model is missing; says which, and why"}}
    app.add_api_route("/readyz", ready, tags=["server"], responses=missing)
    check_root(chosen.root_path)
    wrap(app, chosen, service.meters)
    errors.install(app, problem_page)
    install_meters(app, service.meters, chosen)
    openapi.install(app, chosen)
    return app


def wrap(app: FastAPI, settings: Settings, meters: Meters) -> None:
    """Add the middleware, the innermost first."""
    scripts, styles = [app.state.assets.import_map], plotly_styles()
    policy = content_policy(settings.frame_ancestors, scripts, styles)
    app.add_middleware(
        BodyLimit,
        limit=settings.max_body,
        seconds=settings.body_seconds,
        others={f"{PREFIX}/records": settings.max_record},
    )
    app.add_middleware(CompressMiddleware, minimum_size=500)
    app.add_middleware(HeadAsGet)
    app.add_middleware(HostCheck, settings=settings)
    app.add_middleware(SecurityHeaders, policy=policy)
    app.add_middleware(ClientLimit, settings=settings, limited=meters.limited)
    app.add_middleware(language.RequestLanguage)
    app.add_middleware(AddressLimit, limit=settings.max_address)
    if settings.cors_origins:
        app.add_middleware(CORSMiddleware, **cross_origin(settings.cors_origins))
    app.add_middleware(Measured, meters=meters)
    app.add_middleware(RootPath, prefix=settings.root_path)
    app.add_middleware(AccessLog, queries=settings.log_queries)


def check_root(root_path: str) -> None:
    """Refuse a base path that is an address of the app, since the two could not be told apart."""
    first = root_path.split("/")[1] if root_path else None
    routes = [route for router in (*api.ROUTERS, *pages.ROUTERS) for route in router.routes]
    paths = [*OTHERS, *(getattr(route, "path", "") for route in routes)]
    if first in {re.split(r"[/.]", path)[1] for path in paths}:
        raise ValueError(f"ROOT_PATH {root_path} is an address of the app: choose another")


def cross_origin(origins: str) -> dict[str, Any]:
    """Whose scripts may read answers. They may not open models: api/opening.py."""
    return {
        "allow_origins": origins.replace(",", " ").split(),
        "allow_methods": ["GET", "POST"],
        "allow_headers": ["Content-Type", "If-None-Match"],
        "expose_headers": ["Content-Disposition", "ETag", "Retry-After", HEADER],
        "max_age": 600,
    }


def templates_of(assets: Assets) -> Jinja2Templates:
    """The templates, and what all of them may name."""
    templates = Jinja2Templates(folder("templates"))
    templates.env.template_class = Template
    templates.env.globals |= {
        "root": assets.root_path,
        "static": f"/static/{assets.version}",
        "modules": assets.modules(),
        "import_map": Markup(assets.import_map),
        "version": __version__,
        "bar": navigation.BAR,
        "lessons": navigation.LESSONS,
        "written": written,
    }
    return templates


async def health() -> dict[str, str]:
    """Whether the process answers at all."""
    return {"status": "up"}


async def ready(request: Request) -> JSONResponse:
    """Whether the bundled models are loaded; what else is missing and why; what is being opened.

    A model of the command line that cannot be opened does not take the others out of service.
    """
    service: Service = request.app.state.service
    now = time.monotonic()
    content = {
        "models": sorted(service.models),
        "missing": {
            errors.shown(source): errors.without_path(why, source)
            for source, why in service.missing.items()
        },
        "opening": [
            {"model": name, "seconds": round(now - since, 1)}
            for name, since in list(service.opening.values())
        ],
    }
    is_broken = any(name in service.missing for name in names()) or not service.models
    return JSONResponse(content, 503 if is_broken else 200)
