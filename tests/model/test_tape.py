"""A tape keeps what it was asked for, and edits what it was told to. Nothing else."""

from __future__ import annotations

import pytest
import torch
from attention_atlas.model.attention import attend
from attention_atlas.model.tape import Attended, Edit, Tape
from torch import Tensor

EVERYTHING = ("q", "k", "v", "mask", "scores", "attn", "z")
CAUSAL = torch.ones(3, 5, dtype=torch.bool).tril(2)
OTHERS = [0, 1, 3]  # heads, when head 2 is edited
NO_OP = Edit("scale", by=1.0)  # takes the explicit path, as every edit does
WHERE = [
    (Edit("ablate"), True),
    (Edit("ablate", kind="decoder"), True),
    (Edit("ablate", layer=1), True),
    (Edit("ablate", kind="decoder", layer=1), True),
    (Edit("ablate", kind="cross"), False),
    (Edit("ablate", layer=0), False),
    (Edit("ablate", kind="cross", layer=1), False),
    (Edit("ablate", kind="decoder", layer=0), False),
]


def edited(*edits: Edit) -> Attended:
    """Decoder layer 1 on B 1, H 4, Tq 3, Tk 5, d 2, where a query may not look ahead."""
    torch.manual_seed(0)
    q, k, v = torch.randn(1, 4, 3, 2), torch.randn(1, 4, 5, 2), torch.randn(1, 4, 5, 2)
    tape = Tape(keep=EVERYTHING, edits=edits)
    attend(q, k, v, mask=CAUSAL, track=tape.track("decoder", 1))
    return tape.attended[0]


@pytest.fixture
def plain() -> Attended:
    return edited(NO_OP)


def same(actual: Attended, expected: Attended, *names: str, heads: list[int]) -> None:
    for name in names:
        result, wanted = (getattr(step, name) for step in (actual, expected))
        result, wanted = (x.expand(-1, 4, -1, -1)[:, heads] for x in (result, wanted))
        assert torch.equal(result, wanted), name


@pytest.mark.parametrize(("edit", "applies"), WHERE)
def test_an_edit_applies_where_it_says(edit: Edit, applies: bool, plain: Attended) -> None:
    assert (edited(NO_OP, edit).z == 0).all() == applies
    same(edited(NO_OP, edit), plain, "scores", "attn", heads=[0, 1, 2, 3])


def test_ablate_makes_a_head_zero(plain: Attended) -> None:
    step = edited(Edit("ablate", head=2))
    assert (step.z[:, 2] == 0).all()
    same(step, plain, "z", heads=OTHERS)
    same(step, plain, "q", "k", "v", "mask", "scores", "attn", heads=[0, 1, 2, 3])


def test_ablate_makes_a_head_its_mean_over_positions(plain: Attended) -> None:
    step = edited(Edit("ablate", head=2, value="mean"))
    mean = (plain.z[0, 2, 0] + plain.z[0, 2, 1] + plain.z[0, 2, 2]) / 3
    torch.testing.assert_close(step.z[0, 2], torch.stack([mean, mean, mean]))
    same(step, plain, "z", heads=OTHERS)


def test_the_mean_is_each_heads_own(plain: Attended) -> None:
    step = edited(Edit("ablate", value="mean"))
    torch.testing.assert_close(step.z, plain.z.mean(2, keepdim=True).expand(1, 4, 3, 2))


def test_block_hides_a_key_from_a_query(plain: Attended) -> None:
    step = edited(Edit("block", head=2, query=1, key=0))
    expected = plain.scores[0, 2, 1].clone()
    expected[0] = -torch.inf
    assert torch.equal(step.scores[0, 2, 1], expected)
    assert torch.equal(step.attn[0, 2, 1], expected.softmax(-1))
    assert torch.equal(step.attn[0, 2, [0, 2]], plain.attn[0, 2, [0, 2]])
    same(step, plain, "mask", "scores", "attn", "z", heads=OTHERS)


def test_block_hides_a_key_from_every_query(plain: Attended) -> None:
    step = edited(Edit("block", key=1))
    assert (step.attn[..., 1] == 0).all()
    assert not step.mask[..., 1].any()
    torch.testing.assert_close(step.attn.sum(-1), torch.ones(1, 4, 3))


def test_block_leaves_a_query_nothing(plain: Attended) -> None:
    step = edited(Edit("block", query=1))
    assert (step.attn[:, :, 1] == 0).all()
    assert (step.z[:, :, 1] == 0).all()
    assert torch.equal(step.z[:, :, [0, 2]], plain.z[:, :, [0, 2]])


def test_set_replaces_a_row_normalised(plain: Attended) -> None:
    step = edited(Edit("set", head=2, query=2, row=(1.0, 0.0, 2.0, 0.0, 1.0)))
    assert torch.equal(step.attn[0, 2, 2], torch.tensor([0.25, 0.0, 0.5, 0.0, 0.25]))
    torch.testing.assert_close(step.z[0, 2, 2], step.attn[0, 2, 2] @ step.v[0, 2])
    assert torch.equal(step.attn[0, 2, :2], plain.attn[0, 2, :2])
    same(step, plain, "scores", "attn", "z", heads=OTHERS)


def test_set_does_not_look_where_looking_is_not_allowed() -> None:
    step = edited(Edit("set", row=(1.0, 0.0, 1.0, 2.0, 4.0)))
    rows = [[1 / 2, 0, 1 / 2, 0, 0], [1 / 4, 0, 1 / 4, 1 / 2, 0], [1 / 8, 0, 1 / 8, 1 / 4, 1 / 2]]
    torch.testing.assert_close(step.attn, torch.tensor(rows).expand(1, 4, 3, 5))


@pytest.mark.parametrize("row", [(0.0, 0.0, 0.0, 0.0, 1.0), (0.0,) * 5])
def test_set_refuses_a_row_without_weight_where_looking_is_allowed(row: tuple[float, ...]) -> None:
    with pytest.raises(ValueError, match="row has no weight"):
        edited(Edit("set", query=0, row=row))


@pytest.mark.parametrize("size", [1e-60, 1e300])
def test_set_normalises_rows_of_any_size(size: float) -> None:
    step = edited(Edit("set", query=2, row=(size, size, size, size, 0.0)))
    torch.testing.assert_close(step.attn[:, :, 2].sum(-1), torch.ones(1, 4))


def test_scale_refuses_what_float32_cannot_hold() -> None:
    with pytest.raises(ValueError, match="too large for float32"):
        edited(Edit("scale", by=1e300))


def test_set_refuses_a_row_of_another_length() -> None:
    with pytest.raises(ValueError, match="row has 3 numbers; there are 5 keys"):
        edited(Edit("set", query=0, row=(1.0, 2.0, 3.0)))


@pytest.mark.parametrize("by", [0.5, 3.0, -1.0])
def test_scale_multiplies_the_scores_before_the_mask(by: float, plain: Attended) -> None:
    step = edited(Edit("scale", head=2, by=by))
    expected = (plain.scores[:, 2] * by).masked_fill(~CAUSAL, -torch.inf)
    assert torch.equal(step.scores[:, 2], expected)
    torch.testing.assert_close(step.attn[:, 2], expected.softmax(-1))
    same(step, plain, "mask", "scores", "attn", "z", heads=OTHERS)


def test_scale_by_zero_looks_everywhere_alike() -> None:
    step = edited(Edit("scale", by=0.0))
    expected = CAUSAL / CAUSAL.sum(-1, keepdim=True)
    torch.testing.assert_close(step.attn, expected.expand(1, 4, 3, 5))


def test_edits_add_up(plain: Attended) -> None:
    step = edited(
        Edit("scale", head=1, by=2.0), Edit("scale", head=1, by=3.0), Edit("ablate", head=3)
    )
    assert torch.equal(step.scores[0, 1], plain.scores[0, 1] * 2 * 3)
    assert (step.z[:, 3] == 0).all()
    same(step, plain, "attn", "z", heads=[0, 2])


def fill(tape: Tape) -> Tape:
    """Each kind at layers 0 and 1, (1, 4, 3, 2)."""
    x = torch.arange(24.0).view(1, 4, 3, 2)
    tracks = [tape.track(kind, layer) for kind in ("encoder", "cross") for layer in (0, 1)]
    for track in filter(None, tracks):
        track.keep({"q": x, "attn": x + 100})
    return tape


def contents(tape: Tape) -> list[tuple[str, int, tuple[str, ...]]]:
    return [(step.kind, step.layer, tuple(step.kept)) for step in tape]


def test_a_tape_keeps_attention_everywhere_by_default() -> None:
    assert contents(fill(Tape())) == [
        ("encoder", 0, ("attn",)),
        ("encoder", 1, ("attn",)),
        ("cross", 0, ("attn",)),
        ("cross", 1, ("attn",)),
    ]


def test_a_tape_keeps_the_kinds_layers_and_quantities_it_was_asked_for() -> None:
    tape = fill(Tape(keep=("q",), kinds=("cross",), layers=(1,)))
    assert contents(tape) == [("cross", 1, ("q",))]


def test_a_tape_keeps_the_heads_it_was_asked_for_in_their_order() -> None:
    [step] = fill(Tape(kinds=("cross",), layers=(0,), heads=(3, 1)))
    x = torch.arange(24.0).view(1, 4, 3, 2) + 100
    assert torch.equal(step.attn, x[:, [3, 1]])


def test_an_edit_is_made_where_nothing_is_kept() -> None:
    tape = Tape(layers=(), edits=[Edit("ablate", layer=1)])
    assert tape.track("encoder", 0) is None
    q = torch.ones(1, 4, 3, 2)
    assert (attend(q, q, q, track=tape.track("encoder", 1)) == 0).all()
    assert contents(tape) == []


def test_what_was_not_kept_is_a_clear_error(plain: Attended) -> None:
    [step] = fill(Tape(kinds=("cross",), layers=(0,)))
    with pytest.raises(ValueError, match=r"did not keep scores; it kept \['attn'\]"):
        _ = step.scores
    with pytest.raises(AttributeError, match="weights"):
        _ = step.weights


def test_an_edit_leaves_its_inputs_alone() -> None:
    q = torch.ones(1, 4, 3, 2)
    mask = torch.ones(1, 4, 3, 3, dtype=torch.bool)
    edits = [Edit("block", key=0), Edit("scale", by=2.0), Edit("ablate", head=0)]
    attend(q, q, q, mask=mask, track=Tape(edits=edits).track("encoder", 0))
    assert mask.all()
    assert (q == 1).all()


def test_a_batch_is_edited_as_one() -> None:
    torch.manual_seed(0)
    q: Tensor = torch.randn(2, 4, 3, 2)
    mask = torch.tensor([[True, True, True], [True, True, False]])[:, None, None]
    tape = Tape(edits=[Edit("set", query=0, row=(0.0, 1.0, 1.0))])
    attend(q, q, q, mask=mask, track=tape.track("encoder", 0))
    assert tape.attended[0].attn[:, 0, 0].tolist() == [[0.0, 0.5, 0.5], [0.0, 1.0, 0.0]]
