"""The explorer as one file that opens anywhere: its scripts, styles and numbers are all inside."""

# No `from __future__ import annotations`: FastAPI reads the annotations of the route below.

import base64
import re
from functools import cache
from pathlib import Path
from typing import Any

from attention_atlas.app import errors, language, wire
from attention_atlas.app.api.attention import (
    AttentionRequest,
    OverviewRequest,
    attention,
    attention_record,
    overview,
)
from attention_atlas.app.api.common import spec_of
from attention_atlas.app.api.metrics import MetricsRequest, head_metrics
from attention_atlas.app.assets import folder, packed_plotly, scripts, styles
from attention_atlas.app.pages.engine import AS_HTML, problem_page
from attention_atlas.app.pages.explore import ExplorePage, explore
from attention_atlas.app.service import Service
from fastapi import APIRouter, Depends, Request, Response
from fastapi.responses import HTMLResponse
from markupsafe import Markup

router = APIRouter(tags=["pages"])

MOST_NUMBERS = 4_000_000  # of all heads together; a longer text's file has the chosen head alone
IMPORT = re.compile(r"""((?:from|import)\s*\(?\s*)"\.{1,2}/(?:[\w-]+/)*([\w-]+)\.js\"""")
# The file's scripts are inside of it; where a browser shows it at this address, it has no origin.
POLICY = "sandbox allow-scripts allow-downloads; frame-ancestors 'self'"
STYLES = ("app", "explore", "grid", "lines", "matrix", "tokens", "table", "controls")


@router.get("/explore.html", response_class=HTMLResponse, responses=AS_HTML)
async def standalone(request: Request, page: ExplorePage = Depends(explore)) -> Response:
    """The Explore page as one file, for the same address: no server, no network needed."""
    service: Service = request.app.state.service
    if page.problem:
        is_page = errors.wants_html(request)
        return (
            await problem_page(request, page.problem) if is_page else errors.respond(page.problem)
        )
    model = re.sub(r"[^\w.-]", "-", page.model, flags=re.ASCII)  # headers are ASCII
    name = f"attention-{model}-L{page.layer}H{page.head}.html"
    headers = {
        "Content-Disposition": f'attachment; filename="{name}"',
        "Content-Language": language.chosen(request).tag,
        "Content-Security-Policy": POLICY,
        "Vary": "Accept-Language",
    }

    def work() -> Response:
        content = {
            "page": page,
            "search": f"?{request.url.query}",
            "answers": _answers(service, page),
            "bundle": modules(),
            "packed": packed(),
            "css": css(),
            **language.context(request),
        }
        templates = request.app.state.templates
        return templates.TemplateResponse(request, "standalone.html", content, headers=headers)

    return await service.compute(work)


def _answers(service: Service, page: ExplorePage) -> dict[str, Any]:
    """What the API would answer, in base64: all heads as pictures, their metrics, the numbers."""
    inputs = {"model", "text", "text_pair", "target", "source_lang", "target_lang", "kind"}
    spec = page.model_dump(include=inputs)
    options = {**spec, "special": page.special, "merge": page.merge}
    every = AttentionRequest.model_validate(options)
    shown = AttentionRequest.model_validate({**options, "layer": page.layer, "head": page.head})
    pictures, numbers = OverviewRequest.model_validate(spec), MetricsRequest.model_validate(spec)
    with service.lent(page.model, text=page.text) as loaded:
        run_spec = spec_of(every)
        if not service.is_long(loaded, run_spec):
            _, record = attention_record(service, every, loaded, run_spec)
            shown = every if record.attn.numel() <= MOST_NUMBERS else shown
        tensors = {
            "overview": overview(service, pictures, loaded),
            "attention": attention(service, shown, loaded),
        }
        metrics = head_metrics(service, numbers, loaded)
    content = {name: wire.encode(answer, "safetensors") for name, answer in tensors.items()}
    return {
        **{name: base64.b64encode(each).decode() for name, each in content.items()},
        "metrics": wire.encode(metrics, "json").decode(),
    }


@cache
def modules() -> dict[str, str]:
    """An import map: every script as a data: address, with offline.js in place of api.js."""
    root = folder("static") / "js"
    needed = [*scripts(root / "pages" / "explore.js"), *scripts(root / "lib" / "offline.js")]
    paths = {path.stem: path for path in needed}
    paths["api"] = paths.pop("offline")
    addresses = {f"atlas/{name}.js": _data(_bare(path)) for name, path in paths.items()}
    return {**addresses, "plotly": _data((root / "lib" / "packed.js").read_text("utf-8"))}


@cache
def packed() -> str:
    """Plotly in base64."""
    return base64.b64encode(packed_plotly()).decode()


def _bare(path: Path) -> str:
    """A script that imports by name: relative addresses do not work in a data: address."""
    return IMPORT.sub(r'\1"atlas/\2.js"', path.read_text("utf-8"))


def _data(script: str) -> str:
    return f"data:text/javascript;base64,{base64.b64encode(script.encode()).decode()}"


@cache
def css() -> Markup:
    """The page's styles, not escaped: entities are not decoded inside <style>."""
    text = styles(STYLES)
    assert "</style" not in text
    return Markup(text)
