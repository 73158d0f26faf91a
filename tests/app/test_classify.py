"""A classifier made here, fine-tuned for a few steps: page, API and client say what it says."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
import torch
import transformers as hf
from attention_atlas.app.main import create_app
from attention_atlas.app.settings import Settings
from attention_atlas.model.hub.in_memory import loaded
from fastapi.testclient import TestClient

import attention_atlas as atlas
from tests import saved

WATER = ["he sat on the river bank", "the boat is on the lake", "fish swim in the sea"]
MONEY = ["she put money in the bank", "he paid for the house", "the gold is in the safe"]
NAMES = {0: "water", 1: "money"}
TEXT = "the boat is on the river bank"


@pytest.fixture(scope="module")
def tuned(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Any]:
    """A BERT of two labels after a few steps of fine-tuning."""
    folder = saved.bert(
        tmp_path_factory.mktemp("tuned"), hf.BertForSequenceClassification, id2label=NAMES
    )
    tokenizer = hf.AutoTokenizer.from_pretrained(folder)
    model = hf.BertForSequenceClassification.from_pretrained(
        folder, attn_implementation="eager", hidden_dropout_prob=0, attention_probs_dropout_prob=0
    )
    batch = tokenizer(WATER + MONEY, return_tensors="pt", padding=True)
    labels = torch.tensor([0, 0, 0, 1, 1, 1])
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-3)
    for _ in range(20):
        optimizer.zero_grad()
        loss = model(**batch, labels=labels).loss
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.1
    return model.eval(), tokenizer


@pytest.fixture(scope="module")
def server(tuned: tuple[Any, Any]) -> Any:
    app = create_app(Settings(models="bert,gpt", threads=1))
    app.state.service.library.add(loaded(*tuned, "tuned"))
    with TestClient(app) as client:
        yield client


@pytest.fixture(scope="module")
def theirs(tuned: tuple[Any, Any]) -> Any:
    model, tokenizer = tuned
    with torch.no_grad():
        return model(**tokenizer(TEXT, return_tensors="pt"), output_attentions=True)


def asked(server: TestClient, **body: Any) -> Any:
    answer = server.post("/api/v1/classify", json=body)
    assert answer.status_code == 200, answer.text
    return answer.json()


def check(answer: Any, theirs: Any, layer: int, head: int) -> None:
    """Label, probability and attention are transformers' to 1e-5."""
    [logits] = theirs.logits
    assert answer["labels"][0]["label"] == answer["label"] == NAMES[int(logits.argmax())] == "water"
    order = logits.argsort(descending=True)
    for name, values in (("logit", logits), ("probability", logits.softmax(-1))):
        given = [row[name] for row in answer["labels"]]
        assert given == pytest.approx(values[order].tolist(), abs=1e-5)
    row = theirs.attentions[layer][0, head, 0]  # of [CLS]
    assert answer["reads"] == [0]
    assert answer["attention"] == pytest.approx(row.tolist(), abs=1e-5)


def test_the_api_says_what_transformers_says(server, theirs) -> None:
    check(asked(server, model="tuned", text=TEXT, layer=1, head=2), theirs, 1, 2)
    mean = asked(server, model="tuned", text=TEXT)
    expected = theirs.attentions[-1][0, :, 0].mean(0)
    assert (mean["layer"], mean["head"]) == (1, None)
    assert mean["attention"] == pytest.approx(expected.tolist(), abs=1e-5)


def test_the_page_says_what_transformers_says(server, theirs) -> None:
    query = {"model": "tuned", "text": TEXT, "layer": 0, "head": 3}
    page = server.get("/classify.json", params=query).json()
    assert page["problem"] is None and page["ignored"] == []
    check(page["classified"], theirs, 0, 3)
    html = server.get("/classify", params=query).text
    assert f"{theirs.logits[0].softmax(-1).max().item():.3f}" in html


def test_the_client_says_what_transformers_says(server, theirs) -> None:
    with atlas.Client(server.app) as client:
        result = client.classify("tuned", TEXT, layer=1, head=2)
    best = theirs.logits[0].softmax(-1).max().item()
    assert (result.labels[0].label, result.labels[0].probability) == (
        "water",
        pytest.approx(best, abs=1e-5),
    )
    row = theirs.attentions[1][0, 2, 0].numpy()
    np.testing.assert_allclose(result.attention, row, atol=1e-5)
    assert result.tokens[0].raw == "[CLS]" and result.reads == (0,)
    page = server.get(result.url.split("/classify")[1].join(["/classify.json", ""])).json()
    assert (page["model"], page["layer"], page["head"]) == ("tuned", 1, 2)


def test_in_the_lab_the_metric_of_a_classifier_is_its_label(server, theirs) -> None:
    clean = {"model": "tuned", "text": TEXT}
    answer = server.post("/api/v1/lab/effects", json={"clean": clean}).json()
    metric = answer["metric"]
    assert (metric["kind"], metric["answer"]["text"]) == ("class_logit", "water")
    assert metric["clean"] == pytest.approx(theirs.logits.max().item(), abs=1e-4)
    assert [row["text"] for row in answer["candidates"]["clean"]] == ["water", "money"]
    named = {"clean": clean, "metric": {"answer": "money", "other": "water"}}
    both = server.post("/api/v1/lab/effects", json=named).json()["metric"]
    [logits] = theirs.logits
    assert both["clean"] == pytest.approx((logits[1] - logits[0]).item(), abs=1e-4)
    assert server.get("/lab.json", params=clean).json()["problem"] is None
    page = server.get("/lab.json", params=clean).json()
    assert (page["metric"], page["ignored"]) == ("class_logit", [])
    tokens = {"answer": "money", "other": "water", "metric": "class_logit"}
    page = server.get("/lab.json", params=clean | tokens).json()
    assert page["effects"]["metric"] == both and "class_logit" in page["sweep"]
    ignored = server.get("/lab.json", params=clean | {"metric": "probability"}).json()["ignored"]
    assert [row["field"] for row in ignored] == ["metric"]
    lens = server.post("/api/v1/lab/lens", json={"clean": clean})
    assert lens.status_code == 422 and "does not predict words" in lens.json()["detail"]


def test_attributions_are_of_the_label(server, theirs) -> None:
    clean = {"model": "tuned", "text": TEXT}
    body = {"clean": clean, "metric": {"kind": "class_logit"}, "layer": 1, "head": 2}
    answer = server.post("/api/v1/lab/attributions", json=body).json()
    row = theirs.attentions[1][0, 2, 0].tolist()
    assert answer["methods"]["attention"]["values"] == pytest.approx(row, abs=1e-5)
    assert answer["query"] == 0
    deleted = answer["methods"]["leave_one_out"]["values"]
    without = asked(server, model="tuned", text=TEXT.replace("boat ", ""), label="water")
    expected = theirs.logits.max().item() - without["logit"]
    assert deleted[2] == pytest.approx(expected, abs=1e-4)


def test_compare_has_the_predictions_of_both(server, theirs) -> None:
    a, b = {"model": "tuned", "text": TEXT}, {"model": "bert", "text": TEXT}
    answer = server.post("/api/v1/compare", json={"a": a, "b": b, "word": "bank"}).json()
    [best, _] = answer["a"]["predictions"]["labels"]
    assert best["label"] == "water"
    assert best["logit"] == pytest.approx(theirs.logits.max().item(), abs=1e-5)
    assert answer["b"]["predictions"] == {"masks": [], "is_next": None}


def test_berts_next_sentence_head_is_one_of_two_labels(server) -> None:
    pair = {
        "model": "bert",
        "text": "The children went to the river.",
        "text_pair": "They played in the water all day.",
    }
    answer = asked(server, **pair)
    probability = server.post("/api/v1/next-sentence", json=pair).json()["is_next"]
    shares = {row["label"]: row["probability"] for row in answer["labels"]}
    assert shares["IsNext"] == pytest.approx(probability, abs=1e-6)
    assert sum(shares.values()) == pytest.approx(1, abs=1e-6)
    assert answer["classes"] == {
        "unit": "pair",
        "names": ["IsNext", "NotNext"],
        "several": False,
    }
    alone = server.post("/api/v1/classify", json={"model": "bert", "text": "hi"})
    assert alone.status_code == 422 and "a second text" in alone.json()["detail"]


def test_a_page_without_such_a_model_says_how_to_open_one() -> None:
    with TestClient(create_app(Settings(models="gpt", threads=1))) as client:
        answer = client.get("/classify")
        twin = client.get("/classify.json?model=gpt&text=hi").json()
    assert answer.status_code == 200
    assert "ForSequenceClassification" in answer.text and "atlas.serve(model" in answer.text
    assert json.dumps(twin["models"]) == "[]" and twin["classified"] is None


def test_a_model_without_such_a_head_is_stood_in_for(server) -> None:
    page = server.get("/classify.json?model=gpt").json()
    assert page["model"] == "bert"
    assert "has no head that tells labels apart; bert is shown instead" in str(page["ignored"])
