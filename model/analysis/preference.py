"""Probabilities re-weighted by a reward: the optimum of the KL-penalised objective, in closed form.

Of all distributions π, π₀ exp(r / β) divided by its sum makes E[r] − β KL(π ∥ π₀) largest (Rafailov
et al. 2023, equation 4). For one token the sum is over the vocabulary: nothing has to be trained.
"""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor


class Reweighted(NamedTuple):
    """The best distribution, its mean reward, and its KL divergence from the first, in nats."""

    probabilities: Tensor  # (V,)
    reward: float
    kl: float


def reweighted(log_p: Tensor, reward: Tensor, beta: float) -> Reweighted:
    """The optimum for log-probabilities π₀ and a reward, both (V,), at a penalty β > 0."""
    log_q = (log_p.double() + reward.double() / beta).log_softmax(-1)
    q = log_q.exp()
    kl = (q * (log_q - log_p.double())).nan_to_num().sum()  # 0 · ∞ is 0 here
    return Reweighted(q, float(q @ reward.double()), float(kl))
