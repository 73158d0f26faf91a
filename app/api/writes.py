"""Direct logit attribution: what each part of a model writes into its prediction."""

from __future__ import annotations

from typing import Annotated, Any

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
    query_axis,
)
from attention_atlas.app.api.resource import resource
from attention_atlas.app.api.spec import ApiRequest, KindName, RunRequest, from_json
from attention_atlas.app.service import Service
from attention_atlas.app.wire import Answer
from attention_atlas.model.analysis import lab
from attention_atlas.model.analysis.lab import LogitDifference, ReadText
from attention_atlas.model.analysis.writes import (
    HeadWrites,
    Writes,
    checked_kind,
    head_writes,
    writes,
)
from attention_atlas.model.messages import Message
from attention_atlas.model.spec import BadInput
from attention_atlas.model.tape import Kind
from attention_atlas.model.zoo import Loaded
from fastapi import APIRouter
from pydantic import BaseModel, BeforeValidator, Field, model_validator

router = APIRouter(prefix=PREFIX, tags=["API"])
MOST_KEPT = 10_000  # layers times tokens: what every part wrote is kept


class WritesRequest(ApiRequest):
    """A run, the two tokens whose logits are compared, and for its keys one head."""

    clean: Annotated[RunRequest, BeforeValidator(from_json)] = Field(
        description="a run spec", examples=[{"model": "bert", "text": BLANK}]
    )
    metric: Annotated[MetricSpec, BeforeValidator(from_json)] = Field(
        MetricSpec(), description="a logit_difference"
    )
    kind: KindName | None = Field(
        None, description="of `heads`; the first that writes into the prediction if left out"
    )
    layer: int | None = Field(None, ge=0, description="with head: the head shown key by key")
    head: int | None = Field(None, ge=0)

    @model_validator(mode="after")
    def _can_be_parted(self) -> WritesRequest:
        wrong = None
        if self.metric.kind not in (None, "logit_difference"):
            wrong = Message(
                "only-logit-difference", "only a logit_difference is a sum of what parts write"
            )
        elif (self.layer is None) != (self.head is None):
            wrong = Message("layer-and-head", "layer and head go together")
        if wrong is not None:
            raise ValueError(wrong)
        return self

    def models(self) -> tuple[str, ...]:
        return (self.clean.model,)


class HeadWritesOut(BaseModel):
    """Where a head looks from the predicting token, beside what it writes from each key."""

    kind: str
    layer: int
    head: int
    query: int = Field(description="the predicting token: the metric's position")
    total: float = Field(description="the head's")
    k_tokens: list[TokenOut]
    attn: list[float] = Field(description="(Tk,)")
    writes: list[float] = Field(description="(Tk,), which sum to `total`")
    looks: int = Field(description="the key with the largest attention")
    largest: int = Field(description="the key with the largest write, in either direction")
    differ: bool = Field(description="whether these are two keys")
    against: bool = Field(
        description="whether the token looked at most is one of the metric's two, and what the "
        "head writes from it favours the other"
    )


class SumOut(BaseModel):
    """Whether the parts are all there is."""

    sum: float = Field(description="of all parts")
    difference: float = Field(description="from the logit difference")
    tolerance: float = Field(description="beyond it nothing is answered")


class WritesAnswer(BaseModel):
    """The parts of a logit difference."""

    model: str
    kind: str
    metric: MetricOut
    tokens: list[TokenOut] = Field(description="of the sequence with the predicting token")
    heads: list[list[float]] = Field(description="(L, H)")
    other_heads: dict[str, list[list[float]]] = Field(
        description="(L, H) of the other kinds that write into the prediction: a translator has two"
    )
    mlps: list[float] = Field(description="(L,), each with its bias")
    embedding: float
    bias: float = Field(description="of the attention layers, norms and the head")
    total: float = Field(description="the logit difference")
    complete: SumOut
    chosen: HeadWritesOut | None = Field(description="the head that was asked for")
    provenance: Provenance
    links: dict[str, str]


@resource(router, "/lab/writes", WritesRequest, WritesAnswer)
def direct_writes(service: Service, request: WritesRequest, loaded: Loaded) -> Answer:
    """What each head, MLP, the embedding and biases write into the difference of two logits."""
    text = lab.text_of(loaded, spec_of(request.clean))
    kind = checked_kind(text, request.kind)
    check_length(text, loaded.shape(kind)[0])
    wanted = request.metric
    metric = lab.metric_of(text, wanted.position, wanted.answer, wanted.other)
    result = writes(text, metric)
    others = {k: rows.tolist() for k, rows in result.heads.items() if k != kind}
    fields = {
        "model": loaded.name,
        "kind": kind,
        "metric": metric_fields(loaded, metric, [result.value]),
        "tokens": labels(query_axis(text, kind)),
        "heads": result.heads[kind].tolist(),
        "other_heads": others,
        "mlps": result.mlps.tolist(),
        "embedding": result.embedding,
        "bias": result.bias,
        "total": result.value,
        "complete": {
            "sum": result.sum,
            "difference": result.sum - result.value,
            "tolerance": result.tolerance,
        },
        "chosen": _chosen(text, metric, result, kind, request),
        "provenance": provenance(loaded).model_dump(),
        "links": links(request.clean),
    }
    return Answer(fields, {})


def check_length(text: ReadText, n_layer: int) -> None:
    """Limit what a pass keeps for its gradient."""
    limit = MOST_KEPT // n_layer
    if text.n_token > limit:
        message = Message(
            "too-long-for-parts",
            "{value} tokens are too many to show {model} in parts; at most {limit}",
            value=text.n_token,
            model=text.loaded.name,
            limit=limit,
        )
        raise BadInput("text", message)


def _chosen(
    text: ReadText, metric: LogitDifference, result: Writes, kind: Kind, request: WritesRequest
) -> dict[str, Any] | None:
    """The chosen head, key by key."""
    if request.layer is None or request.head is None:
        return None
    row: HeadWrites = head_writes(text, metric.position, result, kind, request.layer, request.head)
    return {
        "kind": kind,
        "layer": row.layer,
        "head": row.head,
        "query": row.query,
        "total": result.heads[kind][row.layer, row.head].item(),
        "k_tokens": labels(row.k_tokens),
        "attn": row.attn.tolist(),
        "writes": row.writes.tolist(),
        "looks": row.looks,
        "largest": row.largest,
        "differ": row.looks != row.largest,
        "against": row.is_against(metric),
    }
