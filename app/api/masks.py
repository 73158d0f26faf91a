"""A padded batch and its masks."""

from __future__ import annotations

import math
from dataclasses import asdict
from typing import Annotated, ClassVar, Literal

import torch
from attention_atlas.app.api.common import PREFIX, Provenance, TokenOut, labels, provenance
from attention_atlas.app.api.resource import resource
from attention_atlas.app.api.spec import (
    TENSOR_FORMATS,
    ApiRequest,
    OneKind,
    TensorFormat,
    Text,
    at_most,
    from_json,
    spanning,
)
from attention_atlas.app.service import Service
from attention_atlas.app.wire import Answer
from attention_atlas.model.analysis.fills import Fill, Fills
from attention_atlas.model.analysis.masks import masks as batch_masks
from attention_atlas.model.messages import Message
from attention_atlas.model.zoo import Loaded
from fastapi import APIRouter
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    JsonValue,
    model_validator,
)

router = APIRouter(prefix=PREFIX, tags=["API"])


HALF_MAX = 65504  # the largest number of float16


IN_HALF: dict[str, JsonValue] = {
    "required": ["precision"],
    "properties": {"precision": {"const": "float16"}},
}
FITS_HALF: dict[str, JsonValue] = {"properties": {"fill": {"minimum": -HALF_MAX}}}


class MasksRequest(ApiRequest):
    """Several texts as one batch; in a query string they are a JSON list."""

    model_config = ConfigDict(json_schema_extra={"if": IN_HALF, "then": FITS_HALF})
    formats: ClassVar[tuple[str, ...]] = TENSOR_FORMATS

    model: str = Field(description="a name from /models", examples=["bert"])
    texts: Annotated[
        tuple[Text, ...],
        Field(min_length=1, max_length=8),
        at_most(8),
        spanning("one to eight texts, one a line"),
        BeforeValidator(from_json),
    ] = Field(description="one to eight", examples=[["This is a test", "This is it"]])
    kind: OneKind = None
    layer: int = Field(0, ge=0, description="one layer")
    head: int = Field(0, ge=0, description="one head")
    off: Annotated[
        tuple[Literal["causal", "padding"], ...],
        Field(max_length=2),
        at_most(2),
        BeforeValidator(lambda value: value.split(",") if isinstance(value, str) else value),
    ] = Field((), description="masks that are switched off in every layer, by comma")
    fill: float | None = Field(
        None, ge=-1e30, le=0, description="in place of -inf in this head's scores"
    )
    precision: Literal["float32", "float16", "bfloat16"] = Field(
        "float32", description="of the scores, with fill"
    )
    format: TensorFormat = None

    @model_validator(mode="after")
    def _fits(self) -> MasksRequest:
        """float16 has a much smaller range than float32."""
        if self.precision == "float16" and self.fill is not None and self.fill < -HALF_MAX:
            raise ValueError(
                Message(
                    "outside-float16",
                    "fill={fill:g} is not in float16, which ends at -{limit}",
                    fill=self.fill,
                    limit=HALF_MAX,
                )
            )
        return self

    def models(self) -> tuple[str, ...]:
        return (self.model,)


class FillsOut(BaseModel):
    """When a very negative number in place of -inf leaks: the one asked for, or -1e4 in float16."""

    fill: float
    dtype: str
    reach: float = Field(
        description="a score this far below the largest of its row gets no attention"
    )
    n_key: int
    blind: float = Field(description="to each key of a row whose keys are all masked")
    blind_infinity: float | None = Field(description="the same at -inf: null is NaN")
    by: float | None = Field(
        description="a power of ten: this head's scores times it leak, with fill added where "
        "masked; null where none does"
    )
    leak: float | None = Field(description="to a row's masked keys together then, at most")
    lowest: float = Field(description="the least number of the precision")
    added: float | None = Field(description="lowest + fill, two masks added up: null is -inf")


class MasksAnswer(BaseModel):
    """A batch of texts, B of them, padded to the longest; masks are true where looking is
    allowed."""

    model: str
    texts: list[str]
    kind: str
    layer: int
    head: int
    pad: str = Field(description="the padding token")
    q_tokens: list[list[TokenOut]] = Field(description="of each text, without padding")
    k_tokens: list[list[TokenOut]]
    losses: dict[str, float] = Field(
        description="of the next word, in nats, with the causal mask on and off; a GPT alone"
    )
    fills: FillsOut
    leak: float = Field(
        description="largest attention of a query that is not padding to masked keys"
    )
    pad_attention: list[float] = Field(
        description="of each text: mean attention of its queries to padding"
    )
    ids: list[list[int]] = Field(description="(B, Tk)")
    padding: list[list[bool]] = Field(description="(B, Tk): true at real tokens")
    causal: list[list[bool]] | None = Field(
        description="(Tq, Tk); all true when switched off, null where there is none"
    )
    combined: list[list[list[bool]]] = Field(
        description="(B, Tq, Tk): the masks that are on, together"
    )
    scores: list[list[list[float]]] = Field(description="(B, Tq, Tk), before the mask")
    masked: list[list[list[float | None]]] = Field(description="(B, Tq, Tk); -inf is null")
    attn: list[list[list[float]]] = Field(description="(B, Tq, Tk)")
    row_sums: list[list[float]] = Field(description="(B, Tq)")
    provenance: Provenance


@resource(router, "/masks", MasksRequest, MasksAnswer)
def masks(service: Service, request: MasksRequest, loaded: Loaded) -> Answer:
    """Texts padded into one batch: their masks, and a head's scores before and after."""
    place = request.model_dump(include={"kind", "layer", "head"})
    fill = None if request.fill is None else Fill(request.fill, request.precision)
    batch = batch_masks(loaded, request.texts, off=request.off, fill=fill, **place)
    fields = {
        "model": request.model,
        "texts": list(request.texts),
        "kind": batch.kind,
        "layer": request.layer,
        "head": request.head,
        "pad": batch.k.pad,
        "q_tokens": [labels(tokens) for tokens in batch.q.tokens],
        "k_tokens": [labels(tokens) for tokens in batch.k.tokens],
        "losses": batch.losses,
        "fills": _fills(batch.fills),
        "leak": batch.leak,
        "pad_attention": batch.to_padding.tolist(),
        "provenance": provenance(loaded).model_dump(),
    }
    causal = {} if batch.causal is None else {"causal": batch.causal.cpu()}
    tensors = {
        "ids": batch.k.ids.cpu().to(torch.int32),
        "padding": batch.k.real.cpu(),
        **causal,
        "combined": batch.combined,
        "scores": batch.scores,
        "masked": batch.masked,
        "attn": batch.attn,
        "row_sums": batch.attn.sum(-1),
    }
    absent = {} if causal else {"causal": None}
    return Answer(fields | absent, {name: tensor.numpy() for name, tensor in tensors.items()})


def _fills(fills: Fills) -> dict[str, float | str | None]:
    """What JSON has no number for, NaN and -inf, is null."""
    return {
        name: None if isinstance(value, float) and not math.isfinite(value) else value
        for name, value in asdict(fills).items()
    }
