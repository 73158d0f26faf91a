"""Classes of a text: transformers' own logits, the tokens that a head reads, the class logit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import transformers as hf
from attention_atlas.model.analysis import lab
from attention_atlas.model.analysis.attributions import attribution, row_of
from attention_atlas.model.analysis.class_logit import classes_of
from attention_atlas.model.analysis.classify import Classified, classify
from attention_atlas.model.analysis.lab_metrics import metric_by_name
from attention_atlas.model.hub.in_memory import loaded
from attention_atlas.model.hub.opening import open_model
from attention_atlas.model.spec import BadInput, Spec
from attention_atlas.model.zoo import Loaded

from tests import saved

TEXT, PAIR = "where is the bank", "the bank is on the river"
NAMES = {0: "bad", 1: "good", 2: "so-so"}


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    made = (saved.bert, saved.gpt2)
    return {make.__name__: make(tmp_path_factory.mktemp(make.__name__)) for make in made}


def tuned(folder: Path, cls: Any, **options: Any) -> tuple[Any, Any, Loaded]:
    hf.logging.set_verbosity_error()
    torch.manual_seed(0)  # of a head that the folder has no weights for
    model = cls.from_pretrained(folder, **options).eval()
    tokenizer = hf.AutoTokenizer.from_pretrained(folder)
    return model, tokenizer, loaded(model, tokenizer)


@torch.no_grad()
def logits_of(model: Any, tokenizer: Any, *texts: str) -> Any:
    return model(**tokenizer(*texts, return_tensors="pt"))


@pytest.mark.parametrize(("name", "read"), [("bert", 0), ("gpt2", -1)])
def test_a_head_reads_its_first_or_last_token(folders, name: str, read: int) -> None:
    cls = hf.AutoModelForSequenceClassification
    model, tokenizer, ours = tuned(folders[name], cls, num_labels=3, id2label=NAMES)
    result = classify(ours, Spec(TEXT))
    [logits] = logits_of(model, tokenizer, TEXT).logits
    assert result.reads == (range(len(result.tokens))[read],)
    assert result.predictions["labels"][0]["label"] == NAMES[int(logits.argmax())]
    assert result.logit == pytest.approx(logits.max().item(), abs=1e-5)
    other = classify(ours, Spec(TEXT), label="so-so")
    assert other.logit == pytest.approx(logits[2].item(), abs=1e-5)


def test_a_mean_of_all_tokens_is_read_as_one(folders) -> None:
    """ModernBERT's classifier_pooling; no head is known by its name."""
    config = hf.ModernBertConfig(
        vocab_size=12000, hidden_size=24, intermediate_size=40, num_hidden_layers=2,
        num_attention_heads=4, max_position_embeddings=64, classifier_pooling="mean",
        pad_token_id=0, bos_token_id=2, eos_token_id=3, cls_token_id=2, sep_token_id=3,
    )  # fmt: skip
    torch.manual_seed(0)
    model = hf.ModernBertForSequenceClassification(config).eval()
    ours = loaded(model, hf.AutoTokenizer.from_pretrained(folders["bert"]))
    result = classify(ours, Spec(TEXT))
    assert result.reads == tuple(range(len(result.tokens)))


def test_the_label_of_a_token_is_read_from_it(folders) -> None:
    cls = hf.AutoModelForTokenClassification
    model, tokenizer, ours = tuned(folders["bert"], cls, num_labels=3)
    result = classify(ours, Spec(TEXT), position=2, label="LABEL_1")
    logits = logits_of(model, tokenizer, TEXT).logits[0]
    assert result.reads == (2,)
    assert result.logit == pytest.approx(logits[2, 1].item(), abs=1e-5)
    assert classify(ours, Spec(TEXT)).reads == (1,)
    with pytest.raises(BadInput, match="no label is given to token 0"):
        classify(ours, Spec(TEXT), position=0)


def test_an_answer_is_read_from_its_ends(folders) -> None:
    model, tokenizer, ours = tuned(folders["bert"], hf.AutoModelForQuestionAnswering)
    result = classify(ours, Spec(TEXT, PAIR))
    span, output = result.predictions["answer"], logits_of(model, tokenizer, TEXT, PAIR)
    ends = {span["first"], span["last"]}
    expected = output.start_logits[0, span["first"]] + output.end_logits[0, span["last"]]
    assert set(result.reads) == ends
    assert result.logit == pytest.approx(expected.item(), abs=1e-5)


def test_the_best_of_several_texts_is_transformers(folders, tmp_path: Path) -> None:
    model, tokenizer, ours = tuned(folders["bert"], hf.AutoModelForMultipleChoice)
    choices = (PAIR, "a king", "it rained in the city")
    encoded = tokenizer([TEXT] * 3, list(choices), return_tensors="pt", padding=True)
    with torch.no_grad():
        shares = model(**{key: x[None] for key, x in encoded.items()}).logits[0].softmax(-1)
    result = classify(ours, Spec(TEXT), choices)
    rows = {row["label"]: row["probability"] for row in result.predictions["labels"]}
    assert [rows[text] for text in choices] == pytest.approx(shares.tolist(), abs=1e-5)
    assert result.choice == int(shares.argmax())
    assert result.spec.text_pair == choices[result.choice]
    model.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    again = open_model(str(tmp_path), torch.device("cpu"))
    assert classify(again, Spec(TEXT), choices).logit == pytest.approx(result.logit, abs=1e-5)


def test_a_number_has_no_probability(folders) -> None:
    cls = hf.AutoModelForSequenceClassification
    model, tokenizer, ours = tuned(folders["bert"], cls, num_labels=1)
    result = classify(ours, Spec(TEXT))
    classes = classes_of(ours)
    assert classes is not None and classes.unit == "value"
    assert result.predictions["labels"][0]["probability"] is None
    assert result.logit == pytest.approx(logits_of(model, tokenizer, TEXT).logits.item(), abs=1e-5)


def refused(ours: Loaded, field: str, *args: Any, **options: Any) -> str:
    with pytest.raises(BadInput) as error:
        classify(ours, *args, **options)
    assert error.value.field == field
    return str(error.value.message)


def test_what_a_head_cannot_do_is_named(folders) -> None:
    _, _, ours = tuned(folders["bert"], hf.AutoModelForSequenceClassification, id2label=NAMES)
    assert "there is no label 'great'; there are bad, good" in refused(
        ours, "label", Spec(TEXT), label="great"
    )
    assert "does not choose" in refused(ours, "choices", Spec(TEXT), ("a", "b"))
    _, _, chooses = tuned(folders["bert"], hf.AutoModelForMultipleChoice)
    assert "two or more" in refused(chooses, "choices", Spec(TEXT), ("a",))
    words = open_model(str(folders["bert"]), torch.device("cpu"))
    assert "no head that tells labels apart" in refused(words, "model", Spec(TEXT))


def test_a_head_that_is_not_supported_is_said_to_be_left_out(tmp_path: Path) -> None:
    folder = saved.bert(tmp_path, hf.BertForNextSentencePrediction)
    [note] = open_model(str(folder), torch.device("cpu")).notes
    assert str(note) == (
        "Its head (BertForNextSentencePrediction) is not supported here: it was left out."
    )
    model = hf.BertForNextSentencePrediction.from_pretrained(folder)
    [note] = loaded(model, hf.AutoTokenizer.from_pretrained(folder)).notes
    assert "was left out" in str(note)


CLASSIFIERS = [
    ("bert", hf.AutoModelForSequenceClassification),
    ("bert", hf.AutoModelForTokenClassification),
    ("bert", hf.AutoModelForQuestionAnswering),
    ("gpt2", hf.AutoModelForSequenceClassification),
]


@pytest.mark.parametrize(("name", "cls"), CLASSIFIERS)
def test_the_class_logit_is_a_metric_of_the_lab(folders, name: str, cls: Any) -> None:
    """Its attributions hold what each of them promises; deleting a token is running without it."""
    _, _, ours = tuned(folders[name], cls)
    text = lab.text_of(ours, Spec(TEXT))
    metric = metric_by_name(text, "class_logit")
    result: Classified = classify(ours, Spec(TEXT))
    assert lab.value_of(text, metric) == pytest.approx(result.logit, abs=1e-5)
    row = row_of(text, metric, 1, 2, result.reads[0])
    for method in ("attention", "gradient_input", "gradient_attention", "norms"):
        assert attribution(row, method).values is not None, method
    deleted = attribution(row, "leave_one_out").values
    assert deleted is not None
    gone = next(i for i in range(2, len(result.tokens) - 1) if not deleted[i].isnan())
    token = result.tokens[gone]
    shorter = f"{TEXT[: token.start]}{TEXT[token.end :]}".replace("  ", " ")
    if cls is not hf.AutoModelForQuestionAnswering and name == "bert":
        without = classify(ours, Spec(shorter), label=result.metric.a)
        assert deleted[gone] == pytest.approx(result.logit - without.logit, abs=1e-4)


def test_a_difference_of_two_labels_is_one_logit_less_the_other(folders) -> None:
    cls = hf.AutoModelForSequenceClassification
    _, _, ours = tuned(folders["bert"], cls, num_labels=3, id2label=NAMES)
    text = lab.text_of(ours, Spec(TEXT))
    values = [
        lab.value_of(text, metric_by_name(text, "class_logit", **names))
        for names in ({"answer": "bad", "other": "good"}, {"answer": "bad"}, {"answer": "good"})
    ]
    assert values[0] == pytest.approx(values[1] - values[2], abs=1e-5)
