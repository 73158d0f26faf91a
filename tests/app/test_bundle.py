"""Scripts as one module."""

from __future__ import annotations

import re

import pytest
from attention_atlas.app import bundle
from attention_atlas.app.assets import folder


@pytest.mark.parametrize("code", ["en", "zh"])
def test_the_widget_is_one_module_that_reaches_nothing(code):
    module = bundle.widget_module(code)
    bare = re.sub(r"/\*.*?\*/|(?<!:)//[^\n]*", "", module, flags=re.DOTALL)
    assert re.findall(r"^(?:import|export)\b.*", bare, re.MULTILINE) == [
        "export default {render: $widget.render};"
    ]
    assert re.findall(r"\bimport\([^)]*\)", bare) == ["import(script)"]  # Plotly, from Python
    assert "fetch(" not in bare and set(re.findall(r"https?://[^\s\"'`]+", bare)) <= {
        "http://www.w3.org/2000/svg"
    }
    assert len(module.encode()) < 500_000
    assert ("全部注意力头" in module or "所有" in module) == (code == "zh")


def test_scripts_are_joined_after_what_they_import():
    sources = {
        "b": 'import {x as y} from "./a.js";\nimport * as a from "./a.js";\n'
        "export const z = () => y + a.x;\n",
        "a": "export const x = 1;\n",
    }
    joined = bundle.joined(sources)
    assert joined.index("const $a") < joined.index("const $b")
    assert "const {x: y} = $a;" in joined and "const a = $a;" in joined and "return {z};" in joined


@pytest.mark.parametrize(
    "source, message",
    [
        ('import {q} from "./a.js";\n', "imports {'q'} of a.js"),
        ('import a from "./a.js";\n', "cannot have"),
        ("export {x};\n", "cannot have"),
        ('await import("plotly");\n', "cannot have"),
    ],
)
def test_what_is_not_understood_is_refused(source, message):
    with pytest.raises(ValueError, match=message):
        bundle.joined({"a": "export const x = 1;\n", "b": source})


def test_styles_are_of_the_figure_and_its_width():
    css = bundle.shadow_styles()
    assert ":root" not in css and "\nbody" not in css and "@media (max-width" not in css
    assert ':host([data-theme="dark"])' in css and "@container (max-width: 1020px)" in css


def test_small_pictures_have_one_size_on_both_sides():
    from attention_atlas.widget import PICTURE_BYTES

    script = (folder("static") / "js/lib/picture.js").read_text("utf-8")
    assert f"PICTURE_BYTES = {PICTURE_BYTES:_}" in script
