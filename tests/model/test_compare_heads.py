"""Heads that differ in meaning, not in position: hand-made attention of one word."""

from __future__ import annotations

import math

import pytest
import torch
from attention_atlas.model.analysis.compare import (
    Side,
    baseline,
    divergence,
    most_different,
    positional_heads,
    ranked,
)
from attention_atlas.model.analysis.function_words import FUNCTION_WORDS, content
from attention_atlas.model.analysis.senses import nearer
from attention_atlas.model.record import AttentionRecord, Token
from attention_atlas.model.words import Word
from attention_atlas.model.zoo import WEIGHTS, Card

TEXT = ("[CLS]", "the", "river", "bank", ".")


class FakeLoaded:
    """As much of a model as the roles of its heads need."""

    def __init__(self, card: Card) -> None:
        self.card, self.family = card, "encoder"


def side(*rows: list[float], text: tuple[str, ...] = TEXT) -> Side:
    """One layer with a head for each row: the attention of the word at 3."""
    tokens = tuple(Token(i, word, word, special=i == 0) for i, word in enumerate(text))
    words = [Word(t.text, (i,), t.special, None if t.special else i) for i, t in enumerate(tokens)]
    attn = torch.tensor(rows)[None, :, None].expand(1, len(rows), len(text), len(text))
    mask = torch.ones(1, 1, len(text), len(text), dtype=torch.bool)
    record = AttentionRecord("encoder", attn, mask, tokens, tokens, (0,), tuple(range(len(rows))))
    return Side(record, words, words, 3, 0, 1)


A = side([0.5, 0.3, 0.2, 0, 0], [0.2, 0, 0.8, 0, 0])
B = side([0.2, 0.6, 0.2, 0, 0], [0.2, 0, 0.1, 0.7, 0])


def test_what_differs_on_function_words_alone_does_not_count() -> None:
    counted = content(A.k, "en"), content(B.k, "en")
    assert counted[0] == [False, False, True, True, False]
    assert divergence(A, B).every[0, 0] > 0.05
    of_content = divergence(A, B, None, counted).every
    assert of_content[0, 0] < 1e-6
    torch.testing.assert_close(of_content[0, 1], divergence(A, B).every[0, 1])


def test_a_head_without_attention_to_content_words_does_not_differ() -> None:
    a, b = side([0.98, 0, 0.02, 0, 0]), side([0.98, 0, 0, 0.02, 0])
    counted = content(a.k, "en"), content(b.k, "en")
    assert divergence(a, b, None, counted).every[0, 0] < 0.02 * math.log(2) + 1e-6


def test_heads_that_come_last_are_ranked_last_and_not_chosen() -> None:
    rows = divergence(A, B)
    assert [head.head for head in ranked(rows, A, B)] == [1, 0]
    assert [head.head for head in ranked(rows, A, B, [(0, 1)])] == [0, 1]
    assert most_different(rows, None, None) == (0, 1)
    assert most_different(rows, None, None, [(0, 1)]) == (0, 0)
    assert most_different(rows, 0, 1, [(0, 1)]) == (0, 1), "it is shown if it is asked for"


def test_a_ranked_heads_words_are_those_that_count() -> None:
    counted = content(A.k, "en"), content(B.k, "en")
    [first, second] = ranked(divergence(A, B, None, counted), A, B)
    assert (first.a, first.b) == ("river", "bank")
    assert (second.a, second.attn_a) == ("river", pytest.approx(0.2))


def test_the_baseline_is_the_mean_over_pairs_of_one_sense() -> None:
    assert baseline([[A], [B]], None) is None
    same = baseline([[A, A], [B, B]], None)
    assert same is not None and same.max() < 1e-6
    result = baseline([[A, B], [A, A]], None)
    torch.testing.assert_close(result, divergence(A, B).every / 2)


def test_heads_of_the_card_and_of_the_text_follow_position() -> None:
    card = Card.read(WEIGHTS / "bert")
    tokens = tuple(Token(i, "a", "a") for i in range(7))
    attn = torch.eye(7).roll(1, 1).expand(1, 2, 7, 7).clone()  # every token at the next
    attn[0, 1] = 1 / 7
    record = AttentionRecord(
        "encoder", attn, attn.bool()[:, :1] | True, tokens, tokens, (0,), (0, 1)
    )
    result = positional_heads(FakeLoaded(card), record)  # type: ignore[arg-type]
    assert (0, 0) in result and (0, 1) not in result
    layer, head = map(int, card.metrics["encoder_previous_token"]["detail"][1:].split(" H"))
    assert (layer, head) in result


def test_a_word_is_nearer_one_sense_from_a_layer_on() -> None:
    verdict = nearer({"river": [0.5, 0.4, 0.8, 0.9], "money": [0.5, 0.6, 0.7, 0.1]})
    assert (verdict.sense, verdict.since) == ("river", 2)
    assert verdict.margins == pytest.approx([0.0, -0.2, 0.1, 0.8])
    other = nearer({"river": [0.1, 0.1], "money": [0.2, 0.3]})
    assert (other.sense, other.since) == ("money", 0)


def test_the_lists_of_function_words_are_small_and_lower_case() -> None:
    for words in FUNCTION_WORDS.values():
        assert 60 < len(words) < 160
        assert all(word == word.lower() for word in words)
