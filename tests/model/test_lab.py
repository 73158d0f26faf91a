"""Heads replaced one by one: against hooks on transformers' own modules, and by properties."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers as hf
from attention_atlas.model import zoo
from attention_atlas.model.analysis import lab
from attention_atlas.model.analysis.lab import LogitDifference, ReadText
from attention_atlas.model.hub.opening import open_model
from attention_atlas.model.spec import BadInput, Spec
from attention_atlas.model.tape import Edit, Kind
from attention_atlas.model.zoo import Loaded
from scipy.stats import spearmanr
from torch import Tensor, nn

from tests import saved
from tests.kinds import EVERY_KIND

CPU = torch.device("cpu")
RIVER, MONEY = (
    "He sat on the river [MASK] and watched the water.",
    "He sat on the money [MASK] and watched the water.",
)
PAIRS: dict[str, tuple[Spec, Spec]] = {
    "bert": (Spec(RIVER), Spec(MONEY)),
    "gpt": (Spec("The king of France was the old"), Spec("The king of Spain was the old")),
    "translator": (
        Spec("Me senté en el banco del parque.", target="I sat on the"),
        Spec("Me senté en el banco del dinero.", target="I sat on the"),
    ),
    "recurrent": (
        Spec("El banco está cerrado.", target="The bank is"),
        Spec("El banco está abierto.", target="The bank is"),
    ),
}


@pytest.fixture(scope="module")
def pairs() -> Callable[[str], tuple[ReadText, ReadText]]:
    kept: dict[str, tuple[ReadText, ReadText]] = {}

    def pair(name: str) -> tuple[ReadText, ReadText]:
        if name not in kept:
            loaded = zoo.load(name, CPU)
            first, second = (lab.text_of(loaded, spec) for spec in PAIRS[name])
            kept[name] = first, second
        return kept[name]

    return pair


def swept(
    text: ReadText, metric: LogitDifference, kind: Kind, given: list[Tensor], over: lab.Over
) -> Tensor:
    return torch.stack(list(lab.sweep(text, metric, kind, given, over)))


@pytest.mark.parametrize(("name", "kind"), EVERY_KIND)
@pytest.mark.parametrize("over", ["heads", "positions"])
def test_outputs_replaced_by_themselves_change_nothing(
    pairs: Any, name: str, kind: Kind, over: lab.Over
) -> None:
    text = pairs(name)[0]
    metric = lab.metric_of(text)
    values = swept(text, metric, kind, text.z[kind], over)
    n_layer, n_head = text.loaded.shape(kind)
    assert values.shape == (n_layer, n_head if over == "heads" else text.z[kind][0].size(2))
    torch.testing.assert_close(
        values, torch.full_like(values, lab.value_of(text, metric)), atol=1e-4, rtol=0
    )


@pytest.mark.parametrize(
    ("name", "kind", "how"),
    [(*each, how) for each in EVERY_KIND for how in ("zero", "mean_positions")][:-1],
)  # of the recurrent model, step by step, no edit knows the mean over positions
def test_a_row_of_a_batch_is_the_edit_alone(
    pairs: Any, name: str, kind: Kind, how: lab.How
) -> None:
    text = pairs(name)[0]
    metric = lab.metric_of(text)
    values = swept(text, metric, kind, lab.replacements(how, kind, text), "heads")
    last = text.loaded.shape(kind)[1] - 1
    for layer, head in ((0, 0), (len(values) - 1, last)):
        value = "zero" if how == "zero" else "mean"
        edit = Edit("ablate", kind, layer, head, value=value)  # type: ignore[arg-type]
        with torch.inference_mode():
            alone = lab.measured(text, metric, [edit]).item()
        assert values[layer, head].item() == pytest.approx(alone, abs=1e-4)


@pytest.mark.parametrize(("name", "kind"), EVERY_KIND[:-1])
def test_layers_before_the_replaced_head_are_computed_once(
    pairs: Any, name: str, kind: Kind
) -> None:
    text = pairs(name)[0]
    model, n_head = text.loaded.model, text.loaded.shape(kind)[1]
    stack = model.encoder if kind == "encoder" else model.decoder
    rows: list[int] = []
    handles = [
        layer.register_forward_hook(lambda *given: rows.append(len(given[2]))) for layer in stack
    ]
    given = lab.replacements("zero", kind, text)
    for layer, values in enumerate(lab.sweep(text, lab.metric_of(text), kind, given, "heads")):
        assert rows == [1] * layer + [n_head] * (len(stack) - layer)
        assert values.shape == (n_head,)
        rows.clear()
    for handle in handles:
        handle.remove()


def test_with_every_head_restored_the_prediction_is_restored(pairs: Any) -> None:
    """Where the texts differ before the predicting token alone, its attention is all it has."""
    clean, corrupted = pairs("gpt")
    metric = lab.metric_of(clean)
    given = lab.replacements("denoise", "decoder", clean, corrupted)
    ends = lab.value_of(corrupted, metric), lab.value_of(clean, metric)
    assert lab.together(corrupted, metric, "decoder", given) == pytest.approx(ends[1], abs=1e-4)
    assert lab.scaled(torch.tensor(ends), *ends).tolist() == [0, 1]


@pytest.mark.parametrize("name", ["bert", "gpt", "translator"])
@pytest.mark.parametrize("over", ["heads", "positions"])
def test_the_estimate_is_the_slope_at_no_replacement(pairs: Any, name: str, over: lab.Over) -> None:
    clean, corrupted = pairs(name)
    kind = clean.loaded.kinds[-1]
    metric = lab.metric_of(clean)
    given = lab.replacements("denoise", kind, clean, corrupted)
    estimate = lab.first_order(corrupted, metric, kind, given, over)
    step = 1e-2
    where = step * lab.selections(corrupted, kind, over)
    for layer, i in ((0, 1), (len(given) - 1, 0)):
        with torch.inference_mode():
            up, down = (
                lab.measured(
                    corrupted,
                    metric,
                    [Edit("replace", kind, layer, z=given[layer], where=sign * where[i : i + 1])],
                ).item()
                for sign in (1, -1)
            )
        assert estimate[layer, i].item() == pytest.approx((up - down) / (2 * step), abs=5e-3)


def test_a_mean_over_references_is_of_all_their_positions(pairs: Any) -> None:
    first, second = pairs("bert")
    means = lab.Means()
    for text in (first, second):
        means.add(text.z["encoder"])
    [layer, *_] = means.means()
    both = torch.cat([first.z["encoder"][0], second.z["encoder"][0]], dim=2)
    torch.testing.assert_close(layer, both.mean(2, keepdim=True))
    assert (both - layer).sum(2).abs().max() < 1e-4, "about their mean they sum to 0"


@pytest.mark.parametrize(
    ("name", "other", "field"),
    [
        ("bert", Spec("He sat on the [MASK]."), "corrupted"),
        ("translator", Spec("El banco.", target="I sat on the"), "corrupted"),
        ("translator", Spec("Me senté en el banco del dinero.", target="I sat"), "corrupted"),
    ],
)
def test_texts_of_different_lengths_are_refused(
    pairs: Any, name: str, other: Spec, field: str
) -> None:
    text = pairs(name)[0]
    with pytest.raises(BadInput, match=r"must have equally many") as caught:
        lab.check_pair(text, lab.text_of(text.loaded, other))
    assert caught.value.field == field


def test_an_encoder_needs_a_blank_or_a_position(pairs: Any) -> None:
    loaded = pairs("bert")[0].loaded
    text = lab.text_of(loaded, Spec("He sat on the bank."))
    with pytest.raises(BadInput, match="no \\[MASK\\]"):
        lab.metric_of(text)
    assert lab.metric_of(text, position=5).position == 5
    with pytest.raises(BadInput, match="must be 0 to 7"):
        lab.metric_of(text, position=8)


@pytest.mark.parametrize(
    ("x", "y", "rho"),
    [
        ([1, 2, 3, 4], [2, 4, 6, 9], 1),
        ([1, 2, 3], [-3, 2, 1], -1),
        ([1, 1, 2, 3], [1, 2, 3, 4], 0.9487),
    ],
)
def test_agreement_is_spearmans_of_the_sizes(x: list[float], y: list[float], rho: float) -> None:
    agreement = lab.rank_agreement(torch.tensor(x), torch.tensor(y))
    assert agreement == pytest.approx(rho, abs=1e-4)
    assert agreement == pytest.approx(
        spearmanr(abs(torch.tensor(x)), abs(torch.tensor(y))).statistic
    )
    assert lab.rank_agreement(torch.tensor([2.0, 2.0]), torch.tensor([1.0, 2.0])) is None


# transformers' own modules, hooked before W_O, are the oracle.

OUTPUTS: dict[str, tuple[Callable[[Path], Path], Any, Callable[[Any], list[nn.Module]]]] = {
    "bert": (
        saved.bert,
        hf.BertForMaskedLM,
        lambda m: [layer.attention.output.dense for layer in m.bert.encoder.layer],
    ),
    "gpt2": (saved.gpt2, hf.GPT2LMHeadModel, lambda m: [b.attn.c_proj for b in m.transformer.h]),
    "llama": (
        saved.llama,
        hf.LlamaForCausalLM,
        lambda m: [layer.self_attn.o_proj for layer in m.model.layers],
    ),
    "bart": (
        saved.bart,
        hf.BartForConditionalGeneration,
        lambda m: [layer.encoder_attn.out_proj for layer in m.model.decoder.layers],
    ),
}


def inputs_of(text: ReadText) -> dict[str, Tensor]:
    ids = {
        name: torch.tensor([[token.id for token in tokens]])
        for name, tokens in text.sequences.items()
    }
    if "target" in ids:
        return {"input_ids": ids["source"], "decoder_input_ids": ids["target"]}
    return {"input_ids": ids["source"]}


def hooked(module: nn.Module, head: slice, z: Tensor | None) -> Any:
    """z (T, d) in place of a head's part of the module's input; None: 0."""

    def before(_: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        x = inputs[0].clone()
        x[..., head] = 0 if z is None else z
        return (x, *inputs[1:])

    return module.register_forward_pre_hook(before)


@pytest.mark.parametrize("how", ["zero", "denoise"])
@pytest.mark.parametrize("name", OUTPUTS)
def test_effects_are_those_of_hooks_on_transformers_modules(
    tmp_path: Path, name: str, how: lab.How
) -> None:
    make, cls, modules_of = OUTPUTS[name]
    folder = make(tmp_path / name)
    model = cls.from_pretrained(folder, attn_implementation="eager").eval()
    loaded: Loaded = open_model(str(folder), CPU)
    kind = loaded.kinds[-1]
    target = {"target": "The bank"} if name == "bart" else {}
    blank = " [MASK]" if name == "bert" else ""
    clean, corrupted = (
        lab.text_of(loaded, Spec(f"the {word} bank{blank}", **target)) for word in ("old", "new")
    )
    metric = lab.metric_of(clean)
    text = corrupted if how == "denoise" else clean
    values = swept(text, metric, kind, lab.replacements(how, kind, clean, corrupted), "heads")
    n_head = values.size(1)
    for layer, module in enumerate(modules_of(model)):
        for head in range(n_head):
            z = clean.z[kind][layer][0, head] if how == "denoise" else None
            width = clean.z[kind][layer].size(-1)
            handle = hooked(module, slice(head * width, (head + 1) * width), z)
            with torch.inference_mode():
                logits = model(**inputs_of(text)).logits[0, metric.position]
            handle.remove()
            expected = (logits[metric.a] - logits[metric.b]).item()
            assert values[layer, head].item() == pytest.approx(expected, abs=1e-5)
