"""The MLPs of a model of transformers: in each layer the linear map that ends its MLP.

It is the last linear map that a layer computes, if that gives a vector for each token and is not
the map of the heads' output, and if nothing else of the MLP reaches the residual stream: with what
the map gives held, the layer gives the same whatever the MLP's other maps give. So a layer whose
tokens go to several experts has no such map.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from os.path import commonprefix
from typing import Any, NamedTuple

import torch
from attention_atlas.model.hub.findings import Stack
from attention_atlas.model.hub.lens import Place
from attention_atlas.model.hub.probes import outputs_of, removed
from attention_atlas.model.hub.trial import Trial
from attention_atlas.model.tape import Quantity, Tape
from torch import Tensor, nn


class Mapped(NamedTuple):
    """A linear map that a layer has computed."""

    name: str  # in the layer
    module: nn.Module
    x: Tensor
    y: Any


def mlps_of(
    trial: Trial, plans: Mapping[Stack, tuple[Place, ...]]
) -> dict[Stack, tuple[nn.Module, ...]]:
    """Of each stack whose layers all have one, the maps that end their MLPs, in order."""
    ends: dict[Stack, tuple[nn.Module, ...]] = {}
    for stack, layers in layers_of(trial).items():
        if stack not in plans or any(map(has_stacked_weights, layers)):
            continue
        rows, heads = _maps(trial, plans, layers)
        last = [row[-1] for row in rows if row and _ends_mlp(row[-1], heads)]
        modules = [mapped.module for mapped in last]
        if len(modules) != len(layers) or len(modules) != len(set(modules)):
            continue
        others = [mapped.module for row in rows for mapped in _before(row, heads)]
        if not _reaches_stream(trial, layers[-1], last, others):
            ends[stack] = tuple(modules)
    return ends


def layers_of(trial: Trial) -> dict[Stack, Sequence[nn.Module]]:
    """The layers of each stack, by what they give: the hidden states, in order."""
    lists = [list(m) for m in trial.model.modules() if isinstance(m, nn.ModuleList)]
    with outputs_of([layer for layers in lists for layer in layers], last=True) as given:
        passes = trial.run(output_hidden_states=True)
    found: dict[Stack, Sequence[nn.Module]] = {}
    for stack, passed in passes.items():
        states = list(passed.output.hidden_states)[1:]
        for layers in lists:
            outputs = [given.get(layer) for layer in layers]
            both = zip(outputs, states, strict=False)
            same = [x is not None and torch.equal(x, state) for x, state in both]
            if len(layers) == len(states) and all(same[:-1]) and outputs[-1] is not None:
                found.setdefault(stack, layers)
    return found


def has_stacked_weights(layer: nn.Module) -> bool:
    """Whether the layer has the matrices of several experts in one tensor, which no module maps."""
    return any(
        weight.ndim == 3
        for module in layer.modules()
        if not isinstance(module, nn.modules.conv._ConvNd)
        for weight in module.parameters(recurse=False)
    )


def _maps(
    trial: Trial, plans: Mapping[Stack, tuple[Place, ...]], layers: Sequence[nn.Module]
) -> tuple[list[list[Mapped]], list[Tensor]]:
    """The linear maps that each layer computes, in order; all heads' outputs (1, T, H d)."""
    rows: list[list[Mapped]] = [[] for _ in layers]
    keep: tuple[Quantity, ...] = ("z",)
    tape = Tape(keep=keep)
    with ExitStack() as stack:
        for layer, row in zip(layers, rows, strict=True):
            watched = [_watch(n, m, row) for n, m in layer.named_modules() if is_map(m)]
            stack.enter_context(removed(watched))
        trial.run(tape, plans)
    return rows, [step.z.transpose(1, 2).flatten(2) for step in tape]


def is_map(module: nn.Module) -> bool:
    weight = getattr(module, "weight", None)
    is_matrix = isinstance(weight, Tensor) and weight.ndim == 2
    return is_matrix and not isinstance(module, nn.Embedding)


def _watch(name: str, module: nn.Module, row: list[Mapped]) -> Any:
    return module.register_forward_hook(lambda m, x, y: row.append(Mapped(name, m, x[0], y)))


def _ends_mlp(mapped: Mapped, heads: Sequence[Tensor]) -> bool:
    """It gives a vector for each token, and what it reads are not the heads' outputs."""
    x, y = mapped.x, mapped.y
    if not isinstance(y, Tensor) or x.ndim != 3 or y.shape[:2] != x.shape[:2] or x.size(0) != 1:
        return False
    return not _reads(mapped, heads)


def _reads(mapped: Mapped, heads: Sequence[Tensor]) -> bool:
    """Whether it maps the heads' outputs."""
    x = mapped.x
    return any(z.shape == x.shape and torch.equal(z.to(x.dtype), x) for z in heads)


def _before(row: Sequence[Mapped], heads: Sequence[Tensor]) -> list[Mapped]:
    """The other maps of the MLP: between the one of the heads' outputs and the last, but none of
    what stands beside the former, such as an adapter."""
    after = [i for i, mapped in enumerate(row) if _reads(mapped, heads)]
    if not after:
        return []
    output, last = row[after[-1]].name, row[-1].name
    return [
        mapped
        for mapped in row[after[-1] + 1 : -1]
        if mapped.module is not row[-1].module
        and _is_inside(last, commonprefix([output.split("."), mapped.name.split(".")]))
    ]


def _is_inside(name: str, parents: Sequence[str]) -> bool:
    return name.split(".")[: len(parents)] == list(parents)


def _reaches_stream(
    trial: Trial, layer: nn.Module, last: Sequence[Mapped], others: Sequence[nn.Module]
) -> bool:
    """Whether the last layer gives something else with 0 in place of what other maps give, while
    the last maps give the same."""
    given = []
    for change in (False, True):
        with ExitStack() as stack:
            held = [m.module.register_forward_hook(_giving(m.y)) for m in last]
            zeroed = [m.register_forward_hook(_nothing) for m in others if change]
            stack.enter_context(removed(held + zeroed))
            outputs = stack.enter_context(outputs_of([layer], last=True))
            trial.run()
            given.append(outputs[layer])
    return not torch.equal(*given)


def _giving(y: Tensor) -> Any:
    return lambda module, x, before: y


def _nothing(module: nn.Module, x: Any, y: Any) -> Any:
    return torch.zeros_like(y) if isinstance(y, Tensor) else y
