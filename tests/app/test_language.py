"""Every page in English and Chinese: nothing that is said lacks its translation."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from attention_atlas.app.language import LANGUAGES, catalogue
from attention_atlas.app.pages import compare, explore, fill, generate, translate
from attention_atlas.model.analysis import few_shot
from attention_atlas.model.zoo import NOT_FOR
from babel.messages.extract import extract
from jinja2.ext import babel_extract

ROOT = Path(__file__).parents[2]
CHINESE = re.compile(r"[\u4e00-\u9fff]")


def said() -> set[str]:
    """All that templates and scripts say, and what of Python's they show."""
    work = (*translate.TRANSLATIONS, *generate.PROMPTS, *fill.BLANKS)
    examples = [*explore.EXAMPLES, *compare.EXAMPLES, *work]
    found: set[str] = {NOT_FOR, *(example.label for example in examples)}
    found |= {*few_shot.definitions().values(), *few_shot.score_definitions().values()}
    for path in (ROOT / "static/js").rglob("*.js"):
        with path.open("rb") as file:
            inside = {"parse_template_string": True}
            found |= {str(row[1]) for row in extract("javascript", file, options=inside)}
    for path in (ROOT / "templates").glob("*.html"):
        with path.open("rb") as file:
            found |= {str(row[2]) for row in babel_extract(file, ("_",), [], {}) if row[2]}
    return found


def placeholders(text: str) -> list[str]:
    return sorted(re.findall(r"\{\w+\}", text))


def test_extraction_sees_templates_and_scripts():
    assert {"All heads", "{token} looks at", "Next token", "Full screen"} <= said()


@pytest.mark.parametrize("code", [code for code in LANGUAGES if code != "en"])
def test_nothing_lacks_its_translation(code):
    words = catalogue(code)
    assert said() - words.keys() == set()
    assert words.keys() - said() == set(), "what nobody says any more is taken out"


@pytest.mark.parametrize("code", [code for code in LANGUAGES if code != "en"])
def test_translations_fill_in_the_same_values(code):
    words = catalogue(code)
    assert [t for t, said in words.items() if placeholders(t) != placeholders(said)] == []


@pytest.mark.parametrize(
    ("query", "accept", "tag"),
    [
        ("", "", "en"),
        ("", "zh-CN,zh;q=0.9,en;q=0.8", "zh-CN"),
        ("", "fr,de;q=0.5", "en"),
        ("", "en-GB,zh;q=0.5", "en"),
        ("", "*;q=0.1, ;;,===", "en"),
        ("lang=zh", "en", "zh-CN"),
        ("lang=en", "zh", "en"),
        ("lang=xx", "zh", "zh-CN"),
    ],
)
@pytest.mark.parametrize(
    "path",
    [
        "/explore",
        "/compare",
        "/positions",
        "/masks",
        "/arithmetic",
        "/translate",
        "/generate",
        "/fill",
        "/models",
        "/models/gpt",
    ],
)
def test_a_page_speaks_the_language_asked_for(client, path, query, accept, tag):
    answer = client.get(f"{path}?{query}", headers={"accept-language": accept})
    assert f'<html lang="{tag}"' in answer.text
    assert answer.headers["content-language"] == tag
    body = re.sub(r"<script.*?</script>|中文", "", answer.text, flags=re.DOTALL)
    assert bool(CHINESE.search(body)) == (tag == "zh-CN")


def test_links_stay_in_the_language(client):
    page = client.get("/models?lang=zh").text
    assert 'href="/explore?lang=zh"' in page
    assert 'href="/models/gpt?lang=zh"' in page
    assert 'href="?lang=en"' in page
