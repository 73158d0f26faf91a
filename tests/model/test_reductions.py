"""Attention made smaller, on numbers worked by hand."""

from __future__ import annotations

import pytest
import torch
from attention_atlas.model import reductions
from attention_atlas.model.record import AttentionRecord, Token
from torch import Tensor


def token(text: str, word: int | None, start: int = 0) -> Token:
    end = start + len(text)
    return Token(7, text, text, start, end, special=word is None, word=word)


TOKENS = (token("[CLS]", None), token("un", 0), token("do", 0, 2), token("it", 1, 5))


@pytest.fixture
def attn() -> Tensor:
    """(L, H, T, T), rows sum to 1."""
    torch.manual_seed(0)
    return torch.rand(2, 3, 4, 4).softmax(-1)


@pytest.fixture
def record(attn: Tensor) -> AttentionRecord:
    mask = torch.ones(1, 1, 4, 4, dtype=torch.bool)
    return AttentionRecord("encoder", attn, mask, TOKENS, TOKENS, (0, 1), (0, 1, 2))


def test_pieces_are_summed_over_keys_and_averaged_over_queries(record: AttentionRecord) -> None:
    words = reductions.words(record)
    a = record.attn[1, 2]
    assert [word.text for word in words.q_tokens] == ["[CLS]", "undo", "it"]
    assert words.attn.shape == (2, 3, 3, 3)
    expected = (a[1, 1] + a[1, 2] + a[2, 1] + a[2, 2]) / 2
    torch.testing.assert_close(words.attn[1, 2, 1, 1], expected)
    torch.testing.assert_close(words.attn[1, 2, 2, 1], a[3, 1] + a[3, 2])
    torch.testing.assert_close(words.attn.sum(-1), torch.ones(2, 3, 3))


def test_bytes_of_one_character_are_one_text() -> None:
    pieces = tuple(Token(i, "ð", "😀", 4, 5, word=0) for i in range(3))
    square = AttentionRecord(
        "decoder",
        torch.eye(3)[None, None],
        torch.ones(1, 1, 3, 3, dtype=torch.bool).tril(),
        pieces,
        pieces,
        (0,),
        (0,),
    )
    [word] = reductions.words(square).q_tokens
    assert (word.text, word.start, word.end, word.raw) == ("😀", 4, 5, "ð ð ð")


def test_specials_are_left_out(record: AttentionRecord) -> None:
    hidden = reductions.without_special(record, renormalise=False)
    assert torch.equal(hidden.attn, record.attn[..., 1:, 1:])
    assert hidden.k_tokens == TOKENS[1:]
    whole = reductions.without_special(record, renormalise=True)
    torch.testing.assert_close(whole.attn.sum(-1), torch.ones(2, 3, 3))


def test_a_row_that_looked_only_at_specials_stays_zero(record: AttentionRecord) -> None:
    record.attn[0, 0, 2] = torch.tensor([1.0, 0, 0, 0])
    whole = reductions.without_special(record, renormalise=True)
    assert torch.equal(whole.attn[0, 0, 1], torch.zeros(3))


def test_selected_keeps_the_order_asked_for(record: AttentionRecord) -> None:
    part = reductions.selected(record, (1,), (2, 0))
    assert (part.layers, part.heads) == ((1,), (2, 0))
    assert torch.equal(part.attn, record.attn[[1]][:, [2, 0]])
    assert reductions.selected(record, None, None).attn.equal(record.attn)


def test_rollout_of_no_attention_elsewhere_is_the_identity() -> None:
    assert torch.equal(reductions.rollout(torch.eye(4).expand(2, 3, 4, 4))[0, 0], torch.eye(4))


def test_rollout_multiplies_layers_half_residual(attn: Tensor) -> None:
    first, second = (attn.mean(1) + torch.eye(4)) / 2
    rolled = reductions.rollout(attn)
    torch.testing.assert_close(rolled[0, 0], second @ first)
    torch.testing.assert_close(rolled.sum(-1), torch.ones(1, 1, 4))


@pytest.mark.parametrize("name", reductions.REDUCTIONS)
def test_a_reduction_keeps_four_axes_and_the_triangle(name: str, attn: Tensor) -> None:
    causal = attn.tril() / attn.tril().sum(-1, keepdim=True)
    result = reductions.REDUCTIONS[name](causal)
    assert result.ndim == 4
    assert (result.triu(1) == 0).all()


def test_rollout_refuses_what_it_cannot_follow(record: AttentionRecord) -> None:
    with pytest.raises(ValueError, match="needs every layer from layer 0 on"):
        reductions.reduced(reductions.selected(record, (1,), None), "rollout")


def test_thumbnails_are_block_maxima(record: AttentionRecord) -> None:
    record.mask[0, 0] = record.mask[0, 0].tril()
    attn, mask, block = reductions.thumbnails(record, 2)
    assert block == (2, 2)
    assert attn[1, 2, 1, 0] == record.attn[1, 2, 2:, :2].max()
    assert mask[0, 0].tolist() == [[True, False], [True, True]]


def test_a_small_picture_is_not_pooled(record: AttentionRecord) -> None:
    attn, _, block = reductions.thumbnails(record, 64)
    assert block == (1, 1)
    assert torch.equal(attn, record.attn)


def test_a_record_is_reduced_in_the_order_that_keeps_shares(record: AttentionRecord) -> None:
    largest = reductions.reshaped(record, reduce="max_heads", merge="words")
    words = reductions.words(record)
    assert largest.attn.equal(words.attn.amax(1, keepdim=True))
    rolled = reductions.reshaped(record, reduce="rollout", merge="words", special="hide")
    assert rolled.attn.equal(
        reductions.words(reductions.reduced(record, "rollout")).attn[..., 1:, 1:]
    )
    assert reductions.reshaped(record).attn is record.attn


def test_the_largest_key_of_each_query(attn: Tensor) -> None:
    for query, (key, share) in enumerate(reductions.largest_keys(attn[0, 0])):
        assert share == attn[0, 0, query].max() == attn[0, 0, query, key]
    assert reductions.largest_keys(attn[0, 0, :0]) == []
