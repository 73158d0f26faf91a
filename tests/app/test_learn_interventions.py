"""Steps that change something: heads switched off, sentences put before a text, marks added."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from attention_atlas.app.learn.formats import BETWEEN, EXTRACT, FIRST, LAST, MOST, START
from attention_atlas.app.learn.opponent import SENTENCES
from attention_atlas.app.learn.tasks import ABLATIONS
from fastapi.testclient import TestClient


def figure_of(client: TestClient, chapter: int, step: str, **query: str) -> dict[str, Any]:
    content = client.get(f"/learn/{chapter}/{step}.json", params=query).json()
    figure: dict[str, Any] = content["step"]["figure"]
    return figure


def test_the_head_that_looks_at_a_word_is_not_the_one_that_matters(client: TestClient) -> None:
    """The effects are those of the Lab, and the head that is judged is among them."""
    figure = figure_of(client, 4, "matters")
    answer = client.get(figure["api"][0]).json()
    effects = np.array(answer["effect"])
    for name, _, change in figure["numbers"]["rows"]:
        layer, head = (int(part[1:]) for part in name.split())
        assert change == pytest.approx(effects[layer, head], abs=1e-4)
    values = figure["values"]
    order = np.abs(effects).ravel().argsort()[::-1]
    looking = effects.shape[1] * int(values["looking"][1]) + int(values["looking"].split("H")[1])
    assert int(values["rank"]) == list(order).index(looking) + 1 > 5
    assert abs(float(values["most_change"].replace("−", "-"))) == pytest.approx(
        np.abs(effects).max(), abs=0.006
    )
    assert figure["observed"] and figure["options"][figure["answer"]]["word"] == "another head"


def test_the_lab_opens_with_the_head_that_matters_switched_off(client: TestClient) -> None:
    figure = figure_of(client, 4, "matters")
    lab = client.get(figure["link"].replace("/lab", "/lab.json")).json()
    assert (lab["problem"], lab["ignored"]) == (None, [])
    change = lab["effects"]["joint"]["change"]
    assert f"{change:.2f}".replace("-", "−") == figure["values"]["most_change"]


def test_a_sentence_that_says_nothing_of_the_blank_changes_the_guess(client: TestClient) -> None:
    """The probabilities are those of the API, for one text at a time."""
    figure = figure_of(client, 9, "adversarial")
    alone, worst, *_ = figure["numbers"]["rows"]
    for row, before in ((alone, ""), (worst, f"{worst[0]} ")):
        request = {"model": "bert", "text": before + figure["texts"][0], "top": 100}
        [mask] = client.get("/api/v1/fill-mask", params=request).json()["masks"]
        shares = {each["text"]: each["probability"] for each in mask["candidates"]}
        assert max(shares, key=shares.__getitem__) == row[1]
        assert shares[alone[1]] == pytest.approx(row[2], abs=1e-4)
    assert worst[2] < alone[2] / 2 and worst[1] != alone[1]
    assert figure["options"][figure["answer"]]["word"] == worst[0]


def test_every_sentence_that_misleads_is_about_something_else(client: TestClient) -> None:
    words = set(figure_of(client, 9, "adversarial")["texts"][0].lower().rstrip(".").split())
    for sentence in SENTENCES:
        assert not words - {"the"} & set(sentence.lower().rstrip(".").split())


def test_the_strips_are_what_the_tokenizer_makes_of_the_readers_sentences(
    client: TestClient,
) -> None:
    texts = {"text": "Unbelievable rivers!", "text_b": "They flooded Zubrowka."}
    figure = figure_of(client, 8, "formats", **texts)
    first, second = (pieces(client, text) for text in texts.values())
    pair = [START, *first, BETWEEN, *second, EXTRACT]
    swapped = [START, *second, BETWEEN, *first, EXTRACT]
    rows = [row[1].split(" ") for row in figure["numbers"]["rows"]]
    assert rows[:4] == [[START, *first, EXTRACT], pair, pair, swapped]
    assert [row[2] for row in figure["numbers"]["rows"]] == list(map(len, rows))
    for piece in (*first, *second):
        assert f">{piece}</text>" in figure["drawing"]


def pieces(client: TestClient, text: str) -> list[str]:
    answer = client.get("/api/v1/tokenize", params={"model": "gpt", "text": text}).json()
    return [token["text"].strip() for token in answer["tokens"] if not token["special"]]


def test_a_long_text_is_drawn_by_its_ends_and_too_long_a_one_refused(client: TestClient) -> None:
    words = [f"{'very ' * n}long" for n in (MOST + 5, 600)]
    drawing = figure_of(client, 8, "formats", text=words[0])["drawing"]
    assert drawing.count(">…</text>") == 6, "one for each pass"
    assert drawing.count(">very</text>") == 6 * (FIRST + LAST - 1)
    assert figure_of(client, 8, "formats", text=words[1])["problem"]["status"] == 422


def test_what_fine_tuning_adds_is_counted(client: TestClient) -> None:
    values = figure_of(client, 8, "formats")["values"]
    card = client.get("/api/v1/models/gpt").json()
    assert values["all"] == f"{card['n_parameters']:,}"
    D = card["d_model"]
    assert values["new"] == f"{3 * D + 3 * D + 3:,}"


def test_what_the_hand_moves_is_a_table_without_a_script(client: TestClient) -> None:
    """The numbers it begins with; drawn in its place where scripts run."""
    page = client.get("/learn/1/likeness").text.split("<noscript>")
    assert any("<table" in part.split("</noscript>")[0] for part in page[1:])
    rows = {row[0]: row[1] for row in figure_of(client, 1, "likeness")["numbers"]["rows"]}
    x, y = np.array([1, 2, -1, 0.5]), np.array([2, 1, 0, 1])
    assert rows["dot product"] == pytest.approx(x @ y)
    assert rows["cosine"] == pytest.approx(x @ y / np.linalg.norm(x) / np.linalg.norm(y))
    assert rows["Pearson's r"] == pytest.approx(np.corrcoef(x, y)[0, 1])


def test_the_optimum_is_that_of_the_probabilities_and_the_rule(client: TestClient) -> None:
    """Each odds are GPT's, times exp of the difference in reward over β; KL is a price for both."""
    figure = figure_of(client, 9, "reward")
    options = figure["numbers"]["options"]
    answer = client.get(figure["api"][0]).json()
    shares = {each["text"].strip(): each["probability"] for each in answer["candidates"]}
    for rule in options["rules"]:
        p, r = (np.array(rule[name]) for name in ("before", "rewards"))
        known = [shares.get(token, np.nan) for token in rule["tokens"]]
        assert np.sum(~np.isnan(known)) >= 5
        assert p == pytest.approx(np.where(np.isnan(known), p, known), abs=1e-5)
        for beta, q in zip(options["betas"], rule["after"], strict=True):
            odds = np.log(p) + r / beta
            assert q == pytest.approx(q[0] * np.exp(odds - odds[0]), rel=1e-4)
        for name in ("kl", "means"):  # a larger β costs less, and earns less
            assert max(np.diff(rule[name])) < 1e-9, name
        assert rule["means"][-1] >= rule["reward"]


def test_a_small_beta_writes_the_longest_word_whatever_the_text(client: TestClient) -> None:
    texts = ("", "He put his money in the", "She opened the door and saw a")
    figures = [figure_of(client, 9, "reward", text=text) for text in texts]
    assert len({figure["values"]["extreme"] for figure in figures}) == 1
    assert len({figure["values"]["best"] for figure in figures}) > 1
    for figure in figures:
        assert figure["observed"]
        assert figure["options"][figure["answer"]]["word"] == figure["values"]["extreme"]


def test_a_pre_trained_model_goes_on_after_a_question(client: TestClient) -> None:
    """What is quoted is what the API writes."""
    figure = figure_of(client, 9, "stages")
    steps = client.get(figure["api"][0], headers={"accept": "application/json"}).json()
    assert figure["values"]["goes_on"] == " ".join(steps["continuation"].split())


def test_a_sentence_that_several_panels_share_has_one_field(client: TestClient) -> None:
    figure = figure_of(client, 6, "three-kinds", text="La casa es blanca.")
    assert figure["texts"] == ["La casa es blanca."]
    assert {panel["text"] for panel in figure["panels"]} == set(figure["texts"])
    titles = [panel["title"] for panel in figure["panels"]]
    assert [title.split(" ")[0] for title in titles] == ["encoder", "decoder", "cross-attention"]
    two = figure_of(client, 0, "two-banks")
    assert [panel["title"] for panel in two["panels"]] == two["texts"]


def test_a_prediction_names_the_word_that_is_shown(client: TestClient) -> None:
    text = "La mujer lee un libro."
    for query in ({}, {"text": text}):
        step = client.get("/learn/6/word-by-word.json", params=query).json()["step"]
        assert f"<b>{step['figure']['panels'][0]['word']}</b>" in step["predict"]
    refused = client.get("/learn/6/word-by-word.json", params={"text": "la " * 600}).json()
    assert refused["step"]["figure"]["problem"]["status"] == 422


def test_what_is_least_sure_is_marked(client: TestClient) -> None:
    for step, column in (("choices", 2), ("forcing", 4)):
        figure = figure_of(client, 6, step)
        numbers = figure["numbers"]
        least = min(numbers["rows"], key=lambda row: row[column])
        assert numbers["rows"].index(least) == numbers["options"]["most"]
        assert figure["values"]["p"] == f"{least[column]:.2f}"


def test_the_procedure_is_observed_where_it_is_seen(client: TestClient) -> None:
    """The text as it is read; what is said of a kept token needs a token that was kept."""
    figure = figure_of(client, 7, "procedure")
    assert figure["observed"] and "<b>[MASK]</b>" in figure["values"]["reads"]
    fates = {row[1] for row in figure["numbers"]["rows"]}
    assert len(fates) == 3
    short = figure_of(client, 7, "procedure", text="The <b>bank</b> is closed.")
    assert "&lt;" in short["values"]["reads"] and not short["observed"]


def test_losses_of_an_ablation_are_differences_of_the_table(client: TestClient) -> None:
    rows = figure_of(client, 7, "ablations")["numbers"]["rows"]
    for (_, base, without, one_way), *columns in zip(
        rows, *(row[1:] for row in ABLATIONS), strict=True
    ):
        assert columns == pytest.approx([base, base - without, base - without - one_way])
