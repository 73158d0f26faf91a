"""Results of a forward pass: numbers together with the tokens they belong to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from attention_atlas.model.tape import Kind, Quantity
from torch import Tensor


class Token(NamedTuple):
    """One piece of a text."""

    id: int
    raw: str  # the vocabulary's spelling: "##ing", "Ġthe"
    text: str  # readable: "ing", " the"
    start: int = 0  # character span in the text; empty for a special token that was added
    end: int = 0
    special: bool = False
    unknown: bool = False  # the vocabulary lacks it; `text` is what it stands for
    word: int | None = None  # index of its word, None for specials
    segment: int = 0  # 0, or 1 in the second text, its closing special token included
    token_type: int | None = None  # what a model is told of it, where the tokenizer gives one


@dataclass(frozen=True)
class Selection:
    """Which of a run's attention to keep; None is every kind, layer or head."""

    quantity: Quantity = "attn"
    kind: Kind | None = None
    layers: tuple[int, ...] | None = None
    heads: tuple[int, ...] | None = None


@dataclass(frozen=True)
class AttentionRecord:
    """All attention of one kind in one forward pass, with the tokens of its two axes.

    record.attn[layer, head, q, k] is how much the query token q_tokens[q] attends to the key token
    k_tokens[k]; `layers` and `heads` are their numbers in the model. Where `mask` is False,
    attention is not allowed. `quantity` names what `attn` holds if not attention: the scores, say.
    """

    kind: Kind
    attn: Tensor  # (L, H, Tq, Tk)
    mask: Tensor  # bool, (1 or L, 1 or H, Tq, Tk)
    q_tokens: tuple[Token, ...]  # length Tq
    k_tokens: tuple[Token, ...]  # length Tk
    layers: tuple[int, ...]  # length L, or those that were reduced to one
    heads: tuple[int, ...]  # length H, or those that were reduced to one
    quantity: Quantity = "attn"
    reduce: str = "none"

    def __post_init__(self) -> None:
        shape, labels = tuple(self.attn.shape), (len(self.q_tokens), len(self.k_tokens))
        if shape[-2:] != labels:
            raise ValueError(f"{self.kind} attention {shape} has {labels} query and key tokens")
        if self.reduce == "none" and shape[:2] != (len(self.layers), len(self.heads)):
            raise ValueError(f"{self.kind} attention {shape} has {self.layers=} and {self.heads=}")


def collapsed(mask: Tensor) -> Tensor:
    """(L, H, Tq, Tk) -> an axis of layers or heads along which all are equal gets length 1."""
    for axis in (0, 1):
        first = mask.narrow(axis, 0, 1)
        mask = first if torch.equal(first.expand_as(mask), mask) else mask
    return mask


@dataclass(frozen=True)
class Run:
    """A forward pass: the text and its tokens, the attention, the model's predictions."""

    text: str
    text_pair: str | None
    target: str | None  # what the encoder-decoder's decoder reads, given or decoded
    target_decoded: bool
    sequences: dict[str, tuple[Token, ...]]  # "source", and for the encoder-decoder "target"
    records: dict[Kind, AttentionRecord]  # of the selected kinds
    predictions: dict[str, Any]

    @property
    def n_byte(self) -> int:
        """About how much memory it takes: its tensors, its texts several times, a fixed rest."""
        tensors = [t for record in self.records.values() for t in (record.attn, record.mask)]
        n_token = sum(map(len, self.sequences.values()))
        n_char = sum(len(text or "") for text in (self.text, self.text_pair, self.target))
        rest = 10_000 + 500 * n_token + 8 * n_char
        return sum(tensor.numel() * tensor.element_size() for tensor in tensors) + rest


@dataclass(frozen=True)
class Sketch:
    """Thumbnails of all heads of one kind, and metrics or none: the overview of a long text.

    `attn` and `mask` are block maxima: a cell covers `block` query by key tokens.
    """

    kind: Kind
    attn: Tensor  # (L, H, at most size, at most size)
    mask: Tensor  # bool, (1 or L, 1 or H, likewise)
    metrics: dict[str, Tensor]  # each (L, H)
    size: int
    block: tuple[int, int]
    q_tokens: tuple[Token, ...]
    k_tokens: tuple[Token, ...]
    layers: tuple[int, ...]
    heads: tuple[int, ...]

    def answers(self, size: int, measured: bool) -> bool:
        """Whether it has this size, 0 for any, and metrics if they are asked for."""
        return size in (0, self.size) and (bool(self.metrics) or not measured)

    @property
    def n_byte(self) -> int:
        """About how much memory it takes."""
        tensors = (self.attn, self.mask, *self.metrics.values())
        rest = 500 * (len(self.q_tokens) + len(self.k_tokens))
        return sum(tensor.numel() * tensor.element_size() for tensor in tensors) + rest


def state_names(n_layer: int) -> list[str]:
    """Names of the residual stream's states: the embedding, then after each layer, from layer 0."""
    return ["embedding", *(f"layer {i}" for i in range(n_layer))]


def n_within(tokens: Sequence[Token], sequence: Sequence[Token], length: int | None) -> int | None:
    """How many of an axis's tokens begin before a position of their sequence; None: all of them.

    The axis may have words in place of their pieces, and lack the special tokens.
    """
    if length is None or len(sequence) <= length:
        return None
    before, positions = 0, iter(enumerate(sequence))
    for token in tokens:
        key = token.id, token.segment, token.start
        position = next(i for i, t in positions if (t.id, t.segment, t.start) == key)
        before += position < length
    return before if before < len(tokens) else None


# The sequence of each axis of a kind: (query, key).
AXES: dict[Kind, tuple[str, str]] = {
    "encoder": ("source", "source"),
    "decoder": ("target", "target"),
    "cross": ("target", "source"),
}


def axes(kind: Kind, sequences: Mapping[str, tuple[Token, ...]]) -> tuple[str, str]:
    """The names of a kind's query and key sequences; a model with one text has only "source"."""
    q, k = AXES[kind]
    return (q if q in sequences else "source"), (k if k in sequences else "source")
