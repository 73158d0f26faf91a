"""The course's Markdown: formulas as MathML, set whole."""

from __future__ import annotations

import re

import pytest
from attention_atlas.app.learn.markdown import inline, mathml


@pytest.mark.parametrize("tex", [r"\operatorname*{softmax}", r"a\!b", r"\boxed{x}", r"a\tag{1}"])
def test_what_latex2mathml_renders_badly_is_refused(tex: str) -> None:
    with pytest.raises(ValueError, match="does not render this well"):
        mathml(tex, display=True)


@pytest.mark.parametrize(
    ("text", "closing"),
    [("$T$ 和 $d$。", "。"), ("the $T$ keys of $d$, and more", ","), ("（$T$、$d$）", "、）")],
)
def test_a_formula_stays_with_the_punctuation_after_it(text: str, closing: str) -> None:
    html = re.sub("<math.*?</math>", "", inline(text))
    assert re.findall(r'<span class="whole">.*?</span></span>(.)</span>', html) == list(closing)


def test_a_symbol_names_its_term() -> None:
    html = mathml(r"\operatorname{softmax}(\frac{Q K^\top}{\sqrt{d}}) V", display=True)
    assert 'data-terms="softmax query key d_head value"' in html
    assert "&" not in re.sub(r"&#x\w+;", "", html)
