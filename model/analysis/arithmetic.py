"""Measurements of attention: the scale 1/sqrt(d), parts of heads and layers, time and memory."""

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
from attention_atlas.model.messages import Message
from attention_atlas.model.record import Token
from attention_atlas.model.run import forward
from attention_atlas.model.spec import BadInput, Spec, check_heads
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

LENGTHS = (64, 128, 256, 512, 1024)  # tokens
STACKS = {  # name -> with residuals, with norms
    "plain": (False, False),
    "norm": (False, True),
    "residual": (True, False),
    "residual_norm": (True, True),
}
SAMPLES = 400  # random queries
KEEP: tuple[Quantity, ...] = ("q", "k", "mask", "z")


@dataclass(frozen=True)
class Scaling:
    """Dot products of random queries and keys of one width, without and with 1/sqrt(d)."""

    d_k: int
    variance: float  # of q·k; d_k for independent components of variance 1
    entropy: dict[str, float]  # of the softmax over the keys, in nats: "plain", "scaled"
    gradient: dict[str, float]  # size of the softmax's Jacobian, likewise


def scaling(d_k: int, n_key: int, seed: int) -> list[Scaling]:
    """Measure section 3.2.1, footnote 4, for widths 1, 2, 4, … up to d_k."""
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
    """The part of each head in a layer's attention output, W_O of the concatenated heads."""

    tokens: tuple[Token, ...]
    z: Tensor  # (H, T, d): each head's output
    norms: Tensor  # (H, T): norm of a head's part
    output: Tensor  # (T,): norm of the output
    error: float  # largest difference of the parts' sum plus the bias from W_O's output
    regrouped: list[Regrouped]


@dataclass(frozen=True)
class Regrouped:
    """The same queries and keys divided into another number of heads, at the same d_model."""

    n_head: int
    d: int  # of each head: d_model / n_head
    n_number: int  # attention weights: n_head T T
    entropy: float  # mean over heads and queries, in nats
    apart: float  # Jensen-Shannon divergence of the heads' rows, mean over queries


@torch.inference_mode()
def head_parts(loaded: Loaded, text: str, layer: int) -> HeadParts:
    """z_h W_O,h for each head h; their sum plus b_O is the layer's output (section 3.2.2)."""
    attention, tokens, step = _attended(loaded, text, layer)
    z = step.z[0]
    H, _, d = z.shape
    parts = torch.stack([z[h] @ attention.W_O.weight[:, h * d : (h + 1) * d].T for h in range(H)])
    output = attention.W_O(z.transpose(0, 1).flatten(1))  # (T, D)
    error = (parts.sum(0) + attention.W_O.bias - output).abs().max().item()
    regrouped = [_regrouped(step, n) for n in (1, 2, 4, 8, 16, 32) if H * d % n == 0]
    norms = parts.norm(dim=-1).cpu(), output.norm(dim=-1).cpu()
    return HeadParts(tokens, z.cpu(), *norms, error, regrouped)


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
    """One self-attention layer, the text's tokens, and what the layer recorded."""
    kind = loaded.kinds[0]
    check_heads(loaded, kind, (layer,), ())
    module = self_attention_layers(loaded)[layer].attention
    tape = Tape(KEEP, (kind,), (layer,))
    sequences, _ = forward(loaded, Spec(text), tape)
    return module, sequences["source"], next(iter(tape))


def self_attention_layers(loaded: Loaded) -> Sequence[EncoderLayer | GPTLayer]:
    """The layers of the stack that reads the text. Raises BadInput if they are not ours."""
    if not loaded.has_self_attention:
        raise BadInput(
            "model",
            Message(
                "no-self-attention", "{model} has no layers of self-attention", model=loaded.name
            ),
        )
    layers = loaded.model.self_attention_layers()
    if not layers:
        raise BadInput(
            "model",
            Message(
                "layers-not-available",
                "the layers of {model} are not available, only their attention",
                model=loaded.name,
            ),
        )
    return cast(Sequence[EncoderLayer | GPTLayer], layers)


@dataclass(frozen=True)
class Block:
    """One layer on a text: norms of vectors, mean over the tokens."""

    residual: float  # of the layer's input
    attention: float  # of what self-attention adds
    feed_forward: float  # of what the feed-forward network adds
    token_std: tuple[float, float]  # over dimensions, mean over tokens; the same after layer norm
    dimension_std: tuple[float, float]  # over tokens, mean over dimensions; after batch norm


@torch.inference_mode()
def blocks(loaded: Loaded, text: str) -> tuple[tuple[Token, ...], list[Block]]:
    """Norms of the residual stream and of its updates, layer by layer; layer and batch norm."""
    layers = self_attention_layers(loaded)
    tape = Tape(layers=(), hidden=True)
    sequences, _ = forward(loaded, Spec(text), tape)
    stream = next(iter(tape.streams.values()))
    measured = [_block(layer, x) for layer, x in zip(layers, stream, strict=False)]
    return sequences["source"], measured


def _block(layer: EncoderLayer | GPTLayer, x: Tensor) -> Block:
    """The two updates of a layer with input x (1, T, D), and its first norm's input, normed."""
    T = x.size(1)
    if layer.norm_first:
        normed = layer.attention_norm(x)
        update = layer.attention(normed, normed, mask=causal_mask(T, T, x.device))
        read = layer.feed_forward_norm(x + update)
    else:
        update = layer.attention(x, x)
        read = layer.attention_norm(x + update)
    first = (x if layer.norm_first else x + update)[0]  # (T, D), the input of the first norm
    by_token = F.layer_norm(first, first.shape[-1:])
    by_dimension = (first - first.mean(0)) / (first.var(0, unbiased=False) + 1e-5).sqrt()

    def spread(values: Tensor, axis: int) -> float:
        return values.std(axis, unbiased=False).mean().item()

    return Block(
        residual=x.norm(dim=-1).mean().item(),
        attention=update.norm(dim=-1).mean().item(),
        feed_forward=layer.feed_forward(read).norm(dim=-1).mean().item(),
        token_std=(spread(first, 1), spread(by_token, 1)),
        dimension_std=(spread(first, 0), spread(by_dimension, 0)),
    )


def gradients(depth: int, width: int, *, residual: bool, norm: bool, seed: int) -> list[float]:
    """The gradient's norm at the input of each layer of a small stack, relative to the last.

    In float64: without residuals or norms it shrinks by more than a factor of a million.
    """
    generator = torch.Generator().manual_seed(seed)
    weights = [torch.rand(width, width, generator=generator) * 2 - 1 for _ in range(depth)]
    x = torch.randn(32, width, generator=generator).double().requires_grad_()
    inputs = [x]
    for weight in weights:  # U(-1, 1) / sqrt(width), PyTorch's default for linear layers
        update = F.relu(
            F.linear(F.layer_norm(x, (width,)) if norm else x, weight.double() * width**-0.5)
        )
        x = x + update if residual else update
        x.retain_grad()
        inputs.append(x)
    torch.autograd.backward(x.square().mean())
    norms = [0.0 if x.grad is None else x.grad.norm().item() for x in inputs]
    last = norms[-1] or 1.0
    return [value / last for value in norms]


def stacks(depth: int, width: int, seed: int) -> dict[str, list[float]]:
    """The gradients through four stacks: with and without residuals, with and without norms."""
    return {
        name: gradients(depth, width, residual=residual, norm=norm, seed=seed)
        for name, (residual, norm) in STACKS.items()
    }


@dataclass(frozen=True)
class Cost:
    """Time and memory of one attention layer: equation 1 step by step, and as one fused kernel."""

    n: int  # tokens
    n_number: int  # attention weights, H T^2
    seconds: float
    bytes: int  # peak, without q, k and v
    fused_seconds: float
    fused_bytes: int


@torch.inference_mode()
def cost(sizes: Sequence[int], *, n_head: int, d: int) -> tuple[list[Cost], dict[str, float]]:
    """Time and memory by the number of tokens T, and the exponent of T that fits each best."""
    costs = [_cost(n, n_head, d) for n in sizes]
    measures = ("seconds", "bytes", "fused_seconds", "fused_bytes")
    exponents = {
        name: _exponent(sizes, [float(getattr(cost, name)) for cost in costs]) for name in measures
    }
    return costs, exponents


def _cost(n: int, n_head: int, d: int) -> Cost:
    q, k, v = (torch.randn(1, n_head, n, d) for _ in range(3))

    def step_by_step() -> Tensor:
        return weigh(q, k)[1] @ v

    def fused() -> Tensor:
        return attend(q, k, v)

    return Cost(
        n=n,
        n_number=n_head * n * n,
        seconds=_seconds(step_by_step),
        bytes=_peak(step_by_step),
        fused_seconds=_seconds(fused),
        fused_bytes=_peak(fused),
    )


_profiling = Lock()  # PyTorch has one profiler


def _peak(function: Callable[[], object]) -> int:
    """The peak memory of a call in bytes, from PyTorch's allocations and frees."""
    os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # or the profiler logs when it starts
    with _profiling, profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiled:
        function()
    assert profiled.profiler is not None and profiled.profiler.kineto_results is not None
    events = [e for e in profiled.profiler.kineto_results.events() if e.name() == "[memory]"]
    changes = [event.nbytes() for event in sorted(events, key=lambda event: event.start_ns())]
    return max(0, *accumulate(changes, initial=0))


def _exponent(sizes: Sequence[int], values: Sequence[float]) -> float:
    """The slope of log value by log size, by least squares."""
    x, y = (torch.tensor(numbers, dtype=torch.float64).log() for numbers in (sizes, values))
    x, y = x - x.mean(), y - y.mean()
    return ((x * y).sum() / x.square().sum()).item() if len(sizes) > 1 else 0.0


@torch.inference_mode()
def loop_and_product(n: int, d: int) -> dict[str, float]:
    """Seconds for the scores of n queries and keys, as a loop in Python and as one product."""
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


def _seconds(function: Callable[[], object], rounds: int = 3) -> float:
    """The median time of a call, after one that is not counted."""
    function()
    times = []
    for _ in range(rounds):
        start = time.perf_counter()
        function()
        times.append(time.perf_counter() - start)
    return median(times)
