"""Edges of one head: each alone, all of them, and their slopes."""

from __future__ import annotations

import pytest
import torch
from attention_atlas.model import zoo
from attention_atlas.model.analysis import lab
from attention_atlas.model.analysis.edges import edge_estimate, edge_sweep, without_head
from attention_atlas.model.spec import Spec
from attention_atlas.model.tape import Edit, Kind

CPU = torch.device("cpu")
SPECS: list[tuple[str, Kind, Spec]] = [
    ("bert", "encoder", Spec("He sat on the [MASK] bank.")),
    ("gpt", "decoder", Spec("The king of France was the old")),
    ("translator", "cross", Spec("El banco está cerrado.", target="The bank is")),
]


@pytest.mark.parametrize(("name", "kind", "spec"), SPECS)
def test_without_its_edges_a_head_is_off(name: str, kind: Kind, spec: Spec) -> None:
    text = lab.text_of(zoo.load(name, CPU), spec)
    metric = lab.metric_of(text)
    with torch.inference_mode():
        off = lab.measured(text, metric, [Edit("ablate", kind, 2, 3)]).item()
    assert without_head(text, metric, kind, 2, 3) == pytest.approx(off, abs=1e-4)


@pytest.mark.parametrize(("name", "kind", "spec"), SPECS)
def test_in_the_last_layer_the_predicting_row_alone_matters(
    name: str, kind: Kind, spec: Spec
) -> None:
    text = lab.text_of(zoo.load(name, CPU), spec)
    metric, last = lab.metric_of(text), text.loaded.shape(kind)[0] - 1
    change = torch.stack(list(edge_sweep(text, metric, kind, last, 1)))
    change = change - lab.value_of(text, metric)
    others = [q for q in range(len(change)) if q != metric.position]
    assert change[others].abs().max() < 1e-4 < change[metric.position].abs().max()
    estimate = edge_estimate(text, metric, kind, last, 1)
    assert estimate.shape == change.shape
    assert lab.rank_agreement(change[metric.position], estimate[metric.position]) > 0.8  # type: ignore[operator]


def test_a_masked_edge_carries_nothing() -> None:
    text = lab.text_of(zoo.load("gpt", CPU), Spec("The king of France was"))
    metric = lab.metric_of(text)
    rows = torch.stack(list(edge_sweep(text, metric, "decoder", 0, 2)))
    change = rows - lab.value_of(text, metric)
    assert change.triu(1).abs().max() < 1e-4 < change.tril().abs().max()
