"""The README and docs/ name everything there is, and their commands print what they say."""

from __future__ import annotations

import io
import os
import re
import urllib.request
from pathlib import Path

import pytest
from attention_atlas.app.main import create_app
from attention_atlas.app.navigation import LINKS
from attention_atlas.app.pages.explore import VIEWS
from attention_atlas.app.settings import Settings
from attention_atlas.model.metrics import METRICS
from attention_atlas.model.reductions import REDUCTIONS
from attention_atlas.model.tape import OPS
from fastapi.testclient import TestClient

import attention_atlas as atlas
from attention_atlas import client as atlas_client
from tests.families import FAMILIES, adapted

ROOT = Path(__file__).parent.parent
DOCS = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")]
DOCS += sorted((ROOT / "docs").glob("*.md"))
BASE = "http://127.0.0.1:8000"
BLOCK = re.compile(
    r"```(sh|python)\n(curl[^\n]*|import (?:(?!```).)*)\n```\n```text\n(.*?)```", re.DOTALL
)
ID = re.compile(r'"request_id":"\w+"')
LINK = re.compile(r"\]\(([^)#:]+)(?:#[^)]*)?\)")
PLACEHOLDER = re.compile(r"\b(?:NAME|CODE)\b")
FILE = re.compile(r"`((?:app|model|static|templates|tests)/[\w/.]+)`")


@pytest.fixture(scope="module")
def client():
    with TestClient(create_app(Settings(threads=1))) as client:
        yield client


def doc(name: str) -> str:
    return (ROOT / "docs" / f"{name}.md").read_text()


def test_every_route_is_named(client):
    assert [path for path in client.app.openapi()["paths"] if f"`{path}`" not in doc("api")] == []


def test_every_setting_is_named_with_its_default():
    rows = {
        line.split("|")[1].strip(" `"): line for line in doc("settings").splitlines() if "|" in line
    }
    for name, field in Settings.model_fields.items():
        row = rows[name.upper()]
        assert field.description in row
        assert name == "threads" or not field.default or str(field.default) in row


@pytest.mark.parametrize(
    ("name", "page"),
    [
        *((name, "architecture") for name in (*REDUCTIONS, *METRICS)),
        *((name, "api") for name in OPS),
        *((name, "pages") for name in VIEWS),
    ],
)
def test_every_reduction_metric_edit_and_view_is_named(name, page):
    assert f"`{name}`" in doc(page)


@pytest.mark.parametrize("path", DOCS, ids=lambda path: path.name)
def test_every_link_picture_and_file_is_there(path):
    text = path.read_text()
    targets = [path.parent / target for target in LINK.findall(text)]
    targets += [ROOT / target for target in FILE.findall(text) if not PLACEHOLDER.search(target)]
    assert [target for target in targets if not target.exists()] == []


def test_every_setting_of_the_docs_is_there():
    named = set(re.findall(r"(?m)^\| `(\w+)`", doc("settings")))
    assert named == {name.upper() for name in Settings.model_fields}


def test_every_resource_of_the_docs_is_there(client):
    named = set(re.findall(r"`(/api/v1/[\w/{}-]*)`", doc("api")))
    assert named <= set(client.app.openapi()["paths"])
    assert len(named) > 10


def test_every_page_has_a_section_and_every_section_a_page():
    """But for the cards, which models.md is about, and the API."""
    headings = re.findall(r"(?m)^## (.*)$", doc("pages"))
    sections = [name for heading in headings for name in heading.split(", ")]
    assert sorted(sections) == sorted({link.label for link in LINKS} - {"Models", "API"})


def test_every_view_of_the_docs_is_there():
    table = doc("pages").split("| view | what it shows |")[1].split("\n\n")[0]
    assert set(re.findall(r"(?m)^\| `(\w+)`", table)) == {"grid", *VIEWS}


def test_pictures_show_something():
    for path in DOCS:
        for picture in re.findall(r"!\[.*?\]\((.*?)\)", path.read_text()):
            assert (path.parent / picture).stat().st_size > 10_000


COLUMNS = ("model", "measure", "value", "95 % interval", "over", "where, how", "to compare")
MEASURED = f"| {' | '.join(COLUMNS)} |\n|{'---|' * len(COLUMNS)}\n"
SHOWN = ("bleu", "alignment", "cross", "masked", "next", "bank", "blimp", "encoder", "decod")
SHOWN += ("bits_per_masked", "sensible", "other_senses", "heads_", "relation")
CORPORA = ("vital_wiki", "enwiki2018", "classics", "tatoeba_en")


def shown(measure: str) -> bool:
    return measure.startswith(SHOWN) or measure.removeprefix("bits_per_byte_") in CORPORA


def measured(client: TestClient) -> str:
    """The cards' measures as rows of the table in docs/."""
    rows = []
    for model in client.get("/api/v1/models").json()["models"]:
        for name, result in model["metrics"].items():
            if shown(name):
                interval = f"{result['low']} to {result['high']}"
                over = f"{result['n']:,} {result['of']}"
                how = result["detail"].split(";")[0]
                cells = [name.replace("_", " "), result["value"], interval, over, how]
                cells = [f"`{model['name']}`", *cells, result["compare"]]
                rows.append(f"| {' | '.join(map(str, cells))} |\n")
    return "".join(rows)


def test_the_measures_are_the_cards(client):
    before, after = doc("models").split(MEASURED)
    rows = re.match(r"(?:\|.*\n)*", after)
    assert rows
    if os.environ.get("UPDATE_DOCS"):
        (ROOT / "docs/models.md").write_text(
            f"{before}{MEASURED}{measured(client)}{after[rows.end() :]}"
        )
    else:
        assert rows[0] == measured(client)


FAMILY = (
    "| family | attention | positions | by the lens: q, k, v, scores, edits | page of positions |"
)
FAMILY += " tasks |\n|---|---|---|---|---|---|\n"


def families() -> str:
    """What each family supports, as rows of the table in docs/."""
    rows = []
    for name in FAMILIES:
        result = adapted(name)
        kinds, tasks = ", ".join(result.kinds), ", ".join(result.tasks) or "none"
        lens = "no: only attention" if result.lacks else "yes"
        page = "yes" if result.has_input_parts and not result.lacks else "no"
        rows.append(f"| {name} | {kinds} | {result.positions} | {lens} | {page} | {tasks} |\n")
    return "".join(rows)


def test_the_table_of_families_is_what_was_measured():
    before, after = doc("families").split(FAMILY)
    rows = re.match(r"(?:\|.*\n)*", after)
    assert rows
    if os.environ.get("UPDATE_DOCS"):
        (ROOT / "docs/families.md").write_text(f"{before}{FAMILY}{families()}{after[rows.end() :]}")
    else:
        assert rows[0] == families()


def answered(client: TestClient, language: str, command: str, monkeypatch, capsys) -> str:
    """What a command of the README prints, asked of the app itself."""
    if language == "sh":
        return client.get(command.split("'")[1].removeprefix(BASE)).text.replace("\r\n", "\n")

    def urlopen(asked: str | urllib.request.Request) -> io.BytesIO:
        if isinstance(asked, str):
            return io.BytesIO(client.get(asked.removeprefix(BASE)).content)
        path, headers = asked.full_url.removeprefix(BASE), dict(asked.header_items())
        return io.BytesIO(client.post(path, content=asked.data, headers=headers).content)

    def asking(server: object) -> atlas.Client:
        local = atlas_client.Client(client.app)
        local.address = str(server)  # what addresses of pages begin with
        return local

    monkeypatch.setattr(urllib.request, "urlopen", urlopen)
    monkeypatch.setattr(atlas, "Client", asking, raising=False)
    exec(command, {})
    return capsys.readouterr().out


@pytest.mark.parametrize("path", DOCS, ids=lambda path: path.name)
def test_every_command_prints_what_the_docs_say(client, path, monkeypatch, capsys):
    text = path.read_text()
    blocks = BLOCK.findall(text)
    assert len(blocks) == text.count("```text")
    for language, command, expected in blocks:
        answer = answered(client, language, command, monkeypatch, capsys).rstrip("\n") + "\n"
        answer = ID.sub('"request_id":"…"', answer)  # another for each request
        if os.environ.get("UPDATE_DOCS"):
            old, new = (f"{command}\n```\n```text\n{output}" for output in (expected, answer))
            text = text.replace(old, new)
            path.write_text(text)
        else:
            assert numbers(answer) == (pytest.approx(numbers(expected), abs=1e-4))
            assert words(answer) == words(expected)


NUMBER = re.compile(r"\d+\.\d+(?:e-?\d+)?")


def numbers(text: str) -> list[float]:
    return [float(result) for result in NUMBER.findall(text)]


def words(text: str) -> str:
    return NUMBER.sub("#", text)
