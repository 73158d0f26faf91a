"""One number per head: attention (L, H, Tq, Tk) -> (L, H). Formulas after Clark et al. 2019."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from attention_atlas.model.record import AttentionRecord, Token
from attention_atlas.model.tape import Kind
from torch import Tensor

Metric = Callable[[Tensor], Tensor]


def entropy(attn: Tensor) -> Tensor:
    """Mean over queries of -sum a log a, in nats: 0 for one key, log Tk for all keys equally."""
    return torch.special.entr(attn).sum(-1).mean(-1)


def distance(attn: Tensor) -> Tensor:
    """Mean over queries of the attended distance |q - k|, in tokens."""
    Tq, Tk = attn.shape[-2:]
    q = torch.arange(Tq, device=attn.device)[:, None]
    k = torch.arange(Tk, device=attn.device)
    return (attn * (q - k).abs()).sum(-1).mean(-1)


def previous_token(attn: Tensor) -> Tensor:
    """Mean attention from a token to the one before it; the first token has none."""
    return _diagonal(attn, -1)


def self_token(attn: Tensor) -> Tensor:
    """Mean attention from a token to itself."""
    return _diagonal(attn, 0)


def next_token(attn: Tensor) -> Tensor:
    """Mean attention from a token to the one after it; the last token has none."""
    return _diagonal(attn, 1)


def first_token(attn: Tensor) -> Tensor:
    """Mean attention to the first token, often a sink."""
    return attn[..., 0].mean(-1)


def induction(attn: Tensor, period: int) -> Tensor:
    """Mean attention from a token to the one after its earlier copy (Olsson et al. 2022).

    `attn` is of a segment of `period` random tokens, repeated once; the mean is over the tokens
    of the repetition, each of which has exactly one such key: 1 is perfect.
    """
    Tq, Tk = attn.shape[-2:]
    if Tq != Tk or Tq != 2 * period:
        raise ValueError(f"{period} tokens repeated once are {2 * period}, not {Tq} and {Tk}")
    return _diagonal(attn[..., period:, :], 1)


def _diagonal(attn: Tensor, offset: int) -> Tensor:
    """Mean of A[q, q + offset]; 0 where the text is too short to have one."""
    values = attn.diagonal(offset, dim1=-2, dim2=-1)
    return values.mean(-1) if values.size(-1) else attn.new_zeros(attn.shape[:-2])


def special(attn: Tensor, key_is_special: Tensor) -> Tensor:
    """Mean attention to the special tokens: [CLS], [SEP], <s> and the like."""
    return attn[..., key_is_special].sum(-1).mean(-1)


def measured(record: AttentionRecord) -> dict[str, Tensor]:
    """Every metric that is defined for this record, each (L, H).

    Distance, previous token, next token and self are not defined between two sequences.
    """
    return measured_heads(record.attn, record.kind, record.k_tokens)


def measured_heads(attn: Tensor, kind: Kind, k_tokens: Sequence[Token]) -> dict[str, Tensor]:
    """`measured` for attention (..., Tq, Tk) of a kind, with the tokens of its keys: each (...)."""
    names = [name for name in METRICS if kind != "cross" or name not in OF_ONE_SEQUENCE]
    is_special = torch.tensor([token.special for token in k_tokens], device=attn.device)
    return {name: METRICS[name](attn) for name in names} | {"special": special(attn, is_special)}


def definitions() -> dict[str, str]:
    """One sentence for each metric: the first line of its docstring."""
    every: dict[str, Callable[..., Tensor]] = {**METRICS, "special": special}
    return {name: (metric.__doc__ or "").split("\n")[0] for name, metric in every.items()}


METRICS: dict[str, Metric] = {
    "entropy": entropy,
    "distance": distance,
    "previous_token": previous_token,
    "self": self_token,
    "next_token": next_token,
    "first_token": first_token,
}
OF_ONE_SEQUENCE = ("distance", "previous_token", "self", "next_token")
