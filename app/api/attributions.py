"""What each token contributes to a prediction, by several methods, beside the attention."""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal, get_args

from attention_atlas.app.api.common import (
    PREFIX,
    Provenance,
    TokenOut,
    labels,
    links,
    provenance,
    spec_of,
)
from attention_atlas.app.api.experiment import (
    BLANK,
    MetricOut,
    MetricSpec,
    metric_fields,
    metric_of,
)
from attention_atlas.app.api.resource import stepwise
from attention_atlas.app.api.spec import RunRequest, StreamRequest, at_most, from_json
from attention_atlas.app.service import Service
from attention_atlas.app.streaming import Emit
from attention_atlas.app.wire import Answer
from attention_atlas.model.analysis import lab
from attention_atlas.model.analysis.attributions import Attribution, attribution, kendall, row_of
from attention_atlas.model.analysis.lab import ReadText
from attention_atlas.model.messages import Message
from attention_atlas.model.spec import BadInput
from attention_atlas.model.zoo import Loaded
from fastapi import APIRouter
from pydantic import BaseModel, BeforeValidator, Field
from torch import Tensor

router = APIRouter(prefix=PREFIX, tags=["API"])
MOST_KEPT = 8_000_000  # numbers of attention, which gradients keep
MethodName = Literal[
    "attention",
    "rollout",
    "flow",
    "norms",
    "gradient_attention",
    "gradient_input",
    "integrated_gradients",
    "leave_one_out",
    "value_zeroing",
]
NAMES: tuple[MethodName, ...] = get_args(MethodName)
FIRST: MethodName = "leave_one_out"  # with which all others are compared


class AttributionsRequest(StreamRequest):
    """A run, a metric, and the head whose attention is compared."""

    clean: Annotated[RunRequest, BeforeValidator(from_json)] = Field(
        description="a run spec of an encoder or decoder",
        examples=[{"model": "bert", "text": BLANK}],
    )
    metric: Annotated[MetricSpec, BeforeValidator(from_json)] = Field(
        MetricSpec(), description="how the prediction is measured"
    )
    layer: int = Field(ge=0, examples=[2])
    head: int = Field(ge=0, examples=[3])
    methods: Annotated[
        tuple[MethodName, ...],
        Field(max_length=9, fail_fast=True),
        at_most(9),
        BeforeValidator(lambda value: value.split(",") if isinstance(value, str) else value),
    ] = Field((), description="by comma; leave_one_out always; all if left out")
    query: int | None = Field(
        None,
        ge=0,
        description="of the rows of attention; else the metric's position, or without one the "
        "first token of an encoder's text and the last of a decoder's",
    )

    def models(self) -> tuple[str, ...]:
        return (self.clean.model,)


class PropertyOut(BaseModel):
    """How far a method is from the property that it satisfies."""

    number: float
    tolerance: float
    holds: bool


class MethodOut(BaseModel):
    """One method's value of each token."""

    values: list[float | None] = Field(
        description="(T,), null for a token it says nothing of; none where its property fails"
    )
    complete: PropertyOut | None = Field(description="null where it could not be computed")
    reason: str = Field(
        description="why there are no values: too-long, no-output-map, edits-name-positions, "
        "property-fails; else empty"
    )
    tau: float | None = Field(
        description="Kendall's tau-b with leave_one_out, of the sizes; null without values or ranks"
    )


class MethodEvent(MethodOut):
    name: MethodName


class AttributionsStart(BaseModel):
    metric: MetricOut
    tokens: list[TokenOut]


class AttributionsAnswer(BaseModel):
    """Nine methods for one prediction."""

    model: str
    metric: MetricOut
    kind: str
    layer: int
    head: int
    query: int
    tokens: list[TokenOut]
    methods: dict[MethodName, MethodOut]
    provenance: Provenance
    links: dict[str, str]


@stepwise(
    router,
    "/lab/attributions",
    AttributionsRequest,
    AttributionsAnswer,
    start=AttributionsStart,
    method=MethodEvent,
)
def attributions(
    service: Service, request: AttributionsRequest, loaded: Loaded, emit: Emit
) -> Answer:
    """Attention, rollout, flow, norms, gradients, deletion and zeroed values, token by token."""
    text = lab.text_of(loaded, spec_of(request.clean))
    check_length(text)
    metric = metric_of(loaded, text, request.metric)
    row = row_of(text, metric, request.layer, request.head, request.query)
    start = {
        "metric": metric_fields(loaded, metric, [lab.value_of(text, metric)]),
        "tokens": labels(text.sequences["source"]),
    }
    emit("start", start)
    methods: dict[str, Any] = {}
    effect: Tensor | None = None
    wanted = request.methods or NAMES
    for name in (FIRST, *(name for name in NAMES if name != FIRST and name in wanted)):
        result = attribution(row, name)
        effect = result.values if name == FIRST else effect
        methods[name] = _fields(result, effect)
        emit("method", {"name": name, **methods[name]})
    fields = {
        "model": loaded.name,
        **start,
        "kind": row.kind,
        "layer": row.layer,
        "head": row.head,
        "query": row.query,
        "methods": {name: methods[name] for name in NAMES if name in methods},
        "provenance": provenance(loaded).model_dump(),
        "links": links(request.clean),
    }
    return Answer(fields, {})


def _fields(result: Attribution, effect: Tensor | None) -> dict[str, Any]:
    """A MethodOut."""
    values, complete = result.values, result.complete
    tau = None if values is None or effect is None else kendall(values, effect)
    return {
        "values": [] if values is None else [None if math.isnan(x) else x for x in values.tolist()],
        "complete": None if complete is None else complete._asdict() | {"holds": complete.holds},
        "reason": result.reason,
        "tau": tau,
    }


def check_length(text: ReadText) -> None:
    """Limit what a pass keeps for its gradient."""
    n_layer, n_head = text.loaded.shape(text.loaded.kinds[0])
    limit = math.isqrt(MOST_KEPT // (n_layer * n_head))
    if text.n_token > limit:
        message = Message(
            "too-long-for-parts",
            "{value} tokens are too many to show {model} in parts; at most {limit}",
            value=text.n_token,
            model=text.loaded.name,
            limit=limit,
        )
        raise BadInput("text", message)
