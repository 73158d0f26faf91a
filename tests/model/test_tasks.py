"""What all training tasks have in common; the batches of GPT and of the translators."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from attention_atlas.model.recurrent import Recurrent
from attention_atlas.model.training import corpus
from attention_atlas.model.training.bert_task import BertTask
from attention_atlas.model.training.gpt_task import GPTTask
from attention_atlas.model.training.task import Ragged, Task, cross_entropy, padded, weighted
from attention_atlas.model.training.translator_task import RecurrentTask, TranslatorTask
from attention_atlas.model.transformer import Config, EncoderDecoder


@pytest.fixture(scope="module")
def gpt_task(documents: Path) -> GPTTask:
    return GPTTask(documents, None, 0)


@pytest.fixture(scope="module")
def translator_task(documents: Path) -> TranslatorTask:
    return TranslatorTask(documents, None, 0)


@pytest.fixture(scope="module")
def recurrent_task(documents: Path) -> RecurrentTask:
    return RecurrentTask(documents, None, 0)


@pytest.fixture(params=["bert_task", "gpt_task", "translator_task", "recurrent_task"])
def task(request: pytest.FixtureRequest) -> Task[Any]:
    return request.getfixturevalue(request.param)


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def test_a_batch_is_a_pure_function_of_its_rng(task: Task[Any]) -> None:
    first, again, other = (task.batch(rng(seed), 2048, 0.0) for seed in (5, 5, 6))
    torch.testing.assert_close(first, again, atol=0, rtol=0)
    assert any(not torch.equal(first[name], other[name]) for name in first)


def test_held_out_batches_are_the_same_each_time(task: Task[Any]) -> None:
    first, again = list(task.held_out(rng(), 3)), list(task.held_out(rng(), 3))
    torch.testing.assert_close(first, again, atol=0, rtol=0)
    assert len(first) == 3


def test_a_task_names_its_sources(task: Task[Any]) -> None:
    assert task.sources == ["own"]


def test_a_tokenizer_that_is_there_is_taken(task: Task[Any], documents: Path) -> None:
    assert type(task)(documents, task.tokenizer, 0).tokenizer is task.tokenizer


def test_the_translator_learns_the_next_token(translator_task: TranslatorTask) -> None:
    batch = translator_task.batch(rng(), 2048, 0.0)
    begin, end = (translator_task.tokenizer.id(raw) for raw in ("<s>", "</s>"))
    real = batch["label"] != -100
    assert (batch["target"][:, 0] == begin).all()
    inside = real[:, 1:]
    assert torch.equal(batch["target"][:, 1:][inside], batch["label"][:, :-1][inside])
    last = real.sum(1, keepdim=True) - 1
    assert (batch["label"].gather(1, last) == end).all()


def test_the_translators_pairs_belong_together(translator_task: TranslatorTask) -> None:
    batch = translator_task.batch(rng(), 2048, 0.0)
    decode = translator_task.tokenizer.decode
    source = [decode(row).split()[-1] for row in batch["source"].tolist()]
    target = [decode(row).split()[-1] for row in batch["target"].tolist()]
    assert source == target


def test_the_translators_batches_are_about_as_large_as_asked(
    translator_task: TranslatorTask,
) -> None:
    batch = translator_task.batch(rng(), 2048, 1.0)
    assert 1500 < batch["source"].numel() + batch["target"].numel() < 2600


def test_one_pair_in_a_hundred_is_held_out(translator_task: TranslatorTask) -> None:
    decode = translator_task.tokenizer.decode
    held_out = {decode(target.tolist()).split()[-1] for _, target in translator_task.dev}
    seen = {decode(target.tolist()).split()[-1] for _, target in translator_task.train}
    assert held_out == {"0", "100", "200"}
    assert len(seen) == 297
    assert not held_out & seen


def test_pairs_for_measuring_are_taken_where_there_are_any(tmp_path: Path) -> None:
    (tmp_path / "own.tsv").write_text("uno\tone\ndos\ttwo")
    (tmp_path / "dev.tsv").write_text("tres\tthree\tanother three")
    task = TranslatorTask(tmp_path, None, 0)
    assert len(task.train) == 2
    assert [task.tokenizer.decode(target.tolist()) for _, target in task.dev] == ["three"]


def test_padding_teaches_the_translator_nothing(translator_task: TranslatorTask) -> None:
    config = Config(translator_task.tokenizer.vocab_size, 128, 1, 2, 8, 12)
    torch.manual_seed(0)
    model = EncoderDecoder(config).eval()
    batch = translator_task.batch(rng(), 512, 0.0)
    pad = translator_task.tokenizer.id("<pad>")
    wider = {
        "source": torch.nn.functional.pad(batch["source"], (0, 3), value=pad),
        "target": torch.nn.functional.pad(batch["target"], (0, 2), value=pad),
        "label": torch.nn.functional.pad(batch["label"], (0, 2), value=-100),
    }
    torch.testing.assert_close(
        translator_task.loss(model, wider), translator_task.loss(model, batch)
    )


def test_gpt_reads_texts_one_after_another(gpt_task: GPTTask) -> None:
    end, ids = gpt_task.end, gpt_task.tokenizer.ids
    stream = gpt_task.stream(["One two.", "Three"])
    assert stream.tolist() == [end, *ids("One two."), end, *ids("Three")]


@pytest.mark.parametrize(("length", "progress"), GPTTask.lengths)
def test_gpts_batches_name_the_next_token(
    gpt_task: GPTTask, length: int, progress: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gpt_task, "copying", ((0.0, 1.0),))
    monkeypatch.setattr(gpt_task, "long", ((0.0, 1.0),))
    batch = gpt_task.batch(rng(), 2048, progress)
    size = (1024 if progress < gpt_task.small_until else 2048) // length
    assert batch["ids"].shape == batch["label"].shape == (size, length)
    assert torch.equal(batch["ids"][:, 1:], batch["label"][:, :-1])


def test_gpts_long_batches_come_from_the_middle_of_the_run_on(gpt_task: GPTTask) -> None:
    lengths = [
        {gpt_task.batch(np.random.default_rng(i), 512, progress)["ids"].size(1) for i in range(20)}
        for progress in (0.45, 0.55)
    ]
    assert lengths == [{128}, {128, gpt_task.n_ctx}]


def test_gpts_batches_are_pieces_of_the_text(
    gpt_task: GPTTask, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gpt_task, "copying", ((0.0, 1.0),))
    whole = gpt_task.tokenizer.decode(gpt_task.train.tolist())
    rows = gpt_task.batch(rng(), 2048, 0.0)["ids"].tolist()
    assert all(gpt_task.tokenizer.decode(row).strip() in whole for row in rows)


def test_a_repeated_segment_is_predicted_from_its_second_time_on(gpt_task: GPTTask) -> None:
    row, n = gpt_task.repeated(rng(), 129)
    assert len(row) == 129
    assert 8 <= n < 64
    assert np.array_equal(row[n:], row[:-n])
    label = gpt_task._collate([(row, n)])["label"][0]
    assert (label[: n - 1] == -100).all()
    assert label[n - 1 :].tolist() == row[n:].tolist()


def test_pairs_are_said_again_in_another_order(gpt_task: GPTTask) -> None:
    row, n = gpt_task.mapped(rng(4), 129)
    ids = row.tolist()
    width = 2 + len(gpt_task.arrow) + len(gpt_task.line)
    lines = [
        tuple(ids[position : position + width]) for position in range(0, len(ids) - width, width)
    ]
    first, rest = lines[: n // width], lines[n // width :]
    assert len(rest) > len(first)
    assert set(rest) == set(first)
    assert tuple(rest[: len(first)]) != tuple(first)


@pytest.mark.parametrize(("share", "progress"), GPTTask.copying)
def test_a_few_of_gpts_rows_copy(gpt_task: GPTTask, share: float, progress: float) -> None:
    label = gpt_task.batch(rng(), 256_000, progress)["label"]
    assert (label[:, 0] == -100).float().mean() == pytest.approx(share, abs=0.02)


def test_what_gpt_is_measured_on_it_has_not_read(gpt_task: GPTTask) -> None:
    read = gpt_task.tokenizer.decode(gpt_task.train.tolist())
    assert list(gpt_task.dev_texts) == ["own"]
    assert len(gpt_task.dev_texts["own"]) == 2
    assert not any(text in read for text in gpt_task.dev_texts["own"])


def test_ragged_rows(gpt_task: GPTTask) -> None:
    texts = ["One two.", "", "Three"]
    rows = Ragged.of(gpt_task.tokenizer, texts)
    assert [rows[i].tolist() for i in range(len(rows))] == [
        gpt_task.tokenizer.ids(t) for t in texts
    ]


def test_padded_rows() -> None:
    rows = [np.array([1, 2, 3]), np.array([4])]
    assert padded(rows, 9).tolist() == [[1, 2, 3], [4, 9, 9]]


@pytest.mark.parametrize(("name", "n"), [("asp", 2000), ("own", 1000)])
def test_documents_weigh_as_their_file_does(name: str, n: int) -> None:
    docs = [[str(i)] for i in range(1000)]
    assert len(weighted(docs, name, rng())) == n


@pytest.mark.parametrize(("name", "n"), [("classics", 500), ("europarl", 400)])
def test_a_light_file_is_thinned(name: str, n: int) -> None:
    docs = [[str(i)] for i in range(1000)]
    assert len(weighted(docs, name, rng())) == pytest.approx(n, abs=50)


@pytest.mark.parametrize("make", [BertTask, GPTTask, TranslatorTask, RecurrentTask])
def test_no_data_is_a_clear_error(make: type[Task[Any]], tmp_path: Path) -> None:
    with pytest.raises(corpus.NoData):
        make(tmp_path, None, 0)


def test_both_translators_have_one_vocabulary(
    translator_task: TranslatorTask, recurrent_task: RecurrentTask
) -> None:
    ours, theirs = (task.tokenizer.backend for task in (translator_task, recurrent_task))
    assert ours.to_str() == theirs.to_str()


def test_the_recurrent_model_learns_what_the_translator_does(recurrent_task: RecurrentTask) -> None:
    torch.manual_seed(0)
    model = Recurrent(Config(recurrent_task.tokenizer.vocab_size, 128, 1, 1, 8, 12)).eval()
    loss = recurrent_task.loss(model, recurrent_task.batch(rng(), 512, 0.0))
    assert loss.item() == pytest.approx(np.log(recurrent_task.tokenizer.vocab_size), abs=0.3)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_a_loss_in_chunks_is_the_loss(smoothing: float) -> None:
    torch.manual_seed(0)
    x, weight = torch.randn(3, 400, 8), torch.randn(50, 8)
    label = torch.randint(0, 50, (3, 400))
    label[:, ::7] = -100
    result = cross_entropy(lambda x: x @ weight.T, x, label, smoothing=smoothing)
    whole = torch.nn.functional.cross_entropy(
        (x @ weight.T).flatten(0, 1), label.flatten(), label_smoothing=smoothing
    )
    torch.testing.assert_close(result, whole)


def test_nothing_to_predict_is_no_loss() -> None:
    label = torch.full((2, 3), -100)
    assert cross_entropy(torch.nn.Identity(), torch.randn(2, 3, 4), label) == 0


def test_a_task_that_does_not_train_reads_what_is_held_out(
    task: Task[Any], documents: Path
) -> None:
    other = type(task)(documents, task.tokenizer, 0, train=False)
    torch.testing.assert_close(
        list(other.held_out(rng(), 2)), list(task.held_out(rng(), 2)), atol=0, rtol=0
    )
