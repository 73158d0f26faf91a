"""A padded batch and its masks as the API says them."""

from __future__ import annotations

import math
from dataclasses import asdict

import torch
from attention_atlas.app.api.common import labels
from attention_atlas.app.api.spec import MasksRequest
from attention_atlas.app.service import Service
from attention_atlas.app.wire import Answer
from attention_atlas.model.analysis.fills import Fills


def masks_answer(service: Service, asked: MasksRequest) -> Answer:
    """What padding and causal masks do to one head's scores, text by text."""
    found = service.masks(asked)
    real_q, real_k = found.q.real.cpu(), found.k.real.cpu()
    hidden = found.attn.masked_fill(found.combined, 0.0)  # what goes where it may not
    to_padding = found.attn.masked_fill(real_k[:, None], 0.0).sum(-1)  # (B, Tq)
    n_query = real_q.sum(-1)
    fields = {
        "model": asked.model,
        "texts": list(asked.texts),
        "kind": found.kind,
        "layer": asked.layer,
        "head": asked.head,
        "pad": found.k.pad,
        "q_tokens": [labels(tokens) for tokens in found.q.tokens],
        "k_tokens": [labels(tokens) for tokens in found.k.tokens],
        "losses": found.losses,
        "fills": _fills(found.fills),
        "leak": (hidden.sum(-1) * real_q).max().item(),
        "pad_attention": ((to_padding * real_q).sum(-1) / n_query).tolist(),
        "provenance": service.provenance(asked.model).model_dump(),
    }
    causal = {} if found.causal is None else {"causal": found.causal.cpu()}
    tensors = {
        "ids": found.k.ids.cpu().to(torch.int32),
        "padding": real_k,
        **causal,
        "combined": found.combined,
        "scores": found.scores,
        "masked": found.masked,
        "attn": found.attn,
        "row_sums": found.attn.sum(-1),
    }
    absent = {} if causal else {"causal": None}
    return Answer(fields | absent, {name: tensor.numpy() for name, tensor in tensors.items()})


def _fills(found: Fills) -> dict[str, float | str | None]:
    """What JSON has no number for, NaN and -inf, is null."""
    return {
        name: None if isinstance(value, float) and not math.isfinite(value) else value
        for name, value in asdict(found).items()
    }
