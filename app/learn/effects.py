"""Whether a head matters: what the prediction loses without it, beside where it looks."""

from __future__ import annotations

import json
from typing import NamedTuple

import torch
from attention_atlas.app.api.lab import SweepRequest, sweep
from attention_atlas.app.learn.figures import Numbers, Panel
from attention_atlas.app.learn.heads import Look, looked
from attention_atlas.app.learn.tasks import address_of, page_of
from attention_atlas.app.service import Service
from attention_atlas.app.streaming import no_events
from attention_atlas.app.wire import Answer
from attention_atlas.model.messages import Message

SHOWN = 5  # heads with the largest effects
CLEARLY = 2  # times as large an effect


class Effect(NamedTuple):
    """A head switched off alone: where it looked, and the change of the prediction."""

    look: Look
    change: float  # of the logit difference

    @property
    def name(self) -> str:
        _, layer, head = self.look.head_place
        return f"L{layer} H{head}"


def effects_of_heads(service: Service, panel: Panel, text: str) -> Numbers:
    """The heads that change the prediction most, and the one that looks most at a word."""
    own = looked(service, panel, text)
    clean = json.dumps({"model": panel.model, "text": text}, ensure_ascii=False)
    parameters = {"clean": clean, "how": "zero", "kind": own.head_place[0]}
    with service.lent(panel.model, text=text) as loaded:
        answer = sweep(service, SweepRequest.model_validate(parameters), loaded, no_events)
    changes = torch.tensor(answer.fields["effect"])  # (L, H)
    ranked = _ranked(service, panel, text, own, changes)
    looking = next(effect for effect in ranked if effect.look is own)
    most = next(effect for effect in ranked if effect.look is not own)
    rows = tuple(
        (effect.name, f"{effect.look.top.word} ({effect.look.top.attn:.2f})", effect.change)
        for effect in ranked
    )
    columns = (
        Message("column", "head"),
        Message("column", "looks most at"),
        Message("column", "change of the difference without it"),
    )
    choices = (
        (Message("choice", "the head that looks most at “{word}”", word=own.top.word), looking),
        (Message("choice", "another head"), most),
    )
    return Numbers(
        columns,
        rows,
        address_of("lab/sweep", **parameters),
        _lab(panel, text, most.look),
        _values(answer, looking, most, changes),
        own.holds and abs(most.change) > CLEARLY * abs(looking.change),
        choices=tuple((name, abs(effect.change)) for name, effect in choices),
    )


def _ranked(
    service: Service, panel: Panel, text: str, own: Look, changes: torch.Tensor
) -> list[Effect]:
    """The heads with the largest effects, and `own` wherever it ranks."""
    kind, *place = own.head_place
    n_head = changes.size(1)
    order = changes.abs().flatten().argsort(descending=True).tolist()
    places = [divmod(i, n_head) for i in order]
    shown = [p for p in places if p in places[:SHOWN] or list(p) == place]
    return [
        Effect(
            own if list(p) == place else looked(service, panel, text, (kind, *p)),
            float(changes[p]),
        )
        for p in shown
    ]


def _lab(panel: Panel, text: str, look: Look) -> str:
    """The Lab with this head switched off."""
    kind, layer, head = look.head_place
    place = {"kind": kind, "layer": layer, "head": head}
    off = {"how": "zero", "edits": f"{kind}.{layer}.{head}"}
    return page_of("lab", model=panel.model, text=text, **place, **off)


def _values(answer: Answer, looking: Effect, most: Effect, changes: torch.Tensor) -> dict[str, str]:
    metric = answer.fields["metric"]
    rank = int((changes.abs() > abs(looking.change)).sum()) + 1
    return {
        "query": looking.look.word,
        "answer": metric["answer"]["text"].strip(),
        "other": metric["other"]["text"].strip(),
        "difference": signed(metric["clean"]),
        "looking": looking.name,
        "top": looking.look.top.word,
        "attn": f"{looking.look.top.attn:.2f}",
        "change": signed(looking.change),
        "rank": str(rank),
        "n": str(changes.numel()),
        "most": most.name,
        "most_change": signed(most.change),
        "most_top": most.look.top.word,
        "most_attn": f"{most.look.top.attn:.2f}",
    }


def signed(value: float) -> str:
    return f"{value:.2f}".replace("-", "−")
