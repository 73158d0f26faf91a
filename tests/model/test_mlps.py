"""MLPs replaced one by one: against hooks on transformers' own modules, and by properties."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers as hf
from attention_atlas.model import zoo
from attention_atlas.model.analysis import interventions, lab
from attention_atlas.model.analysis.interventions import Intervention, bench_of
from attention_atlas.model.analysis.lab import ReadText
from attention_atlas.model.hub import in_memory
from attention_atlas.model.hub.opening import open_model
from attention_atlas.model.spec import BadInput, Spec
from attention_atlas.model.tape import Edit, Kind
from torch import Tensor, nn

from tests import saved

CPU = torch.device("cpu")
RIVER = "He sat on the river [MASK] and watched the water."
STACKS: list[tuple[str, Kind, Spec]] = [
    ("bert", "encoder", Spec(RIVER)),
    ("gpt", "decoder", Spec("The king of France was the old")),
    ("translator", "encoder", Spec("Me senté en el banco.", target="I sat on the")),
    ("translator", "decoder", Spec("Me senté en el banco.", target="I sat on the")),
]
ENDS: dict[str, tuple[Callable[[Path], Path], Any, Callable[[Any], list[nn.Module]]]] = {
    "bert": (
        saved.bert,
        hf.BertForMaskedLM,
        lambda m: [layer.output.dense for layer in m.bert.encoder.layer],
    ),
    "gpt2": (saved.gpt2, hf.GPT2LMHeadModel, lambda m: [b.mlp.c_proj for b in m.transformer.h]),
    "llama": (
        saved.llama,
        hf.LlamaForCausalLM,
        lambda m: [b.mlp.down_proj for b in m.model.layers],
    ),
    "bart": (
        saved.bart,
        hf.BartForConditionalGeneration,
        lambda m: [layer.fc2 for layer in m.model.decoder.layers],
    ),
}


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Any]:
    kept: dict[str, Any] = {}

    def pair(name: str) -> Any:
        if name not in kept:
            make, cls, modules_of = ENDS[name]
            folder = make(tmp_path_factory.mktemp(name))
            model = cls.from_pretrained(folder, attn_implementation="eager").eval()
            loaded = open_model(str(folder), CPU)
            target = "The bank" if name == "bart" else None
            blank = " [MASK]" if name == "bert" else ""
            specs = [Spec(f"the {word} bank{blank}", target=target) for word in ("old", "new")]
            texts = [lab.text_of(loaded, spec) for spec in specs]
            kept[name] = model, modules_of(model), *texts
        return kept[name]

    return pair


def hooked(module: nn.Module, given: Tensor | None, position: int | None) -> Any:
    """`given` (T, D) in place of what a module gives, at all positions or one; None: 0."""

    def after(_: nn.Module, __: Any, y: Tensor) -> Tensor:
        rows = torch.zeros_like(y[0]) if given is None else given
        y = y.clone()
        place = slice(None) if position is None else position
        y[0, place] = rows[place]
        return y

    return module.register_forward_hook(after)


def expected(model: Any, text: ReadText, metric: lab.LogitDifference) -> float:
    ids = {
        name: torch.tensor([[token.id for token in tokens]])
        for name, tokens in text.sequences.items()
    }
    names = {"source": "input_ids", "target": "decoder_input_ids"}
    with torch.inference_mode():
        logits = model(**{names[k]: v for k, v in ids.items()}).logits[0, metric.position]
    return float((logits[metric.a] - logits[metric.b]).item())


@pytest.mark.parametrize("how", ["zero", "denoise", "noise"])
@pytest.mark.parametrize("name", ENDS)
def test_effects_are_those_of_hooks_on_transformers_modules(
    opened: Any, name: str, how: lab.How
) -> None:
    model, modules, clean, corrupted = opened(name)
    kind: Kind = "encoder" if name == "bert" else "decoder"
    metric = lab.metric_of(clean)
    text, source = (corrupted, clean) if how == "denoise" else (clean, corrupted)
    given = lab.replacements(how, kind, clean, corrupted, part="mlp")
    whole = torch.cat(list(lab.sweep(text, metric, kind, given, "mlps")))
    single = torch.stack(list(lab.sweep(text, metric, kind, given, "mlp_positions")))
    assert single.shape == (len(modules), text.x.size(1))
    for layer, module in enumerate(modules):
        rows = None if how == "zero" else source.mlps[kind][layer][0, 0]
        for position in (None, 0, single.size(1) - 1):
            handle = hooked(module, rows, position)
            value = expected(model, text, metric)
            handle.remove()
            ours = whole[layer] if position is None else single[layer, position]
            assert ours.item() == pytest.approx(value, abs=1e-5)


@pytest.mark.parametrize(("name", "kind", "spec"), STACKS)
def test_mlps_replaced_by_themselves_change_nothing(name: str, kind: Kind, spec: Spec) -> None:
    text = lab.text_of(zoo.load(name, CPU), spec)
    metric = lab.metric_of(text)
    start = lab.value_of(text, metric)
    values = torch.cat(list(lab.sweep(text, metric, kind, text.mlps[kind], "mlps")))
    assert values.tolist() == pytest.approx([start] * text.loaded.shape(kind)[0], abs=1e-4)
    assert lab.together(text, metric, kind, text.mlps[kind], "mlp") == pytest.approx(
        start, abs=1e-4
    )


@pytest.mark.parametrize(("name", "kind", "spec"), STACKS)
def test_an_intervention_is_a_cell_of_the_sweep(name: str, kind: Kind, spec: Spec) -> None:
    text = lab.text_of(zoo.load(name, CPU), spec)
    metric, bench = lab.metric_of(text), bench_of(text, None, [text])
    given = lab.replacements("mean_positions", kind, text, part="mlp")
    values = torch.cat(list(lab.sweep(text, metric, kind, given, "mlps")))
    hows: tuple[interventions.InterventionHow, ...] = ("mean_positions", "mean")
    for how in hows:  # the reference is the text itself
        it = Intervention(how, kind, 1, part="mlp")
        interventions.check(bench, it, text)
        edits = interventions.edits_of(bench, it, text)
        value = interventions.outcome(text, metric, edits).value
        assert value == pytest.approx(values[1].item(), abs=1e-4)


def test_the_estimate_is_the_slope_at_no_replacement() -> None:
    text = lab.text_of(zoo.load("gpt", CPU), STACKS[1][2])
    metric = lab.metric_of(text)
    given = lab.replacements("zero", "decoder", text, part="mlp")
    estimate = lab.first_order(text, metric, "decoder", given, "mlp_positions")
    where = torch.zeros(1, 1, text.x.size(1), 1)
    where[:, :, 3] = 1e-2
    with torch.inference_mode():
        up, down = (
            lab.measured(
                text, metric, [Edit("replace_mlp", "decoder", 2, z=given[2], where=sign * where)]
            ).item()
            for sign in (1, -1)
        )
    assert estimate[2, 3].item() == pytest.approx((up - down) / 2e-2, abs=5e-3)


def test_where_experts_share_the_tokens_it_is_said_by_name(tmp_path: Path) -> None:
    folder = saved.llama(tmp_path)
    sizes = hf.LlamaConfig.from_pretrained(folder).to_dict()
    names = ("vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads")
    config = hf.MixtralConfig(
        **{name: sizes[name] for name in names},
        num_key_value_heads=2, intermediate_size=40, num_local_experts=2,
    )  # fmt: skip
    hf.MixtralForCausalLM(config).save_pretrained(folder)
    text = lab.text_of(open_model(str(folder), CPU), Spec("the old bank"))
    assert not text.loaded.model.has_mlps
    with pytest.raises(BadInput, match="has no MLPs to replace here") as caught:
        interventions.check(bench_of(text, None), Intervention("zero", part="mlp"), text)
    assert caught.value.message.code == "no-mlps"  # type: ignore[attr-defined]


def test_an_mlp_has_no_heads() -> None:
    text = lab.text_of(zoo.load("gpt", CPU), Spec("The king"))
    for it in (Intervention("zero", head=1, part="mlp"), Intervention("scale", part="mlp")):
        with pytest.raises(BadInput, match="an MLP has no heads"):
            interventions.check(bench_of(text, None), it, text)


@pytest.mark.parametrize(("key", "row"), [(2, [0, 0, 1, 0, 0]), (None, [0.2] * 5)])
def test_a_row_is_set_to_one_key_or_to_all_alike(key: int | None, row: list[float]) -> None:
    text = lab.text_of(zoo.load("gpt", CPU), Spec("The king of France"))
    it = Intervention("set", "decoder", 1, 2, query=3, key=key)
    [edit] = interventions.edits_of(bench_of(text, None), it, text)
    assert [x / sum(edit.row) for x in edit.row] == pytest.approx(row)


class OneAfterTheOther(nn.Module):
    """An MLP whose maps are in a list, each reading what the one before it gives."""

    def __init__(self, sizes: hf.LlamaConfig) -> None:
        super().__init__()
        D, F = sizes.hidden_size, sizes.intermediate_size
        self.maps = nn.ModuleList([nn.Linear(D, F), nn.Linear(F, D)])

    def forward(self, x: Tensor) -> Tensor:
        first, second = self.maps
        return second(first(x).relu())


class SideBySide(OneAfterTheOther):
    """Two MLPs, of both of which every token takes a share."""

    def __init__(self, sizes: hf.LlamaConfig) -> None:
        super().__init__(sizes)
        self.router = nn.Linear(sizes.hidden_size, 2)
        self.experts = nn.ModuleList([OneAfterTheOther(sizes) for _ in range(2)])

    def forward(self, x: Tensor) -> Tensor:
        shares = self.router(x).softmax(-1)
        parts = [
            share[..., None] * f(x)
            for share, f in zip(shares.unbind(-1), self.experts, strict=True)
        ]
        return super().forward(x) + torch.stack(parts).sum(0)


@pytest.mark.parametrize(("mlp", "known"), [(OneAfterTheOther, True), (SideBySide, False)])
def test_a_list_of_maps_is_an_mlp_unless_they_stand_side_by_side(
    tmp_path: Path, mlp: type[OneAfterTheOther], known: bool
) -> None:
    folder = saved.llama(tmp_path)
    model = hf.LlamaForCausalLM.from_pretrained(folder)
    for layer in model.model.layers:
        layer.mlp = mlp(model.config)
    loaded = in_memory.loaded(model, hf.AutoTokenizer.from_pretrained(folder))
    assert loaded.model.has_mlps == known
    if not known:
        return
    text = lab.text_of(loaded, Spec("the old bank"))
    metric = lab.metric_of(text)
    given = lab.replacements("zero", "decoder", text, part="mlp")
    values = torch.cat(list(lab.sweep(text, metric, "decoder", given, "mlps")))
    for layer, value in zip(model.model.layers, values.tolist(), strict=True):
        handle = hooked(layer.mlp.maps[1], None, None)
        assert value == pytest.approx(expected(model, text, metric), abs=1e-5)
        handle.remove()
