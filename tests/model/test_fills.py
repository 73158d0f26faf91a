"""A number in place of -inf: where it leaks, against the softmax itself."""

from __future__ import annotations

import math

import pytest
import torch
from attention_atlas.model.analysis.fills import DTYPES, fills


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_reach_is_the_softmaxs_own(dtype: str) -> None:
    reach = fills(torch.ones(1, 2, 3), torch.ones(1, 2, 3, dtype=torch.bool), -5, dtype).reach

    def share(below: float) -> float:
        return torch.tensor([0.0, -below], dtype=DTYPES[dtype]).softmax(-1)[1].item()

    assert share(reach * 0.9) > 0 == share(reach * 1.1)


@pytest.mark.parametrize(
    ("dtype", "fill"), [("float16", -1e4), ("bfloat16", -100), ("float32", -5)]
)
def test_a_row_that_may_look_nowhere_looks_everywhere(dtype: str, fill: float) -> None:
    allowed = torch.zeros(2, 3, 5, dtype=torch.bool)
    result = fills(torch.randn(2, 3, 5), allowed, fill, dtype)
    assert result.blind == pytest.approx(1 / 5, abs=1e-3)
    assert math.isnan(result.blind_infinity)


def test_a_masked_score_leaks_once_it_outweighs_the_mask() -> None:
    scores = torch.tensor([[[-1.0, 2.0], [4.0, 1.0]]])
    allowed = torch.tensor([[[True, False], [True, True]]])
    result = fills(scores, allowed, -1e4, "float16")
    assert (result.by, result.leak) == (1e4, 1.0)
    assert fills(-scores, allowed, -1e4, "float16").by is None


def test_two_masks_add_up_past_half_precision() -> None:
    nothing = torch.ones(1, 1, 1), torch.ones(1, 1, 1, dtype=torch.bool)
    assert fills(*nothing, -1e4, "float16").added == -math.inf
    assert math.isfinite(fills(*nothing, -1e4, "float32").added)
