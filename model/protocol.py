"""The interface of all models: what a model is, its sizes, and reading tokens with a tape.

    Encoder     reads a text; predicts masked words                 Bert, HubEncoder
    Decoder     reads a text causally; predicts the next token      GPT, HubDecoder
    Translator  reads a source, and a target causally               EncoderDecoder, Recurrent, …

A new architecture is one class: it derives from one of the three and overrides what differs. Other
code uses these methods instead of asking for a model's class.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple, Protocol

from attention_atlas.model.past import Past
from attention_atlas.model.record import Token
from attention_atlas.model.tape import Kind, Tape
from torch import Tensor, nn


class Dimensions(Protocol):
    """The sizes of a model, by the names of docs/architecture.md."""

    @property
    def vocab_size(self) -> int: ...
    @property
    def n_ctx(self) -> int: ...
    @property
    def n_layer(self) -> int: ...
    @property
    def n_head(self) -> int: ...
    @property
    def n_kv_head(self) -> int: ...
    @property
    def d_model(self) -> int: ...
    @property
    def d_head(self) -> int: ...
    @property
    def d_ff(self) -> int: ...


class Labels(NamedTuple):
    """What the head of a fine-tuned model tells apart."""

    names: tuple[str, ...]
    of: Literal["text", "token", "answer", "choice"]
    # answer: of a question, as its first and last token; choice: how well a second text fits
    several: bool = False  # whether a text may have several labels, or none
    is_value: bool = False  # one number in place of labels: regression


class Batch(NamedTuple):
    """The input of a model."""

    ids: Tensor  # (B, T): the text; of a translator the source
    types: Tensor | None = None  # (B, T): token types, if the model's tokenizer gives any
    target: Tensor | None = None  # (B, Tq): the input of a translator's decoder, with <s>
    padding: Tensor | None = None  # (B, T) bool, True at real tokens; ignored by decoders


class Model(nn.Module, ABC):
    """A model and its properties."""

    family: str  # "encoder", "decoder", "encoder-decoder", "recurrent"
    kinds: tuple[Kind, ...]  # of attention; the first is that of the text
    tasks: tuple[str, ...]  # of its head; empty if it has no head
    positions: str  # "sinusoidal", "learned", "rotary", …
    config: Dimensions
    lacks: tuple[str, ...] = ()  # those of q, k, v, scores, edits, predictions not available
    why: str = ""  # the reason
    labels: Labels | None = None  # of a head that was fine-tuned to tell them apart
    sequences: Mapping[str, tuple[Token, ...]] | None = None  # the only ones, where it is a record
    has_mlps: bool = False  # whether its layers' MLPs can be recorded and edited
    broadcasts: bool = False  # whether one row becomes as many as an edit has, where it acts
    comparison = "dot_product"  # of queries and keys; or "additive"

    @abstractmethod
    def read(self, batch: Batch, tape: Tape | None = None) -> Tensor:
        """The last hidden states (B, T, D); of a translator with a target, the decoder's."""

    @abstractmethod
    def logits(self, x: Tensor) -> Tensor:
        """The prediction from hidden states: (..., D) -> (..., V)."""

    def normed(self, x: Tensor) -> Tensor:
        """The stream after a layer (1, T, D) as `logits` takes it: after the last norm, if any."""
        return x

    @property
    def norm_is_known(self) -> bool:
        """Whether `normed` is available."""
        return True

    def label_logits(self, ids: Tensor, x: Tensor) -> Tensor:
        """The labels of a text from its ids (1, T) and hidden states (1, T, D): (n,) of the text,
        (T, n) of its tokens, (2, T) of an answer's first and last token."""
        raise NotImplementedError(f"{type(self).__name__} has no head that tells labels apart")

    def shape(self, kind: Kind) -> tuple[int, int]:
        """Layers and heads of a kind."""
        return self.config.n_layer, self.config.n_head

    def scale(self, kind: Kind, layer: int) -> tuple[float, float | None]:
        """The factor of a layer's dot products, and the bound of its scores, if there is one."""
        return self.config.d_head**-0.5, None

    def products(self, q: Tensor, k: Tensor) -> Tensor:
        """The terms of one query's scores, before the scale: q (d,), k (Tk, d) -> (Tk, d)."""
        return q * k

    def rotates(self, kind: Kind, layer: int) -> bool:
        """Whether q and k are rotated by their positions."""
        return False

    def position_vectors(self) -> Tensor | None:
        """The position vectors that are added to the input, (n_ctx, D), or None."""
        return None

    @property
    def has_input_parts(self) -> bool:
        """Whether its input is the sum of `input_parts`."""
        return self.position_vectors() is not None

    def input_parts(self, ids: Tensor, types: Tensor | None) -> dict[str, Tensor]:
        """Word, position and segment vectors of a text, (T, D) each: ids and types (T,)."""
        raise NotImplementedError(f"the input of {type(self).__name__} is no sum of vectors")

    def self_attention_layers(self) -> Sequence[nn.Module]:
        """The layers of the stack that reads the text; none if only their attention is known."""
        return ()

    @property
    def dtype(self) -> str:
        """The precision of the weights and of the computation."""
        return str(next(self.parameters()).dtype).removeprefix("torch.")


class Encoder(Model):
    """A model that attends to both sides of a word."""

    family = "encoder"
    kinds: tuple[Kind, ...] = ("encoder",)

    @abstractmethod
    def encode(
        self,
        ids: Tensor,
        types: Tensor | None = None,
        tape: Tape | None = None,
        padding: Tensor | None = None,
    ) -> Tensor:
        """ids (B, T) -> x (B, T, D). `types` are token types, if the tokenizer gives any;
        `padding` is True at real tokens."""

    @abstractmethod
    def masked_words(self, x: Tensor) -> Tensor:
        """(..., D) -> (..., V)"""

    @abstractmethod
    def next_sentence(self, x: Tensor) -> Tensor:
        """(B, T, D) -> (B, 2): [is next, is not]"""

    def read(self, batch: Batch, tape: Tape | None = None) -> Tensor:
        return self.encode(batch.ids, batch.types, tape, batch.padding)

    def logits(self, x: Tensor) -> Tensor:
        return self.masked_words(x)


class Decoder(Model):
    """A model that attends to earlier tokens and predicts the next one."""

    family = "decoder"
    kinds: tuple[Kind, ...] = ("decoder",)

    @abstractmethod
    def hidden(self, ids: Tensor, tape: Tape | None = None, past: Any = None) -> Tensor:
        """ids (B, T) -> x (B, T, D) after the last norm. With `past`, ids are the new ones only."""

    @abstractmethod
    def new_past(self) -> Past | None:
        """An empty KV cache; None if the model has no use for one."""

    def read(self, batch: Batch, tape: Tape | None = None) -> Tensor:
        return self.hidden(batch.ids, tape)

    def forward(self, ids: Tensor, tape: Tape | None = None, past: Any = None) -> Tensor:
        """ids (B, T) -> logits (B, T, V)"""
        return self.logits(self.hidden(ids, tape, past))


class Translator(Model):
    """An encoder of the source, and a decoder that attends to what the encoder returns."""

    family = "encoder-decoder"
    kinds: tuple[Kind, ...] = ("encoder", "decoder", "cross")

    @abstractmethod
    def encode(
        self, ids: Tensor, tape: Tape | None = None, padding: Tensor | None = None
    ) -> Tensor:
        """Source ids (B, Tk) -> memory (B, Tk, D). `padding` is True at real tokens."""

    @abstractmethod
    def hidden(
        self,
        ids: Tensor,
        memory: Tensor,
        tape: Tape | None = None,
        padding: Tensor | None = None,
        past: Any = None,
    ) -> Tensor:
        """Target ids (B, Tq), which begin with <s>, and memory -> x (B, Tq, D). With `past`, ids
        are the new ones only."""

    @abstractmethod
    def new_past(self) -> Past | None:
        """An empty KV cache; None if the model has no use for one."""

    def usual_length(self, n_source: int) -> int:
        """How many tokens a translation of n_source tokens may have: all that fit after <s>."""
        return self.config.n_ctx - 1

    def read(self, batch: Batch, tape: Tape | None = None) -> Tensor:
        memory = self.encode(batch.ids, tape, batch.padding)
        if batch.target is None:
            return memory
        return self.hidden(batch.target, memory, tape, batch.padding)

    def decode(
        self,
        ids: Tensor,
        memory: Tensor,
        tape: Tape | None = None,
        padding: Tensor | None = None,
    ) -> Tensor:
        """Target ids (B, Tq) and memory (B, Tk, D) -> logits of the next token (B, Tq, V)."""
        return self.logits(self.hidden(ids, memory, tape, padding))

    def forward(
        self,
        source: Tensor,
        target: Tensor,
        tape: Tape | None = None,
        padding: Tensor | None = None,
    ) -> Tensor:
        """Teacher forcing: source (B, Tk), target (B, Tq) -> logits (B, Tq, V)."""
        return self.decode(target, self.encode(source, tape, padding), tape, padding)
