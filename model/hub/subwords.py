"""Tokens of any Hugging Face tokenizer, with the methods of `model.tokenizers.Tokenizer`."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from typing import Any

from attention_atlas.model.record import Token
from attention_atlas.model.tokenizers import BYTE_OF_CHAR, char_of_byte, is_mark, with_marks
from attention_atlas.model.words import numbered

HALF = "\ufffd"  # what stands for part of a character
BYTE = re.compile(r"<0x([0-9A-F]{2})>")  # SentencePiece's spelling of a byte
LOOKED = 24  # characters past an unknown piece in which the next one is looked for
Row = tuple[int, str, tuple[int, int], int]  # id, raw spelling, span, segment


class HubTokenizer:
    """A tokenizer of transformers; every method is a pure function of its arguments."""

    def __init__(
        self,
        backend: Any,
        *,
        begin_id: int | None = None,
        end_id: int | None = None,
        first_id: int | None = None,
    ) -> None:
        self.backend = backend
        self.first_id = first_id
        self.fast: Any = getattr(backend, "backend_tokenizer", None)
        if self.fast is not None:  # calls of the backend itself would set these on each call
            self.fast.no_truncation()
            self.fast.no_padding()
        added = backend.added_tokens_decoder
        self.special_ids = {i for i, token in added.items() if token.special}
        self.special_ids |= set(backend.all_special_ids)
        self.unknown_id: int | None = backend.unk_token_id
        parts = "" if self.fast is None else f"{self.fast.decoder!r}{self.fast.pre_tokenizer!r}"
        self.byte_level = "ByteLevel" in parts
        self.begin_id: int | None = _first(begin_id, backend.bos_token_id, backend.cls_token_id)
        self.end_id: int | None = _first(end_id, backend.eos_token_id, backend.sep_token_id)
        self.mask_id: int | None = backend.mask_token_id
        self.pad_id: int | None = backend.pad_token_id

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
        return list(self.backend(text, add_special_tokens=False, verbose=False).input_ids)

    def encode(self, text: str, pair: str | None = None) -> tuple[Token, ...]:
        """The text, and an encoder's second one, framed as the model expects them.

        A piece that holds part of a character's bytes spans that whole character.
        """
        if self.fast is not None:
            return self._labelled(self._offsets(text, pair), (text, pair or ""))
        return self._labelled(self._aligned(text, pair), (text, pair or ""))

    def encode_target(self, text: str) -> tuple[Token, ...]:
        """A text of a translator's output side; some tokenizers cut that otherwise."""
        if self.fast is not None:
            return self.encode(text)
        ids = self.backend(text_target=text, verbose=False).input_ids
        return self._labelled(self._found(list(ids), (text, ""), len(ids)), (text, ""))

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
        if byte := BYTE.fullmatch(raw):
            return bytes.fromhex(byte[1]).decode("utf-8", errors="backslashreplace")
        return raw.removeprefix("##").removesuffix("</w>").replace("▁", " ")

    def _is_special(self, i: int) -> bool:
        return i in self.special_ids and i != self.unknown_id

    def _offsets(self, text: str, pair: str | None) -> list[Row]:
        """A fast tokenizer says the spans itself; a pair without segments is told by its texts."""
        found = self.fast.encode(text, pair)
        segments = list(found.type_ids)
        if pair is not None and not any(segments):
            segments = [sequence or 0 for sequence in found.sequence_ids]
        rows = list(zip(found.ids, found.tokens, found.offsets, segments, strict=True))
        return [self._without_added_space(row, (text, pair or "")) for row in _by_bytes(rows)]

    def _without_added_space(self, row: Row, texts: tuple[str, str]) -> Row:
        """A space put before the first word has the first letter's span; it stands for no text."""
        i, raw, (start, end), segment = row
        added = self.readable(i).isspace() and texts[segment][start:end].strip()
        return (i, raw, (start, start), segment) if added else row

    def _aligned(self, text: str, pair: str | None) -> list[Row]:
        """A slow tokenizer says no spans."""
        ids = list(self.backend(text, pair, verbose=False).input_ids)
        return self._found(ids, (text, pair or ""), len(self.ids(text)))

    def _found(self, ids: list[int], texts: tuple[str, str], n_first: int) -> list[Row]:
        """Each piece is looked for where the one before ended; the second text has those after
        the `n_first` pieces of the first. An unknown one is what is between its neighbours."""
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
