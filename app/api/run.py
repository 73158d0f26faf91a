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


class LabelOut(BaseModel):
    label: str = Field(description="as config.json names it")
    logit: float
    probability: float | None = Field(description="null where the head gives one value")


class TokenLabels(BaseModel):
    position: int
    labels: list[LabelOut] = Field(description="the most probable first")


class AnswerSpan(BaseModel):
    first: int = Field(description="index of its first token")
    last: int
    text: str
    probability: float


class Labelled(Predictions):
    """What a fine-tuned head says; of the three fields, the one that it has."""

    labels: list[LabelOut] = Field([], description="of the text, the most probable first")
    token_labels: list[TokenLabels] = Field([], description="of each token that is not special")
    answer: AnswerSpan | None = Field(None, description="of a question: where it stands")


class EncoderPredictions(Labelled):
    masks: list[BlankOut] = Field(description="each [MASK] of the text")
    is_next: float | None = Field(description="probability that text_pair follows text")


class DecoderPredictions(Labelled):
    next_token: list[GuessOut]


class TranslatorPredictions(Predictions):
    translation: str = Field(description="the target, decoded greedily if it was left out")
    log_probability: float = Field(description="of the target, its end included")


AnyPredictions = EncoderPredictions | DecoderPredictions | TranslatorPredictions | Labelled


class RunAnswer(Languages):
    model: str
    text: str
    text_pair: str | None
    target: str | None
    target_decoded: bool
    sequences: dict[str, list[TokenOut]]
    kinds: list[KindShape]
    predictions: AnyPredictions
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
