"""What the models are shown: masked words, next sentences, next tokens, translations."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from attention_atlas.model.recurrent import Recurrent
from attention_atlas.model.training import corpus
from attention_atlas.model.training.tasks import (
    BertTask,
    GPTTask,
    Ragged,
    RecurrentTask,
    Task,
    TranslatorTask,
    cross_entropy,
    padded,
    weighted,
)
from attention_atlas.model.transformer import Bert, Config, EncoderDecoder
from torch import Tensor

N_DOCUMENT = 120


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Every sentence says which document it is of, and which sentence of it."""
    folder = tmp_path_factory.mktemp("data")
    docs = [
        " ".join(f"Document d{doc} has sentence s{n}." for n in range(8))
        for doc in range(N_DOCUMENT)
    ]
    (folder / "own.txt").write_text("\n\n".join(docs))
    pairs = [f"uno {'dos ' * (i % 7)}{i}\tone {'two ' * (i % 5)}{i}" for i in range(300)]
    (folder / "own.tsv").write_text("\n".join(pairs))
    return folder


@pytest.fixture(scope="module")
def bert_task(data: Path) -> BertTask:
    return BertTask(data, None, 0)


@pytest.fixture(scope="module")
def gpt_task(data: Path) -> GPTTask:
    return GPTTask(data, None, 0)


@pytest.fixture(scope="module")
def translator_task(data: Path) -> TranslatorTask:
    return TranslatorTask(data, None, 0)


@pytest.fixture(scope="module")
def recurrent_task(data: Path) -> RecurrentTask:
    return RecurrentTask(data, None, 0)


@pytest.fixture(params=["bert_task", "gpt_task", "translator_task", "recurrent_task"])
def task(request: pytest.FixtureRequest) -> Task:
    return request.getfixturevalue(request.param)


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def test_a_batch_is_a_pure_function_of_its_rng(task: Task) -> None:
    first, again, other = (task.batch(rng(seed), 2048, 0.0) for seed in (5, 5, 6))
    torch.testing.assert_close(first, again, atol=0, rtol=0)
    assert any(not torch.equal(first[name], other[name]) for name in first)


def test_held_out_batches_are_the_same_each_time(task: Task) -> None:
    first, again = list(task.held_out(rng(), 3)), list(task.held_out(rng(), 3))
    torch.testing.assert_close(first, again, atol=0, rtol=0)
    assert len(first) == 3


def test_a_task_names_its_sources(task: Task) -> None:
    assert task.sources == ["own"]


def test_a_tokenizer_that_is_there_is_taken(task: Task, data: Path) -> None:
    assert type(task)(data, task.tokenizer, 0).tokenizer is task.tokenizer


def test_bert_masks_15_of_100_and_8_1_1_of_10_of_them(bert_task: BertTask) -> None:
    ids = torch.full((400, 500), 7)
    corrupted, places = bert_task.corrupt(ids, rng())
    chosen = corrupted.flatten()[places]
    assert len(places) / ids.numel() == pytest.approx(0.15, abs=0.005)
    assert (chosen == bert_task.mask).float().mean() == pytest.approx(0.8, abs=0.01)
    assert (chosen == 7).float().mean() == pytest.approx(0.1, abs=0.015)
    assert chosen[(chosen != 7) & (chosen != bert_task.mask)].unique().numel() > 50


def test_bert_leaves_what_it_did_not_choose(bert_task: BertTask) -> None:
    ids = torch.randint(5, bert_task.tokenizer.vocab_size, (40, 50))
    before = ids.clone()
    corrupted, places = bert_task.corrupt(ids, rng())
    rest = torch.ones(2000, dtype=torch.bool)
    rest[places] = False
    assert torch.equal(corrupted.flatten()[rest], before.flatten()[rest])
    assert torch.equal(ids, before)


def test_bert_never_chooses_a_special_token(bert_task: BertTask) -> None:
    ids = torch.tensor([[bert_task.cls, bert_task.sep, bert_task.pad]]).repeat(300, 1)
    corrupted, places = bert_task.corrupt(ids, rng())
    assert torch.equal(corrupted, ids)
    assert len(places) == 0


def test_a_random_word_is_never_a_special_token(bert_task: BertTask) -> None:
    corrupted, places = bert_task.corrupt(torch.full((400, 500), 7), rng())
    chosen = corrupted.flatten()[places]
    assert chosen[chosen != bert_task.mask].min() >= 5


def originals(batch: dict[str, Tensor]) -> Tensor:
    """The ids before some were masked."""
    ids = batch["ids"].clone().flatten()
    ids[batch["places"]] = batch["label"]
    return ids.view(batch["ids"].shape)


def test_a_tiny_batch_has_something_to_predict(bert_task: BertTask) -> None:
    ids = torch.tensor([[bert_task.cls, 7, bert_task.sep]])
    assert [len(bert_task.corrupt(ids, rng(seed))[1]) for seed in range(20)] == [1] * 20


def test_berts_labels_are_what_was_there(bert_task: BertTask) -> None:
    text = bert_task.tokenizer.backend.decode(
        originals(bert_task.batch(rng(), 2048, 0.0))[0].tolist()
    )
    assert re.match(r"document d\d+ has sentence s\d+", text)


@pytest.mark.parametrize(("length", "progress"), BertTask.lengths)
def test_berts_pairs_are_framed(bert_task: BertTask, length: int, progress: float) -> None:
    batch = bert_task.batch(rng(), 16_384, progress)
    ids = originals(batch)
    assert ids.size(0) == (8192 if progress < bert_task.small_until else 16_384) // length
    assert ids.size(1) <= length
    assert (ids[:, 0] == bert_task.cls).all()
    assert ((ids == bert_task.sep).sum(1) == 2).all()
    last = (ids != bert_task.pad).sum(1) - 1
    assert (ids.gather(1, last[:, None]) == bert_task.sep).all()


def test_berts_second_sentence_is_segment_1(bert_task: BertTask) -> None:
    batch = bert_task.batch(rng(), 16_384, 0.0)
    ids = originals(batch)
    after_sep = (ids == bert_task.sep).cumsum(1) - (ids == bert_task.sep).int()
    expected = after_sep.clamp(max=1).masked_fill(ids == bert_task.pad, 0)
    assert torch.equal(batch["segments"], expected)


def halves(task: BertTask, batch: dict[str, Tensor]) -> list[tuple[str, str]]:
    """Each row's two texts."""
    framed = [
        task.tokenizer.backend.decode(row, skip_special_tokens=False)
        for row in originals(batch).tolist()
    ]
    return [tuple(text.split("[SEP]")[:2]) for text in framed]


def test_a_next_sentence_is_of_the_same_document(bert_task: BertTask) -> None:
    batch = bert_task.batch(rng(), 65_536, 0.0)
    rows = zip(halves(bert_task, batch), batch["next"].tolist(), strict=True)
    follows = [
        {*re.findall(r"(d\d+) has", a), *re.findall(r"(d\d+) has", b)}
        for (a, b), n in rows
        if n == 0
    ]
    assert len(follows) > 200
    assert {len(documents) for documents in follows} == {1}


def test_a_next_sentence_is_the_next_one(bert_task: BertTask) -> None:
    batch = bert_task.batch(rng(), 65_536, 0.0)
    rows = zip(halves(bert_task, batch), batch["next"].tolist(), strict=True)
    whole = [
        (re.findall(r"s(\d+)\.", a), re.findall(r" s(\d+)", b))
        for (a, b), n in rows
        if n == 0 and a.strip().endswith(".")
    ]
    steps = {int(b[0]) - int(a[-1]) for a, b in whole if a and b}
    assert steps == {1}


def test_what_bert_is_measured_on_it_has_not_read(bert_task: BertTask) -> None:
    texts = [
        bert_task.tokenizer.backend.decode(part[0].ids) for part in (bert_task.dev, bert_task.train)
    ]
    held_out, read = ({*re.findall(r"(d\d+) has", text)} for text in texts)
    assert held_out == {"d0", "d100"}
    assert len(read) == N_DOCUMENT - 2
    assert not held_out & read


def test_half_of_the_pairs_are_of_two_documents(bert_task: BertTask) -> None:
    batch = bert_task.batch(rng(), 262_144, 0.0)
    assert batch["next"].float().mean() == pytest.approx(0.5, abs=0.04)
    rows = zip(halves(bert_task, batch), batch["next"].tolist(), strict=True)
    apart = [a.split()[2] != b.split()[1] for (a, b), n in rows if n == 1]
    assert sum(apart) / len(apart) > 0.95


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


def test_a_new_bert_knows_nothing(bert_task: BertTask) -> None:
    torch.manual_seed(0)
    model = Bert(Config(bert_task.tokenizer.vocab_size, 512, 1, 2, 8, 12))
    loss = bert_task.loss(model, bert_task.batch(rng(), 2048, 0.0))
    expected = np.log(bert_task.tokenizer.vocab_size) + np.log(2)
    assert loss.item() == pytest.approx(expected, abs=0.05)


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
    lines = [tuple(ids[at : at + width]) for at in range(0, len(ids) - width, width)]
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


@pytest.mark.parametrize(("name", "n"), [("asp", 2000), ("own", 1000), ("europarl", 0)])
def test_documents_weigh_as_their_file_does(name: str, n: int) -> None:
    docs = [[str(i)] for i in range(1000)]
    assert len(weighted(docs, name, rng())) == n


def test_a_light_file_is_thinned() -> None:
    docs = [[str(i)] for i in range(1000)]
    assert len(weighted(docs, "classics", rng())) == pytest.approx(500, abs=50)


@pytest.mark.parametrize("make", [BertTask, GPTTask, TranslatorTask, RecurrentTask])
def test_no_data_is_a_clear_error(make: type[Task], tmp_path: Path) -> None:
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
    found = cross_entropy(lambda x: x @ weight.T, x, label, smoothing=smoothing)
    whole = torch.nn.functional.cross_entropy(
        (x @ weight.T).flatten(0, 1), label.flatten(), label_smoothing=smoothing
    )
    torch.testing.assert_close(found, whole)


def test_nothing_to_predict_is_no_loss() -> None:
    label = torch.full((2, 3), -100)
    assert cross_entropy(torch.nn.Identity(), torch.randn(2, 3, 4), label) == 0


def test_a_task_that_does_not_train_reads_what_is_held_out(task: Task, data: Path) -> None:
    other = type(task)(data, task.tokenizer, 0, train=False)
    torch.testing.assert_close(
        list(other.held_out(rng(), 2)), list(task.held_out(rng(), 2)), atol=0, rtol=0
    )


def test_sentences_with_bank_say_nothing_of_the_next(data: Path, tmp_path: Path) -> None:
    (tmp_path / "own.txt").write_text((data / "own.txt").read_text())
    said = "corpus\tclass\tsentence\nasp\triver\tbank bank bank."
    (tmp_path / "bank_sentences.tsv").write_text(said)
    task = BertTask(tmp_path, None, 0)
    batch = task.batch(rng(), 64_000, 0.0)
    banks = batch["next"] == -100
    assert task.sources == ["own", "bank_sentences"]
    assert banks.float().mean() == pytest.approx(task.banks, abs=0.015)
    assert (originals(batch)[banks] == task.tokenizer.id("bank")).any(1).all()
    assert all((batch["next"] >= 0).all() for batch in task.held_out(rng(), 4))
