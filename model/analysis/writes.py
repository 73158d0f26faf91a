"""Direct logit attribution: what each head and MLP writes into the difference of two logits.

The prediction is read from the residual stream, a sum of what every part wrote there. With the
standard deviation of each layer norm held at its value, and an activation in the head (of BERT's,
for masked words) by its slope a(x) / x, the logit difference is a sum over heads, MLPs, embedding
and biases, exactly (Elhage et al. 2021; for the slope Modarressi et al. 2023, DecompX). Only what
reaches the prediction directly counts, not what later heads and MLPs make of it.

One forward pass in which every other way is closed, and its gradient, give all parts. No family is
known by name: W_O is the linear map whose input is the heads' output z.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any, Literal, NamedTuple

import torch
from attention_atlas.model.analysis.lab import KEPT, LogitDifference, ReadText, predicted, value_of
from attention_atlas.model.messages import Message
from attention_atlas.model.record import Token, axes
from attention_atlas.model.run import read
from attention_atlas.model.spec import BadInput, check_heads
from attention_atlas.model.tape import Attended, Kind, Tape
from torch import Tensor
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

Part = Literal["heads", "mlp", "embedding", "bias", "head_bias"]
Map = Callable[[Tensor], Tensor]
TOLERANCE = 1e-5  # of the sum of the sizes of all parts


class Written(NamedTuple):
    """What a part adds to the stream, as a leaf of the graph."""

    part: Part
    place: int  # the attention layer, in the order of the forward pass, that it is or follows
    leaf: Tensor


@dataclass
class DirectPath(TorchFunctionMode):
    """Functions of torch replaced so that the residual stream is the only way to the prediction.

    Each linear map inside the stack gives a leaf; norms and the head's activations are made linear.
    """

    tape: Tape
    written: list[Written] = field(default_factory=list)
    places: list[Attended] = field(default_factory=list)  # whose W_O was met
    maps: dict[tuple[Kind, int], Map] = field(default_factory=dict)  # W_O of a kind and layer
    in_head: bool = False
    bends: bool = False  # the head has an activation
    gradients: list[Tensor | None] = field(default_factory=list)  # of the leaves

    def __post_init__(self) -> None:
        super().__init__()

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        rule = RULES.get(func)
        if rule is None or (rule is _slope and not self.in_head):
            return func(*args, **(kwargs or {}))
        return rule(self, func, *args, **(kwargs or {}))

    def leaf(self, part: Part, x: Tensor | None) -> Tensor | None:
        """A value cut off from how it was computed; its gradient is its direct effect."""
        if x is None:
            return None
        leaf = x.detach().requires_grad_()
        self.written.append(Written(part, len(self.places) - 1, leaf))
        with torch.enable_grad():  # which some embeddings disable
            return leaf.clone()  # some models change what they are given in place

    def begins(self, x: Tensor) -> Tensor:
        """The stream where a stack begins."""
        leaf = self.leaf("embedding", x)
        assert leaf is not None
        return leaf

    def is_output(self, x: Tensor) -> bool:
        """Whether x is the output of the heads that were computed last."""
        steps = self.tape.attended
        if self.in_head or len(steps) == len(self.places) or x.numel() != steps[-1].z.numel():
            return False
        z = steps[-1].z.transpose(1, 2).reshape(x.shape)  # (1, T, H d)
        return torch.equal(z, x)

    def linear(
        self, multiply: Callable[[Tensor], Tensor], x: Tensor, bias: Tensor | None
    ) -> Tensor:
        """A linear map: W_O, one of an MLP, q, k or v, or one of the head."""
        if self.in_head:
            out = multiply(x)
        elif self.is_output(x):
            step = self.tape.attended[-1]
            self.places.append(step)
            self.maps[step.kind, step.layer] = multiply
            leaf = self.leaf("heads", x)
            assert leaf is not None
            out = multiply(leaf)
        else:
            out = multiply(x.detach())
            leaf = self.leaf("mlp", out if bias is None else out + bias)
            assert leaf is not None
            return leaf
        bias = self.leaf("head_bias" if self.in_head else "bias", bias)
        return out if bias is None else out + bias

    def effects(self) -> Iterator[tuple[Written, Tensor]]:
        """The leaves that reach the prediction, with their gradients."""
        for written, gradient in zip(self.written, self.gradients, strict=False):
            if gradient is not None:
                yield written, gradient


def _linear(
    path: DirectPath, func: Any, x: Tensor, weight: Tensor, bias: Tensor | None = None
) -> Tensor:
    return path.linear(lambda x: F.linear(x, weight.detach()), x, bias)


def _addmm(path: DirectPath, func: Any, bias: Tensor, x: Tensor, weight: Tensor) -> Tensor:
    return path.linear(lambda x: x @ weight.detach(), x, bias)


def _embedding(path: DirectPath, func: Any, *args: Any, **kwargs: Any) -> Tensor:
    return path.begins(func(*args, **kwargs))


def _layer_norm(
    path: DirectPath,
    func: Any,
    x: Tensor,
    shape: Any,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
) -> Tensor:
    centred = x - x.mean(-1, keepdim=True)
    scale = (centred.detach().pow(2).mean(-1, keepdim=True) + eps).rsqrt()
    out = centred * scale if weight is None else centred * scale * weight.detach()
    bias = path.leaf("head_bias" if path.in_head else "bias", bias)
    return out if bias is None else out + bias


def _rms_norm(
    path: DirectPath,
    func: Any,
    x: Tensor,
    shape: Any,
    weight: Tensor | None = None,
    eps: float | None = None,
) -> Tensor:
    eps = torch.finfo(x.dtype).eps if eps is None else eps
    scale = (x.detach().pow(2).mean(-1, keepdim=True) + eps).rsqrt()
    return x * scale if weight is None else x * scale * weight.detach()


def _held(path: DirectPath, func: Any, x: Tensor, **kwargs: Any) -> Tensor:
    """1 / sqrt(x), with which norms are written out."""
    return func(x.detach(), **kwargs)


def _slope(path: DirectPath, func: Any, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    """An activation as its slope seen from 0."""
    path.bends = True
    fixed = x.detach()
    return x * torch.where(fixed == 0, 0.0, func(fixed, *args, **kwargs) / fixed)


RULES: dict[Any, Any] = {
    F.linear: _linear,
    torch.addmm: _addmm,
    F.embedding: _embedding,
    F.layer_norm: _layer_norm,
    F.rms_norm: _rms_norm,
    **dict.fromkeys((torch.rsqrt, Tensor.rsqrt), _held),
    **dict.fromkeys((F.gelu, F.relu, torch.relu, F.silu, torch.tanh, Tensor.tanh), _slope),
}


@dataclass(frozen=True)
class Writes:
    """The parts of a logit difference."""

    heads: dict[Kind, Tensor]  # (L, H) of each kind that writes into the predicting stream
    mlps: Tensor  # (L,)
    embedding: float
    bias: float
    value: float  # the logit difference itself
    directions: dict[Kind, Tensor]  # (L, H, d): how z at the predicting token acts on it

    @property
    def sum(self) -> float:
        attention = sum(heads.double().sum().item() for heads in self.heads.values())
        return attention + self.mlps.double().sum().item() + self.embedding + self.bias

    @property
    def tolerance(self) -> float:
        sizes = sum(heads.abs().sum().item() for heads in self.heads.values())
        return TOLERANCE * max(1.0, sizes + self.mlps.abs().sum().item())


def writing_kinds(text: ReadText) -> tuple[Kind, ...]:
    """The kinds of attention that write into the stream from which the prediction is read."""
    kinds = text.loaded.kinds
    return tuple(kind for kind in kinds if axes(kind, text.sequences)[0] == predicted(text))


def writes(text: ReadText, metric: LogitDifference) -> Writes:
    """What each part writes. Raises BadInput for a model whose parts do not sum to the metric."""
    tape = Tape(keep=KEPT, edits=text.edits)
    path = DirectPath(tape)
    tape.begins = path.begins
    with torch.inference_mode(False), torch.enable_grad(), path:
        x = read(text.loaded, text.sequences, tape)
        path.in_head = True
        value = metric.of(text.loaded, x).sum()
        if value.requires_grad:
            leaves = [written.leaf for written in path.written]
            path.gradients = list(torch.autograd.grad(value, leaves, allow_unused=True))
        constant = 0.0 if path.bends else metric.of(text.loaded, torch.zeros_like(x)).item()
    if {step.kind for step in path.places} != set(text.loaded.kinds):
        raise BadInput(
            "model",
            Message(
                "no-writes",
                "{model} is not shown in parts: its heads' outputs do not go into a residual "
                "stream by a linear map of their own",
                model=text.loaded.name,
            ),
        )
    result = _summed(text, metric, path, constant)
    actual = value_of(text, metric)
    if not abs(result.sum - actual) <= result.tolerance:
        raise BadInput(
            "model",
            Message(
                "not-a-sum",
                "{model} is not shown in parts: what its heads, MLPs, embedding and biases write "
                "sums to {sum:.4f}, not to the logit difference {value:.4f}",
                model=text.loaded.name,
                sum=result.sum,
                value=actual,
            ),
        )
    return replace(result, value=actual)


def _summed(text: ReadText, metric: LogitDifference, path: DirectPath, constant: float) -> Writes:
    """The effects of the leaves, by what they are of."""
    kinds = writing_kinds(text)
    shapes = {kind: text.loaded.shape(kind) for kind in kinds}
    heads = {kind: torch.zeros(shape, dtype=torch.double) for kind, shape in shapes.items()}
    directions: dict[Kind, list[Tensor]] = {kind: [] for kind in kinds}
    mlps = torch.zeros(shapes[kinds[0]][0], dtype=torch.double)
    embedding, bias = 0.0, constant
    for written, gradient in path.effects():
        step = path.places[written.place] if written.place >= 0 else None
        effect = gradient.double() * written.leaf.detach().double()
        if written.part == "heads" and step is not None and step.kind in kinds:
            n_head = shapes[step.kind][1]
            heads[step.kind][step.layer] = (
                effect.view(-1, n_head, step.z.size(-1)).sum((0, 2)).cpu()
            )
            by_head = gradient.view(-1, n_head, step.z.size(-1))  # (T, H, d)
            directions[step.kind].append(by_head[metric.position])
        elif written.part == "mlp" and step is not None and step.kind in kinds:
            mlps[step.layer] += effect.sum().cpu()
        elif written.part in ("embedding", "mlp"):  # a linear map before the first layer
            embedding += effect.sum().item()
        elif written.part == "bias" or path.bends:
            bias += effect.sum().item()
    rows = {kind: torch.stack(parts).cpu() for kind, parts in directions.items()}
    return Writes(heads, mlps, embedding, bias, 0.0, rows)


@dataclass(frozen=True)
class HeadWrites:
    """Where a head looks from the predicting token, and what it writes from each of these keys."""

    kind: Kind
    layer: int
    head: int
    query: int
    k_tokens: tuple[Token, ...]
    attn: Tensor  # (Tk,)
    writes: Tensor  # (Tk,), which sum to the head's

    @property
    def looks(self) -> int:
        """The key with the largest attention."""
        return int(self.attn.argmax())

    @property
    def largest(self) -> int:
        """The key that writes most, in either direction."""
        return int(self.writes.abs().argmax())

    def is_against(self, metric: LogitDifference) -> bool:
        """Whether the token looked at most is one of the two, and its write favours the other."""
        disfavoured = metric.a if self.writes[self.looks] < 0 else metric.b
        return self.k_tokens[self.looks].id == disfavoured


def checked_kind(text: ReadText, kind: Kind | None) -> Kind:
    """A kind that writes into the prediction; None: the first. Raises BadInput."""
    kinds = writing_kinds(text)
    if kind is not None:
        check_heads(text.loaded, kind, (), ())
    if kind is not None and kind not in kinds:
        message = Message(
            "writes-elsewhere",
            "{kind} attention of {model} writes into the source's stream, from which nothing is "
            "predicted directly",
            kind=kind,
            model=text.loaded.name,
        )
        raise BadInput("kind", message)
    return kind or kinds[0]


@torch.inference_mode()
def head_writes(
    text: ReadText, query: int, result: Writes, kind: Kind, layer: int, head: int
) -> HeadWrites:
    """A head's write key by key. Raises BadInput if an edit replaces the head's output."""
    check_heads(text.loaded, kind, (layer,), (head,))
    tape = Tape(("attn", "v"), kinds=(kind,), layers=(layer,), heads=(head,), edits=text.edits)
    read(text.loaded, text.sequences, tape)
    step = next(step for step in tape if (step.kind, step.layer) == (kind, layer))
    attn, v = step.attn[0, 0, query].double().cpu(), step.v[0, 0].double().cpu()
    by_key = attn * (v @ result.directions[kind][layer, head].double())
    if abs(by_key.sum() - result.heads[kind][layer, head]) > result.tolerance:
        message = Message(
            "output-replaced", "an edit replaces the output of this head: it has no parts by key"
        )
        raise BadInput("edits", message)
    k_tokens = text.sequences[axes(kind, text.sequences)[1]]
    return HeadWrites(kind, layer, head, query, k_tokens, attn, by_key)
