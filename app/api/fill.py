"""Words hidden and guessed, whether a sentence follows, and BERT's masking procedure."""

from __future__ import annotations

import math

from attention_atlas.app.api.common import (
    PREFIX,
    Provenance,
    TokenOut,
    edits_of,
    labels,
    provenance,
)
from attention_atlas.app.api.decoding import CandidateOut
from attention_atlas.app.api.generate import NextTokenRequest
from attention_atlas.app.api.resource import resource
from attention_atlas.app.api.spec import Indices, NBest, Seed, Text, TextRequest
from attention_atlas.app.service import Service
from attention_atlas.app.wire import Answer
from attention_atlas.model.analysis import blanks
from attention_atlas.model.zoo import Loaded
from fastapi import APIRouter
from pydantic import BaseModel, Field

router = APIRouter(prefix=PREFIX, tags=["API"])


class FillMaskRequest(NextTokenRequest):
    words: Indices | None = Field(
        None, description="words of `text` to hide, by the number that their tokens have"
    )
    words_pair: Indices | None = Field(None, description="the same of `text_pair`")


class NextSentenceRequest(TextRequest):
    text_pair: Text = Field(description="the sentence that may follow")


class CorruptionRequest(TextRequest):
    seed: Seed = Field(0, description="of the choice")
    top: NBest = 5


class MaskOut(BaseModel):
    position: int
    entropy: float = Field(description="in nats")
    candidates: list[CandidateOut]


class FillMaskAnswer(BaseModel):
    model: str
    text: str
    text_pair: str | None
    masked: str = Field(description="the text as the model reads it")
    masked_pair: str | None = Field(description="and the second one")
    tokens: list[TokenOut] = Field(description="of these")
    words: list[int | None] = Field(description="of each token, its word in the request's text")
    masks: list[MaskOut]
    provenance: Provenance


class NextSentenceAnswer(BaseModel):
    model: str
    text: str
    text_pair: str
    is_next: float = Field(description="probability that text_pair follows text")
    swapped: float = Field(description="that text follows text_pair")
    provenance: Provenance


class CorruptedOut(BaseModel):
    position: int
    fate: str = Field(description="masked, replaced (by a random token) or kept")
    shown: str = Field(description="the token that the model reads at this position")
    probability: float = Field(description="of the original token")
    loss: float = Field(description="its negative log-probability, in nats")
    candidates: list[CandidateOut]


class CorruptionAnswer(BaseModel):
    """A text after BERT's masking procedure."""

    model: str
    text: str
    text_pair: str | None
    seed: int
    tokens: list[TokenOut] = Field(description="before masking")
    chosen: list[CorruptedOut]
    loss: float | None = Field(
        description="mean over the chosen positions, as in training; null if there are none"
    )
    provenance: Provenance


@resource(router, "/fill-mask", FillMaskRequest, FillMaskAnswer)
def fill_mask(service: Service, request: FillMaskRequest, loaded: Loaded) -> Answer:
    """The model's candidates for each [MASK]."""
    filled = blanks.fill(
        loaded,
        request.text,
        request.text_pair,
        words=(request.words or (), request.words_pair or ()),
        edits=edits_of(request.edits),
        top=request.top,
    )
    masks = [{"position": place, **guess._asdict()} for place, guess in filled.masks.items()]
    fields = {
        "model": request.model,
        "text": request.text,
        "text_pair": request.text_pair,
        "masked": filled.texts[0],
        "masked_pair": filled.texts[1],
        "tokens": labels(filled.tokens),
        "words": filled.words,
        "masks": masks,
        "provenance": provenance(loaded).model_dump(),
    }
    return Answer(fields, {})


@resource(router, "/next-sentence", NextSentenceRequest, NextSentenceAnswer)
def next_sentence(service: Service, request: NextSentenceRequest, loaded: Loaded) -> Answer:
    """The probability that a sentence follows another."""
    a, b = request.text, request.text_pair
    fields = {
        "model": request.model,
        "text": a,
        "text_pair": b,
        "is_next": blanks.next_sentence(loaded, a, b),
        "swapped": blanks.next_sentence(loaded, b, a),
        "provenance": provenance(loaded).model_dump(),
    }
    return Answer(fields, {})


@resource(router, "/corruption", CorruptionRequest, CorruptionAnswer)
def corruption(service: Service, request: CorruptionRequest, loaded: Loaded) -> Answer:
    """BERT's masking procedure (80/10/10) on 15 % of a text's tokens, and the loss there."""
    tokens, places = blanks.corrupt(
        loaded, request.text, request.text_pair, request.seed, request.top
    )
    chosen = [
        {
            "position": place.position,
            "fate": place.fate,
            "shown": place.shown,
            "probability": math.exp(place.log_probability),
            "loss": -place.log_probability,
            "candidates": place.guess.candidates,
        }
        for place in places
    ]
    loss = -sum(place.log_probability for place in places) / len(places) if places else None
    fields = {
        "model": request.model,
        "text": request.text,
        "text_pair": request.text_pair,
        "seed": request.seed,
        "tokens": labels(tokens),
        "chosen": chosen,
        "loss": loss,
        "provenance": provenance(loaded).model_dump(),
    }
    return Answer(fields, {})
