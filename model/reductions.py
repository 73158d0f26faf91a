"""Reductions of attention: over heads, layers and pieces of words; without special tokens."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch
from attention_atlas.model.messages import Message, Refused
from attention_atlas.model.record import AttentionRecord, Token, collapsed
from attention_atlas.model.words import groups, merged
from torch import Tensor


def mean_heads(attn: Tensor) -> Tensor:
    """The mean over heads: (L, H, Tq, Tk) -> (L, 1, Tq, Tk)."""
    return attn.mean(1, keepdim=True)


def max_heads(attn: Tensor) -> Tensor:
    """The largest over heads: (L, H, Tq, Tk) -> (L, 1, Tq, Tk). Rows need not sum to 1."""
    return attn.amax(1, keepdim=True)


def rollout(attn: Tensor) -> Tensor:
    """Attention rollout (Abnar & Zuidema 2020): (L, H, T, T) -> (1, 1, T, T).

    Each layer is half attention, half residual stream, from layer 0 on. Under a causal mask the
    product stays lower triangular and its rows sum to 1; no further correction is made.
    """
    eye = torch.eye(attn.size(-1), dtype=attn.dtype, device=attn.device)
    out = eye
    for layer in attn.mean(1):
        out = (layer + eye) / 2 @ out
    return out[None, None]


REDUCTIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "mean_heads": mean_heads,
    "max_heads": max_heads,
    "rollout": rollout,
}


def reduced(record: AttentionRecord, name: str) -> AttentionRecord:
    """One of REDUCTIONS over the record's layers and heads."""
    if name == "rollout" and record.kind == "cross":
        raise Refused(
            Message(
                "not-for-cross", "rollout follows self-attention; cross attention has two sequences"
            )
        )
    if name == "rollout" and record.layers != tuple(range(len(record.layers))):
        layers = ", ".join(map(str, record.layers))
        raise Refused(
            Message(
                "needs-every-layer",
                "rollout needs every layer from layer 0 on; it was given {value}",
                value=layers,
            )
        )
    attn = REDUCTIONS[name](record.attn)
    mask = record.mask.any(1, keepdim=True)
    if name == "rollout":
        mask = mask.any(0, keepdim=True)
    return replace(record, attn=attn, mask=mask, reduce=name)


def reshaped(
    record: AttentionRecord, *, reduce: str = "none", merge: str = "none", special: str = "keep"
) -> AttentionRecord:
    """A record reduced, in words or tokens, with or without its special tokens.

    Words come before a reduction over heads, because the largest of sums is not a sum of the
    largest. Rollout multiplies layers token by token, so it comes before words.
    """
    if merge == "words" and reduce != "rollout":
        record = words(record)
    if reduce != "none":
        record = reduced(record, reduce)
    if merge == "words" and reduce == "rollout":
        record = words(record)
    if special != "keep":
        record = without_special(record, renormalise=special == "renormalise")
    return record


def largest_keys(attn: Tensor) -> list[tuple[int, float]]:
    """For each query the key with the most attention, and how much: (Tq, Tk) -> Tq pairs."""
    if not attn.numel():
        return []
    best = attn.max(-1)
    return list(zip(best.indices.tolist(), best.values.tolist(), strict=True))


def selected(
    record: AttentionRecord, layers: tuple[int, ...] | None, heads: tuple[int, ...] | None
) -> AttentionRecord:
    """Some layers and heads of a record, in the given order; None is all, without a copy."""
    attn, mask = record.attn, record.mask
    if layers is not None:
        index = [record.layers.index(layer) for layer in layers]
        attn, mask = attn[index], mask[index] if mask.size(0) > 1 else mask
    if heads is not None:
        index = [record.heads.index(head) for head in heads]
        attn, mask = attn[:, index], mask[:, index] if mask.size(1) > 1 else mask
    return replace(
        record,
        attn=attn,
        mask=collapsed(mask),
        layers=layers or record.layers,
        heads=heads or record.heads,
    )


def words(record: AttentionRecord) -> AttentionRecord:
    """Attention between words: the sum over the pieces of a key, the mean over those of a query.

    A token that belongs to no word, such as [CLS], stays as it is.
    """
    q, k = groups(record.q_tokens), groups(record.k_tokens)
    attn = merged(record.attn, q, k)
    mask = merged(record.mask.to(record.attn.dtype), q, k) > 0
    q_tokens, k_tokens = (
        tuple(_word([tokens[i] for i in group]) for group in grouped)
        for tokens, grouped in ((record.q_tokens, q), (record.k_tokens, k))
    )
    return replace(record, attn=attn, mask=mask, q_tokens=q_tokens, k_tokens=k_tokens)


def without_special(record: AttentionRecord, *, renormalise: bool) -> AttentionRecord:
    """Without the rows and columns of special tokens; `renormalise` makes rows sum to 1 again."""
    q, q_tokens = _ordinary(record.q_tokens)
    k, k_tokens = _ordinary(record.k_tokens)
    attn = record.attn[..., q, :][..., k]
    if renormalise:
        total = attn.sum(-1, keepdim=True)
        attn = attn / total.where(total > 0, 1.0)
    mask = record.mask[..., q, :][..., k]
    return replace(record, attn=attn, mask=mask, q_tokens=q_tokens, k_tokens=k_tokens)


def thumbnails(record: AttentionRecord, size: int) -> tuple[Tensor, Tensor, tuple[int, int]]:
    """Block maxima of attention and mask, at most `size` cells a side, and the block's size."""
    block = block_of(record.attn.size(-2), record.attn.size(-1), size)
    return blocks(record.attn, block), blocks(record.mask, block), block


def block_of(Tq: int, Tk: int, size: int) -> tuple[int, int]:
    """How many query and key tokens one cell covers, for at most `size` cells a side."""
    return -(-Tq // size), -(-Tk // size)


def blocks(x: Tensor, block: tuple[int, ...]) -> Tensor:
    """(..., Tq, Tk) -> the maximum of each block; the last blocks may be smaller."""
    for axis, n in zip((-2, -1), block, strict=True):
        if n == 1:
            continue
        full = x.size(axis) // n * n
        shape = list(x.shape)
        shape[axis : axis + 1 or None] = [full // n, n]
        cells = x.narrow(axis, 0, full).reshape(shape).amax(axis)
        rest = x.narrow(axis, full, x.size(axis) - full)
        x = torch.cat([cells, rest.amax(axis, keepdim=True)], axis) if rest.size(axis) else cells
    return x


def _word(pieces: list[Token]) -> Token:
    """Several pieces as one token. Characters that two pieces share occur once in its text."""
    text, end = pieces[0].text, pieces[0].end
    for piece in pieces[1:]:
        n_new = piece.end - max(end, piece.start)  # characters after the pieces before it
        text += piece.text[-n_new:] if n_new > 0 else ""
        end = max(end, piece.end)
    unknown = any(piece.unknown for piece in pieces)
    raw = " ".join(piece.raw for piece in pieces)
    return pieces[0]._replace(raw=raw, text=text, end=end, unknown=unknown)


def _ordinary(tokens: tuple[Token, ...]) -> tuple[list[int], tuple[Token, ...]]:
    index = [i for i, token in enumerate(tokens) if not token.special]
    return index, tuple(tokens[i] for i in index)
