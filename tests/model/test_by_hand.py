"""The Lab on a model written out by hand, whose every number follows on paper.

Two layers of attention and nothing else: no norms, MLPs of 0 (Elhage et al. 2021). Four tokens, S A
B C, and four positions. The stream has three parts: tok, the one-hot token, which is also what the
prediction is read from; pos, the one-hot position; prev, which is empty at first.

    L0 H0  attends to the position before (a score of 100 against 0: all of its attention; the first
           position has only itself) and writes its token into prev
    L0 H1  does nothing
    L1 H0  attends to positions whose prev is the query's own token: a score of ln 7 against 0. It
           writes 10 times what it finds into tok: induction
    L1 H1  attends to all alike, and writes 4 times its share of B's

The text S A B A: prev is S, S, A, B. At the last A, L1 H0 has scores 0, 0, ln 7, 0 and attention
(1, 1, 7, 1) / 10: it writes 7 B + S + 2 A. L1 H1 finds one B in four: it writes B. The stream
itself has A. Measured is logit B - logit S = (7 + 1) - 1 = 7.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import log
from typing import Any, cast

import pytest
import torch
from attention_atlas.model.analysis import lab, writes
from attention_atlas.model.analysis.interventions import (
    Intervention,
    bench_of,
    edits_of,
    outcome,
)
from attention_atlas.model.analysis.lab import How, LogitDifference, ReadText
from attention_atlas.model.record import Token
from attention_atlas.model.run import read
from attention_atlas.model.tape import Tape
from attention_atlas.model.transformer import GPT, Config, GPTLayer
from attention_atlas.model.zoo import Card, Loaded
from torch import Tensor, nn

S, A, B, C = range(4)
N = 4  # tokens, and positions
TOK, POS, PREV = (slice(N * i, N * i + N) for i in range(3))
d = 6  # of a head; the last two of its dimensions are not used
METRIC = LogitDifference(position=3, a=B, b=S)
ONE = torch.eye(N)


def head(weight: Tensor, h: int) -> Tensor:
    """A head's rows of W_Q, W_K or W_V, as a map from the stream: (N of d, D)."""
    return weight[h * d : h * d + N]


def close(actual: Tensor, expected: Any) -> None:
    """To 1e-5, whatever their types are."""
    wanted = torch.as_tensor(expected).double()
    torch.testing.assert_close(actual.double(), wanted, atol=1e-5, rtol=1e-5)


@torch.no_grad()
def by_hand() -> GPT:
    model = GPT(Config(N, N, n_layer=2, n_head=2, d_model=2 * d, d_ff=1))
    for parameter in model.parameters():
        parameter.zero_()
    model.embedding.weight[:, TOK], model.position.weight[:, POS] = ONE, ONE
    model.norm = nn.Identity()  # type: ignore[assignment]
    layers = [cast(GPTLayer, layer) for layer in model.decoder]
    for layer in layers:
        layer.attention_norm = layer.feed_forward_norm = nn.Identity()  # type: ignore[assignment]
    before, induction = (layer.attention for layer in layers)
    scale = d**0.5  # scores are divided by it
    head(before.W_Q.weight, 0)[:, POS] = 100 * scale * torch.diag(torch.ones(N - 1), 1)
    head(before.W_K.weight, 0)[:, POS] = ONE
    head(before.W_V.weight, 0)[:, TOK] = ONE
    before.W_O.weight[PREV, :N] = ONE
    head(induction.W_Q.weight, 0)[:, TOK] = log(7) * scale * ONE
    head(induction.W_K.weight, 0)[:, PREV] = ONE
    head(induction.W_V.weight, 0)[:, TOK] = ONE
    induction.W_O.weight[TOK, :N] = 10 * ONE
    head(induction.W_V.weight, 1)[0, B] = 1
    induction.W_O.weight[B, d] = 4
    return model.eval()


LOADED = Loaded(
    Card("by hand", "GPT", {}, ""), cast(Any, None), by_hand(), torch.device("cpu"), "memory"
)


def text(*ids: int) -> ReadText:
    tokens = tuple(Token(i, "SABC"[i], "SABC"[i], n, n + 1) for n, i in enumerate(ids))
    return lab.text_of_tokens(LOADED, {"source": tokens})


CLEAN = text(S, A, B, A)
OTHER_AFTER = text(S, A, C, A)  # C after the first A: induction finds C
OTHER_BEFORE = text(S, C, B, A)  # nothing follows an A: L1 H0 attends to all alike, 10 (1/4 - 1/4)


@torch.inference_mode()
def test_the_model_is_what_is_written_above() -> None:
    tape = Tape()
    read(LOADED, CLEAN.sequences, tape)
    before, induction = (step.attn[0] for step in tape)
    expected = torch.zeros(N, N)
    expected[range(N), (0, 0, 1, 2)] = 1
    close(before[0], expected)
    close(induction[0, 3], [0.1, 0.1, 0.7, 0.1])
    close(induction[1, 3], torch.full((N,), 0.25))
    logits = cast(GPT, LOADED.model).logits(CLEAN.x)[0, 3]
    close(logits, [1.0, 3.0, 8.0, 0.0])
    values = [lab.value_of(each, METRIC) for each in (CLEAN, OTHER_AFTER, OTHER_BEFORE)]
    # C for B: 7 C + S + 2 A and no B at all; nothing after an A: 0 of L1 H0, and B of L1 H1.
    assert values == pytest.approx([7, -1, 1])


EFFECTS: list[tuple[How, ReadText | None, list[list[float]]]] = [
    # L0 H0: no prev, so L1 H0 attends to all alike: 10 (1/4 - 1/4) in place of 6.
    ("zero", None, [[-6, 0], [-6, -1]]),
    # L0 H0 writes S/2 + A/4 + B/4 at each position: every score is the same again. L1 H0 writes, at
    # the four positions, S; (S + A)/2, as no prev is A; (S + A + B)/3, as none is B; and
    # (S + 2 A + 7 B)/10. Ten times their mean has 10 (1/3 + 7/10)/4 of B and 10 (1 + 1/2 + 1/3 +
    # 1/10)/4 of S: -9/4 in place of 6. L1 H1: the mean of 0, 0, 4/3 and 1 in place of 1.
    ("mean_positions", None, [[-6, 0], [-9 / 4 - 6, 7 / 12 - 1]]),
    # L0 H0 still finds A before position 2. L1 H0 writes 7 C + S + 2 A: -1 in place of 6.
    ("resample", OTHER_AFTER, [[0, 0], [-7, -1]]),
    # L0 H0 writes C at position 2: no prev is A. L1 H0 writes 10/4 of each.
    ("resample", OTHER_BEFORE, [[-6, 0], [-6, 0]]),
]


@pytest.mark.parametrize(("how", "second", "effects"), EFFECTS)
def test_an_ablation_has_the_effect_that_it_has_on_paper(
    how: How, second: ReadText | None, effects: list[list[float]]
) -> None:
    given = lab.replacements(how, "decoder", CLEAN, second)
    values = torch.stack(list(lab.sweep(CLEAN, METRIC, "decoder", given, "heads")))
    close(values - 7, effects)


def test_a_mean_over_another_text_is_that_texts() -> None:
    """In S A C A, L1 H1 finds no B; of L1 H0, S and (S + A)/2 and (S + A + C)/3 and (S + 2 A + 7
    C)/10 have no B, and 10 (1 + 1/2 + 1/3 + 1/10)/4 = 29/6 of S."""
    means = lab.Means()
    means.add(OTHER_AFTER.z["decoder"])
    given = lab.replacements("mean", "decoder", CLEAN, references=means)
    rows = torch.stack(list(lab.sweep(CLEAN, METRIC, "decoder", given, "heads")))
    expected = torch.tensor([[-6, 0], [-29 / 6 - 6, -1]])
    close(rows - 7, expected)


@pytest.mark.parametrize("how", ["denoise", "noise"])
def test_a_patch_restores_or_breaks_what_it_does_on_paper(how: How) -> None:
    """Between S A B A (7) and S C B A (1): either induction head is enough, and their shares sum
    to 2. By position, layer 0 matters where the A was, and layer 1 where it is predicted."""
    into, out_of = (OTHER_BEFORE, CLEAN) if how == "denoise" else (CLEAN, OTHER_BEFORE)
    given = lab.replacements(how, "decoder", CLEAN, OTHER_BEFORE)
    start, end = lab.value_of(into, METRIC), lab.value_of(out_of, METRIC)

    def shares(over: lab.Over) -> Tensor:
        rows = torch.stack(list(lab.sweep(into, METRIC, "decoder", given, over)))
        return lab.scaled(rows, start, end)

    close(shares("heads"), [[1.0, 0], [1, 0]])
    expected = torch.tensor([[0.0, 0, 1, 0], [0, 0, 0, 1]])
    close(shares("positions"), expected)
    assert lab.together(into, METRIC, "decoder", given) == pytest.approx(end)


def test_the_first_order_is_the_slope_on_paper() -> None:
    """Of zero. L1 is linear in its outputs: exact. L0 H0 acts through the softmax: the score of
    position 2 is ln 7 times its prev of A, and the metric's slope by it is a (c - mean c) = 7/10
    (10 - 6), c being what a key writes: 2.8 ln 7 = 5.45 where the whole effect is 6."""
    given = lab.replacements("zero", "decoder", CLEAN)
    slopes = lab.first_order(CLEAN, METRIC, "decoder", given, "heads")
    expected = torch.tensor([[-2.8 * log(7), 0], [-6, -1]])
    close(slopes, expected)


def test_each_head_writes_what_it_writes_on_paper() -> None:
    """Into the prediction directly L0 writes nothing: prev is not read. L1 H0 writes by key -1 (S),
    0 (A), 7 (B) and 0 (A)."""
    result = writes.writes(CLEAN, METRIC)
    expected = torch.tensor([[0.0, 0], [6, 1]], dtype=torch.double)
    close(result.heads["decoder"], expected)
    assert (result.embedding, result.bias) == pytest.approx((0, 0))
    by_key = writes.head_writes(CLEAN, 3, result, "decoder", 1, 0)
    close(by_key.writes, [-1.0, 0, 7, 0])
    assert by_key.looks == by_key.largest == 2 and not by_key.is_against(METRIC)


STACKS: list[tuple[Sequence[Intervention], float]] = [
    # Without position 2, L1 H0 has thirds of S, A and A: 10 (0 - 1/3).
    ([Intervention("block", layer=1, head=0, query=3, key=2)], -10 / 3 - 6),
    # All attention to S: 10 (0 - 1).
    ([Intervention("set", layer=1, head=0, query=3, row=(1, 0, 0, 0))], -10 - 6),
    # Scores twice as large: 49 of 52 to position 2: 10 (49 - 1)/52.
    ([Intervention("scale", layer=1, head=0, by=2)], 480 / 52 - 6),
    # Both of a path: as much as one of them alone.
    ([Intervention("zero", layer=0, head=0), Intervention("zero", layer=1, head=0)], -6),
    # Of two heads beside each other: the sum.
    ([Intervention("zero", layer=1, head=0), Intervention("zero", layer=1, head=1)], -7),
    # L0 H0 at position 2 alone is all that counts of it; at position 1, nothing.
    ([Intervention("zero", layer=0, head=0, query=2)], -6),
    ([Intervention("zero", layer=0, head=0, query=1)], 0),
    # From S C B A into position 2: no prev is A.
    ([Intervention("resample", layer=0, head=0, query=2)], -6),
]


@pytest.mark.parametrize(("stack", "effect"), STACKS)
def test_a_stack_has_the_effect_that_it_has_on_paper(
    stack: Sequence[Intervention], effect: float
) -> None:
    bench = bench_of(CLEAN, OTHER_BEFORE)
    edits = [edit for it in stack for edit in edits_of(bench, it, CLEAN)]
    assert outcome(CLEAN, METRIC, edits).value - 7 == pytest.approx(effect, abs=1e-5)
