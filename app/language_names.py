"""Names of languages for the codes of a tokenizer: fra_Latn, fr_XX, fr -> French, 法语."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

from attention_atlas.app.language import LANGUAGES
from babel import Locale
from babel.core import get_global

VARIANT = {"zh": "{name}（{variant}）"}  # how a page's language adds a script or a territory


class Parts(NamedTuple):
    """A code's language, as CLDR spells it, and the script or territory behind it."""

    language: str
    variant: str = ""


def language_names(codes: Sequence[str]) -> dict[str, dict[str, str]]:
    """Code -> its name in each language of the pages; the code itself where CLDR has none.

    A script or a territory is named where several codes are of one language.
    """
    names = {page: _names(codes, page) for page in LANGUAGES}
    order = sorted(codes, key=lambda code: (names["en"][code] == code, names["en"][code]))
    return {code: {page: found[code] for page, found in names.items()} for code in order}


def _names(codes: Sequence[str], page: str) -> dict[str, str]:
    parts, locale = {code: _parts(code) for code in codes}, Locale.parse(page)
    n = Counter(part.language for part in parts.values())
    pattern = VARIANT.get(page, "{name} ({variant})")
    names = {}
    for code, part in parts.items():
        name = locale.languages.get(part.language)
        variant = locale.scripts.get(part.variant) or locale.territories.get(part.variant) or code
        several = name is not None and n[part.language] > 1
        names[code] = pattern.format(name=name, variant=variant) if several else name or code
    alike = Counter(names.values())
    plain = {code: locale.languages.get(part.language, code) for code, part in parts.items()}
    return {
        code: name if alike[name] == 1 else pattern.format(name=plain[code], variant=code)
        for code, name in names.items()
    }


def _parts(code: str) -> Parts:
    language, _, variant = code.partition("_")
    return Parts(get_global("language_aliases").get(language, language), variant)
