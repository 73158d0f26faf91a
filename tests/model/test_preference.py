"""The re-weighted distribution: no other has a larger E[r] − β KL."""

from __future__ import annotations

import pytest
import torch
from attention_atlas.model.analysis.preference import reweighted
from torch import Tensor

V = 50


def drawn(seed: int) -> tuple[Tensor, Tensor]:
    rng = torch.Generator().manual_seed(seed)
    log_p = torch.randn(V, generator=rng, dtype=torch.double).log_softmax(-1)
    return log_p, torch.rand(V, generator=rng, dtype=torch.double)


def objective(q: Tensor, log_p: Tensor, reward: Tensor, beta: float) -> float:
    return float(q @ reward - beta * (q * (q.log() - log_p)).sum())


@pytest.mark.parametrize("beta", [0.05, 0.5, 5.0])
def test_no_other_distribution_is_better(beta: float) -> None:
    log_p, reward = drawn(0)
    best = reweighted(log_p, reward, beta)
    most = best.reward - beta * best.kl
    assert most == pytest.approx(objective(best.probabilities, log_p, reward, beta))
    assert most == pytest.approx(beta * float((log_p + reward / beta).logsumexp(-1)))
    rng = torch.Generator().manual_seed(1)
    for size in (0.01, 0.1, 1.0):
        noise = size * torch.randn(V, generator=rng, dtype=torch.double)
        other = (best.probabilities.log() + noise).softmax(-1)
        assert objective(other, log_p, reward, beta) < most


def test_a_large_beta_changes_nothing_and_a_small_one_leaves_only_the_reward() -> None:
    log_p, reward = drawn(2)
    far, near = reweighted(log_p, reward, 1e9), reweighted(log_p, reward, 1e-4)
    assert torch.allclose(far.probabilities, log_p.exp()) and far.kl < 1e-6
    assert int(near.probabilities.argmax()) == int(reward.argmax())
    assert near.reward == pytest.approx(float(reward.max()))
    assert near.kl == pytest.approx(-float(log_p[reward.argmax()]), rel=1e-3)


def test_an_impossible_token_stays_impossible() -> None:
    log_p = torch.tensor([0.5, 0.5, 0.0]).log()
    answer = reweighted(log_p, torch.tensor([0.0, 1.0, 9.0]), 1.0)
    assert float(answer.probabilities[2]) == 0
    assert 0 < answer.kl < 1
