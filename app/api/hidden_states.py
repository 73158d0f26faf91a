"""The residual stream, of all tokens or of one word."""

from __future__ import annotations

from typing import ClassVar, Literal

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
from attention_atlas.app.api.spec import TENSOR_FORMATS, RunRequest, TensorFormat, WordText
from attention_atlas.app.service import Service
from attention_atlas.app.wire import Answer
from attention_atlas.model.analysis.compare import pieces, side, word_states
from attention_atlas.model.record import axes, state_names
from attention_atlas.model.zoo import Loaded
from fastapi import APIRouter
from pydantic import BaseModel, Field

router = APIRouter(prefix=PREFIX, tags=["API"])


class HiddenRequest(RunRequest):
    formats: ClassVar[tuple[str, ...]] = TENSOR_FORMATS

    sequence: Literal["source", "target"] = Field("source", description="target: the translator's")
    word: WordText | None = Field(
        None, description="this word only, the mean of its tokens; in any case, NFC or NFD"
    )
    occurrence: int = Field(0, ge=0, description="which one, if the word is there several times")
    format: TensorFormat = None


class HiddenAnswer(BaseModel):
    """The residual stream: hidden[0] is the embedding, hidden[i + 1] the state after layer i.

    Layers are numbered from 0, as those of attention are.
    """

    model: str
    text: str
    text_pair: str | None
    target: str | None
    sequence: str
    axes: list[str]
    states: list[str] = Field(
        description="names of the first axis: embedding, then layer 0 … layer L - 1, each after it",
        examples=[["embedding", "layer 0", "layer 1"]],
    )
    shape: list[int]
    tokens: list[TokenOut] = Field(description="of the sequence, or of the word")
    hidden: list[list[list[float]]] | list[list[float]] = Field(
        description="(L + 1, T, D), or (L + 1, D) of one word"
    )
    provenance: Provenance


@resource(router, "/hidden-states", HiddenRequest, HiddenAnswer)
def hidden(service: Service, request: HiddenRequest, loaded: Loaded) -> Answer:
    """The residual stream at the embedding and after each layer, of all tokens or of one word."""
    spec = spec_of(request)
    states = service.hidden(loaded, spec, request.sequence)
    run = service.run(loaded, spec)
    tokens = list(run.sequences[request.sequence])
    if request.word is not None:
        kind = next(k for k in run.records if axes(k, run.sequences)[0] == request.sequence)
        word = side(run, run.records[kind], request.word, request.occurrence)
        tokens = [tokens[i] for i in pieces(word)]
        states = word_states(states, pieces(word))
    labelled = ["layer", "dimension"] if request.word else ["layer", "token", "dimension"]
    fields = {
        **input_fields(loaded, run),
        "sequence": request.sequence,
        "axes": labelled,
        "states": state_names(len(states) - 1),
        "shape": list(states.shape),
        "tokens": labels(tuple(tokens)),
        "provenance": provenance(loaded).model_dump(),
    }
    return Answer(fields, {"hidden": states.numpy()})
