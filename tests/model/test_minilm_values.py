"""Known values of MiniLM's heads and tokens: the cosine of two sentences, and norms of attention.

From an implementation by hooks, in float32 as the model is here.
"""

from __future__ import annotations

from typing import NamedTuple

import pytest
import torch
from attention_atlas.model.analysis import lab, lab_metrics
from attention_atlas.model.analysis.attributions import Row, attribution, row_of
from attention_atlas.model.analysis.writes import DirectPath
from attention_atlas.model.hub.library import packaged
from attention_atlas.model.hub.opening import open_model
from attention_atlas.model.run import read
from attention_atlas.model.spec import Spec
from attention_atlas.model.tape import Tape
from torch import Tensor

NAME = "all-MiniLM-L6-v2"
RIVER = "He sat on the river bank and watched the water."
MONEY = "She opened an account at the bank to save money."
BANK = 6
pytestmark = [
    pytest.mark.weights,
    pytest.mark.skipif(NAME not in packaged(), reason="make pretrained installs the models"),
]


@pytest.fixture(scope="module")
def row() -> Row:
    """The row of "bank", and as the metric the cosine of the two sentences."""
    loaded = open_model(packaged()[NAME], torch.device("cpu"))
    river, money = (lab.text_of(loaded, Spec(text)) for text in (RIVER, MONEY))
    return row_of(river, lab_metrics.cosine_of(river, money), 0, 0, BANK)


ZERO = {(0, 4): 0.02535, (5, 7): -0.03577, (5, 8): 0.02248, (5, 10): -0.03036}
SLOPES = {(0, 4): -0.02011, (5, 6): -0.02056, (5, 8): -0.02651, (5, 10): 0.02046}


def test_heads_that_hold_two_sentences_apart(row: Row) -> None:
    start = lab.value_of(row.text, row.metric)
    assert start == pytest.approx(0.348483, abs=2e-6)
    given = lab.replacements("zero", "encoder", row.text)
    values = lab.sweep(row.text, row.metric, "encoder", given, "heads")
    change = torch.stack(list(values)) - start
    slopes = -lab.first_order(row.text, row.metric, "encoder", given, "heads")
    for place, effect in ZERO.items():
        assert change[place].item() == pytest.approx(effect, abs=2e-5), place
    for place, slope in SLOPES.items():
        assert slopes[place].item() == pytest.approx(slope, abs=2e-5), place
    assert lab.rank_agreement(change, slopes) == pytest.approx(0.797, abs=1e-3)


class Norms(NamedTuple):
    """Of each layer."""

    attn: list[Tensor]  # (H, Tq, Tk)
    single: list[Tensor]  # |a f(x)|, (H, Tq, Tk)
    summed: list[Tensor]  # |sum over heads of a f(x)|, (Tq, Tk)
    gaps: list[float]  # of all that is sent and b_O, from what attention gives


@torch.inference_mode()
def norms_of(row: Row) -> Norms:
    path = DirectPath(Tape(keep=("attn", "v", "z")))
    with path:
        read(row.text.loaded, row.text.sequences, path.tape)
    norms = Norms([], [], [], [])
    for step in sorted(path.tape, key=lambda step: step.layer):
        project = path.maps["encoder", step.layer]
        n_head, n_token, _ = step.v[0].shape
        apart = torch.einsum("hkd,hg->hkgd", step.v[0], torch.eye(n_head))  # a head's v alone
        f = project(apart.flatten(2)).double()  # (H, Tk, D)
        sent = step.attn[0, ..., None].double() * f[:, None]  # (H, Tq, Tk, D)
        output = project(step.z[0].transpose(0, 1).flatten(1)[None])[0]
        norms.attn.append(step.attn[0])
        norms.single.append(sent.norm(dim=-1))
        norms.summed.append(sent.sum(0).norm(dim=-1))
        norms.gaps.append((sent.sum((0, 2)) - output).abs().max().item())
    return norms


def on_special(rows: Tensor) -> float:
    """The share of [CLS] and [SEP], the mean over rows."""
    share = rows[..., [0, -1]].sum(-1) / rows.sum(-1)
    return share.mean().item()


def test_special_tokens_are_looked_at_and_pass_little_on(row: Row) -> None:
    """Kobayashi et al. 2020, on a model whose weights are at hand."""
    norms = norms_of(row)
    shares = [[on_special(rows) for rows in layers] for layers in norms[:3]]
    assert shares[0] == pytest.approx([0.338, 0.599, 0.606, 0.624, 0.698, 0.452], abs=6e-4)
    assert shares[1] == pytest.approx([0.155, 0.212, 0.174, 0.169, 0.2, 0.091], abs=6e-4)
    assert shares[2] == pytest.approx([0.128, 0.154, 0.124, 0.131, 0.153, 0.059], abs=6e-4)
    assert max(norms.gaps) < 1e-5, "all that is sent, and the bias, is what attention gives"


STORIES = {
    "integrated_gradients": {
        "bank": 0.0962, "watched": 0.0413, "[CLS]": 0.0336, "water": 0.0273, "river": 0.0231,
    },
    "leave_one_out": {"bank": 0.1492, "river": -0.1046, "sat": -0.064, "He": -0.0401},
    "rollout": {"[CLS]": 0.6596, "[SEP]": 0.0979, ".": 0.0397, "bank": 0.0303, "river": 0.0243},
}  # fmt: skip


@pytest.mark.parametrize("method", STORIES)
def test_three_methods_tell_three_stories(row: Row, method: str) -> None:
    words = [token.text for token in row.text.sequences["source"]]
    values = attribution(row, method).values
    assert values is not None
    told = dict(zip(words, values.tolist(), strict=True))
    assert {word: told[word] for word in STORIES[method]} == pytest.approx(
        STORIES[method], abs=1e-4
    )


def test_integrated_gradients_sum_to_the_difference_from_an_empty_input(row: Row) -> None:
    result = attribution(row, "integrated_gradients")
    assert result.values is not None and result.complete is not None
    assert result.values.sum().item() == pytest.approx(0.310712, abs=2e-5)
    assert result.complete.number < 2e-5
