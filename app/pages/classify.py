"""The Classify page: what a fine-tuned head says of a text, and where it reads it from."""

# No `from __future__ import annotations`: FastAPI reads the annotations of the closures below.

from typing import Annotated, Any

from attention_atlas.app.api.classify import ClassifyAnswer, ClassifyRequest, classes
from attention_atlas.app.api.models import ModelSummary, summaries
from attention_atlas.app.errors import NotReady
from attention_atlas.app.pages.engine import (
    Choice,
    Content,
    PageQuery,
    answered,
    numbers,
    page,
)
from attention_atlas.app.pages.stand_in import SIDES, lock
from attention_atlas.app.pages.start import Audience, started
from attention_atlas.app.service import Service
from attention_atlas.model.labels import HEAD_LEFT_OUT, NO_WORDS
from attention_atlas.model.messages import Message
from fastapi import APIRouter, Query, Request
from pydantic import BaseModel, Field

router = APIRouter(tags=["pages"])


class LeftOut(BaseModel):
    """A model whose head is not shown, and why."""

    name: str
    why: str


class ClassifyPage(Content):
    models: list[ModelSummary] = Field(description="those whose heads tell classes apart")
    left_out: list[LeftOut] = Field(description="models whose heads are not supported")
    model: str = Field(description="empty if there is none")
    text: str
    text_pair: str
    choices: str = Field(description="multiple choice: the second texts, one a line")
    label: str = Field(description="empty: the most probable")
    position: str = Field(description="of the token whose label it is; empty: the first")
    layer: int
    head: int
    query: int | None = Field(None, description="the locked token")
    side: str = SIDES[0]
    classified: ClassifyAnswer | None = None


TEXTS = {  # unit -> a text, a second one and choices, where none is typed
    "text": ("The film was long, but I liked it.", "", ""),
    "value": ("The film was long, but I liked it.", "", ""),
    "pair": ("The children went to the river.", "They played in the water all day.", ""),
    "token": ("Ada Lovelace was born in London.", "", ""),
    "answer": (
        "Where did he sit?",
        "He sat on the river bank and watched the water.",
        "",
    ),
    "choice": ("He went to the bank", "", "to get some money.\nto eat the soup."),
}
NO_HEAD = Message("not-able", "has no head that tells labels apart")
AUDIENCE = Audience(
    "classify",
    suits=lambda model: model.classes is not None,
    none=NO_HEAD,  # the page explains then how a model is opened
    why_not=lambda model: left_out(model) or NO_HEAD,
)


class ClassifyQuery(PageQuery):
    text: str | None = None
    text_pair: str | None = None
    choices: str | None = None
    label: str = ""
    position: str = ""
    layer: str = ""
    head: str = ""
    query: str = ""
    side: str = ""


@page("/classify", "classify.html", ClassifyPage, router)
async def classify_page(request: Request, query: Annotated[ClassifyQuery, Query()]) -> ClassifyPage:
    """Labels of a fine-tuned head with their probabilities, and the attention that it reads."""
    service: Service = request.app.state.service
    try:
        start = await started(service, query, AUDIENCE)
    except NotReady:
        return ClassifyPage.model_validate({**NOTHING, "left_out": _left_out(service)})
    query, choice, model = start.query, start.choice, start.model
    fields: dict[str, Any] = {
        **start.fields,
        "left_out": _left_out(service),
        **_typed(query, model),
        **_head(choice, model),
        "label": query.label,
        "position": str(choice.accepted("position", ClassifyRequest, "")),
    }
    answers = service.compute(lambda: _answers(service, fields, choice))
    return await answered(ClassifyPage, fields, answers)


NOTHING: dict[str, Any] = {
    "models": [],
    **dict.fromkeys(("model", "text", "text_pair", "choices", "label", "position"), ""),
    **{"layer": 0, "head": 0},
}


def left_out(model: ModelSummary) -> str:
    """Why the head that a model was saved with is not shown; empty if it is, or has none."""
    templates = (HEAD_LEFT_OUT, NO_WORDS)
    return "".join([note.message for note in model.notes if note.template in templates][-1:])


def _left_out(service: Service) -> list[LeftOut]:
    reasons = {model.name: left_out(model) for model in summaries(service)}
    return [LeftOut(name=name, why=why) for name, why in reasons.items() if why]


def _typed(query: ClassifyQuery, model: ModelSummary) -> dict[str, str]:
    """The texts of the address; where none is typed, some for the kind of head."""
    assert model.classes is not None
    unit = model.classes.unit
    text, text_pair, choices = TEXTS[unit]
    if query.text is not None and unit == "answer":
        text_pair = ""  # of another question
    return {
        "text": text if query.text is None else query.text,
        "text_pair": text_pair if query.text_pair is None else query.text_pair,
        "choices": choices if query.choices is None else query.choices,
    }


def _head(choice: Choice, model: ModelSummary) -> dict[str, int]:
    """The address's head, else the last layer's first."""
    n_layer, n_head = model.shapes[model.kinds[0]]
    layer = choice.number("layer", n_layer) if choice.sent("layer") else n_layer - 1
    return {"layer": layer, "head": int(choice.among("head", numbers(n_head)))}


def _answers(service: Service, fields: dict[str, Any], choice: Choice) -> dict[str, Any]:
    request = ClassifyRequest.model_validate(request_of(fields))
    texts = {"text": request.text, "text_pair": request.text_pair}
    with service.lent(request.model, **texts, choices=fields["choices"]) as loaded:
        classified = classes(service, request, loaded).fields
    return {"classified": classified, **lock(choice.among, len(classified["tokens"]))}


def request_of(fields: dict[str, Any]) -> dict[str, Any]:
    """What the page asks /classify for; pages/classify.js asks for the same."""
    return {
        "model": fields["model"],
        "text": fields["text"],
        "text_pair": fields["text_pair"] or None,
        "choices": [line for line in fields["choices"].splitlines() if line.strip()],
        "label": fields["label"] or None,
        "position": int(fields["position"]) if fields["position"] else None,
        "layer": fields["layer"],
        "head": fields["head"],
    }
