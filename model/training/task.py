"""What every training task has: batches, a loss, and held-out texts to measure a model by.

A task with `train=False` reads only what is held out: enough to measure a model. A batch is a pure
function of seed, step and the share of the run that is done, so a run resumes where it stopped.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any, Generic, TypeVar

import numpy as np
import torch
from attention_atlas.model.positions import sinusoidal
from attention_atlas.model.tape import Tape
from attention_atlas.model.tokenizers import Tokenizer
from attention_atlas.model.zoo import Loaded
from numpy.random import Generator
from torch import Tensor, nn
from torch.nn import functional as F

Ids = np.ndarray[tuple[int], np.dtype[np.uint16]]
Batch = dict[str, Tensor]
Number = TypeVar("Number", int, float)
Item = TypeVar("Item")
Model = TypeVar("Model", bound=nn.Module)

# How many times a file's documents, or pairs, are seen for each time another's are.
WEIGHTS = {"classics": 0.5, "asp": 2.0, "onestop": 2.0, "fairytaleqa": 2.0, "europarl": 0.4}
NO_LABEL = -100  # nothing is to be predicted here
N_LOOK = 16  # texts a head is judged by
COPIED = 50  # random tokens that come twice
GPU_CHUNK = 16_384
CHUNK = 512  # places whose logits are computed at a time, so that they stay in the cache


class Task(ABC, Generic[Model]):
    """What a model is trained on, how fast, and what it is measured by."""

    name: str
    learning_rate: float  # of AdamW
    matrix_rate: float  # of Muon
    batch_tokens: int
    recipe: str  # what else a card says of the training
    start: str = ""  # the weights that training begins from; random ones if empty
    muon_steps = 5  # of its Newton-Schulz iteration
    tokenizer: Tokenizer
    sources: list[str]

    @property
    @abstractmethod
    def longest(self) -> int:
        """Tokens of the longest text that training shows, special tokens included."""

    def longest_at(self, progress: float) -> int:
        """The same of the training until this share of the run."""
        return self.longest

    @abstractmethod
    def build(self) -> Model: ...
    @abstractmethod
    def batch(self, rng: Generator, n_token: int, progress: float) -> Batch: ...
    @abstractmethod
    def loss(self, model: Model, batch: Batch) -> Tensor: ...
    @abstractmethod
    def held_out(self, rng: Generator, n_batch: int) -> Iterator[Batch]: ...
    @abstractmethod
    def can_look(self) -> bool: ...
    @abstractmethod
    def look(self, model: Model, device: torch.device) -> Iterator[Tape]:
        """The attention of all heads on held-out texts."""

    def look_at_copies(self, model: Model, device: torch.device) -> Iterator[Tape]:
        """The attention of all heads on repeated random tokens; a GPT alone learns to copy."""
        return iter(())

    def rates(self, name: str) -> tuple[float, float]:
        """A parameter's learning rate of AdamW while the heads train alone, and after that."""
        return 0.0, self.learning_rate

    def rate(self, group: dict[str, Any], done: float, step: int) -> float:
        """A parameter group's learning rate at a share of the run."""
        return float(group["top_lr"] * schedule(done, step))


def schedule(done: float, step: int) -> float:
    """The learning rate's factor: 100 steps up, level, then down to 0 over the second half."""
    return min(1.0, (step + 1) / 100, max(0.0, 2 * (1 - done)))


def trained(loaded: Loaded, architecture: type[Model]) -> Model:
    """The model itself, for a measure that only this architecture has."""
    assert isinstance(loaded.model, architecture)
    return loaded.model


@dataclass(frozen=True)
class Ragged:
    """Many id sequences in one flat array; sequence i is ids[offset[i]:offset[i + 1]]."""

    ids: Ids
    offset: np.ndarray[tuple[int], np.dtype[np.int64]]

    @classmethod
    def of(cls, tokenizer: Tokenizer, texts: list[str]) -> Ragged:
        encodings = tokenizer.backend.encode_batch_fast(texts, add_special_tokens=False)
        sizes = np.fromiter((len(e.ids) for e in encodings), np.int64, len(encodings))
        flat = chain.from_iterable(e.ids for e in encodings)
        ids = np.fromiter(flat, np.uint16, int(sizes.sum()))
        return cls(ids, np.concatenate([[0], sizes.cumsum()]))

    def __len__(self) -> int:
        return len(self.offset) - 1

    def __getitem__(self, i: int) -> Ids:
        return self.ids[self.offset[i] : self.offset[i + 1]]


def padded(rows: list[np.ndarray], fill: int) -> Tensor:
    """Rows of different length -> (B, T) int64."""
    out = np.full((len(rows), max(map(len, rows))), fill, np.int64)
    for i, row in enumerate(rows):
        out[i, : len(row)] = row
    return torch.from_numpy(out)


def weighted(docs: list[Item], name: str, rng: Generator) -> list[Item]:
    """A file's documents, or its pairs, repeated or thinned by its weight."""
    weight = WEIGHTS.get(name, 1.0)
    times = np.floor(weight + rng.random(len(docs))).astype(int)
    return [doc for doc, n in zip(docs, times, strict=True) for _ in range(n)]


def cross_entropy(
    logits: Callable[[Tensor], Tensor], x: Tensor, label: Tensor, *, smoothing: float = 0.0
) -> Tensor:
    """Mean loss where there is a label: x (..., D), label (...), without all logits at once."""
    x, label = x.flatten(0, label.ndim - 1), label.flatten()
    chunk = GPU_CHUNK
    if x.device.type != "cuda":  # a GPU would have to wait for the number of labels
        chosen = label != NO_LABEL
        x, label, chunk = x[chosen], label[chosen], CHUNK  # (N, D), (N,)
    parts = [
        F.cross_entropy(
            logits(rows).float(),
            ids,
            ignore_index=NO_LABEL,
            reduction="sum",
            label_smoothing=smoothing,
        )
        for rows, ids in zip(torch.split(x, chunk), torch.split(label, chunk), strict=True)
    ]
    return torch.stack(parts).sum() / (label != NO_LABEL).sum().clamp(min=1)


def share_until(shares: Sequence[tuple[Number, float]], progress: float) -> Number:
    """The value for this share of a run, of ((value, until this share), …)."""
    return next(value for value, end in shares if progress <= end)


def sinusoidal_start(position: nn.Embedding, size: float) -> None:
    """Learned positions that begin as sines: looking at a neighbour is then a linear map away.

    Begun at random, every position learns that by itself, and for millions of tokens every head
    looks at all tokens alike.
    """
    with torch.no_grad():
        position.weight.copy_(size * sinusoidal(*position.weight.shape))
