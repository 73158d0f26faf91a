"""Head importance: the loss's slope by a gate, against differences of the loss itself."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from attention_atlas.model import zoo
from attention_atlas.model.analysis.lab import ReadText, measured
from attention_atlas.model.record import axes
from attention_atlas.model.tape import Edit, Kind
from attention_atlas.model.tokenizers import Tokenizer
from attention_atlas.model.training import head_importance as importance
from attention_atlas.model.training.bert_task import BertTask
from attention_atlas.model.training.task import Task
from attention_atlas.model.training.trainers import TRAINERS
from attention_atlas.model.zoo import Loaded
from torch.nn import functional as F

from tests.model.untrained import untrained_bert

CPU = torch.device("cpu")
STEP = 0.01
TEXT = " ".join(f"The dog saw the cat number {i}." for i in range(20))


@pytest.fixture(scope="module")
def long(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Documents of passages as long as BERT's, and pairs."""
    folder = tmp_path_factory.mktemp("data")
    (folder / "own.txt").write_text("\n\n".join([TEXT] * 150))
    pairs = [f"el gato {i} está aquí\tthe cat {i} is here" for i in range(300)]
    (folder / "own.tsv").write_text("\n".join(pairs))
    return folder


def task_of(name: str, documents: Path) -> tuple[Loaded, Task[Any]]:
    loaded = zoo.load(name, CPU)
    assert isinstance(loaded.tokenizer, Tokenizer)
    return loaded, TRAINERS[name](documents, loaded.tokenizer, 0, train=False)


def scaled(text: ReadText, kind: Kind, layer: int, head: int, share: float) -> list[Edit]:
    """The head's output, whatever it is then, times 1 + share."""
    z = text.z[kind][layer][:, :, :1]
    where = torch.zeros(1, z.size(1), 1, 1)
    where[:, head] = -share
    return [Edit("replace", kind, layer, z=torch.zeros_like(z), where=where)]


@pytest.mark.weights
@pytest.mark.parametrize("name", ["bert", "gpt", "translator", "recurrent"])
def test_it_is_the_slope_of_the_loss(
    name: str, long: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importance, "N_TEXT", 2)
    loaded, task = task_of(name, long)
    results = importance.head_importance(loaded, task, long)
    assert set(results) == {f"{kind}_head_importance" for kind in loaded.kinds}
    texts = list(importance.texts(loaded, task))
    for kind in loaded.kinds:
        by = results[f"{kind}_head_importance"].by
        assert len(by) == loaded.shape(kind)[0] * loaded.shape(kind)[1]
        head = loaded.shape(kind)[1] - 1
        slopes = []
        for text, metric in texts:
            ends = [
                measured(text, metric, scaled(text, kind, 0, head, sign * STEP)).item()
                for sign in (1, -1)
            ]
            slopes.append(abs(ends[0] - ends[1]) / (2 * STEP))
        assert by[f"L0 H{head}"] == pytest.approx(sum(slopes) / len(slopes), rel=0.02, abs=2e-3)


def test_berts_loss_is_of_the_tokens_that_were_masked(bert_task: BertTask) -> None:
    loaded = untrained_bert(bert_task)
    words = bert_task.held_out_documents[0][0]
    text, metric = importance.masked(loaded, words)
    tokens = loaded.tokenizer.encode(words)
    ids = [token.id for token in text.sequences["source"]]
    changed = [i for i, token in enumerate(tokens) if token.id != ids[i]]
    assert tuple(changed) == metric.places and len(changed) >= 2
    assert {ids[i] for i in changed} == {loaded.tokenizer.mask_id}
    assert axes("encoder", text.sequences) == ("source", "source")
    logits = loaded.model.logits(text.x[0, changed])
    expected = F.cross_entropy(logits, torch.tensor([tokens[i].id for i in changed]))
    assert metric.of(loaded, text.x).item() == pytest.approx(expected.item())


def test_without_held_out_text_there_is_none(bert_task: BertTask, tmp_path: Path) -> None:
    loaded = untrained_bert(bert_task)
    bert_task.held_out_documents, kept = [], bert_task.held_out_documents
    try:
        assert importance.head_importance(loaded, bert_task, tmp_path) == {}
    finally:
        bert_task.held_out_documents = kept
