"""A sketch is what all attention of a run would give, in one pass and little memory."""

from __future__ import annotations

import pytest
import torch
from attention_atlas.model import attention
from attention_atlas.model.metrics import measured
from attention_atlas.model.reductions import thumbnails
from attention_atlas.model.run import run
from attention_atlas.model.sketch import sketch
from attention_atlas.model.spec import Spec
from attention_atlas.model.tape import Edit, Tape
from attention_atlas.model.zoo import Loaded

from tests.model.test_run import bert, gpt, recurrent, translator  # noqa: F401, the fixtures

TEXT = "the river bank was closed and the money was gone"
KINDS = {
    "bert": ("encoder",),
    "gpt": ("decoder",),
    "translator": ("encoder", "decoder", "cross"),
    "recurrent": ("cross",),
}
EVERY = [(name, kind) for name, kinds in KINDS.items() for kind in kinds]
EDITS = Edit("block", layer=1, head=0, key=2), Edit("ablate", layer=0, head=1)


@pytest.fixture
def loaded(request: pytest.FixtureRequest, name: str) -> Loaded:
    return request.getfixturevalue(name)


@pytest.mark.parametrize(("name", "kind"), EVERY)
@pytest.mark.parametrize("size", [1, 3, 64])
@pytest.mark.parametrize("heads_at_a_time", [1, 2, 100])
def test_a_sketch_is_the_thumbnails_of_the_run(loaded, kind, size, heads_at_a_time, monkeypatch):
    spec = Spec(text=TEXT)
    whole = run(loaded, spec)
    record = whole.records[kind]
    n_cell = record.attn.size(-2) * record.attn.size(-1)
    monkeypatch.setattr(attention, "VISIT", heads_at_a_time * n_cell)
    seen, drawn = sketch(loaded, spec, kind, size)
    attn, mask, block = thumbnails(record, size)
    torch.testing.assert_close(drawn.attn, attn, atol=2e-6, rtol=1e-5)
    assert torch.equal(drawn.mask.expand(attn.shape), mask.expand(attn.shape))
    assert drawn.block == block
    assert (seen.sequences, seen.target, seen.predictions) == (
        whole.sequences,
        whole.target,
        whole.predictions,
    )
    for metric, numbers in measured(record).items():
        torch.testing.assert_close(drawn.metrics[metric], numbers, atol=2e-6, rtol=1e-5)
    assert not sketch(loaded, spec, kind, size, measured=False)[1].metrics


@pytest.mark.parametrize(("name", "kind"), EVERY[:5])
@pytest.mark.parametrize("edit", EDITS, ids=lambda edit: edit.op)
def test_a_sketch_of_an_edited_run(loaded, kind, edit):
    spec = Spec(TEXT, target=TEXT if "cross" in loaded.kinds else None, edits=(edit,))
    attn, _, _ = thumbnails(run(loaded, spec).records[kind], 3)
    torch.testing.assert_close(sketch(loaded, spec, kind, 3)[1].attn, attn, atol=2e-6, rtol=1e-5)


@pytest.mark.parametrize("name", ["bert", "gpt", "translator"])
def test_no_softmax_is_computed_again_where_the_kernel_gives_its_sums(loaded, monkeypatch):
    def never(*_: object, **__: object) -> None:
        raise AssertionError("weigh was called")

    assert attention.FUSED_ON_CPU is not None  # of the torch versions that are allowed
    expected = sketch(loaded, Spec(text=TEXT), loaded.kinds[0], 5)[1]
    monkeypatch.setattr(attention, "weigh", never)
    drawn = sketch(loaded, Spec(text=TEXT), loaded.kinds[0], 5)[1]
    assert torch.equal(drawn.attn, expected.attn)


@pytest.mark.parametrize("name", ["bert", "gpt", "translator"])
def test_without_the_kernels_sums_it_is_the_same(loaded, monkeypatch):
    expected = sketch(loaded, Spec(text=TEXT), loaded.kinds[0], 5)[1]
    monkeypatch.setattr(attention, "FUSED_ON_CPU", None)
    drawn = sketch(loaded, Spec(text=TEXT), loaded.kinds[0], 5)[1]
    torch.testing.assert_close(drawn.attn, expected.attn, atol=2e-6, rtol=1e-5)


@pytest.mark.parametrize("shape", [(1, 7, 7), (2, 5, 9), (1, 130, 130), (3, 1, 9)])
@pytest.mark.parametrize("masked", ["no", "causal", "padding", "rows without a key", "bias"])
def test_the_kernel_asked_for_its_sums_gives_the_same_bits(shape, masked):
    B, Tq, Tk = shape
    torch.manual_seed(5)
    q, k, v = (torch.randn(B, 3, n, 8) for n in (Tq, Tk, Tk))
    mask = {
        "causal": torch.ones(Tq, Tk, dtype=torch.bool).tril(Tk - Tq),
        "padding": torch.rand(B, 1, 1, Tk) > 0.3,
        "rows without a key": torch.rand(1, 3, Tq, 1).expand(1, 3, Tq, Tk) > 0.5,
    }.get(masked)
    bias = torch.randn(1, 3, Tq, Tk) if masked == "bias" else None
    scoring = attention.Scoring(bias=bias)
    plain = attention.attend(q, k, v, mask=mask, scoring=scoring)
    tape = Tape(keep=("log_attn",), digest=lambda kept: kept)
    with torch.inference_mode():
        z = attention.attend(q, k, v, mask=mask, scoring=scoring, track=tape.track("cross", 0))
    assert torch.equal(z, plain)
    logs = tape.attended[0].log_attn
    expected = attention.weigh(q, k, mask, scoring)[1]
    torch.testing.assert_close(logs.exp(), expected, atol=2e-6, rtol=1e-5)
