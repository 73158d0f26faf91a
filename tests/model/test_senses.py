"""A word's hidden states beside those of other words, on states made by hand."""

from __future__ import annotations

import torch
from attention_atlas.model.analysis.senses import NEAREST, WordState, nearest, senses

L, D = 3, 8


def states(seed: int) -> torch.Tensor:
    return torch.randn(L, D, generator=torch.Generator().manual_seed(seed))


def test_the_nearest_word_is_the_one_that_points_the_same_way() -> None:
    word = states(0)
    others = [WordState(str(i), "a text", "", states(i)) for i in range(1, 8)]
    others.append(WordState("twice", "a text", "", 2 * word))
    rows = nearest(word, others)
    assert [row[0].text for row in rows] == ["twice"] * L
    for row in rows:
        cosines = [near.cosine for near in row]
        assert len(row) == NEAREST and cosines == sorted(cosines, reverse=True)
        assert abs(cosines[0] - 1) < 1e-6


def test_without_other_words_nothing_is_near() -> None:
    assert nearest(states(0), []) == []


def test_senses_are_mean_cosines_of_their_pairs() -> None:
    axis = torch.eye(D)
    a, b = (axis[i].expand(L, D) for i in (0, 1))
    known = [
        WordState("bank", "", sense, direction)
        for sense, direction in (("river", a), ("river", a), ("money", b), ("money", a))
    ]
    result = senses(a, b, known)
    assert result.n == {"river": 2, "money": 2}
    assert result.within == {"river": [1.0] * L, "money": [0.0] * L}
    assert result.between == [0.5] * L
    assert result.a == {"river": [1.0] * L, "money": [0.5] * L}
    assert result.b == {"river": [0.0] * L, "money": [0.5] * L}
