"""What a trial found out about a model of transformers: all that its adapter is built from."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from attention_atlas.model.hub.head import Head
from attention_atlas.model.hub.lens import Place
from attention_atlas.model.protocol import Labels
from attention_atlas.model.tape import Kind
from torch import nn

Stack = Literal["encoder", "decoder"]
LONGEST = 2048  # tokens taken of a model whose positions go on


@dataclass(frozen=True)
class Sizes:
    """A `Config` whose heads may be of any width, and share keys and values in groups."""

    vocab_size: int
    n_ctx: int
    n_layer: int
    n_head: int
    d_model: int
    d_head: int
    d_ff: int
    n_kv_head: int


@dataclass(frozen=True)
class Table:
    """The module that gives a stack's position vectors, and its row for the first position."""

    module: nn.Module
    first: int


@dataclass(frozen=True)
class InputParts:
    """What a model's input is the sum of, beside its position vectors."""

    word: nn.Module
    scale: float  # of the word vectors
    segment: nn.Module | None


@dataclass(frozen=True)
class Calls:
    """How the attention layers call the lens, in their order; if the lens is not used, why."""

    why: str = ""
    plans: Mapping[Stack, tuple[Place, ...]] = field(default_factory=dict)
    scales: Mapping[Place, float] = field(default_factory=dict)
    softcaps: Mapping[Place, float] = field(default_factory=dict)
    n_kv_head: int | None = None
    rotated: frozenset[Place] = frozenset()  # layers whose q and k carry their positions


@dataclass(frozen=True)
class Findings:
    """Everything about a model that its adapter needs to know."""

    sizes: Sizes
    shapes: Mapping[Kind, tuple[int, int]]  # layers and heads of each kind of attention
    tasks: tuple[str, ...]
    labels: Labels | None  # of a head that was fine-tuned to tell them apart
    lacks: tuple[str, ...]  # of q, k, v, scores, edits, predictions
    positions: str
    tables: Mapping[Stack, Table]
    input_parts: InputParts | None  # None: its input is no such sum
    last_layers: tuple[nn.Module, ...]  # what comes after them is a norm
    calls: Calls
    head: Head
    mlps: Mapping[Stack, tuple[nn.Module, ...]]  # of each layer the map that ends its MLP
    new_cache: Callable[[], Any] | None  # an empty KV cache; None: it reads no text in parts
    token_type: int | None  # of each token of a decoder's text, if its tokenizer gives one
