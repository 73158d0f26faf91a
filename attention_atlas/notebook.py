"""A figure of a model, of tensors or of a bundled model, and the whole app with a model in it.

    atlas.show(model, tokenizer, "He sat on the river bank.", layer=2, head=0)
    atlas.show("bert", text="He sat on the river bank.")
    atlas.show(attn, tokens)
    atlas.show(model, tokenizer, model.generate(...))
    atlas.serve(model, tokenizer)

Nothing leaves the process, no port is opened but by `serve`, and the model is left as it was.
"""

from __future__ import annotations

import html
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

from attention_atlas.client import Client, Inputs
from attention_atlas.results import AtlasError, Attention, Metrics, Run

if TYPE_CHECKING:
    from attention_atlas.widget import Widget

HEIGHT = 640  # pixels of a figure in a notebook
SECONDS_TO_START = 60


@dataclass(frozen=True)
class Figure:
    """The Explore page of one text as a single file, which needs no server and no network."""

    page: str
    height: int = HEIGHT

    def _repr_html_(self) -> str:
        """The page in a frame of its own: its styles and scripts touch nothing around it."""
        inside = html.escape(self.page, quote=True)
        style = f"width: 100%; height: {self.height}px; border: 0"
        sandbox = "allow-scripts allow-downloads"
        return f'<iframe sandbox="{sandbox}" style="{style}" srcdoc="{inside}"></iframe>'

    def save(self, path: str | Path) -> None:
        """Write the page to a file, to be opened in any browser."""
        Path(path).write_text(self.page, encoding="utf-8")


@dataclass(frozen=True)
class ModelRun:
    """A forward pass with all that is asked of it most: numpy arrays with their tokens."""

    run: Run
    attention: Attention
    metrics: Metrics


def show(
    model: Any,
    tokenizer: Any = None,
    text: Any = None,
    *,
    text_b: str | None = None,
    target: Any = None,
    height: int = HEIGHT,
    **shown: Any,
) -> Figure | Widget:
    """The attention of a text, as a widget, or without the extra `notebook` as one HTML page;
    `save` writes the page to a file.

    `model` is a model of transformers, with its tokenizer and a text; or the name of a bundled
    model, a name of the Hub or a folder, with `text`; or attention as numpy or torch, (L, H, T, T),
    with its T tokens; or cross-attention, (L, H, Q, K), with its K tokens and its Q target tokens,
    or (encoder, decoder, cross). `text_b` is the second text of a pair, `target` a translator's
    output. The text of a decoder, or a translator's target, may be what `generate` returned.
    `shown` is what it opens at: layer, head, kind, query, view, special, merge; and lang, theme.

    Raises AtlasError, which names what cannot be shown and why.
    """
    opened = Opened(model, tokenizer, text, target)
    opened.inputs["text_pair"] = text_b
    if find_spec("anywidget"):
        from attention_atlas.widget import Widget

        try:
            return Widget(opened, shown, height)
        except BaseException:
            opened.close()
            raise
    try:
        return Figure(opened.client.page("/explore.html", {**opened.inputs, **shown}), height)
    finally:
        opened.close()


def run(model: Any, tokenizer: Any = None, text: Any = None, **inputs: Unpack[Inputs]) -> ModelRun:
    """One forward pass: its tokens and predictions, all attention of the first kind, and each
    head's metrics. Takes what `show` takes, and `edits`."""
    given: dict[str, Any] = {**inputs}
    with _opened(model, tokenizer, text, given.pop("target", None)) as opened:
        request: Any = {**given, **opened.inputs}
        return ModelRun(
            run=opened.client.run(**request),
            attention=opened.client.attention(**request),
            metrics=opened.client.metrics(**request),
        )


class Served:
    """The app on a port of this machine, in a thread. `close` stops it."""

    def __init__(self, app: Any, settings: Any) -> None:
        from attention_atlas.app.server import server_of

        self._server = server_of(app, settings)
        self._thread = threading.Thread(target=self._server.run, daemon=True, name="atlas-server")
        self._thread.start()
        deadline = time.monotonic() + SECONDS_TO_START
        while not self._server.started and self._thread.is_alive():
            if time.monotonic() > deadline:
                raise AtlasError("the server did not start in time")
            time.sleep(0.02)
        if not self._server.started:
            raise AtlasError(f"the server did not start: is port {settings.port} in use?")

    @property
    def url(self) -> str:
        """The address of the app."""
        return self._server.url

    def close(self) -> None:
        """Stop the server."""
        self._server.should_exit = True
        self._thread.join()

    def __repr__(self) -> str:
        return f"Attention Atlas at {self.url}"

    def _repr_html_(self) -> str:
        return f'<a href="{self.url}" target="_blank">{self!r}</a>'

    def __enter__(self) -> Served:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


def serve(
    model: Any = None,
    tokenizer: Any = None,
    *,
    name: str = "",
    port: int = 0,
    bundled: bool = True,
    **settings: Any,
) -> Served:
    """The whole app on this machine, with a model of transformers that is in memory beside the
    bundled ones. `port` 0 takes a free one; `settings` are those of the server.

    The model's parameters are shared: after training it on, serve it again.
    """
    from attention_atlas.app.main import create_app
    from attention_atlas.app.settings import Settings

    chosen = Settings(port=port, models="" if bundled else "none", **settings)
    app = create_app(chosen)
    if model is not None:
        app.state.service.library.add(_in_memory(model, tokenizer, name))
    return Served(app, chosen)


class Opened:
    """An app in this process with one model in it, and the inputs that name it and a text."""

    def __init__(self, model: Any, tokenizer: Any, text: Any, target: Any = None) -> None:
        from attention_atlas.app.main import create_app
        from attention_atlas.app.settings import Settings

        bundled = isinstance(model, str) and model in _bundled()
        app = create_app(Settings(models=model if bundled else "none"))
        self._service, self.closed = app.state.service, False
        self.client = Client(app)
        try:
            name, text, target = (
                (model, text, target) if bundled else self._added(model, tokenizer, text, target)
            )
            if text is None:
                raise AtlasError("a model needs a text to read", field="text")
            if not isinstance(text, str) or not isinstance(target, str | None):
                raise AtlasError("text and target are strings here", field="text")
        except BaseException:
            self.close()
            raise
        self.inputs: dict[str, Any] = {"model": name, "text": text, "target": target}

    def _added(self, model: Any, tokenizer: Any, text: Any, target: Any) -> tuple[str, Any, Any]:
        library = self._service.library
        if isinstance(model, str):
            with _refusing("model"):
                return library.open(model).name, text, target
        if not hasattr(model, "named_parameters"):
            loaded = library.add(_recorded(model, tokenizer, text))
            return loaded.name, loaded.tokenizer.text, target
        with _refusing("model"):
            loaded = library.add(_in_memory(model, tokenizer))
        run = _generated(loaded, tokenizer, text, target)
        if run is None:
            return loaded.name, text, target
        name = loaded.name if run.record is None else library.add(run.record).name
        return name, run.text, run.target

    def close(self) -> None:
        """Let the model go."""
        if not self.closed:
            self.closed = True
            self.client.close()
            self._service.close()


@contextmanager
def _opened(model: Any, tokenizer: Any, text: Any, target: Any) -> Iterator[Opened]:
    opened = Opened(model, tokenizer, text, target)
    try:
        yield opened
    finally:
        opened.close()


def _in_memory(model: Any, tokenizer: Any, name: str = "") -> Any:
    """A model of transformers, as the app has models."""
    if not hasattr(model, "named_parameters"):
        return _recorded(model, tokenizer, name=name)
    if tokenizer is None:
        raise AtlasError("a model needs its tokenizer", field="tokenizer")
    from attention_atlas.model.hub import in_memory

    with _refusing("model"):
        return in_memory.loaded(model, tokenizer, name)


def _recorded(attn: Any, tokens: Any, target_tokens: Any = None, name: str = "") -> Any:
    """Tensors with their tokens, as the app has models; of an output of `generate` the tokenizer
    is enough."""
    from attention_atlas.model import recorded
    from attention_atlas.model.hub import generated

    if tokens is None:
        raise AtlasError("attention needs its tokens: show(attn, tokens)", field="tokens")
    if target_tokens is not None and isinstance(target_tokens, str):
        raise AtlasError("target_tokens are strings, one for each query", field="target_tokens")
    with _refusing("attn"):
        if hasattr(tokens, "convert_ids_to_tokens") and hasattr(attn, "sequences"):
            return generated.recorded_of(attn, tokens, generated.ids_of(attn))
        return recorded.loaded(attn, tokens, name or "record", target_tokens=target_tokens)


def _generated(loaded: Any, tokenizer: Any, text: Any, target: Any) -> Any:
    """The run of what `generate` returned as a text or as a target; None where it is neither."""
    from attention_atlas.model.hub import generated

    with _refusing("text"):
        if generated.is_generation(target) and isinstance(text, str):
            return generated.translation(loaded, tokenizer, text, target)
        if generated.is_generation(text):
            return generated.continuation(loaded, tokenizer, text)
    return None


@contextmanager
def _refusing(field: str) -> Iterator[None]:
    """Why a model or tensors cannot be opened, as an AtlasError."""
    from attention_atlas.model.arrays import BadRecord
    from attention_atlas.model.hub.reasons import BadModel

    try:
        yield
    except BadRecord as error:
        raise AtlasError(str(error), field=error.field) from None
    except BadModel as error:
        raise AtlasError(str(error), code=error.reason, field=field) from None


def _bundled() -> list[str]:
    from attention_atlas.model.zoo import names

    return names()
