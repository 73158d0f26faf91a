"""The README: everything there is, is named in it, and its commands answer what it says."""

from __future__ import annotations

import io
import os
import re
import urllib.request
from pathlib import Path

import pytest
from attention_atlas.app.main import create_app
from attention_atlas.app.pages import VIEWS
from attention_atlas.app.settings import Settings
from attention_atlas.model.metrics import METRICS
from attention_atlas.model.reductions import REDUCTIONS
from attention_atlas.model.tape import OPS
from fastapi.testclient import TestClient

from tests.families import FAMILIES, adapted

ROOT = Path(__file__).parent.parent
README = ROOT / "README.md"
BASE = "http://127.0.0.1:8000"
BLOCK = re.compile(r"```(sh|python)\n(curl[^\n]*|import.*?)\n```\n```text\n(.*?)```", re.DOTALL)


@pytest.fixture(scope="module")
def client():
    with TestClient(create_app(Settings(threads=1))) as client:
        yield client


def rows(heading: str) -> dict[str, str]:
    """The table below a heading: first cell -> whole row."""
    section = README.read_text().split(f"## {heading}\n")[1].split("\n## ")[0]
    return {line.split("|")[1].strip(" `"): line for line in section.splitlines() if "|" in line}


def test_every_route_is_named(client):
    text = README.read_text()
    for path in client.app.openapi()["paths"]:
        assert f"`{path}`" in text


def test_every_setting_is_named_with_its_default():
    table = rows("Settings")
    for name, field in Settings.model_fields.items():
        row = table[name.upper()]
        assert field.description in row
        assert name == "threads" or not field.default or str(field.default) in row


@pytest.mark.parametrize("name", [*REDUCTIONS, *METRICS, *OPS, *VIEWS])
def test_every_reduction_metric_edit_and_view_is_named(name):
    assert f"`{name}`" in README.read_text()


@pytest.mark.parametrize("path", re.findall(r"`((?:model|app)/[a-z_]+\.py)`", README.read_text()))
def test_every_file_on_the_map_is_there(path):
    assert (ROOT / path).is_file()


COLUMNS = ("model", "measure", "value", "95 % interval", "over", "where, how", "to compare")
MEASURED = f"| {' | '.join(COLUMNS)} |\n|{'---|' * len(COLUMNS)}\n"
SHOWN = ("bleu", "alignment", "cross", "masked", "next", "bank", "blimp", "encoder", "decod")
CORPORA = ("vital_wiki", "enwiki2018", "classics", "tatoeba_en")


def shown(measure: str) -> bool:
    return measure.startswith(SHOWN) or measure.removeprefix("bits_per_byte_") in CORPORA


def measured(client: TestClient) -> str:
    """The cards' measures as rows of the README's table."""
    rows = []
    for model in client.get("/api/v1/models").json()["models"]:
        for name, found in model["metrics"].items():
            if shown(name):
                interval = f"{found['low']} to {found['high']}"
                over = f"{found['n']:,} {found['of']}"
                how = found["detail"].split(";")[0]
                cells = [name.replace("_", " "), found["value"], interval, over, how]
                cells = [f"`{model['name']}`", *cells, found["compare"]]
                rows.append(f"| {' | '.join(map(str, cells))} |\n")
    return "".join(rows)


def test_the_measures_are_the_cards(client):
    before, after = README.read_text().split(MEASURED)
    rows = re.match(r"(?:\|.*\n)*", after)
    assert rows
    if os.environ.get("UPDATE_README"):
        README.write_text(f"{before}{MEASURED}{measured(client)}{after[rows.end() :]}")
    else:
        assert rows[0] == measured(client)


FAMILY = (
    "| family | attention | positions | by the lens: q, k, v, scores, edits | page of positions |"
)
FAMILY += " tasks |\n|---|---|---|---|---|---|\n"


def families() -> str:
    """What each family supports, as rows of the README's table."""
    rows = []
    for name in FAMILIES:
        found = adapted(name)
        kinds, tasks = ", ".join(found.kinds), ", ".join(found.tasks) or "none"
        lens = "no: only attention" if found.lacks else "yes"
        page = "yes" if found.parts and not found.lacks else "no"
        rows.append(f"| {name} | {kinds} | {found.positions} | {lens} | {page} | {tasks} |\n")
    return "".join(rows)


def test_the_table_of_families_is_what_was_measured():
    before, after = README.read_text().split(FAMILY)
    rows = re.match(r"(?:\|.*\n)*", after)
    assert rows
    if os.environ.get("UPDATE_README"):
        README.write_text(f"{before}{FAMILY}{families()}{after[rows.end() :]}")
    else:
        assert rows[0] == families()


def test_every_picture_is_there():
    for path in re.findall(r"!\[.*?\]\((.*?)\)", README.read_text()):
        assert (ROOT / path).stat().st_size > 10_000


def answered(client: TestClient, language: str, command: str, monkeypatch, capsys) -> str:
    """What a command of the README prints, asked of the app itself."""
    if language == "sh":
        return client.get(command.split("'")[1].removeprefix(BASE)).text.replace("\r\n", "\n")

    def urlopen(asked: str | urllib.request.Request) -> io.BytesIO:
        if isinstance(asked, str):
            return io.BytesIO(client.get(asked.removeprefix(BASE)).content)
        path, headers = asked.full_url.removeprefix(BASE), dict(asked.header_items())
        return io.BytesIO(client.post(path, content=asked.data, headers=headers).content)

    monkeypatch.setattr(urllib.request, "urlopen", urlopen)
    exec(command, {})
    return capsys.readouterr().out


def test_every_command_answers_what_the_readme_says(client, monkeypatch, capsys):
    text = README.read_text()
    blocks = BLOCK.findall(text)
    assert len(blocks) == text.count("```text")
    for language, command, said in blocks:
        found = answered(client, language, command, monkeypatch, capsys).rstrip("\n") + "\n"
        if os.environ.get("UPDATE_README"):
            text = text.replace(
                f"{command}\n```\n```text\n{said}", f"{command}\n```\n```text\n{found}"
            )
            README.write_text(text)
        else:
            assert numbers(found) == (pytest.approx(numbers(said), abs=1e-4))
            assert words(found) == words(said)


NUMBER = re.compile(r"\d+\.\d+(?:e-?\d+)?")


def numbers(text: str) -> list[float]:
    return [float(found) for found in NUMBER.findall(text)]


def words(text: str) -> str:
    return NUMBER.sub("#", text)
