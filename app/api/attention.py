"""Attention of one kind, and all of it as small pictures."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from attention_atlas.app import errors, wire
from attention_atlas.app.api.common import (
    PREFIX,
    Provenance,
    TokenOut,
    input_fields,
    labels,
    provenance,
    spec_of,
)
from attention_atlas.app.api.resource import resource
from attention_atlas.app.api.spec import (
    TENSOR_FORMATS,
    Indices,
    OneKind,
    RunRequest,
    TensorFormat,
)
from attention_atlas.app.service import Service
from attention_atlas.app.wire import Answer
from attention_atlas.model import reductions
from attention_atlas.model.messages import Message, Refused
from attention_atlas.model.record import (
    AttentionRecord,
    Run,
    Selection,
    Sketch,
    axes,
    n_within,
)
from attention_atlas.model.spec import Spec
from attention_atlas.model.zoo import Loaded
from fastapi import APIRouter
from pydantic import BaseModel, Field

router = APIRouter(prefix=PREFIX, tags=["API"])


Format = Literal["json", "safetensors", "npz", "csv"]


class AttentionRequest(RunRequest):
    formats: ClassVar[tuple[str, ...]] = (*TENSOR_FORMATS, "csv")

    kind: OneKind = None
    layer: Indices | None = Field(None, description="numbers by comma; all if left out")
    head: Indices | None = Field(None, description="numbers by comma; all if left out")
    quantity: Literal["attn", "scores"] = Field("attn", description="scores: before the softmax")
    reduce: Literal["none", "mean_heads", "max_heads", "rollout"] = Field(
        "none", description="over heads; rollout also over layers"
    )
    merge: Literal["none", "words"] = Field(
        "none", description="words: summed over the tokens of a key word, averaged over a query's"
    )
    special: Literal["keep", "hide", "renormalise"] = Field(
        "keep", description="special tokens; renormalise: hidden, then rows sum to 1 again"
    )
    dtype: Literal["float32", "float16", "uint8"] = Field(
        "float32", description="uint8 is round(255 attn), for pictures only"
    )
    format: Format | None = Field(None, description="left out, the Accept header decides")


class OverviewRequest(RunRequest):
    formats: ClassVar[tuple[str, ...]] = TENSOR_FORMATS

    kind: OneKind = None
    size: int = Field(64, ge=1, le=512, description="pictures are at most this many cells a side")
    format: TensorFormat = None


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
    q_trained: int | None = Field(
        description="how many query tokens lie within the length that the model was trained on; "
        "null: all of them, or it is not known"
    )
    k_trained: int | None = Field(description="the same of the key tokens")
    provenance: Provenance
    mask: list[list[list[list[bool]]]] = Field(
        description="(1 or L, 1 or H, Tq, Tk): true where attention is allowed; broadcasts to shape"
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
def attention(service: Service, request: AttentionRequest, loaded: Loaded) -> Answer:
    """Attention of one kind, attn[layer][head][query][key]. Masked keys have attn 0, score null."""
    run, record = attention_record(service, request, loaded, spec_of(request))
    chosen = {"quantity", "reduce", "merge", "special", "dtype"}
    fields = {**attention_fields(loaded, run, record), **request.model_dump(include=chosen)}
    attn = wire.QUANTIZE[request.dtype](record.attn.numpy())
    return Answer(fields, {"attn": attn, "mask": record.mask.numpy()})


@resource(router, "/attention/overview", OverviewRequest, OverviewAnswer)
def overview(service: Service, request: OverviewRequest, loaded: Loaded) -> Answer:
    """Every layer and head as a small uint8 picture: the first thing to draw."""
    spec = spec_of(request)
    record: AttentionRecord | Sketch
    if service.whole(loaded, spec) is not None:
        run, record = service.record(loaded, spec, Selection(kind=request.kind))
        attn, mask, block = reductions.thumbnails(record, request.size)
    else:
        run, record = service.sketch(loaded, spec, request.kind, request.size, measured=False)
        attn, mask, block = record.attn, record.mask, record.block
    fields = {
        **attention_fields(loaded, run, record),
        "shape": list(attn.shape),
        "block": list(block),
        "n_kv_head": min(loaded.n_kv_head, loaded.shape(record.kind)[1]),
        "dtype": "uint8",
    }
    return Answer(fields, {"attn": wire.QUANTIZE["uint8"](attn.numpy()), "mask": mask.numpy()})


def attention_record(
    service: Service, request: AttentionRequest, loaded: Loaded, spec: Spec
) -> tuple[Run, AttentionRecord]:
    """The run, and the attention asked for, reduced as the request says."""
    if request.quantity == "scores":
        _refuse_scores(request)
    selection = Selection(request.quantity, request.kind, request.layer, request.head)
    run, record = service.record(loaded, spec, selection)
    options = request.model_dump(include={"reduce", "merge", "special"})
    try:
        return run, reductions.reshaped(record, **options)
    except Refused as error:
        raise errors.Invalid(error.message, "reduce") from None


def attention_fields(loaded: Loaded, run: Run, record: AttentionRecord | Sketch) -> dict[str, Any]:
    """The labels that travel with a record's tensors."""
    return {
        **input_fields(loaded, run),
        "kind": record.kind,
        "layers": list(record.layers),
        "heads": list(record.heads),
        "axes": ["layer", "head", "query", "key"],
        "shape": list(record.attn.shape),
        "q_tokens": labels(record.q_tokens),
        "k_tokens": labels(record.k_tokens),
        **trained_fields(loaded, run, record),
        "provenance": provenance(loaded).model_dump(),
    }


def trained_fields(
    loaded: Loaded, run: Run, record: AttentionRecord | Sketch
) -> dict[str, int | None]:
    """Where each axis leaves the length that the model was trained on."""
    length = loaded.card.trained_length
    q, k = (run.sequences[name] for name in axes(record.kind, run.sequences))
    return {
        "q_trained": n_within(record.q_tokens, q, length),
        "k_trained": n_within(record.k_tokens, k, length),
    }


def _refuse_scores(request: AttentionRequest) -> None:
    """Scores are not shares of a whole: they are not summed, averaged or made into pictures."""
    clashes = {
        "reduce": request.reduce != "none",
        "merge": request.merge != "none",
        "special": request.special == "renormalise",
        "dtype": request.dtype == "uint8",
    }
    for field, clash in clashes.items():
        if clash:
            message = Message(
                "only-for-attention",
                "{field}={request} is for attn, not scores",
                field=field,
                request=getattr(request, field),
            )
            raise errors.Invalid(message, field)
