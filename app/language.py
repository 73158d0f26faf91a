"""Pages in English or Chinese: gettext catalogues for templates and scripts."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextvars import ContextVar
from functools import cache
from pathlib import Path
from typing import NamedTuple

from attention_atlas.app.wire import accepted
from attention_atlas.model.messages import Message
from babel.core import negotiate_locale
from babel.messages.pofile import read_po
from fastapi import Request
from starlette.types import ASGIApp, Receive, Scope, Send

THEMES = ("light", "dark")
LOCALE = Path(__file__).parent / "locale"
of_request: ContextVar[str] = ContextVar("language of the request", default="en")


class Language(NamedTuple):
    code: str  # as in ?lang=
    tag: str  # as in <html lang>
    name: str  # in the language itself


LANGUAGES = {
    language.code: language
    for language in (Language("en", "en", "English"), Language("zh", "zh-CN", "中文"))
}


@cache
def catalogue(code: str) -> Mapping[str, str]:
    """English -> the language, for every text on a page; empty for English."""
    path = LOCALE / f"{code}.po"
    if not path.exists():
        return {}
    with path.open("rb") as file:
        messages = read_po(file, code)
    return {str(row.id): str(row.string) for row in messages if row.id and row.string}


def chosen(request: Request) -> Language:
    """?lang=, else the first supported language of Accept-Language, else English."""
    code = request.query_params.get("lang", "")
    if code in LANGUAGES:
        return LANGUAGES[code]
    wanted = accepted(request.headers.get("accept-language", ""))
    tags = [tag.replace("-", "_") for tag in wanted if tag.replace("-", "").isalnum()]
    negotiated = negotiate_locale(tags, list(LANGUAGES)) if tags else None
    return LANGUAGES[negotiated or "en"]


def translator(language: Language) -> Callable[[str], str]:
    """gettext: the text in the language, or unchanged."""
    words = catalogue(language.code)
    return lambda text: words.get(text, text)


def in_words(text: str) -> str:
    """A message in the language of the request being answered; other text as it is."""
    if isinstance(text, Message):
        return text.translated(translator(LANGUAGES[of_request.get()]))
    return text


class RequestLanguage:
    """ASGI middleware: everything that answers a request finds its language in `of_request`."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            of_request.set(chosen(Request(scope)).code)
        await self.app(scope, receive, send)


def kept(request: Request) -> dict[str, str]:
    """The language and the theme of the address, which every link of the page keeps."""
    sent, code = request.query_params, chosen(request).code
    theme = {"theme": sent["theme"]} if sent.get("theme") in THEMES else {}
    return ({"lang": code} if "lang" in sent else {}) | theme


def context(request: Request) -> dict[str, object]:
    """What every template gets: `_`, the language, the other language's address, the messages."""
    language = chosen(request)
    [other] = [each for each in LANGUAGES.values() if each != language]
    return {
        "_": translator(language),
        "language": language,
        "other_language": other,
        "other_query": request.url.include_query_params(lang=other.code).query,
        "kept": kept(request),
        "words": dict(catalogue(language.code)),
    }
