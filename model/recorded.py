"""Attention that was computed elsewhere, as a model of one text: it reads only what it recorded.

Every view that needs only attention works on it. What needs the model itself is lacking.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from attention_atlas.model.languages import NO_LANGUAGES, Direction, Frame, Languages
from attention_atlas.model.messages import Message
from attention_atlas.model.protocol import Encoder
from attention_atlas.model.record import Token
from attention_atlas.model.spec import BadInput
from attention_atlas.model.tape import Kind, Tape, track
from attention_atlas.model.words import numbered
from attention_atlas.model.zoo import Card, Loaded, Note
from torch import Tensor

LACKING = ("q", "k", "v", "scores", "edits", "predictions")
WHY = Message("recorded", "its attention was computed elsewhere; the model itself is not here")
SPECIAL = re.compile(r"\[[A-Z]+\]|<[^<>\s]+>")  # [CLS], <s>, <|endoftext|>
TOLERANCE = 1e-3  # of a row's sum: half precision, and what a reduction leaves


class BadRecord(ValueError):
    """Tensors that cannot be shown; `field` is attn or tokens."""

    def __init__(self, field: str, message: Message) -> None:
        super().__init__(message)
        self.message = message
        self.field = field


@dataclass(frozen=True)
class Sizes:
    """The `Dimensions` that attention alone tells; what it does not tell is 0."""

    n_layer: int
    n_head: int
    n_ctx: int
    vocab_size: int
    n_kv_head: int
    d_model: int = 0
    d_head: int = 0
    d_ff: int = 0


class Recorded(Encoder):
    """attn (L, H, T, T) of one text, in place of a model that computes it."""

    tasks = ()
    positions = "unknown"
    lacks = LACKING
    why = WHY

    def __init__(self, attn: Tensor) -> None:
        super().__init__()
        n_layer, n_head, n, _ = attn.shape
        self.attn = attn
        causal = torch.ones(n, n, dtype=torch.bool).tril()
        is_causal = n > 1 and not attn.triu(1).any()
        self.mask = causal if is_causal else torch.ones_like(causal)
        kind: Kind = "decoder" if is_causal else "encoder"
        self.family, self.kinds = kind, (kind,)
        self.config = Sizes(n_layer, n_head, n, n, n_head)

    def encode(
        self,
        ids: Tensor,
        types: Tensor | None = None,
        tape: Tape | None = None,
        padding: Tensor | None = None,
    ) -> Tensor:
        for layer, attn in enumerate(self.attn):
            if (part := track(tape, self.kinds[0], layer)) is not None:
                part.keep({"attn": attn[None], "mask": self.mask[None, None]})
        return self.attn.new_zeros(*ids.shape, 0)

    def masked_words(self, x: Tensor) -> Tensor:
        raise NotImplementedError(WHY)

    def next_sentence(self, x: Tensor) -> Tensor:
        raise NotImplementedError(WHY)

    @property
    def dtype(self) -> str:
        return str(self.attn.dtype).removeprefix("torch.")


class RecordedTokenizer:
    """The tokens of one text. It knows no other."""

    unknown_id: int | None = None
    begin_id: int | None = None
    end_id: int | None = None
    pad_id: int | None = None
    mask_id: int | None = None
    token_type: int | None = None
    separates = False
    end_ids: frozenset[int] = frozenset()
    languages: Languages = NO_LANGUAGES

    def __init__(self, raws: Sequence[str]) -> None:
        self.raws = tuple(raws)
        self.text, self.tokens = labelled(self.raws)
        self.special_ids = {token.id for token in self.tokens if token.special}

    @property
    def vocab_size(self) -> int:
        return len(self.raws)

    def id(self, raw: str) -> int:
        return self.raws.index(raw)

    def raw(self, i: int) -> str:
        return self.raws[i]

    def readable(self, i: int) -> str:
        return self.tokens[i].text

    def ids(self, text: str) -> list[int]:
        return [token.id for token in self.encode(text)]

    def encode(
        self, text: str, pair: str | None = None, direction: Direction | None = None
    ) -> tuple[Token, ...]:
        if text != self.text:
            message = Message(
                "recorded-text",
                "the attention here was recorded for one text alone: {text}",
                text=self.text if len(self.text) <= 100 else f"{self.text[:99]}…",
            )
            raise BadInput("text", message)
        return self.tokens

    def encode_target(self, text: str, direction: Direction | None = None) -> tuple[Token, ...]:
        return self.encode(text)

    def frame(self, direction: Direction | None = None) -> Frame | None:
        return None

    def decode(self, ids: Sequence[int]) -> str:
        return " ".join(self.tokens[i].text for i in ids)

    def label(self, ids: Sequence[int]) -> tuple[Token, ...]:
        return tuple(self.tokens[i] for i in ids)


def loaded(attn: Any, tokens: Sequence[str], name: str = "record") -> Loaded:
    """Attention (L, H, T, T), or one (1, H, T, T) for each layer, with its T tokens, ready to be
    shown. Raises BadRecord, which names both shapes where they do not fit."""
    stacked = tensor_of(attn)
    n_layer, n_head, n_query, n_key = stacked.shape
    if n_query != n_key or n_key != len(tokens):
        message = Message(
            "tokens-do-not-fit",
            "attn has {n_query} queries and {n_key} keys, and there are {n} tokens",
            n_query=n_query,
            n_key=n_key,
            n=len(tokens),
        )
        raise BadRecord("tokens", message)
    if not all(isinstance(token, str) for token in tokens):
        message = Message("tokens-are-strings", "tokens are strings, one for each row of attn")
        raise BadRecord("tokens", message)
    notes = []
    apart = (stacked.sum(-1) - 1).abs().max().item()
    if apart > TOLERANCE:
        text = "Its rows do not all sum to 1: the largest difference is {apart}."
        notes.append(Note(text, {"apart": f"{apart:.2g}"}))
    digest = hashlib.sha256(stacked.numpy().tobytes())
    digest.update("\0".join(tokens).encode())
    card = Card(name, "attention recorded elsewhere", {}, digest.hexdigest())
    tokenizer = RecordedTokenizer(tokens)
    return Loaded(card, tokenizer, Recorded(stacked), stacked.device, "memory", tuple(notes))


def tensor_of(attn: Any) -> Tensor:
    """Attention of numpy, torch, or a tuple of layers, as float32 (L, H, Q, K) on the CPU."""
    if isinstance(attn, list | tuple):
        layers = [_as_tensor(layer) for layer in attn]
        shapes = {tuple(layer.shape) for layer in layers}
        if len(shapes) != 1:
            message = Message(
                "layers-differ",
                "the layers of attn differ in shape: {shapes}",
                shapes=sorted(shapes),
            )
            raise BadRecord("attn", message)
        attn = torch.stack(layers)
        if attn.ndim == 5 and attn.size(1) != 1:
            message = Message(
                "a-batch",
                "attn has a batch of {n} texts; give one: [layer[:1] for layer in …]",
                n=attn.size(1),
            )
            raise BadRecord("attn", message)
        attn = attn[:, 0] if attn.ndim == 5 else attn
    attn = _as_tensor(attn)
    if attn.ndim == 5 and attn.size(1) == 1:
        attn = attn[:, 0]
    if attn.ndim != 4 or 0 in attn.shape:
        shape = tuple(attn.shape)
        message = Message(
            "other-axes", "attn is {shape}; its axes are (layer, head, query, key)", shape=shape
        )
        raise BadRecord("attn", message)
    if not attn.isfinite().all():
        message = Message("not-finite", "attn has numbers that are not finite (NaN or infinite)")
        raise BadRecord("attn", message)
    if attn.min() < 0:
        message = Message(
            "below-0", "attn has numbers below 0, down to {least:.3g}", least=attn.min().item()
        )
        raise BadRecord("attn", message)
    return attn


def _as_tensor(attn: Any) -> Tensor:
    try:
        return torch.as_tensor(attn).detach().to("cpu", torch.float32).contiguous()
    except (TypeError, ValueError, RuntimeError) as error:
        kind = type(attn).__name__
        message = Message(
            "no-tensor",
            "attn is a {kind}, not numbers in a tensor: {error}",
            kind=kind,
            error=error,
        )
        raise BadRecord("attn", message) from None


def labelled(raws: Sequence[str]) -> tuple[str, tuple[Token, ...]]:
    """A text made of tokens as a vocabulary spells them (##ing, Ġthe, ▁the), and the tokens."""
    marks = any(raw.startswith(("Ġ", "▁")) for raw in raws)
    text, tokens, after_special = "", list[Token](), True
    for i, raw in enumerate(raws):
        special = SPECIAL.fullmatch(raw) is not None
        plain = raw if special else raw.removeprefix("##").lstrip("Ġ▁").replace("Ċ", "\n")
        joined = raw.startswith("##") or (marks and not special and raw[:1] not in "Ġ▁")
        space = "" if special or after_special or joined else " "
        start = len(text) + len(space)
        if special:
            tokens.append(Token(i, raw, raw, len(text), len(text), special=True))
        else:
            text += space + plain
            tokens.append(Token(i, raw, plain, start, len(text)))
        after_special = not text
    return text, numbered(tokens, (text, ""))
