"""One forward pass: tokens, shapes, predictions."""

from __future__ import annotations

from typing import Any

from attention_atlas.app.api.common import (
    PREFIX,
    KindShape,
    Provenance,
    TokenOut,
    kind_shape,
    links,
    sequences_out,
)
from attention_atlas.app.api.resource import resource
from attention_atlas.app.api.spec import RunRequest
from attention_atlas.app.service import Service
from attention_atlas.app.wire import Answer
from fastapi import APIRouter
from pydantic import BaseModel

router = APIRouter(prefix=PREFIX, tags=["API"])


class RunAnswer(BaseModel):
    model: str
    text: str
    text_pair: str | None
    target: str | None
    target_decoded: bool
    sequences: dict[str, list[TokenOut]]
    kinds: list[KindShape]
    predictions: dict[str, Any]
    provenance: Provenance
    links: dict[str, str]


@resource(router, "/run", RunRequest, RunAnswer)
def run(service: Service, asked: RunRequest) -> Answer:
    """One forward pass: tokens, the shapes of its attention, what the model predicts."""
    return Answer(run_answer(service, asked).model_dump(), {})


def run_answer(service: Service, asked: RunRequest) -> RunAnswer:
    """One forward pass: what /run answers and the page embeds."""
    run = service.run(asked)
    with service.lent(asked.model) as loaded:
        shapes = [(kind, loaded.shape(kind)) for kind in loaded.kinds]
    return RunAnswer(
        model=asked.model,
        text=run.text,
        text_pair=run.text_pair,
        target=run.target,
        target_decoded=run.target_decoded,
        sequences=sequences_out(run.sequences),
        kinds=[kind_shape(kind, run.sequences, *shape) for kind, shape in shapes],
        predictions=run.predictions,
        provenance=service.provenance(asked.model),
        links=links(asked),
    )
