"""Several texts in one batch: what padding and causal masks do to one head's scores."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from attention_atlas.model.analysis.fills import DTYPES, USUAL, Fills, fills
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
    """Token sequences of different length in one batch, filled up with a padding token."""

    tokens: list[tuple[Token, ...]]
    ids: Tensor  # (B, T)
    types: Tensor | None  # (B, T): token types, if the model's tokenizer gives any
    real: Tensor  # (B, T) bool, False at padding
    pad: str  # the padding token, as the vocabulary spells it


@dataclass(frozen=True)
class Masks:
    """One head of one layer for each text of a batch; a mask is True where looking is allowed."""

    kind: Kind
    q: Padded
    k: Padded
    causal: Tensor | None  # (Tq, Tk), all True when switched off; None where there is none
    combined: Tensor  # (B, Tq, Tk), the masks that are on, together
    own: Tensor  # (B, Tq, Tk), the model's masks, none of them switched off
    scores: Tensor  # (B, Tq, Tk), before the mask
    masked: Tensor  # (B, Tq, Tk), -inf or `fill` where masked
    attn: Tensor  # (B, Tq, Tk)
    losses: dict[str, float]  # of the next word, mask "on" and "off"; a decoder alone has them
    fills: Fills  # when a number in place of -inf leaks


@torch.inference_mode()
def masks(
    loaded: Loaded,
    texts: Sequence[str],
    *,
    kind: Kind | None,
    layer: int,
    head: int,
    off: Sequence[str] = (),
    fill: float | None = None,
    dtype: str = "float32",
) -> Masks:
    """`off` names masks that are switched off in every layer: "causal", "padding".

    `fill` takes the place of -inf in this head's scores, in the precision `dtype`.
    """
    kind = kind or loaded.kinds[0]
    if not loaded.has_self_attention:
        raise BadInput("model", f"{loaded.name} reads one text at a time: it has no masks")
    check_heads(loaded, kind, (layer,), (head,))
    check_has(loaded, "scores", "model")
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
    own = own if off else own & allowed  # a window is a mask too
    if causal is not None and "causal" in off:
        causal = torch.ones_like(causal)
    masked, attn = scores.masked_fill(~allowed, -torch.inf), step.attn[:, 0]
    if fill is not None:
        masked = scores.to(DTYPES[dtype]).masked_fill(~allowed, fill)
        attn = masked.softmax(-1)
    usual = (USUAL, "float16") if fill is None else (fill, dtype)
    leaks = fills(scores, allowed, *usual)
    losses = _losses(loaded, source) if "next-token" in loaded.tasks else {}
    tensors = [allowed, own, scores, masked.float(), attn.float()]
    combined, own, scores, masked, attn = (tensor.cpu() for tensor in tensors)
    return Masks(kind, q, k, causal, combined, own, scores, masked, attn, losses, leaks)


def unmasked(loaded: Loaded, step: Attended) -> Tensor:
    """A layer's scores where every token may look at every other: (B, H, Tq, Tk)."""
    scale, cap = loaded.scale(step.kind, step.layer)
    scores = (step.q @ step.k.transpose(-2, -1)).float() * scale
    scores = scores if cap is None else cap * torch.tanh(scores / cap)
    return scores + step.kept["bias"] if "bias" in step.kept else scores


def padded(loaded: Loaded, tokens: list[tuple[Token, ...]]) -> Padded:
    """Token sequences as one batch. A GPT has no padding token; the end of text stands in."""
    known = (loaded.tokenizer.pad_id, loaded.tokenizer.end_id, 0)
    fill = next(i for i in known if i is not None)
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
    """What a decoder, which masks what is ahead and nothing else, is told of a padded batch."""
    edits = [Edit("unmask", kind="decoder")] if "causal" in off else []
    if "padding" not in off:
        edits.append(Edit("block", kind="decoder", where=~batch.real[:, None, None]))
    return edits


def _run(loaded: Loaded, source: Padded, off: Sequence[str], tape: Tape) -> Padded:
    """The batch through the model; the target of a translator, else the batch itself."""
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
    """A text's translation, from <s> on."""
    framed = frame(loaded)
    tokens = loaded.tokenizer.label(decoded(loaded, source, framed))
    return (beginning(loaded, framed), *tokens)


def _losses(loaded: Loaded, batch: Padded) -> dict[str, float]:
    """Mean loss of the next tokens, in nats, with the causal mask and without; padding is none."""
    found = {}
    for name, off in (("on", ()), ("off", ("causal",))):
        edits = _decoder_edits(batch, off)
        logits = loaded.decoder(batch.ids, Tape(layers=(), edits=edits))[:, :-1]
        following, there = batch.ids[:, 1:], batch.real[:, 1:]
        found[name] = (
            F.cross_entropy(logits[there], following[there]).item() if there.any() else 0.0
        )
    return found
