"""What the pages say, in English or Chinese: gettext catalogues, for templates and scripts."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import NamedTuple

from attention_atlas.app.wire import accepted
from babel.core import negotiate_locale
from babel.messages.pofile import read_po
from fastapi import Request

LOCALE = Path(__file__).parent / "locale"


class Language(NamedTuple):
    code: str  # as in ?lang=
    tag: str  # as in <html lang>
    name: str  # as its speakers call it


LANGUAGES = {
    found.code: found
    for found in (Language("en", "en", "English"), Language("zh", "zh-CN", "中文"))
}


@cache
def catalogue(code: str) -> Mapping[str, str]:
    """English -> the language, of everything that is said on a page; English has nothing to say."""
    path = LOCALE / f"{code}.po"
    if not path.exists():
        return {}
    with path.open("rb") as file:
        messages = read_po(file, code)
    return {str(found.id): str(found.string) for found in messages if found.id and found.string}


def chosen(request: Request) -> Language:
    """?lang=, else the first of Accept-Language that there is, else English."""
    asked = request.query_params.get("lang", "")
    if asked in LANGUAGES:
        return LANGUAGES[asked]
    wanted = accepted(request.headers.get("accept-language", ""))
    tags = [tag.replace("-", "_") for tag in wanted if tag.replace("-", "").isalnum()]
    found = negotiate_locale(tags, list(LANGUAGES)) if tags else None
    return LANGUAGES[found or "en"]


def translator(language: Language) -> Callable[[str], str]:
    """gettext: the text in the language, or as it is."""
    words = catalogue(language.code)
    return lambda text: words.get(text, text)


def context(request: Request) -> dict[str, object]:
    """What every template has: `_`, the language, the other one's address, the scripts' words."""
    language = chosen(request)
    [other] = [found for found in LANGUAGES.values() if found != language]
    return {
        "_": translator(language),
        "language": language,
        "other_language": other,
        "other_query": request.url.include_query_params(lang=other.code).query,
        "kept": {"lang": language.code} if "lang" in request.query_params else {},
        "words": dict(catalogue(language.code)),
    }
