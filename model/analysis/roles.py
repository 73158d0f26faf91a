"""What a head is called, with the score it has and what that was measured on.

A role comes from the model's card (measured on held-out text) or from the text on screen. A head
may have several roles; a head without one is simply not named.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
from attention_atlas.model import metrics
from attention_atlas.model.record import AttentionRecord
from attention_atlas.model.tape import Kind
from torch import Tensor

Source = Literal["card", "text"]
Reading = Literal["input", "output"]  # of cross-attention: a row is of the token that is it

# A head has one of these roles when the mean attention to that place is at least the threshold.
THRESHOLDS = {
    "previous_token": 0.5,
    "next_token": 0.5,
    "self": 0.5,
    "first_token": 0.5,
    "special": 0.5,
    "induction": 0.4,
}
DEFINITIONS = {
    "previous_token": "mean attention to the previous token",
    "next_token": "mean attention to the next token",
    "self": "mean attention to the token itself",
    "first_token": "mean attention to the first token",
    "special": "mean attention to special tokens",
    "induction": "mean attention to the token after the earlier copy (Olsson et al. 2022)",
    "positional": "share of queries whose largest attention is at one offset (Voita et al. 2019)",
    "alignment": "F1 of links from each word to the source word with the most attention",
    "relation": "share of words whose largest attention is on their syntactic head or dependent",
}
POSITIONAL = 0.9  # Voita et al. 2019, section 5
FEWEST_QUERIES = 5  # in a shorter text any head looks positional
PLACE = re.compile(r"\bL(\d+) H(\d+)\b")
LAYER_MEAN = re.compile(r"\bL(\d+) mean of heads\b")


@dataclass(frozen=True)
class HeadRole:
    """One role of one head. `score` is what DEFINITIONS says of the role, from 0 to 1."""

    kind: Kind
    layer: int
    head: int
    role: str
    score: float
    source: Source
    measured_on: str
    detail: str = ""  # of a relation its name, of a positional head its offset
    baseline: float | None = None
    low: float | None = None
    high: float | None = None
    n: int | None = None


@dataclass(frozen=True)
class Aligner:
    """What aligns words best by one reading of cross-attention; head None: the mean of heads."""

    reading: Reading  # the row of the step that has the word as that
    layer: int
    head: int | None
    score: float  # F1 of the links, as DEFINITIONS says
    low: float
    high: float
    n: int


def aligners(measures: Mapping[str, Any], family: str) -> list[Aligner]:
    """The best of each reading that a card has measured, as output first.

    A recurrent model looks before it reads its input, so it has the reading as output alone.
    """
    plain: Reading = "output" if family == "recurrent" else "input"
    names: dict[str, Reading] = {
        "alignment_error_rate_as_output": "output",
        "alignment_error_rate": plain,
    }
    known = [(reading, measures[name]) for name, reading in names.items() if name in measures]
    return [aligner for one in known for aligner in _aligner(*one)]


def _aligner(reading: Reading, measure: Mapping[str, Any]) -> Iterator[Aligner]:
    detail = measure["detail"]
    if place := PLACE.search(detail) or LAYER_MEAN.search(detail):
        layer, *head = map(int, place.groups())
        score, high, low = (round(1 - measure[key], 4) for key in ("value", "low", "high"))
        yield Aligner(reading, layer, head[0] if head else None, score, low, high, measure["n"])


def roles_of_card(
    heads: list[dict[str, Any]], measures: Mapping[str, Any], family: str
) -> list[HeadRole]:
    """The roles that a card's last look at every head, and its measures of one head, tell."""
    roles = list(_measured_heads(measures, family))
    named = {(role.kind, role.layer, role.head, role.role) for role in roles}
    for role in _looked_at(heads[-1] if heads else {}):
        if (role.kind, role.layer, role.head, role.role) not in named:
            roles.append(role)
    return roles


def _looked_at(look: Mapping[str, Any]) -> Iterator[HeadRole]:
    for kind, values in look.items():
        if kind not in ("encoder", "decoder", "cross"):
            continue
        for name in THRESHOLDS.keys() & values.keys():
            if kind == "cross" and name in metrics.OF_ONE_SEQUENCE:
                continue
            for layer, head, score in above(torch.tensor(values[name]), THRESHOLDS[name]):
                yield HeadRole(kind, layer, head, name, score, "card", "held-out texts")  # type: ignore[arg-type]


def _measured_heads(measures: Mapping[str, Any], family: str) -> Iterator[HeadRole]:
    """Measures whose detail names a head: "decoder_induction" of L1 H1, "alignment_error_rate"."""
    for name, measure in measures.items():
        match = PLACE.search(measure.get("detail", ""))
        meaning = _meaning(name, family)
        if match is None or meaning is None:
            continue
        kind, role, detail = meaning
        values = [measure[key] for key in ("value", "low", "high")]
        if role == "alignment":  # the card has the error rate, 1 - F1
            value, high, low = (1 - value for value in values)
        else:
            value, low, high = values
        yield HeadRole(
            kind,
            int(match[1]),
            int(match[2]),
            role,
            round(value, 4),
            "card",
            measure["of"],
            detail=detail,
            low=round(low, 4),
            high=round(high, 4),
            n=measure["n"],
        )


def _meaning(measure: str, family: str) -> tuple[Kind, str, str] | None:
    """What a measure of one head says: kind, role and detail."""
    if measure in ("alignment_error_rate", "alignment_error_rate_as_output"):
        is_output = measure.endswith("output") or family == "recurrent"
        return "cross", "alignment", "as output" if is_output else "as input"
    if measure.startswith("relation_"):
        return "encoder", "relation", measure.removeprefix("relation_")
    kind, _, role = measure.partition("_")
    if kind in ("encoder", "decoder") and role in THRESHOLDS:
        return kind, role, ""  # type: ignore[return-value]
    return None


def roles_of_text(record: AttentionRecord) -> list[HeadRole]:
    """The roles that heads have on one text, whatever they do elsewhere."""
    where = f"this text, {len(record.q_tokens)} tokens"
    roles = []
    for name, values in metrics.measured(record).items():
        if name in THRESHOLDS:
            for layer, head, score in above(values, THRESHOLDS[name]):
                place = record.layers[layer], record.heads[head]
                roles.append(HeadRole(record.kind, *place, name, score, "text", where))
    if record.kind != "cross" and len(record.q_tokens) > FEWEST_QUERIES:
        share, offset = fixed_offset(record.attn)
        for layer, head, score in above(share, POSITIONAL):
            place, at_offset = (record.layers[layer], record.heads[head]), int(offset[layer, head])
            role = HeadRole(
                record.kind, *place, "positional", score, "text", where, detail=f"{at_offset:+d}"
            )
            roles.append(role)
    return roles


def above(scores: Tensor, threshold: float) -> list[tuple[int, int, float]]:
    """(L, H) -> layer, head and score of those that reach a threshold."""
    places = (scores >= threshold).nonzero().tolist()
    return [(layer, head, round(float(scores[layer, head]), 4)) for layer, head in places]


def fixed_offset(attn: Tensor) -> tuple[Tensor, Tensor]:
    """(..., T, T) -> the largest share of queries whose argmax is at one offset k − q, and it.

    Queries at the edge of the text, which have no key at that offset, are not counted (Voita et
    al. 2019, section 5).
    """
    T = attn.size(-1)
    argmax = attn.argmax(-1) - torch.arange(T, device=attn.device)  # (..., T): k − q
    shares = []
    for offset in range(-2, 3):
        hits = argmax == offset
        inside = hits[..., max(0, -offset) : T - max(0, offset)]
        shares.append(inside.float().mean(-1))
    best = torch.stack(shares).max(0)
    return best.values, best.indices - 2
