"""Chapters 0 to 4: what is said under a figure is what the API answers, on any sentence."""

from __future__ import annotations

import re
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from attention_atlas.app.learn.batches import BESIDE
from attention_atlas.app.learn.catalogue import CASHED, RIVER, TWICE
from attention_atlas.app.learn.course import HERE, course
from fastapi.testclient import TestClient

SUGGESTED = [  # sentences that a step's "try this" gives, and whether its observation is made there
    (0, "look", {"text": "We walked along the bank of the river."}, True),
    (0, "two-banks", {"text_b": "They met at the savings bank."}, True),
    (0, "two-banks", {"text_b": "We walked along the bank of the river."}, False),  # river twice
    (0, "two-banks", {"text_b": "She works at a bank in the city."}, False),
    (0, "closed", {"text": "La tienda está cerrada."}, True),
    (1, "alignment", {"text": "La casa blanca es grande."}, True),
    (1, "qkv", {"text": "Please check the door at night."}, False),
    (3, "infinity", {"text": "Bob cashed a check."}, True),
    (3, "infinity", {"text": "Hello"}, False),
    (4, "induction", {"text": "The river boat was new. The river was deep."}, True),
    (4, "without", {"text": "She went home because it was late."}, False),
]


def figure_of(client: TestClient, chapter: int, step: str, **query: str) -> dict[str, Any]:
    content = client.get(f"/learn/{chapter}/{step}.json", params=query).json()
    figure: dict[str, Any] = content["step"]["figure"]
    return figure


@pytest.mark.parametrize(("chapter", "step", "texts", "holds"), SUGGESTED)
def test_an_observation_is_made_where_it_is_true(
    client: TestClient, chapter: int, step: str, texts: dict[str, str], holds: bool
) -> None:
    figure = figure_of(client, chapter, step, **texts)
    assert figure["problem"] is None
    assert (figure["holds"], bool(figure["observed"])) == (holds, holds), figure["values"]


def test_suggested_sentences_are_those_of_the_steps() -> None:
    files = sorted((HERE / "en").glob("0[0-4]-*.md"))
    course_text = "".join(path.read_text("utf-8") for path in files)
    for _, step, texts, holds in SUGGESTED:
        for text in texts.values():
            assert not holds or f'"{text}"' in course_text, (step, text)


def test_the_prediction_is_of_the_sentence_that_was_not_seen_yet(client: TestClient) -> None:
    figure = figure_of(client, 0, "two-banks")
    answer = figure["options"][figure["answer"]]["word"]
    assert answer == figure["panels"][1]["top"]["word"] != figure["panels"][0]["top"]["word"]


@pytest.mark.parametrize("text", [RIVER, "It rained."])
def test_every_bar_is_the_row_of_the_api(client: TestClient, text: str) -> None:
    """All bars have the same length; each piece is the share that the API answers."""
    figure = figure_of(client, 0, "shares", text=text)
    attn = np.array(client.get(figure["api"][0]).json()["attn"][0][0])
    assert [row[2] for row in figure["numbers"]["rows"]] == pytest.approx(attn.max(1), abs=1e-4)
    assert all(row[3] == pytest.approx(1, abs=1e-3) for row in figure["numbers"]["rows"])
    bars = ElementTree.fromstring(figure["drawing"]).findall("g")
    pieces = [
        [float(rect.attrib["width"]) for rect in bar.findall("rect[@class!='drawn-outline']")]
        for bar in bars
    ]
    lengths = np.array([sum(bar) for bar in pieces])
    assert lengths == pytest.approx(lengths[0], abs=0.2)
    assert np.array(pieces) / lengths[0] == pytest.approx(attn, abs=1e-3)


def test_the_widest_softmax_is_the_sharpest(client: TestClient) -> None:
    figure = figure_of(client, 1, "variance")
    widths = client.get(figure["api"][0]).json()["widths"]
    assert [row[1] for row in figure["numbers"]["rows"]] == [w["entropy"]["plain"] for w in widths]
    plain = [w["entropy"]["plain"] for w in widths]
    assert plain == sorted(plain, reverse=True)
    assert figure["options"][figure["answer"]]["word"] == f"d = {widths[-1]['d_k']}"
    scaled = [w["entropy"]["scaled"] for w in widths]
    assert max(scaled) - min(scaled) < (plain[0] - plain[-1]) / 4


def test_shapes_are_those_of_the_head(client: TestClient) -> None:
    figure = figure_of(client, 1, "shapes")
    T, D, d = (int(figure["values"][name]) for name in "TDd")
    [api] = figure["api"]
    assert len(client.get(api).json()["tokens"]) == T
    names = [t.text for t in ElementTree.fromstring(figure["drawing"]).iter("text")]
    for shape in (f"{T} × {D}", f"{D} × {d}", f"{T} × {d}", f"{d} × {T}", f"{T} × {T}"):
        assert shape in names


def test_a_short_value_adds_less_than_its_share(client: TestClient) -> None:
    figure = figure_of(client, 2, "values")
    values = figure["values"]
    [api] = figure["api"]
    answer = client.get(api).json()
    length = np.linalg.norm(np.array(answer["v"]), axis=-1)
    attn = np.array(answer["attn"])
    words = [row[0] for row in figure["numbers"]["rows"]]
    short = words.index(values["short"])
    assert attn[short] >= 0.05
    assert length[short] == min(n for n, a in zip(length, attn, strict=True) if a >= 0.05)
    assert (attn * length)[short] / (attn * length).sum() < 0.75 * attn[short]
    assert values["little"] == f"{(attn * length)[short]:.2f}"


def test_a_row_alone_leaks_to_the_words_that_are_shown(client: TestClient) -> None:
    """Nothing of it goes to padding, which is in no row of the table."""
    figure = figure_of(client, 3, "infinity", text="Bob cashed a check.")
    rows = figure["numbers"]["rows"]
    assert sum(row[-1] for row in rows) == pytest.approx(1, abs=1e-4)
    masked = [row for row in rows if row[2] == "−∞"]
    assert f"{sum(row[-1] for row in masked):.3f}" == figure["values"]["leak"]
    assert all(row[-2] == 0 for row in masked)


def test_the_losses_are_of_the_readers_sentence_alone(client: TestClient) -> None:
    figure = figure_of(client, 3, "look-ahead")
    [api] = figure["api"]
    answer = client.get(api).json()
    assert answer["texts"] == figure["texts"] and not set(BESIDE) & set(answer["texts"])
    losses = answer["losses"]
    assert [row[1] for row in figure["numbers"]["rows"]] == [losses["on"], losses["off"]]
    assert losses["off"] < losses["on"]
    twice = figure_of(client, 3, "look-ahead", text=" ".join(figure["texts"] * 2))
    grown = [row[1] for row in twice["numbers"]["rows"]]
    assert grown[0] - grown[1] > losses["on"] - losses["off"], "what the step lets one try"


def test_a_named_head_is_drawn_as_the_api_has_it(client: TestClient) -> None:
    """The best previous-token head shows its line on the step's own sentence."""
    figure = figure_of(client, 4, "named")
    [(name, _, _, score)] = [r for r in figure["numbers"]["rows"] if r[2] == "previous token"]
    model, layer, head = re.findall(r"^(\w+) L(\d+) H(\d+)", name)[0]
    request = {"model": model, "text": TWICE, "layer": layer, "head": head}
    attn = np.array(client.get("/api/v1/attention", params=request).json()["attn"][0][0])
    assert np.diagonal(attn, -1).mean() > 0.5 and score > 0.5
    drawing = ElementTree.fromstring(figure["drawing"])
    [group] = [g for g in drawing.findall("g") if any(t.text == name for t in g.iter("text"))]
    drawn = [r for r in group.iter("rect") if r.attrib["class"] == "drawn-plus"]
    assert len(drawn) == (attn >= 0.02).sum()


def test_the_head_of_chapter_0_is_in_the_layer_whose_parts_are_drawn(client: TestClient) -> None:
    [panel] = figure_of(client, 0, "look")["panels"]
    assert figure_of(client, 4, "parts")["values"]["layer"] == str(panel["layer"])


def test_figures_about_a_word_say_what_is_read_in_any_sentence(client: TestClient) -> None:
    """How a picture is to be read does not depend on the sentence."""
    for chapter, step in [(2, "formula"), (2, "scores"), (2, "all-queries"), (3, "causal")]:
        figure = figure_of(client, chapter, step, text="He sat down.")
        assert figure["panels"][0]["word"] != CASHED.claim.query
        assert figure["observed"], step


@pytest.mark.parametrize("code", ["en", "zh"])
def test_no_text_depends_on_the_theme(code: str) -> None:
    """In the dark theme more attention is lighter, not darker."""
    for chapter in course(code)[:5]:
        for step in chapter.steps:
            figure = f"{step.figure.always} {step.figure.observed}" if step.figure else ""
            assert not re.search("[Dd]arke|颜色越深", f"{step.prose} {figure}"), step.id
