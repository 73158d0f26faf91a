"""The Models page, and a page of each model."""

# No `from __future__ import annotations`: FastAPI reads the annotations of the closures below.

import re
from typing import Any
from urllib.parse import urlencode

from attention_atlas.app import errors
from attention_atlas.app.api.models import ModelCard, ModelSummary, summaries
from attention_atlas.app.api.models import card as card_of
from attention_atlas.app.pages.engine import Choice, Content, page, printable
from attention_atlas.app.pages.explore import TWICE
from attention_atlas.app.service import Service
from fastapi import APIRouter, Request
from pydantic import BaseModel, Field

router = APIRouter(tags=["pages"])


class ModelsPage(Content):
    models: list[ModelSummary]
    ready_to_open: list[str] = Field(description="opened when they are asked for by name")
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
    places: dict[str, str] = Field({}, description="measure -> its head, in the explorer")
    kind: str = ""
    metric: str = ""
    metrics: list[str] = Field([], description="those the heads' scores are known by")
    forming: list[Forming] = []


HEADLINES = ("bleu", "masked_word_accuracy", "bits_per_byte_vital_wiki")


@page("/models", "models.html", ModelsPage, router)
async def all_models(request: Request) -> ModelsPage:
    """The models there are, and how good they are."""
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
async def one_model(request: Request, name: str, kind: str = "", metric: str = "") -> ModelPage:
    """A model's card: what it can do, how it learned, its texts; how one metric's heads formed."""
    service: Service = request.app.state.service
    try:
        await service.ready(name)
        card = card_of(service, name)
    except errors.AppError as error:
        return ModelPage(name=printable(name), problem=errors.problem(error))
    places = {measure: explored(card, measure) for measure in card.metrics}
    known = {"name": name, "card": card, "places": {m: at for m, at in places.items() if at}}
    if not card.heads:
        return ModelPage.model_validate(known)
    choice = Choice({"kind": kind, "metric": metric})
    chosen = choice.of("kind", card.kinds)
    metrics = list(card.heads[-1].get(chosen, {}))
    shown = choice.of("metric", metrics)
    rows = [forming(row, chosen, shown) for row in card.heads if shown in row.get(chosen, {})]
    return ModelPage.model_validate(
        {
            **known,
            "kind": chosen,
            "metric": shown,
            "metrics": metrics,
            "forming": rows,
            "ignored": choice.ignored,
        }
    )


def explored(card: ModelCard, measure: str) -> str | None:
    """Where the head that a measure names can be looked at, if it names one: "L2 H3"."""
    found = re.fullmatch(r"L(\d+) H(\d+)", card.metrics[measure].detail)
    if not found:
        return None
    kind = next((kind for kind in card.kinds if measure.startswith(kind)), "cross")
    text = {"text": TWICE} if measure.endswith("induction") else {}
    place = {"kind": kind, "layer": found[1], "head": found[2]}
    return f"/explore?{urlencode({'model': card.name, **text, **place})}"


def forming(row: dict[str, Any], kind: str, metric: str) -> Forming:
    """One saved step of a model's training: every head's score, and the head that scores most."""
    scores: list[list[float]] = row[kind][metric]
    places = [(layer, head) for layer, heads in enumerate(scores) for head in range(len(heads))]
    layer, head = max(places, key=lambda at: scores[at[0]][at[1]])
    return Forming(
        step=row["step"],
        tokens=row["tokens"],
        scores=scores,
        layer=layer,
        head=head,
        score=scores[layer][head],
    )
