"""Position encodings, their part of the input, and why they are needed."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from attention_atlas.app import errors
from attention_atlas.app.api.common import PREFIX, Provenance, TokenOut, labels, provenance
from attention_atlas.app.api.resource import resource
from attention_atlas.app.api.spec import (
    TENSOR_FORMATS,
    ApiRequest,
    TensorFormat,
    Text,
    TextRequest,
    TokenizeRequest,
    spanning,
)
from attention_atlas.app.service import Service
from attention_atlas.app.wire import Answer
from attention_atlas.model import positions as encodings
from attention_atlas.model.analysis import permutation as experiments
from attention_atlas.model.messages import Message
from attention_atlas.model.spec import direction_of
from attention_atlas.model.zoo import Loaded
from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field, JsonValue, model_validator
from torch import Tensor

router = APIRouter(prefix=PREFIX, tags=["API"])


TEXT: dict[str, JsonValue] = {"type": "string"}
BOTH: dict[str, JsonValue] = {
    "required": ["kind", "model"],
    "properties": {"kind": TEXT, "model": TEXT},
}


class PositionsRequest(ApiRequest):
    """Sinusoidal encodings by their sizes, or what a model learned or uses."""

    model_config = ConfigDict(json_schema_extra={"not": BOTH})
    formats: ClassVar[tuple[str, ...]] = TENSOR_FORMATS

    kind: Literal["sinusoidal"] | None = Field(None, description="the paper's, by the sizes below")
    model: str | None = Field(None, description="what this model learned or uses")
    n_positions: int | None = Field(None, ge=1, le=1024, description="64, or all a model has")
    d_model: Annotated[int, Field(ge=2, le=1024, multiple_of=2), spanning("even, 2 to 1024")] = (
        Field(64, description="even; sinusoidal only")
    )
    base: float = Field(10_000.0, gt=1, le=1e9, description="above 1; sinusoidal only")
    measure: Literal["cosine", "dot"] = Field("cosine", description="similarity of two positions")
    shift: int = Field(1, ge=0, le=1023, description="k: PE(pos + k) is a linear map of PE(pos)")
    format: TensorFormat = None

    @model_validator(mode="after")
    def _one_of_two(self) -> PositionsRequest:
        if self.model is not None and self.kind is not None:
            raise ValueError(Message("two-sources", "kind=sinusoidal or model=, not both"))
        return self

    def models(self) -> tuple[str, ...]:
        return (self.model,) if self.model is not None else ()


class EmbeddingRequest(TokenizeRequest):
    pass


class PermutationRequest(TextRequest):
    text_b: Text | None = Field(
        None,
        description="the same words in another order; else the parts between spaces reversed, or "
        "the tokens where there are no spaces",
    )


class PositionsAnswer(BaseModel):
    kind: str = Field(description="sinusoidal or learned")
    model: str | None
    n_positions: int
    d_model: int
    base: float | None
    measure: str
    shift: int
    shift_error: float | None = Field(
        description="largest |PE(pos + k) - M PE(pos)|, with one matrix M for all pos; "
        "sinusoidal, and null where no two positions are k apart"
    )
    encoding: list[list[float]] = Field(description="(n, D)")
    similarity: list[list[float]] = Field(description="(n, n), by the measure")
    by_distance: list[float] = Field(description="(n,): mean similarity of positions k apart")
    wavelengths: list[float] = Field(
        description="(D / 2,): wavelength of each pair, in positions; sinusoidal only"
    )
    turns: list[list[list[float]]] = Field(
        description="(D / 2, 2, 2): M, which is these on its diagonal, a rotation of each pair of "
        "dimensions; sinusoidal only"
    )
    provenance: Provenance | None = Field(description="null where there are no weights")


class EmbeddingAnswer(BaseModel):
    """Word + position + segment = input: the norm of each, token by token."""

    model: str
    text: str
    text_pair: str | None
    tokens: list[TokenOut]
    parts: dict[str, list[float]] = Field(description="word, position, segment, sum, input: norms")


class PermutationAnswer(BaseModel):
    """The same words in two orders, with positions and without."""

    model: str
    text: str
    text_b: str = Field(description="empty where the tokens themselves are reversed")
    same: bool = Field(description="the two orders are equal")
    causal: bool = Field(description="the model has a causal mask, which depends on the order too")
    tokens_a: list[TokenOut]
    tokens_b: list[TokenOut]
    order: list[int] = Field(description="where each token of A is in B")
    difference: dict[str, float] = Field(
        description="with, without positions: largest difference of a token's last hidden state"
    )
    by_token: dict[str, list[float]] = Field(description="the same, token by token of A")


DEFAULT = 64  # positions shown


@resource(router, "/positions", PositionsRequest, PositionsAnswer)
def positions(service: Service, request: PositionsRequest, loaded: Loaded | None = None) -> Answer:
    """Position encodings, sinusoidal or of a model, and the similarity of every two positions."""
    kind, encoding, base = _encoding(request, loaded)
    sine_base = base if kind == "sinusoidal" else None
    shown = encodings.described(encoding, request.measure, request.shift, sine_base)
    fields: dict[str, Any] = {
        "kind": kind,
        "model": request.model,
        "n_positions": len(encoding),
        "d_model": encoding.size(1),
        "base": sine_base,
        "measure": request.measure,
        "shift": request.shift,
        "provenance": None if loaded is None else provenance(loaded).model_dump(),
        "shift_error": shown.shift_error,
    }
    tensors = {
        "encoding": encoding,
        "similarity": shown.similarity,
        "wavelengths": shown.wavelengths,
        "turns": shown.turns,
        "by_distance": shown.by_distance,
    }
    return Answer(fields, {name: tensor.numpy() for name, tensor in tensors.items()})


def _encoding(request: PositionsRequest, loaded: Loaded | None) -> tuple[str, Tensor, float]:
    """The kind of encoding, its vectors (n, D), and its base. Invalid if a model has fewer."""
    n, base = request.n_positions, request.base
    if loaded is None:
        return "sinusoidal", encodings.sinusoidal(n or DEFAULT, request.d_model, base=base), base
    table = experiments.position_table(loaded)
    if n is not None and n > len(table):
        message = Message(
            "too-many-positions",
            "{n} positions are too many: {model} has {limit}",
            n=n,
            model=loaded.name,
            limit=len(table),
        )
        raise errors.Invalid(message, "n_positions")
    return loaded.model.positions, table[: n or len(table)], encodings.BASE


@resource(router, "/embedding", EmbeddingRequest, EmbeddingAnswer)
def embedding(service: Service, request: EmbeddingRequest, loaded: Loaded) -> Answer:
    """Word + position + segment = input, token by token, as lengths of vectors."""
    text, languages = request.text, (request.source_lang, request.target_lang)
    direction = direction_of(loaded, text, *languages)
    tokens, parts = experiments.embedding_parts(loaded, text, request.text_pair, direction)
    fields = {
        "model": request.model,
        "text": request.text,
        "text_pair": request.text_pair,
        "tokens": labels(tokens),
        "parts": {name: norms.tolist() for name, norms in parts.items()},
    }
    return Answer(fields, {})


@resource(router, "/permutation", PermutationRequest, PermutationAnswer)
def permutation(service: Service, request: PermutationRequest, loaded: Loaded) -> Answer:
    """The same words in two orders: without positions, the same vectors in that order."""
    moved = experiments.permutation(loaded, request.text, request.text_b)
    by_token = {"with": moved.with_positions, "without": moved.without}
    fields = {
        "model": request.model,
        "text": request.text,
        "text_b": moved.text_b,
        "same": moved.is_same,
        "causal": loaded.family == "decoder",
        "tokens_a": labels(moved.a),
        "tokens_b": labels(moved.b),
        "order": moved.order,
        "difference": {name: change.max().item() for name, change in by_token.items()},
        "by_token": {name: change.tolist() for name, change in by_token.items()},
    }
    return Answer(fields, {})
