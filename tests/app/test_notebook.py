"""atlas.show, atlas.run and atlas.serve: models and tensors of one's own."""

from __future__ import annotations

import base64
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
import torch
import transformers as hf

import attention_atlas as atlas
from tests import saved

TEXT = "He sat on the river bank."
TOKENS = ["the", "river", "bank"]


@pytest.fixture(scope="module")
def tuned(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Any]:
    """A model of one's own and its tokenizer."""
    hf.logging.set_verbosity_error()
    folder = saved.bert(tmp_path_factory.mktemp("bert"))
    model = hf.AutoModelForMaskedLM.from_pretrained(folder)
    return model, hf.AutoTokenizer.from_pretrained(folder)


@pytest.fixture
def attn() -> np.ndarray:
    torch.manual_seed(0)
    return torch.randn(2, 4, 3, 3).softmax(-1).numpy()


def inside(page: str, name: str) -> Any:
    match = re.search(rf'<script type="application/json" id="{name}">(.*?)</script>', page, re.S)
    assert match
    return json.loads(match[1])


def drawn(figure: atlas.Figure) -> np.ndarray:
    """The numbers that a figure carries."""
    content = base64.b64decode(inside(figure.page, "answers")["attention"])
    return safetensors.numpy.load(content)["attn"]


def test_a_model_in_memory_is_shown(tuned):
    model, tokenizer = tuned
    figure = atlas.show(model, tokenizer, TEXT, layer=1, head=2, view="matrix")
    page = inside(figure.page, "page")
    assert (page["model"], page["layer"], page["head"], page["view"]) == (
        *("BertForMaskedLM", 1, 2, "matrix"),
    )
    run = atlas.run(model, tokenizer, TEXT)
    np.testing.assert_array_equal(drawn(figure), run.attention.attn)
    assert run.run.text == TEXT and run.metrics.values["entropy"].shape == (2, 4)


def test_tensors_are_shown(attn):
    figure = atlas.show(attn, TOKENS, layer=1)
    np.testing.assert_array_equal(drawn(figure), attn)
    page = inside(figure.page, "page")
    assert page["text"] == "the river bank" and page["layer"] == 1
    [summary] = [model for model in page["models"] if model["name"] == page["model"]]
    assert (summary["source"], summary["tasks"]) == ("memory", [])
    assert summary["why"] == "its attention was computed elsewhere; the model itself is not here"
    assert atlas.run(attn, TOKENS).attention.sel(layer=1, head=0, query="river").top(1)[
        0
    ].value == (pytest.approx(attn[1, 0, 1].max()))


def test_cross_attention_and_all_kinds_are_shown(attn):
    target = ["la", "rive"]
    cross = np.full((2, 4, 2, 3), 1 / 3, np.float32)
    figure = atlas.show(cross, TOKENS, target, head=1)
    assert (figure.kind, figure.head, figure.attention.attn.shape) == ("cross", 1, (1, 1, 2, 3))
    np.testing.assert_array_equal(drawn(figure), cross)
    decoder = np.tril(np.full((2, 4, 2, 2), 0.5, np.float32))
    figure = atlas.show((attn, decoder, cross), TOKENS, target)
    assert figure.kind == "encoder"
    figure.kind = "cross"
    assert [token.raw for token in figure.attention.query_tokens] == target
    with pytest.raises(atlas.AtlasError, match="there are 3 tokens and 1 target") as problem:
        atlas.show(cross, TOKENS, target[1:])
    assert problem.value.field == "target_tokens"
    with pytest.raises(atlas.AtlasError, match="strings, one for each query"):
        atlas.show(cross, TOKENS, "la rive")


GENERATES = {"max_new_tokens": 4, "do_sample": False, "return_dict_in_generate": True}


def test_what_generate_returned_is_shown(tmp_path):
    folder = saved.gpt2(tmp_path)
    model = hf.AutoModelForCausalLM.from_pretrained(folder, attn_implementation="eager")
    tokenizer = hf.AutoTokenizer.from_pretrained(folder)
    ids = tokenizer("the river", return_tensors="pt").input_ids
    out = model.generate(ids, output_attentions=True, **GENERATES)
    recorded = atlas.show(out, tokenizer)
    n = len(out.sequences[0]) - 1
    with torch.no_grad():
        again = model(out.sequences[:, :-1], output_attentions=True).attentions
    np.testing.assert_allclose(drawn(recorded), torch.cat(again), atol=1e-5)
    shown = atlas.run(model, tokenizer, out).attention.attn
    np.testing.assert_allclose(shown[..., :n, :n], torch.cat(again), atol=1e-5)
    assert atlas.run(model, tokenizer, ids).run.text == "the river"


def test_a_translation_that_generate_returned_is_shown(tmp_path):
    folder = saved.bart(tmp_path)
    model = hf.AutoModelForSeq2SeqLM.from_pretrained(folder, attn_implementation="eager")
    tokenizer = hf.AutoTokenizer.from_pretrained(folder)
    ids = tokenizer("the river", return_tensors="pt").input_ids
    out = model.generate(ids, output_attentions=True, **GENERATES)
    figure = atlas.show(model, tokenizer, "the river", target=out, kind="cross")
    step = torch.stack([layer[0, :, -1] for layer in out.cross_attentions[-1]]).numpy()
    np.testing.assert_allclose(drawn(figure)[:, :, -1], step, atol=1e-5)


def test_a_bundled_model_is_shown_by_name():
    page = inside(atlas.show("gpt", text="Once upon a time").page, "page")
    assert (page["model"], page["text"]) == ("gpt", "Once upon a time")


def test_edits_are_made_in_a_run(tuned):
    blocked = {"op": "block", "layer": 0, "head": 1, "query": 2, "key": 3}
    assert atlas.run(*tuned, TEXT, edits=[blocked]).attention.attn[0, 1, 2, 3] == 0


def test_a_figure_stands_in_a_frame_of_its_own(attn, tmp_path):
    figure = atlas.show(attn, TOKENS, height=300)
    frame = figure._repr_html_()
    assert frame.startswith('<iframe sandbox="allow-scripts allow-downloads"')
    assert "height: 300px" in frame and frame.count("<") == 2  # the page is escaped
    figure.save(tmp_path / "figure.html")
    assert (tmp_path / "figure.html").read_text("utf-8") == figure.page


def test_a_model_is_served(tmp_path):
    folder = saved.gpt2(tmp_path)
    model = hf.AutoModelForCausalLM.from_pretrained(folder)
    tokenizer = hf.AutoTokenizer.from_pretrained(folder)
    with atlas.serve(model, tokenizer, name="tuned", bundled=False) as served:
        assert served.url in repr(served) and served.url in served._repr_html_()
        with atlas.Client(served.url) as client:
            assert [model["name"] for model in client.models()] == ["tuned"]
            with client.generate("tuned", "the", max_new_tokens=50) as stream:
                assert [next(stream).name for _ in range(3)] == ["start", "token", "token"]
    with pytest.raises(atlas.AtlasError, match="no answer"):
        atlas.Client(served.url).models()


@pytest.mark.parametrize(
    "given, message, field",
    [
        (lambda model, attn: (model, None, TEXT), "a model needs its tokenizer", "tokenizer"),
        (lambda model, attn: (*model, None), "a model needs a text to read", "text"),
        (lambda model, attn: (attn, None), "attention needs its tokens", "tokens"),
        (lambda model, attn: (attn, ["a"]), "3 queries and 3 keys, and there are 1", "tokens"),
        (lambda model, attn: (attn * np.nan, TOKENS), "not finite", "attn"),
        (lambda model, attn: ("/nowhere", None, TEXT), "no model at /nowhere", "model"),
        (lambda model, attn: (torch.nn.Linear(2, 3), 1, TEXT), "Linear is not a model", "model"),
    ],
)
def test_what_cannot_be_shown_is_named(tuned, attn, given, message, field):
    arguments = given(tuned if field == "text" else tuned[0], attn)
    with pytest.raises(atlas.AtlasError, match=message) as problem:
        atlas.show(*arguments)
    assert problem.value.field == field


def test_a_layer_that_is_not_there_is_named(tuned):
    page = inside(atlas.show(*tuned, TEXT, layer=9).page, "page")
    assert page["layer"] == 0 and any("layer" in line["message"] for line in page["ignored"])


def test_importing_the_package_loads_nothing_heavy():
    code = (
        "import sys, attention_atlas as atlas; atlas.Client, atlas.AtlasError; "
        "print([name for name in ('torch', 'transformers', 'fastapi') if name in sys.modules])"
    )
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=Path("/"))
    assert done.stdout.strip() == "[]"
    assert set(atlas.__all__) <= set(dir(atlas))
    with pytest.raises(AttributeError, match="no attribute 'shows'"):
        _ = atlas.shows
