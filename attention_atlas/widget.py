"""Explore's views as a widget of Jupyter, VS Code and marimo, with the model behind it.

    w = atlas.show(model, tokenizer, "He sat on the river bank.")
    w.layer, w.head = 2, 0
    w.query = "bank"
    w.observe(lambda change: print(change.new), "head")

What is drawn first comes with the widget; a head that is chosen is asked of Python, which answers
in bytes. Needs the extra `notebook`: without it `show` answers a figure that is one page.
"""

from __future__ import annotations

import base64
import json
from collections import deque
from collections.abc import Mapping
from math import isqrt
from pathlib import Path
from typing import Any

import anywidget
import traitlets

from attention_atlas.app.assets import packed_plotly
from attention_atlas.app.bundle import widget_module
from attention_atlas.client import SAFETENSORS, Client
from attention_atlas.results import AtlasError, Attention, placed

JSON = "application/json"
RESOURCES = {
    "attention": ("/attention", SAFETENSORS),
    "overview": ("/attention/overview", SAFETENSORS),
    "anatomy": ("/anatomy", SAFETENSORS),
    "metrics": ("/metrics", JSON),
}
INPUTS = ("model", "text", "text_pair", "target", "source_lang", "target_lang")
SHARED = ("kind", "layer", "head", "query", "side", "view", "special", "merge")
SIDES = ("query", "key")
VIEWS = ("lines", "matrix", "tokens", "anatomy", "table")
SPECIAL = ("keep", "hide", "renormalise")
MERGE = ("none", "words")
THEMES = ("auto", "light", "dark")
PICTURE_BYTES = 390_000  # of all heads together, as picture.js has it
MOST_LIVE = 16  # figures whose model is kept; older ones keep what they have drawn
_live: deque[Widget] = deque()


class NoSuch(AtlasError, traitlets.TraitError):
    """What a figure cannot be set to: the model does not have it."""


class Widget(anywidget.AnyWidget):
    """All heads of a text, and one of them in a view. What is chosen can be read, set and observed.

    `query` also takes a token's text. `page` is the same figure as a page of its own, which is
    what is shown where no widget can be: on GitHub, in an exported notebook.
    """

    _esm = traitlets.Unicode().tag(sync=True)
    _page = traitlets.Unicode().tag(sync=True)
    _overview = traitlets.Bytes().tag(sync=True)
    _attention = traitlets.Bytes().tag(sync=True)
    _metrics = traitlets.Bytes().tag(sync=True)

    kind = traitlets.Unicode().tag(sync=True)
    layer = traitlets.Int().tag(sync=True)
    head = traitlets.Int().tag(sync=True)
    query = traitlets.Union([traitlets.Int(), traitlets.Unicode()], allow_none=True).tag(sync=True)
    side = traitlets.Enum(SIDES, "query").tag(sync=True)
    view = traitlets.Enum(VIEWS, "lines").tag(sync=True)
    special = traitlets.Enum(SPECIAL, "keep").tag(sync=True)
    merge = traitlets.Enum(MERGE, "none").tag(sync=True)
    theme = traitlets.Enum(THEMES, "auto").tag(sync=True)

    def __init__(self, opened: Any, shown: Mapping[str, Any], height: int) -> None:
        """`opened` is a client with one model in it, its `inputs`, and `close`."""
        given = {name: value for name, value in shown.items() if value is not None}
        lang, theme = given.pop("lang", "en"), given.pop("theme", "auto")
        client: Client = opened.client
        page = json.loads(client.page("/explore.json", {**opened.inputs, **given, "lang": lang}))
        self._opened, self._lang, self.height = opened, lang, height
        self._shapes = _shapes(page)
        self._rendered: tuple[dict[str, Any], str] = {}, ""  # the page, and what it shows
        self._inputs: dict[str, Any] = {
            name: page[name] for name in INPUTS if page[name] is not None
        }
        chosen = {name: page[name] for name in SHARED}
        self._first = chosen, given  # what it opens at, and what was asked for
        request = {name: chosen[name] for name in ("kind", "layer", "head", "special", "merge")}
        super().__init__(
            _esm=widget_module(lang if lang in ("en", "zh") else "en"),
            _page=json.dumps(page, ensure_ascii=False),
            _overview=self._answer("overview", {"kind": page["kind"]}),
            _metrics=self._answer("metrics", {"kind": page["kind"]}),
            _attention=self._answer("attention", request),
            theme=theme,
            **chosen,
        )
        self.on_msg(self._asked)
        _keep(self)

    @property
    def attention(self) -> Attention:
        """The chosen head's attention, with its tokens."""
        return self._record(special=self.special, merge=self.merge)

    def _every_token(self) -> Attention:
        return self._record(special="keep", merge="none")

    def _record(self, **options: Any) -> Attention:
        client: Client = self._opened.client
        chosen: dict[str, Any] = {"kind": self.kind, "layer": self.layer, "head": self.head}
        return client.attention(**self._inputs, **chosen, **options)

    @property
    def page(self) -> str:
        """The figure as one HTML page, opened at what is chosen now; it needs nothing else."""
        shown = {name: getattr(self, name) for name in SHARED}
        opened, given = self._first
        shown = given if shown == opened else shown  # and what of it is not there is said
        theme = {} if self.theme == "auto" else {"theme": self.theme}
        fields = {**self._inputs, **shown, **theme, "lang": self._lang}
        if self._rendered[0] != fields:
            self._rendered = fields, self._opened.client.page("/explore.html", fields)
        return self._rendered[1]

    def _repr_html_(self) -> str:
        from attention_atlas.notebook import Figure

        return Figure(self.page, self.height)._repr_html_()

    def save(self, path: str | Path) -> None:
        """Write the page to a file, to be opened in any browser."""
        Path(path).write_text(self.page, encoding="utf-8")

    def save_myst(self, folder: str | Path, name: str = "atlas") -> str:
        """Write NAME.mjs and NAME.json to a folder, and answer the directive of MyST that draws
        them: a figure without Python behind it, which has the chosen head."""
        folder = Path(folder)
        state = {key: self.trait_values()[key] for key in (*SHARED, "theme", "_page")}
        for key in ("_overview", "_attention", "_metrics"):
            state[key] = base64.b64encode(getattr(self, key)).decode()
        (folder / f"{name}.mjs").write_text(self._esm, encoding="utf-8")
        body = json.dumps(state, ensure_ascii=False)
        (folder / f"{name}.json").write_text(body, encoding="utf-8")
        return f":::{{anywidget}} {name}.mjs\n{body}\n:::\n"

    def close(self) -> None:
        """Take the widget away, and let the model go."""
        super().close()
        self._release()

    def _release(self) -> None:
        if self in _live:
            _live.remove(self)
        self._opened.close()

    def _repr_mimebundle_(self, **options: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        """The widget, and for who cannot show widgets the page."""
        bundle: Any = super()._repr_mimebundle_(**options) or {}
        data, metadata = bundle if isinstance(bundle, tuple) else (bundle, {})
        fallback = {} if self._opened.closed else {"text/html": self._repr_html_()}
        return {**data, **fallback}, metadata

    def _asked(self, widget: Any, content: Mapping[str, Any], buffers: list[Any]) -> None:
        """Answer the browser: a resource of the API for this widget's own text, or Plotly."""
        try:
            name = content["ask"]
            answer = packed_plotly() if name == "plotly" else self._answer(name, content["spec"])
            self.send({"id": content["id"]}, buffers=[answer])
        except AtlasError as error:
            self.send({"id": content["id"], "error": str(error)})

    def _answer(self, name: str, spec: Mapping[str, Any]) -> bytes:
        if self._opened.closed:
            raise AtlasError("this figure's model was let go: run its cell again")
        if name not in RESOURCES:
            raise AtlasError(f"a figure does not ask for {name!r}")
        path, media = RESOURCES[name]
        size = {"size": _picture_size(self._shapes)} if name == "overview" else {}
        client: Client = self._opened.client
        return client.content(path, {**spec, **self._inputs, **size}, media)

    @traitlets.validate("kind")
    def _known_kind(self, proposal: Any) -> str:
        value: str = proposal["value"]
        if value not in self._shapes:
            have = ", ".join(self._shapes)
            raise NoSuch(f"no {value} attention here: {have}", field="kind", value=value)
        return value

    @traitlets.validate("layer", "head")
    def _known_number(self, proposal: Any) -> int:
        name, value = proposal["trait"].name, proposal["value"]
        n = self._shapes[self.kind or next(iter(self._shapes))][name == "head"]
        if not 0 <= value < n:
            message = f"{name} {value} does not exist: there are {name}s 0 to {n - 1}"
            raise NoSuch(message, field=name, limit=n - 1, value=value)
        return int(value)

    @traitlets.validate("query")
    def _known_token(self, proposal: Any) -> int | None:
        """A token by its place, or by its text as it is drawn."""
        value = proposal["value"]
        if value is None or self._opened.closed:
            return None if isinstance(value, str) else value
        attention = self.attention if isinstance(value, str) else self._every_token()
        tokens = attention.query_tokens if self.side == "query" else attention.key_tokens
        try:
            return placed("query", tokens, tuple(range(len(tokens))), value)[0]
        except AtlasError as error:
            raise NoSuch(str(error), field="query", value=value) from None


def _shapes(page: Mapping[str, Any]) -> dict[str, tuple[int, int]]:
    """Each kind of attention of the page's model, with its layers and heads."""
    [model] = [model for model in page["models"] if model["name"] == page["model"]]
    return {kind: tuple(model["shapes"][kind]) for kind in model["kinds"]}


def _picture_size(shapes: Mapping[str, tuple[int, int]]) -> int:
    """Cells a side of each head's small picture: few where there are many heads."""
    n = max(n_layer * n_head for n_layer, n_head in shapes.values())
    return max(8, min(64, isqrt(PICTURE_BYTES // n)))


def _keep(widget: Widget) -> None:
    """The newest figures have their model; a cell that is run again leaves its old one behind."""
    _live.append(widget)
    while len(_live) > MOST_LIVE:
        _live[0]._release()
