"""What Translate and Generate share: tokens as they are decoded."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from attention_atlas.app.api.common import GuessOut, TokenOut, labels
from attention_atlas.app.api.spec import Edits, ModelRequest, StreamRequest, Text
from attention_atlas.model.analysis.decoding import LabelledToken
from attention_atlas.model.record import Token
from pydantic import BaseModel, Field
from torch import Tensor


class Decoding(ModelRequest, StreamRequest):
    """A request to decode a text, token by token."""

    text: Text = Field(description="the text", examples=["El banco está cerrado."])
    edits: Edits = Field((), description="changes inside every forward pass")
    head: int | None = Field(
        None,
        ge=0,
        description="head whose rows are returned, in every layer; default: the mean of heads",
    )


class CandidateOut(GuessOut):
    """A candidate for the next token, and its probability after each filter."""

    temperature: float | None = Field(None, description="after the temperature")
    top_k: float | None = Field(None, description="and after top_k; 0 if it is out")
    top_p: float | None = Field(None, description="and after top_p: the sampling distribution")


class DecodedOut(BaseModel):
    """One token as it was decoded."""

    token: TokenOut
    log_probability: float = Field(description="in the model's own distribution")
    probability: float = Field(description="in the distribution it was drawn from")
    entropy: float = Field(description="of the model's own distribution, in nats")
    rank: int = Field(description="0: the most probable")
    forced: bool = Field(description="given by `forced` or the reference, not chosen")
    n_kept: dict[str, int] = Field(description="generate: tokens that each filter leaves")
    candidates: list[CandidateOut]


class DecodedEvent(DecodedOut):
    """A token as soon as it is decoded."""

    text: str = Field(description="so far")
    attn: list[list[float]] = Field(description="(L, Tk): of its query, the head's or the mean")


def decoded_fields(decoded: LabelledToken) -> dict[str, Any]:
    """One decoded token as JSON; the text so far and the attention are for events alone."""
    return {
        "token": decoded.token._asdict(),
        "log_probability": decoded.log_probability,
        "probability": decoded.probability,
        "entropy": decoded.entropy,
        "rank": decoded.rank,
        "forced": decoded.forced,
        "n_kept": decoded.n_kept,
        "candidates": decoded.candidates,
    }


def step_event(decoded: LabelledToken, head: int | None) -> dict[str, Any]:
    """One token, the text so far, and the attention of its query in each layer: (L, Tk)."""
    return {**decoded_fields(decoded), "text": decoded.text, "attn": rows_of(decoded.attn, head)}


def rows_of(attn: Tensor, head: int | None) -> list[list[float]]:
    """(L, H, Tk) -> (L, Tk): of one head, or the mean over heads."""
    rows: list[list[float]] = (attn.mean(1) if head is None else attn[:, head]).tolist()
    return rows


def steps_fields(steps: Sequence[LabelledToken], tokens: tuple[Token, ...]) -> dict[str, Any]:
    """The decoded tokens, with their spans in the whole text."""
    pairs = zip(steps, labels(tokens), strict=True)
    return {
        "tokens": labels(tokens),
        "log_probabilities": [step.log_probability for step in steps],
        "steps": [{**decoded_fields(step), "token": token} for step, token in pairs],
    }
