"""Scaled dot-product attention, the one place where attention is computed, recorded and edited.

Attention(Q, K, V) = softmax(Q K^T / sqrt(d_k)) V        Vaswani et al. 2017, equation 1
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from model.tape import Track


def attend(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    *,
    mask: Tensor | None = None,
    scale: float | None = None,
    dropout: float = 0.0,
    track: Track | None = None,
) -> Tensor:
    """q (B, H, Tq, d), k and v (B, H, Tk, d) -> z (B, H, Tq, d).

    `mask` is bool, True where looking is allowed, and broadcasts to (B, H, Tq, Tk).
    A query that may look nowhere attends to nothing: its row is 0, and so is its z.
    Without a track, or with one that only looks, z comes from the fused kernel: looking changes
    nothing. What a track keeps is taken before dropout, so its rows sum to 1.
    """
    scale = q.size(-1) ** -0.5 if scale is None else scale
    fused = track is None or not track.edits
    if fused:
        z = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, dropout_p=dropout, scale=scale)
    if track is None:
        return z

    allowed = torch.ones((), dtype=torch.bool, device=q.device) if mask is None else mask
    allowed = track.edit_mask(allowed.expand(*q.shape[:-1], k.size(-2)))  # (B, H, Tq, Tk)
    scores = track.edit_scores(q @ k.transpose(-2, -1) * scale)
    scores = scores.masked_fill(~allowed, -torch.inf)
    attn = scores.softmax(dim=-1).masked_fill(~allowed.any(-1, keepdim=True), 0.0)
    attn = track.edit_attn(attn, allowed)  # rows sum to 1, before dropout
    if not fused:
        z = track.edit_z(F.dropout(attn, dropout) @ v)  # (B, H, Tq, d)
    kept = {"q": q, "k": k, "v": v, "mask": allowed, "scores": scores, "attn": attn, "z": z}
    track.keep(**kept)  # only what the tape asked for
    return z
