"""Experiments: heads replaced one by one, and what becomes of the prediction."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal, NamedTuple

import torch
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
    MOST_READ,
    MetricOut,
    PairRequest,
    References,
    check_read,
    metric_fields,
    metric_of,
    query_axis,
    texts_of,
    two_models,
)
from attention_atlas.app.api.resource import stepwise
from attention_atlas.app.api.spec import KindName, StreamRequest
from attention_atlas.app.service import Service
from attention_atlas.app.streaming import Emit
from attention_atlas.app.wire import Answer
from attention_atlas.model.analysis import lab
from attention_atlas.model.analysis.edges import edge_estimate, edge_sweep, without_head
from attention_atlas.model.analysis.lab import How, Metric, Over, Part, ReadText
from attention_atlas.model.messages import Message
from attention_atlas.model.record import axes
from attention_atlas.model.spec import BadInput, Spec, check_heads
from attention_atlas.model.tape import Kind
from attention_atlas.model.zoo import Loaded
from fastapi import APIRouter
from pydantic import BaseModel, Field, model_validator
from torch import Tensor

router = APIRouter(prefix=PREFIX, tags=["API"])
MOST_KEPT = 64_000_000  # numbers: the attention of all heads, which the gradient keeps


class SweepRequest(PairRequest, StreamRequest):
    """A run, for some experiments a second one of as many tokens, and what is replaced in them."""

    how: How = Field("zero", description="what takes the place of a head's output z")
    over: Literal["heads", "positions", "mlp_positions", "edges"] = Field(
        "heads",
        description="heads one by one, and with them the MLP of each layer; all heads of a layer "
        "at one position; its MLP at one position; or the edges of one head from query to key, "
        "each with attention 0",
    )
    layer: int | None = Field(None, ge=0, description="edges: the head's")
    head: int | None = Field(None, ge=0, description="edges: the head")
    kind: KindName | None = Field(None, description="the model's first if left out")
    reference: References = Field(
        (), description="for mean: the texts over whose positions the mean is taken"
    )

    @model_validator(mode="after")
    def _has_what_it_needs(self) -> SweepRequest:
        wrong = two_models(self)
        if self.how in lab.PAIRED and self.corrupted is None:
            wrong = Message(
                "needs-corrupted", "{how} needs a corrupted run beside the clean one", how=self.how
            )
        elif self.how == "mean" and not self.reference:
            wrong = Message(
                "needs-reference", "mean needs texts in reference; mean_positions needs none"
            )
        if self.over == "edges" and (self.how != "zero" or None in (self.layer, self.head)):
            wrong = Message(
                "edges-of-one-head", "edges are those of one layer and head, and how is zero"
            )
        if wrong is not None:
            raise ValueError(wrong)
        return self


class SweepAnswer(BaseModel):
    """What each replacement does to the metric."""

    model: str
    how: str
    over: str
    kind: str
    metric: MetricOut
    tokens: list[TokenOut] = Field(description="of the clean run, on the query axis of the kind")
    corrupted_tokens: list[TokenOut]
    unit: str = Field(
        description="change: of the metric; share: of the way between the two runs' metrics"
    )
    effect: list[list[float]] = Field(
        description="(L, H); over positions (L, T), over edges (Tq, Tk)"
    )
    mlps: list[float] = Field(
        description="(L,), over heads: of each layer's MLP; none where MLPs are not known"
    )
    estimate_mlps: list[float] = Field(description="of these, by one gradient")
    sum: float = Field(description="of all effects in `effect`")
    joint: float = Field(description="the effect with all heads of the kind replaced at once")
    estimate: list[list[float]] = Field(description="of the effects, by one gradient")
    agreement: float | None = Field(
        description="Spearman's rank correlation of |effect| and |estimate|; null without ranks"
    )
    n_reference: int = Field(description="positions that a mean was taken over; else 0")
    provenance: Provenance
    links: dict[str, str]


class Experiment(NamedTuple):
    """A sweep that is ready to be run."""

    kind: Kind
    over: Over
    clean: ReadText
    corrupted: ReadText | None
    text: ReadText  # the one of the two in which something is replaced
    metric: Metric
    given: list[Tensor]
    mlps: list[Tensor]  # what replaces MLPs, beside heads; else empty
    n_reference: int
    values: list[float]  # the metric in the clean run, and in the corrupted one
    start: float  # the metric at which an effect is 0
    end: float | None  # and that at which it is 1, if it is a share

    @property
    def part(self) -> Part:
        return lab.part_of(self.over)

    def scaled(self, values: Tensor) -> Tensor:
        return lab.scaled(values, self.start, self.end)


class SweepStart(BaseModel):
    metric: MetricOut


class LayerEvent(BaseModel):
    """The effects of one layer."""

    layer: int
    effect: list[float] = Field(description="(H,), or over positions (T,)")
    mlp: float | None = Field(description="of the layer's MLP; null where there is none")


class QueryEvent(BaseModel):
    """The effects of the edges of one query."""

    query: int
    effect: list[float] = Field(description="(Tk,)")


@stepwise(
    router,
    "/lab/sweep",
    SweepRequest,
    SweepAnswer,
    start=SweepStart,
    layer=LayerEvent,
    query=QueryEvent,
)
def sweep(service: Service, request: SweepRequest, loaded: Loaded, emit: Emit) -> Answer:
    """Replace every head, position or edge, one at a time: how the prediction changes."""
    if request.over == "edges":
        return swept_edges(request, loaded, emit)
    it = prepared(loaded, request)
    emit("start", {"metric": metric_fields(loaded, it.metric, it.values)})
    estimate, estimate_mlps = estimates(it)
    effect, mlps = estimate, estimate_mlps
    if request.how != "attribution":
        effect, mlps = swept(it, emit)
    joint = torch.tensor(lab.together(it.text, it.metric, it.kind, it.given, it.part))
    fields = {
        "model": loaded.name,
        **request.model_dump(include={"how", "over"}),
        "kind": it.kind,
        "metric": metric_fields(loaded, it.metric, it.values),
        "tokens": labels(query_axis(it.clean, it.kind)),
        "corrupted_tokens": labels(query_axis(it.corrupted, it.kind)) if it.corrupted else [],
        "unit": "change" if it.end is None else "share",
        "effect": effect.tolist(),
        "mlps": mlps.tolist(),
        "estimate_mlps": estimate_mlps.tolist(),
        "sum": effect.sum().item(),
        "joint": it.scaled(joint).item(),
        "estimate": estimate.tolist(),
        "agreement": None if effect is estimate else lab.rank_agreement(effect, estimate),
        "n_reference": it.n_reference,
        "provenance": provenance(loaded).model_dump(),
        "links": links(request.clean),
    }
    return Answer(fields, {})


def swept_edges(request: SweepRequest, loaded: Loaded, emit: Emit) -> Answer:
    """The sweep over the edges of one head."""
    assert request.layer is not None and request.head is not None
    kind: Kind = request.kind or loaded.kinds[0]
    check_heads(loaded, kind, (request.layer,), (request.head,))
    text = lab.text_of(loaded, spec_of(request.clean))
    q_tokens, k_tokens = (text.sequences[name] for name in axes(kind, text.sequences))
    check_read(len(q_tokens) * len(k_tokens), text.n_token)
    metric = metric_of(loaded, text, request.metric)
    start = lab.value_of(text, metric)
    measured = metric_fields(loaded, metric, [start])
    emit("start", {"metric": measured})
    place = (text, metric, kind, request.layer, request.head)
    rows = []
    for query, row in enumerate(edge_sweep(*place)):
        rows.append(row - start)
        emit("query", {"query": query, "effect": rows[-1].tolist()})
    effect, estimate = torch.stack(rows), edge_estimate(*place)
    fields = {
        "model": loaded.name,
        **request.model_dump(include={"how", "over"}),
        "kind": kind,
        "metric": measured,
        "tokens": labels(q_tokens),
        "corrupted_tokens": [],
        "unit": "change",
        "effect": effect.tolist(),
        "mlps": [],
        "estimate_mlps": [],
        "sum": effect.sum().item(),
        "joint": without_head(*place) - start,
        "estimate": estimate.tolist(),
        "agreement": lab.rank_agreement(effect, estimate),
        "n_reference": 0,
        "provenance": provenance(loaded).model_dump(),
        "links": links(request.clean),
    }
    return Answer(fields, {})


def prepared(loaded: Loaded, request: SweepRequest) -> Experiment:
    """The texts as read, what is replaced by what, and the metric. Raises BadInput."""
    assert request.over != "edges"
    kind: Kind = request.kind or loaded.kinds[0]
    check_heads(loaded, kind, (), ())
    clean, corrupted = texts_of(loaded, request)
    part = lab.part_of(request.over)
    if part == "mlp":
        lab.check_mlps(clean, kind, "over")
    if corrupted is not None:
        lab.check_pair(clean, corrupted)
    check_cost(clean, kind, request.over)
    metric = metric_of(loaded, clean, request.metric)
    references = [lab.text_of(loaded, Spec(text)) for text in request.reference]
    values = [lab.value_of(text, metric) for text in (clean, corrupted) if text is not None]
    into_corrupted = request.how in ("denoise", "attribution") and corrupted is not None
    start, end = _ends(request.how, values)

    def replaced(part: Part) -> list[Tensor]:
        means = lab.Means()
        for text in references:
            means.add(text.outputs(kind, part))
        return lab.replacements(request.how, kind, clean, corrupted, means, part)

    return Experiment(
        kind=kind,
        over=request.over,
        clean=clean,
        corrupted=corrupted,
        text=corrupted if into_corrupted and corrupted is not None else clean,
        metric=metric,
        given=replaced(part),
        mlps=replaced("mlp") if request.over == "heads" and kind in clean.mlps else [],
        n_reference=sum(text.z[kind][0].size(2) for text in references),
        values=values,
        start=start,
        end=end,
    )


def estimates(it: Experiment) -> tuple[Tensor, Tensor]:
    """The effects by one gradient, (L, H) or (L, T); those of MLPs beside heads, (L,) or none."""
    change = lab.first_order(it.text, it.metric, it.kind, it.given, it.over)
    if not it.mlps:
        return it.scaled(change + it.start), torch.zeros(0)
    mlps = lab.first_order(it.text, it.metric, it.kind, it.mlps, "mlps")[:, 0]
    return it.scaled(change + it.start), it.scaled(mlps + it.start)


def swept(it: Experiment, emit: Emit) -> tuple[Tensor, Tensor]:
    """The effects (L, H) or (L, T), and of MLPs (L,) or none; each layer is told when done."""
    rows, mlps = [], []
    beside = lab.sweep(it.text, it.metric, it.kind, it.mlps, "mlps")
    for layer, row in enumerate(lab.sweep(it.text, it.metric, it.kind, it.given, it.over)):
        rows.append(it.scaled(row))
        mlp = next(beside, None)
        if mlp is not None:
            mlps.append(it.scaled(mlp)[0])
        event = {"layer": layer, "effect": rows[-1].tolist()}
        emit("layer", event | {"mlp": mlps[-1].item() if mlps else None})
    return torch.stack(rows), torch.stack(mlps) if mlps else torch.zeros(0)


def _ends(how: How, values: Sequence[float]) -> tuple[float, float | None]:
    """The metric at which an effect is 0, and that at which it is 1, if it is a share."""
    if how not in lab.SHARES:
        return values[0], None
    clean, corrupted = values
    if abs(clean - corrupted) < 1e-6:
        raise BadInput(
            "corrupted",
            Message("same-metric", "the metric is the same in both runs: there is no way between"),
        )
    return (clean, corrupted) if how == "noise" else (corrupted, clean)


def check_cost(text: ReadText, kind: Kind, over: Over) -> None:
    """Limit the tokens that are read, layers × rows × tokens, and the attention that is kept."""
    n_layer, n_head = text.loaded.shape(kind)
    limit = math.isqrt(MOST_KEPT // (n_layer * n_head))
    if text.n_token > limit:
        raise BadInput(
            "text",
            Message(
                "sweep-too-long",
                "{value} tokens are too many for a sweep over {model}; at most {limit}",
                value=text.n_token,
                model=text.loaded.name,
                limit=limit,
            ),
        )
    rows = n_head + 1 if over == "heads" else len(query_axis(text, kind))
    n_read = n_layer * rows * text.n_token
    if n_read > MOST_READ:
        raise BadInput(
            "text",
            Message(
                "sweep-too-long",
                "{n_run} replacements in a text of {n} tokens read {value} tokens; at most {limit} "
                "are read: take a shorter text",
                n_run=n_layer * rows,
                n=text.n_token,
                value=n_read,
                limit=MOST_READ,
            ),
        )
