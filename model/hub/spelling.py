"""One vocabulary of a tokenizer: how its ids are spelled, and how a person reads them.

Most tokenizers have one. Some translators have two, so that an id means one piece in a source and
another in a target.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from attention_atlas.model.tokenizers import BYTE_OF_CHAR

BYTE = re.compile(r"<0x([0-9A-F]{2})>")  # SentencePiece's spelling of a byte


@dataclass(frozen=True)
class Spelling:
    """The spelling of each id, and which ids are not text."""

    spelled: Callable[[int], str | None]
    special_ids: set[int]
    unknown_id: int | None
    byte_level: bool = False  # bytes by GPT-2's alphabet of characters
    is_bytes: bool = False  # a token is a byte, written as the character of that number: ByT5

    def raw(self, i: int) -> str:
        """The vocabulary spelling of an id; some models have more ids than tokens."""
        raw = self.spelled(i)
        return f"[{i}]" if raw is None else str(raw)

    def readable(self, i: int) -> str:
        """One id as a person reads it: " the", "ing"; half a character as its bytes, "\\xe9"."""
        raw = self.raw(i)
        if i in self.special_ids:
            return raw
        if self.byte_level and all(char in BYTE_OF_CHAR for char in raw):
            piece = bytes(BYTE_OF_CHAR[char] for char in raw)
            return piece.decode("utf-8", errors="backslashreplace")
        if self.is_bytes and len(raw) == 1:
            return bytes([ord(raw)]).decode("utf-8", errors="backslashreplace")
        if byte := BYTE.fullmatch(raw):
            return bytes.fromhex(byte[1]).decode("utf-8", errors="backslashreplace")
        return raw.removeprefix("##").removesuffix("</w>").replace("▁", " ")

    def is_special(self, i: int) -> bool:
        return i in self.special_ids and i != self.unknown_id


def spellings(backend: Any, languages: set[str], *, byte_level: bool) -> tuple[Spelling, Spelling]:
    """The vocabulary of sources and that of targets: one and the same, unless there are two.
    `languages` are the tokens of languages, which are not text either."""
    added = {str(token) for token in backend.added_tokens_decoder.values() if token.special}
    special = added | {str(token) for token in backend.all_special_tokens} | languages
    source = backend.get_src_vocab() if hasattr(backend, "get_src_vocab") else {}
    n = max(source.values(), default=-1) + 1
    target = {i: raw for i in range(n) if (raw := _spelled(backend, i)) is not None}
    if all(target.get(i) == raw for raw, i in source.items()):
        special_ids = {
            i for raw in special if (i := backend.convert_tokens_to_ids(raw)) is not None
        }
        special_ids |= set(backend.all_special_ids)
        spelled = partial(_spelled, backend)
        one = Spelling(spelled, special_ids, backend.unk_token_id, byte_level, _is_bytes(backend))
        return one, one
    return (
        _listed({i: raw for raw, i in source.items()}, special, backend.unk_token),
        _listed(target, special, backend.unk_token),
    )


def _is_bytes(backend: Any) -> bool:
    """Whether the two bytes of é, each written as the character of its number, are read as é."""
    if hasattr(backend, "backend_tokenizer"):
        return False
    vocab = backend.get_vocab()
    ids = [vocab.get(chr(byte)) for byte in "é".encode()]
    return None not in ids and backend.decode(ids, clean_up_tokenization_spaces=False) == "é"


def _spelled(backend: Any, i: int) -> str | None:
    try:
        return backend.convert_ids_to_tokens(i)
    except IndexError:  # a SentencePiece model, of what it has not
        return None


def _listed(raws: dict[int, str], special: set[str], unknown: str | None) -> Spelling:
    special_ids = {i for i, raw in raws.items() if raw in special}
    unknown_id = next((i for i, raw in raws.items() if raw == unknown), None)
    return Spelling(raws.get, special_ids, unknown_id)
