"""Words hidden and guessed, whether a sentence follows, and masking as in BERT's training."""

from __future__ import annotations

import math

from attention_atlas.app.api.common import PREFIX, Provenance, TokenOut, labels
from attention_atlas.app.api.decoding import CandidateOut, provenance, spoken_fields
from attention_atlas.app.api.generate import NextTokenRequest
from attention_atlas.app.api.resource import resource
from attention_atlas.app.api.spec import Indices, NBest, Seed, Text, TextRequest
from attention_atlas.app.service import Service, edits_of
from attention_atlas.app.wire import Answer
from attention_atlas.model.analysis import blanks
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
    words: list[int | None] = Field(
        description="of each token, which word of the text as it was asked for it is"
    )
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
    shown: str = Field(description="what the model reads there")
    probability: float = Field(description="of the right token")
    loss: float = Field(description="its negative log-probability, in nats")
    candidates: list[CandidateOut]


class CorruptionAnswer(BaseModel):
    """A text as BERT sees it in training."""

    model: str
    text: str
    text_pair: str | None
    seed: int
    tokens: list[TokenOut] = Field(description="as they are without noise")
    chosen: list[CorruptedOut]
    loss: float | None = Field(
        description="mean over the chosen places: what training lowers; null if there is none"
    )
    provenance: Provenance


@resource(router, "/fill-mask", FillMaskRequest, FillMaskAnswer)
def fill_mask(service: Service, asked: FillMaskRequest) -> Answer:
    """What the model would write for each [MASK]."""
    return fill_mask_answer(service, asked)


@resource(router, "/next-sentence", NextSentenceRequest, NextSentenceAnswer)
def next_sentence(service: Service, asked: NextSentenceRequest) -> Answer:
    """The probability that a sentence follows another."""
    return next_sentence_answer(service, asked)


@resource(router, "/corruption", CorruptionRequest, CorruptionAnswer)
def corruption(service: Service, asked: CorruptionRequest) -> Answer:
    """BERT's training noise on a text: 15 % chosen, most of them hidden, and the loss there."""
    return corruption_answer(service, asked)


def fill_mask_answer(service: Service, asked: FillMaskRequest) -> Answer:
    """What the model would write for each [MASK]."""
    with service.lent(asked.model, text=asked.text, text_pair=asked.text_pair) as loaded:
        found = blanks.fill(
            loaded,
            asked.text,
            asked.text_pair,
            words=(asked.words or (), asked.words_pair or ()),
            edits=edits_of(asked.edits),
            top=asked.top,
        )
    fields = {
        **spoken_fields(asked),
        "text_pair": asked.text_pair,
        "masked": found.texts[0],
        "masked_pair": found.texts[1],
        "tokens": labels(found.tokens),
        "words": found.words,
        "masks": [{"position": at, **guess._asdict()} for at, guess in found.masks.items()],
        "provenance": provenance(service, asked),
    }
    return Answer(fields, {})


def next_sentence_answer(service: Service, asked: NextSentenceRequest) -> Answer:
    """Whether the second text follows the first, and the first the second."""
    a, b = asked.text, asked.text_pair
    with service.lent(asked.model, text=a, text_pair=b) as loaded:
        is_next, swapped = (blanks.next_sentence(loaded, *pair) for pair in ((a, b), (b, a)))
    fields = {
        **spoken_fields(asked),
        "text_pair": b,
        "is_next": is_next,
        "swapped": swapped,
        "provenance": provenance(service, asked),
    }
    return Answer(fields, {})


def corruption_answer(service: Service, asked: CorruptionRequest) -> Answer:
    """A text as BERT sees it in training, and the loss there."""
    with service.lent(asked.model, text=asked.text, text_pair=asked.text_pair) as loaded:
        tokens, found = blanks.corrupt(loaded, asked.text, asked.text_pair, asked.seed, asked.top)
    chosen = [
        {
            "position": each.position,
            "fate": each.fate,
            "shown": each.shown,
            "probability": math.exp(each.log_probability),
            "loss": -each.log_probability,
            "candidates": each.guess.candidates,
        }
        for each in found
    ]
    fields = {
        **spoken_fields(asked),
        "text_pair": asked.text_pair,
        "seed": asked.seed,
        "tokens": labels(tokens),
        "chosen": chosen,
        "loss": -sum(each.log_probability for each in found) / len(found) if found else None,
        "provenance": provenance(service, asked),
    }
    return Answer(fields, {})
