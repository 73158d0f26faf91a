"""Path patching: what heads pass to later heads and to the logits, directly."""

from __future__ import annotations

from typing import Annotated, Any

import torch
from attention_atlas.app.api.common import PREFIX, Provenance, TokenOut, labels, links, provenance
from attention_atlas.app.api.experiment import (
    MOST_READ,
    MetricOut,
    PairRequest,
    check_read,
    metric_fields,
    metric_of,
    texts_of,
    two_models,
)
from attention_atlas.app.api.resource import stepwise
from attention_atlas.app.api.spec import Closed, Index, KindName, StreamRequest, from_json
from attention_atlas.app.service import Service
from attention_atlas.app.streaming import Emit
from attention_atlas.app.wire import Answer
from attention_atlas.model.analysis import lab
from attention_atlas.model.analysis.paths import (
    Input,
    Node,
    Pair,
    Path,
    estimated,
    every_path,
    exact,
    paths_to,
)
from attention_atlas.model.messages import Message
from attention_atlas.model.spec import BadInput, check_heads
from attention_atlas.model.zoo import Loaded
from fastapi import APIRouter
from pydantic import BaseModel, BeforeValidator, Field, model_validator

router = APIRouter(prefix=PREFIX, tags=["API"])
MOST_PATHS = 512  # that are measured
AT_ONCE = 8  # paths that are measured between two events
SAME_METRIC = 1e-6


class Receiver(Closed):
    """One input of a head."""

    kind: KindName | None = Field(None, description="the model's first if left out")
    layer: Index
    head: Index
    input: Input = "q"


class PathsRequest(PairRequest, StreamRequest):
    """A clean and a corrupted run, and which paths are measured."""

    receiver: Annotated[Receiver, BeforeValidator(from_json)] | None = Field(
        None, description="measure every path into this; else the strongest of all paths"
    )
    n: int = Field(
        48, ge=1, le=MOST_PATHS, description="paths that are measured, by their estimates"
    )
    threshold: float = Field(
        0.01, ge=0, le=1000, allow_inf_nan=False, description="least size of an effect shown"
    )

    @model_validator(mode="after")
    def _has_two_runs(self) -> PathsRequest:
        wrong = two_models(self)
        if self.corrupted is None:
            wrong = Message(
                "needs-corrupted", "{how} needs a corrupted run beside the clean one", how="paths"
            )
        if wrong is not None:
            raise ValueError(wrong)
        return self


class NodeOut(BaseModel):
    kind: str
    layer: int
    head: int


class PathOut(BaseModel):
    """One path, patched alone."""

    sender: NodeOut
    receiver: NodeOut | None = Field(description="null: the logits")
    input: str | None = Field(description="q, k or v of the receiver; null: the logits")
    effect: float = Field(
        description="share of the way from the corrupted run's metric to the clean one's"
    )
    estimate: float = Field(description="the same by one gradient; into the logits exact")


class PathsAnswer(BaseModel):
    """The paths whose effects are not below the threshold, the largest first."""

    model: str
    metric: MetricOut
    tokens: dict[str, list[TokenOut]] = Field(description="of the clean run's sequences")
    threshold: float
    n_path: int = Field(description="of all paths there are, or into the receiver")
    n_measured: int
    paths: list[PathOut]
    agreement: float | None = Field(
        description="Spearman's rank correlation of |effect| and |estimate| of those measured"
    )
    provenance: Provenance
    links: dict[str, str]


class PathsStart(BaseModel):
    metric: MetricOut


class MeasuredEvent(BaseModel):
    """The paths that were measured last, the strongest by their estimates first."""

    n_measured: int = Field(description="so far")
    n: int = Field(description="paths that are measured in all")
    n_path: int
    paths: list[PathOut]


@stepwise(router, "/lab/paths", PathsRequest, PathsAnswer, start=PathsStart, measured=MeasuredEvent)
def paths(service: Service, request: PathsRequest, loaded: Loaded, emit: Emit) -> Answer:
    """Path patching: from a head to a later head's q, k or v, and from heads to the logits."""
    pair, values = prepared(loaded, request)
    emit("start", {"metric": metric_fields(loaded, pair.metric, values)})
    n_path, chosen, guesses = chosen_paths(loaded, pair, request)
    rows = effects(pair, values, chosen, guesses, n_path, emit)
    shown = sorted(rows, key=lambda row: -abs(row["effect"]))
    fields = {
        "model": loaded.name,
        "metric": metric_fields(loaded, pair.metric, values),
        "tokens": {name: labels(row) for name, row in pair.clean.sequences.items()},
        "threshold": request.threshold,
        "n_path": n_path,
        "n_measured": len(chosen),
        "paths": [row for row in shown if abs(row["effect"]) >= request.threshold],
        "agreement": agreement_of(
            [row["effect"] for row in rows], [row["estimate"] for row in rows]
        ),
        "provenance": provenance(loaded).model_dump(),
        "links": links(request.clean),
    }
    return Answer(fields, {})


def effects(
    pair: Pair,
    values: list[float],
    chosen: list[Path],
    guesses: list[float],
    n_path: int,
    emit: Emit,
) -> list[dict[str, Any]]:
    """Each path as a PathOut; a few at a time are told when they are measured."""
    way = values[0] - values[1]
    rows: list[dict[str, Any]] = []
    for start in range(0, len(chosen), AT_ONCE):
        part = chosen[start : start + AT_ONCE]
        measured = exact(pair, part)
        last = [
            _fields(path, (value - values[1]) / way, guess / way)
            for path, value, guess in zip(part, measured, guesses[start:], strict=False)
        ]
        rows += last
        counts = {"n_measured": len(rows), "n": len(chosen), "n_path": n_path}
        emit("measured", {**counts, "paths": last})
    return rows


def prepared(loaded: Loaded, request: PathsRequest) -> tuple[Pair, list[float]]:
    """The two runs, and their metrics. Raises BadInput."""
    clean, corrupted = texts_of(loaded, request)
    assert corrupted is not None
    pair = Pair(clean, corrupted, metric_of(loaded, clean, request.metric))
    pair.check()
    values = [lab.value_of(text, pair.metric) for text in (clean, corrupted)]
    if abs(values[0] - values[1]) < SAME_METRIC:
        message = Message(
            "same-metric", "the metric is the same in both runs: there is no way between"
        )
        raise BadInput("corrupted", message)
    return pair, values


def chosen_paths(
    loaded: Loaded, pair: Pair, request: PathsRequest
) -> tuple[int, list[Path], list[float]]:
    """How many paths there are, those that are measured, and their estimates."""
    if request.receiver is None:
        every = every_path(pair.corrupted)
    else:
        kind = request.receiver.kind or loaded.kinds[0]
        layer, head = request.receiver.layer, request.receiver.head
        check_heads(loaded, kind, (layer,), (head,), field="receiver")
        every = paths_to(pair.corrupted, Node(kind, layer, head), request.receiver.input)
    n = min(len(every), MOST_PATHS if request.receiver else request.n)
    n_sender = len({path.sender for path in every})
    check_read(2 * n_sender + n, pair.corrupted.n_token, MOST_READ)
    guesses = estimated(pair, every)
    order = sorted(range(len(every)), key=lambda i: -abs(guesses[i]))[:n]
    return len(every), [every[i] for i in order], [guesses[i] for i in order]


def agreement_of(effects: list[float], estimates: list[float]) -> float | None:
    """None without ranks."""
    if len(effects) < 2:
        return None
    return lab.rank_agreement(torch.tensor(effects), torch.tensor(estimates))


def _fields(path: Path, effect: float, estimate: float) -> dict[str, Any]:
    """A PathOut."""
    return {
        "sender": path.sender._asdict(),
        "receiver": path.receiver._asdict() if path.receiver else None,
        "input": path.input,
        "effect": effect,
        "estimate": estimate,
    }
