"""One head and one query token, step by step."""

from __future__ import annotations

from attention_atlas.app.api.common import (
    PREFIX,
    Provenance,
    TokenOut,
    input_fields,
    labels,
    provenance,
    spec_of,
)
from attention_atlas.app.api.metrics import MetricsRequest
from attention_atlas.app.api.resource import resource
from attention_atlas.app.service import Service
from attention_atlas.app.wire import Answer
from attention_atlas.model.analysis.anatomy import anatomy
from attention_atlas.model.zoo import Loaded
from fastapi import APIRouter
from pydantic import BaseModel, Field

router = APIRouter(prefix=PREFIX, tags=["API"])


class AnatomyRequest(MetricsRequest):
    layer: int = Field(0, ge=0, description="one layer")
    head: int = Field(0, ge=0, description="one head")
    query: int = Field(0, ge=0, description="index of the query token")


class AnatomyAnswer(BaseModel):
    """One head, one query token, step by step."""

    model: str
    text: str
    text_pair: str | None
    target: str | None
    kind: str
    layer: int
    head: int
    query: int
    q_tokens: list[TokenOut]
    k_tokens: list[TokenOut]
    score: str = Field(description="dot_product, or additive: products are v tanh(q + k)")
    scale: float = Field(description="usually 1 / sqrt(d); 1 for additive attention")
    softcap: float | None = Field(description="scores stay within plus and minus this (Gemma 2)")
    rotated: bool = Field(description="q and k carry their positions: they are after rotation")
    q: list[float] = Field(description="(d,)")
    k: list[list[float]] = Field(description="(Tk, d)")
    products: list[list[float]] = Field(description="(Tk, d): q times k, dimension by dimension")
    dots: list[float] = Field(description="(Tk,): products summed over d")
    bias: list[float] | None = Field(
        None, description="(Tk,): added to the scores, if the model has a bias"
    )
    scores: list[float | None] = Field(
        description="(Tk,): dots times scale, and bias; null where masked"
    )
    mask: list[bool] = Field(description="(Tk,): true where attention is allowed")
    attn: list[float] = Field(description="(Tk,): softmax of the scores")
    v: list[list[float]] = Field(description="(Tk, width of a value)")
    z: list[float] = Field(description="the head's output: attn times v, summed over keys")
    provenance: Provenance


@resource(router, "/anatomy", AnatomyRequest, AnatomyAnswer)
def head_anatomy(service: Service, request: AnatomyRequest, loaded: Loaded) -> Answer:
    """One head, one query token: q, k, products, dots, scores, attn, v and the output z."""
    spec = spec_of(request)
    run = service.run(loaded, spec)
    place = request.model_dump(include={"kind", "layer", "head", "query"})
    steps = anatomy(loaded, spec, **place)
    fields = {
        **input_fields(loaded, run),
        "kind": steps.kind,
        "layer": steps.layer,
        "head": steps.head,
        "query": steps.query,
        "q_tokens": labels(steps.q_tokens),
        "k_tokens": labels(steps.k_tokens),
        "score": steps.score,
        "scale": steps.scale,
        "softcap": steps.softcap,
        "rotated": steps.rotated,
        "provenance": provenance(loaded).model_dump(),
    }
    return Answer(fields, {name: tensor.numpy() for name, tensor in steps.tensors().items()})
