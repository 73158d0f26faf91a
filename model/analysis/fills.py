"""A very negative number in place of -inf: when a masked key gets attention all the same.

A masked key far below its row's largest score gets exactly 0, as half precision has nothing so
small; one that is not far enough below, or a row that is masked as a whole, has its share. Masks
are added to the scores as a rule, and what is added may be outweighed.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}
USUAL = -1e4  # what is usually taken in half precision


@dataclass(frozen=True)
class Fills:
    """Where `fill` leaks on one head's scores, in the precision `dtype`."""

    fill: float
    dtype: str
    reach: float  # a score is seen until it is this far below the largest of its row
    n_key: int
    blind: float  # to each key of a row that may look nowhere
    blind_infinity: float  # the same at -inf: 0 / 0
    by: float | None  # scores times this power of ten leak with `fill` added; None: none does
    leak: float | None  # what the masked keys of a row get then, at most
    lowest: float  # the least number of the precision
    added: float  # two masks that are added to the scores, at `fill` and at the least: their sum


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
        reach=-math.log(info.smallest_normal * info.eps / 2),  # half the least subnormal is 0
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
    """The first power of ten that lets a masked score outweigh `fill`, and what leaks then."""
    info = torch.finfo(dtype)
    for by in (10.0**power for power in range(8)):
        large = (scores * by).clamp(info.min, info.max).to(dtype)
        attn = torch.where(allowed, large, large + fill).softmax(-1)
        leak = attn.masked_fill(allowed, 0.0).sum(-1).max().item()
        if leak > 0.5:
            return by, leak
    return None, None
