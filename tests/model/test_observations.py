"""What examples claim, on the bundled models and on hand-made attention."""

from __future__ import annotations

import pytest
import torch
from attention_atlas.model import zoo
from attention_atlas.model.analysis.observations import (
    Claim,
    best_head,
    heads_by_position,
    observed,
    word_attention,
)
from attention_atlas.model.record import AttentionRecord, Run, Token
from attention_atlas.model.spec import BadInput, Spec
from attention_atlas.model.zoo import Loaded

pytestmark = pytest.mark.weights
TWICE = Spec("The river bank is closed. The river bank is closed.")
COPY = Claim("river", ("bank",), occurrence=1)


@pytest.fixture(scope="module")
def gpt() -> Loaded:
    return zoo.load("gpt", torch.device("cpu"))


def two_heads(first: list[list[float]], second: list[list[float]]) -> Run:
    """One layer over the tokens "a", "b", "##c": words "a" and "bc"."""
    tokens = tuple(
        Token(i, raw, raw.strip("#"), start, end, word=word)
        for i, (raw, start, end, word) in enumerate(
            [("a", 0, 1, 0), ("b", 2, 3, 1), ("##c", 3, 4, 1)]
        )
    )
    attn, mask = torch.tensor([[first, second]]), torch.ones(1, 1, 3, 3, dtype=torch.bool)
    record = AttentionRecord("encoder", attn, mask, tokens, tokens, (0,), (0, 1))
    return Run("a bc", None, None, False, {"source": tokens}, {"encoder": record}, {})


def test_pieces_of_a_word_are_summed_over_keys_and_averaged_over_queries() -> None:
    first = [[0.5, 0.2, 0.3], [0.1, 0.4, 0.5], [0.3, 0.3, 0.4]]
    second = [[1.0, 0.0, 0.0], [0.6, 0.2, 0.2], [1.0, 0.0, 0.0]]
    run = two_heads(first, second)
    to_pieces, query = word_attention(run, "encoder", Claim("a", ("bc",)))
    torch.testing.assert_close(to_pieces, torch.tensor([[0.5, 0.0]]))
    assert query == 0
    from_pieces, query = word_attention(run, "encoder", Claim("bc", ("a",)))
    torch.testing.assert_close(from_pieces, torch.tensor([[0.2, 0.8]]))
    assert query == 2


def test_a_word_that_is_not_in_the_text_is_named() -> None:
    eye = torch.eye(3).tolist()
    with pytest.raises(BadInput, match="'dog' is in the text 0 times"):
        word_attention(two_heads(eye, eye), "encoder", Claim("dog", ("a",)))


def test_the_best_head_is_the_one_with_the_most_attention(gpt: Loaded) -> None:
    best = best_head(gpt, TWICE, COPY)
    L, H = gpt.shape("decoder")
    every = [
        observed(gpt, TWICE, COPY, ("decoder", layer, head)).attn
        for layer in range(L)
        for head in range(H)
        if ("decoder", layer, head) not in heads_by_position(gpt)
    ]
    assert best.attn == max(every) > 0.5


def test_heads_that_follow_position_are_left_out_unless_admitted(gpt: Loaded) -> None:
    spec = Spec("The river bank is closed.")
    previous = Claim("bank", ("river",))
    best = best_head(gpt, spec, previous)
    assert (best.kind, best.layer, best.head) not in heads_by_position(gpt)
    admitted = best_head(gpt, spec, Claim("bank", ("river",), by_position=True))
    assert (admitted.kind, admitted.layer, admitted.head) in heads_by_position(gpt)
    assert admitted.attn > 0.9
