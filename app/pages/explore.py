"""The Explore page: a text, its tokens, and one head's numbers."""

# No `from __future__ import annotations`: FastAPI reads the annotations of the closures below.

from typing import Any, get_args

from attention_atlas.app import errors
from attention_atlas.app.api.attention import AttentionRequest, attention_record
from attention_atlas.app.api.common import TokenOut, labels
from attention_atlas.app.api.models import ModelSummary, summaries
from attention_atlas.app.api.run import RunAnswer, run_answer
from attention_atlas.app.api.spec import RunRequest
from attention_atlas.app.errors import Problem
from attention_atlas.app.pages.engine import (
    Choice,
    Content,
    numbers,
    page,
    printable,
    validation_problem,
)
from attention_atlas.app.service import Service
from attention_atlas.model.record import AttentionRecord
from fastapi import APIRouter, Request
from fastapi.responses import RedirectResponse
from pydantic import BaseModel, Field, ValidationError

router = APIRouter(tags=["pages"])


class Example(BaseModel):
    label: str
    model: str
    text: str
    text_pair: str | None = None


class Limits(BaseModel):
    max_characters: int


class Top(BaseModel):
    query: int
    key: int
    attn: float


class ExplorePage(Content):
    ready_to_open: list[str] = Field(description="models that are opened when they are chosen")
    opens: bool = Field(description="whether the page may open models by name")
    models: list[ModelSummary]
    examples: list[Example]
    limits: Limits
    model: str
    text: str
    text_pair: str | None
    target: str | None
    kind: str
    layer: int
    head: int
    query: int | None = Field(description="index of the locked token, on the side it is of")
    side: str
    view: str
    special: str
    merge: str
    run: RunAnswer | None
    q_tokens: list[TokenOut] = Field(description="of the head shown: pieces or words")
    k_tokens: list[TokenOut]
    top: list[Top]


TWICE = "The river bank is closed. The river bank is closed."  # where induction heads look back
EXAMPLES = (
    Example(
        label="river bank", model="bert", text="He sat on the river bank and watched the water."
    ),
    Example(
        label="financial bank",
        model="bert",
        text="She opened an account at the bank to save money.",
    ),
    Example(
        label="two sentences",
        model="bert",
        text="The children went to the river.",
        text_pair="They played in the water all day.",
    ),
    Example(label="Bob cashed a check", model="gpt", text="Bob cashed a check at the bank"),
    Example(label="said twice", model="gpt", text=TWICE),
    Example(label="El banco está cerrado", model="translator", text="El banco está cerrado."),
    Example(label="the same, recurrent", model="recurrent", text="El banco está cerrado."),
)
SPECIAL: tuple[str, ...] = get_args(AttentionRequest.model_fields["special"].annotation)
MERGE: tuple[str, ...] = get_args(AttentionRequest.model_fields["merge"].annotation)
SIDES = ("query", "key")  # of the locked token
VIEWS = ("lines", "matrix", "tokens", "anatomy", "table")


@router.get("/", include_in_schema=False)
def home() -> RedirectResponse:
    """The explorer is the first page."""
    return RedirectResponse("/explore")


@page("/explore", "explore.html", ExplorePage, router)
async def explore(
    request: Request,
    model: str = "",
    text: str | None = None,
    text_pair: str | None = None,
    target: str | None = None,
    kind: str = "",
    layer: str = "",
    head: str = "",
    query: str = "",
    side: str = "",
    view: str = "",
    special: str = "",
    merge: str = "",
) -> ExplorePage:
    """A text, its tokens, and one head's numbers; what is not in the address has a default."""
    service: Service = request.app.state.service
    sent = {"text": text, "text_pair": text_pair or None, "target": target or None}
    there = {found.name for found in summaries(service)}
    first = next((example for example in EXAMPLES if example.model in there), EXAMPLES[0])
    asked = {"model": model or first.model, **sent}
    if text is None:
        asked["text"] = next((e.text for e in EXAMPLES if e.model == asked["model"]), first.text)
    shown = {"kind": kind, "layer": layer, "head": head, "query": query}
    shown |= {"side": side, "view": view, "special": special, "merge": merge}
    try:
        await service.ready(asked["model"])
        return await service.compute(lambda: _explored(service, asked, shown))
    except ValidationError as error:
        return _refused(service, asked, validation_problem(error))
    except errors.AppError as error:
        return _refused(service, asked, errors.problem(error))


def _explored(service: Service, asked: dict[str, Any], shown: dict[str, str]) -> ExplorePage:
    request = RunRequest.model_validate(asked)
    run = run_answer(service, request)
    choice = Choice(shown)
    kind = choice.of("kind", [found.kind for found in run.kinds])
    L, H = next(found.shape[:2] for found in run.kinds if found.kind == kind)
    chosen: dict[str, Any] = {
        "kind": kind,
        "layer": int(choice.of("layer", numbers(L))),
        "head": int(choice.of("head", numbers(H))),
        "special": choice.of("special", SPECIAL),
        "merge": choice.of("merge", MERGE),
    }
    _, record = attention_record(service, AttentionRequest.model_validate({**asked, **chosen}))
    chosen["side"] = choice.of("side", SIDES)
    tokens = record.q_tokens if chosen["side"] == "query" else record.k_tokens
    query = choice.of("query", ["", *numbers(len(tokens))])
    rest: dict[str, Any] = {
        "query": int(query) if query else None,
        "view": choice.of("view", VIEWS),
        "run": run,
        "q_tokens": labels(record.q_tokens),
        "k_tokens": labels(record.k_tokens),
        "top": top(record),
        "ignored": choice.ignored,
    }
    return _page(service, asked, **chosen, **rest)


def top(record: AttentionRecord) -> list[Top]:
    """For each query of a single head the key it looks at most."""
    attn = record.attn[0, 0]
    if not attn.numel():
        return []
    best = attn.max(-1)
    found = zip(best.indices.tolist(), best.values.tolist(), strict=True)
    return [Top(query=q, key=k, attn=a) for q, (k, a) in enumerate(found)]


def _refused(service: Service, asked: dict[str, Any], problem: Problem) -> ExplorePage:
    """The page with what was typed, and why there is no picture."""
    asked = {**asked, "text": printable(asked["text"] or "")}
    first = {"kind": "", "layer": 0, "head": 0, "query": None}
    first |= {"special": SPECIAL[0], "merge": MERGE[0], "side": SIDES[0], "view": VIEWS[0]}
    nothing: dict[str, Any] = {"q_tokens": [], "k_tokens": [], "top": [], "ignored": []}
    return _page(service, asked, run=None, problem=problem, **first, **nothing)


def _page(service: Service, asked: dict[str, Any], **rest: Any) -> ExplorePage:
    models: list[ModelSummary] = summaries(service)
    limits = Limits(max_characters=service.settings.max_characters)
    ready = {"ready_to_open": service.library.ready_to_open, "opens": service.settings.opens}
    there = {model.name for model in models}
    examples = [example for example in EXAMPLES if example.model in there]
    return ExplorePage.model_validate(
        {"models": models, "examples": examples, "limits": limits, "problem": None}
        | {**ready, **asked, **rest}
    )
