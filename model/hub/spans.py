"""Where the pieces of a tokenizer are in the text that it cut."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from itertools import accumulate, groupby
from typing import Any

from attention_atlas.model.hub.spelling import BYTE, Spelling
from attention_atlas.model.tokenizers import char_of_byte, is_mark

LOOKED = 24  # characters past an unknown piece in which the next one is looked for
Row = tuple[int, str, tuple[int, int], int]  # id, raw spelling, span, segment


def given(encoding: Any, texts: tuple[str, str], spelling: Spelling) -> list[Row]:
    """A fast tokenizer gives the spans itself. What frames a text is of the text before it."""
    segments = list(
        accumulate(encoding.sequence_ids, lambda n, m: n if m is None else m, initial=0)
    )
    parts = (encoding.ids, encoding.tokens, encoding.offsets, segments[1:])
    rows = _by_bytes(zip(*parts, strict=True))
    return [_without_added_space(row, texts, spelling) for row in rows]


def searched(ids: list[int], texts: tuple[str, str], n_first: int, spelling: Spelling) -> list[Row]:
    """A slow tokenizer gives no spans: each piece is looked for where the one before ended; the
    second text has those after the `n_first` pieces of the first. An unknown one is what is
    between its neighbours."""
    unknown_id = spelling.unknown_id
    rows: list[Row] = []
    done, at, segment, unknown = 0, 0, 0, False
    for i in ids:
        special, raw = spelling.is_special(i), spelling.raw(i)
        if not special and done == n_first and segment == 0:
            rows = _filled(rows, len(texts[0]), unknown_id)
            at, segment, unknown = 0, 1, False
        piece = raw if special else spelling.readable(i)
        known = i != unknown_id
        span = _span(piece, texts[segment], at, LOOKED if unknown else 0) if known else (at, at)
        if span[1] > span[0] and unknown:
            rows = _filled(rows, span[0], unknown_id)
        done += not special
        at = max(at, span[1])
        unknown = not known or (unknown and span[1] == span[0])
        rows.append((i, raw, span, segment))
    rows = _filled(rows, len(texts[segment]), unknown_id)
    return [(i, raw, _trimmed(span, texts[n]), n) for i, raw, span, n in rows]


def bytewise(ids: Sequence[int], texts: tuple[str, str], spelling: Spelling) -> list[Row]:
    """Bytes with the spans of their characters; none if the ids are not the texts' bytes."""
    ordinary = "".join(spelling.raw(i) for i in ids if not spelling.is_special(i))
    data = [text.encode() for text in texts]
    if not spelling.is_bytes or ordinary.encode("latin-1", "ignore") != b"".join(data):
        return []
    places = ((c, n) for n in (0, 1) if data[n] for c in char_of_byte(data[n]))
    rows, end, segment = [], 0, 0
    for i in ids:
        if spelling.is_special(i):
            rows.append((i, spelling.raw(i), (end, end), segment))
        else:
            start, segment = next(places)
            end = start + 1
            rows.append((i, spelling.raw(i), (start, end), segment))
    return rows


def _without_added_space(row: Row, texts: tuple[str, str], spelling: Spelling) -> Row:
    """A space put before the first word has the first letter's span; it stands for no text."""
    i, raw, (start, end), segment = row
    added = spelling.readable(i).isspace() and texts[segment][start:end].strip()
    return (i, raw, (start, start), segment) if added else row


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


def _span(piece: str, text: str, offset: int, ahead: int) -> tuple[int, int]:
    """Where a piece is in the text from `at` on, spaces and at most `ahead` characters skipped;
    an empty span if it is not there."""
    wanted = _plain(piece.strip())
    start = offset
    while start < len(text) and text[start].isspace():
        start += 1
    for begin in range(start, min(len(text), start + ahead) + 1):
        for end in range(begin + 1, min(len(text), begin + len(wanted) + 4) + 1):
            if wanted and _plain(text[begin:end]) == wanted:
                return begin, end
    return offset, offset


def _filled(rows: list[Row], end: int, unknown_id: int | None) -> list[Row]:
    """The last unknown piece, if nothing was found since, holds the text up to `end`."""
    last = next((n for n in range(len(rows) - 1, -1, -1) if rows[n][2][1] > rows[n][2][0]), -1)
    missing = [n for n in range(last + 1, len(rows)) if rows[n][0] == unknown_id]
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
