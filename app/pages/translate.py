"""The Translate page: a translation, step by step."""

# No `from __future__ import annotations`: FastAPI reads the annotations of the closures below.

from collections.abc import Mapping
from typing import Annotated, Any

from attention_atlas.app.api.models import ModelSummary
from attention_atlas.app.api.translate import TranslateAnswer, TranslateRequest, translate
from attention_atlas.app.examples import catalogue
from attention_atlas.app.pages.engine import Content, PageQuery, answered, page
from attention_atlas.app.pages.stand_in import Step, within
from attention_atlas.app.pages.start import for_task, started
from attention_atlas.app.service import Service
from attention_atlas.app.streaming import no_events
from fastapi import APIRouter, Query, Request
from pydantic import Field

router = APIRouter(tags=["pages"])


class TranslatePage(Content):
    models: list[ModelSummary] = Field(description="those that translate")
    model: str
    model_b: str = Field(description="a second model to compare with; empty for none")
    text: str
    source_lang: str | None = Field(description="null where the model has none to choose")
    target_lang: str | None
    num_beams: int
    length_penalty: float
    reference: str
    layer: int
    head: int | None = Field(description="null is the mean of heads")
    step: int
    translation: TranslateAnswer | None = None
    other: TranslateAnswer | None = None


AUDIENCE = for_task("translate", "translate")


class TranslateQuery(PageQuery):
    model_b: str = ""
    text: str | None = None
    source_lang: str = ""
    target_lang: str = ""
    num_beams: str = ""
    length_penalty: str = ""
    reference: str = ""
    layer: str = ""
    head: str = ""
    step: str = ""


@page("/translate", "translate.html", TranslatePage, router)
async def translate_page(
    request: Request, query: Annotated[TranslateQuery, Query()]
) -> TranslatePage:
    """A translation, step by step, beside another model's; a reference, scored by the first."""
    service: Service = request.app.state.service
    start = await started(service, query, AUDIENCE, beside=query.model_b)
    query, choice, model = start.query, start.choice, start.model
    others = [other.name for other in start.models if other is not model]
    alone = query.model_b == "none" or not others
    fields: dict[str, Any] = {
        **start.fields,
        "model_b": "" if alone else choice.among("model_b", others),
        "text": catalogue.first_text("translate") if query.text is None else query.text,
        **choice.languages(model),
        "num_beams": choice.accepted("num_beams", TranslateRequest, 1),
        "length_penalty": choice.accepted("length_penalty", TranslateRequest, 1.0),
        "reference": query.reference,
        **choice.layer_and_head(model, "cross"),
        "step": choice.accepted("step", Step, 0),
    }
    return await answered(TranslatePage, fields, service.compute(lambda: _answers(service, fields)))


def _answers(service: Service, fields: dict[str, Any]) -> dict[str, Any]:
    spec = {name: fields[name] for name in ("model", "text", "num_beams", "length_penalty")}
    languages = {name: fields[name] for name in ("source_lang", "target_lang")}
    answers = {"translation": {**spec, **languages, "reference": fields["reference"] or None}}
    if fields["model_b"]:
        beside = next(model for model in fields["models"] if model.name == fields["model_b"])
        answers["other"] = {**spec, "model": beside.name, **_known(languages, beside)}
    content = {name: _translated(service, sent) for name, sent in answers.items()}
    return {**content, **within(fields, len(content["translation"]["steps"]))}


def _known(languages: dict[str, str | None], model: ModelSummary) -> dict[str, str | None]:
    """The languages that a model has too; None, its own, in place of others."""
    known = model.languages
    codes = {"source_lang": known.source, "target_lang": known.target} if known else {}
    return {name: code if code in codes.get(name, []) else None for name, code in languages.items()}


def _translated(service: Service, sent: dict[str, Any]) -> Mapping[str, Any]:
    request = TranslateRequest.model_validate(sent)
    texts = {"text": request.text, "reference": request.reference}
    with service.lent(request.model, **texts) as loaded:
        return translate(service, request, loaded, no_events).fields
