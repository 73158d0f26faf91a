"""Attributions: their properties, and each against another way to compute it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers as hf
from attention_atlas.model import zoo
from attention_atlas.model.analysis import attributions, input_gradients, lab
from attention_atlas.model.analysis.attention_flow import attention_flow, capacities
from attention_atlas.model.analysis.attributions import METHODS, Row, attribution, kendall, row_of
from attention_atlas.model.hub.opening import open_model
from attention_atlas.model.spec import BadInput, Spec
from attention_atlas.model.tape import Edit
from captum.attr import IntegratedGradients
from scipy.sparse import csr_matrix
from scipy.sparse.csgraph import maximum_flow
from scipy.stats import kendalltau
from torch import Tensor

from tests import saved

CPU = torch.device("cpu")
SPECS = {
    "bert": Spec("He sat on the river [MASK] and watched the water."),
    "gpt": Spec("The king of France was the old"),
}


@pytest.fixture(scope="module")
def row() -> Callable[[str], Row]:
    kept: dict[str, Row] = {}

    def made(name: str) -> Row:
        if name not in kept:
            text = lab.text_of(zoo.load(name, CPU), SPECS[name])
            kept[name] = row_of(text, lab.metric_of(text), 2, 3, None)
        return kept[name]

    return made


@pytest.mark.parametrize("name", SPECS)
@pytest.mark.parametrize("method", METHODS)
def test_each_property_holds(row: Any, name: str, method: str) -> None:
    result = attribution(row(name), method)
    assert result.complete is not None and result.complete.holds
    assert result.values is not None
    assert len(result.values) == len(row(name).text.sequences["source"])


def test_a_method_whose_property_fails_has_no_values(row: Any, monkeypatch: Any) -> None:
    monkeypatch.setattr(input_gradients, "integrated_gradients", lambda *_: torch.ones(13))
    result = attribution(row("bert"), "integrated_gradients")
    assert (result.values, result.reason) == (None, "property-fails")
    assert result.complete is not None and not result.complete.holds


@pytest.mark.parametrize(("n_layer", "T", "is_causal"), [(1, 4, True), (3, 5, True), (4, 6, False)])
def test_flow_is_scipys_largest_flow(n_layer: int, T: int, is_causal: bool) -> None:
    torch.manual_seed(n_layer)
    scores = 3 * torch.randn(n_layer, 2, T, T, dtype=torch.double)
    if is_causal:
        scores = scores.masked_fill(~torch.ones(T, T).tril().bool(), -torch.inf)
    capacity = capacities(scores.softmax(-1))
    network = np.zeros(((n_layer + 1) * T,) * 2, dtype=np.int32)
    for layer in range(n_layer):
        here, before = (slice((layer + i) * T, (layer + i + 1) * T) for i in (1, 0))
        network[here, before] = (capacity[layer].numpy() * 1e7).round()
    query = T - 2
    expected = [
        maximum_flow(csr_matrix(network), n_layer * T + query, k).flow_value / 1e7 for k in range(T)
    ]
    assert attention_flow(capacity, query).tolist() == pytest.approx(expected, abs=1e-5)


def test_through_one_layer_flow_is_half_the_attention_and_half_the_token() -> None:
    attn = torch.tensor([[[[0.7, 0.3], [0.2, 0.8]]]])
    assert attention_flow(capacities(attn), 1).tolist() == pytest.approx([0.1, 0.9])


@pytest.mark.parametrize("n", [2, 5, 48])
def test_points_and_weights_are_numpys(n: int) -> None:
    points, weights = input_gradients.gauss_legendre(n)
    expected, expected_weights = np.polynomial.legendre.leggauss(n)
    np.testing.assert_allclose(points, (expected + 1) / 2, atol=1e-12)
    np.testing.assert_allclose(weights, expected_weights / 2, atol=1e-12)


@pytest.mark.parametrize(
    ("x", "y"),
    [([1, 2, 3, 4], [1, -3, 2, 4]), ([1, 1, 2], [3, 2, 2]), ([1, 2, np.nan, 4], [1, 2, 9, 0])],
)
def test_tau_is_kendalls_of_the_sizes(x: list[float], y: list[float]) -> None:
    pairs = [(abs(a), abs(b)) for a, b in zip(x, y, strict=True) if not np.isnan(a + b)]
    expected = kendalltau(*zip(*pairs, strict=True)).statistic
    assert kendall(torch.tensor(x), torch.tensor(y)) == pytest.approx(expected)


def test_equal_sizes_have_no_ranks() -> None:
    assert kendall(torch.ones(3), torch.tensor([1.0, 2.0, 3.0])) is None


def test_to_leave_one_out_is_to_read_the_text_without_it(row: Any) -> None:
    it = row("bert")
    values = attribution(it, "leave_one_out").values
    assert values is not None
    rest = lab.text_of(it.text.loaded, Spec(SPECS["bert"].text.replace("river ", "")))
    metric = it.metric._replace(position=it.metric.position - 1)
    expected = lab.value_of(it.text, it.metric) - lab.value_of(rest, metric)
    assert values[5].item() == pytest.approx(expected, abs=1e-5)
    assert values[[0, it.metric.position, -1]].isnan().all(), "neither specials nor the blank"


def test_edits_that_name_positions_forbid_deletion(row: Any) -> None:
    spec = Spec(SPECS["gpt"].text, edits=(Edit("block", query=5, key=2),))
    text = lab.text_of(row("gpt").text.loaded, spec)
    it = row_of(text, lab.metric_of(text), 2, 3, None)
    assert attribution(it, "leave_one_out").reason == "edits-name-positions"


def test_a_long_text_has_no_flow(row: Any, monkeypatch: Any) -> None:
    monkeypatch.setattr(attributions, "MOST_FLOW", 100)
    assert attribution(row("gpt"), "flow").reason == "too-long"


@pytest.mark.parametrize("query", [0, 3])
def test_a_query_may_be_chosen(row: Any, query: int) -> None:
    it = row("gpt")
    chosen = row_of(it.text, it.metric, 2, 3, query)
    values = attribution(chosen, "attention").values
    assert values is not None and (values[query + 1 :] == 0).all()
    assert attribution(chosen, "value_zeroing").values is not None
    with pytest.raises(BadInput, match="query 40 does not exist"):
        row_of(it.text, it.metric, 2, 3, 40)


def test_a_translator_is_refused_by_name() -> None:
    text = lab.text_of(zoo.load("translator", CPU), Spec("El banco.", target="The"))
    with pytest.raises(BadInput, match="translator reads a source and a target"):
        row_of(text, lab.metric_of(text), 0, 0, None)


# transformers' own modules are the oracle.


@pytest.fixture(scope="module")
def gpt2(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Row]:
    folder = saved.gpt2(Path(tmp_path_factory.mktemp("gpt2")) / "model")
    text = lab.text_of(open_model(str(folder), CPU), Spec("the old bank of the river"))
    model = hf.GPT2LMHeadModel.from_pretrained(folder, attn_implementation="eager").eval()
    return model, row_of(text, lab.metric_of(text), 1, 2, None)


def difference(model: Any, vectors: Tensor, metric: lab.LogitDifference) -> Tensor:
    logits = model(inputs_embeds=vectors).logits[:, metric.position]
    return (logits[:, metric.a] - logits[:, metric.b]).sum()


def test_gradients_are_those_of_transformers_input_vectors(gpt2: tuple[Any, Row]) -> None:
    model, it = gpt2
    ids = torch.tensor([[token.id for token in it.text.sequences["source"]]])
    x = model.transformer.wte(ids).detach()

    def gradient(share: float) -> Tensor:
        at = (share * x).requires_grad_()
        [slope] = torch.autograd.grad(difference(model, at, it.metric), at)  # type: ignore[arg-type]
        return (slope * x)[0].sum(-1)

    values = attribution(it, "gradient_input").values
    assert values is not None
    torch.testing.assert_close(values.float(), gradient(1.0), atol=1e-5, rtol=1e-3)
    points, weights = np.polynomial.legendre.leggauss(48)
    steps = zip((points + 1) / 2, weights / 2, strict=True)
    expected = sum(weight * gradient(float(point)) for point, weight in steps)
    values = attribution(it, "integrated_gradients").values
    assert values is not None
    torch.testing.assert_close(values.float(), expected.float(), atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize("name", ["gpt2", "bert"])
def test_integrated_gradients_are_captums(name: str, tmp_path: Path) -> None:
    """captum 0.9 on transformers' own model, by the same rule and number of points."""
    folder, words = {
        "gpt2": (saved.gpt2, "the old bank of the river"),
        "bert": (saved.bert, "the old [MASK] bank"),
    }[name]
    path = folder(tmp_path / name)
    text = lab.text_of(open_model(str(path), CPU), Spec(words))
    difference = lab.metric_of(text)
    made = hf.GPT2LMHeadModel if name == "gpt2" else hf.BertForMaskedLM
    model = made.from_pretrained(path, attn_implementation="eager").eval()
    ids = torch.tensor([[token.id for token in text.sequences["source"]]])
    x = model.get_input_embeddings()(ids).detach()

    def metric(vectors: Tensor) -> Tensor:
        logits = model(inputs_embeds=vectors).logits[:, difference.position]
        return logits[:, difference.a] - logits[:, difference.b]

    captum = IntegratedGradients(metric)
    expected, gap = captum.attribute(
        x,
        torch.zeros_like(x),
        n_steps=input_gradients.N_POINT,
        method="gausslegendre",
        return_convergence_delta=True,
    )
    result = attribution(row_of(text, difference, 1, 0, None), "integrated_gradients")
    assert result.values is not None and result.complete is not None
    torch.testing.assert_close(result.values, expected[0].sum(-1).double(), atol=1e-5, rtol=1e-4)
    assert result.complete.number == pytest.approx(gap.abs().item(), abs=1e-5)


def test_a_zeroed_value_is_that_of_transformers(tmp_path: Path) -> None:
    folder = saved.bert(tmp_path / "bert")
    text = lab.text_of(open_model(str(folder), CPU), Spec("the old [MASK] bank"))
    it = row_of(text, lab.metric_of(text), 1, 0, 2)
    model = hf.BertForMaskedLM.from_pretrained(folder, attn_implementation="eager").eval()
    ids = torch.tensor([[token.id for token in text.sequences["source"]]])

    def after(key: int | None) -> Tensor:
        def zeroed(_: Any, __: Any, v: Tensor) -> Tensor:
            v = v.clone()
            if key is not None:
                v[:, key] = 0
            return v

        handle = model.bert.encoder.layer[1].attention.self.value.register_forward_hook(zeroed)
        with torch.inference_mode():
            states = model(input_ids=ids, output_hidden_states=True).hidden_states
        handle.remove()
        return states[2][0, 2].double()

    distance = torch.stack(
        [1 - torch.cosine_similarity(after(k), after(None), dim=0) for k in range(ids.size(1))]
    )
    values = attribution(it, "value_zeroing").values
    torch.testing.assert_close(values, distance / distance.sum(), atol=1e-4, rtol=0)
