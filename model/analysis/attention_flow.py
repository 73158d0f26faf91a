"""Attention flow (Abnar & Zuidema 2020): attention as the capacity of pipes between the layers."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator

import torch
from torch import Tensor

NONE = 1e-12  # a capacity so small that it is none


def capacities(attn: Tensor) -> Tensor:
    """Half the mean over heads, half the residual stream: (L, H, T, T) -> (L, T, T)."""
    eye = torch.eye(attn.size(-1), dtype=attn.dtype, device=attn.device)
    return (attn.mean(1) + eye) / 2


def attention_flow(capacity: Tensor, query: int) -> Tensor:
    """The largest flow from a query after the last layer to each input token alone: (T,).

    capacity[layer, q, k] (L, T, T) is that of the pipe from token q after the layer to token k
    before it.
    """
    n_layer, T = capacity.shape[:2]
    return torch.tensor(
        [Pipes(capacity.tolist()).largest_flow(n_layer * T + query, k) for k in range(T)],
        dtype=torch.double,
    )


class Pipes:
    """A network whose node layer * T + token is a token before that layer; Dinic's algorithm."""

    def __init__(self, capacity: list[list[list[float]]]) -> None:
        T = len(capacity[0])
        self.edges: list[list[int]] = [[] for _ in range((len(capacity) + 1) * T)]
        self.ends: list[int] = []
        self.left: list[float] = []  # capacity that is left; edge i ^ 1 is edge i backwards
        for layer, rows in enumerate(capacity):
            for q, row in enumerate(rows):
                for k, size in enumerate(row):
                    if size > NONE:
                        self._add((layer + 1) * T + q, layer * T + k, size)

    def _add(self, start: int, end: int, size: float) -> None:
        for here, there, capacity in ((start, end, size), (end, start, 0.0)):
            self.edges[here].append(len(self.ends))
            self.ends.append(there)
            self.left.append(capacity)

    def largest_flow(self, source: int, sink: int) -> float:
        total = 0.0
        while (distance := self._distances(source))[sink] >= 0:
            rest = [iter(edges) for edges in self.edges]
            current = [next(edges, None) for edges in rest]
            while (path := self._path(source, sink, distance, rest, current)) is not None:
                size = min(self.left[edge] for edge in path)
                for edge in path:
                    self.left[edge] -= size
                    self.left[edge ^ 1] += size
                total += size
        return total

    def _distances(self, source: int) -> list[int]:
        """Pipes on the shortest way from the source; -1: there is none."""
        distance = [-1] * len(self.edges)
        distance[source] = 0
        queue = deque([source])
        while queue:
            node = queue.popleft()
            for edge in self.edges[node]:
                end = self.ends[edge]
                if distance[end] < 0 and self.left[edge] > NONE:
                    distance[end] = distance[node] + 1
                    queue.append(end)
        return distance

    def _path(
        self,
        source: int,
        sink: int,
        distance: list[int],
        rest: list[Iterator[int]],
        current: list[int | None],
    ) -> list[int] | None:
        """Edges of a shortest way that has capacity left; edges that lead nowhere are dropped."""
        path: list[int] = []
        node = source
        while node != sink:
            edge = current[node]
            if edge is None:  # a dead end: back, and never here again
                if not path:
                    return None
                node = self.ends[path.pop() ^ 1]
                current[node] = next(rest[node], None)
            elif self.left[edge] > NONE and distance[self.ends[edge]] == distance[node] + 1:
                path.append(edge)
                node = self.ends[edge]
            else:
                current[node] = next(rest[node], None)
        return path
