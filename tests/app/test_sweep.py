"""Odd values for every parameter of every GET, resources and pages alike, in both languages."""

from __future__ import annotations

import html
import re
from functools import cache
from itertools import cycle
from typing import Any

import pytest
from fastapi.testclient import TestClient

LANGUAGES = ("en", "zh")
CHINESE = re.compile(r"[\u4e00-\u9fff]")
ENGLISH = re.compile(r"(?:\b[a-z]{2,}\b[ ,;:]+){4,}")  # five plain words after one another
NAMES = re.compile(r"\b(?:bert|gpt|translator|recurrent)\b,?")  # of models
LIBRARY = re.compile(
    r"Input should|Value error|should have at|Field required|validation error|unable to parse"
    r"|pydantic|torch\.|transformers\.|Traceback|RuntimeError|KeyError|IndexError"
)
TEXT = "He sat on the bank."
SOUND = {
    "model": "bert",
    "model_b": "bert",
    "text": TEXT,
    "text_b": TEXT,
    "texts": '["a b", "c"]',
    "word": "bank",
    "word_b": "bank",
    "a": '{"model": "bert", "text": "the bank"}',
    "b": '{"model": "bert", "text": "a bank"}',
    "clean": '{"model": "bert", "text": "the [MASK]"}',
}
ODD = ["", " ", "x", "-1", "1e9", "9" * 30, "[]", "{}", "null", "NaN", "\u200f", "<b>", "é" * 300]
COSTLY = {"/api/v1/arithmetic/cost", "/api/v1/few-shot"}  # measured when asked for
OTHERS = {"/healthz", "/readyz", "/metrics", "/models/{name}", "/models/{name}.json"}  # no form
PLAIN = {"/", "/index.json", "/learn", "/learn.json", "/learn/glossary", "/learn/glossary.json"}


@cache
def gets(client: TestClient) -> dict[str, list[str]]:
    """Each GET with the names of its query parameters."""
    paths: dict[str, Any] = client.app.openapi()["paths"]  # type: ignore[attr-defined]
    return {
        path: [one["name"] for one in result["get"].get("parameters", []) if one["in"] == "query"]
        for path, result in paths.items()
        if "get" in result and "{" not in path
    }


def requests(client: TestClient, path: str) -> list[dict[str, str]]:
    """Each parameter with three odd values, the others sound where the request needs them."""
    odd = cycle(ODD)
    names = [name for name in gets(client)[path] if name not in ("stream", "theme")]
    sound = {name: value for name, value in SOUND.items() if name in names}
    return [sound | {name: next(odd)} for name in names for _ in range(3)]


def messages(content: Any) -> list[str]:
    """What an answer says went wrong or was left aside; not what was typed."""
    if not isinstance(content, dict):
        return []
    problem = content if "detail" in content else content.get("problem") or {}
    rows = [*problem.get("errors", []), *content.get("ignored", [])]
    return [row["message"] for row in rows] + [problem[k] for k in ("detail",) if k in problem]


def said(page: str) -> list[str]:
    """The alert and the notices of a page, as text."""
    lines = re.findall(r'<p[^>]*role="(?:alert|status)"[^>]*>(.*?)</p>', page, flags=re.DOTALL)
    return [text for line in lines if (text := html.unescape(re.sub("<[^>]+>", "", line)).strip())]


def plain(message: str, request: dict[str, str]) -> str:
    """A message without what is quoted in it, and without what was asked."""
    words = [word for value in request.values() for word in re.findall(r"\w+", value)]
    for value in [*request.values(), *request, *words]:
        message = message.replace(value, " ") if value.strip() else message
    return re.sub(r"'[^']*'|\"[^\"]*\"|“[^”]*”|\([^)]*\)", " ", message)


def test_the_sweep_is_wide(client: TestClient) -> None:
    n = {path: len(requests(client, path)) for path in gets(client)}
    assert sum(n.values()) * len(LANGUAGES) >= 200
    assert {path for path in n if not n[path]} <= {
        "/models",
        "/models.json",
        "/api/v1/models",
    } | OTHERS | PLAIN


@pytest.mark.parametrize("language", LANGUAGES)
def test_no_odd_value_breaks_a_page_or_a_resource(client: TestClient, language: str) -> None:
    headers = {"accept-language": language, "accept": "text/html, application/json;q=0.9"}
    headers["accept-encoding"] = "identity"  # /explore.html has 7 MB
    wrong: list[tuple[str, dict[str, str], str]] = []
    for path in sorted(gets(client).keys() - COSTLY):
        for request in requests(client, path):
            answer = client.get(path, params=request, headers=headers)
            is_page = answer.headers["content-type"].startswith("text/html")
            is_json = "json" in answer.headers["content-type"]
            shown = said(answer.text) if is_page else messages(answer.json()) if is_json else []
            wrong += [(path, request, answer.text[:300])] if answer.status_code == 500 else []
            wrong += [(path, request, text) for text in shown if is_wrong(text, request, language)]
    report = "\n".join(f"{path} {request} {text[:160]}" for path, request, text in wrong[:40])
    assert not wrong, f"{len(wrong)} wrong answers:\n{report}"


def is_wrong(text: str, request: dict[str, str], language: str) -> bool:
    """A library's sentence, or a sentence in another language than the one asked for."""
    if LIBRARY.search(text):
        return True
    rest = plain(NAMES.sub("", text), request)
    return bool(ENGLISH.search(rest)) or not CHINESE.search(text) if language == "zh" else False
