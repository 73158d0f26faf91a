"""What is measured of attention, against what is known."""

from __future__ import annotations

import pytest
import torch
from attention_atlas.model.analysis.arithmetic import _exponent, _peak, cost


@pytest.mark.parametrize("power", [0.0, 1.0, 1.5, 2.0])
def test_the_exponent_of_a_power_is_that_power(power: float) -> None:
    sizes = [64, 128, 256, 512]
    assert _exponent(sizes, [3 * n**power for n in sizes]) == pytest.approx(power)


def test_the_peak_is_what_was_held_at_a_time() -> None:
    def one_after_the_other() -> None:
        for _ in range(3):
            torch.empty(1000)

    def together() -> list[torch.Tensor]:
        return [torch.empty(1000) for _ in range(3)]

    assert _peak(one_after_the_other) == 4000
    assert _peak(together) == 12_000
    assert _peak(lambda: None) == 0


@pytest.mark.parametrize(("n_head", "d"), [(1, 16), (2, 8), (5, 4)])
def test_attention_written_out_holds_scores_and_weights(n_head: int, d: int) -> None:
    [result], exponents = cost([128], n_head=n_head, d=d)
    assert result.n_number == n_head * 128 * 128
    assert 4 * result.n_number <= result.bytes <= 3 * 4 * result.n_number
    assert result.fused_bytes < result.bytes
    assert exponents == dict.fromkeys(exponents, 0.0), "of one size there is none"
