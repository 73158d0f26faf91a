"""What a head that tells classes apart says of a text, and which tokens it reads."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from attention_atlas.model import labels
from attention_atlas.model.analysis import lab
from attention_atlas.model.analysis.class_logit import (
    Classes,
    ClassLogit,
    checked_labels,
    class_logit_of,
    class_logits,
    classes_of,
)
from attention_atlas.model.analysis.lab import ReadText
from attention_atlas.model.messages import Message
from attention_atlas.model.record import Token
from attention_atlas.model.run import batch_of
from attention_atlas.model.spec import BadInput, Spec
from attention_atlas.model.words import is_blank
from attention_atlas.model.zoo import Loaded
from torch import Tensor

LEAST_READ = 1e-6  # of the largest gradient: what is smaller is rounding


@dataclass(frozen=True)
class Classified:
    """A text's classes, and where its head reads them from."""

    classes: Classes
    spec: Spec  # of the text that was read; of several choices, with the best
    tokens: tuple[Token, ...]
    predictions: dict[str, Any]  # labels, token_labels or answer
    metric: ClassLogit  # the logit that is read there
    logit: float  # its value
    reads: tuple[int, ...]  # the tokens whose last hidden states it depends on
    choice: int | None = None  # the best of several


def classify(
    loaded: Loaded,
    spec: Spec,
    choices: Sequence[str] = (),
    *,
    label: int | str | None = None,
    position: int | None = None,
) -> Classified:
    """The classes of a text. `label` and `position` say of which logit `reads` is. Raises
    BadInput."""
    known = checked_labels(loaded, "model")
    classes = classes_of(loaded)
    assert classes is not None
    _check(loaded, classes, spec, choices)
    specs = [replace(spec, text_pair=text) for text in choices] or [spec]
    texts = [lab.text_of(loaded, each, with_outputs=False) for each in specs]
    choice, predictions = None, {}
    if choices:
        scores = torch.cat([_logits(each) for each in texts])
        choice = int(scores.argmax())
        named = known._replace(names=tuple(choices), is_value=False)
        predictions = {"labels": labels.ranked(named, scores.cpu())}
    text, spec = texts[choice or 0], specs[choice or 0]
    tokens = tuple(text.sequences["source"])
    if not choices:
        pair = (spec.text, spec.text_pair or "")
        predictions = labels.predictions(known, _logits(text), tokens, pair)
    metric = class_logit_of(text, position, label)
    return Classified(
        classes=classes,
        spec=spec,
        tokens=tokens,
        predictions=predictions,
        metric=metric,
        logit=lab.value_of(text, metric),
        reads=read_by(text, metric),
        choice=choice,
    )


def _check(loaded: Loaded, classes: Classes, spec: Spec, choices: Sequence[str]) -> None:
    """The texts that the head needs, and no others."""
    if spec.text and is_blank(spec.text):
        text = "the text has no words: only spaces or invisible characters"
        raise BadInput("text", Message("no-words", text))
    if classes.unit == "pair" and not spec.text_pair:
        message = Message(
            "needs-a-pair",
            "the head of {model} tells whether a second text follows: type one",
            model=loaded.name,
        )
        raise BadInput("text_pair", message)
    if classes.unit == "choice" and len(choices) < 2:
        message = Message(
            "needs-choices",
            "the head of {model} chooses between texts: give two or more",
            model=loaded.name,
        )
        raise BadInput("choices", message)
    if classes.unit != "choice" and choices:
        message = Message(
            "takes-no-choices",
            "the head of {model} does not choose between texts",
            model=loaded.name,
        )
        raise BadInput("choices", message)


@torch.inference_mode()
def _logits(text: ReadText) -> Tensor:
    return class_logits(text.loaded, batch_of(text.loaded, text.sequences["source"]), text.x)


def read_by(text: ReadText, metric: ClassLogit) -> tuple[int, ...]:
    """The tokens whose last hidden states change the metric: found by its gradient, so that no
    head has to be known by its name."""
    with torch.inference_mode(False), torch.enable_grad():
        x = text.x.detach().clone().requires_grad_()
        (gradient,) = torch.autograd.grad(metric.of(text.loaded, x).sum(), x)
    sizes = gradient[0].abs().sum(-1)
    return tuple((sizes > LEAST_READ * sizes.max()).nonzero().flatten().tolist())


def row_read(attn: Tensor, reads: Sequence[int]) -> Tensor:
    """Attention (T,) of the tokens that the head reads, their mean: attn is (L, H, T, T)."""
    return attn[:, :, list(reads)].mean((0, 1, 2))
