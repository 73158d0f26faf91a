"""One number per head."""

from __future__ import annotations

from typing import ClassVar

from attention_atlas.app.api.common import PREFIX, Provenance, input_fields, provenance, spec_of
from attention_atlas.app.api.resource import resource
from attention_atlas.app.api.spec import TENSOR_FORMATS, OneKind, RunRequest, TensorFormat
from attention_atlas.app.service import Service
from attention_atlas.app.wire import Answer
from attention_atlas.model import metrics
from attention_atlas.model.analysis.roles import (
    DEFINITIONS,
    HeadRole,
    roles_of_card,
    roles_of_text,
)
from attention_atlas.model.record import AttentionRecord, Selection, Sketch
from attention_atlas.model.zoo import Loaded
from fastapi import APIRouter
from pydantic import BaseModel, Field

router = APIRouter(prefix=PREFIX, tags=["API"])


class MetricsRequest(RunRequest):
    formats: ClassVar[tuple[str, ...]] = TENSOR_FORMATS

    kind: OneKind = None
    format: TensorFormat = None


class RoleOut(BaseModel):
    """What a head is called, its score, and what that was measured on."""

    layer: int
    head: int
    role: str
    score: float = Field(description="from 0 to 1; role_definitions says of what")
    source: str = Field(description="card, or text: the text of the request")
    measured_on: str
    detail: str = Field(description="of an alignment its reading, of a positional head its offset")
    low: float | None
    high: float | None
    n: int | None


class MetricsAnswer(BaseModel):
    """One number per head: metrics[name][layer][head]; and heads with a name."""

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
    roles: list[RoleOut] = Field(description="named heads, by the card and in this text")
    role_definitions: dict[str, str]
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
    named = _roles(loaded, record)
    fields = {
        **input_fields(loaded, run),
        "kind": record.kind,
        "layers": list(record.layers),
        "heads": list(record.heads),
        "axes": ["layer", "head"],
        "definitions": {name: definitions[name] for name in measured},
        "roles": [role_fields(role) for role in named],
        "role_definitions": {role.role: DEFINITIONS[role.role] for role in named},
        "provenance": provenance(loaded).model_dump(),
    }
    return Answer(fields, {name: scores.numpy() for name, scores in measured.items()}, "metrics")


def _roles(loaded: Loaded, record: AttentionRecord | Sketch) -> list[HeadRole]:
    """The roles of the card, then those of the text that the card does not have."""
    of_card = roles_of_card(loaded.card.heads, loaded.card.metrics, loaded.family)
    known = [role for role in of_card if role.kind == record.kind]
    if isinstance(record, Sketch):
        return known
    named = {(role.layer, role.head, role.role) for role in known}
    of_text = roles_of_text(record)
    return known + [r for r in of_text if (r.layer, r.head, r.role) not in named]


def role_fields(role: HeadRole) -> dict[str, object]:
    return {name: getattr(role, name) for name in RoleOut.model_fields}
