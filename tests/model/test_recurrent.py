"""The recurrent translator against the paper's equations, and on the same tape as the rest."""

from __future__ import annotations

import pytest
import torch
from attention_atlas.model.recurrent import AdditiveScore, Recurrent
from attention_atlas.model.tape import Edit, Tape
from attention_atlas.model.transformer import Config
from torch import Tensor

CONFIG = Config(vocab_size=50, n_ctx=16, n_layer=1, n_head=1, d_model=8, d_ff=12, dropout=0.5)
SOURCE = torch.tensor([[3, 1, 4, 1, 5]])
TARGET = torch.tensor([[1, 7, 2]])


@pytest.fixture
def recurrent() -> Recurrent:
    torch.manual_seed(0)
    model = Recurrent(CONFIG)
    for parameter in model.parameters():
        parameter.data += 0.4 * torch.randn_like(parameter)
    return model.eval()


def looked(model: Recurrent, *edits: Edit) -> tuple[Tensor, Tape]:
    tape = Tape(keep=("q", "k", "v", "mask", "scores", "attn", "z"), edits=edits)
    return model(SOURCE, TARGET, tape), tape


def gru(cell: torch.nn.Module, x: Tensor, h: Tensor, suffix: str = "") -> Tensor:
    """Cho et al. 2014, with torch's order of gates: reset, update, new."""
    gates_x = x @ getattr(cell, f"weight_ih{suffix}").T + getattr(cell, f"bias_ih{suffix}")
    gates_h = h @ getattr(cell, f"weight_hh{suffix}").T + getattr(cell, f"bias_hh{suffix}")
    (rx, zx, nx), (rh, zh, nh) = gates_x.chunk(3, -1), gates_h.chunk(3, -1)
    r, z = torch.sigmoid(rx + rh), torch.sigmoid(zx + zh)
    return (1 - z) * torch.tanh(nx + r * nh) + z * h


def by_hand(model: Recurrent) -> tuple[Tensor, Tensor]:
    """Section 3 and appendix A, one sum at a time: logits (Tq, V) and attention (Tq, Tk)."""
    e = model.embedding.weight
    ahead, back = [torch.zeros(6)], [torch.zeros(6)]
    for i in SOURCE[0]:
        ahead.append(gru(model.encoder, e[i], ahead[-1], "_l0"))
    for i in SOURCE[0].flip(0):
        back.append(gru(model.encoder, e[i], back[-1], "_l0_reverse"))
    h = [torch.cat(both) for both in zip(ahead[1:], back[:0:-1], strict=True)]
    s = torch.tanh(model.start(back[-1]))
    logits, attn = [], []
    for i in TARGET[0]:
        energy = [model.score.v(torch.tanh(model.W_Q(s) + model.W_K(state))) for state in h]
        alpha = torch.cat(energy).softmax(0)
        c = sum(a * state for a, state in zip(alpha, h, strict=True))
        s = gru(model.decoder, torch.cat([e[i], c]), s)
        t = model.readout(torch.cat([s, e[i], c]))
        logits.append(torch.stack([t[n : n + 2].max() for n in range(0, 16, 2)]) @ e.T)
        attn.append(alpha)
    return torch.stack(logits), torch.stack(attn)


def test_it_is_the_papers_model(recurrent: Recurrent) -> None:
    logits, attn = by_hand(recurrent)
    result, tape = looked(recurrent)
    torch.testing.assert_close(result[0], logits, atol=1e-5, rtol=1e-5)
    [step] = tape
    assert (step.kind, step.layer) == ("cross", 0)
    torch.testing.assert_close(step.attn[0, 0], attn, atol=1e-6, rtol=1e-5)


def test_what_it_wrote_down_has_labels_worth_of_numbers(recurrent: Recurrent) -> None:
    [step] = looked(recurrent)[1]
    shapes = {name: tuple(tensor.shape) for name, tensor in step.kept.items()}
    assert shapes == {
        "q": (1, 1, 3, 8),
        "k": (1, 1, 5, 8),
        "v": (1, 1, 5, 12),
        "mask": (1, 1, 3, 5),
        "scores": (1, 1, 3, 5),
        "attn": (1, 1, 3, 5),
        "z": (1, 1, 3, 12),
    }
    torch.testing.assert_close(step.attn.sum(-1), torch.ones(1, 1, 3))
    torch.testing.assert_close(step.attn @ step.v, step.z)


def test_a_tape_changes_nothing(recurrent: Recurrent) -> None:
    assert torch.equal(looked(recurrent)[0], recurrent(SOURCE, TARGET))


def test_learning_and_looking_give_the_same(recurrent: Recurrent) -> None:
    looking = recurrent(SOURCE, TARGET)
    recurrent.train()
    recurrent.dropout.eval()
    learning = recurrent(SOURCE, TARGET)
    torch.testing.assert_close(learning, looking, atol=1e-6, rtol=1e-5)


def test_it_does_not_know_what_follows(recurrent: Recurrent) -> None:
    short = recurrent(SOURCE, TARGET[:, :2])
    torch.testing.assert_close(recurrent(SOURCE, TARGET)[:, :2], short)


def test_padding_is_nothing(recurrent: Recurrent) -> None:
    wider = torch.tensor([[3, 1, 4, 1, 5, 0, 0], [9, 2, 6, 5, 3, 5, 8]])
    tape = Tape()
    result = recurrent(wider, TARGET.repeat(2, 1), tape, wider != 0)
    torch.testing.assert_close(result[:1], recurrent(SOURCE, TARGET))
    assert (tape.attended[0].attn[0, ..., 5:] == 0).all()
    assert not result.isnan().any()


def test_a_blocked_key_gets_nothing_from_its_query_alone(recurrent: Recurrent) -> None:
    before = looked(recurrent)[1].attended[0].attn
    after = looked(recurrent, Edit("block", query=1, key=2))[1].attended[0].attn
    assert after[0, 0, 1, 2] == 0
    assert torch.equal(after[0, 0, 0], before[0, 0, 0])
    torch.testing.assert_close(after.sum(-1), torch.ones(1, 1, 3))
    assert not torch.equal(after[0, 0, 2], before[0, 0, 2])  # what follows feels it


def test_a_row_can_be_set(recurrent: Recurrent) -> None:
    row = (0.0, 1.0, 0.0, 3.0, 0.0)
    [step] = looked(recurrent, Edit("set", query=2, row=row))[1]
    assert step.attn[0, 0, 2].tolist() == [0.0, 0.25, 0.0, 0.75, 0.0]


def test_without_its_context_it_does_not_see_the_source(recurrent: Recurrent) -> None:
    ablated = Tape(keep=("z",), edits=[Edit("ablate")])
    recurrent(SOURCE, TARGET, ablated)
    assert (ablated.attended[0].z == 0).all()


def test_a_mean_over_positions_is_not_known_yet(recurrent: Recurrent) -> None:
    with pytest.raises(ValueError, match="ablate to zero"):
        looked(recurrent, Edit("ablate", value="mean"))


def test_a_score_is_a_sum_through_tanh() -> None:
    score = AdditiveScore(3)
    q, k = torch.randn(1, 1, 2, 3), torch.randn(1, 1, 4, 3)
    expected = torch.tanh(q[0, 0, 1] + k[0, 0, 2]) @ score.v.weight[0]
    torch.testing.assert_close(score(q, k)[0, 0, 1, 2], expected)


@pytest.mark.parametrize(
    "config", [Config(9, 9, 2, 1, 8, 12), Config(9, 9, 1, 2, 8, 12), Config(9, 9, 1, 1, 8, 13)]
)
def test_other_sizes_are_refused(config: Config) -> None:
    with pytest.raises(ValueError, match="1 layer, 1 head and states of even width"):
        Recurrent(config)
