"""The three architectures: what must hold for any weights."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from attention_atlas.model.tape import Edit, Tape
from attention_atlas.model.transformer import GPT, Bert, Config, EncoderDecoder, Transformer
from torch import Tensor
from torch.nn import functional as F

IDS = torch.tensor([[3, 1, 4, 1, 5]])
SEGMENTS = torch.tensor([[0, 0, 0, 1, 1]])
SOURCE, TARGET = torch.tensor([[3, 1, 4, 1, 5]]), torch.tensor([[9, 2, 6]])
INPUTS = {"gpt": (IDS,), "bert": (IDS, SEGMENTS), "encoder_decoder": (SOURCE, TARGET)}
LAYERS = {
    "gpt": [("decoder", 0, 5, 5), ("decoder", 1, 5, 5)],
    "bert": [("encoder", 0, 5, 5), ("encoder", 1, 5, 5)],
    "encoder_decoder": [
        ("encoder", 0, 5, 5),
        ("encoder", 1, 5, 5),
        ("decoder", 0, 3, 3),
        ("cross", 0, 3, 5),
        ("decoder", 1, 3, 3),
        ("cross", 1, 3, 5),
    ],
}


@pytest.fixture(params=INPUTS)
def name(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def model(name: str, request: pytest.FixtureRequest) -> Transformer:
    return request.getfixturevalue(name)


@pytest.fixture
def fused_calls(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """(Tq, Tk) of each call of the fused kernel."""
    calls: list[tuple[int, int]] = []
    fused = F.scaled_dot_product_attention

    def spy(q: Tensor, k: Tensor, v: Tensor, **options: Tensor) -> Tensor:
        calls.append((q.size(-2), k.size(-2)))
        return fused(q, k, v, **options)

    monkeypatch.setattr(F, "scaled_dot_product_attention", spy)
    return calls


def logits(model: Transformer, *inputs: Tensor | Tape) -> Tensor:
    out = model(*inputs)
    return getattr(out, "logits", out)


def test_a_tape_changes_nothing(name: str, model: Transformer) -> None:
    tape = Tape(keep=("q", "k", "v", "mask", "scores", "attn", "z"))
    assert torch.equal(logits(model, *INPUTS[name]), logits(model, *INPUTS[name], tape))


def test_a_tape_has_every_layer_of_every_kind(name: str, model: Transformer) -> None:
    tape = Tape()
    model(*INPUTS[name], tape)
    rows = [(step.kind, step.layer, *step.attn.shape[-2:]) for step in tape]
    assert rows == LAYERS[name]
    assert {step.kind for step in tape} == set(model.kinds)


@pytest.mark.parametrize("training", [False, True])
def test_attention_rows_sum_to_one(name: str, model: Transformer, training: bool) -> None:
    tape = Tape()
    model.train(training)(*INPUTS[name], tape)
    for step in tape:
        torch.testing.assert_close(step.attn.sum(-1), torch.ones(step.attn.shape[:-1]))


def test_gpt_never_looks_ahead(gpt: GPT) -> None:
    tape = Tape()
    gpt(IDS, tape)
    for step in tape:
        assert (step.attn.triu(1) == 0).all()


def test_gpt_does_not_know_what_follows(gpt: GPT) -> None:
    other = torch.tensor([[3, 1, 4, 40, 41]])
    assert torch.equal(gpt(IDS)[:, :3], gpt(other)[:, :3])
    assert not torch.equal(gpt(IDS)[:, 3], gpt(other)[:, 3])


def test_the_decoder_never_looks_ahead(encoder_decoder: EncoderDecoder) -> None:
    tape = Tape(kinds=("decoder",))
    encoder_decoder(SOURCE, TARGET, tape)
    for step in tape:
        assert (step.attn.triu(1) == 0).all()


def test_the_decoder_does_not_know_what_follows(encoder_decoder: EncoderDecoder) -> None:
    other = torch.tensor([[9, 2, 40]])
    here, present = encoder_decoder(SOURCE, TARGET), encoder_decoder(SOURCE, other)
    assert torch.equal(here[:, :2], present[:, :2])
    assert not torch.equal(here[:, 2], present[:, 2])


PADDED = torch.tensor([[True] * 5, [True, True, True, False, False]])


def test_bert_gives_padding_nothing(bert: Bert) -> None:
    tape = Tape()
    bert(IDS.repeat(2, 1), SEGMENTS.repeat(2, 1), tape, PADDED)
    for step in tape:
        assert (step.attn[1, ..., 3:] == 0).all()
        assert not step.attn.isnan().any()


def test_the_encoder_decoder_gives_padding_nothing(encoder_decoder: EncoderDecoder) -> None:
    tape = Tape(kinds=("encoder", "cross"))
    encoder_decoder(SOURCE.repeat(2, 1), TARGET.repeat(2, 1), tape, PADDED)
    for step in tape:
        assert (step.attn[1, ..., 3:] == 0).all()
        assert not step.attn.isnan().any()


def test_padding_is_as_if_it_were_not_there(bert: Bert) -> None:
    padded = bert(IDS, SEGMENTS, None, PADDED[1:]).logits[:, :3]
    torch.testing.assert_close(padded, bert(IDS[:, :3], SEGMENTS[:, :3]).logits)


def test_two_threads_on_one_model_never_mix(gpt: GPT) -> None:
    torch.manual_seed(1)
    inputs = [torch.randint(50, (1, 2 + i % 15)) for i in range(400)]

    def call(ids: Tensor) -> Tensor:
        tape = Tape(layers=(1,))
        gpt(ids, tape)
        return tape.attended[0].attn

    with torch.no_grad(), ThreadPoolExecutor(4) as pool:
        expected = [call(ids) for ids in inputs]
        values = list(pool.map(call, inputs))
    assert sum(not torch.equal(a, b) for a, b in zip(values, expected, strict=True)) == 0


def test_a_layer_not_asked_for_takes_the_fused_path(
    encoder_decoder: EncoderDecoder, fused_calls: list[tuple[int, int]]
) -> None:
    edit = Edit("scale", kind="cross", layer=1, by=2.0)
    encoder_decoder(SOURCE, TARGET, Tape(layers=(), edits=[edit]))
    assert fused_calls == [(5, 5), (5, 5), (3, 3), (3, 5), (3, 3)]


def test_only_the_layers_and_heads_asked_for_compute_scores(
    gpt: GPT, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[torch.Size] = []
    softmax = Tensor.softmax

    def spy(scores: Tensor, dim: int) -> Tensor:
        calls.append(scores.shape)
        return softmax(scores, dim=dim)

    monkeypatch.setattr(Tensor, "softmax", spy)
    gpt(IDS, Tape(layers=(1,), heads=(2, 0)))
    assert calls == [(1, 2, 5, 5)]


EDITS = [
    Edit("ablate", layer=1, head=2),
    Edit("ablate", layer=1, head=2, value="mean"),
    Edit("block", layer=1, head=2, query=3, key=1),
    Edit("set", layer=1, head=2, query=3, row=(1.0, 0.0, 0.0, 0.0, 0.0)),
    Edit("scale", layer=1, head=2, by=0.1),
]


@pytest.mark.parametrize("edit", EDITS, ids=lambda edit: edit.op)
def test_an_edit_is_felt_from_its_layer_on(bert: Bert, edit: Edit) -> None:
    before, after = Tape(keep=("z",)), Tape(keep=("z",), edits=[edit])
    plain, edited = bert(IDS, SEGMENTS, before), bert(IDS, SEGMENTS, after)
    same_head = (after.attended[1].z == before.attended[1].z).flatten(2).all(-1)
    assert torch.equal(after.attended[0].z, before.attended[0].z)
    assert not same_head[0, 2]
    assert not torch.equal(edited.logits, plain.logits)


def test_ablating_every_head_leaves_no_trace_of_other_tokens(gpt: GPT) -> None:
    other = torch.tensor([[40, 41, 42, 43, 5]])
    everywhere = [Edit("ablate")]
    here, present = gpt(IDS, Tape(edits=everywhere)), gpt(other, Tape(edits=everywhere))
    assert torch.equal(here[:, 4], present[:, 4])


def test_blocking_cross_attention_hides_the_source(encoder_decoder: EncoderDecoder) -> None:
    other = torch.tensor([[7, 7]])
    block = [Edit("block", kind="cross")]
    here = encoder_decoder(SOURCE, TARGET, Tape(edits=block))
    assert torch.equal(here, encoder_decoder(other, TARGET, Tape(edits=block)))
    assert not torch.equal(here, encoder_decoder(SOURCE, TARGET))


@torch.no_grad()
def test_a_kv_cache_changes_nothing(gpt: GPT) -> None:
    past = gpt.new_past()
    parts = [gpt(ids, past=past) for ids in (IDS[:, :2], IDS[:, 2:3], IDS[:, 3:])]
    torch.testing.assert_close(torch.cat(parts, 1), gpt(IDS), atol=1e-5, rtol=1e-5)
    assert [len(past), *map(len, past.decoder)] == [5, 5, 5]


@torch.no_grad()
def test_attention_with_a_kv_cache_is_the_last_rows(gpt: GPT) -> None:
    whole, part, past = Tape(), Tape(), gpt.new_past()
    gpt(IDS, whole)
    gpt(IDS[:, :3], past=past)
    gpt(IDS[:, 3:], part, past)
    for step, all_rows in zip(part, whole, strict=True):
        torch.testing.assert_close(step.attn, all_rows.attn[:, :, 3:], atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_bert_without_positions_does_not_know_the_order(bert: Bert) -> None:
    bert.position.weight.zero_()
    order = torch.tensor([2, 4, 0, 3, 1])
    ids, segments = torch.tensor([[3, 1, 4, 9, 5]]), torch.zeros(1, 5, dtype=torch.long)
    tape, shuffled = Tape(), Tape()
    x = bert.encode(ids, segments, tape)
    torch.testing.assert_close(bert.encode(ids[:, order], segments, shuffled), x[:, order])
    for step, other in zip(tape, shuffled, strict=True):
        torch.testing.assert_close(other.attn, step.attn[:, :, order][..., order])


@torch.no_grad()
def test_gpt_edited_to_have_no_positions_has_none(gpt: GPT) -> None:
    edited = gpt(IDS, Tape(layers=(), edits=[Edit("positions", value="none")]))
    assert not torch.allclose(edited, gpt(IDS))
    gpt.position.weight.zero_()
    torch.testing.assert_close(edited, gpt(IDS))


def test_positions_tell_the_order(bert: Bert) -> None:
    order = torch.tensor([2, 4, 0, 3, 1])
    segments = torch.zeros(1, 5, dtype=torch.long)
    x = bert.encode(IDS, segments)
    assert not torch.allclose(bert.encode(IDS[:, order], segments), x[:, order])


@pytest.mark.parametrize(
    ("architecture", "config", "n_parameter"),
    [
        (EncoderDecoder, Config(8192, 128, 4, 8, 256, 1024), 9_469_952),
        (Bert, Config(8192, 512, 6, 8, 256, 1024), 7_108_610),
        (GPT, Config(8192, 512, 6, 8, 256, 1024), 6_967_296),
    ],
)
def test_the_bundled_sizes_have_7_to_10_million_parameters(
    architecture: type[Transformer], config: Config, n_parameter: int
) -> None:
    with torch.device("meta"):
        model = architecture(config)
    assert sum(p.numel() for p in model.parameters()) == n_parameter


def test_heads_must_divide_the_width() -> None:
    with pytest.raises(ValueError, match="d_model 10 does not split into 4 heads"):
        Config(50, 16, 2, 4, 10, 20)


def test_one_config_makes_one_model() -> None:
    config = Config(50, 16, 2, 4, 8, 20)
    torch.manual_seed(3)
    first = GPT(config).state_dict()
    torch.manual_seed(3)
    torch.testing.assert_close(GPT(config).state_dict(), first, atol=0, rtol=0)
