"""Past: what a model remembers of the tokens it has read, for one generation: its KV cache.

Decoding reads a token at a time. The keys and values of the tokens before it stay as they were,
because no token attends to a later one; those of a translator's source are computed once.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import Tensor


class Past(ABC):
    """The KV cache of any model, ours or Hugging Face's."""

    @abstractmethod
    def __len__(self) -> int:
        """How many tokens were read."""

    @abstractmethod
    def select(self, rows: Tensor) -> None:
        """Row i of the batch continues what was row rows[i]: of a beam search, its hypotheses."""


class KeysValues:
    """The keys and values of one attention layer so far, (B, H, T, d) each."""

    def __init__(self, *, of_source: bool = False) -> None:
        """`of_source`: they are a translator's source's, which does not grow."""
        self.of_source = of_source
        self.kv: tuple[Tensor, Tensor] | None = None

    def __len__(self) -> int:
        return 0 if self.kv is None else self.kv[0].size(-2)

    @property
    def complete(self) -> tuple[Tensor, Tensor] | None:
        """Those of a source, once they are computed."""
        return self.kv if self.of_source else None

    def extend(self, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """Append new keys and values (B, H, T, d); return all of them."""
        if self.kv is not None:
            k, v = torch.cat([self.kv[0], k], dim=-2), torch.cat([self.kv[1], v], dim=-2)
        self.kv = k, v
        return self.kv

    def select(self, rows: Tensor) -> None:
        """See `Past`."""
        if self.kv is not None:
            k, v = self.kv
            self.kv = k[rows], v[rows]


class LayersPast(Past):
    """Of all layers of a decoder; without a source, those of cross-attention stay empty."""

    def __init__(self, n_layer: int) -> None:
        self.decoder = [KeysValues() for _ in range(n_layer)]
        self.cross = [KeysValues(of_source=True) for _ in range(n_layer)]

    def __len__(self) -> int:
        return len(self.decoder[0])

    def select(self, rows: Tensor) -> None:
        for layer in (*self.decoder, *self.cross):
            layer.select(rows)
