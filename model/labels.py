"""What a fine-tuned head says of a text: its label, one for each token, or an answer in it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from attention_atlas.model.protocol import Labels
from attention_atlas.model.record import Token
from torch import Tensor

LONGEST_ANSWER = 30  # tokens
MOST_LABELS = 100  # of a text or token, the most probable
HEAD_LEFT_OUT = "Its head ({architecture}) is not supported here: it was left out."
NO_WORDS = (
    "It was saved as {architecture}, which writes no words: those here are of a head that was not "
    "trained with it."
)


class Span(NamedTuple):
    """An answer: its first and its last token."""

    first: int
    last: int
    probability: float


def predictions(
    labels: Labels, logits: Tensor, tokens: Sequence[Token], texts: tuple[str, str]
) -> dict[str, Any]:
    """The fields of `predictions` for a text's tokens; `logits` as `label_logits` gives them."""
    logits = logits.cpu()
    if labels.of in ("text", "choice"):
        return {"labels": ranked(labels, logits)}
    if labels.of == "token":
        shown = [i for i, token in enumerate(tokens) if not token.special]
        rows = [{"position": i, "labels": ranked(labels, logits[i])} for i in shown]
        return {"token_labels": rows}
    return {"answer": _answer(logits, tokens, texts)}


def ranked(labels: Labels, logits: Tensor) -> list[dict[str, Any]]:
    """Labels with logits and probabilities (n,), the most probable first."""
    if labels.is_value:
        return [{"label": labels.names[0], "logit": logits[0].item(), "probability": None}]
    shares = logits.sigmoid() if labels.several else logits.softmax(-1)
    order = shares.argsort(descending=True, stable=True)[:MOST_LABELS].tolist()
    return [
        {"label": labels.names[i], "logit": logits[i].item(), "probability": shares[i].item()}
        for i in order
    ]


def _answer(
    logits: Tensor, tokens: Sequence[Token], texts: tuple[str, str]
) -> dict[str, Any] | None:
    """The most probable span of tokens, and its text. None where there is no token of a text."""
    span = best_span(logits, tokens)
    if span is None:
        return None
    first, last = tokens[span.first], tokens[span.last]
    return {**span._asdict(), "text": texts[first.segment][first.start : last.end]}


def best_span(logits: Tensor, tokens: Sequence[Token]) -> Span | None:
    """The most probable span of tokens, of the second text if there is one: (2, T) logits."""
    segment = max((token.segment for token in tokens if not token.special), default=0)
    allowed = [i for i, t in enumerate(tokens) if not t.special and t.segment == segment]
    if not allowed:
        return None
    begins, ends = logits.log_softmax(-1)
    spans = begins[allowed, None] + ends[None, allowed]
    size = torch.ones_like(spans, dtype=torch.bool)
    spans = spans.masked_fill(~(size.triu() & size.tril(LONGEST_ANSWER - 1)), -torch.inf)
    first, last = divmod(int(spans.argmax()), len(allowed))
    return Span(allowed[first], allowed[last], spans.max().exp().item())
