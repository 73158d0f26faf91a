"""Words whatever their pieces, their alignment, and the divergence of their attention."""

from __future__ import annotations

import math
import unicodedata

import numpy as np
import pytest
import torch
from attention_atlas.model.analysis.compare import jensen_shannon
from attention_atlas.model.record import Token
from attention_atlas.model.words import (
    Word,
    alignment,
    folded,
    groups,
    merged,
    numbered,
    occurrences,
    word_spans,
    words_of,
)
from scipy.spatial.distance import jensenshannon

from tests.scripts import WORDS

BANK = "The bank isn't closed."
PIECES = [("The", 0, 3), ("ban", 4, 7), ("k", 7, 8), ("isn", 9, 12), ("'", 12, 13), ("t", 13, 14)]
SPACED = [("The", 0, 3), (" bank", 3, 8), (" isn't", 8, 14), (" closed", 14, 21), (".", 21, 22)]


def tokens(spans: list[tuple[str, int, int]], text: str = BANK) -> tuple[Token, ...]:
    start = Token(0, "[CLS]", "[CLS]", special=True)
    values = [start, *(Token(i, text, text, a, b) for i, (text, a, b) in enumerate(spans))]
    return numbered(values, [text])


def split(text: str) -> list[Word]:
    rows = [(word, i, word.startswith("[")) for i, word in enumerate(text.split())]
    return [Word(word, (i,), special, None if special else i) for word, i, special in rows]


@pytest.mark.parametrize("script", WORDS)
def test_a_text_has_the_words_of_its_script(script: str) -> None:
    text, expected = WORDS[script]
    assert [text[start:end] for start, end in word_spans(text)] == expected


@pytest.mark.parametrize("script", WORDS)
def test_composed_and_decomposed_texts_have_the_same_words(script: str) -> None:
    both = []
    for form in ("NFC", "NFD"):
        text = unicodedata.normalize(form, WORDS[script][0])
        both.append([folded(text[start:end]) for start, end in word_spans(text)])
    assert both[0] == both[1] == [folded(word) for word in WORDS[script][1]]


@pytest.mark.parametrize(
    "text", ["", " ", "\n\t", "\u200b", "\ufeff \u00a0\u2060", "\x00", "\u00ad"]
)
def test_what_cannot_be_seen_is_no_word(text: str) -> None:
    assert word_spans(text) == []


def test_a_mark_on_a_space_is_a_word_without_the_space() -> None:
    assert word_spans("a \u0301b") == [(0, 1), (2, 3), (3, 4)]


def test_a_special_token_in_the_text_ends_a_word_and_takes_a_number() -> None:
    assert word_spans("x__en__y z", [(1, 7)]) == [(0, 1), (1, 7), (7, 8), (9, 10)]
    special = Token(1, "__en__", "__en__", 1, 7, special=True)
    result = numbered([special, Token(2, "y", "y", 7, 8)], ["x__en__y z"])
    assert [token.word for token in result] == [None, 2]


def test_pieces_of_a_word_are_one_word() -> None:
    words = words_of(tokens(PIECES), [BANK])
    assert [(word.text, word.tokens, word.number) for word in words] == [
        ("[CLS]", (0,), None),
        ("The", (1,), 0),
        ("bank", (2, 3), 1),
        ("isn't", (4, 5, 6), 2),
    ]


def test_two_tokenizers_number_the_words_alike() -> None:
    values = [words_of(tokens(spans), [BANK]) for spans in (PIECES, SPACED)]
    assert [(word.text, word.number) for word in values[0]] == [
        (word.text, word.number) for word in values[1][:4]
    ]


def test_a_pair_of_texts_has_the_words_of_both() -> None:
    pair = [Token(1, "it", "it", 0, 2), Token(2, "it", "it", 0, 2, segment=1)]
    words = words_of(numbered(pair, ["it", "it"]), ["it", "it"])
    assert [(word.tokens, word.number) for word in words] == [((0,), 0), ((1,), 0)]


def test_words_that_share_a_token_are_one_with_the_first_ones_number() -> None:
    text = "go now."
    shared = [("go", 0, 2), (" n", 2, 4), ("ow.", 4, 7)]
    words = words_of(tokens(shared, text), [text])[1:]
    assert [(word.text, word.tokens, word.number) for word in words] == [
        ("go", (1,), 0),
        ("now.", (2, 3), 1),
    ]
    assert [occurrences(words, word) for word in ("now", ".", "now.", "go", "n")] == [
        [1],
        [1],
        [1],
        [0],
        [],
    ]


def test_spaces_at_either_end_of_a_token_do_not_count() -> None:
    text = "go  now "
    pieces = tokens([("go ", 0, 3), (" now ", 3, 8)], text)
    assert [token.word for token in pieces] == [None, 0, 1]


def test_a_token_of_spaces_is_by_itself() -> None:
    text = "a  b"
    pieces = tokens([("a", 0, 1), (" ", 1, 2), (" ", 2, 3), ("b", 3, 4)], text)
    assert [token.word for token in pieces] == [None, 0, None, None, 1]
    assert groups(pieces) == [(0,), (1,), (2,), (3,), (4,)]


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
    assert len(alignment(split(a), split(b))) == len(pairs)
    if a != "dogs chase cats":  # three ways are as long
        assert alignment(split(a), split(b)) == pairs


def test_alignment_is_the_same_from_both_sides() -> None:
    a, b = split("the river bank of the river"), split("a bank of the new river")
    assert alignment(b, a) == [(j, i) for i, j in alignment(a, b)]


def test_occurrences_do_not_mind_capitals() -> None:
    assert occurrences(split("Bank the bank [bank]"), " BANK ") == [0, 2]


@pytest.mark.parametrize(
    ("written", "asked"),
    [
        ("café", "cafe\u0301"),
        ("cafe\u0301", "CAFÉ"),
        ("don’t", "don't"),
        ("п'ять", "п’ять"),
        ("\u1112\u1161\u11ab\u1100\u1173\u11af", "한글"),
        ("Straße", "STRASSE"),
    ],
)
def test_one_word_in_two_spellings_is_the_same_word(written: str, asked: str) -> None:
    [word] = word_spans(written)
    assert word == (0, len(written))
    assert occurrences([Word(written, (0,), number=0)], asked) == [0]
    assert alignment([Word(written, (0,))], [Word(asked, (0,))]) == [(0, 0)]


def test_pieces_are_summed_over_keys_and_averaged_over_queries() -> None:
    attn = torch.tensor([[0.5, 0.25, 0.25], [0.0, 1.0, 0.0], [0.2, 0.2, 0.6]])
    both = [(0,), (1, 2)]
    expected = torch.tensor([[0.5, 0.5], [0.1, 0.9]])
    torch.testing.assert_close(merged(attn, both, both), expected)
    torch.testing.assert_close(merged(attn, both[1:], both), expected[1:])


@pytest.mark.parametrize("seed", range(20))
def test_the_divergence_is_scipys(seed: int) -> None:
    p, r = np.random.default_rng(seed).dirichlet([0.3] * 7, size=2)
    result = jensen_shannon(torch.tensor(p), torch.tensor(r)).item()
    assert result == pytest.approx(jensenshannon(p, r) ** 2, abs=1e-9)
    assert 0 <= result <= math.log(2)
    assert result == pytest.approx(jensen_shannon(torch.tensor(r), torch.tensor(p)).item())


def test_equal_rows_do_not_diverge_and_disjoint_ones_do_by_ln_2() -> None:
    p, r = torch.tensor([1.0, 0.0]), torch.tensor([0.0, 1.0])
    assert jensen_shannon(p, p) == 0
    assert jensen_shannon(p, r).item() == pytest.approx(math.log(2))
