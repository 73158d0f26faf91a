"""The Models page, and a page of each model."""

# No `from __future__ import annotations`: FastAPI reads the annotations of the closures below.

import re
from typing import Annotated, Any
from urllib.parse import urlencode

from attention_atlas.app.api.models import ModelCard, ModelSummary, card, summaries
from attention_atlas.app.pages.engine import Choice, Content, PageQuery, answered, page
from attention_atlas.app.pages.explore import TWICE
from attention_atlas.app.service import Service
from fastapi import APIRouter, Query, Request
from pydantic import BaseModel, Field

router = APIRouter(tags=["pages"])


class ModelsPage(Content):
    models: list[ModelSummary]
    ready_to_open: list[str] = Field(description="opened when requested by name")
    headlines: dict[str, str] = Field(description="model -> the measure it is best known by")
    missing: dict[str, str] = Field(description="models that could not be loaded, and why")


class Forming(BaseModel):
    """The heads of one kind by one metric at one step of training."""

    step: int
    tokens: int
    scores: list[list[float]] = Field(description="(L, H)")
    layer: int = Field(description="of the head that scores highest")
    head: int
    score: float


class ModelPage(Content):
    name: str
    card: ModelCard | None = None
    measures: list[str] = Field([], description="those of the card, each result once")
    places: dict[str, str] = Field({}, description="measure -> its head, in the explorer")
    importance: dict[str, list[list[float]]] = Field(
        {}, description="kind -> how much each head matters for the loss, (L, H)"
    )
    kind: str = ""
    metric: str = ""
    metrics: list[str] = Field([], description="those with scores of every head")
    forming: list[Forming] = []


HEADLINES = ("bleu", "masked_word_accuracy", "bits_per_byte_vital_wiki")


class ModelQuery(PageQuery):
    kind: str = ""
    metric: str = ""


@page("/models", "models.html", ModelsPage, router)
async def all_models(request: Request) -> ModelsPage:
    """All models, and their quality."""
    service: Service = request.app.state.service
    models = summaries(service)
    best = {m.name: next((name for name in HEADLINES if name in m.metrics), None) for m in models}
    headlines = {name: measure for name, measure in best.items() if measure}
    return ModelsPage(
        models=models,
        headlines=headlines,
        missing=service.missing,
        ready_to_open=service.library.ready_to_open,
    )


@page("/models/{name:path}", "model.html", ModelPage, router)
async def one_model(
    request: Request, name: str, query: Annotated[ModelQuery, Query()]
) -> ModelPage:
    """A model's card: its measures, training and texts; its heads by one metric over training."""
    service: Service = request.app.state.service
    return await answered(ModelPage, {"name": name}, _carded(service, name, Choice(query)))


async def _carded(service: Service, name: str, choice: Choice) -> dict[str, Any]:
    await service.ready(name)
    with service.lent(name) as loaded:
        known = card(loaded)
    places = {measure: explored(known, measure) for measure in known.metrics}
    fields = {
        "card": known,
        "measures": distinct(known),
        "places": {m: place for m, place in places.items() if place},
        "importance": importance(known),
    }
    return fields | (_formed(known, choice) if known.heads else {})


def _formed(known: ModelCard, choice: Choice) -> dict[str, Any]:
    """How the heads of one kind formed in training, by one metric."""
    kind = choice.among("kind", known.kinds)
    metrics = list(known.heads[-1].get(kind, {}))
    metric = choice.among("metric", metrics)
    steps = [row for row in known.heads if metric in row.get(kind, {})]
    return {
        "kind": kind,
        "metric": metric,
        "metrics": metrics,
        "forming": [forming(row, kind, metric) for row in steps],
        "ignored": choice.ignored,
    }


def distinct(known: ModelCard) -> list[str]:
    """The card's measures without those that repeat one before: of all, and of heads alone."""
    results = {name: measure.model_dump(exclude={"by"}) for name, measure in known.metrics.items()}
    names = list(results)
    return [m for i, m in enumerate(names) if results[m] not in [results[n] for n in names[:i]]]


def importance(known: ModelCard) -> dict[str, list[list[float]]]:
    """Every head's importance, of each kind for which the card has it."""
    measured = {kind: known.metrics.get(f"{kind}_head_importance") for kind in known.kinds}
    return {
        kind: [
            [measure.by[f"L{layer} H{head}"] for head in range(known.shapes[kind][1])]
            for layer in range(known.shapes[kind][0])
        ]
        for kind, measure in measured.items()
        if measure
    }


def explored(known: ModelCard, measure: str) -> str | None:
    """Where the head that a measure names can be looked at, if it names one: "L2 H3"."""
    place = re.fullmatch(r"L(\d+) H(\d+)", known.metrics[measure].detail)
    if not place:
        return None
    kind = next((kind for kind in known.kinds if measure.startswith(kind)), "cross")
    text = {"text": TWICE} if measure.endswith("induction") else {}
    head = {"kind": kind, "layer": place[1], "head": place[2]}
    return f"/explore?{urlencode({'model': known.name, **text, **head})}"


def forming(row: dict[str, Any], kind: str, metric: str) -> Forming:
    """One saved step of a model's training: every head's score, and the head that scores most."""
    scores: list[list[float]] = row[kind][metric]
    places = [(layer, head) for layer, heads in enumerate(scores) for head in range(len(heads))]
    layer, head = max(places, key=lambda place: scores[place[0]][place[1]])
    return Forming(
        step=row["step"],
        tokens=row["tokens"],
        scores=scores,
        layer=layer,
        head=head,
        score=scores[layer][head],
    )
