"""One forward pass: tokens, shapes, predictions."""

from __future__ import annotations

from typing import Any

from attention_atlas.app.api.common import (
    PREFIX,
    GuessOut,
    KindShape,
    Languages,
    Provenance,
    TokenOut,
    input_fields,
    kind_fields,
    language_fields,
    links,
    provenance,
    sequences_fields,
    spec_of,
)
from attention_atlas.app.api.resource import resource
from attention_atlas.app.api.spec import RunRequest
from attention_atlas.app.service import Service
from attention_atlas.app.wire import Answer
from attention_atlas.model.record import Run
from attention_atlas.model.zoo import Loaded
from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field

router = APIRouter(prefix=PREFIX, tags=["API"])


class Predictions(BaseModel):
    """What a model predicts of a text; the fields are those of its family."""

    model_config = ConfigDict(extra="forbid")


class BlankOut(BaseModel):
    position: int
    candidates: list[GuessOut]


class EncoderPredictions(Predictions):
    masks: list[BlankOut] = Field(description="each [MASK] of the text")
    is_next: float | None = Field(description="probability that text_pair follows text")


class DecoderPredictions(Predictions):
    next_token: list[GuessOut]


class TranslatorPredictions(Predictions):
    translation: str = Field(description="the target, decoded greedily if it was left out")
    log_probability: float = Field(description="of the target, its end included")


class RunAnswer(Languages):
    model: str
    text: str
    text_pair: str | None
    target: str | None
    target_decoded: bool
    sequences: dict[str, list[TokenOut]]
    kinds: list[KindShape]
    predictions: EncoderPredictions | DecoderPredictions | TranslatorPredictions | Predictions
    provenance: Provenance
    links: dict[str, str]


@resource(router, "/run", RunRequest, RunAnswer)
def run(service: Service, request: RunRequest, loaded: Loaded) -> Answer:
    """One forward pass: tokens, the shapes of its attention, what the model predicts."""
    return Answer(run_fields(request, loaded, service.run(loaded, spec_of(request))), {})


def run_fields(request: RunRequest, loaded: Loaded, run: Run) -> dict[str, Any]:
    """A run as /run answers it and the Explore page embeds it."""
    return {
        **input_fields(loaded, run),
        **language_fields(loaded, request),
        "target_decoded": run.target_decoded,
        "sequences": sequences_fields(run.sequences),
        "kinds": kind_fields(loaded, run.sequences),
        "predictions": run.predictions,
        "provenance": provenance(loaded).model_dump(),
        "links": links(request),
    }
