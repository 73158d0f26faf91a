"""A metric as a function of a text's word vectors, and of one layer's attention."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import torch
from attention_atlas.model.analysis.lab import Metric, ReadText, measured
from attention_atlas.model.messages import Message
from attention_atlas.model.spec import BadInput
from attention_atlas.model.tape import Edit, Kind
from torch import Tensor
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

N_POINT = 48  # of the integral
TOKENS_AT_ONCE = 512
STEP = 1e-2  # of a finite difference, as a share


class WordVectors(TorchFunctionMode):
    """The word vectors of a text replaced where the model looks them up."""

    def __init__(self, ids: Tensor, change: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.ids, self.change = ids, change
        self.given: Tensor | None = None  # what took their place: (B, T, D)

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        if func is F.embedding and self.given is None and self._is_text(args[0]):
            self.given = out = self.change(out)
        return out

    def _is_text(self, ids: Tensor) -> bool:
        is_as_long = ids.ndim == 2 and ids.size(1) == len(self.ids)
        return is_as_long and torch.equal(ids, self.ids.expand_as(ids))


def with_vectors(
    text: ReadText, metric: Metric, change: Callable[[Tensor], Tensor], n: int = 1
) -> tuple[Tensor, Tensor]:
    """The metric (n,) with the word vectors (n, T, D) changed, and what they became."""
    tokens = text.sequences["source"]
    ids = torch.tensor([token.id for token in tokens], device=text.x.device)
    with WordVectors(ids, change) as mode:
        values = measured(text, metric, n=n)
    if mode.given is None:
        message = Message(
            "no-word-vectors",
            "{model} does not look its word vectors up in a table",
            model=text.loaded.name,
        )
        raise BadInput("model", message)
    return values, mode.given


def _leaf(x: Tensor) -> Tensor:
    return x.detach().clone().requires_grad_()


def gradient_times_input(text: ReadText, metric: Metric) -> Tensor:
    """Each word vector times the metric's gradient: (T,)."""
    with torch.inference_mode(False), torch.enable_grad():
        value, x = with_vectors(text, metric, _leaf)
        (gradient,) = torch.autograd.grad(value.sum(), x)
    return (gradient * x).detach()[0].sum(-1).double().cpu()


@torch.inference_mode()
def at_length(text: ReadText, metric: Metric, length: float) -> float:
    """The metric with all word vectors multiplied."""
    return with_vectors(text, metric, lambda x: x * length)[0].item()


def _scaled(shares: Tensor) -> Callable[[Tensor], Tensor]:
    """Word vectors times shares (n, 1, 1), as leaves of the graph."""
    return lambda x: _leaf(x * shares.clone())


@cache
def gauss_legendre(n: int) -> tuple[Tensor, Tensor]:
    """Points in (0, 1) and weights: from the Jacobi matrix (Golub & Welsch 1969)."""
    k = torch.arange(1, n, dtype=torch.double)
    beside = k / (4 * k**2 - 1).sqrt()
    values, vectors = torch.linalg.eigh(torch.diag(beside, 1) + torch.diag(beside, -1))
    return (values + 1) / 2, vectors[0] ** 2


def integrated_gradients(text: ReadText, metric: Metric, n: int = N_POINT) -> Tensor:
    """Sundararajan et al. 2017, from word vectors of 0, by Gauss-Legendre quadrature: (T,)."""
    points, weights = gauss_legendre(n)
    size = max(1, TOKENS_AT_ONCE // text.n_token)
    total = torch.zeros(len(text.sequences["source"]), dtype=torch.double)
    parts = torch.split(points, size), torch.split(weights, size)
    for point, weight in zip(*parts, strict=True):
        change = _scaled(point.to(text.x)[:, None, None])
        with torch.inference_mode(False), torch.enable_grad():
            values, x = with_vectors(text, metric, change, len(point))
            (gradient,) = torch.autograd.grad(values.sum(), x)
        effect = (gradient * x).detach().double().cpu().sum(-1)  # of the scaled vectors
        total += (effect / point[:, None] * weight[:, None]).sum(0)
    return total


def gate(kind: Kind, layer: int, where: Tensor) -> Edit:
    return Edit("gate", kind, layer, where=where)


def gradient_times_attention(
    text: ReadText, metric: Metric, kind: Kind, layer: int, head: int, query: int
) -> Tensor:
    """A row of attention times the metric's gradient by it: (Tk,)."""
    _, n_head, n_query, _ = text.z[kind][layer].shape
    n_key = len(text.sequences["source"])
    with torch.inference_mode(False), torch.enable_grad():
        ones = torch.ones(1, n_head, n_query, n_key, device=text.x.device, requires_grad=True)
        value = measured(text, metric, [gate(kind, layer, ones)]).sum()
        (gradient,) = torch.autograd.grad(value, ones)
    return gradient[0, head, query].double().cpu()


@torch.inference_mode()
def attention_slope(
    text: ReadText, metric: Metric, place: tuple[Kind, int, int, int, int]
) -> float:
    """The metric's measured derivative by the share of one cell (kind, layer, head, query, key)."""
    kind, layer, head, query, key = place
    _, n_head, n_query, _ = text.z[kind][layer].shape
    ends = []
    for share in (1 + STEP, 1 - STEP):
        ones = torch.ones(1, n_head, n_query, len(text.sequences["source"]), device=text.x.device)
        ones[0, head, query, key] = share
        ends.append(measured(text, metric, [gate(kind, layer, ones)]).item())
    return (ends[0] - ends[1]) / (2 * STEP)
