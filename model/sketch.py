"""sketch(loaded, spec, kind, size) -> Run, Sketch: small pictures of all heads, in one pass.

Of the attention a few heads are held in full at a time, so that long texts take little memory.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from attention_atlas.model.metrics import measured_heads
from attention_atlas.model.record import Run, Sketch, Token, axes
from attention_atlas.model.reductions import block_of, blocks
from attention_atlas.model.run import labelled, predicted, prepared, stacked_masks
from attention_atlas.model.spec import Spec, check_heads
from attention_atlas.model.tape import Kind, Quantity, Tape
from attention_atlas.model.zoo import Loaded
from torch import Tensor


@torch.inference_mode()
def sketch(
    loaded: Loaded, spec: Spec, kind: Kind, size: int, *, measured: bool = True
) -> tuple[Run, Sketch]:
    """Thumbnails of all heads of one kind, at most `size` cells a side, and if asked metrics.

    The run has no records. Raises BadInput, naming the limit.
    """
    check_heads(loaded, kind, (), ())
    sequences, text = prepared(loaded, spec)
    q_tokens, k_tokens = (sequences[name] for name in axes(kind, sequences))
    small = Small(block_of(len(q_tokens), len(k_tokens), size), kind, k_tokens, measured)
    keep: tuple[Quantity, ...] = ("attn", "log_attn", "mask")
    tape = Tape(keep=keep, kinds=(kind,), edits=spec.edits, digest=small)
    predictions = predicted(loaded, spec, tape, sequences, text)
    steps = sorted(tape, key=lambda step: step.layer)
    layers = [step.kept if step.digested else small(step.kept) for step in steps]
    numbers = [kept["metrics"][0] for kept in layers] if measured else []  # L of (H, metrics)
    return labelled(spec, sequences, predictions, {}), Sketch(
        kind=kind,
        attn=torch.stack([kept["attn"][0] for kept in layers]),
        mask=stacked_masks([kept["mask"][0] for kept in layers]),
        metrics={name: torch.stack(numbers)[..., i] for i, name in enumerate(small.names)},
        size=size,
        block=small.block,
        q_tokens=q_tokens,
        k_tokens=k_tokens,
        layers=tuple(step.layer for step in steps),
        heads=tuple(range(loaded.shape(kind)[1])),
    )


class Small:
    """The digest of a sketch: block maxima, and a number for each metric in `names`."""

    def __init__(
        self, block: tuple[int, int], kind: Kind, k_tokens: Sequence[Token], measured: bool
    ) -> None:
        self.block, self.kind, self.k_tokens, self.measured = block, kind, k_tokens, measured
        self.names: tuple[str, ...] = ()
        self.mask_before: tuple[Tensor, Tensor] | None = None

    def __call__(self, kept: dict[Quantity, Tensor]) -> dict[Quantity, Tensor]:
        """Of `attn`, or of `log_attn`: the exp of a maximum is the maximum of the exps."""
        small: dict[Quantity, Tensor] = {"mask": self._mask(kept["mask"])}
        if "log_attn" in kept:
            small["attn"] = blocks(kept["log_attn"], self.block).exp().cpu()
        else:
            small["attn"] = blocks(kept["attn"], self.block).cpu()
        if self.measured:
            attn = kept["attn"] if "attn" in kept else kept["log_attn"].exp()
            metrics = measured_heads(attn, self.kind, self.k_tokens)
            self.names = tuple(metrics)
            small["metrics"] = torch.stack(list(metrics.values()), -1).cpu()  # (B, h, metrics)
        return small

    def _mask(self, mask: Tensor) -> Tensor:
        """Block maxima; of the mask before, which most layers share, they are there already."""
        if self.mask_before is None or not same_view(mask, self.mask_before[0]):
            self.mask_before = mask, blocks(mask, self.block).cpu()
        return self.mask_before[1]


def same_view(a: Tensor, b: Tensor) -> bool:
    """Whether two tensors are the same numbers in the same memory."""
    return (a.data_ptr(), a.shape, a.stride()) == (b.data_ptr(), b.shape, b.stride())
