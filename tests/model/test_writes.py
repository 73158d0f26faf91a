"""Direct logit attribution: its sum, and its parts against formulas written out by hand."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from attention_atlas.model import zoo
from attention_atlas.model.analysis import lab
from attention_atlas.model.analysis.lab import LogitDifference, ReadText
from attention_atlas.model.analysis.writes import checked_kind, head_writes, writes
from attention_atlas.model.hub.opening import open_model
from attention_atlas.model.protocol import Batch
from attention_atlas.model.spec import BadInput, Spec
from attention_atlas.model.tape import Edit, Kind, Tape
from attention_atlas.model.zoo import Loaded
from torch import Tensor
from torch.nn import functional as F

from tests import saved
from tests.families import FAMILIES
from tests.family_text import family_text

CPU = torch.device("cpu")
SPECS = {
    "bert": Spec("He sat on the river [MASK] and watched the water."),
    "gpt": Spec("The king of France was the old"),
    "translator": Spec("Me senté en el banco del parque.", target="I sat on the"),
    "recurrent": Spec("El banco está cerrado.", target="The bank is"),
}
WRITING: list[tuple[str, Kind]] = [
    ("bert", "encoder"),
    ("gpt", "decoder"),
    ("translator", "decoder"),
    ("translator", "cross"),
]
# Without edits, and so without z. Then: experts that are no linear maps of their own; a head whose
# GELU is written out; positions that are no embedding.
LACKING = {"MPNet", "DeBERTa-v2", "XLNet", "BLOOM", "Falcon", "GPT-J", "gpt-oss"}
REFUSED = {"Mixtral", "DeepSeek-V3", "Llama 4", "ALBERT", "M2M100"}
FOLDERS: dict[str, Callable[[Path], Path]] = {
    "bert": saved.bert,
    "gpt2": saved.gpt2,
    "llama": saved.llama,
    "bart": saved.bart,
}


@pytest.fixture(scope="module")
def text() -> Callable[[str], ReadText]:
    kept: dict[str, ReadText] = {}

    def made(name: str) -> ReadText:
        if name not in kept:
            kept[name] = lab.text_of(zoo.load(name, CPU), SPECS[name])
        return kept[name]

    return made


def opened(tmp_path: Path, name: str) -> ReadText:
    loaded: Loaded = open_model(str(FOLDERS[name](tmp_path / name)), CPU)
    target = {"target": "The bank"} if name == "bart" else {}
    return lab.text_of(loaded, Spec("the old bank" + " [MASK]" * (name == "bert"), **target))


@pytest.mark.parametrize("name", ["bert", "gpt", "translator"])
def test_the_parts_sum_to_the_logit_difference(text: Any, name: str) -> None:
    metric = lab.metric_of(text(name))
    result = writes(text(name), metric)
    assert result.sum == pytest.approx(result.value, abs=1e-5)
    assert result.value == lab.value_of(text(name), metric)


@pytest.mark.parametrize("name", FOLDERS)
def test_the_parts_of_a_model_of_transformers_sum_to_it(tmp_path: Path, name: str) -> None:
    text = opened(tmp_path, name)
    result = writes(text, lab.metric_of(text))
    assert result.sum == pytest.approx(result.value, abs=1e-5)
    assert result.heads[text.loaded.kinds[-1]].abs().min() > 0


@pytest.mark.parametrize("name", [name for name in FAMILIES if name not in LACKING])
def test_of_any_family_the_parts_sum_or_are_refused(name: str) -> None:
    text = family_text(name)
    metric = LogitDifference(2, 5, 6)
    if name in REFUSED:
        with pytest.raises(BadInput, match=f"{name} is not shown in parts: what its heads"):
            writes(text, metric)
        return
    result = writes(text, metric)
    assert result.sum == pytest.approx(result.value, abs=1e-5)
    assert all(heads.abs().min() > 0 for heads in result.heads.values())


@pytest.mark.parametrize(("name", "kind"), WRITING)
def test_the_keys_sum_to_the_head(text: Any, name: str, kind: Kind) -> None:
    metric = lab.metric_of(text(name))
    result = writes(text(name), metric)
    n_layer, n_head = result.heads[kind].shape
    for layer, head in ((0, 0), (n_layer - 1, n_head - 1)):
        row = head_writes(text(name), metric.position, result, kind, layer, head)
        total = result.heads[kind][layer, head].item()
        assert row.writes.sum().item() == pytest.approx(total, abs=1e-5)
        assert row.attn.sum().item() == pytest.approx(1, abs=1e-5)
        assert len(row.k_tokens) == len(row.attn)


def test_edits_are_part_of_the_run(text: Any) -> None:
    """A head that is switched off writes nothing, and is no sum over its keys."""
    off = Edit("ablate", layer=3, head=2)
    edited = lab.text_of(text("gpt").loaded, Spec(SPECS["gpt"].text, edits=(off,)))
    metric = lab.metric_of(edited)
    result = writes(edited, metric)
    assert result.sum == pytest.approx(result.value, abs=1e-5)
    assert result.heads["decoder"][3, 2] == 0
    with pytest.raises(BadInput, match="replaces the output"):
        head_writes(edited, metric.position, result, "decoder", 3, 2)


def test_what_is_no_such_sum_is_refused(text: Any) -> None:
    with pytest.raises(BadInput, match="recurrent is not shown in parts"):
        writes(text("recurrent"), lab.metric_of(text("recurrent")))
    with pytest.raises(BadInput, match="writes into the source's stream"):
        checked_kind(text("translator"), "encoder")
    assert checked_kind(text("translator"), None) == "decoder"


# By hand, with transformers' own weights: z W_O · (W_U[a] - W_U[b]) γ / σ of the last norm.


def by_hand(
    z: list[Tensor],
    W_O: list[Tensor],
    x: Tensor,
    norm: Any,
    unembed: Tensor,
    metric: LogitDifference,
) -> Tensor:
    """z of each layer (1, H, T, d), W_O (H d, D), x (D,) before the last norm -> (L, H)."""
    direction = unembed[metric.a] - unembed[metric.b]
    centres = isinstance(norm, torch.nn.LayerNorm)
    scale = (
        x.var(unbiased=False).add(norm.eps).rsqrt()
        if centres
        else (x.pow(2).mean() + norm.variance_epsilon).rsqrt()
    )
    rows = []
    for layer, W in zip(z, W_O, strict=True):
        by_head = layer[0, :, metric.position]  # (H, d)
        out = torch.einsum("hd,hdD->hD", by_head, W.view(*by_head.shape, -1))
        out = out - out.mean(-1, keepdim=True) if centres else out
        rows.append(out * norm.weight * scale @ direction)
    return torch.stack(rows)


@pytest.mark.parametrize("name", ["gpt2", "llama"])
def test_heads_write_what_the_formula_says(tmp_path: Path, name: str) -> None:
    text = opened(tmp_path, name)
    metric = lab.metric_of(text)
    model: Any = text.loaded.model.model  # type: ignore[union-attr]
    ids = torch.tensor([[token.id for token in text.sequences["source"]]])
    seen: list[Tensor] = []
    norm = model.transformer.ln_f if name == "gpt2" else model.model.norm
    handle = norm.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    with torch.inference_mode():
        model(input_ids=ids)
    handle.remove()
    if name == "gpt2":
        W_O = [block.attn.c_proj.weight for block in model.transformer.h]
    else:
        W_O = [layer.self_attn.o_proj.weight.T for layer in model.model.layers]
    with torch.inference_mode():
        expected = by_hand(
            text.z["decoder"], W_O, seen[0][0, metric.position], norm, model.lm_head.weight, metric
        )
    heads = writes(text, metric).heads["decoder"]
    torch.testing.assert_close(heads.float(), expected, atol=1e-6, rtol=1e-4)


def test_a_head_of_berts_last_layer_writes_through_its_norms_and_head(text: Any) -> None:
    """LayerNorm of the sum, that of the MLP's sum, the head's dense layer, GELU's slope, norm."""
    it = text("bert")
    model, metric = it.loaded.model, lab.metric_of(it)
    layer, head, place = model.encoder[-1], 4, metric.position
    tape = Tape(keep=("z",), hidden=True)
    with torch.inference_mode():
        model.read(batch_of(it), tape)
        x = tape.streams["encoder"][-2][0, place]
        z = it.z["encoder"][-1][0, :, place].flatten()
        own = torch.zeros_like(z).view(model.config.n_head, -1)
        own[head] = z.view_as(own)[head]
        added = x + layer.attention.W_O(z)
        out = own.flatten() @ layer.attention.W_O.weight.T
        middle = layer.attention_norm(added)
        out = held(layer.attention_norm, added, out)
        out = held(layer.feed_forward_norm, middle + layer.feed_forward(middle), out)
        dense = model.mlm_transform(it.x[0, place])
        out = out @ model.mlm_transform.weight.T * F.gelu(dense) / dense
        out = held(model.mlm_norm, F.gelu(dense), out)
        words = model.embedding.weight
        expected = out @ (words[metric.a] - words[metric.b])
    assert writes(it, metric).heads["encoder"][-1, head].item() == pytest.approx(
        expected.item(), abs=1e-5
    )


def held(norm: Any, x: Tensor, part: Tensor) -> Tensor:
    """A part of x through a layer norm whose deviation is held."""
    centred = part - part.mean()
    return centred / (x.var(unbiased=False) + norm.eps).sqrt() * norm.weight


def batch_of(text: ReadText) -> Batch:
    return Batch(torch.tensor([[token.id for token in text.sequences["source"]]]))
