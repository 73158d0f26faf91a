"""A model of the Hub, of a folder or of a GGUF file, opened: what is done in which order.

Nothing but safetensors and GGUF is read, no code of a model is run, and what is known about a
model before its tensors are touched is looked at first. Raises `BadModel`, which says why not.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from attention_atlas.model.hub import (
    download,
    folder,
    loading,
    locate,
    lora,
    packed,
    tokenizer_files,
)
from attention_atlas.model.hub.adapters import HubModel
from attention_atlas.model.hub.adapting import adapted
from attention_atlas.model.hub.findings import LONGEST
from attention_atlas.model.hub.folder import Limits
from attention_atlas.model.hub.framing import framing
from attention_atlas.model.hub.locate import Located
from attention_atlas.model.hub.progress import Progress, Step, silent
from attention_atlas.model.hub.reasons import BadModel, unexpected
from attention_atlas.model.hub.rehearsal import Guard, rehearse
from attention_atlas.model.hub.subwords import HubTokenizer
from attention_atlas.model.labels import HEAD_LEFT_OUT
from attention_atlas.model.zoo import Card, Loaded, Note

TOKENIZER = "tokenizer_config.json"
MERGED = "Its adapter is merged into its base model, {base}."
ONE = threading.Lock()  # no two models take the last memory of this process together


def open_model(
    name: str,
    device: torch.device,
    limits: Limits | None = None,
    progress: Progress = silent,
    *,
    guard: Guard | None = None,
    allows: Callable[[str], bool] = lambda base: True,
) -> Loaded:
    """A model of the Hub, of a folder or of a GGUF file, ready to run. Raises BadModel.

    With a guard it is opened in a child process first. An adapter is merged into its base, if
    `allows` that base.
    """
    limits = replace(limits or Limits(), device=device)
    loading.be_silent()
    with only_bad_models():
        progress(Step("looking"))
        is_path = locate.is_path(name)
        path = locate.named(name) if is_path else download.downloaded(name, limits, progress)
        shown = path.stem if path.is_file() else path.name if is_path else name
        source = "path" if is_path else "hub"
        adapter = path if lora.is_alone(path) else None
        if adapter is not None:
            fetched = partial(_fetched, limits=limits, progress=progress)
            path = lora.base_of(path, shown, fetched, allows)
        if guard is None:
            with ONE:
                place = locate.located(path, shown)
                return _opened(place, shown, source, limits, progress, adapter)
        folders = [each for each in (path, adapter) if each is not None]
        before = [*map(folder.stamp, folders)]
        rehearse(path, shown, limits, guard, progress, partial(tried, adapter=adapter))
        with ONE:
            _check_same(folders, before)
            opened = _opened(locate.located(path, shown), shown, source, limits, silent, adapter)
            _check_same(folders, before)
            return opened


def _fetched(name: str, limits: Limits, progress: Progress) -> Path:
    """A base of the Hub: what was fetched before, else from there."""
    try:
        return download.kept(name)
    except BadModel:
        return download.downloaded(name, limits, progress)


def _check_same(folders: Sequence[Path], before: Sequence[tuple[object, ...]]) -> None:
    """What passed in the child is what is opened here: no file was exchanged meanwhile."""
    if [*map(folder.stamp, folders)] != before:
        text = "its files were changed while it was opened: try again"
        raise BadModel("damaged", text)


def tried(
    path: Path, name: str, limits: Limits, progress: Progress, adapter: Path | None = None
) -> None:
    """Open a model that is here, and throw it away. Raises BadModel."""
    limits = replace(limits, device=torch.device("cpu"))
    loading.be_silent()
    with only_bad_models():
        place = locate.located(path, name)
        opened = _opened(place, name, "path", limits, progress, adapter)
        assert isinstance(opened.tokenizer, HubTokenizer)
        tokenizer_files.check_long(opened.tokenizer.backend)


@contextmanager
def only_bad_models() -> Iterator[None]:
    """Whatever goes wrong is a BadModel, in our words."""
    try:
        yield
    except PermissionError as error:
        file = Path(str(error.filename)).name
        text = "the server has no permission to read {file}"
        raise unexpected(error, "failed", text, file=file) from None
    except Exception as error:
        text = "something went wrong that was not foreseen; the server's log has the details"
        raise unexpected(error, "failed", text) from None


def adapt(model: Any, **terms: Any) -> HubModel:
    """A model of transformers, of any family, as one of ours. Raises BadModel."""
    return adapted(model, lambda: loading.new_cache(model), **terms)


def _opened(
    place: Located,
    name: str,
    source: str,
    limits: Limits,
    progress: Progress,
    extra: Path | None = None,
) -> Loaded:
    """The model of a folder or GGUF file; `extra` is the folder of an adapter to be merged."""
    assert limits.device is not None
    path, is_packed = place.path, place.path.is_file()
    if is_packed:
        path = packed.unpacked(path, limits, progress)
    content = folder.config(path)
    loading.check_config(content, limits)
    change = None if extra is None else lora.read(extra, limits)
    if change is not None:
        content = loading.with_head(content, change.task)
    weights = folder.weights(path)
    folder.check_size(weights, limits)
    plan = loading.blueprint(path, content, limits)
    progress(Step("loading", bytes=weights.n_byte, total=weights.n_byte))
    backend = _words(path, extra, plan.n_token)
    # Unpacked from 4 bits or so; a processor computes float32 several times faster than float16.
    dtype = "float32" if is_packed and limits.device.type == "cpu" else "auto"
    options = {**plan.options, "dtype": dtype, **lora.options_of(change)}
    model = loading.model(path, content, options, lora.given(change)).to(limits.device)
    if change is not None:
        lora.merge(model, change)
    loading.check_finite(model)
    progress(Step("trying"))
    tokenizer, adapter = ready(model, backend, plan.n_ctx)
    files = [place.path] if is_packed else weights.files
    card = Card(name, type(model).__name__, {}, *_hashes(files, path, extra))
    base = None if extra is None else (lora.base_name(extra), str(place.path))
    merged = () if base is None else (Note(MERGED, {"base": base[0]}),)
    left = left_out(content.get("architectures", [""])[0], adapter)
    notes = (*place.notes, *plan.notes, *merged, *left)
    return Loaded(card, tokenizer, adapter, limits.device, source, notes, base)


def _words(path: Path, extra: Path | None, n_token: int | None) -> Any:
    """The tokenizer of a model's folder, or that which its adapter brings."""
    if extra is not None and (extra / TOKENIZER).is_file():
        path = extra
    tokenizer_files.check_growth(path)
    backend = loading.tokenizer(path, n_token)
    tokenizer_files.check_probe(backend)
    return backend


def _hashes(files: Sequence[Path], path: Path, extra: Path | None) -> tuple[str, str]:
    """Of the weights, an adapter's included, and of what is beside them."""
    if extra is None:
        return folder.sha256(files), folder.revision(path)
    both = folder.sha256([*files, extra / lora.FILE])
    return both, f"{folder.revision(path)}{folder.revision(extra)}"


def left_out(architecture: str, adapter: HubModel) -> tuple[Note, ...]:
    """That a model was saved with a head which is not supported, if it was."""
    has_head = bool(adapter.tasks or adapter.labels)
    if has_head or not re.search(r"For[A-Z]", architecture):
        return ()
    return (Note(HEAD_LEFT_OUT, {"architecture": architecture[:60]}),)


def ready(model: Any, backend: Any, n_ctx: int = LONGEST) -> tuple[HubTokenizer, HubModel]:
    """A model and its tokenizer as ours, after a few tokens passed through. Raises BadModel."""
    tokenizer = HubTokenizer(backend, **framing(model))
    # A head may fill in blanks where the tokenizer has no way to write one.
    without = ("fill-mask",) if tokenizer.mask_id is None else ()
    try:
        adapter = adapt(model, n_ctx=n_ctx, without=without, token_type=tokenizer.token_type)
    except Exception as error:  # each family has its own ways to fail
        text = "a few tokens did not pass through this {name} model"
        raise unexpected(error, "unsupported", text, name=model.config.model_type) from None
    if adapter.family == "encoder-decoder" and tokenizer.frame() is None:
        text = "its decoder has no token to begin with, or none to end with"
        raise BadModel("unsupported", text)
    return tokenizer, adapter
