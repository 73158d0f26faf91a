"""Training on from a teacher, with the attention held to the teacher's."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from attention_atlas.model.checkpoint import to_hugging_face
from attention_atlas.model.tape import Tape
from attention_atlas.model.tokenizers import train_wordpiece
from attention_atlas.model.training import anchor, run, train
from attention_atlas.model.training.anchor import (
    AnchoredBertTask,
    divergence,
    encoded,
    log_attention,
    taught,
)
from attention_atlas.model.training.teacher import Teacher
from attention_atlas.model.transformer import Bert, Config

SIZES = {"n_ctx": 512, "n_layer": 4, "n_head": 2, "d_model": 8, "d_ff": 12}
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    docs = [f"The dog {i} sat. It saw a cat {i}. Then it ran home." for i in range(150)]
    (folder / "own.txt").write_text("\n\n".join(docs))
    (folder / "tatoeba_en.txt").write_text("\n\n".join(f"Birds sing {i}." for i in range(150)))
    return folder


@pytest.fixture(autouse=True)
def teacher(monkeypatch: pytest.MonkeyPatch) -> Teacher:
    """A tiny one of random weights, in the place of MiniLM."""
    torch.manual_seed(0)
    backend = train_wordpiece(["the dog sat it saw a cat then ran home birds sing"], 200)
    model = Bert(Config(backend.get_vocab_size(), **SIZES))
    state = {
        name.removeprefix("bert."): tensor
        for name, tensor in to_hugging_face(model).items()
        if name.startswith("bert.")
    }
    made = Teacher(backend, state, SIZES)
    monkeypatch.setattr(Teacher, "read", lambda: made)
    return made


@pytest.fixture
def task(data: Path) -> AnchoredBertTask:
    return AnchoredBertTask(data, None, 0)


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def test_log_attention_is_what_the_tape_keeps(task: AnchoredBertTask) -> None:
    ids = torch.tensor([[2, 7, 9, 3], [2, 8, 3, 0]])
    real, segments = ids != 0, torch.zeros_like(ids)
    model, tape = task.build().eval(), Tape()
    model.encode(ids, segments, tape, real)
    _, result = encoded(model, ids, segments, real, [1, 3])
    for ours, attended in zip(result, [list(tape)[1], list(tape)[3]], strict=True):
        torch.testing.assert_close(ours.exp(), attended.attn)


def test_holding_attention_changes_no_output(task: AnchoredBertTask) -> None:
    ids = torch.tensor([[2, 7, 9, 3]])
    model, real, segments = task.build().eval(), ids != 0, torch.zeros_like(ids)
    x, _ = encoded(model, ids, segments, real, [0, 1])
    torch.testing.assert_close(x, model.encode(ids, segments, None, real))


def test_the_teacher_is_what_the_student_begins_as(task: AnchoredBertTask) -> None:
    ids = torch.tensor([[2, 7, 9, 8, 3]])
    real, segments = ids != 0, torch.zeros_like(ids)
    _, result = encoded(task.build(), ids, segments, real, [2, 3])
    wanted = taught(task.anchor, ids, segments, real, [2, 3])
    assert divergence(wanted, result, real).item() == pytest.approx(0, abs=1e-6)


def test_divergence_is_of_real_rows_only() -> None:
    teacher = torch.tensor([[[[0.5, 0.5], [0.9, 0.1]]]]).log()  # (1, 1, 2, 2)
    student = torch.tensor([[[[0.5, 0.5], [0.1, 0.9]]]]).log()
    kl = 0.9 * np.log(9) - 0.1 * np.log(9)
    both, first = torch.tensor([[True, True]]), torch.tensor([[True, False]])
    assert divergence([teacher], [student], both).item() == pytest.approx(kl / 2)
    assert divergence([teacher], [student], first).item() == 0


def test_padding_takes_no_attention(task: AnchoredBertTask) -> None:
    layer = task.build().encoder[0]
    real = torch.tensor([[True, True, False]])
    attn = log_attention(layer, torch.randn(1, 3, 8), real).exp()
    assert (attn[..., 2] == 0).all()


def test_first_the_heads_learn_alone(task: AnchoredBertTask) -> None:
    model = task.build().train()
    task.loss(model, task.batch(rng(), 512, 0.0)).backward()
    moved = {name for name, p in model.named_parameters() if p.grad is not None}
    heads = {name for name, _ in model.named_parameters() if name.startswith(anchor.HEADS)}
    assert moved == heads | {"embedding.weight"}  # tied to the masked words' head; its rate is 0


def test_then_everything_learns_with_two_layers_held(task: AnchoredBertTask) -> None:
    model = task.build().train()
    batch = task.batch(rng(), 512, 0.5)
    clean = batch["clean"].flatten()
    assert torch.equal(clean[batch["places"]], batch["label"])
    assert (clean != task.mask).all()
    task.loss(model, batch).backward()
    assert all(p.grad is not None for p in model.parameters())


def test_every_layer_is_held_as_often(task: AnchoredBertTask) -> None:
    first = [int(task.batch(rng(i), 64, 0.5)["first_layer"]) for i in range(200)]
    assert set(first) == {0, 2}
    assert first.count(0) == pytest.approx(100, abs=25)


@pytest.mark.parametrize(
    ("done", "head", "rest"),
    [(0.0, 2e-3, 0.0), (0.079, 2e-3, 0.0), (0.085, 1.5e-4, 1.5e-4), (0.3, 3e-4, 3e-4),
     (0.75, 1.5e-4, 1.5e-4), (1.0, 0.0, 0.0)],
)  # fmt: skip
def test_rates_by_share_of_the_run(
    task: AnchoredBertTask, done: float, head: float, rest: float
) -> None:
    model = task.build()
    adam, muon = run.optimizers(model, task, run.muon(task))
    rates = {
        id(p): task.rate(group, done, 0)
        for group in (*adam.param_groups, *muon.param_groups)
        for p in group["params"]
    }
    assert rates[id(model.next_head.weight)] == pytest.approx(head)
    assert rates[id(model.embedding_norm.weight)] == pytest.approx(rest)
    assert rates[id(model.encoder[0].attention.W_Q.weight)] == pytest.approx(rest)
    assert rates[id(model.embedding.weight)] == pytest.approx(rest * 2 / 3)
    assert len(rates) == len(list(model.parameters()))


def test_everyday_sentences_have_no_next_one(
    task: AnchoredBertTask, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(task, "everyday", 1.0)
    batch = task.batch(rng(), 1024, 0.5)
    assert (batch["next"] == -100).all()
    assert "sing" in task.tokenizer.backend.decode(batch["clean"][0].tolist())
    held_out = next(task.held_out(rng(), 3))
    assert (held_out["next"] >= 0).all()


@pytest.fixture
def command(data: Path, tmp_path: Path) -> list[str]:
    folders = ["--data", str(data), "--state", str(tmp_path / "state"), "--out"]
    return [*folders, str(tmp_path / "out" / "bert"), "--device", "cpu", "--batch-tokens", "256"]


def test_a_run_from_the_teacher_can_be_gone_on_with(command: list[str], tmp_path: Path) -> None:
    assert train.main(["bert", *command, "--tokens", "2000"]) == 0
    assert train.main(["bert", *command, "--tokens", "3000", "--resume"]) == 0
    (tmp_path / "state" / "state.pt").unlink()
    assert train.main(["bert", *command, "--tokens", "4000", "--resume"]) == 0
    card = json.loads((tmp_path / "out" / "bert" / "card.json").read_text())
    assert "all-MiniLM-L6-v2 (Apache-2.0, sentence-transformers)" in card["training"]["start"]
    assert "probably read Wikipedia" in card["training"]["start"]
    assert card["data"][0]["licence"] == "Apache-2.0"
    assert card["training"]["tokens"] >= 4000
