"""Which models there are, and on what they run."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import torch
from attention_atlas.model import checkpoint, zoo
from attention_atlas.model.tokenizers import Tokenizer, train_gpt_bpe
from attention_atlas.model.training.bert_task import BertTask
from attention_atlas.model.training.trainers import TRAINERS
from attention_atlas.model.transformer import GPT, Config

CPU = torch.device("cpu")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """One tiny model, as training leaves it."""
    here = tmp_path / "gpt"
    here.mkdir()
    tokenizer = Tokenizer(train_gpt_bpe(["the bank"], 260))
    model = GPT(Config(tokenizer.vocab_size, 16, 2, 4, 8, 20))
    sha256 = checkpoint.save(model, here / "model.safetensors")
    tokenizer.backend.save(str(here / "tokenizer.json"))
    card = zoo.Card("gpt", "GPT", asdict(model.config), sha256)
    (here / "card.json").write_text(json.dumps(asdict(card)))
    return tmp_path


def test_a_model_is_loaded_ready_to_run(folder: Path) -> None:
    loaded = zoo.load("gpt", CPU, folder)
    assert (loaded.name, loaded.family, loaded.kinds) == ("gpt", "decoder", ("decoder",))
    assert loaded.tasks == ("generate", "next-token")
    assert loaded.config == Config(260, 16, 2, 4, 8, 20)
    assert not loaded.model.training


def test_a_model_counts_its_parameters(folder: Path) -> None:
    loaded = zoo.load("gpt", CPU, folder)
    shapes = loaded.parameter_shapes
    assert shapes["embedding.weight"] == [260, 8]
    assert loaded.n_parameters == 260 * 8 + 16 * 8 + 2 * (4 * 72 + 32 + 8 * 20 * 2 + 28) + 16


def test_the_models_are_those_with_a_card(folder: Path) -> None:
    for name in ("translator", "zebra", "bert", "ant"):
        (folder / name).mkdir()
        (folder / name / "card.json").write_text("{}")
    (folder / "no card").mkdir()
    assert zoo.names(folder) == ["bert", "gpt", "translator", "ant", "zebra"]


def test_weights_of_another_sha256_are_damaged(folder: Path) -> None:
    path = folder / "gpt" / "model.safetensors"
    raw = bytearray(path.read_bytes())
    raw[-1] ^= 1
    path.write_bytes(raw)
    with pytest.raises(checkpoint.BadWeights, match=r"model\.safetensors is damaged: its sha256"):
        zoo.load("gpt", CPU, folder)


def test_weights_that_are_not_there(folder: Path) -> None:
    (folder / "gpt" / "model.safetensors").unlink()
    with pytest.raises(checkpoint.BadWeights, match=r"model\.safetensors is not in"):
        zoo.load("gpt", CPU, folder)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"name": "gpt"}', '{"colour": "red"}'])
def test_a_card_that_cannot_be_read(folder: Path, text: str) -> None:
    (folder / "gpt" / "card.json").write_text(text)
    with pytest.raises(checkpoint.BadWeights, match=r"gpt has no readable card\.json"):
        zoo.load("gpt", CPU, folder)


def test_a_model_that_is_not_there(folder: Path) -> None:
    with pytest.raises(checkpoint.BadWeights, match=r"llama has no readable card\.json"):
        zoo.load("llama", CPU, folder)


@pytest.mark.parametrize(
    ("cuda", "mps", "expected"),
    [
        (True, True, "cuda"),
        (True, False, "cuda"),
        (False, True, "mps"),
        (False, False, "cpu"),
    ],
)
def test_the_best_device_there_is(
    monkeypatch: pytest.MonkeyPatch, cuda: bool, mps: bool, expected: str
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)
    assert zoo.pick_device() == torch.device(expected)
    assert zoo.pick_device("") == torch.device(expected)
    assert zoo.pick_device("cpu") == CPU


@pytest.mark.parametrize("wanted", ["tpu", "cuda", "cuda:1", "mps"])
def test_a_device_that_is_not_there(monkeypatch: pytest.MonkeyPatch, wanted: str) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    with pytest.raises(
        ValueError, match=f"device '{wanted}' is not available; this machine has cpu"
    ):
        zoo.pick_device(wanted)


@pytest.mark.parametrize("architecture", zoo.ARCHITECTURES)
def test_every_architecture_has_a_family_and_tasks(architecture: str) -> None:
    cls = zoo.ARCHITECTURES[architecture]
    assert cls.family in {"encoder-decoder", "recurrent", "encoder", "decoder"}
    assert cls.tasks


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("card.json", "{"),
        ("card.json", '{"name": "gpt", "architecture": "Mamba", "config": {}, "sha256": ""}'),
        ("card.json", '{"name": "gpt", "architecture": "GPT", "config": {"x": 1}, "sha256": ""}'),
        ("tokenizer.json", "{}"),
    ],
)
def test_a_damaged_file_is_bad_weights(folder: Path, file: str, content: str) -> None:
    if file == "card.json":
        (folder / "gpt" / "model.safetensors").unlink()  # its sha256 would be refused first
    (folder / "gpt" / file).write_text(content)
    with pytest.raises(checkpoint.BadWeights, match="gpt"):
        zoo.load("gpt", CPU, folder)


def test_training_knows_the_length_that_earlier_cards_leave_out(bert_task: BertTask) -> None:
    known = {name: task.longest for name, task in TRAINERS.items() if name != "bert"}
    assert {**known, "bert": bert_task.longest} == zoo.LONGEST


def test_a_card_s_own_length_counts_and_a_model_from_elsewhere_has_none() -> None:
    card = zoo.Card("bert", "Bert", {}, "", training={"steps": 1})
    assert card.trained_length == 512
    assert replace(card, training={"longest": 128}).trained_length == 128
    assert replace(card, training={}).trained_length is None
