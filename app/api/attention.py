"""Attention of one kind, and all of it as small pictures."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from attention_atlas.app import errors, wire
from attention_atlas.app.api.common import PREFIX, Provenance, TokenOut, input_fields, labels
from attention_atlas.app.api.resource import resource
from attention_atlas.app.api.spec import Indices, KindName, RunRequest
from attention_atlas.app.service import Service
from attention_atlas.app.wire import Answer
from attention_atlas.model import reductions
from attention_atlas.model.record import AttentionRecord, Run, Selection, Sketch
from fastapi import APIRouter
from pydantic import BaseModel, Field

router = APIRouter(prefix=PREFIX, tags=["API"])


Format = Literal["json", "safetensors", "npz", "csv"]


class AttentionRequest(RunRequest):
    formats: ClassVar[tuple[str, ...]] = ("json", "safetensors", "npz", "csv")

    kind: KindName | None = Field(None, description="the family's first if left out")
    layer: Indices | None = Field(None, description="numbers by comma; all if left out")
    head: Indices | None = Field(None, description="numbers by comma; all if left out")
    quantity: Literal["attn", "scores"] = Field("attn", description="scores: before the softmax")
    reduce: Literal["none", "mean_heads", "max_heads", "rollout"] = Field(
        "none", description="over heads; rollout also over layers"
    )
    merge: Literal["none", "words"] = Field(
        "none", description="words: summed over the pieces of a key, averaged over a query's"
    )
    special: Literal["keep", "hide", "renormalise"] = Field(
        "keep", description="special tokens; renormalise: hidden, then rows sum to 1 again"
    )
    dtype: Literal["float32", "float16", "uint8"] = Field(
        "float32", description="uint8 is round(255 attn), for pictures only"
    )
    format: Format | None = Field(None, description="left out, the Accept header decides")


class OverviewRequest(RunRequest):
    formats: ClassVar[tuple[str, ...]] = ("json", "safetensors", "npz")

    kind: KindName | None = Field(None, description="the family's first if left out")
    size: int = Field(64, ge=1, le=512, description="pictures are at most this many cells a side")
    format: Literal["json", "safetensors", "npz"] | None = Field(
        None, description="left out, the Accept header decides"
    )


class TensorAnswer(BaseModel):
    """The labels of a record's tensors, which are nested lists here and tensors in safetensors."""

    model: str
    text: str
    text_pair: str | None
    target: str | None
    kind: str
    layers: list[int]
    heads: list[int]
    axes: list[str]
    shape: list[int]
    dtype: str
    q_tokens: list[TokenOut]
    k_tokens: list[TokenOut]
    provenance: Provenance
    mask: list[list[list[list[bool]]]] = Field(
        description="(1 or L, 1 or H, Tq, Tk): true where looking is allowed; broadcasts to shape"
    )


class AttentionAnswer(TensorAnswer):
    quantity: str
    reduce: str
    merge: str
    special: str
    attn: list[list[list[list[float | None]]]]


class OverviewAnswer(TensorAnswer):
    block: list[int] = Field(description="tokens in a cell: along the query, along the key")
    n_kv_head: int = Field(description="groups of heads that share keys and values, in order")
    attn: list[list[list[list[int]]]] = Field(description="round(255 attn), by block maximum")


@resource(router, "/attention", AttentionRequest, AttentionAnswer)
def attention(service: Service, asked: AttentionRequest) -> Answer:
    """Attention of one kind, attn[layer][head][query][key]; a masked place is 0, a score null."""
    run, record = attention_record(service, asked)
    chosen = {"quantity", "reduce", "merge", "special", "dtype"}
    fields = {
        **attention_fields(service, asked, run, record),
        **asked.model_dump(include=chosen),
    }
    attn = wire.QUANTIZE[asked.dtype](record.attn.numpy())
    return Answer(fields, {"attn": attn, "mask": record.mask.numpy()})


@resource(router, "/attention/overview", OverviewRequest, OverviewAnswer)
def overview(service: Service, asked: OverviewRequest) -> Answer:
    """Every layer and head as a small uint8 picture: the first thing to draw."""
    record: AttentionRecord | Sketch
    if service.is_long(asked):
        run, record = service.sketch(asked, asked.kind, asked.size)
        attn, mask, block = record.attn, record.mask, record.block
    else:
        service.run(asked)  # of everything: the heads that are looked at next are then cached
        run, record = service.record(asked, Selection(kind=asked.kind))
        attn, mask, block = reductions.thumbnails(record, asked.size)
    with service.lent(asked.model) as loaded:
        n_group = min(loaded.n_kv_head, loaded.shape(record.kind)[1])
    fields = {
        **attention_fields(service, asked, run, record),
        "shape": list(attn.shape),
        "block": list(block),
        "n_kv_head": n_group,
        "dtype": "uint8",
    }
    return Answer(fields, {"attn": wire.QUANTIZE["uint8"](attn.numpy()), "mask": mask.numpy()})


def attention_record(service: Service, asked: AttentionRequest) -> tuple[Run, AttentionRecord]:
    """The attention asked for: chosen, reduced, in words or pieces, with its specials or without.

    Words come before a reduction over heads, for the largest of sums is not a sum of the largest;
    rollout multiplies layers token by token, so it comes before words.
    """
    if asked.quantity == "scores":
        _refuse_scores(asked)
    part = Selection(asked.quantity, asked.kind, asked.layer, asked.head)
    run, record = service.record(asked, part)
    if asked.merge == "words" and asked.reduce != "rollout":
        record = reductions.words(record)
    if asked.reduce != "none":
        try:
            record = reductions.reduced(record, asked.reduce)
        except ValueError as error:
            raise errors.Invalid(str(error), "reduce") from None
    if asked.merge == "words" and asked.reduce == "rollout":
        record = reductions.words(record)
    if asked.special != "keep":
        record = reductions.without_special(record, renormalise=asked.special == "renormalise")
    return run, record


def attention_fields(
    service: Service, asked: RunRequest, run: Run, record: AttentionRecord | Sketch
) -> dict[str, Any]:
    """The labels that travel with a record's tensors."""
    return {
        **input_fields(asked, run),
        "kind": record.kind,
        "layers": list(record.layers),
        "heads": list(record.heads),
        "axes": ["layer", "head", "query", "key"],
        "shape": list(record.attn.shape),
        "q_tokens": labels(record.q_tokens),
        "k_tokens": labels(record.k_tokens),
        "provenance": service.provenance(asked.model).model_dump(),
    }


def _refuse_scores(asked: AttentionRequest) -> None:
    """Scores are not shares of a whole: they are not summed, averaged or made into pictures."""
    clashes = {
        "reduce": asked.reduce != "none",
        "merge": asked.merge != "none",
        "special": asked.special == "renormalise",
        "dtype": asked.dtype == "uint8",
    }
    for field, clash in clashes.items():
        if clash:
            raise errors.Invalid(f"{field}={getattr(asked, field)} is for attn, not scores", field)
