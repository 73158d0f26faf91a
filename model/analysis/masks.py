"""Padding and causal masks of a batch of texts, in the scores of one head."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from attention_atlas.model.analysis.fills import DTYPES, USUAL, Fill, Fills, fills
from attention_atlas.model.messages import Message
from attention_atlas.model.protocol import Batch
from attention_atlas.model.record import Token
from attention_atlas.model.run import decoded
from attention_atlas.model.spec import BadInput, beginning, check_has, check_heads, frame, tokenize
from attention_atlas.model.tape import Attended, Edit, Kind, Quantity, Tape
from attention_atlas.model.transformer import causal_mask
from attention_atlas.model.zoo import Loaded
from torch import Tensor
from torch.nn import functional as F

KEEP: tuple[Quantity, ...] = ("q", "k", "bias", "mask", "attn")


@dataclass(frozen=True)
class Padded:
    """Token sequences of different lengths as one batch, padded with a padding token."""

    tokens: list[tuple[Token, ...]]
    ids: Tensor  # (B, T)
    types: Tensor | None  # (B, T): token types, if the model's tokenizer gives any
    real: Tensor  # (B, T) bool, False at padding
    pad: str  # the padding token in the vocabulary's spelling


@dataclass(frozen=True)
class Masks:
    """One head of one layer for each text of a batch. A mask is True where attention is allowed."""

    kind: Kind
    q: Padded
    k: Padded
    causal: Tensor | None  # (Tq, Tk), all True if switched off; None if the kind has none
    combined: Tensor  # (B, Tq, Tk), the masks that are not switched off
    own: Tensor  # (B, Tq, Tk), all masks of the model
    scores: Tensor  # (B, Tq, Tk), before the mask
    masked: Tensor  # (B, Tq, Tk), -inf or `fill` where masked
    attn: Tensor  # (B, Tq, Tk)
    losses: dict[str, float]  # of the next token, causal mask "on" and "off"; of decoders only
    fills: Fills  # when a number instead of -inf gives masked keys attention

    @property
    def leak(self) -> float:
        """The largest attention of a query that is not padding to keys that the model masks."""
        to_masked = self.attn.masked_fill(self.own, 0.0).sum(-1)  # (B, Tq)
        return (to_masked * self.q.real.cpu()).max().item()

    @property
    def to_padding(self) -> Tensor:
        """The attention to padding, mean over each text's queries: (B,)."""
        real_q, real_k = self.q.real.cpu(), self.k.real.cpu()
        to_padding = self.attn.masked_fill(real_k[:, None], 0.0).sum(-1)  # (B, Tq)
        return (to_padding * real_q).sum(-1) / real_q.sum(-1)


@torch.inference_mode()
def masks(
    loaded: Loaded,
    texts: Sequence[str],
    *,
    kind: Kind | None,
    layer: int,
    head: int,
    off: Sequence[str] = (),
    fill: Fill | None = None,
) -> Masks:
    """`off` names masks that are switched off in every layer: "causal", "padding".

    `fill` replaces -inf in this head's scores.
    """
    kind = kind or loaded.kinds[0]
    _check(loaded, kind, layer, head)
    source = padded(loaded, [tokenize(loaded, text) for text in texts])
    tape = Tape(KEEP, (kind,), (layer,), (head,))
    target = _run(loaded, source, off, tape)
    step = next(iter(tape))
    q, k = {"encoder": (source, source), "cross": (target, source)}.get(kind, (target, target))
    Tq, Tk = q.ids.size(1), k.ids.size(1)
    causal = causal_mask(Tq, Tk, k.ids.device) if kind == "decoder" else None
    own = k.real[:, None].expand(-1, Tq, Tk)
    own = own if causal is None else own & causal
    scores = unmasked(loaded, step)[:, 0]
    allowed = step.mask[:, 0].expand(len(texts), Tq, Tk)
    own = own if off else own & allowed  # a sliding window is a mask too
    if causal is not None and "causal" in off:
        causal = torch.ones_like(causal)
    masked, attn = scores.masked_fill(~allowed, -torch.inf), step.attn[:, 0]
    if fill is not None:
        masked = scores.to(DTYPES[fill.dtype]).masked_fill(~allowed, fill.value)
        attn = masked.softmax(-1)
    leaks = fills(scores, allowed, *(USUAL if fill is None else fill))
    losses = _losses(loaded, source) if "next-token" in loaded.tasks else {}
    tensors = [allowed, own, scores, masked.float(), attn.float()]
    combined, own, scores, masked, attn = (tensor.cpu() for tensor in tensors)
    return Masks(kind, q, k, causal, combined, own, scores, masked, attn, losses, leaks)


def _check(loaded: Loaded, kind: Kind, layer: int, head: int) -> None:
    """Refuse a model without masks, and a head that it does not have."""
    if not loaded.has_self_attention:
        raise BadInput(
            "model",
            Message(
                "no-batches", "{model} reads one text at a time: it has no masks", model=loaded.name
            ),
        )
    check_heads(loaded, kind, (layer,), (head,))
    check_has(loaded, "scores", "model")


def unmasked(loaded: Loaded, step: Attended) -> Tensor:
    """A layer's scores without any mask: (B, H, Tq, Tk)."""
    scale, cap = loaded.scale(step.kind, step.layer)
    scores = (step.q @ step.k.transpose(-2, -1)).float() * scale
    scores = scores if cap is None else cap * torch.tanh(scores / cap)
    return scores + step.kept["bias"] if "bias" in step.kept else scores


def padded(loaded: Loaded, tokens: list[tuple[Token, ...]]) -> Padded:
    """Token sequences as one batch, padded. Without a padding token, with the end of text."""
    possible = (loaded.tokenizer.pad_id, loaded.tokenizer.end_id, 0)
    fill = next(i for i in possible if i is not None)
    pad = loaded.tokenizer.raw(fill)
    T = max(map(len, tokens))

    def batch(rows: list[list[int]], fill: int) -> Tensor:
        return torch.tensor([row + [fill] * (T - len(row)) for row in rows], device=loaded.device)

    ids = batch([[token.id for token in row] for row in tokens], fill)
    real = batch([[1] * len(row) for row in tokens], 0).bool()
    is_typed = all(token.token_type is not None for row in tokens for token in row)
    types = batch([[token.token_type or 0 for token in row] for row in tokens], 0)
    return Padded(tokens, ids, types if is_typed else None, real, pad)


def _decoder_edits(batch: Padded, off: Sequence[str]) -> list[Edit]:
    """The masks of a padded batch as edits of a decoder, which itself has only the causal mask."""
    edits = [Edit("unmask", kind="decoder")] if "causal" in off else []
    if "padding" not in off:
        edits.append(Edit("block", kind="decoder", where=~batch.real[:, None, None]))
    return edits


def _run(loaded: Loaded, source: Padded, off: Sequence[str], tape: Tape) -> Padded:
    """Run the model on the batch. Returns a translator's target, else the batch itself."""
    target = None
    if "cross" in loaded.kinds:
        target = padded(loaded, [_target(loaded, row) for row in source.tokens])
    if "decoder" in loaded.kinds:
        tape.edits = _decoder_edits(target or source, off)
    padding = None if "padding" in off else source.real
    batch = Batch(source.ids, source.types, target=target.ids if target else None, padding=padding)
    loaded.model.read(batch, tape)
    return target or source


def _target(loaded: Loaded, source: tuple[Token, ...]) -> tuple[Token, ...]:
    """A text's greedy translation, with <s>."""
    framed = frame(loaded)
    tokens = loaded.tokenizer.label(decoded(loaded, source, framed))
    return (beginning(loaded, framed), *tokens)


def _losses(loaded: Loaded, batch: Padded) -> dict[str, float]:
    """Mean loss of the next tokens, padding excluded, in nats, with and without causal mask."""
    losses = {}
    for name, off in (("on", ()), ("off", ("causal",))):
        edits = _decoder_edits(batch, off)
        logits = loaded.decoder(batch.ids, Tape(layers=(), edits=edits))[:, :-1]
        following, real = batch.ids[:, 1:], batch.real[:, 1:]
        loss = F.cross_entropy(logits[real], following[real]).item() if real.any() else 0.0
        losses[name] = loss
    return losses
