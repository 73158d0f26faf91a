"""The widget of notebooks: what of it Python sets, and what it answers the browser."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
import torch
import traitlets
import transformers as hf
from safetensors.numpy import load

import attention_atlas as atlas
from attention_atlas import widget
from tests import saved

TOKENS = ["the", "river", "bank"]


@pytest.fixture
def attn() -> np.ndarray:
    torch.manual_seed(0)
    return torch.randn(2, 4, 3, 3).softmax(-1).numpy()


@pytest.fixture
def shown(attn):
    figure = atlas.show(attn, TOKENS, layer=1, head=2)
    yield figure
    figure.close()


def asked(figure: Any, name: str, **spec: Any) -> tuple[dict[str, Any], bytes]:
    """What the browser is answered."""
    sent: list[Any] = []
    figure.send = lambda content, buffers=(b"",): sent.append((content, buffers[0]))
    figure._asked(figure, {"id": "1", "ask": name, "spec": spec}, [])
    return sent[0]


def test_the_first_picture_comes_with_it(shown, attn):
    assert (shown.kind, shown.layer, shown.head, shown.query) == ("encoder", 1, 2, None)
    assert load(shown._overview)["attn"].shape == (2, 4, 3, 3)
    np.testing.assert_array_equal(load(shown._attention)["attn"], attn[1:, 2:3])
    assert "entropy" in json.loads(shown._metrics)["metrics"]
    assert json.loads(shown._page)["text"] == "the river bank"


def test_a_head_is_answered_in_bytes(shown, attn):
    content, answer = asked(shown, "attention", layer=0, head=3)
    assert content == {"id": "1"}
    np.testing.assert_array_equal(load(answer)["attn"], attn[:1, 3:])


def test_another_text_is_not_asked_for(shown, attn):
    _, answer = asked(shown, "attention", text="something else", model="gpt", layer=0, head=0)
    np.testing.assert_array_equal(load(answer)["attn"], attn[:1, :1])
    for name in ("models", "generate"):
        content, _ = asked(shown, name)
        assert content["error"] == f"a figure does not ask for {name!r}"


def test_what_is_chosen_is_set_and_observed(shown, attn):
    seen: list[int] = []
    shown.observe(lambda change: seen.append(change.new), "head")
    shown.layer, shown.head, shown.query = 0, 1, "bank"
    assert (seen, shown.query) == ([1], 2)
    np.testing.assert_array_equal(shown.attention.attn, attn[:1, 1:2])
    assert '"layer": 0' in shown.page and '"query": 2' in shown.page


@pytest.mark.parametrize(
    "name, value, message, limit",
    [
        ("layer", 2, "layer 2 does not exist: there are layers 0 to 1", 1),
        ("head", -1, "head -1 does not exist", 3),
        ("query", 3, "no query 3 here: 0 to 2", None),
        ("query", "boat", "no query token 'boat' in: the river bank", None),
        ("kind", "cross", "no cross attention here: encoder", None),
    ],
)
def test_what_is_not_there_is_refused(shown, name, value, message, limit):
    before = getattr(shown, name)
    with pytest.raises(atlas.AtlasError, match=message) as problem:
        setattr(shown, name, value)
    assert (problem.value.field, problem.value.limit, problem.value.value) == (name, limit, value)
    assert getattr(shown, name) == before
    with pytest.raises(traitlets.TraitError):
        shown.view = "pie"


def test_who_cannot_show_widgets_has_the_page(shown):
    data, _ = shown._repr_mimebundle_()
    assert set(data) == {"text/plain", "application/vnd.jupyter.widget-view+json", "text/html"}
    assert data["text/html"].startswith("<iframe sandbox=")
    shown._release()
    assert "text/html" not in shown._repr_mimebundle_()[0]


def test_the_page_is_made_once_for_what_is_chosen(shown):
    first = shown.page
    assert shown.page is first
    shown.head = 0
    assert shown.page != first


SPOILT = {
    "training": lambda model: model.train(),
    "no gradients": lambda model: model.requires_grad_(False),
    "half": lambda model: model.bfloat16(),
}


@pytest.mark.parametrize("change", SPOILT)
def test_a_model_stays_as_it_is_while_its_figure_lives(tmp_path, change):
    folder = saved.bert(tmp_path)
    tokenizer = hf.AutoTokenizer.from_pretrained(folder)
    model = SPOILT[change](hf.AutoModelForMaskedLM.from_pretrained(folder))
    before = [model.training, model.dtype, [p.requires_grad for p in model.parameters()]]
    figure = atlas.show(model, tokenizer, "He sat on the river bank.", layer=1)
    content, answer = asked(figure, "attention", layer=0, head=0)
    assert "error" not in content
    np.testing.assert_allclose(load(answer)["attn"].sum(-1), 1, atol=1e-4)
    assert before == [model.training, model.dtype, [p.requires_grad for p in model.parameters()]]
    figure.close()


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU: there is none here")
def test_a_model_on_a_gpu_stays_there(tmp_path):
    folder = saved.bert(tmp_path)
    tokenizer = hf.AutoTokenizer.from_pretrained(folder)
    model = hf.AutoModelForMaskedLM.from_pretrained(folder).cuda()
    figure = atlas.show(model, tokenizer, "river bank")
    assert load(asked(figure, "attention", layer=1, head=0)[1])["attn"].shape[:2] == (1, 1)
    assert all(parameter.is_cuda for parameter in model.parameters())
    figure.close()


def test_attention_of_a_gpu_or_with_a_gradient_is_copied(attn):
    device = "cuda" if torch.cuda.is_available() else "cpu"
    given = torch.tensor(attn, device=device).requires_grad_()
    figure = atlas.show(given, TOKENS, layer=1, head=2)
    np.testing.assert_allclose(load(figure._attention)["attn"], attn[1:, 2:3], rtol=1e-6)
    assert given.requires_grad and given.device.type == device
    figure.close()


def test_a_tokenizer_of_another_model_is_refused(tmp_path):
    """GPT-2's has ids that the small BERT does not have."""
    model = hf.AutoModelForMaskedLM.from_pretrained(saved.bert(tmp_path / "bert"))
    model.resize_token_embeddings(50)
    other = hf.AutoTokenizer.from_pretrained(saved.gpt2(tmp_path / "gpt"))
    with pytest.raises(atlas.AtlasError, match="tokenizer|vocabulary|token"):
        atlas.show(model, other, "He sat on the river bank.")


def test_a_figure_whose_model_was_let_go_says_so(shown):
    shown._release()
    content, _ = asked(shown, "attention", layer=0, head=0)
    assert content["error"] == "this figure's model was let go: run its cell again"


def test_only_the_newest_figures_keep_their_model(attn, monkeypatch):
    monkeypatch.setattr(widget, "MOST_LIVE", 2)
    figures = [atlas.show(attn, TOKENS) for _ in range(3)]
    assert [figure._opened.closed for figure in figures] == [True, False, False]
    for figure in figures:
        figure.close()


def test_without_anywidget_it_is_a_page(attn, monkeypatch):
    monkeypatch.setattr("attention_atlas.notebook.find_spec", lambda name: None)
    figure = atlas.show(attn, TOKENS)
    assert isinstance(figure, atlas.Figure) and figure._repr_html_().startswith("<iframe")


def test_a_refused_figure_lets_its_model_go(attn, monkeypatch):
    released: list[Any] = []
    close = atlas.notebook.Opened.close
    monkeypatch.setattr(
        atlas.notebook.Opened, "close", lambda opened: released.append(close(opened))
    )
    with pytest.raises(atlas.AtlasError):
        atlas.show(attn, ["a"])
    assert released
