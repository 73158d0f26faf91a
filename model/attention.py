"""Scaled dot-product attention: computed, recorded and edited in this file and nowhere else.

Attention(Q, K, V) = softmax(Q K^T / sqrt(d_k)) V        Vaswani et al. 2017, equation 1

`weigh` is the softmax, `attend` the whole. Shapes in the margin: B batch, H heads, Tq queries,
Tk keys, d the width of a head.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import NamedTuple

import torch
from attention_atlas.model.tape import Track
from torch import Tensor
from torch.nn import functional as F

Score = Callable[[Tensor, Tensor], Tensor]  # q (B, H, Tq, d), k (B, H, Tk, d) -> (B, H, Tq, Tk)
Edit = Callable[[Tensor], Tensor]  # of the scores
Pick = Callable[[Tensor], Tensor]  # (B, H, ...) -> some of its heads


class Scoring(NamedTuple):
    """How queries are compared with keys; the default is equation 1.

    `bias`, which broadcasts to (B, H, Tq, Tk), is added to the scores: relative positions (Raffel
    et al. 2020), ALiBi. `score` replaces the scaled dot product: Bahdanau et al. 2015.
    """

    scale: float | None = None  # None: 1 / sqrt(d)
    bias: Tensor | None = None
    score: Score | None = None


DOT_PRODUCT = Scoring()
VISIT = 2**19  # numbers: the attention of a few heads that stays in a processor's cache
# The kernel that `scaled_dot_product_attention` takes on a processor, with what it returns besides
FUSED_ON_CPU = getattr(torch.ops.aten, "_scaled_dot_product_flash_attention_for_cpu", None)


def weigh(
    q: Tensor,
    k: Tensor,
    mask: Tensor | None = None,
    scoring: Scoring = DOT_PRODUCT,
    edit: Edit | None = None,
) -> tuple[Tensor, Tensor]:
    """softmax(Q K^T / sqrt(d_k)): q (B, H, Tq, d), k (B, H, Tk, d) -> scores, attn (B, H, Tq, Tk).

    `mask` is bool, True where attention is allowed, and broadcasts to (B, H, Tq, Tk). A query that
    may not attend to any key has attention 0 to all of them. `edit` changes the scores before the
    mask. In half precision the softmax is computed in float32.
    """
    scale = q.size(-1) ** -0.5 if scoring.scale is None else scoring.scale
    scores = scoring.score(q, k) if scoring.score else q @ k.transpose(-2, -1) * scale
    scores = scores.float() if scoring.bias is None else scores.float() + scoring.bias
    scores = scores if edit is None else edit(scores)
    if mask is not None:
        scores = scores.masked_fill(~mask, -torch.inf)
    attn = scores.softmax(dim=-1)  # (B, H, Tq, Tk), rows sum to 1, before dropout
    if mask is not None and (no_key := ~mask.any(-1, keepdim=True)).any():
        attn = attn.masked_fill(no_key, 0.0)
    return scores, attn


def attend(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    *,
    mask: Tensor | None = None,
    scoring: Scoring = DOT_PRODUCT,
    dropout: float | None = None,
    track: Track | None = None,
) -> Tensor:
    """softmax(Q K^T / sqrt(d_k)) V: q (B, H, Tq, d), k and v (B, H, Tk, d) -> z (B, H, Tq, d).

    `mask` and `scoring` are those of `weigh`. `dropout` is the share of weights dropped in
    training, None outside training. What a track records is taken before dropout, so its rows
    sum to 1. A track without edits does not change z in any bit.
    """
    if track is not None and (track.edits or scoring.score is not None):
        return _written_out(q, k, v, mask, scoring, dropout, track)
    if dropout is not None and q.device.type == "cpu":
        z = _for_training_on_a_processor(q, k, v, mask, scoring, dropout)
    elif scoring.score is None:
        if track is not None and track.takes("log_attn") and _has_sums(q, v):
            return _fused_with_sums(q, k, v, mask, scoring, track)
        z = _fused(q, k, v, mask, scoring, dropout)
    else:
        z = _mix(weigh(q, k, mask, scoring)[1], v, dropout)
    if track is not None and track.wanted:
        _record(q, k, v, z, mask, scoring, track)
    return z


def _mix(attn: Tensor, v: Tensor, dropout: float | None) -> Tensor:
    """The product with V: attn (B, H, Tq, Tk), v (B, H, Tk, d) -> z (B, H, Tq, d)."""
    return (attn if dropout is None else F.dropout(attn, dropout)).to(v.dtype) @ v


def _written_out(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    mask: Tensor | None,
    scoring: Scoring,
    dropout: float | None,
    track: Track,
) -> Tensor:
    """Equation 1 step by step, with the track's edits between the steps."""
    q, k, v = track.edit_inputs(q, k, v)
    mask = track.edit_mask(mask, q, k)
    scores, attn = weigh(q, k, mask, scoring, edit=track.edit_scores)
    attn = track.edit_attn(attn, mask)
    z = track.edit_z(_mix(attn, v, dropout))
    track.keep({"q": q, "k": k, "v": v, "z": z, "attn": attn} | _scored(mask, scoring, scores))
    return z


def _fused(
    q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, scoring: Scoring, dropout: float | None
) -> Tensor:
    """One kernel that never holds all of `attn`. It takes a mask or a bias that is -inf there."""
    added = mask if scoring.bias is None else _added(mask, scoring.bias)
    return F.scaled_dot_product_attention(
        q, k, v, attn_mask=added, dropout_p=dropout or 0.0, scale=scoring.scale
    )


def _added(mask: Tensor | None, bias: Tensor) -> Tensor:
    """What is added to the scores: the bias, and -inf where the mask is False."""
    return bias if mask is None else bias.masked_fill(~mask, -torch.inf)


def _has_sums(q: Tensor, v: Tensor) -> bool:
    """Whether the fused kernel for this device and type can be asked for its log-sum-exp."""
    is_usual = q.device.type == "cpu" and q.dtype == torch.float32
    return FUSED_ON_CPU is not None and is_usual and q.size(-1) == v.size(-1)


def _fused_with_sums(
    q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, scoring: Scoring, track: Track
) -> Tensor:
    """The fused kernel, and from its log-sum-exp of each row log attn, of a few heads at a time.

    log attn = Q K^T / sqrt(d_k) - log sum exp: no softmax is computed again. The subtraction is
    a further column of Q, against ones in K.
    """
    added = scoring.bias
    if mask is not None:
        added = _added(mask, q.new_zeros(()).expand(mask.shape) if added is None else added)
    assert FUSED_ON_CPU is not None
    z, sums = FUSED_ON_CPU(q, k, v, 0.0, False, attn_mask=added, scale=scoring.scale)
    scale = q.size(-1) ** -0.5 if scoring.scale is None else scoring.scale
    wide_q = torch.cat([q * scale, -sums[..., None]], -1)  # (B, H, Tq, d + 1)
    wide_k = torch.cat([k, torch.ones_like(k[..., :1])], -1).transpose(-2, -1)

    def log_attn(pick: Pick) -> dict[str, Tensor]:
        log_attn = pick(wide_q) @ pick(wide_k)
        if added is not None:
            log_attn += pick(added)
        return {"log_attn": log_attn} | _masked(None if mask is None else pick(mask), log_attn)

    track.gather(map(log_attn, _visits(q, k, track)))
    return z


def _visits(q: Tensor, k: Tensor, track: Track) -> Iterator[Pick]:
    """The heads that a digest is given at a time: as many as have VISIT numbers or fewer."""
    heads = range(q.size(1)) if track.tape.heads is None else track.tape.heads
    n = max(1, VISIT // max(1, q.size(0) * q.size(-2) * k.size(-2)))
    for first in range(0, len(heads), n):
        yield partial(_some_heads, heads=heads[first : first + n])


def _record(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    z: Tensor,
    mask: Tensor | None,
    scoring: Scoring,
    track: Track,
) -> None:
    """What the fused kernel does not return, computed by `weigh` for the track's heads alone.

    For a tape with a digest, a few heads at a time.
    """

    def quantities(pick: Pick) -> dict[str, Tensor]:
        picked = {"q": pick(q), "k": pick(k), "v": pick(v), "z": pick(z)}
        allowed = None if mask is None else pick(mask)
        bias = None if scoring.bias is None else pick(scoring.bias)
        scores, attn = weigh(picked["q"], picked["k"], allowed, scoring._replace(bias=bias))
        return picked | {"attn": attn} | _scored(allowed, Scoring(bias=bias), scores)

    if track.tape.digest is None:
        track.keep(quantities(track.chosen), chosen=True)
    else:
        track.gather(map(quantities, _visits(q, k, track)))


def _some_heads(x: Tensor, heads: Sequence[int]) -> Tensor:
    """(B, H, ...) -> (B, h, ...); what all heads share, as it is."""
    if x.ndim < 4 or x.size(1) == 1:
        return x
    return x[:, heads.start : heads.stop] if isinstance(heads, range) else x[:, list(heads)]


def _scored(mask: Tensor | None, scoring: Scoring, scores: Tensor) -> dict[str, Tensor]:
    """The scores with the mask and the bias that went into them, which are views, not copies."""
    bias = {} if scoring.bias is None else {"bias": scoring.bias.expand(scores.shape)}
    return {"scores": scores} | _masked(mask, scores) | bias


def _masked(mask: Tensor | None, scores: Tensor) -> dict[str, Tensor]:
    """The mask with both token axes, (1 or B, 1 or H, Tq, Tk); a view, not a copy."""
    mask = torch.ones((), dtype=torch.bool, device=scores.device) if mask is None else mask
    while mask.ndim < 4:
        mask = mask[None]
    return {"mask": mask.expand(-1, -1, *scores.shape[-2:])}


def _for_training_on_a_processor(
    q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, scoring: Scoring, dropout: float
) -> Tensor:
    """The same z, faster in training: on a processor the fused kernel's backward pass is slow.

    Measured forward and backward in bfloat16, one thread, 4,096 tokens, 8 heads: sequences of
    32 tokens 12 against 68 ms, 128 tokens 24 against 92, 256 tokens 44 against 81.
    """
    scale = q.size(-1) ** -0.5 if scoring.scale is None else scoring.scale
    scores = scoring.score(q, k) if scoring.score else q * scale @ k.transpose(-2, -1)
    scores = scores if scoring.bias is None else scores + scoring.bias
    if mask is not None:
        scores = scores.masked_fill(~mask, torch.finfo(scores.dtype).min)
    with torch.autocast("cpu", enabled=False):  # bfloat16 stays bfloat16
        attn = scores.softmax(dim=-1)
    z = F.dropout(attn, dropout) @ v
    return z if mask is None else z.masked_fill(~mask.any(-1, keepdim=True), 0.0)
