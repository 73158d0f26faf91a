"""One number per head."""

from __future__ import annotations

from typing import ClassVar

from attention_atlas.app.api.common import PREFIX, Provenance, input_fields, provenance, spec_of
from attention_atlas.app.api.resource import resource
from attention_atlas.app.api.spec import TENSOR_FORMATS, OneKind, RunRequest, TensorFormat
from attention_atlas.app.service import Service
from attention_atlas.app.wire import Answer
from attention_atlas.model import metrics
from attention_atlas.model.record import AttentionRecord, Selection, Sketch
from attention_atlas.model.zoo import Loaded
from fastapi import APIRouter
from pydantic import BaseModel

router = APIRouter(prefix=PREFIX, tags=["API"])


class MetricsRequest(RunRequest):
    formats: ClassVar[tuple[str, ...]] = TENSOR_FORMATS

    kind: OneKind = None
    format: TensorFormat = None


class MetricsAnswer(BaseModel):
    """One number per head: metrics[name][layer][head]."""

    model: str
    text: str
    text_pair: str | None
    target: str | None
    kind: str
    layers: list[int]
    heads: list[int]
    axes: list[str]
    definitions: dict[str, str]
    metrics: dict[str, list[list[float]]]
    provenance: Provenance


@resource(router, "/metrics", MetricsRequest, MetricsAnswer)
def head_metrics(service: Service, request: MetricsRequest, loaded: Loaded) -> Answer:
    """One number per head, of each metric that has a meaning for this kind, and its definition."""
    spec = spec_of(request)
    record: AttentionRecord | Sketch
    if service.is_long(loaded, spec):
        run, record = service.sketch(loaded, spec, request.kind)
        measured = record.metrics
    else:
        service.run(loaded, spec)
        run, record = service.record(loaded, spec, Selection(kind=request.kind))
        measured = metrics.measured(record)
    definitions = metrics.definitions()
    fields = {
        **input_fields(loaded, run),
        "kind": record.kind,
        "layers": list(record.layers),
        "heads": list(record.heads),
        "axes": ["layer", "head"],
        "definitions": {name: definitions[name] for name in measured},
        "provenance": provenance(loaded).model_dump(),
    }
    return Answer(fields, {name: scores.numpy() for name, scores in measured.items()}, "metrics")
