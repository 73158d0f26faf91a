"""Attention that was computed elsewhere, as a model of one text, or of a source and a target: it
reads only what it recorded.

Every view that needs only attention works on it. What needs the model itself is lacking.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from attention_atlas.model.arrays import BadRecord, by_kind, is_causal
from attention_atlas.model.languages import NO_LANGUAGES, Direction, Frame, Languages
from attention_atlas.model.messages import Message
from attention_atlas.model.protocol import Batch, Model
from attention_atlas.model.record import Token, axes
from attention_atlas.model.spec import BadInput
from attention_atlas.model.tape import Kind, Tape, track
from attention_atlas.model.words import numbered
from attention_atlas.model.zoo import Card, Loaded, Note
from torch import Tensor

LACKING = ("q", "k", "v", "scores", "edits", "predictions")
WHY = Message("recorded", "its attention was computed elsewhere; the model itself is not here")
SPECIAL = re.compile(r"\[[A-Z]+\]|<(?!0x)[^<>\s]+>")  # [CLS], <s>, <|endoftext|>; not a byte <0x41>
TOLERANCE = 1e-3  # of a row's sum: half precision, and what a reduction leaves


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


class Recorded(Model):
    """attn (L, H, Q, K) of each kind, in place of a model that computes it."""

    tasks = ()
    positions = "unknown"
    lacks = LACKING
    why = WHY

    def __init__(self, attentions: Mapping[Kind, Tensor], tokenizer: RecordedTokenizer) -> None:
        super().__init__()
        self.attentions = dict(attentions)
        self.kinds = tuple(attentions)
        self.sequences = tokenizer.sequences
        self.family = "encoder-decoder" if "target" in self.sequences else self.kinds[0]
        self.masks = {kind: _mask_of(kind, attn) for kind, attn in attentions.items()}
        shapes = [attn.shape for attn in attentions.values()]
        n_layer, n_head = (max(shape[axis] for shape in shapes) for axis in (0, 1))
        n_ctx = max(map(len, self.sequences.values()))
        self.config = Sizes(n_layer, n_head, n_ctx, tokenizer.vocab_size, n_head)

    def read(self, batch: Batch, tape: Tape | None = None) -> Tensor:
        for kind, attn in self.attentions.items():
            for layer in range(len(attn)):
                if (part := track(tape, kind, layer)) is not None:
                    part.keep({"attn": attn[layer, None], "mask": self.masks[kind]})
        read = batch.ids if batch.target is None else batch.target
        return next(iter(self.attentions.values())).new_zeros(*read.shape, 0)

    def logits(self, x: Tensor) -> Tensor:
        raise NotImplementedError(WHY)

    def shape(self, kind: Kind) -> tuple[int, int]:
        n_layer, n_head, *_ = self.attentions[kind].shape
        return n_layer, n_head

    @property
    def dtype(self) -> str:
        return "float32"


def _mask_of(kind: Kind, attn: Tensor) -> Tensor:
    """Where attention is allowed, (1, 1, Q, K): a decoder's reads no later token, unless it did."""
    mask = torch.ones(1, 1, *attn.shape[-2:], dtype=torch.bool)
    return mask.tril() if kind == "decoder" and is_causal(attn) else mask


class RecordedTokenizer:
    """The tokens of one text, or of a source and a target. It knows no other."""

    unknown_id: int | None = None
    begin_id: int | None = None
    end_id: int | None = None
    pad_id: int | None = None
    mask_id: int | None = None
    token_type: int | None = None
    separates = False
    end_ids: frozenset[int] = frozenset()
    languages: Languages = NO_LANGUAGES

    def __init__(self, raws: Sequence[str], target_raws: Sequence[str] | None = None) -> None:
        self.raws = (*raws, *(target_raws or ()))
        self.text, source = labelled(raws)
        self.sequences = {"source": source}
        if target_raws is not None:
            _, target = labelled(target_raws)
            shifted = (token._replace(id=len(raws) + token.id) for token in target)
            self.sequences["target"] = tuple(shifted)
        self.tokens = tuple(token for tokens in self.sequences.values() for token in tokens)
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
        return self.sequences["source"]

    def encode_target(self, text: str, direction: Direction | None = None) -> tuple[Token, ...]:
        return self.encode(text)

    def frame(self, direction: Direction | None = None) -> Frame | None:
        return None

    def decode(self, ids: Sequence[int]) -> str:
        return " ".join(self.tokens[i].text for i in ids)

    def label(self, ids: Sequence[int]) -> tuple[Token, ...]:
        return tuple(self.tokens[i] for i in ids)


def loaded(
    attn: Any,
    tokens: Sequence[str],
    name: str = "record",
    *,
    target_tokens: Sequence[str] | None = None,
) -> Loaded:
    """Attention (L, H, T, T), or one (1, H, T, T) for each layer, with its T tokens, ready to be
    shown; with the target's tokens, cross-attention or that of each kind (arrays.py). Raises
    BadRecord, which names both shapes where they do not fit."""
    has_target = target_tokens is not None
    attentions = by_kind(attn, has_target)
    for field, given in (("tokens", tokens), ("target_tokens", target_tokens or ())):
        if not all(isinstance(token, str) for token in given):
            message = Message(
                "tokens-are-strings", "{field} are strings, one for each row of attn", field=field
            )
            raise BadRecord(field, message)
    tokenizer = RecordedTokenizer(tokens, target_tokens)
    for kind, tensor in attentions.items():
        _check_fits(kind, tensor, tokenizer.sequences)
    model = Recorded(attentions, tokenizer)
    digest = hashlib.sha256()
    for kind, tensor in attentions.items():
        digest.update(kind.encode() if has_target else b"")
        digest.update(tensor.numpy().tobytes())
    digest.update("\0".join((*tokens, *(target_tokens or ()))).encode())
    card = Card(name, "attention recorded elsewhere", {}, digest.hexdigest())
    notes = _notes(attentions)
    return Loaded(card, tokenizer, model, torch.device("cpu"), "memory", notes)


def text_of(record: Loaded) -> str:
    """The only text that a record takes."""
    assert isinstance(record.tokenizer, RecordedTokenizer)
    return record.tokenizer.text


def _check_fits(kind: Kind, attn: Tensor, sequences: Mapping[str, tuple[Token, ...]]) -> None:
    """A token for each query and for each key."""
    n_query, n_key = attn.shape[-2:]
    q, k = axes(kind, sequences)
    if (n_query, n_key) == (len(sequences[q]), len(sequences[k])):
        return
    if "target" not in sequences:
        message = Message(
            "tokens-do-not-fit",
            "attn has {n_query} queries and {n_key} keys, and there are {n} tokens",
            n_query=n_query,
            n_key=n_key,
            n=len(sequences["source"]),
        )
        raise BadRecord("tokens", message)
    message = Message(
        "target-tokens-do-not-fit",
        "{kind} attention has {n_query} queries and {n_key} keys; there are {n} tokens and "
        "{n_target} target tokens",
        kind=kind,
        n_query=n_query,
        n_key=n_key,
        n=len(sequences["source"]),
        n_target=len(sequences["target"]),
    )
    raise BadRecord("target_tokens" if n_query != len(sequences[q]) else "tokens", message)


def _notes(attentions: Mapping[Kind, Tensor]) -> tuple[Note, ...]:
    """What is unusual in the numbers."""
    apart = max((attn.sum(-1) - 1).abs().max().item() for attn in attentions.values())
    if apart <= TOLERANCE:
        return ()
    text = "Its rows do not all sum to 1: the largest difference is {apart}."
    return (Note(text, {"apart": f"{apart:.2g}"}),)


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
