"""One forward pass: tokens, shapes, predictions."""

from __future__ import annotations

from typing import Any

from attention_atlas.app.api.common import (
    PREFIX,
    KindShape,
    Provenance,
    TokenOut,
    kind_shapes,
    links,
    provenance,
    sequences_out,
    spec_of,
)
from attention_atlas.app.api.resource import resource
from attention_atlas.app.api.spec import RunRequest
from attention_atlas.app.service import Service
from attention_atlas.app.wire import Answer
from attention_atlas.model.record import Run
from attention_atlas.model.zoo import Loaded
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
def run(service: Service, request: RunRequest, loaded: Loaded) -> Answer:
    """One forward pass: tokens, the shapes of its attention, what the model predicts."""
    found = service.run(loaded, spec_of(request))
    return Answer(run_answer(request, loaded, found).model_dump(), {})


def run_answer(request: RunRequest, loaded: Loaded, run: Run) -> RunAnswer:
    """A run as /run answers it and the Explore page embeds it."""
    return RunAnswer(
        model=loaded.name,
        text=run.text,
        text_pair=run.text_pair,
        target=run.target,
        target_decoded=run.target_decoded,
        sequences=sequences_out(run.sequences),
        kinds=kind_shapes(loaded, run.sequences),
        predictions=run.predictions,
        provenance=provenance(loaded),
        links=links(request),
    )
