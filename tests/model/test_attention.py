"""attend(): one equation, two paths, nothing changed by looking."""

from __future__ import annotations

import math

import pytest
import torch
from attention_atlas.model.attention import Scoring, attend, weigh
from attention_atlas.model.tape import Attended, Edit, Tape
from torch import Tensor
from torch.nn import functional as F

EVERYTHING = ("q", "k", "v", "mask", "scores", "attn", "z")
PADDING = torch.tensor([[True, True, True, False, False]])


@pytest.fixture
def qkv() -> tuple[Tensor, Tensor, Tensor]:
    torch.manual_seed(0)
    return torch.randn(1, 4, 3, 2), torch.randn(1, 4, 5, 2), torch.randn(1, 4, 5, 2)


@pytest.fixture
def fused_calls(monkeypatch: pytest.MonkeyPatch) -> list[None]:
    """One item for each call of the fused kernel."""
    calls: list[None] = []
    fused = F.scaled_dot_product_attention

    def spy(*args: Tensor, **options: Tensor) -> Tensor:
        calls.append(None)
        return fused(*args, **options)

    monkeypatch.setattr(F, "scaled_dot_product_attention", spy)
    return calls


def recorded(qkv: tuple[Tensor, Tensor, Tensor], **options: Tensor | float) -> Attended:
    tape = Tape(keep=EVERYTHING)
    attend(*qkv, track=tape.track("cross", 0), **options)
    return tape.attended[0]


def test_attend_by_hand() -> None:
    q = torch.tensor([[[[1.0, 0.0, 0.0, 0.0]]]])
    k = torch.tensor([[[[2 * math.log(3), 0.0, 0.0, 0.0], [0.0, 9.0, 0.0, 0.0]]]])
    v = torch.tensor([[[[4.0, 0.0, 0.0, 0.0], [0.0, 8.0, 0.0, 0.0]]]])
    step = recorded((q, k, v))
    torch.testing.assert_close(step.scores, torch.tensor([[[[math.log(3), 0.0]]]]))
    torch.testing.assert_close(step.attn, torch.tensor([[[[0.75, 0.25]]]]))
    torch.testing.assert_close(step.z, torch.tensor([[[[3.0, 2.0, 0.0, 0.0]]]]))


def test_what_is_kept_is_what_was_there(qkv: tuple[Tensor, Tensor, Tensor]) -> None:
    step = recorded(qkv, mask=PADDING)
    assert [torch.equal(a, b) for a, b in zip(qkv, (step.q, step.k, step.v), strict=True)]
    assert torch.equal(step.mask, PADDING.expand(1, 1, 3, 5))
    assert torch.equal(step.scores.isneginf(), ~step.mask.expand(1, 4, 3, 5))
    torch.testing.assert_close(step.attn, step.scores.softmax(-1))
    torch.testing.assert_close(step.z, step.attn @ step.v)


@pytest.mark.parametrize("mask", [None, PADDING], ids=["no mask", "padding"])
def test_looking_changes_nothing(qkv: tuple[Tensor, Tensor, Tensor], mask: Tensor | None) -> None:
    looked_at = attend(*qkv, mask=mask, track=Tape(keep=EVERYTHING).track("cross", 0))
    assert torch.equal(looked_at, attend(*qkv, mask=mask))


def test_looking_changes_no_dropout(qkv: tuple[Tensor, Tensor, Tensor]) -> None:
    torch.manual_seed(1)
    plain = attend(*qkv, dropout=0.5)
    torch.manual_seed(1)
    assert torch.equal(attend(*qkv, dropout=0.5, track=Tape().track("cross", 0)), plain)


def test_rows_sum_to_one_before_dropout(qkv: tuple[Tensor, Tensor, Tensor]) -> None:
    step = recorded(qkv, mask=PADDING, dropout=0.5)
    torch.testing.assert_close(step.attn.sum(-1), torch.ones(1, 4, 3))


def test_a_padded_key_gets_exactly_nothing(qkv: tuple[Tensor, Tensor, Tensor]) -> None:
    step = recorded(qkv, mask=PADDING)
    assert (step.attn[..., 3:] == 0).all()
    assert not step.attn.isnan().any()


def test_a_query_with_nowhere_to_look_attends_to_nothing(
    qkv: tuple[Tensor, Tensor, Tensor],
) -> None:
    mask = torch.tensor([[True], [False], [True]])
    step = recorded(qkv, mask=mask)
    assert (step.attn[:, :, 1] == 0).all()
    assert (step.z[:, :, 1] == 0).all()
    assert (attend(*qkv, mask=mask)[:, :, 1] == 0).all()
    torch.testing.assert_close(step.attn.sum(-1), torch.tensor([1.0, 0.0, 1.0]).expand(1, 4, 3))


def test_without_a_track_only_the_fused_path_runs(
    qkv: tuple[Tensor, Tensor, Tensor], fused_calls: list[None]
) -> None:
    attend(*qkv)
    assert fused_calls == [None]


def test_both_paths_give_the_same(qkv: tuple[Tensor, Tensor, Tensor]) -> None:
    no_op = Tape(layers=(), edits=[Edit("scale", by=1.0)])  # edits take the recorded path
    for mask in MASKS.values():
        recorded = attend(*qkv, mask=mask, track=no_op.track("cross", 0))
        torch.testing.assert_close(recorded, attend(*qkv, mask=mask), atol=1e-6, rtol=1e-5)


def test_what_is_kept_is_off_the_graph(qkv: tuple[Tensor, Tensor, Tensor]) -> None:
    q, k, v = qkv
    step = recorded((q.requires_grad_(), k, v))
    assert not any(step.kept[name].requires_grad for name in EVERYTHING)


MASKS = {
    "none": None,
    "padding": PADDING[:, None, None],
    "causal": torch.ones(3, 5, dtype=torch.bool).tril(2),
    "nowhere": torch.tensor([[True] * 5, [False] * 5, [True] * 5]),
}


@pytest.mark.parametrize("mask", MASKS.values(), ids=MASKS)
def test_learning_and_looking_give_the_same(
    qkv: tuple[Tensor, Tensor, Tensor], mask: Tensor | None, fused_calls: list[None]
) -> None:
    looking = attend(*qkv, mask=mask)
    learning = [tensor.clone().requires_grad_() for tensor in qkv]
    result = attend(*learning, mask=mask, dropout=0.0)
    assert len(fused_calls) == 1  # looking; its backward pass is too slow to learn by
    torch.testing.assert_close(result, looking)
    result.square().sum().backward()
    assert all(tensor.grad is not None and tensor.grad.isfinite().all() for tensor in learning)


def test_what_is_learned_is_the_fused_kernels_gradient(qkv: tuple[Tensor, Tensor, Tensor]) -> None:
    ours, theirs = ([tensor.clone().requires_grad_() for tensor in qkv] for _ in range(2))
    attend(*ours, mask=PADDING[:, None, None]).square().sum().backward()
    F.scaled_dot_product_attention(
        *theirs, attn_mask=PADDING[:, None, None]
    ).square().sum().backward()
    for mine, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(mine.grad, other.grad)


def test_another_score_takes_the_place_of_the_product(qkv: tuple[Tensor, Tensor, Tensor]) -> None:
    q, k, v = qkv
    track = Tape(keep=EVERYTHING).track("cross", 0)
    assert track is not None
    z = attend(q, k, v, scoring=Scoring(score=lambda q, k: torch.zeros(1, 4, 3, 5)), track=track)
    torch.testing.assert_close(z, v.mean(-2, keepdim=True).expand(-1, -1, 3, -1))
    torch.testing.assert_close(track.tape.attended[0].attn, torch.full((1, 4, 3, 5), 0.2))


@pytest.mark.parametrize("mask", MASKS.values(), ids=MASKS)
def test_weigh_is_equation_one(qkv: tuple[Tensor, Tensor, Tensor], mask: Tensor | None) -> None:
    q, k, v = qkv
    scores, attn = weigh(q, k, mask)
    expected = q @ k.transpose(-2, -1) / math.sqrt(2)
    expected = expected if mask is None else expected.masked_fill(~mask, -torch.inf)
    torch.testing.assert_close(scores, expected)
    torch.testing.assert_close(attn, scores.softmax(-1).nan_to_num(0.0))
    torch.testing.assert_close(attn @ v, attend(q, k, v, mask=mask))


def test_each_head_by_itself_is_what_all_are_together(qkv: tuple[Tensor, Tensor, Tensor]) -> None:
    bias, mask = torch.randn(1, 4, 3, 5), torch.rand(1, 4, 3, 5) > 0.3
    names = (*EVERYTHING, "bias")
    whole, digested = (
        Tape(keep=names, heads=(3, 1), digest=digest) for digest in (None, lambda kept: kept)
    )
    for tape in (whole, digested):
        track = tape.track("cross", 0)
        attend(*qkv, mask=mask, scoring=Scoring(bias=bias), track=track)
    for name in names:
        torch.testing.assert_close(digested.attended[0].kept[name], whole.attended[0].kept[name])
