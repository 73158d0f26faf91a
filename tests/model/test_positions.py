"""Sinusoidal positions against the paper's formula, written out a second time."""

from __future__ import annotations

import math

import pytest
import torch
from attention_atlas.model.positions import sinusoidal


def paper(pos: int, column: int, d_model: int) -> float:
    """Vaswani et al. 2017, section 3.5, one number at a time."""
    i = column // 2
    angle = pos / 10000 ** (2 * i / d_model)
    return math.cos(angle) if column % 2 else math.sin(angle)


@pytest.mark.parametrize(("n", "d_model"), [(5, 8), (128, 256), (3, 2)])
def test_the_papers_formula(n: int, d_model: int) -> None:
    expected = [[paper(pos, column, d_model) for column in range(d_model)] for pos in range(n)]
    torch.testing.assert_close(sinusoidal(n, d_model), torch.tensor(expected), atol=1e-7, rtol=0)


def test_the_first_position_is_sines_and_cosines_of_nothing() -> None:
    assert sinusoidal(1, 6).tolist() == [[0.0, 1.0, 0.0, 1.0, 0.0, 1.0]]


def test_a_shift_is_a_rotation_whatever_the_position() -> None:
    position = sinusoidal(40, 8)
    dots = (position @ position.T).diagonal(3)
    torch.testing.assert_close(dots, dots[:1].expand(37))


def test_another_base() -> None:
    expected = torch.tensor([math.sin(2), math.cos(2), math.sin(0.2), math.cos(0.2)])
    torch.testing.assert_close(sinusoidal(3, 4, base=100.0)[2], expected)


def test_sines_and_cosines_come_in_pairs() -> None:
    with pytest.raises(ValueError, match="d_model is 5"):
        sinusoidal(3, 5)
