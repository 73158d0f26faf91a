"""The logit lens: the last layer's is the prediction; each is norm and head on that state."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from attention_atlas.model import zoo
from attention_atlas.model.analysis import lab
from attention_atlas.model.analysis.lab import LogitDifference
from attention_atlas.model.analysis.logit_lens import logit_lens
from attention_atlas.model.spec import BadInput, Spec

from tests.families import FAMILIES
from tests.family_text import family_text

CPU = torch.device("cpu")
SPECS = {
    "bert": Spec("He sat on the river [MASK] and watched the water."),
    "gpt": Spec("The king of France was the old"),
    "translator": Spec("Me senté en el banco del parque.", target="I sat on the"),
}
WITHOUT = {"ALBERT", "XLNet"}  # whose layers are not one list, each with its state


@pytest.mark.parametrize("name", SPECS)
def test_the_last_reading_is_the_prediction(name: str) -> None:
    text = lab.text_of(zoo.load(name, CPU), SPECS[name])
    metric = lab.metric_of(text)
    readings = logit_lens(text, metric)
    assert len(readings) == text.loaded.config.n_layer + 1
    assert (readings[-1].rank, readings[-1].other_rank) == (0, 1)
    assert readings[-1].difference == pytest.approx(lab.value_of(text, metric), abs=1e-4)


def test_a_reading_is_norm_and_head_on_that_state() -> None:
    text = lab.text_of(zoo.load("gpt", CPU), SPECS["gpt"])
    metric = lab.metric_of(text)
    model: Any = text.loaded.model
    ids = torch.tensor([[token.id for token in text.sequences["source"]]])
    seen: list[torch.Tensor] = []
    handle = model.decoder[3].register_forward_hook(lambda _, __, x: seen.append(x))
    with torch.inference_mode():
        model(ids)
        logits = model.norm(seen[0])[0, metric.position] @ model.embedding.weight.T
    handle.remove()
    reading = logit_lens(text, metric)[4]
    assert reading.candidates[0]["id"] == int(logits.argmax())
    assert reading.difference == pytest.approx(
        (logits[metric.a] - logits[metric.b]).item(), abs=1e-4
    )


def test_a_model_without_layers_of_states_has_no_lens() -> None:
    spec = Spec("El banco está cerrado.", target="The bank is")
    text = lab.text_of(zoo.load("recurrent", CPU), spec)
    with pytest.raises(BadInput, match="recurrent has no logit lens"):
        logit_lens(text, lab.metric_of(text))


@pytest.mark.parametrize("name", FAMILIES)
def test_of_any_family_the_last_reading_is_the_prediction_or_there_is_none(name: str) -> None:
    text = family_text(name)
    metric = LogitDifference(2, 5, 6)
    if name in WITHOUT:
        with pytest.raises(BadInput, match=f"{name} has no logit lens"):
            logit_lens(text, metric)
        return
    last = logit_lens(text, metric)[-1].difference
    assert last == pytest.approx(lab.value_of(text, metric), abs=1e-4)
