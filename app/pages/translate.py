"""The Translate page: a translation as it comes about."""

# No `from __future__ import annotations`: FastAPI reads the annotations of the closures below.

from typing import Any

from attention_atlas.app.api.models import ModelSummary
from attention_atlas.app.api.translate import TranslateAnswer, TranslateRequest, translate_answer
from attention_atlas.app.pages.engine import (
    NO_EVENTS,
    Choice,
    Content,
    WorkExample,
    able,
    answered,
    head_of,
    numbers,
    opened,
    page,
)
from attention_atlas.app.service import Service
from fastapi import APIRouter, Request
from pydantic import Field

router = APIRouter(tags=["pages"])


class TranslatePage(Content):
    models: list[ModelSummary] = Field(description="those that translate")
    examples: list[WorkExample]
    model: str
    model_b: str = Field(description="the one beside it; empty for none")
    text: str
    num_beams: int
    length_penalty: float
    reference: str
    layer: int
    head: int | None = Field(description="null is the mean of heads")
    step: int
    translation: TranslateAnswer | None = None
    other: TranslateAnswer | None = None


TRANSLATIONS = tuple(
    WorkExample(label=label, model="translator", text=text)
    for label, text in (
        ("the bank is closed", "El banco está cerrado."),
        ("a bench in the park", "Me senté en el banco del parque."),
        ("a question", "¿Dónde está la casa de tu padre?"),
        ("a negation", "No quiero ir a la escuela mañana."),
        ("a long sentence", "Cuando era niño, mi madre me contaba historias todas las noches "
         "antes de dormir."),
    )
)  # fmt: skip


@page("/translate", "translate.html", TranslatePage, router)
async def translate_page(
    request: Request,
    model: str = "",
    model_b: str = "",
    text: str | None = None,
    num_beams: str = "",
    length_penalty: str = "",
    reference: str = "",
    layer: str = "",
    head: str = "",
    step: str = "",
) -> TranslatePage:
    """A translation as it comes about, beside another model's; a reference, read by the first."""
    service: Service = request.app.state.service
    unopened = await opened(service, model, model_b)
    models = able(service, "translate")
    names = [found.name for found in models]
    sent = {"model": model, "model_b": model_b, "layer": layer, "head": head, "step": step}
    choice = Choice({**sent, "num_beams": num_beams, "length_penalty": length_penalty})
    name = choice.of("model", names)
    chosen = next(found for found in models if found.name == name)
    others = [other for other in names if other != name]
    asked: dict[str, Any] = {
        "model": name,
        "model_b": "" if model_b == "none" or not others else choice.of("model_b", others),
        "text": TRANSLATIONS[0].text if text is None else text,
        "num_beams": choice.taken("num_beams", TranslateRequest, 1),
        "length_penalty": choice.taken("length_penalty", TranslateRequest, 1.0),
        "reference": reference,
        **head_of(choice, chosen, "cross"),
        "step": int(choice.of("step", numbers(1000))),
    }

    def answers() -> dict[str, Any]:
        spec = {key: asked[key] for key in ("model", "text", "num_beams", "length_penalty")}
        mine = TranslateRequest.model_validate({**spec, "reference": reference or None})
        found = {"translation": translate_answer(service, mine, NO_EVENTS).fields}
        if asked["model_b"]:
            theirs = TranslateRequest.model_validate({**spec, "model": asked["model_b"]})
            found["other"] = translate_answer(service, theirs, NO_EVENTS).fields
        return found

    examples = [example for example in TRANSLATIONS if example.model in names]
    shown = {"models": models, "examples": examples, "ignored": [*unopened, *choice.ignored]}
    return await answered(service, TranslatePage, {**asked, **shown}, answers)
