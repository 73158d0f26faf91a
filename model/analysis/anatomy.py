"""The attention of one query token in one head, step by step from q and k to the output z."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from attention_atlas.model.record import Token, axes
from attention_atlas.model.run import forward
from attention_atlas.model.spec import BadInput, Spec, check_has, check_heads
from attention_atlas.model.tape import Kind, Quantity, Tape
from attention_atlas.model.zoo import Loaded
from torch import Tensor

KEEP: tuple[Quantity, ...] = ("q", "k", "v", "bias", "mask", "scores", "attn", "z")


@dataclass(frozen=True)
class Anatomy:
    """The steps of Attention(Q, K, V) for one query token (Vaswani et al. 2017, equation 1).

    dots = products summed over d; scores = dots * scale, -inf where masked; attn = their softmax;
    z = attn @ v. A model may add a `bias` to the scores that depends on the distance of the two
    tokens, or limit them to ± `softcap`. With rotary positions q and k are those after rotation.
    With additive attention products are v * tanh(q + k), and the scale is 1. Edits of the scores
    or of attn change `scores`, `attn` and `z`, not the steps before.
    """

    kind: Kind
    layer: int
    head: int
    query: int
    q_tokens: tuple[Token, ...]
    k_tokens: tuple[Token, ...]
    score: str  # "dot_product" or "additive"
    scale: float
    softcap: float | None
    rotated: bool  # q and k are rotated by their positions
    q: Tensor  # (d,)
    k: Tensor  # (Tk, d)
    products: Tensor  # (Tk, d)
    dots: Tensor  # (Tk,)
    bias: Tensor | None  # (Tk,)
    scores: Tensor  # (Tk,)
    mask: Tensor  # (Tk,) bool
    attn: Tensor  # (Tk,)
    v: Tensor  # (Tk, width of a value)
    z: Tensor  # (width of a value,)

    def tensors(self) -> dict[str, Tensor]:
        """Its tensors by name, in the order in which they are computed."""
        names = ("q", "k", "products", "dots", "bias", "scores", "mask", "attn", "v", "z")
        tensors = {name: getattr(self, name) for name in names}
        return {name: tensor for name, tensor in tensors.items() if tensor is not None}


@torch.inference_mode()
def anatomy(
    loaded: Loaded, spec: Spec, *, kind: Kind | None, layer: int, head: int, query: int
) -> Anatomy:
    """Raises BadInput for a kind, layer, head or query that does not exist."""
    kind = kind or loaded.kinds[0]
    check_heads(loaded, kind, (layer,), (head,))
    check_has(loaded, "q", "model")
    tape = Tape(KEEP, kinds=(kind,), layers=(layer,), heads=(head,), edits=spec.edits)
    sequences, _ = forward(loaded, spec, tape)
    q_tokens, k_tokens = (sequences[name] for name in axes(kind, sequences))
    if not 0 <= query < len(q_tokens):
        has = f"the text has {len(q_tokens)} query tokens, 0 to {len(q_tokens) - 1}"
        raise BadInput("query", f"query {query} does not exist: {has}")
    step = next(step for step in tape if (step.kind, step.layer) == (kind, layer))
    kept = {name: _shown(tensor[0, 0]) for name, tensor in step.kept.items()}  # (T, ...)
    row = {name: kept[name][query] for name in ("q", "mask", "scores", "attn", "z")}
    scale, softcap = loaded.scale(kind, layer)
    q, k = row["q"], kept["k"]
    products = loaded.model.products(q.to(loaded.device), k.to(loaded.device))
    return Anatomy(
        kind=kind,
        layer=layer,
        head=head,
        query=query,
        q_tokens=q_tokens,
        k_tokens=k_tokens,
        score=loaded.model.comparison,
        scale=scale,
        softcap=softcap,
        rotated=loaded.model.rotates(kind, layer),
        bias=kept["bias"][query] if "bias" in kept else None,
        k=k,
        products=products.cpu(),
        dots=products.sum(-1).cpu(),
        v=kept["v"],
        **row,
    )


def _shown(tensor: Tensor) -> Tensor:
    """On the CPU, masks as bool, all else in float32."""
    return tensor.cpu() if tensor.dtype == torch.bool else tensor.cpu().float()
