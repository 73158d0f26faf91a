"""The page as one file: all inside, nothing from outside."""

from __future__ import annotations

import base64
import gzip
import json
import re

import numpy as np
import pytest
import safetensors.numpy
from attention_atlas.app.assets import VENDOR
from attention_atlas.app.pages.standalone import modules

BANK = {"model": "bert", "text": "He sat on the river bank.", "layer": 2, "head": 3}


def inside(html: str, name: str) -> object:
    match = re.search(rf'<script type="application/json" id="{name}">(.*?)</script>', html, re.S)
    assert match
    return json.loads(match[1])


def test_all_heads_are_inside(client, get):
    answer = client.get("/explore.html", params=BANK)
    assert (
        answer.headers["content-disposition"] == 'attachment; filename="attention-bert-L2H3.html"'
    )
    answers = inside(answer.text, "answers")
    attn = safetensors.numpy.load(base64.b64decode(answers["attention"]))["attn"]
    answered = get("/attention", model="bert", text=BANK["text"])["attn"]
    np.testing.assert_array_equal(attn, np.array(answered, np.float32))
    assert (
        json.loads(answers["metrics"])["metrics"]
        == (get("/metrics", model="bert", text=BANK["text"])["metrics"])
    )


def test_a_long_text_has_the_chosen_head_alone(client):
    answer = client.get("/explore.html", params={**BANK, "text": "the bank of the river " * 70})
    attn = safetensors.numpy.load(base64.b64decode(inside(answer.text, "answers")["attention"]))
    assert attn["attn"].shape == (1, 1, 352, 352)
    assert len(answer.content) < 10_000_000


def test_nothing_comes_from_outside(client):
    text = client.get("/explore.html", params=BANK).text
    text = re.sub(r"data:text/javascript;base64,[\w+/=]+|(?<=id=\"packed\">)[\w+/=]+", "", text)
    assert not re.findall(r"""(?:src|href|url\()=?["']?(?:https?:|/)""", text)


def test_a_page_is_small_enough_for_a_notebook(client):
    """Plotly is packed inside, as it is served."""
    text = client.get("/explore.html", params=BANK).text
    assert len(text) < 3_000_000
    content = re.search(r'id="packed">([\w+/=]+)<', text)
    assert content
    assert gzip.decompress(base64.b64decode(content[1])) == (
        VENDOR["vendor/plotly.min.js"].read_bytes()
    )


def test_every_import_is_in_the_file():
    scripts = {
        name: base64.b64decode(data.split(",")[1]).decode() for name, data in modules().items()
    }
    wanted = {
        result
        for script in scripts.values()
        for result in re.findall(r"""^(?:import|export)[^"']*?from "([^"]+)";""", script, re.M)
    }
    assert wanted <= scripts.keys()
    assert len(wanted) > 15
    assert not any("fetch(" in script for script in scripts.values())


@pytest.mark.parametrize(
    ("text", "said"), [("", "the text is empty"), ("bank " * 600, "602 tokens")]
)
def test_a_refused_text_is_said_why(client, text, said):
    answer = client.get("/explore.html", params={**BANK, "text": text})
    assert answer.status_code == 422
    assert said in answer.text


def test_what_is_typed_stays_text(client):
    text = client.get("/explore.html", params={**BANK, "text": "</script><img src=x>"}).text
    assert "<img src=x" not in text


def test_a_refusal_is_a_problem_and_in_a_browser_a_page(client):
    spec = {"model": "<img src=x onerror=alert(1)>"}
    answer = client.get("/explore.html", params=spec)
    assert answer.status_code == 404
    assert answer.headers["content-type"] == "application/problem+json"
    page = client.get("/explore.html", params=spec, headers={"accept": "text/html"})
    assert page.status_code == 404 and page.headers["content-type"].startswith("text/html")
    assert "<img src=x" not in page.text


def test_the_styles_are_as_they_are(client):
    text = client.get("/explore.html", params=BANK).text
    css = re.search(r"<style>(.*?)</style>", text, re.S)
    assert css
    assert ':root[data-theme="dark"]' in css[1]
    assert "&#34;" not in css[1] and "&gt;" not in css[1]
