"""Heads that attend to specials, to everything, or to a governor: of attention set by hand."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from attention_atlas.model.training import corpus, head_quality
from attention_atlas.model.training.bert_task import BertTask
from attention_atlas.model.zoo import Loaded
from torch import Tensor

from tests.model.untrained import untrained_bert

TEXT = " ".join(f"The dog saw the cat number {i}." for i in range(20))
TREE = (
    "# text = the dogs ran .\n"
    "1\tthe\tthe\tDET\tDT\t_\t2\tdet\t_\t_\n"
    "1-2\tthedogs\t_\t_\t_\t_\t_\t_\t_\t_\n"
    "2\tdogs\tdog\tNOUN\tNNS\t_\t3\tnsubj\t_\t_\n"
    "3\tran\trun\tVERB\tVBD\t_\t0\troot\t_\t_\n"
    "4\t.\t.\tPUNCT\t.\t_\t3\tpunct\t_\t_\n\n"
)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    (folder / "own.txt").write_text("\n\n".join([TEXT] * 150))
    (folder / "eval" / "syntax").mkdir(parents=True)
    (folder / "eval" / "syntax" / "dev.conllu").write_text(TREE * 5)
    return folder


@pytest.fixture(scope="module")
def task(data: Path) -> BertTask:
    return BertTask(data, None, 0)


@pytest.fixture
def loaded(task: BertTask) -> Loaded:
    return untrained_bert(task)


def heads(monkeypatch: pytest.MonkeyPatch, *each: Tensor) -> None:
    """Attention of one layer, (T, T) a head, in the place of the model's."""
    monkeypatch.setattr(head_quality, "attention", lambda loaded, tokens: torch.stack(each)[None])


def test_attention_is_of_every_layer_and_head(loaded: Loaded, task: BertTask) -> None:
    tokens = task.tokenizer.encode("the dog")
    attn = head_quality.attention(loaded, tokens)
    assert attn.shape == (2, 4, len(tokens), len(tokens))
    torch.testing.assert_close(attn.sum(-1), torch.ones(2, 4, len(tokens)))


def test_heads_of_random_weights_attend_to_all_alike(
    loaded: Loaded, task: BertTask, data: Path
) -> None:
    result = head_quality.head_shares(loaded, task, data)
    assert result["heads_near_uniform"].value == 1.0
    assert result["heads_on_specials"].value == 0.0
    assert result["heads_on_specials"].n == 2 * 14  # of 20 sentences the last 6 are too few


def test_a_head_on_cls_is_one_on_specials(
    loaded: Loaded, task: BertTask, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def attention(loaded: Loaded, tokens: tuple[object, ...]) -> Tensor:
        T = len(tokens)
        first = torch.zeros(T, T).index_fill(1, torch.tensor([0]), 1.0)
        return torch.stack([first, torch.eye(T), torch.full((T, T), 1 / T), torch.eye(T)])[None]

    monkeypatch.setattr(head_quality, "attention", attention)
    result = head_quality.head_shares(loaded, task, data)
    assert result["heads_on_specials"].value == 0.25
    assert result["heads_near_uniform"].value == 0.25


def test_trees_leave_ranges_out(data: Path) -> None:
    [first, *rest] = corpus.trees(data)
    assert [tuple(word) for word in first] == [
        ("the", 1, "det"), ("dogs", 2, "nsubj"), ("ran", None, "root"), (".", 2, "punct")
    ]  # fmt: skip
    assert len(rest) == 4


def test_the_best_head_of_a_relation_is_found(
    loaded: Loaded, task: BertTask, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def attention(loaded: Loaded, tokens: tuple[object, ...]) -> Tensor:
        T = len(tokens)
        last = torch.zeros(T, T).index_fill(1, torch.tensor([T - 2]), 1.0)
        after = torch.eye(T).roll(1, dims=1)
        return torch.stack([last, last, after, last])[None]

    monkeypatch.setattr(head_quality, "attention", attention)
    result = head_quality.relations(loaded, task, data)
    assert set(result) == {"relation_det", "relation_nsubj"}
    assert (result["relation_det"].value, result["relation_det"].detail) == (
        1.0,
        "L0 H2, dependent to governor",
    )
    assert result["relation_det"].compare == "governor at +1: 1.000"
    assert result["relation_det"].n == 5


def test_a_word_in_pieces_attends_as_one(
    loaded: Loaded, task: BertTask, monkeypatch: pytest.MonkeyPatch
) -> None:
    tree = [corpus.Word("the", 1, "det"), corpus.Word("thedog", None, "root")]
    tokens = task.tokenizer.encode("the thedog")
    T = len(tokens)
    assert T > 5
    attn = torch.zeros(T, T)
    attn[1, 0] = attn[1, 1] = 0.3  # more to [CLS] and to itself than to any piece
    attn[1, 2:4] = 0.2
    attn[2:, 1] = 1.0
    heads(monkeypatch, attn)
    assert head_quality.most_attended(loaded, task, tree).tolist() == [[1, 0]]


def test_without_trees_nothing_is_measured(loaded: Loaded, task: BertTask, tmp_path: Path) -> None:
    assert head_quality.relations(loaded, task, tmp_path) == {}


def test_a_governor_may_attend_to_its_dependent(
    loaded: Loaded, task: BertTask, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def attention(loaded: Loaded, tokens: tuple[object, ...]) -> Tensor:
        T = len(tokens)
        last = torch.zeros(T, T).index_fill(1, torch.tensor([T - 2]), 1.0)
        return torch.stack([last, last, last, torch.eye(T).roll(-1, dims=1)])[None]

    monkeypatch.setattr(head_quality, "attention", attention)
    result = head_quality.relations(loaded, task, data)["relation_nsubj"]
    assert (result.value, result.detail) == (1.0, "L0 H3, governor to dependent")


def test_sentences_are_taken_from_the_whole_file() -> None:
    trees = [[corpus.Word(str(i), None, "root")] for i in range(1000)]
    values = [int(tree[0].form) for tree in head_quality.spread(trees, 300)]
    assert (len(values), values[:2], values[-1]) == (300, [0, 3], 897)
    assert head_quality.spread(trees[:2], 300) == trees[:2]
