"""Training for a GPU, at tiny sizes on the processor: arrays, batches, Muon, the commands."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from attention_atlas.model import zoo
from attention_atlas.model.recurrent import Recurrent
from attention_atlas.model.training import gpu, prepared, train
from attention_atlas.model.training.bert_task import BertTask
from attention_atlas.model.training.gpt_task import GPTTask
from attention_atlas.model.training.gpu import Batches, GPURun, StackedMuon, fixed, set_dropout
from attention_atlas.model.training.prepared import packed, shortened, unpacked
from attention_atlas.model.training.task import NO_LABEL, Ragged, cross_entropy
from attention_atlas.model.training.trainers import TRAINERS
from attention_atlas.model.training.translator_task import RecurrentTask, TranslatorTask
from attention_atlas.model.transformer import GPT, Bert, Config, EncoderDecoder
from torch import nn

CPU = torch.device("cpu")
BUILT = (
    (TranslatorTask, EncoderDecoder, 128),
    (BertTask, Bert, 512),
    (GPTTask, GPT, 512),
    (RecurrentTask, Recurrent, 128),
)


@pytest.fixture(autouse=True)
def tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    """Models of a few thousand parameters, and BERT from random weights."""
    for task, architecture, n_ctx in BUILT:

        def build(
            self: Any, architecture: type[nn.Module] = architecture, n_ctx: int = n_ctx
        ) -> nn.Module:
            n_head = 1 if architecture is Recurrent else 2
            return architecture(Config(self.tokenizer.vocab_size, n_ctx, 1, n_head, 8, 12))

        monkeypatch.setattr(task, "build", build)
    monkeypatch.setitem(prepared.CLASSES, "bert", BertTask)
    monkeypatch.setattr(prepared, "WEIGHTS", Path("none"))


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    docs = [f"The dog {i} sat. It saw a cat {i}. Then it ran home." for i in range(300)]
    (folder / "own.txt").write_text("\n\n".join(docs))
    (folder / "own.tsv").write_text("\n".join(f"el perro {i}\tthe dog {i}" for i in range(150)))
    return folder


def same(one: Any, other: Any) -> bool:
    """Arrays and what holds them, by value."""
    if isinstance(one, Ragged):
        return np.array_equal(one.ids, other.ids) and np.array_equal(one.offset, other.offset)
    if isinstance(one, np.ndarray):
        return np.array_equal(one, other)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    return bool(one == other)


@pytest.mark.parametrize("name", TRAINERS)
def test_a_prepared_task_makes_the_same_batches(name: str, data: Path, tmp_path: Path) -> None:
    task = TRAINERS[name](data, None, 0)
    path = tmp_path / f"{name}.xz"
    path.write_bytes(packed(task))
    again = unpacked(path)
    assert type(again) is type(task)
    assert again.sources == task.sources
    assert same(again.train, task.train) and same(again.dev, task.dev)
    for step, progress in ((3, 0.1), (4, 0.6), (5, 1.0)):
        one, other = (t.batch(np.random.default_rng(step), 1024, progress) for t in (task, again))
        assert one.keys() == other.keys()
        assert all(torch.equal(one[key], other[key]) for key in one)


def test_texts_are_shortened_by_whole_documents(data: Path) -> None:
    sentences, ends = BertTask(data, None, 0).train
    rows, last = shortened((sentences, ends), 900)
    whole = {tuple(sentences[i]) for i in range(len(sentences))}
    assert 0 < len(rows.ids) <= 900 and len(rows) == len(last)
    assert all(tuple(rows[i]) in whole for i in range(len(rows)))
    assert last[-1] == len(rows) and set(np.diff([0, *np.unique(last)])) == {3}
    assert same(shortened((sentences, ends), 10**9), (sentences, ends))
    assert shortened(np.arange(9), 4).tolist() == [0, 1, 2, 3]


def test_muon_over_stacked_matrices_is_torchs() -> None:
    shapes = [(6, 4), (4, 6), (6, 4), (5, 5), (4, 6)]
    torch.manual_seed(0)
    starts = [torch.randn(shape) for shape in shapes]
    ours, theirs = ([nn.Parameter(x.clone()) for x in starts] for _ in range(2))
    stacked = StackedMuon(ours, lr=0.02, ns_steps=5)
    single = torch.optim.Muon(
        theirs, lr=0.02, weight_decay=0.1, ns_steps=5, adjust_lr_fn="match_rms_adamw"
    )
    for _ in range(4):
        for one, other in zip(ours, theirs, strict=True):
            one.grad = torch.randn_like(one)
            other.grad = one.grad.clone()
        stacked.step()
        single.step()
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, other, atol=2e-3, rtol=0)  # bfloat16 inside


def test_berts_batches_have_one_shape_and_the_same_masked_words(data: Path) -> None:
    task = BertTask(data, None, 0)
    batch = task.batch(np.random.default_rng(1), 1024, 0.5)
    cut = {**batch, "ids": batch["ids"][:, :-5], "segments": batch["segments"][:, :-5]}
    kept = batch["places"] % batch["ids"].size(1) < cut["ids"].size(1)
    row, column = batch["places"] // batch["ids"].size(1), batch["places"] % batch["ids"].size(1)
    cut["places"] = (row * cut["ids"].size(1) + column)[kept]
    cut["label"] = batch["label"][kept]
    wide = fixed(cut, task.pad)
    B, T = wide["ids"].shape
    assert T % gpu.WIDTH == 0 and wide["segments"].shape == (B, T)
    assert len(wide["places"]) == len(wide["label"]) == round(gpu.PLACES * B * T)
    labelled = wide["label"] != NO_LABEL
    assert torch.equal(wide["label"][labelled], cut["label"])
    for name in ("ids", "segments"):
        assert torch.equal(wide[name][:, : cut["ids"].size(1)], cut[name])
    assert torch.equal(
        wide["ids"].flatten()[wide["places"][labelled]], cut["ids"].flatten()[cut["places"]]
    )
    model = task.build().eval()
    with torch.inference_mode():
        torch.testing.assert_close(task.loss(model, wide), task.loss(model, cut))


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_the_loss_without_selection_is_the_same(
    smoothing: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A GPU computes the logits of all places and leaves out those without a label."""
    torch.manual_seed(0)
    x, label = torch.randn(3, 5, 4), torch.randint(0, 7, (3, 5))
    label[0, 1:4] = NO_LABEL
    head = nn.Linear(4, 7)
    expected = nn.functional.cross_entropy(
        head(x).flatten(0, 1), label.flatten(), ignore_index=NO_LABEL, label_smoothing=smoothing
    )
    torch.testing.assert_close(cross_entropy(head, x, label, smoothing=smoothing), expected)
    assert cross_entropy(head, x, torch.full((3, 5), NO_LABEL)).item() == 0.0


def test_dropout_is_set_in_every_layer() -> None:
    model = GPT(Config(20, 16, 2, 2, 8, 12))
    set_dropout(model, 0.25)
    assert {m.p for m in model.modules() if isinstance(m, nn.Dropout)} == {0.25}
    assert {layer.attention.dropout for layer in model.decoder} == {0.25}


@pytest.mark.parametrize("workers", [0, 2])
def test_the_steps_get_their_batches_in_order(workers: int, data: Path, tmp_path: Path) -> None:
    task = GPTTask(data, None, 0)
    run = GPURun(task, tmp_path, CPU, 3, workers)
    made = [run.batch(512, 0.0) for _ in range(3)]
    expected = Batches(task, 3, 512, run.done)
    for step, batch in enumerate(made):
        assert torch.equal(batch["ids"], expected[step]["ids"])


def test_one_command_trains_all_that_is_prepared(data: Path, tmp_path: Path, monkeypatch) -> None:
    """It says how fast it is, writes each model, and does not train again what is there."""
    monkeypatch.setattr(gpu, "BATCH_TOKENS", dict.fromkeys(gpu.BATCH_TOKENS, 512))
    folder, out = tmp_path / "prepared", tmp_path / "trained"
    for name in ("bert", "gpt", "translator"):
        prepared.main([name, "--data", str(data), "--out", str(folder)])
    command = ["--prepared", str(folder), "--out", str(out), "--minutes", "0.03", "--device", "cpu"]
    assert gpu.main([*command, "--workers", "0"]) == 0
    for name in ("bert", "gpt", "translator"):
        card = json.loads((out / name / "card.json").read_text())
        assert card["training"]["preset"].startswith("GPU: 128 tokens")
        assert card["training"]["steps"] > 0
        assert zoo.load(name, CPU, out).name == name
    written = (out / "gpt" / "model.safetensors").stat().st_mtime_ns
    assert gpu.main([*command, "--workers", "0"]) == 0
    assert (out / "gpt" / "model.safetensors").stat().st_mtime_ns == written


def test_the_preset_goes_on_from_finished_weights(data: Path, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(gpu, "BATCH_TOKENS", dict.fromkeys(gpu.BATCH_TOKENS, 512))
    monkeypatch.setattr(gpu, "WORKERS", 0)
    out = tmp_path / "out" / "own"
    folders = ["--data", str(data), "--state", str(tmp_path / "state"), "--out", str(out)]
    common = ["gpt", *folders, "--device", "cpu", "--batch-tokens", "512"]
    assert train.main([*common, "--tokens", "1000"]) == 0
    first = json.loads((out / "card.json").read_text())["training"]["tokens"]
    assert prepared.main(["gpt", "--data", str(data), "--out", str(tmp_path / "p")]) == 0
    more = ["--tokens", str(3 * first), "--prepared", str(tmp_path / "p")]
    assert train.main([*common, *more, "--preset", "gpu", "--resume"]) == 0
    assert json.loads((out / "card.json").read_text())["training"]["tokens"] >= 3 * first


def test_nothing_prepared_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert gpu.main(["--prepared", str(tmp_path), "--out", str(tmp_path)]) == 2
    assert "holds no bert.xz, gpt.xz, translator.xz" in caplog.text


def test_arrays_of_another_tokenizer_are_refused(
    data: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    other = tmp_path / "text"
    other.mkdir()
    docs = [f"Birds {i} sing. They fly {i} away. Snow falls on hills." for i in range(300)]
    (other / "own.txt").write_text("\n\n".join(docs))
    out = tmp_path / "out" / "own"
    common = ["gpt", "--state", str(tmp_path / "state"), "--out", str(out), "--device", "cpu"]
    train.main([*common, "--data", str(data), "--batch-tokens", "512", "--tokens", "600"])
    prepared.main(["gpt", "--data", str(other), "--out", str(tmp_path / "p")])
    again = [*common, "--prepared", str(tmp_path / "p"), "--preset", "gpu", "--resume"]
    assert train.main(again) == 2
    assert "was prepared with another tokenizer" in caplog.text
