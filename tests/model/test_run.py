"""The one door: text in, labelled attention and predictions out, on tiny untrained models."""

from __future__ import annotations

import pytest
import torch
from attention_atlas.model.record import Selection
from attention_atlas.model.recurrent import Recurrent
from attention_atlas.model.run import run
from attention_atlas.model.spec import BadInput, Spec
from attention_atlas.model.tape import Edit
from attention_atlas.model.tokenizers import (
    Tokenizer,
    train_gpt_bpe,
    train_translator_bpe,
    train_wordpiece,
)
from attention_atlas.model.transformer import GPT, Bert, Config, EncoderDecoder
from attention_atlas.model.zoo import Card, Loaded

LINES = ["He sat on the river bank.", "El banco está cerrado.", "The bank is closed."]


def loaded(architecture: type, tokenizer: Tokenizer) -> Loaded:
    torch.manual_seed(1)
    sizes = (1, 1, 8, 12) if architecture is Recurrent else (2, 4, 8, 12)
    model = architecture(Config(tokenizer.vocab_size, 24, *sizes)).eval()
    name = architecture.__name__
    return Loaded(Card(name.lower(), name, {}, ""), tokenizer, model, torch.device("cpu"))


@pytest.fixture(scope="module")
def bert() -> Loaded:
    return loaded(Bert, Tokenizer(train_wordpiece(LINES, 90)))


@pytest.fixture(scope="module")
def gpt() -> Loaded:
    return loaded(GPT, Tokenizer(train_gpt_bpe(LINES, 300)))


@pytest.fixture(scope="module")
def translator() -> Loaded:
    return loaded(EncoderDecoder, Tokenizer(train_translator_bpe(LINES, 320)))


@pytest.fixture(scope="module")
def recurrent() -> Loaded:
    return loaded(Recurrent, Tokenizer(train_translator_bpe(LINES, 320)))


def test_the_recurrent_model_has_one_head_across(recurrent: Loaded) -> None:
    result = run(recurrent, Spec("El banco.", target="The bank is"))
    [(kind, record)] = result.records.items()
    assert kind == "cross"
    assert record.attn.shape == (1, 1, len(record.q_tokens), len(record.k_tokens))
    assert (record.q_tokens[0].raw, record.k_tokens[-1].raw) == ("<s>", "</s>")
    assert result.predictions["log_probability"] < 0


def test_the_recurrent_model_decodes_what_it_then_reads(recurrent: Loaded) -> None:
    decoded = run(recurrent, Spec("El banco."))
    assert decoded.target_decoded
    assert len(decoded.sequences["target"]) <= recurrent.config.n_ctx


def test_a_mean_that_is_not_known_yet_is_refused(recurrent: Loaded) -> None:
    spec = Spec("El banco.", target="The", edits=(Edit("ablate", value="mean"),))
    with pytest.raises(BadInput, match="ablate to zero"):
        run(recurrent, spec)


def test_every_kind_has_its_tokens(translator: Loaded) -> None:
    result = run(translator, Spec("El banco.", target="The bank is"))
    S, T = len(result.sequences["source"]), len(result.sequences["target"])
    shapes = {kind: tuple(record.attn.shape) for kind, record in result.records.items()}
    assert shapes == {
        "encoder": (2, 4, S, S),
        "decoder": (2, 4, T, T),
        "cross": (2, 4, T, S),
    }
    assert result.sequences["target"][0].raw == "<s>"
    assert result.sequences["source"][-1].raw == "</s>"


def test_a_decoded_target_run_again_gives_the_same(translator: Loaded) -> None:
    decoded = run(translator, Spec("El banco."))
    assert decoded.target_decoded
    ids = [token.id for token in decoded.sequences["target"]]
    assert len(ids) <= translator.config.n_ctx
    assert decoded.predictions["translation"] == decoded.target


def test_only_the_part_asked_for_is_kept(gpt: Loaded) -> None:
    whole = run(gpt, Spec("the bank")).records["decoder"]
    part = run(gpt, Spec("the bank"), Selection(layers=(1, 0), heads=(3,))).records["decoder"]
    assert (part.layers, part.heads) == ((1, 0), (3,))
    torch.testing.assert_close(part.attn, whole.attn[[1, 0]][:, [3]])


def test_a_mask_is_kept_once_where_layers_and_heads_share_it(gpt: Loaded) -> None:
    plain = run(gpt, Spec("the bank")).records["decoder"]
    T = len(plain.q_tokens)
    assert plain.mask.shape == (1, 1, T, T)
    assert torch.equal(plain.mask[0, 0], torch.ones(T, T).tril().bool())
    edit = Edit("block", layer=1, head=2, key=0)
    edited = run(gpt, Spec("the bank", edits=(edit,))).records["decoder"]
    assert edited.mask.shape == (2, 4, T, T)
    assert not edited.mask[1, 2, :, 0].any()


def test_blanks_are_filled_by_probability(bert: Loaded) -> None:
    result = run(bert, Spec("the [MASK] bank", text_pair="he sat"))
    [mask] = result.predictions["masks"]
    assert result.sequences["source"][mask["position"]].raw == "[MASK]"
    probabilities = [row["probability"] for row in mask["candidates"]]
    assert probabilities == sorted(probabilities, reverse=True)
    assert 0 < result.predictions["is_next"] < 1


@pytest.mark.parametrize("text", [" ", "\n", "\u00a0\t", "\u200b", "\u2028\ufeff"])
def test_nothing_is_not_translated(translator: Loaded, gpt: Loaded, text: str) -> None:
    with pytest.raises(BadInput, match="the text has no words"):
        run(translator, Spec(text))
    assert run(gpt, Spec(text)).sequences["source"], "a decoder goes on from spaces"


def test_edits_are_felt_while_decoding(translator: Loaded) -> None:
    spec = Spec("El banco está cerrado.")
    ablated = Spec(spec.text, edits=(Edit("ablate", kind="cross"),))
    other = Spec("The river bank.", edits=ablated.edits)
    assert run(translator, ablated).target == run(translator, other).target


@pytest.mark.parametrize(
    ("spec", "selection", "field", "says"),
    [
        (Spec(""), Selection(), "text", "empty"),
        (Spec("\u200b\u200b"), Selection(), "text", "no tokens"),
        (Spec("bank", text_pair=" \n"), Selection(), "text_pair", "the second text has no words"),
        (Spec("bank " * 30), Selection(), "text", "bert takes 24"),
        (Spec("bank", target="x"), Selection(), "target", "no target"),
        (Spec("bank"), Selection(kind="cross"), "kind", "encoder attention, not cross"),
        (
            Spec("bank"),
            Selection(layers=(2,)),
            "layer",
            "layer 2 does not exist: bert has layers 0 to 1",
        ),
        (Spec("bank"), Selection(heads=(-1,)), "head", "heads 0 to 3"),
        (Spec("bank", edits=(Edit("block", query=99),)), Selection(), "edits", "query 99"),
        (Spec("bank", edits=(Edit("set", row=(1.0,)),)), Selection(), "edits", "row has 1 numbers"),
    ],
)
def test_what_cannot_be_taken_is_named(bert, spec, selection, field, says) -> None:
    with pytest.raises(BadInput) as refused:
        run(bert, spec, selection)
    assert refused.value.field == field
    assert says in refused.value.message


def test_a_target_too_long_is_refused(translator: Loaded) -> None:
    with pytest.raises(BadInput, match="too long: encoderdecoder takes 24") as refused:
        run(translator, Spec("El banco.", target="bank " * 30))
    assert refused.value.field == "target"
