"""Attention from elsewhere: shown as it is, or refused by name."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from attention_atlas.model.record import Selection
from attention_atlas.model.recorded import BadRecord, labelled, loaded
from attention_atlas.model.run import run
from attention_atlas.model.spec import BadInput, Spec

TOKENS = ["[CLS]", "the", "river", "##bank", "[SEP]"]
L, H, T = 2, 3, 5


@pytest.fixture
def attn() -> torch.Tensor:
    torch.manual_seed(0)
    return torch.randn(L, H, T, T).softmax(-1)


def recorded(attn, tokens=TOKENS, selection=Selection()):
    here = loaded(attn, tokens)
    [record] = run(here, Spec(here.tokenizer.text), selection).records.values()
    return record


def test_every_way_to_give_it_is_the_same(attn):
    given = [
        attn,
        attn.numpy(),
        attn.double().requires_grad_(),
        tuple(layer[None] for layer in attn),
        list(attn),
        attn[:, None],
    ]
    for each in given:
        torch.testing.assert_close(recorded(each).attn, attn)


def test_layers_and_heads_are_selected(attn):
    record = recorded(attn, selection=Selection(layers=(1,), heads=(2, 0)))
    torch.testing.assert_close(record.attn, attn[1:2, [2, 0]])
    assert (record.layers, record.heads) == ((1,), (2, 0))


def test_causal_attention_is_a_decoders(attn):
    assert recorded(attn).kind == "encoder" and recorded(attn).mask.all()
    causal = recorded(attn.tril())
    assert causal.kind == "decoder"
    torch.testing.assert_close(causal.mask[0, 0], torch.ones(T, T, dtype=torch.bool).tril())


def test_tokens_have_their_text_and_words(attn):
    here = loaded(attn, TOKENS)
    assert here.tokenizer.text == "the riverbank"
    tokens = here.tokenizer.encode("the riverbank")
    assert [token.text for token in tokens] == ["[CLS]", "the", "river", "bank", "[SEP]"]
    assert [token.word for token in tokens] == [None, 0, 1, 1, None]
    assert [token.special for token in tokens] == [True, False, False, False, True]


@pytest.mark.parametrize(
    "raws, text",
    [
        (["Once", "Ġupon", "Ġa", "Ġtime", ",", "Ġthere"], "Once upon a time, there"),
        (["▁He", "▁sat", "."], "He sat."),
        (["<s>", "a", "b", "</s>"], "a b"),
        (["[CLS]", "a", "[SEP]", "b", "[SEP]"], "a b"),
    ],
)
def test_the_spellings_of_vocabularies_are_read(raws, text):
    made, tokens = labelled(raws)
    assert made == text
    assert [made[t.start : t.end] for t in tokens if not t.special] == [
        t.text for t in tokens if not t.special
    ]


def test_rows_that_do_not_sum_to_1_are_told(attn):
    assert loaded(attn, TOKENS).notes == ()
    [note] = loaded(attn * 0.5, TOKENS).notes
    assert str(note) == "Its rows do not all sum to 1: the largest difference is 0.5."


def test_another_text_is_refused(attn):
    with pytest.raises(BadInput, match="for one text alone: the riverbank"):
        run(loaded(attn, TOKENS), Spec("the bank"))


def spoilt(attn, value):
    changed = attn.clone()
    changed[0, 0, 0, 0] = value
    return changed


@pytest.mark.parametrize(
    "change, tokens, field, message",
    [
        (lambda a: a, TOKENS[:4], "tokens", "5 queries and 5 keys, and there are 4 tokens"),
        (lambda a: a[..., :3], TOKENS, "tokens", "5 queries and 3 keys"),
        (lambda a: a[0], TOKENS, "attn", r"attn is \(3, 5, 5\)"),
        (lambda a: a[:0], TOKENS, "attn", r"attn is \(0, 3, 5, 5\)"),
        (lambda a: spoilt(a, np.nan), TOKENS, "attn", "not finite"),
        (lambda a: spoilt(a, -0.25), TOKENS, "attn", "below 0, down to -0.25"),
        (lambda a: (a[0], a[1, :2]), TOKENS, "attn", "layers of attn differ in shape"),
        (lambda a: tuple(a[:, None].expand(L, 2, H, T, T)), TOKENS, "attn", "batch of 2 texts"),
        (lambda a: "attn", TOKENS, "attn", "attn is a str, not numbers"),
        (lambda a: a, [1, 2, 3, 4, 5], "tokens", "tokens are strings"),
    ],
)
def test_what_does_not_fit_is_named(attn, change, tokens, field, message):
    with pytest.raises(BadRecord, match=message) as problem:
        loaded(change(attn), tokens)
    assert problem.value.field == field


SOURCE, TARGET = ["the", "river", "bank"], ["<s>", "la", "rive", "du"]


def shares(*shape):
    torch.manual_seed(len(shape))
    return torch.randn(*shape).softmax(-1)


ENCODER, DECODER, CROSS = shares(2, 4, 3, 3), shares(1, 2, 4, 4).tril(), shares(1, 2, 4, 3)


def kinds_of(attn, tokens=SOURCE, target=TARGET):
    here = loaded(attn, tokens, target_tokens=target)
    return run(here, Spec(here.tokenizer.text)).records


def test_cross_attention_has_the_tokens_of_both_texts():
    for attn in (CROSS, (CROSS[0],), CROSS[:, None], {"cross": CROSS.numpy()}):
        records = kinds_of(attn)
        assert list(records) == ["cross"]
        torch.testing.assert_close(records["cross"].attn, CROSS)
        assert [token.raw for token in records["cross"].q_tokens] == TARGET
        assert [token.raw for token in records["cross"].k_tokens] == SOURCE


def as_layers(attn):
    return tuple(layer[None] for layer in attn)


@pytest.mark.parametrize(
    "attn",
    [
        (ENCODER, DECODER, CROSS),
        tuple(map(as_layers, (ENCODER, DECODER, CROSS))),
        {"encoder": ENCODER, "decoder": DECODER, "cross": CROSS},
        {
            "logits": None,
            "encoder_attentions": as_layers(ENCODER),
            "decoder_attentions": as_layers(DECODER),
            "cross_attentions": as_layers(CROSS),
        },
    ],
    ids=["tensors", "layers", "names", "transformers"],
)
def test_an_encoder_decoder_has_its_three_kinds(attn):
    records = kinds_of(attn)
    for kind, tensor in zip(
        ("encoder", "decoder", "cross"), (ENCODER, DECODER, CROSS), strict=True
    ):
        torch.testing.assert_close(records[kind].attn, tensor)
    assert records["encoder"].mask.all() and records["cross"].mask.all()
    assert not records["decoder"].mask[0, 0, 0, 1]
    assert [token.raw for token in records["decoder"].k_tokens] == TARGET


def test_three_layers_of_cross_attention_are_not_three_kinds():
    layers = shares(3, 1, 2, 3, 3)
    records = kinds_of(tuple(layers), SOURCE, ["a", "b", "c"])
    assert list(records) == ["cross"] and records["cross"].attn.shape == (3, 2, 3, 3)


@pytest.mark.parametrize(
    "attn, target, field, message",
    [
        (
            CROSS,
            TARGET[1:],
            "target_tokens",
            "cross attention has 4 queries and 3 keys; there",
        ),
        (
            CROSS.mT,
            TARGET,
            "target_tokens",
            "3 queries and 4 keys; there are 3 tokens and 4",
        ),
        (
            shares(1, 2, 4, 5),
            TARGET,
            "tokens",
            "4 queries and 5 keys; there are 3 tokens and 4",
        ),
        ({"cross": CROSS}, None, "target_tokens", "of two texts: give target_tokens too"),
        (
            {"logits": CROSS},
            TARGET,
            "attn",
            "neither attentions nor one of encoder, decoder",
        ),
        (CROSS, [1, 2, 3, 4], "target_tokens", "target_tokens are strings"),
    ],
)
def test_what_does_not_fit_two_texts_is_named(attn, target, field, message):
    with pytest.raises(BadRecord, match=message) as problem:
        loaded(attn, SOURCE, target_tokens=target)
    assert problem.value.field == field


def test_a_byte_is_no_special_token():
    _, tokens = labelled(["<s>", "▁the", "<0x41>"])
    assert [token.special for token in tokens] == [True, False, False]
