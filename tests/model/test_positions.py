"""Sinusoidal positions against the paper's formula, written out a second time."""

from __future__ import annotations

import math

import pytest
import torch
from attention_atlas.model.positions import described, sinusoidal


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


def test_an_encoding_that_is_not_of_sines_has_no_wavelengths() -> None:
    sines = sinusoidal(12, 8, base=50)
    shown, learned = (described(sines, "cosine", 3, base) for base in (50, None))
    assert learned.similarity.equal(shown.similarity)
    assert shown.by_distance[0] == pytest.approx(1) and len(shown.by_distance) == 12
    assert (len(shown.wavelengths), shown.turns.shape) == (4, (4, 2, 2))
    assert shown.shift_error is not None and shown.shift_error < 1e-5
    assert (len(learned.wavelengths), learned.turns.shape) == (0, (0, 2, 2))
    assert learned.shift_error is None
