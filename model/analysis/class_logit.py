"""The logit of a class that a head tells apart, as a metric of experiments.

Of a text it is the logit of its label; of one token that of the token's label; of an answer the
logits of its first and last token together. BERT's next-sentence head is a head of two classes.
"""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

import torch
from attention_atlas.model import labels
from attention_atlas.model.analysis.lab import ReadText
from attention_atlas.model.messages import Message
from attention_atlas.model.protocol import Labels
from attention_atlas.model.record import Token
from attention_atlas.model.run import batch_of
from attention_atlas.model.spec import BadInput, check_has
from attention_atlas.model.zoo import Loaded
from torch import Tensor

Unit = Literal["text", "value", "pair", "token", "answer", "choice"]
NEXT_SENTENCE = Labels(("IsNext", "NotNext"), "text")  # as Devlin et al. 2019 call them


class Classes(NamedTuple):
    """What a head tells apart, and of what.

    text    one label of a text, or several          sequence classification
    value   a number                                 regression
    pair    whether a second text follows the first  BERT's next-sentence head
    token   a label of each token                    token classification
    answer  where in a text an answer stands         question answering
    choice  which of some second texts fits best     multiple choice
    """

    names: tuple[str, ...]
    unit: Unit
    several: bool


def labels_of(loaded: Loaded) -> Labels | None:
    """The labels of a model's head, BERT's next-sentence head too; None without such a head."""
    own = None if "predictions" in loaded.lacks else loaded.model.labels
    return NEXT_SENTENCE if own is None and "next-sentence" in loaded.tasks else own


def classes_of(loaded: Loaded) -> Classes | None:
    """What the model's head tells apart; None without such a head."""
    known = labels_of(loaded)
    if known is None:
        return None
    if known is NEXT_SENTENCE:
        return Classes(known.names, "pair", False)
    unit: Unit = "value" if known.is_value and known.of == "text" else known.of
    return Classes(known.names, unit, known.several)


def class_logits(loaded: Loaded, ids: Tensor, x: Tensor) -> Tensor:
    """ids (1, T), x (1, T, D) -> (n,) of a text, (T, n) of its tokens, (2, T) of an answer."""
    if loaded.model.labels is None:
        return loaded.encoder.next_sentence(x)[0].float()
    return loaded.model.label_logits(ids, x)


class ClassLogit(NamedTuple):
    """logit[a], or logit[a] - logit[b], of a text's classes."""

    ids: tuple[int, ...]  # of the text: some heads look in them for padding
    a: int  # numbers of labels
    b: int | None = None
    position: int | None = None  # of the token whose label it is, or of an answer's first token
    last: int | None = None  # an answer's last token

    def of(self, loaded: Loaded, x: Tensor) -> Tensor:
        """Last hidden states (B, T, D) -> (B,)."""
        ids = torch.tensor([self.ids], device=x.device)
        return torch.stack([self._value(class_logits(loaded, ids, row[None])) for row in x])

    def _value(self, logits: Tensor) -> Tensor:
        if self.last is not None:
            return logits[0, self.position] + logits[1, self.last]
        row = logits if self.position is None else logits[self.position]
        return row[self.a] if self.b is None else row[self.a] - row[self.b]

    def without(self, i: int) -> ClassLogit | None:
        """The metric of the text without its token i; None at a token that it is of."""
        if i in (self.position, self.last):
            return None
        ids = (*self.ids[:i], *self.ids[i + 1 :])
        position = None if self.position is None else self.position - (i < self.position)
        last = None if self.last is None else self.last - (i < self.last)
        return self._replace(ids=ids, position=position, last=last)


@torch.inference_mode()
def class_logit_of(
    text: ReadText,
    position: int | None = None,
    answer: int | str | None = None,
    other: int | str | None = None,
) -> ClassLogit:
    """What is None is chosen: the first token with a label, the most probable label, the most
    probable answer. Raises BadInput."""
    loaded, tokens = text.loaded, text.sequences["source"]
    known = checked_labels(loaded, "metric")
    ids = tuple(token.id for token in tokens)
    logits = class_logits(loaded, batch_of(loaded, tokens), text.x)
    if known.of == "answer":
        span = labels.best_span(logits.cpu(), tokens)
        if span is None:
            raise BadInput("text", Message("no-answer", "the text has no token to answer with"))
        return ClassLogit(ids, 0, position=span.first, last=span.last)
    place = labelled_position(tokens, position) if known.of == "token" else None
    row = logits if place is None else logits[place]
    a = int(row.argmax()) if answer is None else label_number(known, answer)
    return ClassLogit(ids, a, None if other is None else label_number(known, other), place)


def checked_labels(loaded: Loaded, field: str) -> Labels:
    """The labels of a model's head. Raises BadInput without such a head."""
    check_has(loaded, "predictions", "model")
    known = labels_of(loaded)
    if known is None:
        message = Message(
            "no-labels", "{model} has no head that tells labels apart", model=loaded.name
        )
        raise BadInput(field, message)
    return known


def labelled_position(tokens: tuple[Token, ...], position: int | None) -> int:
    """A token that has a label; None: the first. Raises BadInput."""
    with_label = [i for i, token in enumerate(tokens) if not token.special]
    if position is None and with_label:
        return with_label[0]
    if position not in with_label:
        message = Message(
            "no-label-there",
            "no label is given to token {position}: it is a special token, or does not exist",
            position=position or 0,
        )
        raise BadInput("position", message)
    return position


def label_number(known: Labels, name: int | str) -> int:
    """A label by its number or its name. Raises BadInput."""
    if isinstance(name, str) and name in known.names:
        return known.names.index(name)
    if isinstance(name, int) and 0 <= name < len(known.names):
        return name
    message = Message(
        "unknown-label",
        "there is no label {label!r}; there are {names}",
        label=str(name)[:40],
        names=", ".join(known.names[:20]),
    )
    raise BadInput("label", message)


@torch.inference_mode()
def ranked_labels(loaded: Loaded, x: Tensor, metric: ClassLogit, n: int) -> list[dict[str, Any]]:
    """The most probable labels where the metric is taken, as candidates; none of an answer or of
    a number."""
    known = labels_of(loaded)
    if known is None or known.is_value or metric.last is not None:
        return []
    logits = class_logits(loaded, torch.tensor([metric.ids], device=x.device), x)
    row = logits if metric.position is None else logits[metric.position]
    return [
        {
            "id": known.names.index(each["label"]),
            "token": each["label"],
            "text": each["label"],
            "logit": each["logit"],
            "probability": each["probability"],
        }
        for each in labels.ranked(known, row.cpu())[:n]
    ]
