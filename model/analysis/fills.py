"""A large negative number instead of -inf for masking: when do masked keys get attention?

A masked score far below the largest of its row gets exactly 0 in half precision. It gets more if
the difference is too small, or if its whole row is masked. Such masks are usually added to the
scores, and a large score can outweigh the added number.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}
USUAL = -1e4  # the usual choice in half precision


@dataclass(frozen=True)
class Fills:
    """When `fill` gives masked keys attention, for one head's scores in the precision `dtype`."""

    fill: float
    dtype: str
    reach: float  # a score this far below the largest of its row gets exactly 0
    n_key: int
    blind: float  # attention to each key in a row that is masked as a whole
    blind_infinity: float  # the same with -inf: 0 / 0
    by: float | None  # scores times this power of ten outweigh `fill`; None: no power tried does
    leak: float | None  # the largest attention to the masked keys of a row then
    lowest: float  # the smallest number of the precision
    added: float  # `fill` plus `lowest`: the sum of two masks that are added to the scores


def fills(scores: Tensor, allowed: Tensor, fill: float, dtype: str) -> Fills:
    """scores and allowed (B, Tq, Tk)."""
    precision, n = DTYPES[dtype], scores.size(-1)
    info = torch.finfo(precision)
    blind, infinite = (
        torch.full((n,), number, dtype=precision).softmax(-1)[0].item()
        for number in (fill, -math.inf)
    )
    by, leak = _leak(scores, allowed, fill, precision)
    return Fills(
        fill=fill,
        dtype=dtype,
        reach=-math.log(info.smallest_normal * info.eps / 2),  # half the smallest subnormal
        n_key=n,
        blind=blind,
        blind_infinity=infinite,
        by=by,
        leak=leak,
        lowest=info.min,
        added=(torch.tensor(info.min, dtype=precision) + fill).item(),
    )


def _leak(
    scores: Tensor, allowed: Tensor, fill: float, dtype: torch.dtype
) -> tuple[float, float] | tuple[None, None]:
    """The smallest power of ten with which scores outweigh `fill`; attention to masked keys."""
    info = torch.finfo(dtype)
    for by in (10.0**power for power in range(8)):
        large = (scores * by).clamp(info.min, info.max).to(dtype)
        attn = torch.where(allowed, large, large + fill).softmax(-1)
        leak = attn.masked_fill(allowed, 0.0).sum(-1).max().item()
        if leak > 0.5:
            return by, leak
    return None, None
