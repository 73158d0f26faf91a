"""A LoRA adapter (Hu et al. 2021) merged into its base model: W + scale · B A, computed once.

    base_of  the base of an adapter's folder: the path it names, a folder beside it, the Hub's
    read     its settings and tensors; what is not understood is refused, never left out
    merge    its products added to the base's weights, its saved tensors put in their places

Only safetensors are read, and what is merged equals peft's merge_and_unload.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from attention_atlas.model.hub import folder
from attention_atlas.model.hub.folder import ADAPTER, Limits
from attention_atlas.model.hub.locate import HUB_NAME, adapter_alone, located
from attention_atlas.model.hub.reasons import BadModel, unexpected
from safetensors.torch import load_file
from torch import Tensor

FILE = "adapter_model.safetensors"
PREFIX = "base_model.model."
PRODUCTS = {"lora_A.weight": "A", "lora_B.weight": "B"}
PRODUCTS |= {"lora_embedding_A": "A", "lora_embedding_B": "B"}
# Settings that change what is added, in ways that are not computed here.
OTHERS = (
    *("use_dora", "lora_bias", "use_qalora", "layer_replication", "target_parameters"),
    *("trainable_token_indices", "alora_invocation_tokens", "arrow_config"),
)
TASKS = {  # of peft -> the class of transformers whose head it needs
    "SEQ_CLS": "SequenceClassification",
    "TOKEN_CLS": "TokenClassification",
    "QUESTION_ANS": "QuestionAnswering",
}
HEADS = re.compile(r"(.*\.)?(classifier|score|out_proj|qa_outputs)\.weight")


@dataclass(frozen=True)
class Adapter:
    """An adapter's folder: its settings and tensors, by the names of the base's modules."""

    path: Path
    settings: Mapping[str, Any]
    products: Mapping[str, Mapping[str, Tensor]]  # module -> A (r, in), B (out, r)
    saved: Mapping[str, Tensor]  # parameters that take the place of the base's

    @property
    def task(self) -> str | None:
        """The head that it was trained with, as a part of its class's name."""
        return TASKS.get(str(self.settings.get("task_type")))

    @property
    def n_label(self) -> int | None:
        """How many labels its own head tells apart."""
        heads = [x for name, x in self.saved.items() if HEADS.fullmatch(name) and x.ndim == 2]
        return heads[-1].size(0) if heads else None

    @cached_property
    def endings(self) -> frozenset[str]:
        """Ends of modules' names that have an alpha of their own."""
        return frozenset(self.settings.get("alpha_pattern") or {})

    def scale(self, module: str, rank: int) -> float:
        """What a module's product is multiplied by."""
        alphas: Mapping[str, Any] = self.settings.get("alpha_pattern") or {}
        names = self.endings.intersection(_endings(module))
        first = min(names, key=[*alphas].index) if len(names) > 1 else next(iter(names), "")
        alpha = alphas.get(first, self.settings.get("lora_alpha", 8))
        if not isinstance(alpha, int | float):
            raise BadModel("damaged", "{file} has no number as lora_alpha", file=ADAPTER)
        return alpha / (rank**0.5 if self.settings.get("use_rslora") else rank)


def _endings(module: str) -> Iterator[str]:
    """A module's name and what is left of it after each dot."""
    while module:
        yield module
        module = module.partition(".")[2]


def is_alone(path: Path) -> bool:
    """Whether a folder holds an adapter and no model."""
    return (path / ADAPTER).is_file() and not folder.has_weights(path)


def base_name(path: Path) -> str:
    """What an adapter's base is called: its name on the Hub, or that of its folder."""
    base = str(folder.read_json(path / ADAPTER).get("base_model_name_or_path") or "")
    return base if HUB_NAME.fullmatch(base) else re.split(r"[/\\]", base.rstrip("/\\"))[-1]


def base_of(
    path: Path,
    name: str,
    fetched: Callable[[str], Path],
    allows: Callable[[str], bool] = lambda base: True,
) -> Path:
    """The folder of an adapter's base. `fetched` answers a name of the Hub; `allows` says whether
    a folder or name may be opened. Raises BadModel, which names the adapter and its base."""
    settings = folder.read_json(path / ADAPTER)
    base = settings.get("base_model_name_or_path")
    if isinstance(base, str) and base:
        for place in _folders(path, base):
            if allows(str(place)):
                return place
        if HUB_NAME.fullmatch(base) and allows(base):
            try:
                return fetched(base)
            except BadModel as error:
                if error.reason not in ("offline", "not-found"):
                    raise
    raise adapter_alone(settings, name)


def _folders(path: Path, base: str) -> Iterator[Path]:
    """Folders that may be an adapter's base: the one that it names, and one of that name beside
    it."""
    last = re.split(r"[/\\]", base.rstrip("/\\"))[-1]
    try:
        places = [path / base, path.parent / last]  # path / an absolute one is that one
        for place in places:
            is_model = place.is_dir() and place.resolve() != path
            if is_model and folder.has_weights(located(place.resolve(), last).path):
                yield place.resolve()
    except (OSError, ValueError, BadModel):  # a name that no path may have; a folder of no model
        return


def read(path: Path, limits: Limits) -> Adapter:
    """An adapter of a folder. Raises BadModel for what cannot be merged exactly."""
    settings = folder.read_json(path / ADAPTER)
    kind = str(settings.get("peft_type"))[:40]
    if kind != "LORA":
        text = "it is an adapter of the kind {kind}; LORA is merged here"
        raise BadModel("unsupported", text, kind=kind)
    for name in OTHERS:
        if settings.get(name):
            text = "its adapter has {name}, which is not computed here"
            raise BadModel("unsupported", text, name=name)
    patterns = settings.get("alpha_pattern") or {}
    if not isinstance(patterns, dict) or not all(
        re.fullmatch(r"[\w.]+", name) for name in patterns
    ):
        text = "the alpha_pattern of its adapter has names that are no modules"
        raise BadModel("unsupported", text)
    file = path / FILE
    if not file.is_file():
        raise folder.no_safetensors(path.name, [each.name for each in path.iterdir()])
    folder.check_size(folder.Weights((file,), *folder.header(file)), limits)
    try:
        tensors = load_file(file)
    except Exception as error:  # safetensors raises an error of its own
        text = "{file} has no readable safetensors header"
        raise unexpected(error, "damaged", text, file=FILE) from None
    return _sorted(path, settings, tensors)


def _sorted(path: Path, settings: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> Adapter:
    products: dict[str, dict[str, Tensor]] = {}
    saved: dict[str, Tensor] = {}
    for key, tensor in tensors.items():
        name = key.removeprefix(PREFIX)
        ending = next((end for end in PRODUCTS if name.endswith(f".{end}")), None)
        if key == name or ("lora_" in name and ending is None):
            text = "its adapter holds {key}, which is not merged here"
            raise BadModel("unsupported", text, key=key[:100])
        if ending is None:
            saved[name] = tensor
        else:
            products.setdefault(name.removesuffix(f".{ending}"), {})[PRODUCTS[ending]] = tensor
    for module, pair in products.items():
        if pair.keys() != {"A", "B"}:
            text = "its adapter holds only one of the two matrices of {module}"
            raise BadModel("damaged", text, module=module[:100])
    return Adapter(path, settings, products, saved)


@torch.no_grad()
def merge(model: Any, adapter: Adapter) -> None:
    """Add the adapter's products to the model's weights, and put in what it has saved."""
    for module, pair in adapter.products.items():
        weight = _parameter(model, f"{module}.weight")
        is_turned = type(model.get_submodule(module)).__name__ in ("Conv1D", "Embedding")
        _check_product(module, pair, weight.T if is_turned else weight)
        change = (pair["B"].float() @ pair["A"].float()) * adapter.scale(module, len(pair["A"]))
        change = change.T if is_turned else change  # these have (in, out)
        weight.data.add_(change.to(weight))
    for name, tensor in adapter.saved.items():
        parameter = _parameter(model, name)
        _check_shape(name, tensor, parameter)
        parameter.data.copy_(tensor)


def _parameter(model: Any, name: str) -> Tensor:
    try:
        parameter: Tensor = model.get_parameter(name)
    except AttributeError:
        text = "its adapter is for another model: {base} has no {name}"
        raise BadModel("damaged", text, base=type(model).__name__, name=name[:100]) from None
    return parameter


def _check_product(module: str, pair: Mapping[str, Tensor], weight: Tensor) -> None:
    """Before it is computed: of two thin matrices the product may be larger than any memory."""
    a, b = pair["A"], pair["B"]
    if a.ndim != 2 or b.ndim != 2 or len(a) != b.size(1) or not len(a):
        text = "the two matrices of {module} in its adapter do not fit each other"
        raise BadModel("damaged", text, module=module[:100])
    _check_shape(module, torch.empty(len(b), a.size(1), device="meta"), weight)


def _check_shape(name: str, tensor: Tensor, parameter: Tensor) -> None:
    if tensor.shape != parameter.shape:
        raise BadModel(
            "damaged",
            "its adapter is for another model: {name} is {stored} in the adapter and {wanted} in "
            "the base",
            name=name[:100],
            stored=" × ".join(map(str, tensor.shape)),
            wanted=" × ".join(map(str, parameter.shape)),
        )


def options_of(adapter: Adapter | None) -> dict[str, int]:
    """What of the base's config its adapter says otherwise."""
    has_head = adapter is not None and adapter.task is not None and adapter.n_label is not None
    return {"num_labels": adapter.n_label} if adapter and has_head and adapter.n_label else {}


def given(adapter: Adapter | None) -> Collection[str]:
    """Parameters that the base need not have."""
    return () if adapter is None else adapter.saved.keys()
