"""The MLPs of a model of transformers: in each layer the linear map that ends its MLP.

It is the last linear map that a layer computes, if that gives a vector for each token and is not
the map of the heads' output. A layer whose tokens go to several experts has no such map.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
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

    module: nn.Module
    x: Tensor
    y: Any


def mlps_of(
    trial: Trial, plans: Mapping[Stack, tuple[Place, ...]]
) -> dict[Stack, tuple[nn.Module, ...]]:
    """Of each stack whose layers all have one, the maps that end their MLPs, in order."""
    ends: dict[Stack, tuple[nn.Module, ...]] = {}
    for stack, layers in layers_of(trial).items():
        if stack not in plans or any(map(has_experts, layers)):
            continue
        modules = _last_maps(trial, plans, layers)
        if len(modules) == len(layers) == len(set(modules)):
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


def has_experts(layer: nn.Module) -> bool:
    """Whether the layer has MLPs side by side, of which each token takes some."""
    return any(isinstance(m, nn.ModuleList) for m in layer.modules()) or any(
        weight.ndim == 3 for weight in layer.parameters()
    )


def _last_maps(
    trial: Trial, plans: Mapping[Stack, tuple[Place, ...]], layers: Sequence[nn.Module]
) -> list[nn.Module]:
    """The last linear map of each layer that has one after its attention."""
    seen: list[list[Mapped]] = [[] for _ in layers]
    keep: tuple[Quantity, ...] = ("z",)
    tape = Tape(keep=keep)
    with ExitStack() as stack:
        for layer, row in zip(layers, seen, strict=True):
            stack.enter_context(removed([_watch(m, row) for m in layer.modules() if is_map(m)]))
        trial.run(tape, plans)
    heads = [step.z.transpose(1, 2).flatten(2) for step in tape]
    return [row[-1].module for row in seen if row and _ends_mlp(row[-1], heads)]


def is_map(module: nn.Module) -> bool:
    weight = getattr(module, "weight", None)
    is_matrix = isinstance(weight, Tensor) and weight.ndim == 2
    return is_matrix and not isinstance(module, nn.Embedding)


def _watch(module: nn.Module, row: list[Mapped]) -> Any:
    return module.register_forward_hook(lambda m, x, y: row.append(Mapped(m, x[0], y)))


def _ends_mlp(mapped: Mapped, heads: Sequence[Tensor]) -> bool:
    """It gives a vector for each token, and what it reads are not the heads' outputs."""
    x, y = mapped.x, mapped.y
    if not isinstance(y, Tensor) or x.ndim != 3 or y.shape[:2] != x.shape[:2] or x.size(0) != 1:
        return False
    return not any(z.shape == x.shape and torch.equal(z.to(x.dtype), x) for z in heads)
