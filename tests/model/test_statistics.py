"""A value with its interval: known cases, and scipy's bootstrap beside ours."""

from __future__ import annotations

import numpy as np
import pytest
from attention_atlas.model.analysis.statistics import mean, measured, ratio, share
from scipy import stats
from scipy.stats import binomtest


def test_a_sure_thing_has_no_spread() -> None:
    measure = mean([0.25] * 9, "texts", "L0 H1")
    assert (measure.value, measure.low, measure.high) == (0.25, 0.25, 0.25)
    assert (measure.n, measure.of, measure.detail) == (9, "texts", "L0 H1")


def test_a_ratio_weighs_texts_by_their_size() -> None:
    measure = ratio([1, 6], [2, 8], "words")
    assert measure.value == 0.7
    assert (measure.low, measure.high) == (0.5, 0.75)
    assert measure.n == 10


def test_the_interval_is_the_percentile_bootstrap() -> None:
    values = np.random.default_rng(1).normal(3, 1, 200)
    ours = mean(values.tolist(), "texts")
    theirs = stats.bootstrap((values,), np.mean, method="percentile", rng=1).confidence_interval
    assert ours.low == pytest.approx(theirs.low, abs=0.02)
    assert ours.high == pytest.approx(theirs.high, abs=0.02)


def test_the_same_items_give_the_same_interval() -> None:
    assert mean([1, 2, 3, 4], "texts") == mean([1, 2, 3, 4], "texts")


def test_a_sample_that_lacks_a_class_is_left_out() -> None:
    result = measured(lambda i: float("nan") if 0 not in i else 0.5, 3, "sentences")
    assert (result.value, result.low, result.high) == (0.5, 0.5, 0.5)


def test_a_shares_interval_is_wilsons() -> None:
    measure = share([True] * 7 + [False] * 3, "prompts")
    low, high = binomtest(7, 10).proportion_ci(method="wilson")
    assert (measure.value, measure.n) == (0.7, 10)
    assert (measure.low, measure.high) == pytest.approx((low, high), abs=1e-3)
    none = share([False] * 32, "prompts")
    assert (none.value, none.low) == (0, 0) and none.high > 0.1
