"""Attention as any library returns it, as tensors: numpy or torch, layers in a tuple, steps of
`generate`, the outputs of transformers with the attention of an encoder and a decoder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from attention_atlas.model.messages import Message
from attention_atlas.model.tape import KINDS, Kind
from torch import Tensor
from torch.nn.functional import pad

OUTPUTS: dict[str, Kind] = {f"{kind}_attentions": kind for kind in KINDS}  # of transformers


class BadRecord(ValueError):
    """Tensors that cannot be shown; `field` is attn, tokens or target_tokens."""

    def __init__(self, field: str, message: Message) -> None:
        super().__init__(message)
        self.message = message
        self.field = field


def by_kind(attn: Any, has_target: bool) -> dict[Kind, Tensor]:
    """Attention by its kind, each (L, H, Q, K). Without a target it is of one text, and 0 above
    the diagonal in a decoder. With a target, one tensor is cross-attention; three are those of the
    encoder, the decoder and between them."""
    if isinstance(attn, Mapping):
        return _named(attn, has_target)
    if not has_target:
        tensor = tensor_of(attn)
        return {"decoder" if is_causal(tensor) else "encoder": tensor}
    if _is_three(attn):
        return _named(dict(zip(KINDS, attn, strict=True)), has_target)
    return {"cross": tensor_of(attn, "cross")}


def _named(attn: Mapping[str, Any], has_target: bool) -> dict[Kind, Tensor]:
    """Attention by the name of its kind, as we or transformers call it."""
    if attn.get("attentions") is not None:
        return by_kind(attn["attentions"], has_target)
    named = {OUTPUTS.get(name, name): value for name, value in attn.items() if value is not None}
    given = {kind: tensor_of(named[kind], kind) for kind in KINDS if kind in named}
    if not given:
        message = Message(
            "no-kinds",
            "attn has neither attentions nor one of {kinds}",
            kinds=", ".join(KINDS),
        )
        raise BadRecord("attn", message)
    if not has_target and (len(given) > 1 or "cross" in given):
        message = Message("no-target-tokens", "attn is of two texts: give target_tokens too")
        raise BadRecord("target_tokens", message)
    return given


def _is_three(attn: Any) -> bool:
    """Whether it is one for each kind, the encoder's first, and not three layers or steps."""
    if not isinstance(attn, list | tuple) or len(attn) != len(KINDS):
        return False
    shapes = [_first_shape(each) for each in attn]
    is_nested = any(isinstance(each, list | tuple) for each in attn)
    are_alike = len(set(shapes)) == 1 and not is_nested
    are_layers = are_alike and (len(shapes[0]) == 3 or shapes[0][:1] == (1,))
    return shapes[0][-1:] == shapes[0][-2:-1] and not are_layers


def _first_shape(attn: Any) -> tuple[int, ...]:
    """The shape of the first array in it."""
    while isinstance(attn, list | tuple) and attn:
        attn = attn[0]
    return tuple(getattr(attn, "shape", ()))


def _is_steps(attn: Any) -> bool:
    """Whether it is what `generate` returns: for each step a tuple of layers."""
    is_nested = isinstance(attn, list | tuple) and bool(attn)
    return is_nested and all(isinstance(step, list | tuple) and bool(step) for step in attn)


def tensor_of(attn: Any, kind: Kind = "decoder") -> Tensor:
    """Attention of numpy, torch, a tuple of layers or of steps, as float32 (L, H, Q, K) on the
    CPU. Of steps, `kind` tells whether the keys grow with them."""
    if _is_steps(attn):
        attn = _joined([[_as_tensor(layer) for layer in step] for step in attn], kind)
    if isinstance(attn, list | tuple):
        attn = _stacked([_as_tensor(layer) for layer in attn])
    attn = _as_tensor(attn)
    if attn.ndim == 5 and attn.size(1) == 1:
        attn = attn[:, 0]
    if attn.ndim != 4 or 0 in attn.shape:
        shape = tuple(attn.shape)
        message = Message(
            "other-axes", "attn is {shape}; its axes are (layer, head, query, key)", shape=shape
        )
        raise BadRecord("attn", message)
    if not attn.isfinite().all():
        message = Message("not-finite", "attn has numbers that are not finite (NaN or infinite)")
        raise BadRecord("attn", message)
    if attn.min() < 0:
        message = Message(
            "below-0", "attn has numbers below 0, down to {least:.3g}", least=attn.min().item()
        )
        raise BadRecord("attn", message)
    return attn


def _stacked(layers: Sequence[Tensor]) -> Tensor:
    """The layers of one text, (L, H, Q, K)."""
    shapes = {tuple(layer.shape) for layer in layers}
    if len(shapes) != 1:
        message = Message(
            "layers-differ",
            "the layers of attn differ in shape: {shapes}",
            shapes=sorted(shapes),
        )
        raise BadRecord("attn", message)
    attn = torch.stack(list(layers))
    if attn.ndim == 5 and attn.size(1) != 1:
        message = Message(
            "a-batch",
            "attn has a batch of {n} texts; give one: [layer[:1] for layer in …]",
            n=attn.size(1),
        )
        raise BadRecord("attn", message)
    return attn[:, 0] if attn.ndim == 5 else attn


def _joined(steps: Sequence[Sequence[Tensor]], kind: Kind) -> list[Tensor]:
    """The layers (1, H, Q, K) of a generation: the rows of the prompt, then one row a step.

    A step has the new token's row alone or, without a cache, all rows so far. A static cache has
    columns for tokens that come later.
    """
    shapes = [tuple(layer.shape) for step in steps for layer in step]
    if len({len(step) for step in steps}) != 1 or any(len(shape) != 4 for shape in shapes):
        message = Message(
            "other-steps", "the steps of attn differ in their layers, or are not (1, H, Q, K)"
        )
        raise BadRecord("attn", message)
    n = steps[0][0].size(2) + len(steps) - 1  # queries
    columns = steps[0][0].size(3) if kind == "cross" else n
    layers = []
    for rows in zip(*steps, strict=True):
        rows = (rows[0], *(step[:, :, -1:] for step in rows[1:]))
        least = [columns if kind == "cross" else rows[0].size(2) + i for i in range(len(rows))]
        if any(row.size(3) < keys for row, keys in zip(rows, least, strict=True)):
            message = Message(
                "window-of-steps",
                "the steps of attn have fewer keys than there are tokens: the cache kept a window",
            )
            raise BadRecord("attn", message)
        layers.append(torch.cat([pad(row, (0, columns - row.size(3))) for row in rows], 2))
    return layers


def _as_tensor(attn: Any) -> Tensor:
    try:
        return torch.as_tensor(attn).detach().to("cpu", torch.float32).contiguous()
    except (TypeError, ValueError, RuntimeError) as error:
        kind = type(attn).__name__
        message = Message(
            "no-tensor",
            "attn is a {kind}, not numbers in a tensor: {error}",
            kind=kind,
            error=error,
        )
        raise BadRecord("attn", message) from None


def is_causal(attn: Tensor) -> bool:
    """Whether no query attends to a later key."""
    return attn.size(-1) == attn.size(-2) > 1 and not attn.triu(1).any()
