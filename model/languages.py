"""The languages that a translator's tokenizer has tokens for, and where those stand in a text.

NLLB, M2M100, mBART     the source has its own language's token, the target the target's
Marian, MADLAD-400      the source begins with the target's: >>fra<<, <2fr>
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

CODE = re.compile(r"_{0,2}[a-z]{2,3}(_[A-Za-z]{2,4})?_{0,2}")  # eng_Latn, fr_XX, __fr__
MARK = re.compile(r">>([^<>\s]+)<<|<2([a-zA-Z_]{2,12})>")
USUAL = ("en", "eng", "fr", "fra")  # what is translated between, where nothing says otherwise


class Direction(NamedTuple):
    """From which language into which, by the tokenizer's codes; None: it has none to choose."""

    source: str | None = None
    target: str | None = None


class Frame(NamedTuple):
    """What a decoder begins with, which token must come first after that, and what ends it."""

    begin: int
    first: int | None
    end: int


@dataclass(frozen=True)
class Languages:
    """The languages to choose from; empty where a tokenizer has none."""

    source: tuple[str, ...] = ()
    target: tuple[str, ...] = ()
    default: Direction = Direction()
    tokens: Mapping[str, str] = field(default_factory=dict)  # code -> how its token is spelled
    in_source: bool = False  # the target's token is the first of the source

    def direction(self, source: str | None = None, target: str | None = None) -> Direction:
        """What was chosen, and the default of what was not."""
        return Direction(source or self.default.source, target or self.default.target)

    def mark(self, text: str) -> str | None:
        """The target language that a source names itself: ">>fra<< Hello" -> fra."""
        match = MARK.match(text) if self.in_source else None
        code = (match[1] or match[2]) if match else None
        return code if code in self.tokens else None


NO_LANGUAGES = Languages()


def languages_of(backend: Any, forced_id: int | None = None) -> Languages:
    """The languages of a tokenizer of transformers. `forced_id` is the token that the model's
    translations begin with, if its files name one: then that language is the target."""
    if hasattr(backend, "set_tgt_lang_special_tokens"):
        return _framing(backend, forced_id)
    marks = {
        found[1] or found[2]: raw for raw in backend.get_vocab() if (found := MARK.fullmatch(raw))
    }
    target = tuple(sorted(marks))
    return Languages((), target, tokens=marks, in_source=True) if target else NO_LANGUAGES


def _framing(backend: Any, forced_id: int | None) -> Languages:
    """Of a tokenizer that frames each side with the token of its language."""
    named = getattr(backend, "lang_code_to_token", None) or getattr(backend, "lang_code_to_id", {})
    raws = named.values() if isinstance(next(iter(named.values()), 0), str) else named.keys()
    special = (str(token) for token in backend.all_special_tokens)
    spelled = [*raws] or [raw for raw in special if CODE.fullmatch(raw)]
    ids = {raw: backend.convert_tokens_to_ids(raw) for raw in spelled}
    tokens = {
        raw.strip("_"): raw for raw, i in ids.items() if i not in (None, backend.unk_token_id)
    }
    codes = tuple(sorted(tokens))
    forced = next((code for code, raw in tokens.items() if ids[raw] == forced_id), None)
    source, target = (
        code if code in tokens else None
        for code in (_code(backend.src_lang), forced or _code(backend.tgt_lang))
    )
    source = source or next(iter(_usual(codes)), None)
    target = target or next((code for code in _usual(codes) if code != source), source)
    return Languages(codes, codes, Direction(source, target), tokens)


def _code(raw: str | None) -> str:
    return (raw or "").strip("_")


def _usual(codes: tuple[str, ...]) -> list[str]:
    """English and French first, where they are among the codes; then the others."""
    order = {language: n for n, language in enumerate(USUAL)}
    return sorted(codes, key=lambda code: order.get(code.split("_")[0], len(order)))
