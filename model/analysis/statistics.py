"""Measured values with confidence intervals and the number of items they are computed from."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

Array = np.ndarray
N_SAMPLE = 1000  # of the bootstrap


@dataclass(frozen=True)
class Measure:
    """A value, its 95 % interval, and the items it was computed from."""

    value: float
    low: float
    high: float
    n: int
    of: str  # what the n items are
    detail: str = ""  # which head, which layer, a signature
    compare: str = ""  # the value of a simple baseline, or by chance
    by: dict[str, float] = field(default_factory=dict)  # the value of each layer or data set


def measured(
    statistic: Callable[[Array], float], n: int, of: str, detail: str = "", *, units: int = 0
) -> Measure:
    """A statistic of n items, given by their indices, with its bootstrap interval (Efron 1979).

    `units` is the number to report if an item has several, such as the words of a text.
    """
    rng = np.random.default_rng(0)
    resampled = [statistic(rng.integers(0, n, n)) for _ in range(N_SAMPLE)]
    low, high = np.nanpercentile(resampled, [2.5, 97.5])
    value, low, high = (round(float(number), 4) for number in (statistic(np.arange(n)), low, high))
    return Measure(value, low, high, units or n, of, detail)


def ratio(part: Sequence[float], whole: Sequence[float], of: str, detail: str = "") -> Measure:
    """sum(part) / sum(whole) over texts, the units of resampling; n is sum(whole)."""
    a, b = np.array(part, float), np.array(whole, float)
    return measured(lambda i: a[i].sum() / b[i].sum(), len(a), of, detail, units=round(b.sum()))


def mean(values: Sequence[float], of: str, detail: str = "") -> Measure:
    """The mean over items."""
    items = np.array(values, float)
    return measured(lambda i: items[i].mean(), len(items), of, detail)


def share(right: Sequence[bool], of: str) -> Measure:
    """The share of items that are right, with Wilson's 95 % interval (1927), never of width 0."""
    n, z = len(right), 1.96
    p = sum(right) / n
    middle, half = p + z**2 / (2 * n), z * math.sqrt(p * (1 - p) / n + z**2 / (4 * n**2))
    low, high = ((middle + sign * half) / (1 + z**2 / n) for sign in (-1, 1))
    return Measure(round(p, 4), round(max(0.0, low), 4), round(min(1.0, high), 4), n, of)
