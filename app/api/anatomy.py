"""One head and one query token, step by step."""

from __future__ import annotations

from attention_atlas.app.api.common import PREFIX, Provenance, TokenOut, input_fields, labels
from attention_atlas.app.api.metrics import MetricsRequest
from attention_atlas.app.api.resource import resource
from attention_atlas.app.service import Service, spec_of
from attention_atlas.app.wire import Answer
from attention_atlas.model.analysis.anatomy import anatomy
from fastapi import APIRouter
from pydantic import BaseModel, Field

router = APIRouter(prefix=PREFIX, tags=["API"])


class AnatomyRequest(MetricsRequest):
    layer: int = Field(0, ge=0, description="one layer")
    head: int = Field(0, ge=0, description="one head")
    query: int = Field(0, ge=0, description="the token that looks, by its position")


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
    scale: float = Field(description="1 / sqrt(d) as a rule; 1 for additive attention")
    softcap: float | None = Field(description="scores stay within plus and minus this (Gemma 2)")
    rotated: bool = Field(description="q and k carry their positions: they are after rotation")
    q: list[float] = Field(description="(d,)")
    k: list[list[float]] = Field(description="(Tk, d)")
    products: list[list[float]] = Field(description="(Tk, d): q times k, dimension by dimension")
    dots: list[float] = Field(description="(Tk,): products summed over d")
    bias: list[float] | None = Field(None, description="(Tk,): added to the scores, if anything is")
    scores: list[float | None] = Field(
        description="(Tk,): dots times scale, and bias; null where masked"
    )
    mask: list[bool] = Field(description="(Tk,): true where looking is allowed")
    attn: list[float] = Field(description="(Tk,): softmax of the scores")
    v: list[list[float]] = Field(description="(Tk, width of a value)")
    z: list[float] = Field(description="the head's output: attn times v, summed over keys")
    provenance: Provenance


@resource(router, "/anatomy", AnatomyRequest, AnatomyAnswer)
def head_anatomy(service: Service, asked: AnatomyRequest) -> Answer:
    """One head, one query token: q, k, products, dots, scores, attn, v and the output z."""
    run = service.run(asked)
    place = asked.model_dump(include={"kind", "layer", "head", "query"})
    with service.lent(asked.model) as loaded:
        found = anatomy(loaded, spec_of(asked), **place)
    fields = {
        **input_fields(asked, run),
        "kind": found.kind,
        "layer": found.layer,
        "head": found.head,
        "query": found.query,
        "q_tokens": labels(found.q_tokens),
        "k_tokens": labels(found.k_tokens),
        "score": found.score,
        "scale": found.scale,
        "softcap": found.softcap,
        "rotated": found.rotated,
        "provenance": service.provenance(asked.model).model_dump(),
    }
    return Answer(fields, {name: tensor.numpy() for name, tensor in found.tensors().items()})
