"""What an experiment may measure beside the difference of two logits.

probability  of a token at one position
loss         the mean of -log p over the tokens of a text, each after those before it
cosine       of the mean hidden states of two texts, special tokens included
class_logit  of a label: of a fine-tuned head, or BERT's next-sentence head (class_logit.py)
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from attention_atlas.model.analysis import lab
from attention_atlas.model.analysis.class_logit import ClassLogit, class_logit_of, ranked_labels
from attention_atlas.model.analysis.lab import LogitDifference, Metric, ReadText
from attention_atlas.model.messages import Message
from attention_atlas.model.run import TOP, candidates
from attention_atlas.model.spec import BadInput, check_has, check_ids
from attention_atlas.model.zoo import Loaded
from torch import Tensor
from torch.nn import functional as F

MetricKind = Literal["logit_difference", "probability", "loss", "cosine", "class_logit"]


class Probability(NamedTuple):
    """The probability of a token at one position."""

    position: int
    a: int

    def of(self, loaded: Loaded, x: Tensor) -> Tensor:
        """Last hidden states (B, T, D) -> (B,)."""
        return loaded.model.logits(x[:, self.position]).float().softmax(-1)[:, self.a]


class Loss(NamedTuple):
    """The mean of -log p of the tokens after the first."""

    following: tuple[int, ...]  # token ids

    def of(self, loaded: Loaded, x: Tensor) -> Tensor:
        """Last hidden states (B, T, D) -> (B,); one row at a time, for its logits are many."""
        ids = torch.tensor(self.following, device=x.device)
        losses = [F.cross_entropy(loaded.model.logits(row[: len(ids)]).float(), ids) for row in x]
        return torch.stack(losses)


@dataclass(frozen=True)
class Cosine:
    """The cosine of a text's mean hidden state and another's.

    The other text is read once: what is done to the first does not change it.
    """

    vector: Tensor  # (1, D), of the other text

    def of(self, loaded: Loaded, x: Tensor) -> Tensor:
        """Last hidden states (B, T, D) -> (B,)."""
        return F.cosine_similarity(x.float().mean(1), self.vector, dim=-1)


def cosine_of(text: ReadText, beside: ReadText | None) -> Cosine:
    """Raises BadInput for a model without one vector for a text, or without a second text."""
    if text.loaded.family != "encoder":
        message = Message(
            "not-for-this-family",
            "{model} has no one vector for a text: cosine is for encoders",
            model=text.loaded.name,
        )
        raise BadInput("metric", message)
    if beside is None:
        message = Message("needs-beside", "cosine needs a second text, in metric.beside")
        raise BadInput("metric", message)
    return Cosine(beside.x.float().mean(1))


def loss_of(text: ReadText) -> Loss:
    """Raises BadInput for a model that does not predict each token from those before it."""
    check_has(text.loaded, "predictions", "model")
    if text.loaded.family == "encoder":
        message = Message(
            "not-for-this-family",
            "{model} predicts only masked words: loss is for models that predict each next token",
            model=text.loaded.name,
        )
        raise BadInput("metric", message)
    tokens = text.sequences["target" if "target" in text.sequences else "source"]
    if len(tokens) < 2:
        raise BadInput("text", Message("too-short", "loss needs a text of at least two tokens"))
    return Loss(tuple(token.id for token in tokens[1:]))


@torch.inference_mode()
def probability_of(text: ReadText, position: int | None, answer: int | str | None) -> Probability:
    """What is None is chosen: the most probable token. Raises BadInput."""
    place = lab.position_of(text, position)
    if isinstance(answer, str):
        answer = lab.token_named(text, place, answer)
    check_ids(text.loaded, [] if answer is None else [answer], "metric")
    if answer is None:
        answer = int(text.loaded.model.logits(text.x[0, place]).argmax())
    return Probability(place, answer)


def metric_by_name(
    text: ReadText,
    kind: MetricKind,
    *,
    position: int | None = None,
    answer: int | str | None = None,
    other: int | str | None = None,
    beside: ReadText | None = None,
) -> Metric:
    """The metric of a kind; what is None is chosen from the text. Raises BadInput."""
    if kind == "logit_difference":
        return lab.metric_of(text, position, answer, other)
    if kind == "class_logit":
        return class_logit_of(text, position, answer, other)
    if kind == "probability":
        return probability_of(text, position, answer)
    return loss_of(text) if kind == "loss" else cosine_of(text, beside)


@torch.inference_mode()
def top_candidates(loaded: Loaded, x: Tensor, metric: Metric) -> list[dict[str, object]]:
    """The most probable tokens, or labels, where the metric is taken, of hidden states (1, T, D);
    none without a prediction."""
    if isinstance(metric, ClassLogit):
        return ranked_labels(loaded, x, metric, TOP)
    if isinstance(metric, Cosine) or "predictions" in loaded.lacks:
        return []
    position = metric.position if isinstance(metric, LogitDifference | Probability) else -1
    return candidates(loaded, loaded.model.logits(x[0, position]))
