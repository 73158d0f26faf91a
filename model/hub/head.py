"""A model's head, run by itself on hidden states: its base answers with what it is given."""

from __future__ import annotations

from collections.abc import Iterable
from contextvars import ContextVar
from typing import Any

import torch
from attention_atlas.model.hub.stacks import base_of, decoder_of, encoder_width
from torch import Tensor, nn


class Output:
    """A base model's output made up from its last hidden state: all else is None."""

    def __init__(self, x: Tensor, pooled: Tensor | None = None) -> None:
        self.last_hidden_state = x
        self.pooler_output = pooled

    def __getitem__(self, index: Any) -> Any:
        return (self.last_hidden_state, self.pooler_output)[index]

    def __len__(self) -> int:
        return 1

    def __getattr__(self, name: str) -> None:
        return None


class Head:
    """The head of a model with one or two stacks. Threads may share it."""

    def __init__(self, model: Any, *, has_target: bool) -> None:
        self.model = model
        self.has_target = has_target
        self._given: ContextVar[Output | None] = ContextVar("given", default=None)
        bases = [decoder_of(model)] if has_target else _bases(model)
        for base in bases:
            self._let_answer(base)

    def __call__(self, x: Tensor, pooled: Tensor, ids: Tensor | None = None) -> Any:
        """The output of the whole model for the hidden states (1, N, D) of its base. Some heads
        look in the ids for the last token that is no padding."""
        if ids is None:
            ids = torch.zeros(x.shape[:2], dtype=torch.long, device=x.device)
        inputs: dict[str, Any] = {"input_ids": self.whole(ids)}
        if self.has_target:
            memory = x.new_zeros(1, 1, encoder_width(self.model, x.size(-1)))
            inputs = {"decoder_input_ids": ids, "encoder_outputs": Output(memory)}
        token = self._given.set(Output(x, pooled))
        try:
            return self.model(**inputs)
        finally:
            self._given.reset(token)

    def whole(self, ids: Tensor) -> Tensor:
        """Ids (1, T) as the whole model takes them: a text may be one of several choices."""
        return ids[:, None] if type(self.model).__name__.endswith("ForMultipleChoice") else ids

    def logits(self, x: Tensor) -> Tensor:
        """(..., D) -> (..., V)"""
        flat = x.reshape(1, -1, x.size(-1))  # (1, N, D)
        pooled = x.new_zeros(1, x.size(-1))  # a pretraining head asks for it too
        return predicted(self(flat, pooled)).float().view(*x.shape[:-1], -1)

    def label_logits(self, ids: Tensor, x: Tensor) -> Tensor:
        """Of a text's labels: ids (1, T), x (1, T, D) -> (n,), (T, n) or (2, T)."""
        pooler = getattr(base_of(self.model), "pooler", None)
        pooled = pooler(x) if callable(pooler) else x.new_zeros(1, x.size(-1))
        return labelled(self(x, pooled, ids))

    def _let_answer(self, base: Any) -> None:
        """Let `base` answer with an output that is given."""
        forward = base.forward
        base.forward = lambda *args, **inputs: self._given.get() or forward(*args, **inputs)


def labelled(output: Any) -> Tensor:
    """The logits of labels in a model's output: (n,), (T, n) or (2, T)."""
    if getattr(output, "start_logits", None) is not None:
        return torch.cat([output.start_logits, output.end_logits]).float()
    return output.logits[0].float()


def predicted(output: Any) -> Tensor:
    """The logits of words in a model's output."""
    logits = getattr(output, "logits", None)
    return output.prediction_logits if logits is None else logits


def _bases(model: Any) -> Iterable[nn.Module]:
    """What a head asks for the hidden states; none, if the model is all base."""
    base = base_of(model)
    if base is model:
        return []
    inner = model.get_decoder()  # OPT's head asks this one, past its base
    return {base, inner} if inner in set(base.modules()) else {base}
