"""Loaded models, the cache of runs, the workers and the limits. The only caller of model.run."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Callable, Hashable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from typing import TypeVar

import torch
from attention_atlas.app import errors
from attention_atlas.app.answers import Answers
from attention_atlas.app.meters import Meters
from attention_atlas.app.security import check_site
from attention_atlas.app.settings import Settings
from attention_atlas.app.workers import Workers
from attention_atlas.model import reductions, zoo
from attention_atlas.model import run as door
from attention_atlas.model.analysis.compare import hidden_states
from attention_atlas.model.hub.folder import Limits
from attention_atlas.model.hub.leftovers import sweep
from attention_atlas.model.hub.library import Library, imported
from attention_atlas.model.hub.locate import canonical
from attention_atlas.model.hub.progress import Progress, silent
from attention_atlas.model.hub.reasons import BadModel
from attention_atlas.model.hub.rehearsal import Guard
from attention_atlas.model.messages import Message
from attention_atlas.model.record import AttentionRecord, Run, Selection, Sketch
from attention_atlas.model.run import EVERYTHING, NOTHING
from attention_atlas.model.sketch import sketch as sketched
from attention_atlas.model.spec import BadInput, Spec, check
from attention_atlas.model.tape import Kind
from attention_atlas.model.zoo import Loaded
from cachetools import LRUCache
from torch import Tensor

log = logging.getLogger("app")
LONG = 256_000_000  # bytes of attention computed at a time, at most
SMALL = 8_000_000  # bytes of attention that an overview computes at once, for later requests too
SKETCH = 64  # cells a side, the default
MOST_OPENING = 4  # models being opened or waiting for it
Result = TypeVar("Result")


class Service:
    """Models and runs for the pages and the API. `compute` calls a function on a worker thread."""

    def __init__(self, settings: Settings, settle: Callable[[], None] = lambda: None) -> None:
        """`settle` is called when much was made that stays: memory.settle in a server."""
        self.settings = settings
        self._settle = settle
        self.meters = Meters()
        torch.set_num_threads(settings.threads)
        self.device = zoo.pick_device(settings.device or None)
        limits = Limits(parameters=settings.max_parameters)
        memory = settings.open_memory_mb * 1_000_000 or None
        guard = Guard(seconds=settings.open_seconds, memory=memory)
        self.library = Library(self.device, at_most=settings.max_models, limits=limits, guard=guard)
        sweep()
        self.opening: dict[int, tuple[str, float]] = {}  # what is being opened, and since when
        wanted = [name.strip() for name in settings.models.split(",") if name.strip()]
        self._load([] if wanted == ["none"] else wanted or zoo.names())
        self._cache: LRUCache[Hashable, Run | Sketch] = LRUCache(
            settings.cache_mb * 1_000_000, getsizeof=lambda kept: kept.n_byte
        )
        self._hidden: LRUCache[Hashable, Tensor] = LRUCache(
            settings.cache_mb * 125_000, getsizeof=lambda states: states.nbytes
        )  # an eighth of the rest
        self._lock = threading.Lock()  # of the caches
        self.answers = Answers(settings.cache_mb * 125_000)
        self.workers = Workers(settings, self.meters)
        self._opener = ThreadPoolExecutor(MOST_OPENING, thread_name_prefix="open")
        self._opening = threading.BoundedSemaphore(MOST_OPENING)
        self._closing = threading.Event()
        self._watch()

    def _watch(self) -> None:
        """Numbers that the meters look up here."""
        watch = self.meters.watch
        watch("workers", "forward passes at a time", lambda: self.settings.workers)
        watch("queue_limit", "pieces of work that may wait", lambda: self.settings.queue)
        watch("wait_seconds", "expected, of one more", self.workers.expected_wait)
        watch("models", "in memory", lambda: len(self.models))
        watch("missing_models", "that could not be loaded", lambda: len(self.missing))
        watch("opening", "models being opened", lambda: len(self.opening))
        watch("cache_bytes", "of finished runs", lambda: self._cache.currsize)
        watch("hidden_bytes", "of hidden states", lambda: self._hidden.currsize)
        watch("answer_bytes", "of answers as they were sent", lambda: self.answers.n_byte)

    def _load(self, wanted: list[str]) -> None:
        bundled = zoo.names()
        others = [name for name in wanted if name not in bundled]
        for name in others:
            if "/" not in name and self.library.name_of(name) is None:
                raise ValueError(
                    Message(
                        "unknown-model",
                        "no model named {name!r}; there are {names}",
                        name=name,
                        names=", ".join(bundled),
                    )
                )
        for name in wanted:
            if name in bundled:
                self.library.load(name)
        self._settle()
        for source in (*others, *self.settings.model):
            try:
                self._prepare()
                self.library.open(source)
            except BadModel as error:
                self.library.missing[source] = error.message
            except Exception:  # one broken model must not stop the others
                log.exception("model %s could not be opened", source)
                self.library.missing[source] = "it cannot be opened; the server's log says why"
        for name, why in self.missing.items():
            log.error("model %s is missing: %s", name, why)

    def close(self) -> None:
        self._closing.set()
        self.workers.close()
        self._opener.shutdown(wait=False, cancel_futures=True)

    @property
    def models(self) -> dict[str, Loaded]:
        """The models in memory."""
        return self.library.models

    @property
    def missing(self) -> dict[str, str]:
        """Models that could not be loaded, and why."""
        return self.library.missing

    def may_open(self, source: str) -> bool:
        """Whether the page may open this: what is known already, or what the settings allow."""
        name = self.library.name_of(source)
        return name is not None or self.settings.may_open(canonical(source))

    async def open(
        self,
        source: str,
        progress: Progress = silent,
        is_wanted: Callable[[], bool] = lambda: True,
    ) -> str:
        """Open a model of the Hub, of a folder, or known by its name: its name. Raises BadModel."""
        if not self._opening.acquire(blocking=False):
            raise errors.Busy(
                Message("busy", "other models are being opened; try again in a while")
            )
        try:
            future = self._opener.submit(self._opened, source, progress, is_wanted)
        except RuntimeError:  # shutting down
            self._opening.release()
            raise errors.Busy(Message("stopping", "the server is stopping")) from None
        future.add_done_callback(lambda _: self._opening.release())
        loaded = await asyncio.wrap_future(future)
        return loaded.name

    def _opened(self, source: str, progress: Progress, is_wanted: Callable[[], bool]) -> Loaded:
        """Open a model; meanwhile /readyz names it."""
        key = threading.get_ident()
        self.opening[key] = (errors.shown(source), time.monotonic())
        outcome = "failed"
        try:
            self._prepare()
            loaded = self.library.open(
                source,
                progress,
                lambda: is_wanted() and not self._closing.is_set(),
                lambda base: self.settings.may_open(canonical(base)),
            )
            outcome = "opened"
            return loaded
        except BadModel as error:
            outcome = error.reason
            raise
        finally:
            del self.opening[key]
            self.meters.openings.labels(outcome).inc()

    def _prepare(self) -> None:
        """Import what opens models, before there is one: modules stay, and models come and go."""
        if imported():
            self._settle()

    async def ready(self, *names: str | None) -> None:
        """Load the models of these names that are known but no longer in memory."""
        for name in names:
            if name and self.library.get(name) is None and name in self.library.known:
                check_site(name)
                try:
                    await self.open(name)
                except BadModel as error:
                    message = Message(
                        "model-not-opened",
                        "model {name} could not be opened: {message}",
                        name=name,
                        message=error.message,
                    )
                    raise errors.NotReady(message, "model") from None

    async def compute(self, work: Callable[[], Result], kind: Hashable = None) -> Result:
        """Call `work` on a worker thread. Raises Busy at once when it would wait too long."""
        return await self.workers.compute(work, kind)

    @contextmanager
    def lent(self, name: str, **texts: str | None) -> Iterator[Loaded]:
        """A model to compute with. Its BadInput becomes an Invalid of the request."""
        self.check_lengths((field, text) for field, text in texts.items() if text is not None)
        with refusing():
            yield self.loaded(name)

    def loaded(self, name: str) -> Loaded:
        """The model of this name. UnknownModel, or NotReady if it could not be loaded."""
        if name in self.missing:
            raise errors.NotReady(
                Message(
                    "model-not-loaded",
                    "model {name} could not be loaded; /readyz says why",
                    name=name,
                ),
                "model",
            )
        loaded = self.library.get(name)
        if loaded is None and name in self.library.known:  # removed from memory since `ready`
            try:
                loaded = self._opener.submit(self.library.open, name).result()
            except BadModel as error:
                message = Message(
                    "model-not-opened",
                    "model {name} could not be opened: {message}",
                    name=name,
                    message=error.message,
                )
                raise errors.NotReady(message, "model") from None
        if loaded is None:
            have = ", ".join(self.models)
            raise errors.UnknownModel(
                Message(
                    "unknown-model",
                    "no model named {name!r}; there are {have}",
                    name=name[:60],
                    have=have,
                ),
                "model",
            )
        return loaded

    def check_lengths(self, texts: Iterable[tuple[str, str]]) -> None:
        """Texts by their field's name. Invalid if one is longer than the settings allow."""
        limit = self.settings.max_characters
        for field, text in texts:
            if len(text) > limit:
                message = Message(
                    "too-many-characters",
                    "the text has {value} characters; at most {limit} are taken",
                    value=len(text),
                    limit=limit,
                )
                raise errors.Invalid(message, field)

    def run(self, loaded: Loaded, spec: Spec) -> Run:
        """A run with all attention, from the cache or new; of a long text only its tokens."""
        return self._run(loaded, spec, NOTHING if self.is_long(loaded, spec) else EVERYTHING)

    def is_long(self, loaded: Loaded, spec: Spec, most: int | None = None) -> bool:
        """Whether the attention of a text takes more than `most` bytes, or LONG."""
        most = LONG if most is None else most
        target = spec.target or ""
        per_square = 4 * _n_head(loaded, EVERYTHING)
        n_char = max(len(spec.text) + len(spec.text_pair or ""), len(target))
        if per_square * (4 * n_char + 4) ** 2 <= most:
            return False  # a character is at most four tokens; special tokens come on top
        cut = loaded.tokenizer.encode
        n = max(len(cut(spec.text, spec.text_pair)), len(cut(target)))
        return per_square * n**2 > most

    def sketch(
        self, loaded: Loaded, spec: Spec, kind: Kind | None, size: int = 0, *, measured: bool = True
    ) -> tuple[Run, Sketch]:
        """All heads of one kind as small pictures, computed few by few; if asked their metrics."""
        kind = kind or loaded.kinds[0]
        key = (loaded.identity, spec, "sketch", kind)
        sketch, run = self._cached(key), self._cached((loaded.identity, spec, NOTHING))
        if isinstance(sketch, Sketch) and isinstance(run, Run) and sketch.answers(size, measured):
            return run, sketch
        with self.meters.passing(loaded.name):
            run, sketch = sketched(loaded, spec, kind, size or SKETCH, measured=measured)
        self._keep((loaded.identity, spec, NOTHING), spec, run)
        self._keep(key, spec, sketch)
        return run, sketch

    def whole(self, loaded: Loaded, spec: Spec) -> Run | None:
        """The run with all attention: from the cache, or new if it is small enough to be kept for
        the requests that follow; None for others, of which only what is asked is computed."""
        run = self._cached((loaded.identity, spec, EVERYTHING))
        if isinstance(run, Run):
            return run
        decodes = "cross" in loaded.kinds and not (spec.target or spec.target_ids)
        most = LONG if decodes else min(SMALL, LONG)  # a target is decoded once for all requests
        return None if self.is_long(loaded, spec, most) else self._run(loaded, spec, EVERYTHING)

    def record(
        self, loaded: Loaded, spec: Spec, part: Selection = EVERYTHING
    ) -> tuple[Run, AttentionRecord]:
        """The attention of one kind, by default the family's first; all or some layers and heads.

        A run with all attention in the cache answers every smaller request.
        """
        kind = part.kind or loaded.kinds[0]
        part = replace(part, kind=kind)
        check(loaded, spec, part)
        whole = self._cached((loaded.identity, spec, EVERYTHING))
        if isinstance(whole, Run) and part.quantity == EVERYTHING.quantity:
            return whole, reductions.selected(whole.records[kind], part.layers, part.heads)
        if self.is_long(loaded, spec):
            self._check_part(loaded, self.run(loaded, spec), part)
        run = self._run(loaded, spec, part)
        return run, run.records[kind]

    def hidden(self, loaded: Loaded, spec: Spec, sequence: str = "source") -> Tensor:
        """The residual stream, (L + 1, T, D), from the cache or new."""
        key = (loaded.identity, spec, "hidden", sequence)
        with self._lock:
            states = self._hidden.get(key)
        if states is None:
            with self.meters.passing(loaded.name):
                states = hidden_states(loaded, spec, sequence)
            with self._lock:
                if states.nbytes <= self._hidden.maxsize and not any(e.row for e in spec.edits):
                    self._hidden[key] = states
        return states

    def _run(self, loaded: Loaded, spec: Spec, part: Selection) -> Run:
        key = (loaded.identity, spec, part)
        run = self._cached(key)
        if not isinstance(run, Run):
            with self.meters.passing(loaded.name):
                run = door.run(loaded, spec, part)
            self._keep(key, spec, run)
        return run

    def _keep(self, key: Hashable, spec: Spec, result: Run | Sketch) -> None:
        with self._lock:  # n_byte does not count rows of edits, so such runs are not cached
            if result.n_byte <= self._cache.maxsize and not any(edit.row for edit in spec.edits):
                self._cache[key] = result

    def _check_part(self, loaded: Loaded, run: Run, part: Selection) -> None:
        """Limit the number of heads computed at a time for a long text."""
        n = max(map(len, run.sequences.values()))
        size = 4 * n**2 * _n_head(loaded, part)
        if size > LONG:
            most = max(1, LONG // (4 * n**2))
            raise errors.Invalid(
                Message(
                    "too-many-heads",
                    "{n_head} heads of {n} tokens take {size:.0f} MB; at most {limit:.0f} MB are "
                    "computed at a time: ask for {most} heads or fewer",
                    n_head=_n_head(loaded, part),
                    n=n,
                    size=size / 1e6,
                    limit=LONG / 1e6,
                    most=most,
                ),
                "layer",
            )

    def _cached(self, key: Hashable) -> Run | Sketch | None:
        with self._lock:
            return self._cache.get(key)


@contextmanager
def refusing() -> Iterator[None]:
    """Turn a model's BadInput into an Invalid, an error of the request."""
    try:
        yield
    except BadInput as error:
        raise errors.Invalid(error.message, error.field) from None


def _n_head(loaded: Loaded, part: Selection) -> int:
    """The number of heads in a selection, over all layers."""
    kinds = loaded.kinds if part.kind is None else (part.kind,)
    total = 0
    for n_layer, n_head in map(loaded.shape, kinds):
        layers = n_layer if part.layers is None else len(part.layers)
        total += layers * (n_head if part.heads is None else len(part.heads))
    return total
