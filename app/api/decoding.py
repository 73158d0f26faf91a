"""What Translate and Generate share: tokens as they are decoded."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from attention_atlas.app.api.common import TokenOut, labels
from attention_atlas.app.api.spec import Edits, StreamRequest, Text
from attention_atlas.model.analysis.decoding import Said
from attention_atlas.model.record import Token
from pydantic import BaseModel, Field
from torch import Tensor


class Decoding(StreamRequest):
    """A text to go on from, token by token."""

    text: Text = Field(description="the text", examples=["El banco está cerrado."])
    edits: Edits = Field((), description="changes inside every forward pass")
    head: int | None = Field(
        None, ge=0, description="whose rows are given, in every layer; left out, the mean of heads"
    )


class CandidateOut(BaseModel):
    """A token that might be said, and what each filter leaves of its probability."""

    id: int
    token: str = Field(description="as the vocabulary spells it")
    text: str
    logit: float
    probability: float = Field(description="the model's own, before any filter")
    temperature: float | None = Field(None, description="after the temperature")
    top_k: float | None = Field(None, description="and after top_k; 0 if it is out")
    top_p: float | None = Field(None, description="and after top_p: what is drawn from")


class SaidOut(BaseModel):
    """One token as it was decoded."""

    token: TokenOut
    log_probability: float = Field(description="in the model's own distribution")
    probability: float = Field(description="in the distribution it was drawn from")
    entropy: float = Field(description="of the model's own distribution, in nats")
    rank: int = Field(description="0: the most probable")
    forced: bool = Field(description="it was given, not chosen")
    n_kept: dict[str, int] = Field(description="generate: tokens that each filter leaves")
    candidates: list[CandidateOut]


def said_fields(said: Said) -> dict[str, Any]:
    """One token as JSON says it; the text so far and where the model looked are for events."""
    return {
        "token": said.token._asdict(),
        "log_probability": said.log_probability,
        "probability": said.probability,
        "entropy": said.entropy,
        "rank": said.rank,
        "forced": said.forced,
        "n_kept": said.n_kept,
        "candidates": said.candidates,
    }


def step_event(said: Said, head: int | None) -> dict[str, Any]:
    """One token, the text so far, and where its query looked in each layer: (L, Tk)."""
    return {**said_fields(said), "text": said.text, "attn": rows_of(said.attn, head)}


def rows_of(attn: Tensor, head: int | None) -> list[list[float]]:
    """(L, H, Tk) -> (L, Tk): of one head, or the mean over heads."""
    found: list[list[float]] = (attn.mean(1) if head is None else attn[:, head]).tolist()
    return found


def steps_fields(steps: Sequence[Said], tokens: tuple[Token, ...]) -> dict[str, Any]:
    """What was said, with the tokens' spans in the whole text."""
    found = zip(steps, labels(tokens), strict=True)
    return {
        "tokens": labels(tokens),
        "log_probabilities": [step.log_probability for step in steps],
        "steps": [{**said_fields(step), "token": token} for step, token in found],
    }
