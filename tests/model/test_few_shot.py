"""Examples in the prompt: the prompts, and what carries them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from attention_atlas.model import zoo
from attention_atlas.model.analysis import few_shot
from attention_atlas.model.zoo import Loaded

pytestmark = pytest.mark.weights


@pytest.fixture(scope="module")
def gpt() -> Loaded:
    return zoo.load("gpt", torch.device("cpu"))


@pytest.mark.parametrize("pattern", few_shot.PATTERNS)
@pytest.mark.parametrize("n", [0, 1, 3])
def test_a_prompt_has_its_answer_before_it(pattern: str, n: int) -> None:
    """With examples the answer has been seen; copying shows it without any."""
    for seed in range(5):
        rng = np.random.default_rng(seed)
        text, answer = few_shot.made(pattern, rng, few_shot.WORDS, n)
        assert text and not text.startswith(" ") and answer.startswith(" ")
        assert (answer.strip() in text.split()) == (n > 0 or pattern == "copy")


def test_the_words_are_whole_tokens(gpt: Loaded) -> None:
    assert few_shot.whole_words(gpt) == few_shot.WORDS
    assert len(set(few_shot.WORDS)) == len(few_shot.WORDS)


def test_the_strongest_heads_are_found_in_their_places() -> None:
    scores = torch.tensor([[0.1, 0.9, 0.2], [0.8, 0.3, 0.7]])
    assert few_shot.strongest(scores, 3) == [(0, 1), (1, 0), (1, 2)]


def test_examples_help_and_the_named_heads_carry_it(gpt: Loaded) -> None:
    heads = few_shot.carriers(gpt, seed=0)
    steps = list(few_shot.shots(gpt, "pairs", heads, n_max=2, n_prompt=24, seed=0))
    values = [step for step in steps if isinstance(step, few_shot.Shot)]
    assert len(steps) - len(values) == 3 * 4 * 2, "24 prompts in two parts, four times for each n"
    accuracy = {name: [shot.accuracy[name].value for shot in values] for name in heads.off}
    assert accuracy["none"][0] < 0.2 and accuracy["none"][2] > 0.8
    assert accuracy["previous_token"][2] < 0.3, "nothing is carried without them"
    assert accuracy["induction"][2] < accuracy["none"][2]
    assert accuracy["others"][2] > 0.7, "any other heads are not missed"
    best = heads.induction[heads.off["induction"][0]]
    assert best == heads.induction.max() > 0.7
    assert not set(heads.off["others"]) & {*heads.off["induction"], *heads.off["previous_token"]}
