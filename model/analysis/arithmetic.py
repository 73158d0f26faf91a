"""The arithmetic of attention, measured: why sqrt(d), what heads and blocks add, what it costs."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import accumulate
from statistics import median
from threading import Lock
from typing import cast

import torch
from attention_atlas.model.attention import attend, weigh
from attention_atlas.model.record import Token
from attention_atlas.model.run import BadInput, Spec, check_part, forward
from attention_atlas.model.tape import Attended, Quantity, Tape
from attention_atlas.model.transformer import (
    EncoderLayer,
    GPTLayer,
    MultiHeadAttention,
    causal_mask,
)
from attention_atlas.model.zoo import Loaded
from torch import Tensor
from torch.nn import functional as F
from torch.profiler import ProfilerActivity, profile

SAMPLES = 400  # random queries
KEEP: tuple[Quantity, ...] = ("q", "k", "mask", "z")


@dataclass(frozen=True)
class Scaling:
    """Random queries and keys of one width, their products as they are and over sqrt(d)."""

    d_k: int
    variance: float  # of q·k; d_k for independent components of variance 1
    entropy: dict[str, float]  # of the softmax over the keys, in nats: "plain", "scaled"
    gradient: dict[str, float]  # size of the softmax's Jacobian, likewise


def scaling(d_k: int, n_key: int, seed: int) -> list[Scaling]:
    """Section 3.2.1, footnote 4, measured for widths 1, 2, 4, … up to d_k."""
    widths = [2**i for i in range(d_k.bit_length()) if 2**i < d_k] + [d_k]
    return [_scaling(d, n_key, seed) for d in widths]


def _scaling(d: int, n_key: int, seed: int) -> Scaling:
    generator = torch.Generator().manual_seed(seed)
    q = torch.randn(SAMPLES, d, generator=generator)
    k = torch.randn(SAMPLES, n_key, d, generator=generator)
    dots = (k @ q[:, :, None])[..., 0]  # (samples, keys)
    attn = {"plain": dots.softmax(-1), "scaled": (dots * d**-0.5).softmax(-1)}
    return Scaling(
        d_k=d,
        variance=dots.var().item(),
        entropy={name: torch.special.entr(a).sum(-1).mean().item() for name, a in attn.items()},
        gradient={name: _jacobian(a).mean().item() for name, a in attn.items()},
    )


def _jacobian(attn: Tensor) -> Tensor:
    """The Frobenius norm of d softmax / d scores = diag(a) - a a^T: (..., n) -> (...)."""
    square = attn.square().sum(-1)
    return (square - 2 * attn.pow(3).sum(-1) + square.square()).clamp(min=0).sqrt()


@dataclass(frozen=True)
class HeadParts:
    """How much each head adds to a layer's attention output: concat and W_O, head by head."""

    tokens: tuple[Token, ...]
    norms: Tensor  # (H, T): length of a head's part
    output: Tensor  # (T,): length of the whole
    error: float  # of the parts' sum plus the bias against W_O of the concatenation
    regrouped: list[Regrouped]


@dataclass(frozen=True)
class Regrouped:
    """The same queries and keys cut into another number of heads, at the same d_model."""

    n_head: int
    d: int  # of each head: d_model / n_head
    n_number: int  # attention weights: n_head T T
    entropy: float  # mean over heads and queries, in nats
    apart: (
        float  # how different the heads' rows are: mean Jensen-Shannon divergence from their mean
    )


@torch.inference_mode()
def head_parts(loaded: Loaded, text: str, layer: int) -> HeadParts:
    """z_h W_O,h for each head h: their sum and b_O are the attention's output (section 3.2.2)."""
    attention, tokens, step = _attended(loaded, text, layer)
    z = step.z[0]
    H, _, d = z.shape
    parts = torch.stack([z[h] @ attention.W_O.weight[:, h * d : (h + 1) * d].T for h in range(H)])
    whole = attention.W_O(z.transpose(0, 1).flatten(1))  # (T, D)
    error = (parts.sum(0) + attention.W_O.bias - whole).abs().max().item()
    cuts = [_regrouped(step, n) for n in (1, 2, 4, 8, 16, 32) if H * d % n == 0]
    return HeadParts(tokens, parts.norm(dim=-1).cpu(), whole.norm(dim=-1).cpu(), error, cuts)


def _regrouped(step: Attended, n: int) -> Regrouped:
    """A layer's q and k, (1, H, T, d), as n heads: softmax(q k^T / sqrt(d_model / n))."""
    H, T, width = step.q.shape[1:]
    d = H * width // n
    q, k = (x.transpose(1, 2).reshape(1, T, n, d).transpose(1, 2) for x in (step.q, step.k))
    scores = (q @ k.transpose(-2, -1) * d**-0.5).masked_fill(~step.mask, -torch.inf)
    attn = scores.softmax(-1)[0]  # (n, T, T)
    entropy = torch.special.entr(attn).sum(-1)  # (n, T)
    apart = torch.special.entr(attn.mean(0)).sum(-1) - entropy.mean(0)
    return Regrouped(n, d, n * T * T, entropy.mean().item(), apart.mean().item())


def _attended(
    loaded: Loaded, text: str, layer: int
) -> tuple[MultiHeadAttention, tuple[Token, ...], Attended]:
    """One self-attention layer, the text's tokens, and what the layer wrote down."""
    kind = loaded.kinds[0]
    check_part(loaded, kind, (layer,), ())
    module = _layers(loaded)[layer].attention
    tape = Tape(KEEP, (kind,), (layer,))
    sequences, _ = forward(loaded, Spec(text), tape)
    return module, sequences["source"], next(iter(tape))


def _layers(loaded: Loaded) -> Sequence[EncoderLayer | GPTLayer]:
    """The stack that reads the text."""
    if not loaded.has_self_attention:
        raise BadInput("model", f"{loaded.name} has no layers of self-attention")
    layers = loaded.model.self_attention_layers()
    if not layers:
        raise BadInput("model", f"{loaded.name}'s layers are not ours to take apart")
    return cast(Sequence[EncoderLayer | GPTLayer], layers)


@dataclass(frozen=True)
class Block:
    """One layer on a text's own activations: lengths are means over its tokens."""

    residual: float  # what comes in
    attention: float  # what self-attention adds
    feed_forward: float  # what the feed-forward network adds
    token_std: tuple[float, float]  # spread over dimensions, mean over tokens; after layer norm
    dimension_std: tuple[float, float]  # spread over tokens, mean over dimensions; after batch norm


@torch.inference_mode()
def blocks(loaded: Loaded, text: str) -> tuple[tuple[Token, ...], list[Block]]:
    """Residual stream and updates, layer by layer; what layer norm and batch norm average over."""
    layers = _layers(loaded)
    tape = Tape(layers=(), hidden=True)
    sequences, _ = forward(loaded, Spec(text), tape)
    stream = next(iter(tape.streams.values()))
    found = [_block(layer, x) for layer, x in zip(layers, stream, strict=False)]
    return sequences["source"], found


def _block(layer: EncoderLayer | GPTLayer, x: Tensor) -> Block:
    """x (1, T, D) into the layer: its two updates, and the input of its first norm two ways."""
    T = x.size(1)
    if layer.norm_first:
        normed = layer.attention_norm(x)
        update = layer.attention(normed, normed, mask=causal_mask(T, T, x.device))
        read = layer.feed_forward_norm(x + update)
    else:
        update = layer.attention(x, x)
        read = layer.attention_norm(x + update)
    into = (x if layer.norm_first else x + update)[0]  # (T, D), what is normed first
    by_token = F.layer_norm(into, into.shape[-1:])
    by_dimension = (into - into.mean(0)) / (into.var(0, unbiased=False) + 1e-5).sqrt()

    def spread(values: Tensor, axis: int) -> float:
        return values.std(axis, unbiased=False).mean().item()

    return Block(
        residual=x.norm(dim=-1).mean().item(),
        attention=update.norm(dim=-1).mean().item(),
        feed_forward=layer.feed_forward(read).norm(dim=-1).mean().item(),
        token_std=(spread(into, 1), spread(by_token, 1)),
        dimension_std=(spread(into, 0), spread(by_dimension, 0)),
    )


def gradients(depth: int, width: int, *, residual: bool, norm: bool, seed: int) -> list[float]:
    """The gradient's length at the input of each layer of a small stack, over the last one's.

    In float64: without residuals or norms it shrinks by thousands of thousands.
    """
    generator = torch.Generator().manual_seed(seed)
    weights = [torch.rand(width, width, generator=generator) * 2 - 1 for _ in range(depth)]
    x = torch.randn(32, width, generator=generator).double().requires_grad_()
    inputs = [x]
    for weight in weights:  # from U(-1, 1) / sqrt(width), as linear layers begin
        update = F.relu(
            F.linear(F.layer_norm(x, (width,)) if norm else x, weight.double() * width**-0.5)
        )
        x = x + update if residual else update
        x.retain_grad()
        inputs.append(x)
    torch.autograd.backward(x.square().mean())
    lengths = [0.0 if each.grad is None else each.grad.norm().item() for each in inputs]
    last = lengths[-1] or 1.0
    return [length / last for length in lengths]


@dataclass(frozen=True)
class Cost:
    """One attention layer measured: equation 1 written out, and the same as one fused kernel."""

    n: int  # tokens
    n_number: int  # attention weights, H T^2
    seconds: float
    bytes: int  # most that was held at a time, beside q, k and v
    fused_seconds: float
    fused_bytes: int


@torch.inference_mode()
def cost(sizes: Sequence[int], *, n_head: int, d: int) -> tuple[list[Cost], dict[str, float]]:
    """Time and memory of `attend` by the number of tokens T, and the power of T that fits each."""
    found = [_cost(n, n_head, d) for n in sizes]
    measured = ("seconds", "bytes", "fused_seconds", "fused_bytes")
    exponents = {
        name: _exponent(sizes, [float(getattr(each, name)) for each in found]) for name in measured
    }
    return found, exponents


def _cost(n: int, n_head: int, d: int) -> Cost:
    q, k, v = (torch.randn(1, n_head, n, d) for _ in range(3))

    def written_out() -> Tensor:
        return weigh(q, k)[1] @ v

    def fused() -> Tensor:
        return attend(q, k, v)

    return Cost(
        n=n,
        n_number=n_head * n * n,
        seconds=_seconds(written_out),
        bytes=_peak(written_out),
        fused_seconds=_seconds(fused),
        fused_bytes=_peak(fused),
    )


_profiling = Lock()  # PyTorch has one profiler


def _peak(work: Callable[[], object]) -> int:
    """The most bytes that a piece of work held at a time, by what PyTorch allocated and freed."""
    os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # the profiler says when it starts, else
    with _profiling, profile(activities=[ProfilerActivity.CPU], profile_memory=True) as seen:
        work()
    assert seen.profiler is not None and seen.profiler.kineto_results is not None
    events = [e for e in seen.profiler.kineto_results.events() if e.name() == "[memory]"]
    changes = [event.nbytes() for event in sorted(events, key=lambda event: event.start_ns())]
    return max(0, *accumulate(changes, initial=0))


def _exponent(sizes: Sequence[int], values: Sequence[float]) -> float:
    """The slope of log value by log size, by least squares."""
    x, y = (torch.tensor(each, dtype=torch.float64).log() for each in (sizes, values))
    x, y = x - x.mean(), y - y.mean()
    return ((x * y).sum() / x.square().sum()).item() if len(sizes) > 1 else 0.0


@torch.inference_mode()
def loop_and_product(n: int, d: int) -> dict[str, float]:
    """Scores of n queries and keys, number by number in Python and as one product: seconds."""
    q, k = torch.randn(n, d), torch.randn(n, d)
    rows, columns = q.tolist(), k.tolist()

    def loop() -> list[list[float]]:
        return [
            [sum(a * b for a, b in zip(x, y, strict=True)) / math.sqrt(d) for y in columns]
            for x in rows
        ]

    by_loop = torch.tensor(loop())
    error = (by_loop - q @ k.T / math.sqrt(d)).abs().max().item()
    return {"loop": _seconds(loop, 1), "product": _seconds(lambda: q @ k.T), "error": error}


def _seconds(work: Callable[[], object], rounds: int = 3) -> float:
    """The median time of a piece of work, after one that does not count."""
    work()
    times = []
    for _ in range(rounds):
        began = time.perf_counter()
        work()
        times.append(time.perf_counter() - began)
    return median(times)
