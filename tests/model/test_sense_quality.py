"""Senses apart in hidden states, of states that are known to be apart or not."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from attention_atlas.model.training import sense_quality
from attention_atlas.model.training.bert_task import BertTask
from attention_atlas.model.training.sense_quality import (
    PER_SENSE,
    few_of_each,
    margins,
    told_apart,
    word_states,
)
from attention_atlas.model.zoo import Loaded

from tests.model.untrained import untrained_bert


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    docs = [f"The dog {i} sat by the bank. It saw a cat {i}. Then it ran." for i in range(150)]
    (folder / "own.txt").write_text("\n\n".join(docs))
    for word in ("bank", "arm", "bow"):
        path = folder / "eval" / "wsd" / word
        path.mkdir(parents=True)
        lines = f"1\ta {word} sat\n" * 12 + f"2\tthe dog {word} ran\n" * 8
        (path / "train.data.txt").write_text(lines)
        (path / "train.gold.txt").write_text("0\n" * 12 + "1\n" * 8)
    return folder


@pytest.fixture(scope="module")
def task(data: Path) -> BertTask:
    return BertTask(data, None, 0)


@pytest.fixture
def loaded(task: BertTask) -> Loaded:
    return untrained_bert(task)


def test_senses_in_other_words_are_apart_after_a_layer(
    loaded: Loaded, task: BertTask, data: Path
) -> None:
    result = sense_quality.bank_senses(loaded, task, data)
    senses, margin = result["bank_senses"], result["bank_margin"]
    assert senses.by == {"embedding": 1.0, "layer 0": 1.0, "layer 1": 1.0}  # by position, too
    assert (senses.n, senses.detail) == (20, "embedding")
    assert margin.value == margin.by["layer 1"] > 0
    assert margin.low <= margin.value <= margin.high


def test_other_nouns_are_averaged(loaded: Loaded, task: BertTask, data: Path) -> None:
    [result] = sense_quality.other_senses(loaded, task, data).values()
    assert (result.value, result.n) == (1.0, 40)
    assert result.detail == "embedding, mean of 2 nouns"
    assert result.compare == "chance 0.50"


def test_states_do_not_depend_on_their_batch(loaded: Loaded, task: BertTask) -> None:
    sentences = [("the bank sat", (4, 8), 0), ("a dog by the long long bank ran", (22, 26), 1)]
    both = word_states(loaded, task, sentences)
    alone = np.concatenate([word_states(loaded, task, [sentence]) for sentence in sentences])
    assert both.shape == (2, 3, 8)
    np.testing.assert_allclose(both, alone, atol=1e-5)


@pytest.mark.parametrize(("shift", "expected"), [(9.0, 1.0), (0.0, 0.5)])
def test_nearest_centroids(shift: float, expected: float) -> None:
    gold = np.repeat([0, 1], [90, 30])
    states = np.random.default_rng(0).normal(size=(120, 3)) + shift * gold[:, None]
    right = told_apart(states, gold)
    balanced = (right[gold == 0].mean() + right[gold == 1].mean()) / 2
    assert balanced == pytest.approx(expected, abs=0.12)


def test_a_margin_leaves_the_item_itself_out() -> None:
    states = np.array([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])
    result = margins(states, np.array([0, 0, 1]))
    half = 0.5**0.5
    np.testing.assert_allclose(result[:2], [0 - half, 0 - half])


def test_margins_of_opposite_senses() -> None:
    states = np.array([[1.0, 0.0], [2.0, 0.0], [-1.0, 0.0], [-3.0, 0.0]])
    np.testing.assert_allclose(margins(states, np.array([0, 0, 1, 1])), 2.0)


def test_rare_senses_are_left_out_and_frequent_ones_cut() -> None:
    sentences = [("a", (0, 1), 0)] * 300 + [("b", (0, 1), 1)] * 4 + [("c", (0, 1), 2)] * 6
    senses = [sense for *_, sense in few_of_each(sentences)]
    assert (senses.count(0), senses.count(1), senses.count(2)) == (PER_SENSE, 0, 6)


def test_without_sentences_nothing_is_measured(
    loaded: Loaded, task: BertTask, tmp_path: Path
) -> None:
    assert sense_quality.bank_senses(loaded, task, tmp_path) == {}
    assert sense_quality.other_senses(loaded, task, tmp_path) == {}
