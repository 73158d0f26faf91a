"""Tokens of any Hugging Face tokenizer, with the methods of `model.tokenizers.Tokenizer`."""

from __future__ import annotations

import re
import threading
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cached_property
from itertools import accumulate, groupby
from typing import Any, NamedTuple

from attention_atlas.model.languages import Direction, Frame, languages_of
from attention_atlas.model.record import Token
from attention_atlas.model.tokenizers import BYTE_OF_CHAR, char_of_byte, is_mark, with_marks
from attention_atlas.model.words import numbered

HALF = "\ufffd"  # what stands for part of a character
BYTE = re.compile(r"<0x([0-9A-F]{2})>")  # SentencePiece's spelling of a byte
LOOKED = 24  # characters past an unknown piece in which the next one is looked for
Row = tuple[int, str, tuple[int, int], int]  # id, raw spelling, span, segment


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
        end_id: int | None = None,
        first_id: int | None = None,
        read_first: Callable[[list[int]], int | None] = lambda labels: None,
    ) -> None:
        """`read_first` says what the model's decoder reads before it predicts some labels."""
        self.backend = backend
        self.first_id = first_id
        self.read_first = read_first
        self._lock = threading.Lock()  # a call may change the backend: its languages, its side
        self.fast: Any = getattr(backend, "backend_tokenizer", None)
        if self.fast is not None:  # calls of the backend itself would set these on each call
            self.fast.no_truncation()
            self.fast.no_padding()
        added = backend.added_tokens_decoder
        self.special_ids = {i for i, token in added.items() if token.special}
        self.special_ids |= set(backend.all_special_ids)
        self.languages = languages_of(backend, first_id)
        marks = self.languages.tokens.values()
        self.special_ids |= {backend.convert_tokens_to_ids(raw) for raw in marks}
        self.unknown_id: int | None = backend.unk_token_id
        parts = "" if self.fast is None else f"{self.fast.decoder!r}{self.fast.pre_tokenizer!r}"
        self.byte_level = "ByteLevel" in parts
        self.begin_id: int | None = _first(begin_id, backend.bos_token_id, backend.cls_token_id)
        self.end_id: int | None = _first(end_id, backend.eos_token_id, backend.sep_token_id)
        self.mask_id: int | None = backend.mask_token_id
        self.pad_id: int | None = backend.pad_token_id

    @cached_property
    def separates(self) -> bool:
        """Whether something stands between the two texts of a pair."""
        tokens = self.encode("a", "b")
        ordinary = [n for n, token in enumerate(tokens) if not token.special]
        return any(token.special for token in tokens[ordinary[0] : ordinary[-1]])

    @cached_property
    def spells_bytes(self) -> bool:
        """Whether a token is a byte, written as the character of that number, as ByT5's are."""
        vocab = self.backend.get_vocab() if self.fast is None else {}
        ids = [vocab.get(chr(byte)) for byte in "é".encode()]
        return None not in ids and self.decode([i for i in ids if i is not None]) == "é"

    @property
    def vocab_size(self) -> int:
        return len(self.backend)

    def id(self, raw: str) -> int:
        """The id of a token by its vocabulary spelling."""
        found = self.backend.get_vocab().get(raw)
        if found is None:
            raise KeyError(f"{raw!r} is not in the vocabulary")
        return int(found)

    def raw(self, i: int) -> str:
        """The vocabulary spelling of an id; some models have more ids than tokens."""
        found = self.backend.convert_ids_to_tokens(i)
        return f"[{i}]" if found is None else str(found)

    def ids(self, text: str) -> list[int]:
        """Text without its framing specials."""
        if self.fast is not None:
            return list(self.fast.encode(text, add_special_tokens=False).ids)
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
            called = self.backend(**inputs, verbose=False)
        encoding = called.encodings[0] if self.fast is not None else None
        return Called(list(called["input_ids"]), called.get("token_type_ids"), encoding)

    def _tokens(
        self, inputs: dict[str, Any], texts: tuple[str, str], direction: Direction | None
    ) -> tuple[Token, ...]:
        called = self._call(inputs, direction)
        if called.encoding is not None:
            cut = _by_bytes(_offsets(called.encoding))
            rows = [self._without_added_space(row, texts) for row in cut]
        else:
            n_first = len(self.ids(texts[0])) if texts[1] else len(called.ids)
            rows = self._bytes(called.ids, texts) or self._found(called.ids, texts, n_first)
        tokens = self._labelled(rows, texts)
        if called.types is None:
            return tokens
        typed = zip(tokens, called.types, strict=True)
        return tuple(token._replace(token_type=given) for token, given in typed)

    def _labelled(self, rows: list[Row], texts: tuple[str, str]) -> tuple[Token, ...]:
        tokens = [
            Token(
                id=i,
                raw=raw,
                text=raw if self._is_special(i) else self._shown(i, texts[segment], (start, end)),
                start=start,
                end=end,
                special=self._is_special(i),
                unknown=i == self.unknown_id,
                segment=segment,
            )
            for i, raw, (start, end), segment in rows
        ]
        return numbered(list(with_marks(tokens, texts)), texts)

    def _shown(self, i: int, text: str, span: tuple[int, int]) -> str:
        """The text that a token holds; a space of its own, where its span leaves spaces out."""
        start, end = span
        piece = self.readable(i) if end <= start else ""
        beside = any(char.isspace() for char in text[max(0, start - 1) : start + 1])
        return text[start:end] or (piece if beside and piece.isspace() else "")

    def decode(self, ids: Sequence[int]) -> str:
        """Ids -> text, specials left out."""
        kept = [i for i in ids if i not in self.special_ids or i == self.unknown_id]
        if self.fast is not None:
            return str(self.fast.decode(kept, skip_special_tokens=False))
        return str(self.backend.decode(kept, clean_up_tokenization_spaces=False))

    def label(self, ids: Sequence[int]) -> tuple[Token, ...]:
        """Ids that a model made -> tokens, with spans in `decode(ids)`."""
        text = self.decode(ids)
        if rows := self._bytes(ids, (text, "")):
            return self._labelled(rows, (text, ""))
        tokens, before = [], 0
        for n, i in enumerate(ids, 1):
            so_far = self.decode(ids[:n])
            whole = len(so_far.rstrip(HALF))
            end = min(max(whole, before) + (len(so_far) > whole), len(text))
            special, raw = self._is_special(i), self.raw(i)
            start = min(before, end)
            shown = raw if special else text[start:end]
            tokens.append(Token(i, raw, shown, start, end, special, i == self.unknown_id))
            before = max(whole, before)
        return numbered(tokens, [text])

    def readable(self, i: int) -> str:
        """One id as a person reads it: " the", "ing"; half a character as its bytes, "\\xe9"."""
        raw = self.raw(i)
        if i in self.special_ids:
            return raw
        if self.byte_level and all(char in BYTE_OF_CHAR for char in raw):
            piece = bytes(BYTE_OF_CHAR[char] for char in raw)
            return piece.decode("utf-8", errors="backslashreplace")
        if self.spells_bytes and len(raw) == 1:
            return bytes([ord(raw)]).decode("utf-8", errors="backslashreplace")
        if byte := BYTE.fullmatch(raw):
            return bytes.fromhex(byte[1]).decode("utf-8", errors="backslashreplace")
        return raw.removeprefix("##").removesuffix("</w>").replace("▁", " ")

    def _is_special(self, i: int) -> bool:
        return i in self.special_ids and i != self.unknown_id

    def _without_added_space(self, row: Row, texts: tuple[str, str]) -> Row:
        """A space put before the first word has the first letter's span; it stands for no text."""
        i, raw, (start, end), segment = row
        added = self.readable(i).isspace() and texts[segment][start:end].strip()
        return (i, raw, (start, start), segment) if added else row

    def _bytes(self, ids: Sequence[int], texts: tuple[str, str]) -> list[Row]:
        """Bytes with the spans of their characters; none if the ids are not the texts' bytes."""
        ordinary = "".join(self.raw(i) for i in ids if not self._is_special(i))
        data = [text.encode() for text in texts]
        if not self.spells_bytes or ordinary.encode("latin-1", "ignore") != b"".join(data):
            return []
        places = ((c, n) for n in (0, 1) if data[n] for c in char_of_byte(data[n]))
        rows, end, segment = [], 0, 0
        for i in ids:
            if self._is_special(i):
                rows.append((i, self.raw(i), (end, end), segment))
            else:
                start, segment = next(places)
                end = start + 1
                rows.append((i, self.raw(i), (start, end), segment))
        return rows

    def _found(self, ids: list[int], texts: tuple[str, str], n_first: int) -> list[Row]:
        """A slow tokenizer gives no spans: each piece is looked for where the one before ended; the
        second text has those after the `n_first` pieces of the first. An unknown one is what is
        between its neighbours."""
        rows: list[Row] = []
        done, at, segment, unknown = 0, 0, 0, False
        for i in ids:
            special, raw = self._is_special(i), self.raw(i)
            if not special and done == n_first and segment == 0:
                rows = _filled(rows, len(texts[0]), self.unknown_id)
                at, segment, unknown = 0, 1, False
            piece = raw if special else self.readable(i)
            known = i != self.unknown_id
            span = _span(piece, texts[segment], at, LOOKED if unknown else 0) if known else (at, at)
            if span[1] > span[0] and unknown:
                rows = _filled(rows, span[0], self.unknown_id)
            done += not special
            at = max(at, span[1])
            unknown = not known or (unknown and span[1] == span[0])
            rows.append((i, raw, span, segment))
        rows = _filled(rows, len(texts[segment]), self.unknown_id)
        return [(i, raw, _trimmed(span, texts[n]), n) for i, raw, span, n in rows]


def _offsets(encoding: Any) -> list[Row]:
    """A fast tokenizer gives the spans itself. What frames a text is of the text before it."""
    segments = list(
        accumulate(encoding.sequence_ids, lambda n, m: n if m is None else m, initial=0)
    )
    parts = (encoding.ids, encoding.tokens, encoding.offsets, segments[1:])
    return list(zip(*parts, strict=True))


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


def _by_bytes(rows: Iterable[Row]) -> Iterator[Row]:
    """Unknown characters in a row become bytes that all have the span of the whole row: each then
    has that of its character."""
    for (span, is_byte), group in groupby(rows, lambda row: (row[2], bool(BYTE.fullmatch(row[1])))):
        run = list(group)
        data = b"".join(bytes.fromhex(raw[3:5]) for _, raw, _, _ in run) if is_byte else b""
        chars = char_of_byte(data)
        is_whole = is_byte and chars[-1] + 1 == span[1] - span[0]
        for n, row in enumerate(run):
            i, raw, _, segment = row
            start = span[0] + chars[n] if is_whole else 0
            yield (i, raw, (start, start + 1), segment) if is_whole else row


def _span(piece: str, text: str, at: int, ahead: int) -> tuple[int, int]:
    """Where a piece is in the text from `at` on, spaces and at most `ahead` characters skipped;
    an empty span if it is not there."""
    wanted = _plain(piece.strip())
    start = at
    while start < len(text) and text[start].isspace():
        start += 1
    for begin in range(start, min(len(text), start + ahead) + 1):
        for end in range(begin + 1, min(len(text), begin + len(wanted) + 4) + 1):
            if wanted and _plain(text[begin:end]) == wanted:
                return begin, end
    return at, at


def _filled(rows: list[Row], end: int, unknown_id: int | None) -> list[Row]:
    """The last unknown piece, if nothing was found since, holds the text up to `end`."""
    found = next((n for n in range(len(rows) - 1, -1, -1) if rows[n][2][1] > rows[n][2][0]), -1)
    missing = [n for n in range(found + 1, len(rows)) if rows[n][0] == unknown_id]
    if missing:
        i, raw, (start, _), segment = rows[missing[-1]]
        rows[missing[-1]] = (i, raw, (start, end), segment)
    return rows


def _trimmed(span: tuple[int, int], text: str) -> tuple[int, int]:
    """A span without the spaces at its ends."""
    start, end = span
    held = text[start:end]
    start += len(held) - len(held.lstrip())
    return start, max(start, end - (len(held) - len(held.rstrip())))


def _plain(text: str) -> str:
    """Without case, accents and forms: what a normalizer may have changed."""
    apart = unicodedata.normalize("NFKD", text.casefold())
    return "".join(char for char in apart if not is_mark(char))
