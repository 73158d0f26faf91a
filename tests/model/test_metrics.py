"""One number per head, worked out by hand, and against SciPy."""

from __future__ import annotations

import math

import pytest
import torch
from attention_atlas.model.metrics import (
    METRICS,
    definitions,
    entropy,
    induction,
    measured,
    special,
)
from attention_atlas.model.record import AttentionRecord, Token
from scipy import stats

# One layer, two heads, (3, 3). The second looks at the first token only.
ATTN = torch.tensor(
    [
        [
            [[1.0, 0.0, 0.0], [0.5, 0.5, 0.0], [0.25, 0.5, 0.25]],
            [[1.0, 0.0, 0.0], [1.0, 0.0, 0.0], [1.0, 0.0, 0.0]],
        ]
    ]
)
EXPECTED = {
    "entropy": [(0 + math.log(2) + 1.5 * math.log(2)) / 3, 0],
    "distance": [(0 + 0.5 + (0.25 * 2 + 0.5)) / 3, (0 + 1 + 2) / 3],
    "previous_token": [(0.5 + 0.5) / 2, (1 + 0) / 2],
    "self": [(1 + 0.5 + 0.25) / 3, 1 / 3],
    "next_token": [0.0, 0.0],
    "first_token": [(1 + 0.5 + 0.25) / 3, 1],
}


@pytest.mark.parametrize("name", METRICS)
def test_by_hand(name: str) -> None:
    torch.testing.assert_close(METRICS[name](ATTN), torch.tensor([EXPECTED[name]]))


def test_next_token_by_hand() -> None:
    attn = torch.tensor([[[[0.2, 0.8, 0.0], [0.3, 0.3, 0.4], [0.0, 0.0, 1.0]]]])
    torch.testing.assert_close(METRICS["next_token"](attn), torch.tensor([[0.6]]))


def test_entropy_is_scipys() -> None:
    torch.manual_seed(0)
    attn = torch.randn(2, 4, 3, 5).softmax(-1)
    expected = torch.from_numpy(stats.entropy(attn.numpy(), axis=-1).mean(-1))
    torch.testing.assert_close(entropy(attn), expected)


def test_entropy_of_looking_everywhere_alike_is_log_n() -> None:
    torch.testing.assert_close(
        entropy(torch.full((1, 1, 3, 5), 0.2)), torch.tensor([[math.log(5)]])
    )


@pytest.mark.parametrize("name", METRICS)
def test_one_number_a_head(name: str) -> None:
    assert METRICS[name](torch.rand(2, 4, 3, 5)).shape == (2, 4)


@pytest.mark.parametrize("name", METRICS)
def test_one_token_has_a_finite_number(name: str) -> None:
    assert METRICS[name](torch.ones(2, 4, 1, 1)).isfinite().all()


@pytest.mark.parametrize("name", METRICS)
def test_every_metric_says_what_it_is(name: str) -> None:
    assert METRICS[name].__doc__


def test_a_perfect_induction_head_looks_after_the_earlier_copy() -> None:
    attn = torch.zeros(1, 2, 6, 6)
    attn[0, 0, [3, 4, 5], [1, 2, 3]] = 1.0
    attn[0, 1, [3, 4], [1, 2]] = 0.5
    result = induction(attn, 3)
    torch.testing.assert_close(result, torch.tensor([[1.0, 1 / 3]]))


def test_induction_needs_a_segment_said_twice() -> None:
    with pytest.raises(ValueError, match="3 tokens repeated once are 6, not 5 and 5"):
        induction(torch.zeros(1, 1, 5, 5), 3)


def test_special_by_hand() -> None:
    result = special(ATTN, torch.tensor([True, False, True]))
    torch.testing.assert_close(result, torch.tensor([[(1 + 0.5 + 0.5) / 3, 1.0]]))


def test_a_record_is_measured_by_every_metric_that_it_can_have() -> None:
    tokens = tuple(Token(i, "a", "a", special=i == 0) for i in range(3))
    mask = torch.ones(1, 1, 3, 3, dtype=torch.bool)
    expected = measured(AttentionRecord("encoder", ATTN, mask, tokens, tokens, (0,), (0, 1)))
    assert expected.keys() == definitions().keys() == {*METRICS, "special"}
    torch.testing.assert_close(expected["special"], expected["first_token"])
    cross = measured(AttentionRecord("cross", ATTN, mask, tokens, tokens, (0,), (0, 1)))
    assert cross.keys() == {"entropy", "first_token", "special"}
