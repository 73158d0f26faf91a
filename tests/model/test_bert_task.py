"""What BERT's task shows it: masked words and next sentences."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from attention_atlas.model.training.bert_task import BertTask
from attention_atlas.model.transformer import Bert, Config
from torch import Tensor

N_DOCUMENT = 120  # of the folder


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def originals(batch: dict[str, Tensor]) -> Tensor:
    """The ids before some were masked."""
    ids = batch["ids"].clone().flatten()
    ids[batch["places"]] = batch["label"]
    return ids.view(batch["ids"].shape)


def halves(task: BertTask, batch: dict[str, Tensor]) -> list[tuple[str, str]]:
    """Each row's two texts."""
    framed = [
        task.tokenizer.backend.decode(row, skip_special_tokens=False)
        for row in originals(batch).tolist()
    ]
    return [tuple(text.split("[SEP]")[:2]) for text in framed]


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


def test_a_new_bert_knows_nothing(bert_task: BertTask) -> None:
    torch.manual_seed(0)
    model = Bert(Config(bert_task.tokenizer.vocab_size, 512, 1, 2, 8, 12))
    loss = bert_task.loss(model, bert_task.batch(rng(), 2048, 0.0))
    expected = np.log(bert_task.tokenizer.vocab_size) + np.log(2)
    assert loss.item() == pytest.approx(expected, abs=0.05)


def test_sentences_with_bank_say_nothing_of_the_next(documents: Path, tmp_path: Path) -> None:
    (tmp_path / "own.txt").write_text((documents / "own.txt").read_text())
    rows = "corpus\tclass\tsentence\nasp\triver\tbank bank bank."
    (tmp_path / "bank_sentences.tsv").write_text(rows)
    task = BertTask(tmp_path, None, 0)
    batch = task.batch(rng(), 64_000, 0.0)
    banks = batch["next"] == -100
    assert task.sources == ["own", "bank_sentences"]
    assert banks.float().mean() == pytest.approx(task.banks, abs=0.015)
    assert (originals(batch)[banks] == task.tokenizer.id("bank")).any(1).all()
    assert all((batch["next"] >= 0).all() for batch in task.held_out(rng(), 4))
