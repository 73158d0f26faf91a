"""How much each head matters for what its model is trained to predict: Michel et al. 2019.

A head's output is multiplied by a gate, which is 1. Its importance is the size of the loss's slope
by the gate, |dm/dxi|, as a mean over held-out texts: of GPT the loss of the text, of a translator
that of the target, of BERT that of the masked tokens.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from attention_atlas.model.analysis import lab
from attention_atlas.model.analysis.lab import Metric, ReadText
from attention_atlas.model.analysis.lab_metrics import loss_of
from attention_atlas.model.analysis.statistics import Measure, mean
from attention_atlas.model.spec import Spec
from attention_atlas.model.training.bert_task import BertTask
from attention_atlas.model.training.gpt_task import GPTTask
from attention_atlas.model.training.task import Task
from attention_atlas.model.training.translator_task import TranslatorTask
from attention_atlas.model.training.word_quality import passages
from attention_atlas.model.zoo import Loaded
from torch import Tensor
from torch.nn import functional as F

N_TEXT = 64
LENGTH = 64  # tokens of a GPT's text
MASKED = 7  # each so many-th token of BERT's texts: 15 %


class MaskedLoss(NamedTuple):
    """The mean of -log p of the tokens that were masked."""

    places: tuple[int, ...]
    ids: tuple[int, ...]

    def of(self, loaded: Loaded, x: Tensor) -> Tensor:
        """Last hidden states (B, T, D) -> (B,)."""
        ids = torch.tensor(self.ids, device=x.device)
        logits = loaded.model.logits(x[:, list(self.places)]).float()
        return torch.stack([F.cross_entropy(row, ids) for row in logits])


def head_importance(loaded: Loaded, task: Task[Any], data: Path) -> dict[str, Measure]:
    """For each kind the largest head's importance, and by head that of all."""
    sizes: dict[str, list[Tensor]] = {}
    for text, metric in texts(loaded, task):
        for kind in loaded.kinds:
            given = lab.replacements("zero", kind, text)
            slopes = lab.first_order(text, metric, kind, given, "heads")
            sizes.setdefault(kind, []).append(slopes.abs())
    return {f"{kind}_head_importance": _measure(torch.stack(each)) for kind, each in sizes.items()}


def _measure(sizes: Tensor) -> Measure:
    """Of every head on every text (texts, L, H)."""
    means = sizes.mean(0)
    layer, head = divmod(int(means.argmax()), means.size(1))
    by = {
        f"L{i} H{j}": round(value, 4)
        for i, row in enumerate(means.tolist())
        for j, value in enumerate(row)
    }
    largest = mean(sizes[:, layer, head].tolist(), "held-out texts", f"L{layer} H{head}")
    return replace(largest, by=by, compare=f"mean of all heads: {means.mean():.4f}")


def texts(loaded: Loaded, task: Task[Any]) -> Iterator[tuple[ReadText, Metric]]:
    """Held-out texts, the same at each call, and the loss of each."""
    if isinstance(task, BertTask):
        for passage in passages(task.held_out_documents, N_TEXT):
            yield masked(loaded, passage.text)
        return
    for spec in _specs(task):
        text = lab.text_of(loaded, spec)
        yield text, loss_of(text)


def _specs(task: Task[Any]) -> Iterator[Spec]:
    rng, decode = np.random.default_rng(5), task.tokenizer.decode
    if isinstance(task, GPTTask):
        for _ in range(N_TEXT if len(task.dev) > LENGTH else 0):
            start = int(rng.integers(0, len(task.dev) - LENGTH))
            yield Spec(decode(task.dev[start : start + LENGTH].tolist()))
    if isinstance(task, TranslatorTask):
        for i in sorted(rng.permutation(len(task.dev))[:N_TEXT]):
            source, target = (decode(ids.tolist()) for ids in task.dev[i])
            yield Spec(source, target=target)


def masked(loaded: Loaded, words: str) -> tuple[ReadText, MaskedLoss]:
    """A text with some of its tokens masked, and the loss of these."""
    tokens = loaded.tokenizer.encode(words)[: loaded.config.n_ctx]
    plain = [i for i, token in enumerate(tokens) if not token.special]
    places = tuple(plain[MASKED // 2 :: MASKED] or plain[:1])
    mask = loaded.tokenizer.mask_id
    assert mask is not None
    blanked = tuple(
        token._replace(id=mask) if i in places else token for i, token in enumerate(tokens)
    )
    text = lab.text_of_tokens(loaded, {"source": blanked})
    return text, MaskedLoss(places, tuple(tokens[i].id for i in places))
