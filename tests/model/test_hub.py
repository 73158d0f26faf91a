"""Any family of transformers through the lens: attention, edits and heads equal the model's own."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
import transformers as hf
from attention_atlas.model.hub.adapters import HubDecoder, HubEncoder, HubEncoderDecoder
from attention_atlas.model.hub.opening import adapt
from attention_atlas.model.hub.stacks import attentions
from attention_atlas.model.tape import Edit, Kind, Quantity, Tape
from torch import Tensor

from tests.families import (
    DECODERS,
    FAMILIES,
    GROUPED,
    LENS,
    ONE,
    OWN_WAY,
    SOURCE,
    TARGET,
    adapted,
    adapter_of,
    made,
    rotated,
    through,
)

CLOSE = {"atol": 1e-5, "rtol": 0.0}


@pytest.fixture(autouse=True)
def no_grad():
    with torch.inference_mode():
        yield


def own(name: str) -> dict[Kind, list[Tensor]]:
    """What the model's own eager attention gives."""
    model = made(name)
    if adapted(name).family != "encoder-decoder":
        output = model(input_ids=SOURCE, output_attentions=True)
        return {kind: list(attentions(output, kind)) for kind in adapted(name).kinds}
    output = model(input_ids=SOURCE, decoder_input_ids=TARGET, output_attentions=True)
    return {kind: list(attentions(output, kind)) for kind in adapted(name).kinds}


def kept(tape: Tape, kind: Kind) -> Tensor:
    """All layers of a kind: (L, H, Tq, Tk)."""
    return torch.cat([step.attn for step in tape if step.kind == kind])


@pytest.mark.parametrize("name", FAMILIES)
def test_attention_is_the_models_own(name: str) -> None:
    tape = Tape()
    through(adapted(name), tape)
    for kind, layers in own(name).items():
        torch.testing.assert_close(kept(tape, kind), torch.cat(layers), **CLOSE)


@pytest.mark.parametrize("name", FAMILIES)
def test_layers_are_numbered_in_order(name: str) -> None:
    tape, adapter = Tape(), adapted(name)
    through(adapter, tape)
    for kind in adapter.kinds:
        layers = [step.layer for step in tape if step.kind == kind]
        assert layers == list(range(adapter.shape(kind)[0]))


@pytest.mark.parametrize("name", FAMILIES)
def test_what_may_not_be_looked_at_is_exactly_zero(name: str) -> None:
    tape = Tape(keep=("attn", "mask"))
    through(adapted(name), tape)
    for step in tape:
        assert (step.attn[~step.mask.expand_as(step.attn)] == 0).all()
        if name != "gpt-oss":  # its sink takes a part of every row
            torch.testing.assert_close(step.attn.sum(-1), torch.ones(step.attn.shape[:-1]))


@pytest.mark.parametrize("name", FAMILIES)
def test_looking_changes_nothing(name: str) -> None:
    assert torch.equal(through(adapted(name)), through(adapted(name), Tape()))


@pytest.mark.parametrize("name", LENS)
def test_the_fused_path_equals_the_recorded_one(name: str) -> None:
    """An edit that changes nothing makes every layer take the recorded path."""
    nothing = [Edit("scale", kind, by=1.0) for kind in adapted(name).kinds]
    recorded = through(adapted(name), Tape(edits=nothing))
    torch.testing.assert_close(recorded, through(adapted(name)), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("name", LENS)
def test_a_head_alone_is_kept_alone(name: str) -> None:
    one, every = Tape(layers=(1,), heads=(2,)), Tape()
    through(adapted(name), one)
    through(adapted(name), every)
    for step in one:
        whole = next(s for s in every if (s.kind, s.layer) == (step.kind, 1))
        assert step.attn.size(1) == 1
        torch.testing.assert_close(step.attn, whole.attn[:, 2:3], **CLOSE)


@pytest.mark.parametrize("name", LENS)
def test_block_takes_one_place_of_one_head_of_one_layer(name: str) -> None:
    kind = adapted(name).kinds[0]
    edit = Edit("block", kind, layer=0, head=1, query=3, key=2)
    before, after = Tape(), Tape(edits=[edit])
    through(adapted(name), before)
    through(adapted(name), after)
    x, y = kept(before, kind)[0], kept(after, kind)[0]
    assert y[1, 3, 2] == 0
    y[1, 3] = x[1, 3]
    torch.testing.assert_close(x, y, **CLOSE)  # nothing else of that layer


@pytest.mark.parametrize("name", LENS)
def test_an_ablated_head_gives_nothing(name: str) -> None:
    for kind in adapted(name).kinds:
        edit = Edit("ablate", kind, layer=1, head=2)
        before, after = Tape(keep=("z",)), Tape(keep=("z",), edits=[edit])
        through(adapted(name), before)
        through(adapted(name), after)
        x, y = (next(s.z for s in t if (s.kind, s.layer) == (kind, 1)) for t in (before, after))
        assert (y[:, 2] == 0).all()
        rest = [0, 1, 3]
        torch.testing.assert_close(x[:, rest], y[:, rest], atol=1e-4, rtol=1e-4)
        assert not torch.allclose(
            through(adapted(name), Tape(edits=[edit])), through(adapted(name))
        )


@pytest.mark.parametrize("name", FAMILIES)
def test_the_head_says_what_the_whole_model_says(name: str) -> None:
    adapter, model = adapted(name), made(name)
    if isinstance(adapter, HubEncoderDecoder):
        logits = adapter(SOURCE, TARGET)
        wanted = model(input_ids=SOURCE, decoder_input_ids=TARGET).logits
    elif isinstance(adapter, HubDecoder):
        logits, wanted = adapter(SOURCE), model(input_ids=SOURCE).logits
    elif "fill-mask" in adapter.tasks:
        logits, wanted = adapter.masked_words(through(adapter)), model(input_ids=SOURCE).logits
        assert adapter.masked_words(through(adapter)[0, 2]).shape == (50,)
    else:
        assert name == "XLNet"  # it predicts words in any order: not a task of ours
        return
    torch.testing.assert_close(logits, wanted, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", DECODERS)
def test_a_cache_gives_the_same_states(name: str) -> None:
    adapter = adapted(name)
    past = adapter.new_past()
    first, rest = (
        adapter.hidden(SOURCE[:, :4], None, past),
        adapter.hidden(SOURCE[:, 4:], None, past),
    )
    assert len(past) == 6
    result = torch.cat([first, rest], dim=1)
    torch.testing.assert_close(result, adapter.hidden(SOURCE), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", [name for name in FAMILIES if name not in DECODERS])
def test_padding_is_not_looked_at(name: str) -> None:
    adapter, tape = adapted(name), Tape()
    ids = torch.cat([SOURCE, torch.zeros(1, 2, dtype=torch.long)], dim=1)
    padding = torch.tensor([[True] * 6 + [False] * 2])
    if isinstance(adapter, HubEncoder):
        x = adapter.encode(ids, torch.zeros_like(ids), tape, padding)[:, :6]
        alone = through(adapter)
    else:
        memory = adapter.encode(ids, tape, padding)
        x, alone = adapter.hidden(TARGET, memory, tape, padding), through(adapter)
    torch.testing.assert_close(x, alone, atol=1e-5, rtol=1e-5)
    for step in tape:
        if step.kind != "decoder":
            assert (step.attn[:, :, :6, 6:] == 0).all()


def states(name: str) -> list[Tensor]:
    tape = Tape(layers=(), hidden=True)
    through(adapted(name), tape)
    return list(tape.streams.values())[0]


@pytest.mark.parametrize("name", FAMILIES)
def test_the_residual_stream_has_the_embedding_and_each_layer(name: str) -> None:
    adapter = adapted(name)
    assert len(states(name)) == adapter.shape(adapter.kinds[0])[0] + 1


def test_the_stream_ends_before_the_last_norm() -> None:
    """transformers gives the normed state as the last one."""
    model = made("GPT-2")
    given = model(input_ids=SOURCE, output_hidden_states=True).hidden_states
    result = states("GPT-2")
    torch.testing.assert_close(result[1], given[1])
    torch.testing.assert_close(model.transformer.ln_f(result[-1]), given[-1])


@pytest.mark.parametrize("name", OWN_WAY)
def test_a_family_of_its_own_way_lacks_what_it_cannot_show(name: str) -> None:
    assert adapted(name).lacks == ("q", "k", "v", "scores", "edits")
    assert adapted(name).why


@pytest.mark.parametrize("name", LENS)
def test_a_family_of_the_lens_lacks_nothing(name: str) -> None:
    assert (adapted(name).lacks, adapted(name).why) == ((), "")


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("name", ["BERT", "RoBERTa", "GPT-2", "BART", "Marian", "T5", "Gemma 2"])
def test_half_precision_keeps_what_float32_has(name: str, dtype: torch.dtype) -> None:
    with torch.inference_mode(False):
        model = made(name).to(dtype)
    before = {key: x.clone() for key, x in model.state_dict().items()}
    half, whole = adapt(model), adapted(name)
    for key, x in model.state_dict().items():
        assert x.dtype == before[key].dtype and torch.equal(x, before[key]), "not a bit is changed"
        assert not x.is_inference()
    assert (half.lacks, half.tasks, half.why) == (whole.lacks, whole.tasks, "")
    assert half.has_input_parts == whole.has_input_parts
    assert rotated(half) == rotated(whole)


def test_a_window_outside_the_lens_is_a_mask_too() -> None:
    """What gpt-oss may not look at is what its own attention leaves at zero."""
    kinds = ["full_attention", "sliding_attention"]
    options = {"num_local_experts": 4, "num_experts_per_tok": 2, "layer_types": kinds}
    adapter = adapter_of(hf.GptOssConfig(**GROUPED, **options, sliding_window=3))
    tape = Tape(keep=("attn", "mask"))
    through(adapter, tape)
    assert "scores" in adapter.lacks
    for step in tape:
        assert torch.equal(step.mask.expand_as(step.attn), step.attn > 0)
    assert [int(step.mask.sum()) for step in tape] == [21, 15]


@pytest.mark.parametrize("name", ["Mistral", "Gemma 3", "ModernBERT"])
def test_a_window_is_a_mask(name: str) -> None:
    """A token too far off may not be looked at: absent, not a small number."""
    tape = Tape(keep=("mask",))
    through(adapted(name), tape)
    assert any(not step.mask[0, 0, 5, 0] for step in tape)
    assert all(step.mask[0, 0].diagonal().all() for step in tape)


def test_layers_of_another_kind_are_not_counted() -> None:
    """LFM2: one layer of convolution, one of attention; what both remember is in the cache."""
    torch.manual_seed(0)
    config = hf.Lfm2Config(**ONE, num_key_value_heads=2, layer_types=["conv", "full_attention"])
    adapter = adapt(hf.AutoModelForCausalLM.from_config(config, attn_implementation="eager"))
    assert adapter.findings.shapes == {"decoder": (1, 4)}
    past = adapter.new_past()
    adapter.hidden(SOURCE[:, :4], None, past)
    rest = adapter.hidden(SOURCE[:, 4:], None, past)
    torch.testing.assert_close(rest, adapter.hidden(SOURCE)[:, 4:], atol=1e-5, rtol=1e-5)


def test_grouped_queries_share_keys() -> None:
    tape = Tape(keep=("k",))
    through(adapted("Llama"), tape)
    k = next(iter(tape)).k[0]
    assert adapted("Llama").config.n_kv_head == 2
    assert torch.equal(k[0], k[1]) and torch.equal(k[2], k[3]) and not torch.equal(k[1], k[2])


def test_scores_are_made_of_what_is_kept() -> None:
    """T5: dot products of scale 1 and a bias; Gemma 2: bounded."""
    tape = Tape(keep=("q", "k", "bias", "mask", "scores"))
    through(adapted("T5"), tape)
    for step in tape:
        dots = step.q @ step.k.transpose(-2, -1) + step.bias
        torch.testing.assert_close(dots.masked_fill(~step.mask, -torch.inf), step.scores)
    assert set(adapted("T5").findings.calls.scales.values()) == {1.0}
    assert set(adapted("Gemma 2").findings.calls.softcaps.values()) == {50.0}


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_keeps_rows_that_sum_to_one(dtype: torch.dtype) -> None:
    with torch.inference_mode(False):  # as models are loaded
        model = made("Llama").to(dtype)
    adapter = adapt(model)
    tape = Tape()
    assert through(adapter, tape).dtype == dtype
    assert adapter.dtype == str(dtype).removeprefix("torch.") and not adapter.lacks
    for step in tape:
        assert step.attn.dtype == torch.float32
        torch.testing.assert_close(step.attn.sum(-1), torch.ones(1, 4, 6))


@pytest.mark.parametrize("name", FAMILIES)
def test_a_digest_of_each_head_is_that_of_all(name: str) -> None:
    """Head by head, each made small before the next, gives what all at once would."""

    def digest(kept: dict[Quantity, Tensor]) -> dict[Quantity, Tensor]:
        return {"attn": kept["attn"].amax((-2, -1)), "mask": kept["mask"].sum((-2, -1))}

    small, whole = Tape(keep=("attn", "mask"), digest=digest), Tape(keep=("attn", "mask"))
    assert torch.equal(through(adapted(name), small), through(adapted(name), whole))
    for one, every in zip(small, whole, strict=True):
        torch.testing.assert_close(one.attn, every.attn.amax((-2, -1)))
        allowed = every.mask.sum((-2, -1))
        assert torch.equal(one.mask, allowed.expand_as(one.mask))


def test_two_threads_write_two_tapes() -> None:
    def alone(n: int) -> list[int]:
        tape = Tape()
        with torch.inference_mode():
            adapted("Llama").hidden(torch.arange(1, n + 1)[None], tape)
        return [step.attn.size(-1) for step in tape]

    lengths = [3, 7, 4, 9] * 12
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(alone, lengths)) == [[n, n] for n in lengths]


@pytest.mark.parametrize("name", ["GPT-2", "Llama", "Gemma 2"])
def test_a_decoder_that_sees_everything_can_be_kept_from_padding(name: str) -> None:
    model, ids = adapted(name), torch.randint(5, 50, (2, 5))
    real = torch.tensor([[True] * 5, [True] * 3 + [False] * 2])
    padding = Edit("block", where=~real[:, None, None])
    batch, alone = Tape(edits=[Edit("unmask"), padding]), Tape(edits=[Edit("unmask")])
    with torch.inference_mode():
        model.hidden(ids, batch)
        model.hidden(ids[1:, :3], alone)
    for result, expected in zip(batch, alone, strict=True):
        torch.testing.assert_close(result.attn[1:, :, :3, :3], expected.attn)
        assert (result.attn[1, ..., 3:] == 0).all()
        assert (result.attn[0] > 0).all()
