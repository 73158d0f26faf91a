"""The logit lens: what a model would predict after each layer."""

from __future__ import annotations

from typing import Annotated

from attention_atlas.app.api.common import (
    PREFIX,
    GuessOut,
    Provenance,
    links,
    provenance,
    spec_of,
)
from attention_atlas.app.api.experiment import BLANK, MetricOut, MetricSpec, metric_fields
from attention_atlas.app.api.resource import resource
from attention_atlas.app.api.spec import ApiRequest, RunRequest, from_json
from attention_atlas.app.service import Service
from attention_atlas.app.wire import Answer
from attention_atlas.model.analysis import lab
from attention_atlas.model.analysis.logit_lens import logit_lens
from attention_atlas.model.messages import Message
from attention_atlas.model.record import state_names
from attention_atlas.model.zoo import Loaded
from fastapi import APIRouter
from pydantic import BaseModel, BeforeValidator, Field, model_validator

router = APIRouter(prefix=PREFIX, tags=["API"])


class LensRequest(ApiRequest):
    """A run, and the two tokens that are followed through the layers."""

    clean: Annotated[RunRequest, BeforeValidator(from_json)] = Field(
        description="a run spec", examples=[{"model": "bert", "text": BLANK}]
    )
    metric: Annotated[MetricSpec, BeforeValidator(from_json)] = Field(
        MetricSpec(), description="a logit_difference"
    )
    n: Annotated[int, Field(ge=1, le=20, description="candidates after each layer")] = 5

    @model_validator(mode="after")
    def _follows_tokens(self) -> LensRequest:
        if self.metric.kind not in (None, "logit_difference"):
            raise ValueError(
                Message(
                    "only-logit-difference",
                    "the lens follows two tokens: metric.kind must be logit_difference",
                )
            )
        return self

    def models(self) -> tuple[str, ...]:
        return (self.clean.model,)


class ReadingOut(BaseModel):
    """What is read after one layer, by the last norm and the head."""

    state: str = Field(examples=["embedding", "layer 0"])
    candidates: list[GuessOut]
    rank: int = Field(description="of the metric's answer; 0: the most probable")
    other_rank: int
    difference: float = Field(description="of the two tokens' logits")


class LensAnswer(BaseModel):
    """Readings from the embedding to the last layer, which is the model's own prediction."""

    model: str
    metric: MetricOut
    readings: list[ReadingOut]
    provenance: Provenance
    links: dict[str, str]


@resource(router, "/lab/lens", LensRequest, LensAnswer)
def lens(service: Service, request: LensRequest, loaded: Loaded) -> Answer:
    """Logit lens: top candidates, and the ranks of two tokens, after each layer."""
    text = lab.text_of(loaded, spec_of(request.clean), with_outputs=False)
    wanted = request.metric
    metric = lab.metric_of(text, wanted.position, wanted.answer, wanted.other)
    readings = logit_lens(text, metric, request.n)
    names = state_names(len(readings) - 1)
    fields = {
        "model": loaded.name,
        "metric": metric_fields(loaded, metric, [lab.value_of(text, metric)]),
        "readings": [
            {"state": name, **reading._asdict()}
            for name, reading in zip(names, readings, strict=True)
        ],
        "provenance": provenance(loaded).model_dump(),
        "links": links(request.clean),
    }
    return Answer(fields, {})
