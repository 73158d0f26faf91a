"""What each edge of one head does: the attention of one query to one key set to 0, alone.

The row's other weights stay as they are, so that an edge's effect is that of what it carries.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from attention_atlas.model.analysis.input_gradients import gate
from attention_atlas.model.analysis.lab import MOST_TOKENS, Metric, ReadText, measured
from attention_atlas.model.record import axes
from attention_atlas.model.tape import Kind
from torch import Tensor


def _gates(text: ReadText, kind: Kind, layer: int, n: int) -> Tensor:
    """n rows of a batch, each letting everything through: (n, H, Tq, Tk)."""
    _, n_head, n_query, _ = text.z[kind][layer].shape
    n_key = len(text.sequences[axes(kind, text.sequences)[1]])
    return torch.ones(n, n_head, n_query, n_key, device=text.x.device)


@torch.inference_mode()
def edge_sweep(
    text: ReadText, metric: Metric, kind: Kind, layer: int, head: int
) -> Iterator[Tensor]:
    """Query by query, the metric without each of its edges: (Tk,)."""
    n_query, n_key = _gates(text, kind, layer, 1).shape[2:]
    size = max(1, MOST_TOKENS // text.n_token)
    for query in range(n_query):
        parts = []
        for keys in torch.arange(n_key, device=text.x.device).split(size):  # type: ignore[no-untyped-call]
            where = _gates(text, kind, layer, len(keys))
            where[torch.arange(len(keys)), head, query, keys] = 0
            parts.append(measured(text, metric, [gate(kind, layer, where)], len(keys)))
        yield torch.cat(parts).cpu()


@torch.inference_mode()
def without_head(text: ReadText, metric: Metric, kind: Kind, layer: int, head: int) -> float:
    """The metric without all edges of the head."""
    where = _gates(text, kind, layer, 1)
    where[:, head] = 0
    return measured(text, metric, [gate(kind, layer, where)]).item()


def edge_estimate(text: ReadText, metric: Metric, kind: Kind, layer: int, head: int) -> Tensor:
    """The change of the metric without each edge, by its gradient: -A dm/dA, (Tq, Tk)."""
    with torch.inference_mode(False), torch.enable_grad():
        where = _gates(text, kind, layer, 1).requires_grad_()
        value = measured(text, metric, [gate(kind, layer, where)]).sum()
        (gradient,) = torch.autograd.grad(value, where)
    return -gradient[0, head].cpu()
