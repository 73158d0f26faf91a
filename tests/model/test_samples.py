"""What GPT writes after fixed prompts, and whether it copies."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from attention_atlas.model.training import samples
from attention_atlas.model.training.gpt_task import GPTTask
from attention_atlas.model.training.task import COPIED
from attention_atlas.model.transformer import GPT, Config
from torch import Tensor


@pytest.fixture(scope="module")
def gpt_task(documents: Path) -> GPTTask:
    return GPTTask(documents, None, 0)


@pytest.fixture
def loaded(gpt_task: GPTTask) -> Any:
    torch.manual_seed(0)
    model = GPT(Config(gpt_task.tokenizer.vocab_size, 128, 2, 2, 8, 12)).eval()
    return SimpleNamespace(model=model, device=torch.device("cpu"))


def test_every_prompt_is_continued_twice_and_the_same_each_time(
    gpt_task: GPTTask, loaded: Any
) -> None:
    rows = samples.continuations(loaded, gpt_task)
    assert [row["prompt"] for row in rows] == list(samples.PROMPTS)
    assert rows == samples.continuations(loaded, gpt_task)
    assert any(row["greedy"] != row["sampled"] for row in rows)


def test_the_greedy_continuation_is_the_most_probable_token_each_time(
    gpt_task: GPTTask, loaded: Any
) -> None:
    ids = [gpt_task.end, *gpt_task.tokenizer.ids(samples.PROMPTS[0])]
    n = len(ids)
    while len(ids) < n + samples.N_NEW and (len(ids) == n or ids[-1] != gpt_task.end):
        ids.append(int(loaded.model(torch.tensor([ids]))[0, -1].argmax()))
    written = gpt_task.tokenizer.decode([i for i in ids[n:] if i != gpt_task.end])
    assert samples.continuations(loaded, gpt_task)[0]["greedy"] == written


def test_a_model_that_copies_repeats_all_and_a_random_one_nothing(
    gpt_task: GPTTask, loaded: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    [measure] = samples.repeats(loaded, gpt_task, Path()).values()
    assert measure.value < 0.1

    def copying(ids: Tensor) -> Tensor:
        after = ids.roll(COPIED - 1, -1)  # what followed the same token before
        return torch.nn.functional.one_hot(after, gpt_task.tokenizer.vocab_size).float()

    monkeypatch.setattr(samples, "trained", lambda *_: copying)
    [measure] = samples.repeats(loaded, gpt_task, Path()).values()
    assert (measure.value, measure.low) == (1.0, 1.0)
