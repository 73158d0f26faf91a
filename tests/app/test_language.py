"""Every page in English and Chinese: nothing that is said lacks its translation."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest
from attention_atlas.app.examples import catalogue as examples
from attention_atlas.app.language import LANGUAGES, catalogue
from attention_atlas.app.navigation import BAR, Group, Link
from attention_atlas.model import metrics
from attention_atlas.model.analysis import few_shot, roles
from attention_atlas.model.analysis.references import REFERENCES, SOURCE
from attention_atlas.model.hub.folder import OTHER_WEIGHTS
from attention_atlas.model.zoo import NOT_FOR, WEIGHTS, Card, names
from babel.messages.extract import extract
from jinja2.ext import babel_extract

from tests.messages import templates

ROOT = Path(__file__).parents[2]
CHINESE = re.compile(r"[\u4e00-\u9fff]")


def said() -> set[str]:
    """All that templates and scripts say, and what of Python's they show."""
    rows = [example for page in examples.PAGES for example in examples.stored(page)]
    written = {text for example in rows for text in (example.label, example.note) if text}
    values: set[str] = {NOT_FOR, *templates(), *written}
    values |= {SOURCE, *(sense for senses in REFERENCES.values() for sense in senses)}
    cards = [Card.read(WEIGHTS / name) for name in names()]
    values |= {r.measured_on for c in cards for r in roles.roles_of_card(c.heads, c.metrics, "")}
    values |= {label for entry in BAR for label in labels(entry)}
    values |= {*metrics.definitions().values(), *roles.DEFINITIONS.values()}
    values |= {*few_shot.definitions().values(), *few_shot.score_definitions().values()}
    for path in (ROOT / "static/js").rglob("*.js"):
        with path.open("rb") as file:
            inside = {"parse_template_string": True}
            values |= {str(row[1]) for row in extract("javascript", file, options=inside)}
    for path in (ROOT / "templates").glob("*.html"):
        with path.open("rb") as file:
            values |= {str(row[2]) for row in babel_extract(file, ("_",), [], {}) if row[2]}
    return values | reasons()


def labels(entry: Link | Group) -> list[str]:
    links = entry.links if isinstance(entry, Group) else ()
    return [entry.label, *(link.label for link in links)]


TEMPLATES = {"BadModel": 1, "unexpected": 2, "Note": 0}  # what is called -> its argument


def reasons() -> set[str]:
    """Why a model cannot be opened, and what there is to know of one: in calls, or named text."""
    nodes = [
        node
        for path in (*(ROOT / "model/hub").glob("*.py"), *(ROOT / "model").glob("*.py"))
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
    ]
    calls = [n for n in nodes if isinstance(n, ast.Call) and isinstance(n.func, ast.Name)]
    values = [n.args[TEMPLATES[n.func.id]] for n in calls if n.func.id in TEMPLATES]
    assigned = [n for n in nodes if isinstance(n, ast.Assign)]
    values += [n.value for n in assigned if named(n) == "text"]
    constants = {named(n): n.value for n in assigned}
    values = [constants.get(ast.unparse(v).split(".")[-1], v) for v in values]
    found = {str(value.value) for value in values if isinstance(value, ast.Constant)}
    return found | set(OTHER_WEIGHTS.values())


def named(node: ast.Assign) -> str:
    return ast.unparse(node.targets[0])


def placeholders(text: str) -> list[str]:
    return sorted(re.findall(r"\{\w+", text))


def test_extraction_sees_templates_scripts_and_reasons():
    assert {"All heads", "{token} looks at", "Next token", "Full screen"} <= said()
    assert {"{name} is empty", "{file} is not UTF-8 text"} <= reasons()


@pytest.mark.parametrize("code", [code for code in LANGUAGES if code != "en"])
def test_nothing_lacks_its_translation(code):
    words = catalogue(code)
    assert said() - words.keys() == set()
    assert words.keys() - said() == set(), "what nobody says any more is taken out"


@pytest.mark.parametrize("code", [code for code in LANGUAGES if code != "en"])
def test_translations_fill_in_the_same_values(code):
    words = catalogue(code)
    assert [t for t, text in words.items() if placeholders(t) != placeholders(text)] == []


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
        "/learn",
        "/explore",
        "/compare",
        "/positions",
        "/masks",
        "/attention",
        "/translate",
        "/generate",
        "/fill",
        "/lab",
        "/classify",
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


def test_links_stay_in_the_language_and_the_theme(client):
    page = client.get("/models?lang=zh&theme=dark").text
    assert 'href="/explore?lang=zh&amp;theme=dark"' in page
    assert 'href="/models/gpt?lang=zh&amp;theme=dark"' in page
    assert 'href="?theme=dark&amp;lang=en"' in page
