"""`attend` in place of a Hugging Face model's own attention: which layer calls, and on which tape.

transformers hands a registered attention function the query, key, value, mask and scaling of every
layer (`AttentionInterface`). What it does not say is whose forward pass this is and which layer
calls: the tape comes in a context variable, which no two threads share, and the layer from a plan
made once, at load, by a forward pass over a few tokens.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from attention_atlas.model.attention import Score, Scoring, attend
from attention_atlas.model.tape import Kind, Tape, edited_positions, track
from attention_atlas.model.transformer import causal_mask
from torch import Tensor, nn

NAME = "attend"  # among transformers' attention implementations
# What a layer may add to attention that `attend` does not do: sinks, tokens chosen by an indexer.
BEYOND = ("s_aux", "sinks", "indices", "block_indices")


class Place(NamedTuple):
    """One attention call of a forward pass."""

    kind: Kind
    layer: int


class Seen(NamedTuple):
    """What one attention layer did in the forward pass that the plan is made from."""

    n_query: int
    n_key: int
    n_head: int
    n_kv_head: int
    d_head: int
    scale: float
    softcap: float | None
    beyond: tuple[str, ...]


@dataclass
class Call:
    """One forward pass: its tape, and the layers that will call, in order."""

    tape: Tape | None
    plan: Sequence[Place] = ()
    seen: list[Seen] = field(default_factory=list)
    last: Tensor | None = None  # the residual stream after the last layer, before the last norm

    def place(self) -> Place | None:
        """Where the layer that calls now is; None while the plan is being made."""
        n = len(self.seen)
        return self.plan[n] if n < len(self.plan) else None


_call: ContextVar[Call | None] = ContextVar("call", default=None)


@contextmanager
def calling(call: Call) -> Iterator[Call]:
    """Every attention layer below belongs to this call."""
    token = _call.set(call)
    try:
        yield call
    finally:
        _call.reset(token)


def lens(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    **options: Any,
) -> tuple[Tensor, None]:
    """The attention function that transformers calls: query (B, H, Tq, d) -> (B, Tq, H, d).

    Of transformers' options it uses scaling, position_bias, softcap and is_causal. Grouped queries:
    key and value of fewer heads are repeated, one for each query head.
    """
    call = _call.get() or Call(None)
    scaling, softcap, is_causal = (options.get(o) for o in ("scaling", "softcap", "is_causal"))
    scale = query.size(-1) ** -0.5 if scaling is None else scaling
    place = call.place()
    beyond = tuple(name for name in BEYOND if options.get(name) is not None)
    sizes = query.size(-2), key.size(-2), query.size(1), key.size(1), query.size(-1)
    call.seen.append(Seen(*sizes, scale, softcap, beyond))
    group = query.size(1) // key.size(1)
    k, v = (x.repeat_interleave(group, dim=1) if group > 1 else x for x in (key, value))
    mask, bias = split(attention_mask, options.get("position_bias"))
    ahead = getattr(module, "is_causal", False) if is_causal is None else is_causal
    if mask is None and ahead and (place is None or place.kind == "decoder"):
        mask = causal_mask(query.size(-2), key.size(-2), query.device)
    tracked = None if place is None else track(call.tape, place.kind, place.layer)
    scoring = Scoring(scale, bias, None if softcap is None else capped(scale, softcap))
    z = attend(query, k, v, mask=mask, scoring=scoring, track=tracked)
    return z.transpose(1, 2).contiguous(), None


def split(mask: Tensor | None, bias: Tensor | None) -> tuple[Tensor | None, Tensor | None]:
    """A mask in any form -> a bool mask, and what is added to the scores where it is allowed."""
    if mask is None or mask.dtype == torch.bool:
        return mask, bias
    allowed = mask > torch.finfo(mask.dtype).min / 2  # where -inf or nearly so is added: masked
    rest = mask.masked_fill(~allowed, 0.0)
    if rest.any():
        bias = rest if bias is None else bias + rest
    return allowed, bias


def capped(scale: float, cap: float) -> Score:
    """Scores that stay within ± cap: cap · tanh(q·k · scale / cap) (Gemma 2, section 2)."""
    return lambda q, k: cap * torch.tanh(q @ k.transpose(-2, -1) * (scale / cap))


def note_last(output: Tensor | tuple[Tensor, ...]) -> Any:
    """The last layer's output, for the call that is on its way; what its tape has in its place."""
    call = _call.get()
    if call is None:
        return output
    if call.tape is not None and (last := call.tape.last) is not None:
        output = last if isinstance(output, Tensor) else (last, *output[1:])
    call.last = output if isinstance(output, Tensor) else output[0]
    return output


def fed(stack: Kind, layer: int, x: Tensor) -> Tensor:
    """What a layer's MLP adds to the residual stream, as the call's tape leaves it."""
    call = _call.get()
    return x if call is None or call.tape is None else call.tape.feed(stack, layer, x)


def moved(stack: Kind, positions: Tensor) -> Tensor:
    """A stack's position vectors (..., T, D) as the edits of the call's tape leave them."""
    call = _call.get()
    if call is None or call.tape is None or not call.tape.edits:
        return positions
    rows = positions.reshape(-1, *positions.shape[-2:])
    return torch.stack([edited_positions(call.tape, stack, row) for row in rows]).view_as(positions)
