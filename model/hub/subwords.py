"""Tokens of any Hugging Face tokenizer, with the methods of `model.tokenizers.Tokenizer`."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any, NamedTuple

from attention_atlas.model.hub.spans import Row, bytewise, given, searched
from attention_atlas.model.hub.spelling import Spelling, spellings
from attention_atlas.model.languages import Direction, Frame, languages_of
from attention_atlas.model.messages import Message
from attention_atlas.model.record import Token
from attention_atlas.model.spec import BadInput
from attention_atlas.model.tokenizers import with_marks
from attention_atlas.model.words import numbered

log = logging.getLogger(__name__)
HALF = "\ufffd"  # what stands for part of a character


class Called(NamedTuple):
    """What a tokenizer of transformers gives for a text or a pair."""

    ids: list[int]
    types: list[int] | None  # token_type_ids, if it gives them
    encoding: Any  # of a fast tokenizer: spans, and which text each token is of


class HubTokenizer:
    """A tokenizer of transformers; every method is a pure function of its arguments."""

    def __init__(
        self,
        backend: Any,
        *,
        begin_id: int | None = None,
        end_ids: Sequence[int] = (),
        first_id: int | None = None,
        read_first: Callable[[list[int]], int | None] = lambda labels: None,
    ) -> None:
        """What the model's files say of how texts begin and end; `read_first` says what its
        decoder reads before it predicts some labels."""
        self.backend = backend
        self.first_id = first_id
        self.read_first = read_first
        self._lock = threading.Lock()  # a call may change the backend: its languages, its side
        self.fast: Any = getattr(backend, "backend_tokenizer", None)
        if self.fast is not None:  # calls of the backend itself would set these on each call
            self.fast.no_truncation()
            self.fast.no_padding()
        self.languages = languages_of(backend, first_id)
        parts = "" if self.fast is None else f"{self.fast.decoder!r}{self.fast.pre_tokenizer!r}"
        is_bytes, raws = "ByteLevel" in parts, set(self.languages.tokens.values())
        self.source, self.target = spellings(backend, raws, byte_level=is_bytes)
        self.special_ids, self.unknown_id = self.target.special_ids, self.target.unknown_id
        self.begin_id: int | None = _first(begin_id, backend.bos_token_id, backend.cls_token_id)
        self.end_id: int | None = _first(*end_ids, backend.eos_token_id, backend.sep_token_id)
        self.end_ids = frozenset(end_ids or (() if self.end_id is None else (self.end_id,)))
        self.mask_id: int | None = backend.mask_token_id
        self.pad_id: int | None = backend.pad_token_id

    @cached_property
    def separates(self) -> bool:
        """Whether something stands between the two texts of a pair."""
        tokens = self.encode("a", "b")
        ordinary = [n for n, token in enumerate(tokens) if not token.special]
        return any(token.special for token in tokens[ordinary[0] : ordinary[-1]])

    @property
    def token_type(self) -> int | None:
        """The token type of a text that is alone, if the tokenizer gives any."""
        types = self._call({"text": "a"}, None).types
        return types[0] if types else None

    @property
    def vocab_size(self) -> int:
        return len(self.backend)

    def id(self, raw: str) -> int:
        """The id of a token by its vocabulary spelling."""
        token_id = self.backend.get_vocab().get(raw)
        if token_id is None:
            raise KeyError(f"{raw!r} is not in the vocabulary")
        return int(token_id)

    def raw(self, i: int) -> str:
        """The vocabulary spelling of an id; some models have more ids than tokens."""
        return self.target.raw(i)

    def ids(self, text: str) -> list[int]:
        """Text without its framing specials."""
        if self.fast is not None:
            encoding = self._guarded(lambda: self.fast.encode(text, add_special_tokens=False))
            return list(encoding.ids)
        return self._call({"text": text, "add_special_tokens": False}, None).ids

    def encode(
        self, text: str, pair: str | None = None, direction: Direction | None = None
    ) -> tuple[Token, ...]:
        """The text, and a second one, framed as the tokenizer frames them for the model.

        A piece that holds part of a character's bytes spans that whole character.
        """
        direction = direction or self.languages.default
        mark = self._mark(text, direction)
        inputs = {"text": mark + text, "text_pair": pair}
        tokens = self._tokens(inputs, (mark + text, pair or ""), direction)
        return numbered(_without_mark(tokens, len(mark)), (text, pair or "")) if mark else tokens

    def encode_target(self, text: str, direction: Direction | None = None) -> tuple[Token, ...]:
        """A text of a translator's output side as it learns to write it, but for its end."""
        tokens = self._tokens({"text_target": text}, (text, ""), direction)
        ends = [n for n, token in enumerate(tokens) if token.id == self.end_id]
        return tokens[: ends[-1]] if ends else tokens

    def frame(self, direction: Direction | None = None) -> Frame | None:
        """What a translation into a language begins with, must say first, and ends with; None if
        a decoder cannot begin or cannot end."""
        direction = direction or self.languages.default
        begin, first = self.begin_id, self.first_id
        raw = self.languages.tokens.get(direction.target or "")
        if raw is not None and not self.languages.in_source:
            first = self.backend.convert_tokens_to_ids(raw)
            if self.read_first(self._call({"text_target": ""}, direction).ids) == first:
                begin, first = first, None
        return None if begin is None or self.end_id is None else Frame(begin, first, self.end_id)

    def _mark(self, text: str, direction: Direction) -> str:
        """What is put before a source to say which language it is translated into."""
        languages = self.languages
        if not languages.in_source or direction.target is None or languages.mark(text):
            return ""
        return f"{languages.tokens[direction.target]} "

    def _call(self, inputs: dict[str, Any], direction: Direction | None) -> Called:
        """The tokenizer's own call, for one text (`text_target`: of the output side) or a pair."""
        direction = direction or self.languages.default
        with self._lock:
            if not self.languages.in_source:
                for side, code in zip(("src_lang", "tgt_lang"), direction, strict=True):
                    if code is not None:
                        setattr(self.backend, side, code)
            called = self._guarded(lambda: self.backend(**inputs, verbose=False))
        encoding = called.encodings[0] if self.fast is not None else None
        return Called(list(called["input_ids"]), called.get("token_type_ids"), encoding)

    def _guarded(self, call: Callable[[], Any]) -> Any:
        """What a call of the tokenizer gives. It may fail on a text: a regular expression that
        backtracks too long panics in Rust, which is no Exception in Python. Raises BadInput."""
        try:
            return call()
        except BaseException as error:
            if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
                raise
            log.warning("the tokenizer %s failed", type(self.backend).__name__, exc_info=error)
            raise BadInput(
                "text",
                Message(
                    "tokenizer-failed",
                    "the tokenizer of this model ({tokenizer}) cannot process the text",
                    tokenizer=type(self.backend).__name__,
                ),
            ) from None

    def _tokens(
        self, inputs: dict[str, Any], texts: tuple[str, str], direction: Direction | None
    ) -> tuple[Token, ...]:
        called = self._call(inputs, direction)
        spelling = self.target if "text_target" in inputs else self.source
        if called.encoding is not None:
            rows = given(called.encoding, texts, spelling)
        else:
            n_first = len(self.ids(texts[0])) if texts[1] else len(called.ids)
            rows = bytewise(called.ids, texts, spelling)
            rows = rows or searched(called.ids, texts, n_first, spelling)
        tokens = _labelled(rows, texts, spelling)
        if called.types is None:
            return tokens
        typed = zip(tokens, called.types, strict=True)
        return tuple(token._replace(token_type=kind) for token, kind in typed)

    def decode(self, ids: Sequence[int]) -> str:
        """Ids -> text, specials left out."""
        kept = [i for i in ids if i not in self.special_ids or i == self.unknown_id]
        if self.fast is not None:
            return str(self.fast.decode(kept, skip_special_tokens=False))
        return str(self.backend.decode(kept, clean_up_tokenization_spaces=False))

    def label(self, ids: Sequence[int]) -> tuple[Token, ...]:
        """Ids that a model made -> tokens, with spans in `decode(ids)`."""
        text = self.decode(ids)
        if rows := bytewise(ids, (text, ""), self.target):
            return _labelled(rows, (text, ""), self.target)
        tokens, before = [], 0
        for n, i in enumerate(ids, 1):
            so_far = self.decode(ids[:n])
            whole = len(so_far.rstrip(HALF))
            end = min(max(whole, before) + (len(so_far) > whole), len(text))
            special, raw = self.target.is_special(i), self.raw(i)
            start = min(before, end)
            shown = raw if special else text[start:end]
            tokens.append(Token(i, raw, shown, start, end, special, i == self.unknown_id))
            before = max(whole, before)
        return numbered(tokens, [text])

    def readable(self, i: int) -> str:
        """One id as a person reads it: " the", "ing"; half a character as its bytes, "\\xe9"."""
        return self.target.readable(i)


def _labelled(rows: list[Row], texts: tuple[str, str], spelling: Spelling) -> tuple[Token, ...]:
    tokens = [
        Token(
            id=i,
            raw=raw,
            text=raw
            if spelling.is_special(i)
            else _shown(spelling.readable(i), texts[segment], (start, end)),
            start=start,
            end=end,
            special=spelling.is_special(i),
            unknown=i == spelling.unknown_id,
            segment=segment,
        )
        for i, raw, (start, end), segment in rows
    ]
    return numbered(list(with_marks(tokens, texts)), texts)


def _shown(piece: str, text: str, span: tuple[int, int]) -> str:
    """The text that a token holds; a space of its own, where its span leaves spaces out."""
    start, end = span
    piece = piece if end <= start else ""
    beside = any(char.isspace() for char in text[max(0, start - 1) : start + 1])
    return text[start:end] or (piece if beside and piece.isspace() else "")


def _without_mark(tokens: tuple[Token, ...], n: int) -> tuple[Token, ...]:
    """Tokens whose first `n` characters were not in the text, with spans in the text itself."""
    return tuple(
        token
        if token.segment
        else token._replace(text=token.raw, start=0, end=0, special=True, word=None)
        if token.start < token.end <= n
        else token._replace(start=max(0, token.start - n), end=max(0, token.end - n))
        for token in tokens
    )


def _first(*ids: int | None) -> int | None:
    return next((i for i in ids if i is not None), None)
