"""Path patching: against hooks on a GPT-2's own modules, and by properties."""

from __future__ import annotations

from pathlib import Path as Folder
from typing import Any

import pytest
import torch
import transformers as hf
from attention_atlas.model import zoo
from attention_atlas.model.analysis import lab, paths, writes
from attention_atlas.model.analysis.paths import INPUTS, Node, Pair, Path
from attention_atlas.model.hub.opening import open_model
from attention_atlas.model.spec import BadInput, Spec
from torch import Tensor

from tests import saved

CPU = torch.device("cpu")
RIVER = "He sat on the river [MASK] and watched the water."
PAIRS: dict[str, tuple[Spec, Spec]] = {
    "bert": (Spec(RIVER), Spec(RIVER.replace("river", "money"))),
    "gpt": (Spec("The king of France was"), Spec("The king of Spain was")),
    "translator": (
        Spec("Me senté en el banco del parque.", target="I sat"),
        Spec("Me senté en el banco del dinero.", target="I sat"),
    ),
}


def pair_of(loaded: Any, specs: tuple[Spec, Spec]) -> Pair:
    clean, corrupted = (lab.text_of(loaded, spec) for spec in specs)
    return Pair(clean, corrupted, lab.metric_of(clean))


def difference(pair: Pair) -> lab.LogitDifference:
    assert isinstance(pair.metric, lab.LogitDifference)
    return pair.metric


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Pair]:
    folder: Folder = saved.gpt2(tmp_path_factory.mktemp("gpt2"))
    model = hf.GPT2LMHeadModel.from_pretrained(folder, attn_implementation="eager").eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(4)  # else a path of so small weights changes next to nothing
    model.save_pretrained(folder)
    specs = (Spec("the old bank was"), Spec("the new bank was"))
    return model, pair_of(open_model(str(folder), CPU), specs)


def oracle(model: Any, pair: Pair, path: Path) -> float:
    """The delta added to the receiver's own copy of the stream, and its q, k or v put in place."""
    ids = torch.tensor([[t.id for t in pair.corrupted.sequences["source"]]])
    _, layer, head = path.sender
    d = model.config.n_embd // model.config.n_head
    part = slice(head * d, (head + 1) * d)
    z = [text.z["decoder"][layer][0, head] for text in (pair.clean, pair.corrupted)]
    delta = (z[0] - z[1]) @ model.transformer.h[layer].attn.c_proj.weight[part]
    streams = model(ids, output_hidden_states=True).hidden_states
    if path.receiver is None:
        last: list[Tensor] = []
        norm = model.transformer.ln_f
        handle = norm.register_forward_pre_hook(lambda _, x: last.append(x[0]))
        model(ids)
        handle.remove()
        logits = model.lm_head(norm(last[0] + delta))[0]
    else:
        _, later, other = path.receiver
        block = model.transformer.h[later]
        given = block.attn.c_attn(block.ln_1(streams[later] + delta))
        first = INPUTS.index(path.input) * model.config.n_embd + other * d

        def after(_: Any, __: Any, y: Tensor) -> Tensor:
            y = y.clone()
            y[..., first : first + d] = given[..., first : first + d]
            return y

        handle = block.attn.c_attn.register_forward_hook(after)
        logits = model(ids).logits[0]
        handle.remove()
    metric = difference(pair)
    row = logits[metric.position]
    return float((row[metric.a] - row[metric.b]).item())


def test_paths_are_those_of_hooks_on_a_gpt2(tiny: Any) -> None:
    model, pair = tiny
    every = paths.every_path(pair.corrupted)
    assert len(every) == 12 + 3 * (4 * 4 + 8 * 4), "to the logits, and from earlier layers alone"
    chosen = every[:12] + every[12::7]
    values = paths.exact(pair, chosen)
    with torch.no_grad():
        expected = [oracle(model, pair, path) for path in chosen]
    assert values == pytest.approx(expected, abs=1e-5)
    start = lab.value_of(pair.corrupted, pair.metric)
    assert max(abs(value - start) for value in values) > 1e-3


@pytest.mark.parametrize("name", PAIRS)
def test_from_a_run_to_itself_no_path_changes_anything(name: str) -> None:
    pair = pair_of(zoo.load(name, CPU), PAIRS[name])
    same = Pair(pair.corrupted, pair.corrupted, pair.metric)
    chosen = paths.every_path(pair.corrupted)[::41]
    start = lab.value_of(pair.corrupted, pair.metric)
    assert paths.exact(same, chosen) == pytest.approx([start] * len(chosen), abs=1e-4)
    assert paths.estimated(same, chosen) == pytest.approx([0] * len(chosen), abs=1e-4)


@pytest.mark.parametrize("name", PAIRS)
def test_the_estimate_is_the_slope_of_the_path(name: str) -> None:
    pair = pair_of(zoo.load(name, CPU), PAIRS[name])
    chosen = paths.every_path(pair.corrupted)[::23]
    estimate = torch.tensor(paths.estimated(pair, chosen))
    change = torch.tensor(paths.exact(pair, chosen)) - lab.value_of(pair.corrupted, pair.metric)
    agreement = lab.rank_agreement(change, estimate)
    assert agreement is not None and agreement > 0.8


def test_into_the_logits_of_a_prenorm_model_it_is_what_the_head_writes() -> None:
    """But for the last norm, which is computed anew: with its scale held, the sums would agree."""
    pair = pair_of(zoo.load("gpt", CPU), PAIRS["gpt"])
    direct = torch.tensor(paths.exact(pair, paths.paths_to(pair.corrupted, None, None)))
    change = direct - lab.value_of(pair.corrupted, pair.metric)
    parts = [
        writes.writes(text, difference(pair)).heads["decoder"].flatten()
        for text in (pair.clean, pair.corrupted)
    ]
    agreement = lab.rank_agreement(change, parts[0] - parts[1])
    assert agreement is not None and agreement > 0.9


def test_a_path_leads_only_forward_and_through_one_stream() -> None:
    text = lab.text_of(zoo.load("translator", CPU), PAIRS["translator"][0])
    cross, later = Node("cross", 1, 0), Node("decoder", 2, 0)
    assert paths.reaches(Node("encoder", 0, 0), cross, "k")
    assert not paths.reaches(Node("encoder", 0, 0), cross, "q")
    assert paths.reaches(Node("decoder", 1, 0), cross, "q")
    assert not paths.reaches(cross, Node("decoder", 1, 0), "q")
    assert paths.reaches(cross, later, "v")
    assert {path.sender.kind for path in paths.paths_to(text, None, None)} == {"decoder", "cross"}


def test_a_model_without_known_mlps_is_refused() -> None:
    pair = pair_of(zoo.load("recurrent", CPU), PAIRS["translator"])
    with pytest.raises(BadInput, match="has no MLPs"):
        pair.check()
