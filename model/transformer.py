"""Three Transformers: the encoder-decoder of the paper, BERT and GPT. Read it top to bottom.

    EncoderDecoder  Vaswani et al. 2017: post-norm, sinusoidal positions, ReLU, tied embeddings
    Bert            Devlin et al. 2019: post-norm, learned positions, segments, GELU, MLM and NSP
    GPT             Radford et al. 2019: pre-norm, learned positions, GELU (tanh), tied head

Shapes in the margin: B batch, T tokens (Tq of queries, Tk of keys), H heads, D d_model, d d_head,
V vocab_size. Masks are bool, True where attention is allowed. Every forward pass takes a `Tape`,
on which the attention layers record; a module stores nothing between calls.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from attention_atlas.model.attention import attend
from attention_atlas.model.past import KeysValues, LayersPast
from attention_atlas.model.positions import sinusoidal
from attention_atlas.model.protocol import Decoder, Encoder, Translator
from attention_atlas.model.tape import Kind, Tape, Track, edited_positions, feed, note, track
from torch import Tensor, nn
from torch.nn import functional as F

Activation = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Config:
    """Sizes. The encoder-decoder has n_layer layers in each of its two stacks."""

    vocab_size: int
    n_ctx: int
    n_layer: int
    n_head: int
    d_model: int
    d_ff: int
    dropout: float = 0.0
    n_segment: int = 2  # BERT only

    def __post_init__(self) -> None:
        if self.d_model % self.n_head:
            raise ValueError(f"d_model {self.d_model} does not split into {self.n_head} heads")

    @property
    def d_head(self) -> int:
        return self.d_model // self.n_head

    @property
    def n_kv_head(self) -> int:
        return self.n_head


class MultiHeadAttention(nn.Module):
    """Section 3.2.2: H heads of width d = D/H attend to `memory`; W_O mixes their outputs."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        D = config.d_model
        self.n_head, self.dropout = config.n_head, config.dropout
        self.W_Q, self.W_K = nn.Linear(D, D), nn.Linear(D, D)
        self.W_V, self.W_O = nn.Linear(D, D), nn.Linear(D, D)

    def forward(
        self,
        x: Tensor,
        memory: Tensor,
        *,
        mask: Tensor | None = None,
        track: Track | None = None,
        past: KeysValues | None = None,
    ) -> Tensor:
        q = self.split(self.W_Q(x))  # (B, H, Tq, d)
        k, v = self.keys_values(memory, past)  # (B, H, Tk, d)
        dropout = self.dropout if self.training else None
        z = attend(q, k, v, mask=mask, dropout=dropout, track=track)  # (B, H, Tq, d)
        return self.W_O(z.transpose(1, 2).flatten(2))  # (B, Tq, D)

    def keys_values(self, memory: Tensor, past: KeysValues | None) -> tuple[Tensor, Tensor]:
        """Those of `memory`, after those in the past; those of a source are computed once."""
        if past is not None and past.complete is not None:
            return past.complete
        k, v = self.split(self.W_K(memory)), self.split(self.W_V(memory))
        return (k, v) if past is None else past.extend(k, v)

    def split(self, x: Tensor) -> Tensor:
        """(B, T, D) -> (B, H, T, d)"""
        return x.view(*x.shape[:2], self.n_head, -1).transpose(1, 2)


class FeedForward(nn.Module):
    """Section 3.3: the same two-layer network for every position, D -> F -> D."""

    def __init__(self, config: Config, activation: Activation) -> None:
        super().__init__()
        self.W_in = nn.Linear(config.d_model, config.d_ff)
        self.W_out = nn.Linear(config.d_ff, config.d_model)
        self.activation = activation

    def forward(self, x: Tensor) -> Tensor:
        return self.W_out(self.activation(self.W_in(x)))


def causal_mask(Tq: int, Tk: int, device: torch.device) -> Tensor:
    """(Tq, Tk): the last Tq of Tk tokens, none of which may attend to a later one."""
    return torch.ones(Tq, Tk, dtype=torch.bool, device=device).tril(Tk - Tq)


def padding_mask(padding: Tensor | None) -> Tensor | None:
    """(B, Tk) bool, True at real tokens -> (B, 1, 1, Tk), for every head and query."""
    return None if padding is None else padding[:, None, None, :]


def gelu_tanh(x: Tensor) -> Tensor:
    """The tanh approximation of GELU that GPT-2 was trained with."""
    return F.gelu(x, approximate="tanh")


class EncoderLayer(nn.Module):
    """Self-attention, then feed-forward, each added to the residual stream, then normed."""

    norm_first = False

    def __init__(self, config: Config, activation: Activation, eps: float) -> None:
        super().__init__()
        self.attention = MultiHeadAttention(config)
        self.attention_norm = nn.LayerNorm(config.d_model, eps)
        self.feed_forward = FeedForward(config, activation)
        self.feed_forward_norm = nn.LayerNorm(config.d_model, eps)
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, x: Tensor, mask: Tensor | None, track: Track | None) -> Tensor:
        update = self.attention(x, x, mask=mask, track=track)
        x = self.attention_norm(x + self.dropout(update))  # (B, T, D)
        return self.feed_forward_norm(x + self.dropout(feed(track, self.feed_forward(x))))


class DecoderLayer(nn.Module):
    """Masked self-attention, attention to the encoder's memory, feed-forward; post-norm."""

    def __init__(self, config: Config, activation: Activation) -> None:
        super().__init__()
        self.attention = MultiHeadAttention(config)
        self.attention_norm = nn.LayerNorm(config.d_model)
        self.cross_attention = MultiHeadAttention(config)
        self.cross_attention_norm = nn.LayerNorm(config.d_model)
        self.feed_forward = FeedForward(config, activation)
        self.feed_forward_norm = nn.LayerNorm(config.d_model)
        self.dropout = nn.Dropout(config.dropout)

    def forward(
        self,
        x: Tensor,
        memory: Tensor,
        masks: tuple[Tensor | None, Tensor | None],
        tracks: tuple[Track | None, Track | None],
        pasts: tuple[KeysValues, KeysValues] | tuple[None, None],
    ) -> Tensor:
        update = self.attention(x, x, mask=masks[0], track=tracks[0], past=pasts[0])
        x = self.attention_norm(x + self.dropout(update))  # (B, Tq, D)
        update = self.cross_attention(x, memory, mask=masks[1], track=tracks[1], past=pasts[1])
        x = self.cross_attention_norm(x + self.dropout(update))
        return self.feed_forward_norm(x + self.dropout(feed(tracks[0], self.feed_forward(x))))


class GPTLayer(nn.Module):
    """Pre-norm: each sublayer reads a normed copy of the residual stream."""

    norm_first = True

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.attention_norm = nn.LayerNorm(config.d_model)
        self.attention = MultiHeadAttention(config)
        self.feed_forward_norm = nn.LayerNorm(config.d_model)
        self.feed_forward = FeedForward(config, gelu_tanh)
        self.dropout = nn.Dropout(config.dropout)

    def forward(
        self, x: Tensor, mask: Tensor, track: Track | None, past: KeysValues | None
    ) -> Tensor:
        normed = self.attention_norm(x)
        update = self.attention(normed, normed, mask=mask, track=track, past=past)
        x = x + self.dropout(update)  # (B, T, D)
        return x + self.dropout(feed(track, self.feed_forward(self.feed_forward_norm(x))))


class EncoderDecoder(Translator):
    """The Transformer of "Attention Is All You Need", for translation."""

    tasks = ("translate",)
    positions = "sinusoidal"
    has_mlps = True
    broadcasts = True
    config: Config

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config
        self.embedding = nn.Embedding(config.vocab_size, config.d_model)  # input twice, and head
        self.encoder = nn.ModuleList(
            EncoderLayer(config, F.relu, 1e-5) for _ in range(config.n_layer)
        )
        self.decoder = nn.ModuleList(DecoderLayer(config, F.relu) for _ in range(config.n_layer))
        self.dropout = nn.Dropout(config.dropout)
        positions = sinusoidal(config.n_ctx, config.d_model)
        self.register_buffer("position", positions, persistent=False)  # (n_ctx, D)
        self.apply(xavier)
        nn.init.normal_(self.embedding.weight, std=config.d_model**-0.5)

    def embed(
        self, ids: Tensor, tape: Tape | None = None, stack: Kind = "encoder", n_past: int = 0
    ) -> Tensor:
        """Section 3.4: embeddings times sqrt(D), plus positions, (B, T) -> (B, T, D)."""
        scale = self.config.d_model**0.5
        position = self.get_buffer("position")[n_past : n_past + ids.size(1)]
        position = edited_positions(tape, stack, position)
        return self.dropout(self.embedding(ids) * scale + position)

    def encode(
        self, ids: Tensor, tape: Tape | None = None, padding: Tensor | None = None
    ) -> Tensor:
        """Source ids (B, Tk) -> memory (B, Tk, D). `padding` is True at real tokens."""
        x = note(tape, "encoder", self.embed(ids, tape))
        mask = padding_mask(padding)
        for i, layer in enumerate(self.encoder):
            x = note(tape, "encoder", layer(x, mask, track(tape, "encoder", i)))
        return x

    def hidden(
        self,
        ids: Tensor,
        memory: Tensor,
        tape: Tape | None = None,
        padding: Tensor | None = None,
        past: LayersPast | None = None,
    ) -> Tensor:
        """Target ids (B, Tq), which begin with <s>, and memory -> x (B, Tq, D). With `past`, ids
        are the new ones only."""
        T, n_past = ids.size(1), 0 if past is None else len(past)
        x = note(tape, "decoder", self.embed(ids, tape, "decoder", n_past))
        masks = causal_mask(T, n_past + T, ids.device), padding_mask(padding)
        for i, layer in enumerate(self.decoder):
            tracks = track(tape, "decoder", i), track(tape, "cross", i)
            pasts = (None, None) if past is None else (past.decoder[i], past.cross[i])
            x = note(tape, "decoder", layer(x, memory, masks, tracks, pasts))
        return x

    def new_past(self) -> LayersPast:
        return LayersPast(self.config.n_layer)

    def logits(self, x: Tensor) -> Tensor:
        """(..., D) -> (..., V), with the embedding as the tied head."""
        return F.linear(x, self.embedding.weight)

    def position_vectors(self) -> Tensor:
        return self.get_buffer("position")

    def input_parts(self, ids: Tensor, types: Tensor | None) -> dict[str, Tensor]:
        word = self.embedding(ids) * self.config.d_model**0.5
        return {"word": word, "position": self.position_vectors()[: len(ids)]}

    def self_attention_layers(self) -> Sequence[nn.Module]:
        return list(self.encoder)


class BertOutput(NamedTuple):
    logits: Tensor  # (B, T, V), the masked word
    next_logits: Tensor  # (B, 2), [is next, is not]


class Bert(Encoder):
    """A stack of encoder layers, trained to fill in masked words from both sides."""

    tasks = ("fill-mask", "next-sentence")
    positions = "learned"
    has_mlps = True
    broadcasts = True
    config: Config

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config
        D, eps = config.d_model, 1e-12
        self.embedding = nn.Embedding(config.vocab_size, D)
        self.position = nn.Embedding(config.n_ctx, D)
        self.segment = nn.Embedding(config.n_segment, D)
        self.embedding_norm = nn.LayerNorm(D, eps)
        self.encoder = nn.ModuleList(
            EncoderLayer(config, F.gelu, eps) for _ in range(config.n_layer)
        )
        self.pooler = nn.Linear(D, D)
        self.next_head = nn.Linear(D, 2)
        self.mlm_transform = nn.Linear(D, D)
        self.mlm_norm = nn.LayerNorm(D, eps)
        self.mlm_bias = nn.Parameter(torch.zeros(config.vocab_size))
        self.dropout = nn.Dropout(config.dropout)
        self.apply(normal)

    def embed(self, ids: Tensor, types: Tensor | None, tape: Tape | None = None) -> Tensor:
        """Word, position and segment, added and normed: (B, T) -> (B, T, D)."""
        types = torch.zeros_like(ids) if types is None else types  # 0 or 1: the segment
        position = edited_positions(tape, "encoder", self.position.weight[: ids.size(1)])
        x = self.embedding(ids) + position + self.segment(types)
        return self.dropout(self.embedding_norm(x))

    def encode(
        self,
        ids: Tensor,
        types: Tensor | None = None,
        tape: Tape | None = None,
        padding: Tensor | None = None,
    ) -> Tensor:
        """ids and types (B, T) -> x (B, T, D). `padding` is True at real tokens."""
        x = note(tape, "encoder", self.embed(ids, types, tape))
        mask = padding_mask(padding)
        for i, layer in enumerate(self.encoder):
            x = note(tape, "encoder", layer(x, mask, track(tape, "encoder", i)))
        return x

    def masked_words(self, x: Tensor) -> Tensor:
        """(..., D) -> (..., V). Training passes only the masked positions."""
        x = self.mlm_norm(F.gelu(self.mlm_transform(x)))
        return F.linear(x, self.embedding.weight, self.mlm_bias)

    def next_sentence(self, x: Tensor) -> Tensor:
        """(B, T, D) -> (B, 2), from the hidden state of [CLS]."""
        return self.next_head(self.dropout(self.pooler(x[:, 0]).tanh()))

    def forward(
        self,
        ids: Tensor,
        segments: Tensor,
        tape: Tape | None = None,
        padding: Tensor | None = None,
    ) -> BertOutput:
        x = self.encode(ids, segments, tape, padding)
        return BertOutput(self.masked_words(x), self.next_sentence(x))

    def position_vectors(self) -> Tensor:
        return self.position.weight.detach()

    def input_parts(self, ids: Tensor, types: Tensor | None) -> dict[str, Tensor]:
        segment = self.segment(torch.zeros_like(ids) if types is None else types)
        position = self.position.weight[: len(ids)]
        return {"word": self.embedding(ids), "position": position, "segment": segment}

    def self_attention_layers(self) -> Sequence[nn.Module]:
        return list(self.encoder)


class GPT(Decoder):
    """A stack of masked layers that predicts the next token."""

    tasks = ("generate", "next-token")
    positions = "learned"
    has_mlps = True
    broadcasts = True
    config: Config

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config
        self.embedding = nn.Embedding(config.vocab_size, config.d_model)
        self.position = nn.Embedding(config.n_ctx, config.d_model)
        self.decoder = nn.ModuleList(GPTLayer(config) for _ in range(config.n_layer))
        self.norm = nn.LayerNorm(config.d_model)
        self.dropout = nn.Dropout(config.dropout)
        self.apply(normal)
        for name, weight in self.named_parameters():  # GPT-2, section 2.3: 2 additions per layer
            if name.endswith(("W_O.weight", "W_out.weight")):
                nn.init.normal_(weight, std=0.02 * (2 * config.n_layer) ** -0.5)

    def hidden(
        self, ids: Tensor, tape: Tape | None = None, past: LayersPast | None = None
    ) -> Tensor:
        """ids (B, T) -> x (B, T, D) after the last norm. With `past`, ids are the new ones only."""
        T, n_past = ids.size(1), 0 if past is None else len(past)
        position = edited_positions(tape, "decoder", self.position.weight[n_past : n_past + T])
        x = note(tape, "decoder", self.dropout(self.embedding(ids) + position))
        mask = causal_mask(T, n_past + T, ids.device)
        for i, layer in enumerate(self.decoder):
            layer_past = None if past is None else past.decoder[i]
            x = note(tape, "decoder", layer(x, mask, track(tape, "decoder", i), layer_past))
        return self.norm(x)

    def logits(self, x: Tensor) -> Tensor:
        """(..., D) -> (..., V), with the embedding as the tied head."""
        return F.linear(x, self.embedding.weight)

    def normed(self, x: Tensor) -> Tensor:
        return self.norm(x)

    def new_past(self) -> LayersPast:
        return LayersPast(self.config.n_layer)

    def position_vectors(self) -> Tensor:
        return self.position.weight.detach()

    def input_parts(self, ids: Tensor, types: Tensor | None) -> dict[str, Tensor]:
        return {"word": self.embedding(ids), "position": self.position.weight[: len(ids)]}

    def self_attention_layers(self) -> Sequence[nn.Module]:
        return list(self.decoder)


Transformer = EncoderDecoder | Bert | GPT


def normal(module: nn.Module) -> None:
    """BERT and GPT: every matrix from N(0, 0.02), every bias 0."""
    if isinstance(module, nn.Linear | nn.Embedding):
        nn.init.normal_(module.weight, std=0.02)
    if isinstance(module, nn.Linear):
        nn.init.zeros_(module.bias)


def xavier(module: nn.Module) -> None:
    """The encoder-decoder: Glorot & Bengio 2010."""
    if isinstance(module, nn.Linear):
        nn.init.xavier_uniform_(module.weight)
        nn.init.zeros_(module.bias)
