"""A model of the Hub, fetched file by file into its cache. The only file that asks the Hub.

What a repository is, and how large, is looked at before its weights are fetched; what was fetched
before is opened without a network.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from attention_atlas.model.hub import folder, loading, locate
from attention_atlas.model.hub.folder import Limits
from attention_atlas.model.hub.progress import Progress, Step
from attention_atlas.model.hub.reasons import BadModel, unexpected
from huggingface_hub import HfApi, hf_hub_download, try_to_load_from_cache
from huggingface_hub.errors import (  # type: ignore[attr-defined]
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    HTTPError,
    RepositoryNotFoundError,
)

ADAPTERS = ("adapter_model.safetensors",)
HfErrors = (HfHubHTTPError, HFValidationError, RepositoryNotFoundError)


def downloaded(name: str, limits: Limits, progress: Progress) -> Path:
    """The Hub's model as a folder of its cache; what is there already is not asked for again."""
    try:
        info = HfApi().model_info(name, files_metadata=True)
    except HfErrors as error:
        raise _refused(name, error) from None
    except (OSError, HTTPError) as error:  # offline, or the Hub cannot be reached
        return kept(name, error)
    sizes = {file.rfilename: file.size or 0 for file in info.siblings or ()}
    n_known = sum((info.safetensors.parameters if info.safetensors else {}).values())
    return Download(name, info.sha, sizes, n_known, limits, progress).all()


class Download:
    """One repository on its way: which of its files are fetched, and how far that is."""

    def __init__(
        self,
        name: str,
        commit: str | None,
        sizes: Mapping[str, int],
        n_parameters: int,
        limits: Limits,
        progress: Progress,
    ) -> None:
        self.name = name
        self.commit = commit
        self.sizes = sizes  # bytes of each file of the repository
        self.n_parameters = n_parameters  # as the Hub says; 0 if it does not
        self.limits = limits
        self.progress = progress
        self.got: dict[str, Path] = {}

    def all(self) -> Path:
        """Everything that the model needs, and nothing else; the repository's folder."""
        inside = self._inside()
        sizes = {file: n for file, n in self.sizes.items() if _folder_of(file) == inside}
        beside = {file: n for file, n in sizes.items() if file.endswith(folder.BESIDE)}
        if sum(beside.values()) > folder.MOST_BESIDE:
            raise BadModel(
                "too-large",
                "{name} has {n} bytes beside its weights; at most {most} are taken",
                name=self.name,
                n=f"{sum(beside.values()):,}",
                most=f"{folder.MOST_BESIDE:,}",
            )
        weights = self._weights(sizes)
        config = inside + folder.CONFIG
        self._fetch(config if config in sizes else weights[0], self._checked(weights, beside))
        if config in sizes:
            loading.check_config(folder.config(self.got[config].parent), self.limits)
        if weights == [inside + folder.INDEX]:
            self._fetch(weights[0], self._checked(weights, beside))
            names, _ = folder.indexed(self.got[weights[0]])
            # What is not there is told when the model is opened.
            weights = [inside + file for file in names if inside + file in sizes]
        total = self._checked(weights, beside)
        for file in sorted({*beside, *weights} - self.got.keys()):
            self._fetch(file, total)
        return self._root()

    def _inside(self) -> str:
        """The folder of the repository that holds the model, "" or with a slash at its end."""
        if locate.PIPELINE in self.sizes:
            parts = {_folder_of(file)[:-1] for file in self.sizes if file.endswith(folder.CONFIG)}
            raise locate.pipeline(self.name, sorted(parts - {""}))
        if any(file in self.sizes for file in (folder.ONE_FILE, folder.INDEX)):
            return ""
        if folder.ADAPTER in self.sizes:
            return ""
        if locate.MODULES not in self.sizes:
            return ""
        self._fetch(locate.MODULES, self.sizes[locate.MODULES])
        path, _ = locate.module_folder(folder.read_json(self.got[locate.MODULES], kind=list))
        inside = f"{path}/" if path else ""
        return inside if inside + folder.CONFIG in self.sizes else ""

    def _weights(self, sizes: Mapping[str, int]) -> list[str]:
        """What holds the weights: one file, an index of several, or a single GGUF file."""
        names = {file.split("/")[-1]: file for file in sizes}
        for name in (folder.ONE_FILE, folder.INDEX, *ADAPTERS):
            if name in names:
                return [names[name]]
        packed = [file for file in sizes if file.endswith(".gguf")]
        if len(packed) == 1:
            return packed
        if packed:
            raise BadModel(
                "no-safetensors",
                "{name} has no safetensors file on the Hub, and {n} GGUF files: download one of "
                "them and name it",
                name=self.name,
                n=len(packed),
            )
        raise folder.no_safetensors(f"{self.name} on the Hub", names)

    def _checked(self, weights: list[str], beside: Mapping[str, int]) -> int:
        """Bytes of all that is fetched, if it may be."""
        n_byte = sum(self.sizes[file] for file in weights if not file.endswith(folder.INDEX))
        n = self.n_parameters or n_byte // 4
        folder.check_size(folder.Weights((), n, n_byte), self.limits)
        return n_byte + sum(beside.values())

    def _fetch(self, file: str, total: int) -> None:
        step = Step("downloading", file, sum(self.sizes[known] for known in self.got), total)
        self.progress(step)
        try:
            # The first by the branch's name, which is noted down: offline, that finds the rest.
            revision = self.commit if self.got else None
            bar = _bar(self.progress, step)
            path = hf_hub_download(self.name, file, revision=revision, tqdm_class=bar)
        except HfErrors as error:
            raise _refused(self.name, error) from None
        except (OSError, HTTPError) as error:
            text = "{file} could not be fetched: the connection failed"
            raise unexpected(error, "offline", text, file=file) from None
        self.got[file] = Path(path)

    def _root(self) -> Path:
        """The repository's folder in the cache."""
        file, path = next(iter(self.got.items()))
        return path.parents[file.count("/")]


def _folder_of(file: str) -> str:
    """The folder of a file of a repository, with the slash at its end."""
    return file.rpartition("/")[0] + "/" if "/" in file else ""


def kept(name: str, error: Exception | None = None) -> Path:
    """What was fetched of a model before, without asking the Hub."""
    for file in (folder.CONFIG, locate.MODULES, folder.ADAPTER):
        path = try_to_load_from_cache(name, file)
        if isinstance(path, str):
            return Path(path).parent
    raise BadModel(
        "offline",
        "the Hub cannot be reached, and {name} was not fetched before",
        name=name,
    ) from error


def _refused(name: str, error: Exception) -> BadModel:
    """What to say of an answer of the Hub."""
    if isinstance(error, GatedRepoError):
        text = "{name} is open only to those whom its owner lets in"
        return BadModel("not-found", text, name=name)
    if isinstance(error, RepositoryNotFoundError):
        return BadModel("not-found", "the Hub has no model {name}, or it is private", name=name)
    if isinstance(error, HFValidationError):
        return BadModel("not-found", "{name} is no name of a model on the Hub", name=name[:100])
    response = getattr(error, "response", None)
    text = "the Hub answered with status {status}"
    return unexpected(error, "offline", text, status=getattr(response, "status_code", "unknown"))


def _bar(progress: Progress, began: Step) -> type:
    """What a download reports its bytes to, in place of a progress bar on a terminal."""

    class Bar:
        def __init__(self, *_: Any, initial: int = 0, **__: Any) -> None:
            self.n = initial

        def __enter__(self) -> Bar:
            return self

        def __exit__(self, *_: Any) -> None: ...

        def update(self, n: float = 1) -> None:
            self.n += int(n)
            progress(replace(began, bytes=began.bytes + self.n))

        def __getattr__(self, name: str) -> Callable[..., None]:
            return lambda *_, **__: None

    return Bar
