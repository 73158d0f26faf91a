"""Path patching: what one head passes to a later head's q, k or v, and to the logits, directly.

In the corrupted run a sending head gets its output of the clean run, while all other heads and all
MLPs keep theirs: only the residual stream and its norms carry the change. From that stream the
receiving head's q, k or v is computed; then the corrupted run is repeated with it, and all that
follows is computed anew (Wang et al. 2023; Goldowsky-Dill et al. 2023). Where the receiver is the
logits, the metric is taken from that stream.

    effect = (m - m corrupted) / (m clean - m corrupted)

The effects of all senders on a receiver need not sum to that of them together: norms lie between.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby, islice
from typing import Literal, NamedTuple, get_args

import torch
from attention_atlas.model.analysis.lab import (
    MOST_TOKENS,
    Metric,
    ReadText,
    check_mlps,
    check_pair,
    measured,
)
from attention_atlas.model.run import read
from attention_atlas.model.tape import Edit, Kind, Quantity, Tape
from torch import Tensor

Input = Literal["q", "k", "v"]
INPUTS: tuple[Input, ...] = get_args(Input)
KEPT: tuple[Quantity, ...] = ("q", "k", "v")
MOST_KEPT = 32_000_000  # numbers of q, k and v of one batch
Inputs = dict[tuple[Kind, int, Input], Tensor]  # (B, H, T, d)


class Node(NamedTuple):
    """A head."""

    kind: Kind
    layer: int
    head: int


class Path(NamedTuple):
    """From a head to another's q, k or v; without a receiver, to the logits."""

    sender: Node
    receiver: Node | None = None
    input: Input | None = None


class Pair(NamedTuple):
    """The two runs, and the metric."""

    clean: ReadText
    corrupted: ReadText
    metric: Metric

    def check(self) -> None:
        """Raises BadInput for texts of two lengths, and for a model whose MLPs are not known."""
        check_pair(self.clean, self.corrupted)
        for kind in self.clean.loaded.kinds:
            check_mlps(self.clean, "decoder" if kind == "cross" else kind, "model")


def nodes(text: ReadText) -> list[Node]:
    """All heads, in the order of the forward pass."""
    shapes = {kind: text.loaded.shape(kind) for kind in text.loaded.kinds}
    every = [
        Node(kind, i, h) for kind, (L, H) in shapes.items() for i in range(L) for h in range(H)
    ]
    return sorted(
        every, key=lambda node: (node.kind != "encoder", node.layer, node.kind == "cross")
    )


def reaches(sender: Node, receiver: Node, into: Input) -> bool:
    """Whether the stream that the sender writes into is read for this input later on."""
    if (receiver.kind == "cross") and into != "q":
        return sender.kind == "encoder"  # keys and values are of the encoder's last states
    if (sender.kind == "encoder") != (receiver.kind == "encoder"):
        return False
    return (sender.layer, sender.kind == "cross") < (receiver.layer, receiver.kind == "cross")


def paths_to(text: ReadText, receiver: Node | None, into: Input | None) -> list[Path]:
    """All paths into one input, or into the logits."""
    senders = nodes(text)
    if receiver is None or into is None:
        stack = [n for n in senders if n.kind != "encoder" or text.loaded.kinds == ("encoder",)]
        return [Path(sender) for sender in stack]
    return [Path(s, receiver, into) for s in senders if reaches(s, receiver, into)]


def every_path(text: ReadText) -> list[Path]:
    """All paths between heads, and all to the logits."""
    between = [p for node in nodes(text) for into in INPUTS for p in paths_to(text, node, into)]
    return paths_to(text, None, None) + between


class Carried(NamedTuple):
    """What the stream carries from some senders, a row each."""

    senders: Sequence[Node]
    inputs: Inputs
    x: Tensor  # (B, T, D), the last hidden states


@torch.inference_mode()
def carried(pair: Pair, senders: Sequence[Node]) -> Carried:
    """Read the corrupted text with all outputs held but one sender's in each row."""
    text = pair.corrupted
    one = torch.ones(1, 1, 1, 1, device=text.x.device)
    edits = [
        Edit("replace_mlp", stack, i, z=x, where=one)
        for stack, layers in text.mlps.items()
        for i, x in enumerate(layers)
    ]
    for kind, layers in text.z.items():
        for i, z in enumerate(layers):
            here = [row for row, node in enumerate(senders) if node[:2] == (kind, i)]
            if here:
                z = z.repeat(len(senders), 1, 1, 1)
                for row in here:
                    head = senders[row].head
                    z[row, head] = pair.clean.z[kind][i][0, head]
            edits.append(Edit("replace", kind, i, z=z, where=one))
    tape = Tape(keep=KEPT, edits=(*text.edits, *edits))
    x = read(text.loaded, text.sequences, tape, len(senders))
    inputs: Inputs = {
        (step.kind, step.layer, name): step.kept[name] for step in tape for name in INPUTS
    }
    return Carried(senders, inputs, x)


def batches(pair: Pair, senders: Sequence[Node]) -> Iterator[Carried]:
    """`carried` of as many senders at once as memory allows."""
    text = pair.corrupted
    numbers = 3 * sum(z.numel() for layers in text.z.values() for z in layers)
    size = max(1, min(MOST_TOKENS // text.n_token, MOST_KEPT // numbers))
    rest = iter(senders)
    while batch := list(islice(rest, size)):
        yield carried(pair, batch)


def gradients(pair: Pair) -> Inputs:
    """The metric's gradient by each head's q, k and v in the corrupted run: (1, H, T, d)."""
    text = pair.corrupted
    start = carried_inputs(text)
    with torch.inference_mode(False), torch.enable_grad():
        shares = {place: torch.zeros_like(x, requires_grad=True) for place, x in start.items()}
        edits = [
            Edit("replace", kind, i, what=name, z=(x + 1).clone(), where=shares[kind, i, name])
            for (kind, i, name), x in start.items()
        ]
        value = measured(text, pair.metric, edits).sum()
        found = torch.autograd.grad(value, list(shares.values()), allow_unused=True)
    zeros = [
        torch.zeros_like(x) if g is None else g for x, g in zip(start.values(), found, strict=True)
    ]
    return dict(zip(start, zeros, strict=True))


@torch.inference_mode()
def carried_inputs(text: ReadText) -> Inputs:
    """Every q, k and v of a text as it is."""
    tape = Tape(keep=KEPT, edits=text.edits)
    read(text.loaded, text.sequences, tape)
    return {(step.kind, step.layer, name): step.kept[name] for step in tape for name in INPUTS}


@torch.inference_mode()
def estimated(pair: Pair, paths: Sequence[Path]) -> list[float]:
    """The change of the metric by each path, to first order; to the logits it is exact."""
    slopes, start = gradients(pair), carried_inputs(pair.corrupted)
    base = pair.metric.of(pair.corrupted.loaded, pair.corrupted.x).item()
    by_sender: dict[Node, list[tuple[int, Path]]] = {}
    for i, path in enumerate(paths):
        by_sender.setdefault(path.sender, []).append((i, path))
    values = [0.0] * len(paths)
    for batch in batches(pair, list(by_sender)):
        change = {  # (B, H)
            place: ((x - start[place]) * slopes[place]).sum((-2, -1)).cpu()
            for place, x in batch.inputs.items()
        }
        logits = (pair.metric.of(pair.corrupted.loaded, batch.x) - base).tolist()
        for row, sender in enumerate(batch.senders):
            for i, path in by_sender[sender]:
                if path.receiver is None or path.input is None:
                    values[i] = logits[row]
                else:
                    kind, layer, head = path.receiver
                    values[i] = change[kind, layer, path.input][row, head].item()
    return values


@torch.inference_mode()
def exact(pair: Pair, paths: Sequence[Path]) -> list[float]:
    """The metric with each path patched alone."""
    order = sorted(range(len(paths)), key=lambda i: paths[i].sender)
    groups = [(s, list(g)) for s, g in groupby(order, key=lambda i: paths[i].sender)]
    values = [0.0] * len(paths)
    indices = dict(groups)
    for batch in batches(pair, list(indices)):
        logits = pair.metric.of(pair.corrupted.loaded, batch.x).tolist()
        rows = {sender: row for row, sender in enumerate(batch.senders)}
        inside = [i for sender in batch.senders for i in indices[sender]]
        for i in inside:
            if paths[i].receiver is None:
                values[i] = logits[rows[paths[i].sender]]
        rest = [i for i in inside if paths[i].receiver is not None]
        size = max(1, MOST_TOKENS // pair.corrupted.n_token)
        for first in range(0, len(rest), size):
            part = rest[first : first + size]
            for i, value in zip(
                part, _received(pair, batch, rows, [paths[i] for i in part]), strict=True
            ):
                values[i] = value
    return values


def _received(
    pair: Pair, batch: Carried, rows: dict[Node, int], paths: Sequence[Path]
) -> list[float]:
    """The metric of the corrupted run with one receiver's input changed in each row."""
    edits: dict[tuple[Kind, int, Input], Edit] = {}
    for row, path in enumerate(paths):
        assert path.receiver is not None and path.input is not None
        kind, layer, head = path.receiver
        place = (kind, layer, path.input)
        x = batch.inputs[place]
        if place not in edits:
            z = x.new_zeros(len(paths), *x.shape[1:])
            edits[place] = Edit(
                "replace", kind, layer, what=path.input, z=z, where=z.new_zeros(*z.shape[:2], 1, 1)
            )
        edit = edits[place]
        assert edit.z is not None and edit.where is not None
        edit.z[row, head] = x[rows[path.sender], head]
        edit.where[row, head] = 1
    return measured(pair.corrupted, pair.metric, list(edits.values()), len(paths)).tolist()
