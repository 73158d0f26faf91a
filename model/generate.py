"""Decoding: functions over a model."""

from __future__ import annotations

import torch
from torch import Tensor

from model.tape import Tape
from model.transformer import GPT, EncoderDecoder


def translate(
    model: EncoderDecoder,
    source: Tensor,
    *,
    begin: int,
    end: int,
    padding: Tensor | None = None,
    max_tokens: int | None = None,
    tape: Tape | None = None,
) -> list[list[int]]:
    """Greedy decoding: source (B, Tk) -> for each its target ids, without <s> and </s>.

    A tape may edit every step; what it would keep of so many steps is not asked for here.
    """
    limit = min(max_tokens or model.config.n_ctx, model.config.n_ctx) - 1
    memory = model.encode(source, tape, padding)
    ids = torch.full((source.size(0), 1), begin, device=source.device)
    done = torch.zeros(source.size(0), dtype=torch.bool, device=source.device)
    for _ in range(limit):
        best = model.decode(ids, memory, tape, padding)[:, -1].argmax(-1)
        best = best.masked_fill(done, end)
        ids = torch.cat([ids, best[:, None]], dim=1)
        done |= best == end
        if done.all():
            break
    return [[i for i in row[1:] if i != end] for row in ids.tolist()]


def generate(model: GPT, ids: Tensor, *, max_new_tokens: int) -> Tensor:
    """Greedy continuation with a KV cache: ids (1, T) -> (1, T + new)."""
    past = model.new_past()
    new = ids
    for _ in range(min(max_new_tokens, model.config.n_ctx - ids.size(1))):
        new = model(new, past=past)[:, -1].argmax(-1, keepdim=True)
        ids = torch.cat([ids, new], dim=1)
    return ids
