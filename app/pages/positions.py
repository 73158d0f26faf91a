"""The Positions page: encodings beside each other, and what they are for."""

# No `from __future__ import annotations`: FastAPI reads the annotations of the closures below.

from typing import Any

from attention_atlas.app import errors
from attention_atlas.app.api.models import ModelSummary, summaries
from attention_atlas.app.api.positions import (
    EmbeddingAnswer,
    EmbeddingRequest,
    PermutationAnswer,
    PermutationRequest,
    PositionsRequest,
    embedding_answer,
    permutation_answer,
    positions_answer,
)
from attention_atlas.app.pages.engine import (
    Choice,
    Content,
    numbers,
    opened,
    page,
    printable,
    some,
    validation_problem,
)
from attention_atlas.app.service import Service
from fastapi import APIRouter, Request
from pydantic import Field, ValidationError

router = APIRouter(tags=["pages"])


class PositionsPage(Content):
    models: list[ModelSummary] = Field(description="those that have position vectors")
    others: list[ModelSummary] = Field(description="those that know positions in another way")
    model: str
    n_positions: int
    d_model: int
    base: float
    measure: str
    shift: int
    dimension: int
    position: int
    text: str
    text_b: str
    shift_error: float | None = None
    embedding: EmbeddingAnswer | None = None
    permutation: PermutationAnswer | None = None


FIRST: dict[str, Any] = {"n_positions": 64, "d_model": 64, "base": 10_000.0, "shift": 5}
TEXT, TEXT_B = "I like NLP", "NLP like I"


@page("/positions", "positions.html", PositionsPage, router)
async def positions_page(
    request: Request,
    model: str = "",
    n_positions: str = "",
    d_model: str = "",
    base: str = "",
    measure: str = "",
    shift: str = "",
    dimension: str = "",
    position: str = "",
    text: str | None = None,
    text_b: str | None = None,
) -> PositionsPage:
    """Sines beside a model's own positions; words and positions; the words in another order."""
    service: Service = request.app.state.service
    unopened = await opened(service, model)
    models = some(
        [found for found in summaries(service) if found.position_table], "adds position vectors"
    )
    sent = {"model": model, "measure": measure, "dimension": dimension, "position": position}
    sizes = {"n_positions": n_positions, "d_model": d_model, "base": base, "shift": shift}
    choice = Choice({**sent, **sizes})
    others = [found for found in summaries(service) if not found.position_table]
    why = {found.name: f"has no position vectors to show: {found.positions}" for found in others}
    asked: dict[str, Any] = {
        "model": choice.of_model(models, why),
        "measure": choice.of("measure", ["cosine", "dot"]),
        **{name: _size(choice, name, value) for name, value in sizes.items()},
        "text": TEXT if text is None else text,
        "text_b": text_b if text_b is not None else TEXT_B if text is None else "",
    }
    asked["dimension"] = int(choice.of("dimension", numbers(asked["d_model"])))
    asked["position"] = int(choice.of("position", numbers(asked["n_positions"])))
    shown: dict[str, Any] = {"models": models, "ignored": [*unopened, *choice.ignored]}
    shown["others"] = others
    try:
        found = await service.compute(lambda: _answers(service, asked))
        return PositionsPage.model_validate({**asked, **shown, **found})
    except ValidationError as error:
        problem = validation_problem(error)
    except errors.AppError as error:
        problem = errors.problem(error)
    asked |= {name: printable(asked[name]) for name in ("text", "text_b")}
    return PositionsPage.model_validate({**asked, **shown, "problem": problem})


def _size(choice: Choice, name: str, value: str) -> int | float:
    """A number of the address that /positions takes; another is ignored, its limits said."""
    first: int | float = FIRST[name]
    if not value:
        return first
    try:
        checked = PositionsRequest.model_validate({name: value})
    except ValidationError as error:
        why = str(error.errors()[0]["msg"]).removeprefix("Value error, ")
        choice.ignore(name, value, f"is not taken: {why[0].lower()}{why[1:]}")
        return first
    found: int | float = getattr(checked, name)
    return found


def _answers(service: Service, asked: dict[str, Any]) -> dict[str, Any]:
    spec = {"model": asked["model"], "text": asked["text"]}
    sizes = {name: asked[name] for name in FIRST}
    sines = positions_answer(service, PositionsRequest.model_validate(sizes))
    parts = embedding_answer(service, EmbeddingRequest.model_validate(spec))
    orders = {**spec, "text_b": asked["text_b"] or None}
    moved = permutation_answer(service, PermutationRequest.model_validate(orders))
    return {
        "shift_error": sines.fields["shift_error"],
        "embedding": parts.fields,
        "permutation": moved.fields,
        "text_b": moved.fields["text_b"],
    }
