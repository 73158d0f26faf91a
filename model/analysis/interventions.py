"""A stack of interventions in one run: each alone, and all at once.

What takes the place of a head's output is as in `lab`. `denoise` acts in the corrupted run, all
others in the clean one, so that a stack is of one sort or the other. Where the texts have
different lengths, only tokens with a partner in the other text are replaced by it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from difflib import SequenceMatcher
from typing import Literal, NamedTuple

import torch
from attention_atlas.model.analysis.lab import (
    REPLACING,
    Means,
    Metric,
    Part,
    ReadText,
    check_mlps,
)
from attention_atlas.model.messages import Message, Refused
from attention_atlas.model.record import Token, axes
from attention_atlas.model.run import read
from attention_atlas.model.spec import BadInput, check_heads, check_tokens
from attention_atlas.model.tape import Edit, Kind, Op, Tape
from torch import Tensor

Pairs = list[tuple[int, int]]  # positions in the clean and in the corrupted text
InterventionHow = Literal[
    "zero", "mean", "mean_positions", "resample", "noise", "denoise", "block", "set", "scale"
]
PATCHES: tuple[InterventionHow, ...] = ("resample", "noise", "denoise")
FACTOR = 3.0  # between the sizes of two ablations that are said to disagree
NEGLIGIBLE = 0.01  # an effect smaller than this is not compared with others


@dataclass(frozen=True)
class Intervention:
    """What is done to a head, or to an MLP; of `kind`, `layer`, `head`, `query` None means all.

    set without a row: all attention to `key`, or without a key the same to every key allowed.
    """

    how: InterventionHow
    kind: Kind | None = None
    layer: int | None = None
    head: int | None = None
    query: int | None = None
    key: int | None = None
    row: tuple[float, ...] = ()
    by: float = 1.0
    part: Part = "heads"


class Bench(NamedTuple):
    """The runs that interventions are made in, and what they take from elsewhere."""

    clean: ReadText
    corrupted: ReadText | None = None
    pairs: dict[str, Pairs] = {}  # of each sequence
    means: dict[tuple[Kind, Part], list[Tensor]] = {}  # over reference texts, of each layer


class Outcome(NamedTuple):
    """A metric under edits, and the last hidden states (1, T, D) that it was taken from."""

    value: float
    x: Tensor


def aligned(clean: Sequence[Token], corrupted: Sequence[Token]) -> Pairs:
    """Which token of each text is the other's partner.

    Of texts of equal length, position by position. Otherwise the longest common parts, and between
    them a stretch that was exchanged for one as long; other tokens have no partner.
    """
    if len(clean) == len(corrupted):
        return [(i, i) for i in range(len(clean))]
    first, second = ([token.id for token in tokens] for tokens in (clean, corrupted))
    matcher = SequenceMatcher(None, first, second, autojunk=False)
    return [
        (i + n, j + n)
        for op, i, i_end, j, j_end in matcher.get_opcodes()
        if op == "equal" or (op == "replace" and i_end - i == j_end - j)
        for n in range(i_end - i)
    ]


def bench_of(
    clean: ReadText, corrupted: ReadText | None, references: Sequence[ReadText] = ()
) -> Bench:
    """The two runs, aligned, and the means over the reference texts."""
    pairs = {}
    if corrupted is not None:
        pairs = {
            name: aligned(tokens, corrupted.sequences[name])
            for name, tokens in clean.sequences.items()
        }
    means: dict[tuple[Kind, Part], list[Tensor]] = {}
    parts: list[tuple[Kind, Part]] = [(kind, "heads") for kind in clean.z]
    parts += [(stack, "mlp") for stack in clean.mlps]
    for kind, part in parts if references else ():
        sums = Means()
        for text in references:
            sums.add(text.outputs(kind, part))
        means[kind, part] = sums.means()
    return Bench(clean, corrupted, pairs, means)


def is_into_corrupted(stack: Sequence[Intervention]) -> bool:
    """Whether a stack acts in the corrupted run. Raises BadInput if it acts in both."""
    into = {it.how == "denoise" for it in stack if it.how in PATCHES}
    if len(into) > 1:
        message = Message(
            "two-runs",
            "denoise changes the corrupted run, resample and noise the clean one: a stack takes "
            "one sort",
        )
        raise BadInput("interventions", message)
    return True in into


def check(bench: Bench, it: Intervention, text: ReadText) -> None:
    """What the intervention names exists. Raises BadInput."""
    loaded = text.loaded
    layers = () if it.layer is None else (it.layer,)
    heads = () if it.head is None else (it.head,)
    check_heads(loaded, it.kind, layers, heads, field="interventions")
    check_tokens(loaded, _edit(it), text.sequences, field="interventions")
    needed = None
    if it.part == "mlp":
        for kind in _stacks(it, text) or loaded.kinds[-1:]:
            check_mlps(text, kind, "interventions")
    if it.part == "mlp" and (it.head is not None or it.how in ("block", "set", "scale")):
        needed = Message("no-heads-in-mlps", "an MLP has no heads, and no attention to change")
    elif it.how in PATCHES and bench.corrupted is None:
        needed = Message(
            "needs-corrupted", "{how} needs a corrupted run beside the clean one", how=it.how
        )
    elif it.how == "mean" and not bench.means:
        needed = Message(
            "needs-reference", "mean needs texts in reference; mean_positions needs none"
        )
    if needed is not None:
        raise BadInput("interventions", needed)


def _edit(it: Intervention) -> Edit:
    """block, set and scale are edits of a tape; of the others this is where they act."""
    op: Op = it.how if it.how in ("block", "set", "scale") else "ablate"
    place = {"query": it.query, "key": it.key, "row": it.row, "by": it.by}
    return Edit(op, it.kind, it.layer, it.head, **place)  # type: ignore[arg-type]


def edits_of(bench: Bench, it: Intervention, text: ReadText) -> list[Edit]:
    """An intervention in one of the two runs, as edits of its forward pass."""
    if it.how == "set" and not it.row:
        kinds = [kind for kind in text.loaded.kinds if it.kind in (None, kind)]
        return [_edit(replace(it, kind=kind, row=_row(it, text, kind))) for kind in kinds]
    if it.how in ("block", "set", "scale"):
        return [_edit(it)]
    return [
        replacement(bench, it, text, kind, layer)
        for kind in (_stacks(it, text) if it.part == "mlp" else text.loaded.kinds)
        if it.kind in (None, kind)
        for layer in range(text.loaded.shape(kind)[0])
        if it.layer in (None, layer)
    ]


def _stacks(it: Intervention, text: ReadText) -> list[Kind]:
    """The stacks whose MLPs are meant; cross-attention's layers are the decoder's."""
    stacks: list[Kind] = [kind for kind in text.loaded.kinds if kind != "cross"]
    return [stack for stack in stacks if it.kind in (None, stack)]


def _row(it: Intervention, text: ReadText, kind: Kind) -> tuple[float, ...]:
    """All attention to one key, or the same to every key."""
    n = len(text.sequences[axes(kind, text.sequences)[1]])
    return tuple(float(it.key in (None, k)) for k in range(n))


def replacement(bench: Bench, it: Intervention, text: ReadText, kind: Kind, layer: int) -> Edit:
    """What takes the place of a part's output in one layer, and where."""
    z = text.outputs(kind, it.part)[layer]  # (1, H, Tq, d), of an MLP (1, 1, T, D)
    where = torch.zeros_like(z[:, :, :1, :1]) if it.head is not None else z.new_ones(1, 1, 1, 1)
    if it.head is not None:
        where[:, it.head] = 1
    given = z[:, :, :1] * 0
    if it.how == "mean":
        given = bench.means[kind, it.part][layer]
    elif it.how == "mean_positions":
        given = z.mean(2, keepdim=True).expand_as(z)
    elif it.how in PATCHES:
        given, paired = _patch(bench, it, z, kind, layer)
        where = where * paired
    if it.query is not None:
        chosen = torch.zeros_like(z[:, :1, :, :1])
        chosen[:, :, it.query] = 1
        where = where * chosen
    return Edit(REPLACING[it.part], kind, layer, z=given, where=where)


def _patch(
    bench: Bench, it: Intervention, z: Tensor, kind: Kind, layer: int
) -> tuple[Tensor, Tensor]:
    """The other run's z at each position that has a partner (1, H, Tq, d); where that is."""
    assert bench.corrupted is not None
    into_corrupted = it.how == "denoise"
    source = bench.clean if into_corrupted else bench.corrupted
    pairs = bench.pairs[axes(kind, source.sequences)[0]]
    order = [(j, i) if into_corrupted else (i, j) for i, j in pairs]
    here, there = [i for i, _ in order], [j for _, j in order]
    given, paired = torch.zeros_like(z), torch.zeros_like(z[:, :1, :, :1])
    given[:, :, here] = source.outputs(kind, it.part)[layer][:, :, there]
    paired[:, :, here] = 1
    return given, paired


@torch.inference_mode()
def outcome(text: ReadText, metric: Metric, edits: Sequence[Edit]) -> Outcome:
    """A text read under edits beside its own. Raises BadInput for an edit that does not fit it."""
    try:
        x = read(text.loaded, text.sequences, Tape(keep=(), edits=(*text.edits, *edits)))
    except Refused as error:
        raise BadInput("interventions", error.message) from None
    return Outcome(metric.of(text.loaded, x).item(), x)


def disagree(effects: Sequence[float]) -> bool:
    """Whether effects differ in sign, or in size by more than FACTOR, where one is noticeable."""
    largest = max(map(abs, effects), default=0.0)
    if largest < NEGLIGIBLE:
        return False
    return min(effects) < 0 < max(effects) or largest > FACTOR * min(map(abs, effects))
