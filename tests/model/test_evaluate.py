"""Results go into the card, and a missing text is named."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import pytest
import torch
from attention_atlas.model import checkpoint, zoo
from attention_atlas.model.analysis.statistics import Measure
from attention_atlas.model.training import evaluate
from attention_atlas.model.training.gpt_task import GPTTask
from attention_atlas.model.transformer import GPT, Config


@pytest.fixture
def data(tmp_path: Path) -> Path:
    docs = [f"The dog {i} sat by the bank. It saw a cat {i}." for i in range(250)]
    (tmp_path / "own.txt").write_text("\n\n".join(docs))
    return tmp_path


@pytest.fixture
def folder(data: Path, tmp_path: Path) -> Path:
    """A tiny model, as training leaves it."""
    task = GPTTask(data, None, 0)
    torch.manual_seed(0)
    model = GPT(Config(task.tokenizer.vocab_size, 128, 2, 4, 8, 20))
    here = tmp_path / "weights" / "gpt"
    here.mkdir(parents=True)
    task.tokenizer.backend.save(str(here / "tokenizer.json"))
    sha256 = checkpoint.save(model, here / "model.safetensors")
    card = zoo.Card("gpt", "GPT", asdict(model.config), sha256, metrics={"old": {"value": 1}})
    (here / "card.json").write_text(json.dumps(asdict(card)))
    return tmp_path / "weights"


def metrics(folder: Path) -> dict[str, dict[str, object]]:
    return json.loads((folder / "gpt" / "card.json").read_text())["metrics"]


def command(data: Path, folder: Path, *more: str) -> int:
    fixed = ["gpt", "--data", str(data), "--folder", str(folder), "--device", "cpu"]
    return evaluate.main([*fixed, *more])


def test_the_card_says_what_was_measured(
    data: Path, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    assert command(data, folder) == 0
    result = metrics(folder)
    heads = {"decoder_previous_token", "decoder_induction"}
    assert set(result) == heads | {"bits_per_byte_own", "repeated_tokens", "old"}
    assert set(result["bits_per_byte_own"]) == set(Measure.__dataclass_fields__)
    assert f"gpt blimp: {data} has no text for it" in caplog.text


def test_one_measure_leaves_the_others(data: Path, folder: Path) -> None:
    assert command(data, folder, "--only", "bits_per_byte") == 0
    assert set(metrics(folder)) == {"old", "bits_per_byte_own"}


def test_measured_again_it_is_the_same(data: Path, folder: Path) -> None:
    command(data, folder)
    first = metrics(folder)
    command(data, folder)
    assert metrics(folder) == first


def test_the_rest_of_the_card_stays(data: Path, folder: Path) -> None:
    before = json.loads((folder / "gpt" / "card.json").read_text())
    command(data, folder)
    after = json.loads((folder / "gpt" / "card.json").read_text())
    measured = {"metrics": None, "samples": None}
    assert after | measured == before | measured
    assert zoo.load("gpt", torch.device("cpu"), folder).card.sha256 == before["sha256"]


def test_no_data_is_said_plainly(
    folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert command(tmp_path / "nowhere", folder) == 2
    assert "name another folder with --data" in caplog.text


def test_a_measure_as_it_is_said() -> None:
    measure = Measure(0.34, 0.33, 0.35, 120, "pairs", "L2 H3")
    assert evaluate.described(measure) == "0.34 (0.33 to 0.35) over 120 pairs, L2 H3"


def test_every_bundled_model_has_measures() -> None:
    assert set(zoo.names()) <= set(evaluate.MEASURES)


def test_a_card_of_an_earlier_version_gets_the_length_of_its_training_texts(
    data: Path, folder: Path
) -> None:
    path = folder / "gpt" / "card.json"
    card = json.loads(path.read_text())
    path.write_text(json.dumps({**card, "training": {"steps": 1}}))
    assert command(data, folder, "--only", "blimp") == 0
    assert json.loads(path.read_text())["training"]["longest"] == GPTTask.longest
