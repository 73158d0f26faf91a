"""Words whatever their pieces, their alignment, and the divergence of their attention."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from attention_atlas.model.record import Token
from attention_atlas.model.units import Unit, alignment, jensen_shannon, merged, occurrences, units
from scipy.spatial.distance import jensenshannon

BANK = "The bank isn't closed."
PIECES = [("The", 0, 3), ("ban", 4, 7), ("k", 7, 8), ("isn", 9, 12), ("'", 12, 13), ("t", 13, 14)]
SPACED = [("The", 0, 3), (" bank", 3, 8), (" isn't", 8, 14), (" closed.", 14, 22)]


def tokens(spans: list[tuple[str, int, int]]) -> list[Token]:
    start = Token(0, "[CLS]", "[CLS]", special=True)
    return [start, *(Token(i, text, text, a, b) for i, (text, a, b) in enumerate(spans))]


def words(text: str) -> list[Unit]:
    return [Unit(word, (i,), word.startswith("[")) for i, word in enumerate(text.split())]


def test_pieces_of_a_word_are_one_unit() -> None:
    found = units([BANK], tokens(PIECES))
    assert [(unit.text, unit.tokens) for unit in found] == [
        ("[CLS]", (0,)),
        ("The", (1,)),
        ("bank", (2, 3)),
        ("isn't", (4, 5, 6)),
    ]


def test_two_tokenizers_give_the_same_words() -> None:
    found = units([BANK], tokens(SPACED))
    assert [unit.text for unit in found][:4] == [u.text for u in units([BANK], tokens(PIECES))]


def test_a_pair_of_texts_has_the_words_of_both() -> None:
    pair = [Token(1, "it", "it", 0, 2), Token(2, "it", "it", 0, 2, segment=1)]
    assert [unit.tokens for unit in units(["it", "it"], pair)] == [(0,), (1,)]


@pytest.mark.parametrize(
    ("a", "b", "pairs"),
    [
        ("he sat", "he sat", [(0, 0), (1, 1)]),
        ("the river bank", "The money bank", [(0, 0), (2, 2)]),
        ("a b c", "c a b", [(0, 1), (1, 2)]),
        ("x", "y", []),
        ("[CLS] cls", "[cls] CLS", [(1, 1)]),
        ("dogs chase cats", "cats chase dogs", [(0, 2)]),
    ],
)
def test_equal_words_in_order_are_aligned(a: str, b: str, pairs: list[tuple[int, int]]) -> None:
    assert len(alignment(words(a), words(b))) == len(pairs)
    if a != "dogs chase cats":  # three ways are as long
        assert alignment(words(a), words(b)) == pairs


def test_alignment_is_the_same_from_both_sides() -> None:
    a, b = words("the river bank of the river"), words("a bank of the new river")
    assert alignment(b, a) == [(j, i) for i, j in alignment(a, b)]


def test_occurrences_do_not_mind_capitals() -> None:
    assert occurrences(words("Bank the bank [bank]"), " BANK ") == [0, 2]


def test_pieces_are_summed_over_keys_and_averaged_over_queries() -> None:
    attn = torch.tensor([[0.5, 0.25, 0.25], [0.0, 1.0, 0.0], [0.2, 0.2, 0.6]])
    both = [Unit("a", (0,), False), Unit("b", (1, 2), False)]
    expected = torch.tensor([[0.5, 0.5], [0.1, 0.9]])
    torch.testing.assert_close(merged(attn, both, both), expected)
    torch.testing.assert_close(merged(attn, [both[1]], both), expected[1:])


@pytest.mark.parametrize("seed", range(20))
def test_the_divergence_is_scipys(seed: int) -> None:
    p, r = np.random.default_rng(seed).dirichlet([0.3] * 7, size=2)
    found = jensen_shannon(torch.tensor(p), torch.tensor(r)).item()
    assert found == pytest.approx(jensenshannon(p, r) ** 2, abs=1e-9)
    assert 0 <= found <= math.log(2)
    assert found == pytest.approx(jensen_shannon(torch.tensor(r), torch.tensor(p)).item())


def test_equal_rows_do_not_diverge_and_disjoint_ones_do_by_ln_2() -> None:
    p, r = torch.tensor([1.0, 0.0]), torch.tensor([0.0, 1.0])
    assert jensen_shannon(p, p) == 0
    assert jensen_shannon(p, r).item() == pytest.approx(math.log(2))
