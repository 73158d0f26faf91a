"""Scripts as one ES module that imports nothing: a notebook has no addresses to import from.

Each script becomes a function that is called once, after those that it imports; what it exports is
what the function returns. Only what our scripts are written in is understood, and anything else is
refused when the module is made.
"""

from __future__ import annotations

import json
import re
from functools import cache
from graphlib import TopologicalSorter

from attention_atlas.app.assets import folder, scripts, styles
from attention_atlas.app.language import LANGUAGES, catalogue

IMPORT = re.compile(
    r"""^import (?:\{([^}]*)\}|\* as (\w+)) from "\.{1,2}/(?:[\w-]+/)*([\w-]+)\.js";$""",
    re.MULTILINE,
)
EXPORT = re.compile(r"^export (?:const|function|async function) (\w+)", re.MULTILINE)
LEFT = re.compile(r"^(?:import|export)\b.*|(?<![\w.])import\((?!script\)).*", re.MULTILINE)
INSTEAD = {"language": "spoken"}  # whose words are in the module
INSIDE = "inside"  # what is written here
PLOTLY = {'import("plotly")': "$kernel.plotly()", "globalThis.Plotly": "$kernel.library.Plotly"}
STYLES = ("app", "explore", "grid", "lines", "matrix", "tokens", "anatomy", "table")
OWN = ("controls", "widget")


@cache
def widget_module(code: str = "en") -> str:
    """The figure of a notebook, with its styles and the words of a language; `render` as anywidget
    and MyST call it."""
    first = folder("static") / "js" / "pages" / "widget.js"
    spoken = folder("static") / "js" / "lib" / "spoken.js"
    sources = {path.stem: path.read_text("utf-8") for path in [*scripts(first), spoken]}
    for name in INSTEAD:
        del sources[name]
    language = LANGUAGES[code]
    words = dict(catalogue(code))
    values = {"styles": shadow_styles(), "language": language.tag, "words": words}
    sources[INSIDE] = "\n".join(
        f"export const {name} = {json.dumps(value, ensure_ascii=False)};"
        for name, value in values.items()
    )
    return f"{joined(sources)}\nexport default {{render: $widget.render}};\n"


def joined(sources: dict[str, str]) -> str:
    """Scripts by their names as one, each after what it imports."""
    needs = {name: _needs(name, source) for name, source in sources.items()}
    order = TopologicalSorter(needs).static_order()
    exports = {name: EXPORT.findall(source) for name, source in sources.items()}
    return "\n".join(_function(name, sources[name], exports) for name in order)


def _needs(name: str, source: str) -> set[str]:
    needed = {INSTEAD.get(script, script) for _, _, script in IMPORT.findall(source)}
    return needed | ({"kernel"} if name == "plot" else set())


def _function(name: str, source: str, exports: dict[str, list[str]]) -> str:
    def bound(match: re.Match[str]) -> str:
        names, whole, script = match.groups()
        script = INSTEAD.get(script, script)
        if whole:
            return f"const {whole} = ${script};"
        wanted = [part.split(" as ") for part in re.split(r",\s*", names.strip())]
        missing = {first for first, *_ in wanted} - {*exports[script]}
        if missing:
            raise ValueError(
                f"{name}.js imports {missing} of {script}.js, which has no such export"
            )
        return f"const {{{', '.join(': '.join(pair) for pair in wanted)}}} = ${script};"

    code = IMPORT.sub(bound, source)
    code = EXPORT.sub(lambda match: match[0].removeprefix("export "), code)
    for before, after in PLOTLY.items() if name == "plot" else ():
        code = code.replace(before, after)
    bare = re.sub(r"/\*.*?\*/", "", code, flags=re.DOTALL)
    if left := LEFT.findall(bare):
        raise ValueError(f"{name}.js has what a module of a notebook cannot have: {left}")
    return f"const ${name} = (() => {{\n{code}\nreturn {{{', '.join(exports[name])}}};\n}})();"


def shadow_styles() -> str:
    """The explorer's CSS for a shadow tree: its root is the figure, and its width is the figure's,
    not the window's."""
    css = styles((*STYLES, *OWN))
    css = re.sub(r":root:not\((.*?)\)", r":host(:not(\1))", css)
    css = re.sub(r":root(\[[^]]*\])", r":host(\1)", css).replace(":root", ":host")
    css = css.replace("\nbody {", "\n:host {")
    return re.sub(r"@media \((max|min)-width:", r"@container (\1-width:", css)
