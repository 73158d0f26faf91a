"""The Generate page: a continuation, step by step."""

# No `from __future__ import annotations`: FastAPI reads the annotations of the closures below.

from typing import Annotated, Any

from attention_atlas.app.api.few_shot import FewShotRequest
from attention_atlas.app.api.generate import GenerateAnswer, GenerateRequest, generate
from attention_atlas.app.api.models import ModelSummary
from attention_atlas.app.examples import catalogue
from attention_atlas.app.pages.engine import Content, PageQuery, answered, page
from attention_atlas.app.pages.stand_in import Step, within
from attention_atlas.app.pages.start import for_task, started
from attention_atlas.app.service import Service
from attention_atlas.app.streaming import no_events
from attention_atlas.model.analysis import few_shot
from fastapi import APIRouter, Query, Request
from pydantic import Field

router = APIRouter(tags=["pages"])


class GeneratePage(Content):
    models: list[ModelSummary] = Field(description="those that generate")
    model: str
    text: str
    max_new_tokens: int
    temperature: float
    top_k: int
    top_p: float
    seed: int
    forced: str
    step: int
    layer: int = Field(description="whose mean attention is drawn")
    pattern: str
    patterns: dict[str, str] = Field(description="pattern -> what it is")
    n_max: int
    generation: GenerateAnswer | None = None


FIRST = {"max_new_tokens": 24, "temperature": 0.8, "top_k": 40, "top_p": 0.95, "seed": 1}
AUDIENCE = for_task("generate", "generate")


class GenerateQuery(PageQuery):
    text: str | None = None
    max_new_tokens: str = ""
    temperature: str = ""
    top_k: str = ""
    top_p: str = ""
    seed: str = ""
    forced: str = ""
    step: str = ""
    layer: str = ""
    pattern: str = ""
    n_max: str = ""


@page("/generate", "generate.html", GeneratePage, router)
async def generate_page(request: Request, query: Annotated[GenerateQuery, Query()]) -> GeneratePage:
    """A continuation, step by step: candidates, filters, attention, and surprise."""
    service: Service = request.app.state.service
    start = await started(service, query, AUDIENCE)
    query, choice = start.query, start.choice
    fields: dict[str, Any] = {
        **start.fields,
        **{name: choice.accepted(name, GenerateRequest, FIRST[name]) for name in FIRST},
        "forced": ",".join(map(str, choice.accepted("forced", GenerateRequest, ()))),
        "text": catalogue.first_text("generate") if query.text is None else query.text,
        "step": choice.accepted("step", Step, 0),
        "layer": choice.number("layer", start.model.n_layer),
        "pattern": choice.among("pattern", list(few_shot.PATTERNS)),
        "n_max": choice.accepted("n_max", FewShotRequest, 3),
        "patterns": few_shot.definitions(),
    }
    return await answered(GeneratePage, fields, service.compute(lambda: _answers(service, fields)))


def _answers(service: Service, fields: dict[str, Any]) -> dict[str, Any]:
    spec = {name: fields[name] for name in ("model", "text", *FIRST)}
    request = GenerateRequest.model_validate({**spec, "forced": fields["forced"] or ()})
    with service.lent(request.model, text=request.text) as loaded:
        generation = generate(service, request, loaded, no_events).fields
    return {"generation": generation, **within(fields, len(generation["steps"]))}
