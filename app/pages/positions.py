"""The Positions page: encodings beside each other, and their purpose."""

# No `from __future__ import annotations`: FastAPI reads the annotations of the closures below.

from typing import Annotated, Any

from attention_atlas.app.api.models import ModelSummary
from attention_atlas.app.api.positions import (
    EmbeddingAnswer,
    EmbeddingRequest,
    PermutationAnswer,
    PermutationRequest,
    PositionsRequest,
    embedding,
    permutation,
    positions,
)
from attention_atlas.app.pages.engine import Content, PageQuery, answered, page
from attention_atlas.app.pages.start import Audience, started
from attention_atlas.app.service import Service
from attention_atlas.model.messages import Message
from fastapi import APIRouter, Query, Request
from pydantic import Field

router = APIRouter(tags=["pages"])


class PositionsPage(Content):
    models: list[ModelSummary] = Field(description="those that have position vectors")
    others: list[ModelSummary] = Field(description="those with other kinds of positions")
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
AUDIENCE = Audience(
    "positions",
    suits=lambda model: model.position_table,
    none=Message(
        "no-suitable-model", "no loaded model adds position vectors; /models lists the models"
    ),
    why_not=lambda model: Message(
        "not-available", "has no position vectors to show: {positions}", positions=model.positions
    ),
)


class PositionsQuery(PageQuery):
    n_positions: str = ""
    d_model: str = ""
    base: str = ""
    measure: str = ""
    shift: str = ""
    dimension: str = ""
    position: str = ""
    text: str | None = None
    text_b: str | None = None


@page("/positions", "positions.html", PositionsPage, router)
async def positions_page(
    request: Request, query: Annotated[PositionsQuery, Query()]
) -> PositionsPage:
    """Sines beside a model's own positions; words and positions; the words in another order."""
    service: Service = request.app.state.service
    start = await started(service, query, AUDIENCE, typed=("text", "text_b"))
    query, choice = start.query, start.choice
    sizes = {name: choice.accepted(name, PositionsRequest, FIRST[name]) for name in FIRST}
    text = TEXT if query.text is None else query.text
    text_b = TEXT_B if text == TEXT else ""
    fields: dict[str, Any] = {
        **start.fields,
        "measure": choice.among("measure", ["cosine", "dot"]),
        **sizes,
        "dimension": choice.number("dimension", sizes["d_model"]),
        "position": choice.number("position", sizes["n_positions"]),
        "text": text,
        "text_b": text_b if query.text_b is None else query.text_b,
        "others": [model for model in start.every if not model.position_table],
    }
    return await answered(PositionsPage, fields, service.compute(lambda: _answers(service, fields)))


def _answers(service: Service, fields: dict[str, Any]) -> dict[str, Any]:
    spec = {name: fields[name] for name in ("model", "text")}
    sizes = PositionsRequest.model_validate({name: fields[name] for name in FIRST})
    words = EmbeddingRequest.model_validate(spec)
    orders = PermutationRequest.model_validate({**spec, "text_b": fields["text_b"] or None})
    with service.lent(words.model, text=words.text, text_b=orders.text_b) as loaded:
        moved = permutation(service, orders, loaded).fields
        return {
            "shift_error": positions(service, sizes).fields["shift_error"],
            "embedding": embedding(service, words, loaded).fields,
            "permutation": moved,
            "text_b": moved["text_b"],
        }
