"""What is measured of a model, on models whose quality is known beforehand."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from attention_atlas.model.analysis import translation
from attention_atlas.model.generate import returned
from attention_atlas.model.record import Token
from attention_atlas.model.recurrent import Recurrent
from attention_atlas.model.run import run
from attention_atlas.model.spec import Spec
from attention_atlas.model.training import alignment_quality, quality
from attention_atlas.model.training.bert_task import BertTask
from attention_atlas.model.training.gpt_task import GPTTask
from attention_atlas.model.training.translator_task import RecurrentTask, TranslatorTask
from attention_atlas.model.transformer import GPT, Bert, Config, EncoderDecoder
from attention_atlas.model.zoo import Card, Loaded
from torch import Tensor

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    docs = [f"The dog {i} sat by the bank. It saw a cat {i}. Then it ran." for i in range(150)]
    (folder / "own.txt").write_text("\n\n".join(docs))
    (folder / "own.tsv").write_text("\n".join(f"el perro {i}\tthe dog {i}" for i in range(150)))
    (folder / "test.tsv").write_text("el perro\tthe dog\tthe hound\nel gato\tthe cat\n")
    for name, text in {
        "alignment/dev.tsv": "the dog sat .\tel perro dormía .\t0-0 1-1 3-3\n",
        "blimp/one.jsonl": '{"sentence_good": "It ran.", "sentence_bad": "It dog."}\n' * 3,
        "blimp/two.jsonl": '{"sentence_good": "dog dog dog", "sentence_bad": "dog"}\n' * 5,
    }.items():
        path = folder / "eval" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder


def loaded(task: BertTask | GPTTask | TranslatorTask, architecture: type) -> Loaded:
    torch.manual_seed(1)
    heads = 1 if architecture is Recurrent else 4
    layers = 1 if architecture is Recurrent else 2
    config = Config(task.tokenizer.vocab_size, 128, layers, heads, 8, 12)
    card = Card(task.name, architecture.__name__, asdict(config), "")
    return Loaded(card, task.tokenizer, architecture(config).eval(), CPU)


@pytest.fixture(scope="module")
def bert_task(data: Path) -> BertTask:
    return BertTask(data, None, 0)


@pytest.fixture(scope="module")
def gpt_task(data: Path) -> GPTTask:
    return GPTTask(data, None, 0)


@pytest.fixture(scope="module")
def translator_task(data: Path) -> TranslatorTask:
    return TranslatorTask(data, None, 0)


def knowing(model: Bert | GPT, answer: Callable[[Tensor], Tensor], name: str) -> None:
    """Put an oracle in the place of a head of the model."""
    object.__setattr__(model, name, answer)


def test_a_gpt_that_knows_nothing_needs_log_v_bits_a_token(gpt_task: GPTTask, data: Path) -> None:
    gpt = loaded(gpt_task, GPT)
    knowing(gpt.model, lambda x: torch.zeros(*x.shape[:-1], gpt.config.vocab_size), "logits")
    [result] = quality.bits_per_byte(gpt, gpt_task, data).values()
    texts = gpt_task.dev_texts["own"]
    n_token = sum(len(gpt_task.tokenizer.ids(text)) for text in texts) + len(texts) - 1
    bits = math.log2(gpt.config.vocab_size) * n_token
    n_byte = sum(len(text.encode()) for text in texts)
    assert result.n == n_byte
    assert result.value == pytest.approx(bits / n_byte, abs=1e-3)


def test_bytes_are_those_of_the_text(gpt_task: GPTTask) -> None:
    ids = gpt_task.stream(["One Ä.", "Two"]).tolist()
    assert quality._n_byte(gpt_task, ids) == len("One Ä.Two".encode())


def test_blimp_is_the_mean_of_its_sets(gpt_task: GPTTask, data: Path) -> None:
    gpt = loaded(gpt_task, GPT)
    likely = torch.zeros(gpt.config.vocab_size)
    likely[gpt_task.tokenizer.ids(" ran")] = 5.0
    knowing(gpt.model, lambda x: likely.expand(*x.shape[:-1], -1), "logits")
    [result] = quality.blimp(gpt, gpt_task, data).values()
    assert result.by == {"one": 1.0, "two": 0.0}
    assert (result.value, result.n) == (0.5, 8)


def test_a_sentences_log_probability_is_the_sum_of_its_tokens(gpt_task: GPTTask) -> None:
    gpt = loaded(gpt_task, GPT)
    texts = ["It ran.", "The dog sat by the bank.", "It"]
    result = quality.sentence_log_probabilities(gpt, gpt_task, texts)
    for text, log_p in zip(texts, result, strict=True):
        ids = torch.tensor([gpt_task.end, *gpt_task.tokenizer.ids(text)])
        each = gpt.model(ids[None, :-1])[0].log_softmax(-1)
        expected = sum(row[i].item() for row, i in zip(each, ids[1:], strict=True))
        assert log_p == pytest.approx(expected, abs=1e-3)


def test_a_bert_that_always_says_follows_is_right_half_the_time(
    bert_task: BertTask, data: Path
) -> None:
    bert = loaded(bert_task, Bert)
    knowing(bert.model, lambda x: torch.tensor([1.0, 0.0]).expand(len(x), 2), "next_sentence")
    result = quality.masked_words(bert, bert_task, data)
    follows = [batch["next"] for batch in bert_task.held_out(np.random.default_rng(1), 24)]
    share = 1 - torch.cat(follows).double().mean().item()
    assert result["next_sentence_accuracy"].value == pytest.approx(share, abs=1e-4)
    assert result["next_sentence_accuracy"].n == 768


def test_masked_words_are_counted_one_by_one(bert_task: BertTask, data: Path) -> None:
    bert = loaded(bert_task, Bert)
    the = bert_task.tokenizer.id("the")
    always = torch.nn.functional.one_hot(torch.tensor(the), bert.config.vocab_size).float()
    knowing(bert.model, lambda x: always.expand(len(x), -1), "masked_words")
    result = quality.masked_words(bert, bert_task, data)["masked_word_accuracy"]
    batches = bert_task.held_out(np.random.default_rng(1), 24)
    label = torch.cat([batch["label"] for batch in batches])
    assert result.n == len(label)
    assert result.value == pytest.approx((label == the).double().mean().item(), abs=1e-4)
    assert result.low < result.value < result.high
    assert result.compare == f'always "the": {result.value:.3f}'


@pytest.mark.parametrize(
    ("make", "architecture"), [(TranslatorTask, EncoderDecoder), (RecurrentTask, Recurrent)]
)
def test_bleu_is_of_the_test_pairs(make: type, architecture: type, data: Path, monkeypatch) -> None:
    task = make(data, None, 0, train=False)
    sentence = {"el perro": "the hound", "el gato": "the cat"}
    monkeypatch.setattr(
        quality, "translated", lambda _, texts, n: [sentence[text] for text in texts]
    )
    result = quality.bleu(loaded(task, architecture), task, data)
    assert result["bleu"].n == 2
    assert "beam 4; nrefs:var" in result["bleu"].detail
    assert result["bleu_greedy"].detail == "greedy"


@pytest.mark.parametrize(
    ("make", "architecture"), [(TranslatorTask, EncoderDecoder), (RecurrentTask, Recurrent)]
)
def test_speed_is_all_tokens_over_all_seconds(
    make: type, architecture: type, data: Path, monkeypatch
) -> None:
    task = make(data, None, 0, train=False)
    clock = itertools.count(0, 0.25)  # each sentence takes a quarter of a second
    monkeypatch.setattr(quality.time, "perf_counter", lambda: next(clock))
    model = loaded(task, architecture)
    result = quality.decoding_speed(model, task, data)["decoding_speed"]
    texts = ("el perro", "el gato")
    n_token = sum(len(returned(translation.translate(model, Spec(text))).steps) for text in texts)
    assert result.value == pytest.approx(n_token / 0.5)
    assert (result.n, result.of, result.detail) == (2, "sentences", "cpu, 1 thread")


def test_translations_come_back_in_order(
    translator_task: TranslatorTask, monkeypatch: pytest.MonkeyPatch
) -> None:
    def same(model: object, source: Tensor, real: Tensor, *_: object) -> list[list[int]]:
        return [row[present][:-1].tolist() for row, present in zip(source, real, strict=True)]

    monkeypatch.setattr(quality, "_decode", same)
    texts = ["el perro 17", "el", "el perro", ""] * 40
    assert quality.translated(loaded(translator_task, EncoderDecoder), texts, 2) == texts


RIGHT = {(0, 0), (1, 1), (3, 3)}
HALF = {(0, 0), (1, 2), (2, 2), (3, 1)}


@pytest.mark.parametrize(
    ("found", "best", "head"),
    [
        ([set()] * 5 + [RIGHT] + [HALF] * 4, "L1 H1", "L1 H1"),
        ([HALF] * 3 + [set()] * 5 + [HALF, RIGHT], "L1 mean of heads", "L0 H0"),
    ],
)
def test_an_aligning_head_is_found(
    translator_task: TranslatorTask,
    data: Path,
    monkeypatch: pytest.MonkeyPatch,
    found: list[set[tuple[int, int]]],
    best: str,
    head: str,
) -> None:
    monkeypatch.setattr(alignment_quality, "_links", lambda *_: found)
    model = loaded(translator_task, EncoderDecoder)
    measures = alignment_quality.alignment(model, translator_task, data)
    first, cross = measures["alignment_error_rate"], measures["cross_alignment_error_rate"]
    assert (first.value, first.detail, first.n) == (0.0, best, 1)
    assert cross.detail == head
    assert measures["alignment_error_rate_as_output"].detail == head
    assert set(first.by) == {"L0 mean of heads", "L1 mean of heads"}
    assert first.compare == "each word with the one as far along: 0.14"


def attending(
    model: Loaded, monkeypatch: pytest.MonkeyPatch, query: str, key: str, reading: str
) -> list[set[tuple[int, int]]]:
    """The links of a model whose every head looks from the row of one word at one word only."""
    result = run(model, Spec("el perro.", target="the dog."))
    record = result.records["cross"]
    attn = torch.zeros_like(record.attn)
    q = next(i for i, token in enumerate(record.q_tokens) if token.text.strip() == query)
    k = next(i for i, token in enumerate(record.k_tokens) if token.text.strip().startswith(key))
    attn[:, :, q, k] = 1.0
    changed = replace(result, records={"cross": replace(record, attn=attn)})
    monkeypatch.setattr(alignment_quality, "run", lambda *_: changed)
    return alignment_quality._links(model, ["the", "dog", "."], ["el", "perro", "."], reading)


def test_links_are_rows_of_the_words_own_steps(
    translator_task: TranslatorTask, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = loaded(translator_task, EncoderDecoder)
    result = attending(model, monkeypatch, "dog", "per", "input")
    assert len(result) == 2 * 4 + 2
    assert all((1, 1) in links for links in result)


@pytest.mark.parametrize(
    ("task_type", "architecture"),
    [(RecurrentTask, Recurrent), (TranslatorTask, EncoderDecoder)],
)
def test_as_output_they_are_rows_of_the_step_before(
    data: Path,
    monkeypatch: pytest.MonkeyPatch,
    task_type: type[TranslatorTask],
    architecture: type,
) -> None:
    task = task_type(data, None, 0, train=False)
    result = attending(loaded(task, architecture), monkeypatch, "the", "per", "output")
    assert all((1, 1) in links for links in result)


def test_the_recurrent_model_has_one_reading(data: Path) -> None:
    task = RecurrentTask(data, None, 0, train=False)
    result = alignment_quality.alignment(loaded(task, Recurrent), task, data)
    assert set(result) == {"alignment_error_rate", "cross_alignment_error_rate"}


def test_sentences_are_joined_as_they_are_written() -> None:
    text, spans = alignment_quality.joined(["¿", "Dónde", "está", "(", "hoy", ")", "?"])
    assert text == "¿Dónde está (hoy)?"
    assert [text[a:b] for a, b in spans] == ["¿", "Dónde", "está", "(", "hoy", ")", "?"]


def test_specials_are_of_no_word() -> None:
    tokens = (
        Token(0, "<s>", "<s>", special=True),
        Token(5, "Ġel", "el", 0, 2),
        Token(6, "Ġper", " per", 2, 6),
        Token(7, "ro", "ro", 6, 8),
    )
    assert alignment_quality._words_of(tokens, [(0, 2), (3, 8)]) == [None, 0, 1, 1]


def test_the_best_heads_have_a_place_and_a_score(gpt_task: GPTTask, data: Path) -> None:
    result = quality.best_heads(loaded(gpt_task, GPT), gpt_task, data)
    assert set(result) == {"decoder_previous_token", "decoder_induction"}
    looked = quality.look(gpt_task, loaded(gpt_task, GPT).model, CPU)["decoder"]
    for name in ("previous_token", "induction"):
        measure = result[f"decoder_{name}"]
        layer, head = (int(part[1:]) for part in measure.detail.split())
        assert looked[name][layer][head] == pytest.approx(measure.value, abs=1e-3)
        assert measure.value == pytest.approx(max(map(max, looked[name])), abs=1e-3)


def test_looking_leaves_a_model_learning(gpt_task: GPTTask) -> None:
    model = loaded(gpt_task, GPT).model.train()
    quality.look(gpt_task, model, CPU)
    assert model.training


@pytest.mark.parametrize("measure", [alignment_quality.alignment, quality.blimp])
def test_what_has_no_text_is_not_measured(
    measure: Callable[..., dict[str, object]],
    gpt_task: GPTTask,
    translator_task: TranslatorTask,
    tmp_path: Path,
) -> None:
    task, architecture = {
        "alignment": (translator_task, EncoderDecoder),
        "blimp": (gpt_task, GPT),
    }[measure.__name__]
    assert measure(loaded(task, architecture), task, tmp_path) == {}


@pytest.mark.parametrize("text", ["", "One sentence."])
def test_too_little_held_out_text_is_not_measured(
    bert_task: BertTask, gpt_task: GPTTask, tmp_path: Path, text: str
) -> None:
    (tmp_path / "own.txt").write_text(text)
    bert = BertTask(tmp_path, bert_task.tokenizer, 0, train=False)
    gpt = GPTTask(tmp_path, gpt_task.tokenizer, 0, train=False)
    assert quality.masked_words(loaded(bert, Bert), bert, tmp_path) == {}
    assert quality.best_heads(loaded(bert, Bert), bert, tmp_path) == {}
    assert len(quality.bits_per_byte(loaded(gpt, GPT), gpt, tmp_path)) == bool(text)
