"""The Generate page: a continuation as it comes about."""

# No `from __future__ import annotations`: FastAPI reads the annotations of the closures below.

from typing import Any

from attention_atlas.app.api.few_shot import FewShotRequest
from attention_atlas.app.api.generate import GenerateAnswer, GenerateRequest, generate_answer
from attention_atlas.app.api.models import ModelSummary
from attention_atlas.app.pages.engine import (
    NO_EVENTS,
    Choice,
    Content,
    WorkExample,
    able,
    answered,
    numbers,
    opened,
    page,
)
from attention_atlas.app.service import Service
from attention_atlas.model.analysis import few_shot
from fastapi import APIRouter, Request
from pydantic import Field

router = APIRouter(tags=["pages"])


class GeneratePage(Content):
    models: list[ModelSummary] = Field(description="those that generate")
    examples: list[WorkExample]
    model: str
    text: str
    max_new_tokens: int
    temperature: float
    top_k: int
    top_p: float
    seed: int
    forced: str
    step: int
    pattern: str
    patterns: dict[str, str] = Field(description="pattern -> what it is")
    n_max: int
    generation: GenerateAnswer | None = None


PROMPTS = tuple(
    WorkExample(label=label, model="gpt", text=text)
    for label, text in (
        ("a tale begins", "Once upon a time, there was a king who"),
        ("a fact", "The capital of France is"),
        ("said twice", "river money king house water; river money king"),
        ("pairs", "house water\n money river\n king queen\n house water\n king"),
    )
)


@page("/generate", "generate.html", GeneratePage, router)
async def generate_page(
    request: Request,
    model: str = "",
    text: str | None = None,
    max_new_tokens: str = "",
    temperature: str = "",
    top_k: str = "",
    top_p: str = "",
    seed: str = "",
    forced: str = "",
    step: str = "",
    pattern: str = "",
    n_max: str = "",
) -> GeneratePage:
    """A continuation as it comes about: candidates, filters, attention, and how sure it was."""
    service: Service = request.app.state.service
    unopened = await opened(service, model)
    models = able(service, "generate")
    sizes = {"max_new_tokens": max_new_tokens, "temperature": temperature, "top_k": top_k}
    sizes |= {"top_p": top_p, "seed": seed, "forced": forced}
    rest = {"model": model, "step": step, "pattern": pattern, "n_max": n_max}
    choice = Choice({**sizes, **rest})
    first = {"max_new_tokens": 24, "temperature": 0.8, "top_k": 40, "top_p": 0.95, "seed": 1}
    wanted = {name: choice.taken(name, GenerateRequest, first.get(name, ())) for name in sizes}
    asked: dict[str, Any] = {
        **wanted,
        "model": choice.of("model", [found.name for found in models]),
        "text": PROMPTS[0].text if text is None else text,
        "forced": ",".join(map(str, wanted["forced"])),
        "step": int(choice.of("step", numbers(1000))),
        "pattern": choice.of("pattern", list(few_shot.PATTERNS)),
        "n_max": choice.taken("n_max", FewShotRequest, 3),
    }

    def answers() -> dict[str, Any]:
        spec = {key: asked[key] for key in ("model", "text", *sizes)}
        mine = GenerateRequest.model_validate({**spec, "forced": wanted["forced"]})
        return {"generation": generate_answer(service, mine, NO_EVENTS).fields}

    there = {found.name for found in models}
    examples = [example for example in PROMPTS if example.model in there]
    shown = {"models": models, "examples": examples, "ignored": [*unopened, *choice.ignored]}
    shown["patterns"] = few_shot.definitions()
    return await answered(service, GeneratePage, {**asked, **shown}, answers)
