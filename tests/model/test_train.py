"""Training from a folder of text to a model the zoo can load, on tiny models."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from attention_atlas.model import zoo
from attention_atlas.model.checkpoint import rounded
from attention_atlas.model.recurrent import Recurrent
from attention_atlas.model.tokenizers import Tokenizer
from attention_atlas.model.training import run as runs
from attention_atlas.model.training import train
from attention_atlas.model.training.bert_task import BertTask
from attention_atlas.model.training.gpt_task import GPTTask
from attention_atlas.model.training.run import Budget, Progress, TrainingRun
from attention_atlas.model.training.samples import PROMPTS
from attention_atlas.model.training.task import schedule
from attention_atlas.model.training.trainers import TRAINERS
from attention_atlas.model.training.translator_task import RecurrentTask, TranslatorTask
from attention_atlas.model.transformer import GPT, Bert, Config, EncoderDecoder
from attention_atlas.model.zoo import LONGEST
from torch import Tensor, nn

pytestmark = pytest.mark.usefixtures("tiny")
CPU = torch.device("cpu")
GPT_STEP = 512  # tokens of a GPT batch of 512


@pytest.fixture(scope="module")
def tiny() -> Iterator[None]:
    """Models of a few thousand parameters; dropout on, so that resuming must get it right."""
    patch = pytest.MonkeyPatch()
    sizes = {"n_layer": 1, "n_head": 2, "d_model": 8, "d_ff": 12, "dropout": 0.1}
    for task, architecture, n_ctx in (
        (TranslatorTask, EncoderDecoder, 128),
        (BertTask, Bert, 512),
        (GPTTask, GPT, 512),
        (RecurrentTask, Recurrent, 128),
    ):
        one_head = {"n_head": 1} if architecture is Recurrent else {}

        def build(
            self: TranslatorTask | BertTask | GPTTask,
            architecture: type[nn.Module] = architecture,
            n_ctx: int = n_ctx,
            dimensions: dict[str, int] = sizes | one_head,
        ) -> nn.Module:
            return architecture(Config(self.tokenizer.vocab_size, n_ctx, **dimensions))

        patch.setattr(task, "build", build)
    yield
    patch.undo()


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    docs = [f"The dog {i} sat. It saw a cat {i}. Then it ran home." for i in range(150)]
    (folder / "own.txt").write_text("\n\n".join(docs))
    (folder / "own.tsv").write_text("\n".join(f"el perro {i}\tthe dog {i}" for i in range(150)))
    return folder


def options(data: Path, folder: Path) -> list[str]:
    folders = ["--data", str(data), "--state", str(folder / "state"), "--out"]
    common = ["--device", "cpu", "--batch-tokens", "512", "--scratch"]
    return [*folders, str(folder / "out" / "own"), *common]


@pytest.fixture
def command(data: Path, tmp_path: Path) -> list[str]:
    return options(data, tmp_path)


class Trained(NamedTuple):
    name: str
    folder: Path

    @property
    def card(self) -> Any:
        return json.loads((self.folder / "out" / "own" / "card.json").read_text())


@pytest.fixture(scope="module", params=sorted(TRAINERS))
def trained(
    request: pytest.FixtureRequest, tiny: None, data: Path, tmp_path_factory: pytest.TempPathFactory
) -> Trained:
    """Each model, trained once for all tests that look at the result."""
    folder = tmp_path_factory.mktemp(request.param)
    command = [request.param, *options(data, folder), "--tokens", "8000", "--seed", "3"]
    assert train.main(command) == 0
    return Trained(request.param, folder)


def weights(tmp_path: Path) -> dict[str, Tensor]:
    return torch.load(tmp_path / "state" / "state.pt")["model"]


def test_a_trained_model_can_be_loaded(trained: Trained) -> None:
    loaded = zoo.load("own", CPU, trained.folder / "out")
    assert loaded.name == trained.name
    assert loaded.tokenizer.vocab_size == loaded.config.vocab_size
    expected = {
        key: rounded(tensor).half().float() for key, tensor in weights(trained.folder).items()
    }
    torch.testing.assert_close(loaded.model.state_dict(), expected, atol=0, rtol=0)


MEASURED = {
    "translator": {
        "bleu",
        "bleu_greedy",
        "encoder_previous_token",
        "encoder_next_token",
        "decoder_previous_token",
        "encoder_head_importance",
        "decoder_head_importance",
        "cross_head_importance",
    },
    "recurrent": {"bleu", "bleu_greedy", "cross_head_importance"},
    "bert": {
        "masked_word_accuracy",
        "next_sentence_accuracy",
        "sensible_first_guess",
        "encoder_previous_token",
        "encoder_next_token",
    },
    "gpt": {
        "bits_per_byte_own",
        "decoder_previous_token",
        "decoder_induction",
        "repeated_tokens",
    },
}


def test_a_card_says_what_was_done(trained: Trained) -> None:
    card = trained.card
    assert card["data"][0]["licence"] == "your own text"
    assert card["training"]["tokens"] >= 8000
    assert (card["training"]["seed"], card["training"]["device"]) == (3, "cpu")
    assert card["training"]["longest"] == LONGEST[trained.name]
    assert set(card["metrics"]) == MEASURED[trained.name]
    assert set(card["curve"][0]) == {"step", "tokens", "loss", "held_out_loss"}
    assert card["heads"][0]["step"] == 0
    assert len(card["samples"]) == (len(PROMPTS) if trained.name == "gpt" else 0)
    assert card["heads"][-1]["step"] == card["training"]["steps"]


def test_the_loss_falls(trained: Trained) -> None:
    curve = trained.card["curve"]
    assert curve[-1]["held_out_loss"] < curve[0]["held_out_loss"] - 0.005


@pytest.mark.parametrize("name", TRAINERS)
def test_an_interrupted_run_goes_on_as_if_nothing_had_been(
    name: str, data: Path, tmp_path: Path
) -> None:
    task = TRAINERS[name](data, None, 0)
    budget = Budget(minutes=None, tokens=5000)
    whole, first, second = (TrainingRun(task, tmp_path, CPU, 0) for _ in range(3))
    losses = [loss for loss, _ in islice(runs.steps(whole, budget, 512), 4)]
    again = [loss for loss, _ in islice(runs.steps(first, budget, 512), 2)]
    first.save()
    second.resume()
    again += [loss for loss, _ in islice(runs.steps(second, budget, 512), 2)]
    assert again == losses
    torch.testing.assert_close(second.model.state_dict(), whole.model.state_dict(), atol=0, rtol=0)


@pytest.fixture
def even(monkeypatch: pytest.MonkeyPatch) -> None:
    """Batches that are the same whatever the budget is."""
    monkeypatch.setattr(GPTTask, "lengths", ((128, 1.0),))
    monkeypatch.setattr(GPTTask, "long", ((0.0, 1.0),))
    monkeypatch.setattr(GPTTask, "copying", ((0.1, 1.0),))
    monkeypatch.setattr(GPTTask, "small_until", 0.0)


@pytest.mark.usefixtures("even")
def test_resume_goes_on_where_the_state_stopped(command: list[str], tmp_path: Path) -> None:
    train.main(["gpt", *command, "--tokens", str(GPT_STEP * 39 // 10)])
    whole = weights(tmp_path)
    train.main(["gpt", *command, "--tokens", str(GPT_STEP * 19 // 10)])
    train.main(["gpt", *command, "--tokens", str(GPT_STEP * 39 // 10), "--resume"])
    torch.testing.assert_close(weights(tmp_path), whole, atol=0, rtol=0)
    card = json.loads((tmp_path / "out" / "own" / "card.json").read_text())
    assert (card["training"]["steps"], card["training"]["tokens"]) == (4, 4 * GPT_STEP)


@pytest.mark.usefixtures("even")
def test_finished_weights_can_be_gone_on_from(command: list[str], tmp_path: Path) -> None:
    train.main(["gpt", *command, "--tokens", str(GPT_STEP * 19 // 10)])
    (tmp_path / "state" / "state.pt").unlink()
    first = json.loads((tmp_path / "out" / "own" / "card.json").read_text())
    train.main(["gpt", *command, "--tokens", str(GPT_STEP * 39 // 10), "--resume"])
    card = json.loads((tmp_path / "out" / "own" / "card.json").read_text())
    assert card["training"]["tokens"] == 4 * GPT_STEP
    assert card["curve"][: len(first["curve"])] == first["curve"]
    assert card["heads"][: len(first["heads"])] == first["heads"]
    assert card["sha256"] != first["sha256"]


@pytest.mark.parametrize(
    ("name", "advice"), [("gpt", "--data"), ("bert", "--data"), ("translator", "source TAB target")]
)
def test_no_data_is_said_plainly(
    name: str, advice: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert train.main([name, "--data", str(tmp_path), "--scratch"]) == 2
    [record] = caplog.records
    assert str(tmp_path) in record.message
    assert advice in record.message


def test_new_optimizers_warm_up_also_after_finished_weights(
    data: Path, command: list[str], tmp_path: Path
) -> None:
    train.main(["gpt", *command, "--tokens", str(GPT_STEP * 19 // 10)])
    out = tmp_path / "out" / "own"
    task = GPTTask(data, Tokenizer.load(out / "tokenizer.json"), 0)
    run = TrainingRun(task, tmp_path / "next", CPU, 0)
    run.take_over(out)
    begun = run.progress.step
    run.step(512, 0.0)
    rates = [group["lr"] / group["top_lr"] for o in run.optimizers for group in o.param_groups]
    assert begun > 1
    assert rates == pytest.approx([0.01] * len(rates))


def test_nothing_to_resume_is_said_plainly(
    command: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    assert train.main(["gpt", *command, "--resume"]) == 2
    assert "leave out --resume to begin" in caplog.text


def test_an_unknown_model_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        train.main(["llama"])
    assert "invalid choice: 'llama'" in capsys.readouterr().err


def test_help_reads_well(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        train.main(["--help"])
    assert (
        "python -m attention_atlas.model.training.train bert --minutes 30"
        in capsys.readouterr().out
    )


@pytest.mark.parametrize(
    ("minutes", "tokens", "done"),
    [(10, None, 0.5), (None, 400, 0.25), (10, 400, 0.5), (4, None, 1.0), (None, None, 0.0)],
)
def test_a_budget_is_spent_by_what_ends_first(
    minutes: float | None, tokens: int | None, done: float
) -> None:
    assert Budget(minutes, tokens).done(Progress(tokens=100, seconds=300.0)) == done


def test_the_time_left() -> None:
    assert Budget(None, 400).seconds_left(Progress(tokens=100, seconds=30.0)) == 90.0


@pytest.mark.parametrize(
    ("done", "step", "factor"),
    [(0.0, 0, 0.01), (0.0, 49, 0.5), (0.3, 500, 1.0), (0.75, 500, 0.5), (1.0, 500, 0.0)],
)
def test_the_learning_rate_rises_stays_and_falls(done: float, step: int, factor: float) -> None:
    assert schedule(done, step) == factor


@pytest.mark.parametrize("name", TRAINERS)
def test_every_parameter_is_trained_once(name: str, data: Path) -> None:
    task = TRAINERS[name](data, None, 0)
    model = task.build()
    trained = [
        parameter
        for optimizer in runs.optimizers(model, task, runs.muon(task))
        for group in optimizer.param_groups
        for parameter in group["params"]
    ]
    assert sorted(map(id, trained)) == sorted(map(id, model.parameters()))


@pytest.mark.parametrize(
    ("name", "file", "text"),
    [
        ("translator", "pairs.tsv", "Hola.\tHello.\n"),
        ("bert", "text.txt", "One sentence. Another one.\n"),
        ("gpt", "text.txt", "One sentence. Another one.\n"),
    ],
)
def test_too_little_data_is_said_plainly(
    name: str, file: str, text: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / file).write_text(text)
    command = [name, "--data", str(tmp_path), "--state", str(tmp_path / "s"), "--scratch"]
    assert train.main(command) == 2
    assert "to train on and" in caplog.text
    assert "one in 100 is held out" in caplog.text
