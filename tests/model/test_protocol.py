"""What models say of themselves, held to what they do: ours and adapters of transformers alike."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from attention_atlas.model.protocol import Batch, Decoder, Encoder, Model, Translator
from attention_atlas.model.recurrent import Recurrent
from attention_atlas.model.tape import Tape
from attention_atlas.model.transformer import GPT, Bert, Config, EncoderDecoder

from tests.families import adapted

IDS = torch.tensor([[5, 9, 2, 7, 30, 11]])
TARGET = torch.tensor([[1, 4, 8, 3]])
OURS = {
    "Bert": (Bert, (2, 4)),
    "GPT": (GPT, (2, 4)),
    "EncoderDecoder": (EncoderDecoder, (2, 4)),
    "Recurrent": (Recurrent, (1, 1)),
}
THEIRS = ("BERT", "GPT-2", "Llama", "BART", "T5")


def model_of(name: str) -> Any:
    """A small model with random weights."""
    if name in THEIRS:
        return adapted(name)
    torch.manual_seed(0)
    architecture, (n_layer, n_head) = OURS[name]
    return architecture(Config(50, 16, n_layer, n_head, 8, 20)).eval()


@pytest.fixture(params=(*OURS, *THEIRS))
def model(request: pytest.FixtureRequest) -> Any:
    return model_of(request.param)


def batch_for(model: Model) -> Batch:
    return Batch(IDS, target=TARGET if "cross" in model.kinds else None)


@torch.inference_mode()
def read(model: Model, tape: Tape | None = None) -> torch.Tensor:
    return model.read(batch_for(model), tape)


def test_a_model_says_of_what_family_it_is(model: Any) -> None:
    families = {
        "encoder": (Encoder, ("encoder",)),
        "decoder": (Decoder, ("decoder",)),
        "encoder-decoder": (Translator, ("encoder", "decoder", "cross")),
        "recurrent": (Translator, ("cross",)),
    }
    base, kinds = families[model.family]
    assert isinstance(model, base)
    assert model.kinds == kinds


def test_a_tape_has_the_layers_and_heads_that_a_model_says(model: Any) -> None:
    tape = Tape()
    read(model, tape)
    for kind in model.kinds:
        n_layer, n_head = model.shape(kind)
        layers = [step for step in tape if step.kind == kind]
        assert sorted(step.layer for step in layers) == list(range(n_layer))
        assert {step.attn.size(1) for step in layers} == {n_head}


def test_the_products_times_the_scale_are_the_scores(model: Any) -> None:
    tape = Tape(keep=("q", "k", "bias", "mask", "scores"))
    read(model, tape)
    with torch.inference_mode():
        for step in tape:
            scale, _ = model.scale(step.kind, step.layer)
            scores = model.products(step.q[0, 0, -1], step.k[0, 0]).sum(-1) * scale
            if "bias" in step.kept:
                scores = scores + step.bias[0, 0, -1]
            allowed = step.mask[0, 0, -1]
            close = torch.testing.assert_close
            close(scores[allowed], step.scores[0, 0, -1][allowed], atol=1e-5, rtol=1e-5)


def test_the_parts_of_the_input_add_up_to_what_is_read(model: Any) -> None:
    if not model.has_input_parts:
        assert model.family == "recurrent" or model.positions in ("rotary", "relative")
        return
    tape = Tape(layers=(), hidden=True)
    read(model, tape)
    with torch.inference_mode():
        parts = model.input_parts(IDS[0], None)
        total = torch.stack(list(parts.values())).sum(0)
        norm = {"Bert": lambda: model.embedding_norm(total)}
        norm |= {"HubEncoder": lambda: model.base.embeddings.LayerNorm(total)}
        norm |= {"HubEncoderDecoder": lambda: model.model.get_encoder().layernorm_embedding(total)}
        expected = norm.get(type(model).__name__, lambda: total)()
    torch.testing.assert_close(next(iter(tape.streams.values()))[0][0], expected)
    assert torch.equal(parts["position"], model.position_vectors()[: IDS.size(1)])


def test_what_is_read_gives_what_is_predicted(model: Any) -> None:
    with torch.inference_mode():
        logits = model.logits(read(model))
        if isinstance(model, Encoder):
            expected = model.masked_words(model.encode(IDS, torch.zeros_like(IDS)))
        else:
            expected = model(*(ids for ids in (IDS, batch_for(model).target) if ids is not None))
    torch.testing.assert_close(logits, expected)


@pytest.mark.parametrize("name", ["EncoderDecoder", "Recurrent", "BART"])
def test_without_a_target_only_the_source_is_read(name: str) -> None:
    model, tape = model_of(name), Tape(hidden=True)
    with torch.inference_mode():
        x = model.read(Batch(IDS), tape)
        assert torch.equal(x, model.encode(IDS))
    assert {step.kind for step in tape} <= {"encoder"}


@pytest.mark.parametrize("base", [Encoder, Decoder, Translator])
def test_an_architecture_that_is_not_complete_is_refused(base: type[Model]) -> None:
    with pytest.raises(TypeError, match="abstract"):
        type("Half", (base,), {})()


@pytest.mark.parametrize(
    ("name", "length"), [("EncoderDecoder", 15), ("Recurrent", 15), ("BART", 31), ("T5", 39)]
)
def test_a_translation_has_room_to_the_end_or_as_much_as_is_usual(name: str, length: int) -> None:
    assert model_of(name).usual_length(4) == length
