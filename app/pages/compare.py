"""The Compare page: two runs beside each other."""

# No `from __future__ import annotations`: FastAPI reads the annotations of the closures below.

import re
from functools import partial
from typing import Any, get_args

from attention_atlas.app import errors
from attention_atlas.app.api.compare import CompareAnswer, CompareRequest, compare_answer
from attention_atlas.app.api.models import ModelSummary, summaries
from attention_atlas.app.api.spec import BANK, MONEY, KindName
from attention_atlas.app.pages.engine import (
    Choice,
    Content,
    numbers,
    opened,
    page,
    printable,
    validation_problem,
)
from attention_atlas.app.service import Service
from fastapi import APIRouter, Request
from pydantic import BaseModel, Field, ValidationError

router = APIRouter(tags=["pages"])


class CompareExample(BaseModel):
    label: str
    model: str
    text: str
    text_b: str
    word: str
    model_b: str | None = None
    word_b: str | None = None
    off: str = ""


class ComparePage(Content):
    models: list[ModelSummary]
    examples: list[CompareExample]
    model: str
    text: str
    model_b: str
    text_b: str
    word: str
    word_b: str | None
    off: str = Field(description="a head of B that is switched off: layer.head")
    kind: str
    comparison: CompareAnswer | None


EXAMPLES = (
    CompareExample(
        label="river and financial bank",
        model="bert",
        text=BANK,
        text_b=MONEY,
        word="bank",
    ),
    CompareExample(
        label="two rivers",
        model="bert",
        text=BANK,
        text_b="They fished from the bank of the river all day.",
        word="bank",
    ),
    CompareExample(
        label="who is “it”",
        model="bert",
        text="The cat did not cross the street because it was tired.",
        text_b="The cat did not cross the street because it was wide.",
        word="it",
    ),
    CompareExample(
        label="active and passive",
        model="bert",
        text="The boy closed the door.",
        text_b="The door was closed by the boy.",
        word="boy",
    ),
    CompareExample(
        label="another order",
        model="bert",
        text="The dog chased the cat.",
        text_b="The cat chased the dog.",
        word="dog",
    ),
    CompareExample(
        label="two models", model="bert", text=BANK, model_b="gpt", text_b=BANK, word="bank"
    ),
    CompareExample(
        label="a head switched off", model="bert", text=BANK, text_b=BANK, word="bank", off="0.2"
    ),
    CompareExample(
        label="two translations",
        model="translator",
        text="El banco está cerrado.",
        text_b="Me senté en el banco.",
        word="banco",
    ),
)
KINDS: tuple[str, ...] = get_args(KindName)
ALIGN = re.compile(r"^[0-9]{1,4}-[0-9]{1,4}(?:,[0-9]{1,4}-[0-9]{1,4})*$")


@page("/compare", "compare.html", ComparePage, router)
async def compare_page(
    request: Request,
    model: str = "",
    text: str | None = None,
    model_b: str = "",
    text_b: str | None = None,
    word: str = "",
    word_b: str = "",
    off: str = "",
    kind: str = "",
    layer: str = "",
    head: str = "",
    occurrence_a: str = "",
    occurrence_b: str = "",
    align: str = "",
) -> ComparePage:
    """A word in two runs, layer by layer and head by head; what is left out is an example's."""
    service: Service = request.app.state.service
    unopened = await opened(service, model, model_b)
    there = {found.name for found in summaries(service)}
    first = next((e for e in EXAMPLES if e.model in there), EXAMPLES[0])
    asked: dict[str, Any] = {
        "model": model or first.model,
        "text": first.text if text is None else text,
        "text_b": first.text_b if text_b is None else text_b,
        "word": word or (first.word if text is None else ""),
        "word_b": word_b or None,
        "off": off,
    }
    asked["model_b"] = model_b or asked["model"]
    models = summaries(service)
    both = [found for found in models if found.name in (asked["model"], asked["model_b"])]
    sent = {"kind": kind, "layer": layer, "head": head, "align": align}
    sent |= {"occurrence_a": occurrence_a, "occurrence_b": occurrence_b}
    choice = Choice({**sent, "off": off})
    choice.ignored += unopened
    n_layer = min((found.n_layer for found in both), default=0)
    n_head = min((found.n_head for found in both), default=0)
    kinds = [name for name in KINDS if all(name in found.kinds for found in both)]
    chosen = {
        "kind": choice.of("kind", ["", *kinds]),
        "layer": choice.of("layer", ["", *numbers(n_layer)]),
        "head": choice.of("head", ["", *numbers(n_head)]),
        "align": choice.of("align", ["", *ALIGN.findall(align)]),
        "occurrence_a": choice.of("occurrence_a", ["", *numbers(1000)]),
        "occurrence_b": choice.of("occurrence_b", ["", *numbers(1000)]),
    }
    asked["off"] = choice.of("off", ["", *heads_of(both, asked["model_b"])])
    examples = [e for e in EXAMPLES if {e.model, e.model_b or e.model} <= there]
    shown: dict[str, Any] = {"models": models, "examples": examples, "kind": chosen["kind"]}
    shown["ignored"] = choice.ignored
    try:
        found = await compared(service, asked, chosen, choice)
        shown |= {"comparison": found, "kind": found.a.kind}
        return ComparePage.model_validate({**asked, **shown})
    except ValidationError as error:
        problem = validation_problem(error)
    except errors.AppError as error:
        problem = errors.problem(error)
    asked |= {name: printable(asked[name]) for name in ("text", "text_b", "word")}
    return ComparePage.model_validate({**asked, **shown, "comparison": None, "problem": problem})


async def compared(
    service: Service, asked: dict[str, Any], chosen: dict[str, str], choice: Choice
) -> CompareAnswer:
    """The comparison; what of the address these texts do not have is put aside, and said so."""
    while True:
        spec = CompareRequest.model_validate(request_of(asked, chosen))
        try:
            return await service.compute(partial(compare_answer, service, spec))
        except errors.Invalid as error:
            field = error.field or ""
            if not chosen.get(field):
                raise
            choice.ignore(field, chosen[field], f"is not taken: {error.message}")
            chosen[field] = ""


def heads_of(models: list[ModelSummary], name: str) -> list[str]:
    """Every head of a model as an address has it: layer.head"""
    found = next((model for model in models if model.name == name), None)
    if found is None:
        return []
    return [f"{layer}.{head}" for layer in range(found.n_layer) for head in range(found.n_head)]


def request_of(asked: dict[str, Any], chosen: dict[str, str]) -> dict[str, Any]:
    """What the page's address asks /compare for."""
    b: dict[str, Any] = {"model": asked["model_b"], "text": asked["text_b"]}
    if asked["off"]:
        layer, head = map(int, asked["off"].split("."))
        b["edits"] = [{"op": "ablate", "layer": layer, "head": head}]
    given = {name: value for name, value in chosen.items() if value}
    return {
        "a": {"model": asked["model"], "text": asked["text"]},
        "b": b,
        "word": asked["word"],
        "word_b": asked["word_b"],
        **given,
    }
