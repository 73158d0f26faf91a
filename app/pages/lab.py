"""The Lab: heads of a model replaced, and what becomes of its prediction."""

# No `from __future__ import annotations`: FastAPI reads the annotations of the closures below.

import json
import re
from typing import Annotated, Any, get_args
from urllib.parse import urlencode

from attention_atlas.app.api.common import PREFIX
from attention_atlas.app.api.effects import EffectsAnswer, EffectsRequest, effects
from attention_atlas.app.api.lab import SweepRequest, estimates, prepared
from attention_atlas.app.api.models import ModelSummary
from attention_atlas.app.context import can_replace
from attention_atlas.app.pages.engine import (
    Choice,
    Content,
    PageQuery,
    answered,
    numbers,
    page,
)
from attention_atlas.app.pages.stand_in import language_of
from attention_atlas.app.pages.start import Audience, started
from attention_atlas.app.root import rooted
from attention_atlas.app.service import Service
from attention_atlas.model.analysis import lab
from attention_atlas.model.analysis.lab_metrics import MetricKind
from attention_atlas.model.messages import Message
from fastapi import APIRouter, Query, Request
from pydantic import Field

router = APIRouter(tags=["pages"])


class LabPage(Content):
    models: list[ModelSummary] = Field(description="those whose heads can be replaced")
    model: str
    text: str
    text_b: str = Field(description="the corrupted text; empty if there is none")
    target: str = Field(description="of a translator: the text so far; empty is decoded greedily")
    source_lang: str | None = None
    target_lang: str | None = None
    how: str
    over: str
    kind: str
    position: str = Field(description="whose prediction is measured; empty: [MASK] or the last")
    answer: str = Field(description="the token that is to win; empty: the best guess")
    other: str = Field(description="the token it is compared with; empty: the next best")
    metric: str = Field(description="what is measured")
    beside: str = Field(description="cosine: the second sentence")
    reference: str = Field(description="texts of a mean, one a line; empty: those of references")
    references: dict[str, list[str]] = Field(description="by model")
    layer: int | None = Field(None, description="of the head that is chosen")
    head: int | None = None
    query: int | None = Field(None, description="where all heads of the layer are replaced")
    edits: str = Field(
        "",
        description="what is changed at once, by comma: kind.layer.head is replaced, and so is "
        "kind.layer.all.query and kind.layer.mlp; kind.layer.head.block.query.key, "
        ".only.query.key, .even.query and .scale.percent change its attention",
    )
    map: str = Field("attention", description="of the chosen head: attention, or effect of edges")
    act: str = Field("block", description="what a click on that map does: block, only, even")
    paths: str = Field("", description="how many paths between heads are measured; empty: none")
    into: str = Field("", description="of the chosen head, into which paths lead: q, k, v")
    sweep: str = Field("", description="the address of the effects as measured")
    estimate: list[list[float]] = Field([], description="of each effect, by one gradient")
    effects: EffectsAnswer | None = Field(None, description="of the edits")


HOWS: tuple[str, ...] = get_args(lab.How)
OVERS = ("heads", "positions", "mlp_positions")
METRICS: dict[str, tuple[MetricKind, ...]] = {  # lib/experiment.js has the same
    "encoder": ("logit_difference", "probability", "cosine"),
    "decoder": ("logit_difference", "probability", "loss"),
    "encoder-decoder": ("logit_difference", "probability", "loss"),
}
REFERENCES = {
    "en": (
        "The children played in the garden until it was dark.",
        "He opened the window and looked at the street.",
        "The king was old and had no son.",
        "She wrote a letter to her brother in the city.",
        "Water runs down the mountain to the sea.",
        "They bought bread and wine at the market.",
        "The train left the station before the sun came up.",
        "Many of the houses were built of stone.",
    ),
    "es": (
        "Los niños jugaban en el jardín.",
        "Abrió la ventana y miró la calle.",
        "El tren llega a las ocho.",
        "Ella escribió una carta a su hermano.",
        "El agua baja de la montaña al mar.",
        "Compramos pan y vino en el mercado.",
    ),
}


AUDIENCE = Audience(
    "lab",
    suits=can_replace,
    none=Message(
        "no-suitable-model", "no loaded model has heads to replace; /models lists the models"
    ),
    why_not=lambda model: model.why or Message("not-able", "its heads cannot be replaced"),
)


class LabQuery(PageQuery):
    text: str | None = None
    text_b: str | None = None
    target: str = ""
    source_lang: str = ""
    target_lang: str = ""
    how: str = ""
    over: str = ""
    kind: str = ""
    position: str = ""
    answer: str = ""
    other: str = ""
    metric: str = ""
    beside: str = ""
    map: str = ""
    act: str = ""
    paths: str = ""
    into: str = ""
    reference: str = ""
    edits: str = ""
    layer: str = ""
    head: str = ""
    query: str = ""


@page("/lab", "lab.html", LabPage, router)
async def lab_page(request: Request, query: Annotated[LabQuery, Query()]) -> LabPage:
    """Replace each head, or each position, alone: what becomes of the prediction."""
    service: Service = request.app.state.service
    start = await started(service, query, AUDIENCE)
    query, choice, model = start.query, start.choice, start.model
    references = {m.name: REFERENCES.get(language_of(m) or "en", ()) for m in start.models}
    fields = {
        **start.fields,
        **_typed(query),
        **choice.languages(model),
        **_chosen(choice, model, query.text_b or ""),
        "references": references,
    }
    answers = service.compute(lambda: _answers(service, fields))
    return await answered(LabPage, fields, answers)


def _typed(query: LabQuery) -> dict[str, str]:
    names = ("text", "text_b", "target", "answer", "other", "beside", "reference")
    return {name: getattr(query, name) or "" for name in names}


def _chosen(choice: Choice, model: ModelSummary, text_b: str) -> dict[str, Any]:
    """The experiment that the address names, as far as there is such a one."""
    kind = choice.among("kind", model.kinds)
    n_layer, n_head = model.shapes[kind]
    return {
        "how": _how(choice, text_b),
        "over": choice.among("over", OVERS),
        "kind": kind,
        "metric": choice.among("metric", metrics_of(model)),
        "map": choice.among("map", ("attention", "effect")),
        "act": choice.among("act", ("block", "only", "even")),
        "paths": choice.among("paths", ("", "24", "48", "128", "512")),
        "into": choice.among("into", ("", "q", "k", "v")),
        "position": choice.among("position", ["", *numbers(model.n_ctx)]),
        "edits": _edits(choice, model),
        "layer": choice.among("layer", ["", *numbers(n_layer)]) or None,
        "head": choice.among("head", ["", *numbers(n_head)]) or None,
        "query": choice.among("query", ["", *numbers(model.n_ctx)]) or None,
    }


def metrics_of(model: ModelSummary) -> tuple[MetricKind, ...]:
    """What may be measured of a model; of a head that tells labels apart, their logits."""
    if model.classes is None or model.classes.unit in ("pair", "choice"):
        return METRICS[model.family]
    return ("class_logit", "cosine") if model.family == "encoder" else ("class_logit",)


def _how(choice: Choice, text_b: str) -> str:
    """What is done; with one text, not what needs two."""
    how = choice.among("how", ["denoise" if text_b else "zero", *HOWS])
    if text_b or how not in lab.PAIRED:
        return how
    why = Message("needs-corrupted", "{how} needs a corrupted run beside the clean one", how=how)
    choice.ignore("how", how, why)
    return "zero"


def _edits(choice: Choice, model: ModelSummary) -> str:
    edits = choice.sent("edits")
    if not edits or all(has_place(model, place) for place in edits.split(",")):
        return edits
    why = Message("no-such-place", "{model} does not have these places", model=model.name)
    choice.ignore("edits", edits, why)
    return ""


PLACE = re.compile(
    r"(encoder|decoder|cross)\.(?P<layer>[0-9]{1,3})\."
    r"(?:all\.(?P<query>[0-9]{1,4})"
    r"|(?P<part>mlp)(?:\.(?P<mlp_query>[0-9]{1,4}))?"
    r"|(?P<head>[0-9]{1,3})(?:\.(?P<act>block|only)\.(?P<q>[0-9]{1,4})\.(?P<k>[0-9]{1,4})"
    r"|\.(?P<even>even)\.(?P<even_q>[0-9]{1,4})|\.scale\.(?P<percent>[0-9]{1,4}))?)"
)


def has_place(model: ModelSummary, place: str) -> bool:
    match = PLACE.fullmatch(place)
    if match is None or match[1] not in model.shapes:
        return False
    n_layer, n_head = model.shapes[match[1]]
    return int(match["layer"]) < n_layer and int(match["head"] or 0) < n_head


def _answers(service: Service, fields: dict[str, Any]) -> dict[str, Any]:
    """The edits' effects, and each head's by the gradient; to measure those takes longer."""
    pair = pair_of(fields)
    body = sweep_of(fields, pair)
    stack = EffectsRequest.model_validate(
        {**pair, "interventions": interventions_of(fields), "reference": references_of(fields)}
    )
    request = SweepRequest.model_validate(body)
    with service.lent(request.clean.model, text=request.clean.text) as loaded:
        it = prepared(loaded, request)
        estimate, _ = estimates(it)
        answer = effects(service, stack, loaded).fields
    query = {k: v if isinstance(v, str) else json.dumps(v) for k, v in body.items()}
    return {
        "estimate": estimate.tolist(),
        "effects": answer,
        "sweep": f"{rooted(PREFIX)}/lab/sweep?{urlencode(query)}",
    }


# What the page asks for; lib/experiment.js asks for the same.


def pair_of(fields: dict[str, Any]) -> dict[str, Any]:
    """The two runs and the metric."""
    given = ("model", "text", "target", "source_lang", "target_lang")
    clean = {name: fields[name] for name in given if fields[name] or name == "text"}
    metric = {
        name: number_or_word(fields[name]) for name in TAKES[fields["metric"]] if fields[name]
    }
    if fields["metric"] != "logit_difference":
        metric["kind"] = fields["metric"]
    beside = fields["beside"] or fields["text_b"]
    if fields["metric"] == "cosine" and beside:
        metric["beside"] = beside
    pair = {"clean": clean, "metric": metric}
    return pair | {"corrupted": {**clean, "text": fields["text_b"]}} if fields["text_b"] else pair


TAKES = {
    "logit_difference": ("position", "answer", "other"),
    "probability": ("position", "answer"),
    "class_logit": ("position", "answer", "other"),
    "loss": (),
    "cosine": (),
}


def number_or_word(value: str) -> int | str:
    """A position, or a token by its id; else a word."""
    return int(value) if value.isdecimal() else value


def sweep_of(fields: dict[str, Any], pair: dict[str, Any]) -> dict[str, Any]:
    """A sweep that takes nothing from the second text does without it, whatever its length."""
    if fields["how"] not in lab.PAIRED:
        pair = {name: value for name, value in pair.items() if name != "corrupted"}
    body = pair | {name: fields[name] for name in ("how", "over", "kind")}
    return body | {"reference": references_of(fields)} if fields["how"] == "mean" else body


def references_of(fields: dict[str, Any]) -> list[str]:
    """The texts of a mean: the reader's, or the page's."""
    own = [line for line in fields["reference"].splitlines() if line.strip()]
    return own or fields["references"].get(fields["model"], [])


def interventions_of(fields: dict[str, Any]) -> list[dict[str, Any]]:
    """What the edits do: a replaced place is of the kind of change that the map shows."""
    how = "denoise" if fields["how"] == "attribution" else fields["how"]
    places = filter(None, map(PLACE.fullmatch, fields["edits"].split(",")))
    return [intervention_of(place, how) for place in places]


def intervention_of(place: re.Match[str], how: str) -> dict[str, Any]:
    where: dict[str, Any] = {"kind": place[1], "layer": int(place["layer"])}
    if place["head"] is not None:
        where["head"] = int(place["head"])
    if place["percent"] is not None:
        return {"how": "scale", **where, "by": int(place["percent"]) / 100}
    if place["act"] is not None:
        act = "block" if place["act"] == "block" else "set"
        return {"how": act, **where, "query": int(place["q"]), "key": int(place["k"])}
    if place["even"] is not None:
        return {"how": "set", **where, "query": int(place["even_q"])}
    query = place["query"] or place["mlp_query"]
    where |= {"part": "mlp"} if place["part"] else {}
    return {"how": how, **where} | ({} if query is None else {"query": int(query)})
