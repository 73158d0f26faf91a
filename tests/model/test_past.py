"""Decoding with a KV cache gives what reading everything again at every step gives."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

import pytest
import torch
from attention_atlas.model.generate import (
    Beam,
    DecodedToken,
    beam_search,
    beam_steps,
    generating,
    translate,
    translating,
)
from attention_atlas.model.hub.opening import adapt
from attention_atlas.model.languages import Frame
from attention_atlas.model.protocol import Decoder, Translator
from attention_atlas.model.tape import Edit, Kind, Tape
from attention_atlas.model.transformer import GPT, Config, EncoderDecoder
from torch import Tensor

from tests.families import DECODERS, adapted, made

BEGIN, NEVER = 2, -1
LONGEST = 32  # of a target here, with <s>: positions of T5 go on
CLOSE = {"atol": 1e-5, "rtol": 1e-5}
EVERY: tuple[Kind, ...] = ("decoder", "cross")
# layers, heads, d_model, d_ff, n_ctx
SIZES = [(1, 1, 8, 16, 12), (2, 4, 16, 32, 24), (3, 2, 12, 20, 32), (2, 8, 32, 24, 17)]
HUB = ("T5", "BART", "Marian", "Pegasus")


@pytest.fixture(autouse=True)
def no_grad() -> Iterator[None]:
    with torch.inference_mode():
        yield


def sized(seed: int) -> EncoderDecoder:
    n_layer, n_head, d_model, d_ff, n_ctx = SIZES[seed]
    torch.manual_seed(seed)
    model = EncoderDecoder(Config(50, n_ctx, n_layer, n_head, d_model, d_ff)).eval()
    model.embedding.weight.data *= 4  # sharp: tokens that are not all the same
    return model


TRANSLATORS: dict[str, Callable[[], Translator]] = {
    **{f"ours {n}": (lambda n=n: sized(n)) for n in range(len(SIZES))},
    **{name: (lambda name=name: adapted(name)) for name in HUB},
}


@pytest.fixture(params=TRANSLATORS, scope="module")
def translator(request: pytest.FixtureRequest) -> Translator:
    with torch.inference_mode(False):
        return TRANSLATORS[request.param]()


def source_of(n_text: int = 1, n_token: int = 6, seed: int = 0) -> Tensor:
    return torch.randint(3, 50, (n_text, n_token), generator=torch.Generator().manual_seed(seed))


@contextmanager
def no_cache(model: Translator | Decoder) -> Iterator[None]:
    with patch.object(model, "new_past", lambda: None):
        yield


def both_ways(model: Any, decode: Callable[[], Any]) -> tuple[Any, Any]:
    """With a KV cache, and without."""
    assert model.new_past() is not None
    cached = decode()
    with no_cache(model):
        return cached, decode()


def assert_equal(steps: list[DecodedToken], others: list[DecodedToken]) -> None:
    assert [step.id for step in steps] == [step.id for step in others]
    for step, other in zip(steps, others, strict=True):
        torch.testing.assert_close(step.logits, other.logits, atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(step.attn, other.attn, **CLOSE)
        if step.self_attn is not None:
            torch.testing.assert_close(step.self_attn, other.self_attn, **CLOSE)


@pytest.mark.parametrize("seed", range(2))
def test_a_translation_is_the_same(translator: Translator, seed: int) -> None:
    def decode() -> list[DecodedToken]:
        source, frame = source_of(n_token=4 + 3 * seed), Frame(BEGIN, None, NEVER)
        return list(translating(translator, source, frame, max_tokens=LONGEST, kinds=EVERY))

    cached, anew = both_ways(translator, decode)
    assert_equal(cached, anew)
    limit = min(LONGEST, translator.config.n_ctx)
    assert len(cached) == limit - 1, "the limit ends it, without an error"


def test_its_rows_are_those_of_one_pass(translator: Translator) -> None:
    """Row t of self- and cross-attention as it was decoded, against teacher forcing."""
    source, frame = source_of(), Frame(BEGIN, None, NEVER)
    steps = list(translating(translator, source, frame, max_tokens=12, kinds=EVERY))
    target = torch.tensor([[BEGIN, *(step.id for step in steps[:-1])]])
    tape = Tape(kinds=EVERY)
    translator(source, target, tape)
    cross, own = (
        torch.cat([step.attn for step in tape if step.kind == kind])
        for kind in ("cross", "decoder")
    )
    for t, step in enumerate(steps):
        torch.testing.assert_close(step.attn, cross[:, :, t], **CLOSE)
        torch.testing.assert_close(step.self_attn, own[:, :, t, : t + 1], **CLOSE)


@pytest.mark.parametrize("n_beam", [1, 3])
def test_a_beam_is_the_same(translator: Translator, n_beam: int) -> None:
    """Of texts of different lengths, some of which end and leave the batch."""
    source = source_of(4)
    padding = torch.tensor([[True] * n + [False] * (6 - n) for n in (6, 4, 2, 5)])
    end = next(iter(translating(translator, source[:1], Frame(BEGIN, None, NEVER)))).id
    options = Frame(BEGIN, None, end), Beam(n_beam, max_tokens=11)
    cached, anew = both_ways(
        translator, lambda: beam_search(translator, source, *options, padding=padding)
    )
    assert [ids for _, ids in cached] == [ids for _, ids in anew]
    assert [score for score, _ in cached] == pytest.approx([s for s, _ in anew], abs=1e-4)


def test_the_rows_of_each_hypothesis_are_the_same(translator: Translator) -> None:
    """The cache is reordered as the hypotheses are."""
    options = Frame(BEGIN, None, NEVER), Beam(4, max_tokens=10)
    tape = Tape(kinds=("cross",))
    steps, others = both_ways(
        translator, lambda: list(beam_steps(translator, source_of(2), *options, tape=tape))
    )
    n_moved = 0
    for step, other in zip(steps, others, strict=True):
        assert torch.equal(step.token, other.token) and torch.equal(step.parent, other.parent)
        torch.testing.assert_close(step.attn, other.attn, **CLOSE)
        n_moved += int((step.parent.gather(1, step.kept) != torch.arange(4)).any())
    assert n_moved, "hypotheses change places"


def test_a_batch_is_the_same(translator: Translator) -> None:
    source = source_of(3)
    padding = torch.tensor([[True] * n + [False] * (6 - n) for n in (6, 3, 4)])
    frame = Frame(BEGIN, 7, 9)
    cached, anew = both_ways(
        translator,
        lambda: translate(translator, source, frame, padding=padding, max_tokens=12),
    )
    assert cached == anew
    assert all(ids[:1] == [7] for ids in cached), "the given first token"


ROWWISE = [
    Edit("ablate", "decoder", layer=0, head=0),
    Edit("ablate", "cross"),
    Edit("ablate", "encoder", layer=0, head=0, value="mean"),
    Edit("block", "cross", layer=0, key=1),
    Edit("block", "decoder", head=0, key=3),
    Edit("block", "encoder", layer=0, query=2, key=1),
    Edit("scale", "decoder", by=3.0),
    Edit("scale", by=0.5),
    Edit("set", "cross", layer=0, row=(1.0, 0.0, 2.0, 0.0, 0.0, 1.0)),
    Edit("positions", "decoder", value="none"),
]
ANEW = [
    Edit("ablate", "decoder", layer=0, value="mean"),
    Edit("ablate", layer=0, value="mean"),
    Edit("block", "decoder", query=2, key=0),
    Edit("block", "cross", query=1, key=0),
    Edit("unmask", "decoder"),
    Edit("positions", "decoder", value="shuffle", seed=3),
    Edit("gate", "cross", layer=0, where=torch.tensor(0.5)),
]


def edited(model: Translator, edit: Edit) -> Callable[[], list[DecodedToken]]:
    frame = Frame(BEGIN, None, NEVER)
    options = {"max_tokens": 9, "edits": [edit]}
    return lambda: list(translating(model, source_of(), frame, **options))


@pytest.mark.parametrize("edit", ROWWISE, ids=lambda edit: f"{edit.op} {edit.kind}")
@pytest.mark.parametrize("name", ["ours 1", "T5", "BART"])
def test_an_edit_that_is_rowwise_is_felt_with_a_cache(name: str, edit: Edit) -> None:
    with torch.inference_mode(False):
        model = TRANSLATORS[name]()
    assert edit.is_rowwise
    assert_equal(*both_ways(model, edited(model, edit)))


@pytest.mark.parametrize("edit", ANEW, ids=lambda edit: f"{edit.op} {edit.kind}")
def test_any_other_edit_reads_everything_again(edit: Edit) -> None:
    model = sized(1)
    assert not edit.is_rowwise
    with patch.object(model, "new_past", side_effect=AssertionError("a cache was made")):
        decoded = edited(model, edit)()
    assert len(decoded) == 8


@pytest.mark.parametrize("name", DECODERS)
def test_a_continuation_is_the_same(name: str) -> None:
    model, prompt = adapted(name), source_of(n_token=4)
    cached, anew = both_ways(model, lambda: list(generating(model, prompt, max_new_tokens=8)))
    assert_equal(cached, anew)


@pytest.mark.parametrize("edit", [Edit("ablate", head=1), Edit("scale", by=2.0)])
def test_a_continuation_with_a_rowwise_edit_is_the_same(edit: Edit) -> None:
    torch.manual_seed(0)
    model = GPT(Config(50, 24, 2, 4, 16, 32)).eval()
    tape = Tape(edits=[edit])
    prompt = source_of(n_token=4)
    assert_equal(
        *both_ways(model, lambda: list(generating(model, prompt, max_new_tokens=12, tape=tape)))
    )


def test_each_token_is_read_once() -> None:
    model = sized(1)
    read: list[int] = []
    hidden = model.hidden

    def counted(ids: Tensor, *args: Any, **options: Any) -> Tensor:
        read.append(ids.size(1))
        return hidden(ids, *args, **options)

    with patch.object(model, "hidden", counted):
        steps = translating(model, source_of(), Frame(BEGIN, None, NEVER))
        for _ in range(5):
            next(steps)
        steps.close()  # a generator: nothing is computed after it
    assert read == [1] * 5


def test_the_keys_of_the_source_are_computed_once() -> None:
    model, calls = sized(2), list[int]()
    project = model.decoder[0].cross_attention.W_K
    handle = project.register_forward_hook(lambda *_: calls.append(1))
    list(translating(model, source_of(), Frame(BEGIN, None, NEVER), max_tokens=8))
    handle.remove()
    assert len(calls) == 1


def test_positions_made_from_padding_have_no_cache() -> None:
    """M2M100 counts the tokens that are no padding: where targets begin with it, a cache would
    count one more."""
    with torch.inference_mode(False):
        model = made("M2M100")
        config = model.config
        for begin, has_cache in ((config.pad_token_id, False), (config.bos_token_id, True)):
            config.decoder_start_token_id = begin
            assert (adapt(model).new_past() is not None) == has_cache
