"""Snapshots of training: kept by a run, stored in a few bits a weight, opened by name."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from attention_atlas.model import checkpoint, snapshots, zoo
from attention_atlas.model.hub.folder import Limits
from attention_atlas.model.hub.library import Library
from attention_atlas.model.snapshots import SCALE, STEP, pack, unpack
from attention_atlas.model.training import snapshots as command
from attention_atlas.model.training import train
from attention_atlas.model.training.gpt_task import GPTTask
from attention_atlas.model.transformer import GPT, Config
from safetensors.torch import load_file

CPU = torch.device("cpu")
KEPT = [512, 3072]
RUN = 4096


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory, documents: Path) -> Path:
    """A folder of models with one tiny GPT, whose run kept two snapshots."""
    folder = tmp_path_factory.mktemp("models")
    state = folder.parent / f"{folder.name}-state"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(GPTTask, "build", lambda task: GPT(sizes(task.tokenizer.vocab_size)))
        run = ["gpt", "--data", str(documents), "--state", str(state), "--out", str(folder / "gpt")]
        run += ["--tokens", str(RUN), "--batch-tokens", "512", "--device", "cpu"]
        assert train.main([*run, "--keep", *map(str, KEPT)]) == 0
    command.keep("gpt", state, documents, KEPT, RUN, folder)
    return folder


def sizes(n_vocab: int) -> Config:
    return Config(n_vocab, 512, 2, 2, 8, 12)


def test_rounding_is_less_than_half_a_step_of_the_row() -> None:
    torch.manual_seed(0)
    state = {"matrix": torch.randn(7, 301) * torch.rand(7, 1), "vector": torch.randn(11)}
    restored = unpack(pack(state))
    assert restored.keys() == state.keys()
    off = (restored["matrix"] - state["matrix"]).abs()
    step = STEP * state["matrix"].std(dim=1, keepdim=True)
    assert (off <= 0.501 * step).all()
    assert torch.equal(restored["vector"], state["vector"].half().float())


def test_a_snapshot_takes_about_three_bits_a_weight() -> None:
    torch.manual_seed(0)
    assert 8 * len(pack({"matrix": torch.randn(300, 1000)})) / 300_000 < 3.1


def test_a_model_in_training_opens_by_the_tokens_it_had_seen(models: Path) -> None:
    trained = [load_file(str(path)) for path in steps(models)]
    names = list(zoo.snapshots("gpt", models))
    assert names == ["gpt@512", "gpt@3072"]
    for name, weights in zip(names, trained, strict=True):
        loaded = zoo.load(name, CPU, models)
        assert (loaded.name, loaded.source) == (name, "bundled")
        assert loaded.card.training["tokens"] == int(name.split("@")[1])
        expected = unpack(pack(weights))
        torch.testing.assert_close(loaded.model.state_dict(), expected, atol=0, rtol=0)
    assert zoo.names(models) == ["gpt"]


def steps(models: Path) -> list[Path]:
    """Files of the run's weights at the snapshots."""
    card = json.loads((models / "gpt" / "snapshots" / "card.json").read_text())
    state = models.parent / f"{models.name}-state"
    return [state / f"step-{each['steps']}.safetensors" for each in card["snapshots"]]


def test_each_is_measured_as_trained_and_as_stored(models: Path) -> None:
    for name, kept in zoo.snapshots("gpt", models).items():
        assert set(kept.held_out_loss) == set(kept.induction) == {"trained", "stored"}
        assert all(loss > 0 for loss in kept.held_out_loss.values())
        best = max(max(row) for row in kept.heads["decoder"]["induction"])
        assert best == kept.induction["stored"]
        loaded = zoo.load(name, CPU, models)
        assert loaded.card.heads[0]["decoder"] == kept.heads["decoder"]


def test_the_longest_text_is_that_of_the_run_so_far(models: Path) -> None:
    task = GPTTask.__new__(GPTTask)
    assert [task.longest_at(share) for share in (0.05, 0.15, 0.4, 0.6)] == [32, 64, 128, 512]
    longest = [each.longest for each in zoo.snapshots("gpt", models).values()]
    assert longest == [64, 512]
    assert zoo.load("gpt@512", CPU, models).card.trained_length == 64


def test_a_snapshot_that_is_not_there_names_those_that_are(models: Path) -> None:
    with pytest.raises(checkpoint.BadWeights, match="no snapshot after 5 tokens; .* 512, 3072"):
        zoo.load("gpt@5", CPU, models)


def test_a_damaged_snapshot_is_refused(models: Path, tmp_path: Path) -> None:
    kept = snapshots.Snapshots.read(models / "gpt").snapshots[0]
    folder = tmp_path / "snapshots"
    folder.mkdir()
    with pytest.raises(checkpoint.BadWeights, match="is not in"):
        snapshots.weights(tmp_path, kept)
    (folder / kept.file).write_bytes(b"no weights")
    with pytest.raises(checkpoint.BadWeights, match="its sha256 is not the one"):
        snapshots.weights(tmp_path, kept)
    with pytest.raises(checkpoint.BadWeights, match="a snapshot is damaged"):
        unpack(b"no weights")
    (folder / "card.json").write_text('{"snapshots": 1}')
    with pytest.raises(checkpoint.BadWeights, match="cannot be read"):
        snapshots.Snapshots.read(tmp_path).after("512")


def test_a_card_is_parsed_once_until_it_changes(models: Path, tmp_path: Path) -> None:
    shutil.copytree(models / "gpt" / "snapshots", tmp_path / "snapshots")
    card = tmp_path / "snapshots" / "card.json"
    first = snapshots.Snapshots.read(tmp_path)
    assert len(first.snapshots) == 2
    assert snapshots.Snapshots.read(tmp_path) is first
    content = json.loads(card.read_text())
    card.write_text(json.dumps({**content, "snapshots": content["snapshots"][:1]}))
    assert snapshots.Snapshots.read(tmp_path).snapshots == first.snapshots[:1]


def test_a_damaged_card_of_snapshots_leaves_the_model_in_service(
    models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(models / "gpt", tmp_path / "gpt")
    (tmp_path / "gpt" / "snapshots" / "card.json").write_text('{"snapshots": [')
    for function in (zoo.load, zoo.snapshots, zoo.why_no_snapshots):
        monkeypatch.setattr(function, "__defaults__", (tmp_path,))
    library = Library(CPU, at_most=1, limits=Limits())
    library.load("gpt")
    assert list(library.models) == ["gpt"]
    assert library.snapshots_to_open == []
    assert list(library.missing) == ["snapshots of gpt"]
    assert "cannot be read" in library.missing["snapshots of gpt"]


def test_a_run_that_kept_nothing_then_is_named(models: Path, documents: Path) -> None:
    state = models.parent / f"{models.name}-state"
    with pytest.raises(checkpoint.BadWeights, match="no weights after 999999 tokens"):
        command.keep("gpt", state, documents, [999_999], RUN, models)


def test_the_library_opens_a_snapshot_when_it_is_asked_for(
    models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for function in (zoo.load, zoo.snapshots, zoo.why_no_snapshots):
        monkeypatch.setattr(function, "__defaults__", (models,))
    library = Library(CPU, at_most=1, limits=Limits())
    library.load("gpt")
    assert library.snapshots_to_open == ["gpt@512", "gpt@3072"]
    assert not {"gpt@512", "gpt@3072"} & set(library.ready_to_open)
    assert library.open("gpt@512").name == "gpt@512"
    assert library.open("gpt@3072").name == "gpt@3072"
    assert list(library.models) == ["gpt", "gpt@3072"]  # there is room for one
    assert library.snapshots_to_open == ["gpt@512"]


def test_scales_are_no_weights_of_their_own() -> None:
    assert not any(name.endswith(SCALE) for name in GPT(sizes(20)).state_dict())
