"""The drawings of the course: made from the run, in both languages, in the page's colours."""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import parse_qs, urlsplit
from xml.etree import ElementTree

import pytest
from attention_atlas.app.learn.catalogue import FIGURES
from attention_atlas.app.learn.course import course
from attention_atlas.app.learn.drawings import gelu
from attention_atlas.app.learn.figures import Measured
from attention_atlas.app.learn.svg import width_of
from fastapi.testclient import TestClient

DRAWN = [
    (chapter.number, step.id)
    for chapter in course("en")
    for step in chapter.steps
    if step.figure
    and isinstance(figure := FIGURES[step.figure.name], Measured)
    and figure.draw == "drawn"
]


def figure_of(client: TestClient, place: tuple[int, str], **query: str) -> dict[str, Any]:
    content = client.get(f"/learn/{place[0]}/{place[1]}.json", params=query).json()
    figure: dict[str, Any] = content["step"]["figure"]
    return figure


def test_what_the_issue_wants_drawn_is_drawn() -> None:
    wanted = [(4, "parts"), (5, "activations"), (5, "norms"), (8, "formats"), (9, "stages")]
    assert [place for place in DRAWN if place in wanted] == wanted


@pytest.mark.parametrize("language", ["en", "zh"])
@pytest.mark.parametrize("place", DRAWN, ids=str)
def test_a_drawing_has_words_for_who_does_not_see_it(
    client: TestClient, place: tuple[int, str], language: str
) -> None:
    figure = figure_of(client, place, lang=language)
    root = ElementTree.fromstring(figure["drawing"])
    names = root.get("aria-labelledby"), root.get("aria-describedby")
    title, about = (root.find(f"*[@id='{name}']") for name in names)
    assert title is not None and about is not None
    assert title.text and about.text and len(about.text) > 30
    assert bool(re.search("[\u4e00-\u9fff]", title.text)) == (language == "zh")
    assert figure["numbers"]["rows"], "the same as a table"


@pytest.mark.parametrize("language", ["en", "zh"])
@pytest.mark.parametrize("place", DRAWN, ids=str)
def test_a_drawing_is_read_on_a_phone(
    client: TestClient, place: tuple[int, str], language: str
) -> None:
    """As wide as a phone, so that text keeps its size; and each text fits into its box."""
    root = ElementTree.fromstring(figure_of(client, place, lang=language)["drawing"])
    assert float(root.attrib["viewBox"].split()[2]) <= 402
    for group in root.iterfind("g"):
        if group.attrib.get("class", "").startswith("box"):
            [rect], [words] = group.iterfind("rect"), group.iterfind("text")
            assert width_of(words.text or "", 12.5) <= float(rect.attrib["width"]), words.text


@pytest.mark.parametrize("place", DRAWN, ids=str)
def test_a_drawing_leaves_its_colours_to_the_theme(
    client: TestClient, place: tuple[int, str]
) -> None:
    drawing = figure_of(client, place)["drawing"]
    assert not re.search(r'style=|(fill|stroke)="|#[0-9a-f]{3,6}\b|rgb\(', drawing)


def test_the_lengths_in_the_drawing_are_the_apis(client: TestClient) -> None:
    figure = figure_of(client, (4, "parts"))
    answer = client.get(figure["api"][0]).json()
    words = [token["text"].strip() for token in answer["tokens"]]
    query = words.index(re.sub("<.*?>", "", figure["values"]["query"]))
    norms = [row[query] for row in answer["norms"]]
    shown = re.findall(r">(\d+\.\d\d)<", figure["drawing"])
    lengths = [*norms, sum(norms), answer["output"][query]]
    assert shown == [f"{length:.2f}" for length in lengths]
    assert figure["drawing"].count("fill-opacity") == len(norms) * int(figure["values"]["d"])
    assert "partly cancel" in figure["observed"] and lengths[-1] < lengths[-2]


def test_the_histogram_is_of_the_readers_sentence(client: TestClient) -> None:
    text = "Money talks."
    figure = figure_of(client, (5, "activations"), text=text)
    [address] = figure["api"]
    assert parse_qs(urlsplit(address).query)["text"] == [text]
    answer = client.get(address).json()
    assert [row[1] for row in figure["numbers"]["rows"]] == answer["counts"]
    assert f"{100 * answer['negative']:.0f} % below 0" in figure["drawing"]
    assert bool(figure["observed"]) == (answer["negative"] > 0.5)


def test_gelu_is_that_of_the_paper() -> None:
    assert gelu(-1) == pytest.approx(-0.158655, abs=1e-6)
    assert gelu(3) == pytest.approx(2.99595, abs=1e-5)


def test_choices_are_in_the_order_of_their_numbers(client: TestClient) -> None:
    options = figure_of(client, (4, "parts"))["options"]
    assert [option["word"] for option in options] == [f"head {i}" for i in range(len(options))]
