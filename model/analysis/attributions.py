"""What each token contributes to a prediction, by nine methods, beside what the attention shows.

Each method satisfies a property; its distance from it is measured in the same run. A method whose
property does not hold has no values.

    attention            a head's row                         sums to 1
    rollout              Abnar & Zuidema 2020                 sums to 1
    flow                 Abnar & Zuidema 2020                 within the capacity of two cuts
    norms                |a f(x)|, Kobayashi et al. 2020      the vectors sum to the head's output
    gradient_attention   A dm/dA of the head's row            = slope of the largest cell
    gradient_input       x dm/dx of the word vectors          sums to the slope along x
    integrated_gradients Sundararajan et al. 2017             sums to m(x) - m(0)
    leave_one_out        m without the token, deleted         exact
    value_zeroing        Mohebbi et al. 2023, one layer       0 for masked keys
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from attention_atlas.model.analysis import input_gradients as gradients
from attention_atlas.model.analysis import lab
from attention_atlas.model.analysis.attention_flow import attention_flow, capacities
from attention_atlas.model.analysis.class_logit import ClassLogit
from attention_atlas.model.analysis.lab import (
    LogitDifference,
    Metric,
    ReadText,
    measured,
    value_of,
)
from attention_atlas.model.analysis.lab_metrics import Loss, Probability
from attention_atlas.model.analysis.writes import DirectPath
from attention_atlas.model.messages import Message
from attention_atlas.model.reductions import rollout
from attention_atlas.model.run import read
from attention_atlas.model.spec import BadInput, check_heads
from attention_atlas.model.tape import ATTN, Edit, Kind, Tape
from torch import Tensor
from torch.nn import functional as F

MOST_FLOW = 500_000  # layers times tokens cubed


class Property(NamedTuple):
    """How far a method is from the property that it satisfies, and how far it may be."""

    number: float
    tolerance: float

    @property
    def holds(self) -> bool:
        return self.number <= self.tolerance


class Attribution(NamedTuple):
    """A method's values; NaN for a token that it says nothing of. Without values: why not."""

    values: Tensor | None  # (T,)
    complete: Property | None = None
    reason: str = ""  # too-long, no-output-map, edits-name-positions, property-fails


@dataclass(frozen=True)
class Row:
    """One head's row for one query, and all attention of its run."""

    text: ReadText
    metric: Metric
    kind: Kind
    layer: int
    head: int
    query: int
    attn: Tensor  # (L, H, T, T)
    v: Tensor  # (T, d), the head's
    mask: Tensor  # (T,) bool, where the query may look

    @property
    def weights(self) -> Tensor:
        return self.attn[self.layer, self.head, self.query]


@torch.inference_mode()
def row_of(text: ReadText, metric: Metric, layer: int, head: int, query: int | None) -> Row:
    """Raises BadInput for a model of two texts, or what it does not have."""
    loaded = text.loaded
    if len(loaded.kinds) > 1 or "cross" in loaded.kinds:
        message = Message(
            "two-texts",
            "{model} reads a source and a target: attributions are for models of one text",
            model=loaded.name,
        )
        raise BadInput("model", message)
    [kind] = loaded.kinds
    check_heads(loaded, kind, (layer,), (head,))
    tokens = text.sequences["source"]
    if query is None and isinstance(metric, LogitDifference | Probability | ClassLogit):
        query = metric.position
    if query is None:
        query = 0 if kind == "encoder" else len(tokens) - 1
    if not 0 <= query < len(tokens):
        message = Message(
            "query-out-of-range",
            "query {value} does not exist: the text has query tokens 0 to {limit}",
            value=query,
            limit=len(tokens) - 1,
        )
        raise BadInput("query", message)
    tape = Tape(keep=ATTN, edits=text.edits)
    read(loaded, text.sequences, tape)
    steps = sorted(tape, key=lambda step: step.layer)
    attn = torch.stack([step.attn[0].double().cpu() for step in steps])
    one = Tape(("v", "mask"), layers=(layer,), heads=(head,), edits=text.edits)
    read(loaded, text.sequences, one)
    [step] = list(one)
    mask = step.mask[0, 0, query].cpu()
    return Row(text, metric, kind, layer, head, query, attn, step.v[0, 0], mask)


def _attention(row: Row) -> Attribution:
    return _share(row.weights)


def _rollout(row: Row) -> Attribution:
    return _share(rollout(row.attn)[0, 0, row.query])


def _share(values: Tensor) -> Attribution:
    return Attribution(values, Property(abs(values.sum().item() - 1), 1e-4))


def _flow(row: Row) -> Attribution:
    n_layer, _, T, _ = row.attn.shape
    if n_layer * T**3 > MOST_FLOW:
        return Attribution(None, reason="too-long")
    capacity = capacities(row.attn)
    values = attention_flow(capacity, row.query)
    cuts = torch.minimum(capacity[-1, row.query].sum(), capacity[0].sum(0))
    return Attribution(values, Property((values - cuts).max().clamp(0).item(), 1e-6))


@torch.inference_mode()
def _norms(row: Row) -> Attribution:
    """The norm of what each key sends through the head and W_O."""
    path = DirectPath(Tape(keep=lab.KEPT, edits=row.text.edits))
    with path:
        read(row.text.loaded, row.text.sequences, path.tape)
    project = path.maps.get((row.kind, row.layer))
    if project is None:
        return Attribution(None, reason="no-output-map")
    _, n_head, _, d = row.text.z[row.kind][row.layer].shape

    def through(x: Tensor) -> Tensor:  # (n, d) of this head -> (n, D)
        wide = x.new_zeros(len(x), n_head, d)
        wide[:, row.head] = x
        return project(wide.flatten(1)[None])[0].double().cpu()

    sent = row.weights[:, None] * through(row.v)
    whole = through(row.text.z[row.kind][row.layer][0, row.head, row.query][None])[0]
    apart = (sent.sum(0) - whole).norm().item() / max(whole.norm().item(), 1e-9)
    return Attribution(sent.norm(dim=-1), Property(apart, 1e-4))


def _gradient_attention(row: Row) -> Attribution:
    place = (row.kind, row.layer, row.head, row.query)
    values = gradients.gradient_times_attention(row.text, row.metric, *place)
    key = int(values.abs().argmax())
    slope = gradients.attention_slope(row.text, row.metric, (*place, key))
    return Attribution(values, Property(abs(values[key].item() - slope), _noise(row, slope)))


def _gradient_input(row: Row) -> Attribution:
    values = gradients.gradient_times_input(row.text, row.metric)
    step = gradients.STEP
    ends = [gradients.at_length(row.text, row.metric, 1 + sign * step) for sign in (1, -1)]
    slope = (ends[0] - ends[1]) / (2 * step)
    return Attribution(values, Property(abs(values.sum().item() - slope), _noise(row, slope)))


def _noise(row: Row, slope: float) -> float:
    """How far a difference of two float32 runs, and its curvature, may be from a slope."""
    size = abs(value_of(row.text, row.metric))
    return 0.05 * abs(slope) + 1e-5 * max(size, 1.0) / gradients.STEP


def _integrated_gradients(row: Row) -> Attribution:
    values = gradients.integrated_gradients(row.text, row.metric)
    change = value_of(row.text, row.metric) - gradients.at_length(row.text, row.metric, 0.0)
    gap = abs(values.sum().item() - change)
    return Attribution(values, Property(gap, max(0.02 * abs(change), 1e-3)))


@torch.inference_mode()
def _leave_one_out(row: Row) -> Attribution:
    """The metric minus that of the text without the token."""
    text = row.text
    if any(edit.query is not None or edit.key is not None or edit.row for edit in text.edits):
        return Attribution(None, reason="edits-name-positions")
    start, tokens = value_of(text, row.metric), text.sequences["source"]
    values = torch.full((len(tokens),), torch.nan, dtype=torch.double)
    for i, token in enumerate(tokens):
        metric = _without(row.metric, i)
        if metric is None or token.special and token.start == token.end or len(tokens) < 3:
            continue
        rest = replace(text, sequences={"source": (*tokens[:i], *tokens[i + 1 :])})
        values[i] = start - measured(rest, metric).item()
    return Attribution(values, Property(0.0, 0.0))


def _without(metric: Metric, i: int) -> Metric | None:
    """The metric of a text without its token i; None at the predicting token."""
    if isinstance(metric, LogitDifference | Probability):
        if metric.position == i:
            return None
        return metric._replace(position=metric.position - (i < metric.position))
    if isinstance(metric, ClassLogit):
        return metric.without(i)
    if isinstance(metric, Loss):
        following = metric.following
        return Loss((*following[: i - 1], *following[i:])) if i > 0 else None
    return metric


@torch.inference_mode()
def _value_zeroing(row: Row) -> Attribution:
    """1 - cosine of the layer's output at the query with and without each key's values."""
    text, T = row.text, len(row.text.sequences["source"])
    states = []
    for start in range(0, T, size := max(1, gradients.TOKENS_AT_ONCE // T)):
        keys = torch.eye(T, device=text.x.device)[start : start + size]
        edit = gradients.gate(row.kind, row.layer, (1 - keys)[:, None, None])
        states.append(_after_layer(row, (edit,), len(keys)))
    own = _after_layer(row, (), 1)
    distance = 1 - F.cosine_similarity(torch.cat(states), own, dim=-1).double().cpu()
    distance = distance.clamp(0)
    masked = distance[~row.mask].max().item() if not row.mask.all() else 0.0
    return Attribution(distance / distance.sum().clamp(1e-12), Property(masked, 1e-6))


def _after_layer(row: Row, edits: Sequence[Edit], n: int) -> Tensor:
    """The stream after the layer at the query: (n, D)."""
    text = row.text
    tape = Tape(keep=(), layers=(), edits=(*text.edits, *edits), hidden=True)
    read(text.loaded, text.sequences, tape, n)
    [stream] = tape.streams.values()
    return stream[row.layer + 1][:, row.query].double()


METHODS: dict[str, Callable[[Row], Attribution]] = {
    "attention": _attention,
    "rollout": _rollout,
    "flow": _flow,
    "norms": _norms,
    "gradient_attention": _gradient_attention,
    "gradient_input": _gradient_input,
    "integrated_gradients": _integrated_gradients,
    "leave_one_out": _leave_one_out,
    "value_zeroing": _value_zeroing,
}


def attribution(row: Row, name: str) -> Attribution:
    """A method's values, if its property holds."""
    result = METHODS[name](row)
    if result.complete is None or result.complete.holds:
        return result
    return result._replace(values=None, reason="property-fails")


def kendall(x: Tensor, y: Tensor) -> float | None:
    """Kendall's tau-b of the sizes of two rows where both have numbers; None without ranks."""
    both = ~(x.isnan() | y.isnan())
    signs = [(row[both].abs()[:, None] - row[both].abs()[None]).sign() for row in (x, y)]
    sizes = [sign.abs().sum().item() for sign in signs]
    if 0 in sizes:
        return None
    return float((signs[0] * signs[1]).sum().item() / (sizes[0] * sizes[1]) ** 0.5)
