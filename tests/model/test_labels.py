"""Labels of a fine-tuned head: transformers' own logits, with their names and their tokens."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import transformers as hf
from attention_atlas.model import labels
from attention_atlas.model.hub.in_memory import loaded
from attention_atlas.model.hub.opening import open_model
from attention_atlas.model.protocol import Labels
from attention_atlas.model.record import Token
from attention_atlas.model.run import run
from attention_atlas.model.spec import Spec
from attention_atlas.model.tape import Edit

from tests import saved

TEXT, PAIR = "where is the bank", "the bank is on the river"


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    made = (saved.bert, saved.gpt2, saved.llama)
    return {make.__name__: make(tmp_path_factory.mktemp(make.__name__)) for make in made}


def opened(folder: Path, cls: Any, **options: Any) -> tuple[Any, Any]:
    hf.logging.set_verbosity_error()
    torch.manual_seed(0)  # of a head that the folder has no weights for
    model = cls.from_pretrained(folder, **options).eval()
    return model, hf.AutoTokenizer.from_pretrained(folder)


def predicted(model: Any, tokenizer: Any, *edits: Edit, pair: str | None = None) -> dict[str, Any]:
    return run(loaded(model, tokenizer), Spec(TEXT, pair, edits=edits)).predictions


@torch.no_grad()
def output(model: Any, tokenizer: Any, *texts: str) -> Any:
    return model(**tokenizer(*(texts or (TEXT,)), return_tensors="pt"))


@pytest.mark.parametrize("name", ["bert", "gpt2", "llama"])
def test_the_labels_of_a_text_are_transformers(folders, name):
    names = {0: "bad", 1: "good", 2: "so-so"}
    model, tokenizer = opened(
        folders[name], hf.AutoModelForSequenceClassification, num_labels=3, id2label=names
    )
    [logits] = output(model, tokenizer).logits
    rows = predicted(model, tokenizer)["labels"]
    order = logits.argsort(descending=True).tolist()
    assert [row["label"] for row in rows] == [names[i] for i in order]
    for row in rows:
        i = list(names.values()).index(row["label"])
        assert row["logit"] == pytest.approx(logits[i].item(), abs=1e-5)
        assert row["probability"] == pytest.approx(logits.softmax(-1)[i].item(), abs=1e-5)


def test_several_labels_have_a_sigmoid_each_and_a_value_has_none(folders):
    cls = hf.AutoModelForSequenceClassification
    several = {"num_labels": 3, "problem_type": "multi_label_classification"}
    model, tokenizer = opened(folders["bert"], cls, **several)
    rows = predicted(model, tokenizer)["labels"]
    [logits] = output(model, tokenizer).logits
    assert sorted(row["probability"] for row in rows) == pytest.approx(
        logits.sigmoid().sort().values.tolist(), abs=1e-5
    )
    model, tokenizer = opened(folders["bert"], cls, num_labels=1)
    [row] = predicted(model, tokenizer)["labels"]
    assert row["probability"] is None
    assert row["logit"] == pytest.approx(output(model, tokenizer).logits.item(), abs=1e-5)


@pytest.mark.parametrize("name", ["bert", "gpt2"])
def test_the_labels_of_tokens_are_transformers(folders, name):
    model, tokenizer = opened(folders[name], hf.AutoModelForTokenClassification, num_labels=4)
    logits = output(model, tokenizer).logits[0].softmax(-1)
    rows = predicted(model, tokenizer)["token_labels"]
    assert len(rows) == len(tokenizer.tokenize(TEXT))  # no special token has a label
    for row in rows:
        best = row["labels"][0]
        assert best["label"] == f"LABEL_{int(logits[row['position']].argmax())}"
        assert best["probability"] == pytest.approx(logits[row["position"]].max().item(), abs=1e-5)


def test_an_answer_is_the_most_probable_span_of_the_second_text(folders):
    model, tokenizer = opened(folders["bert"], hf.AutoModelForQuestionAnswering)
    answer = predicted(model, tokenizer, pair=PAIR)["answer"]
    result = output(model, tokenizer, TEXT, PAIR)
    start, end = result.start_logits[0].softmax(-1), result.end_logits[0].softmax(-1)
    n_first = len(tokenizer(TEXT)["input_ids"])
    places = range(n_first, len(start) - 1)
    spans = {(a, b): (start[a] * end[b]).item() for a in places for b in places if a <= b}
    best = max(spans, key=lambda span: spans[span])
    assert (answer["first"], answer["last"]) == best
    assert answer["probability"] == pytest.approx(spans[best], rel=1e-4)
    assert answer["text"] in PAIR
    assert answer["text"].split() == tokenizer.convert_ids_to_tokens(
        tokenizer(TEXT, PAIR)["input_ids"][best[0] : best[1] + 1]
    )


def test_an_answer_neither_ends_before_it_begins_nor_runs_on():
    tokens = [Token(i, "a", "a", 2 * i, 2 * i + 1) for i in range(40)]
    logits = torch.zeros(2, 40)
    logits[0, 35], logits[1, 3] = 9.0, 9.0
    named = Labels(("first token", "last token"), "answer")
    texts = " ".join("a" * 40), ""
    answer = labels.predictions(named, logits, tokens, texts)["answer"]
    assert answer["first"] <= answer["last"] < answer["first"] + labels.LONGEST_ANSWER
    special = [token._replace(special=True) for token in tokens]
    assert labels.predictions(named, logits, special, texts) == {"answer": None}


def test_only_the_most_probable_of_many_labels_are_listed():
    many = Labels(tuple(str(i) for i in range(500)), "text")
    rows = labels.predictions(many, torch.arange(500.0), [], ("", ""))["labels"]
    assert [row["label"] for row in rows] == [str(i) for i in range(499, 399, -1)]


def test_labels_feel_an_edit(folders):
    model, tokenizer = opened(folders["bert"], hf.AutoModelForSequenceClassification)
    plain, edited = (predicted(model, tokenizer, *e) for e in ((), (Edit("ablate"),)))
    assert plain["labels"] != edited["labels"]


def test_a_folder_opens_with_its_head(tmp_path):
    names = {0: "bad", 1: "good"}
    folder = saved.bert(tmp_path, hf.BertForSequenceClassification, id2label=names)
    here = open_model(str(folder), torch.device("cpu"))
    model, tokenizer = opened(folder, hf.AutoModelForSequenceClassification)
    assert here.model.labels == Labels(("bad", "good"), "text")
    rows = run(here, Spec(TEXT)).predictions["labels"]
    assert {row["label"] for row in rows} == {"bad", "good"}
    assert max(row["logit"] for row in rows) == pytest.approx(
        output(model, tokenizer).logits.max().item(), abs=1e-5
    )
