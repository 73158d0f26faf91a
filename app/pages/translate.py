"""The pages of models at work: Translate, Generate, Fill in."""

# No `from __future__ import annotations`: FastAPI reads the annotations of the closures below.

from collections.abc import Callable
from typing import Any, TypeVar

from attention_atlas.app import errors
from attention_atlas.app.api.decoding import (
    CorruptionRequest,
    FewShotRequest,
    FillMaskRequest,
    FillPage,
    GeneratePage,
    GenerateRequest,
    NextSentenceRequest,
    TranslatePage,
    TranslateRequest,
    WorkExample,
)
from attention_atlas.app.api.generate import (
    corruption_answer,
    fill_mask_answer,
    generate_answer,
    next_sentence_answer,
    translate_answer,
)
from attention_atlas.app.api.spec import Content, ModelSummary
from attention_atlas.app.pages.engine import (
    Choice,
    numbers,
    opened,
    page,
    printable,
    some,
    validation_problem,
)
from attention_atlas.app.service import Service
from attention_atlas.model.analysis import few_shot
from fastapi import APIRouter, Request
from pydantic import ValidationError

router = APIRouter(tags=["pages"])
Page = TypeVar("Page", bound=Content)

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
PROMPTS = tuple(
    WorkExample(label=label, model="gpt", text=text)
    for label, text in (
        ("a tale begins", "Once upon a time, there was a king who"),
        ("a fact", "The capital of France is"),
        ("said twice", "river money king house water; river money king"),
        ("pairs", "house water\n money river\n king queen\n house water\n king"),
    )
)
BLANKS = (
    WorkExample(
        label="two sentences",
        model="bert",
        text="The children went to the river.",
        text_pair="They played in the water all day.",
        words="5",
    ),
    WorkExample(
        label="river bank",
        model="bert",
        text="He sat on the river bank and watched the water.",
        words="4",
    ),
    WorkExample(
        label="two blanks", model="bert", text="The king and the queen lived in a castle.",
        words="1,4",
    ),
)  # fmt: skip
PARTNERS = (
    "The train was two hours late.",
    "Gold is heavier than iron.",
    "She closed the window because of the wind.",
    "Most of these islands have no water.",
    "The law was changed in the following year.",
    "He never learned to play the piano.",
    "Wheat is grown in the north of the country.",
    "Nobody answered the telephone.",
)
NO_EVENTS: Callable[[str, Any], None] = lambda name, data: None  # noqa: E731


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


@page("/generate", "generate.html", GeneratePage, router)
async def generate_page(
    request: Request,
    model: str = "",
    text: str | None = None,
    max_new_tokens: str = "",
    temperature: str = "",
    top_k: str = "",
    top_p: str = "",
    seed: str = "",
    forced: str = "",
    step: str = "",
    pattern: str = "",
    n_max: str = "",
) -> GeneratePage:
    """A continuation as it comes about: candidates, filters, attention, and how sure it was."""
    service: Service = request.app.state.service
    unopened = await opened(service, model)
    models = able(service, "generate")
    sizes = {"max_new_tokens": max_new_tokens, "temperature": temperature, "top_k": top_k}
    sizes |= {"top_p": top_p, "seed": seed, "forced": forced}
    rest = {"model": model, "step": step, "pattern": pattern, "n_max": n_max}
    choice = Choice({**sizes, **rest})
    first = {"max_new_tokens": 24, "temperature": 0.8, "top_k": 40, "top_p": 0.95, "seed": 1}
    wanted = {name: choice.taken(name, GenerateRequest, first.get(name, ())) for name in sizes}
    asked: dict[str, Any] = {
        **wanted,
        "model": choice.of("model", [found.name for found in models]),
        "text": PROMPTS[0].text if text is None else text,
        "forced": ",".join(map(str, wanted["forced"])),
        "step": int(choice.of("step", numbers(1000))),
        "pattern": choice.of("pattern", list(few_shot.PATTERNS)),
        "n_max": choice.taken("n_max", FewShotRequest, 3),
    }

    def answers() -> dict[str, Any]:
        spec = {key: asked[key] for key in ("model", "text", *sizes)}
        mine = GenerateRequest.model_validate({**spec, "forced": wanted["forced"]})
        return {"generation": generate_answer(service, mine, NO_EVENTS).fields}

    there = {found.name for found in models}
    examples = [example for example in PROMPTS if example.model in there]
    shown = {"models": models, "examples": examples, "ignored": [*unopened, *choice.ignored]}
    shown["patterns"] = few_shot.definitions()
    return await answered(service, GeneratePage, {**asked, **shown}, answers)


@page("/fill", "fill.html", FillPage, router)
async def fill_page(
    request: Request,
    model: str = "",
    text: str | None = None,
    text_pair: str | None = None,
    words: str | None = None,
    words_pair: str = "",
    layer: str = "",
    head: str = "",
    seed: str = "",
) -> FillPage:
    """Words hidden and guessed, BERT's training noise, and whether a sentence follows another."""
    service: Service = request.app.state.service
    unopened = await opened(service, model)
    models = able(service, "fill-mask")
    sent = {"model": model, "layer": layer, "head": head, "seed": seed, "words": words or ""}
    sent |= {"words_pair": words_pair}
    choice = Choice(sent)
    name = choice.of("model", [found.name for found in models])
    chosen = next(found for found in models if found.name == name)
    is_first = text is None
    given = choice.taken("words", FillMaskRequest, ())
    asked: dict[str, Any] = {
        "model": name,
        "text": BLANKS[0].text if text is None else text,
        "text_pair": (BLANKS[0].text_pair if is_first else "") if text_pair is None else text_pair,
        "words": BLANKS[0].words if is_first and words is None else ",".join(map(str, given)),
        "words_pair": ",".join(map(str, choice.taken("words_pair", FillMaskRequest, ()))),
        **head_of(choice, chosen, "encoder"),
        "seed": choice.taken("seed", CorruptionRequest, 0),
    }

    def answers() -> dict[str, Any]:
        spec = {"model": name, "text": asked["text"], "text_pair": asked["text_pair"] or None}
        found: dict[str, Any] = {}
        hidden = {name: asked[name] or None for name in ("words", "words_pair")}
        typed = (chosen.mask or "[MASK]") in asked["text"] + asked["text_pair"]
        if typed or any(hidden.values()):
            blank = FillMaskRequest.model_validate({**spec, **hidden})
            found["filled"] = fill_mask_answer(service, blank).fields
        noise = CorruptionRequest.model_validate({**spec, "seed": asked["seed"]})
        found["corruption"] = corruption_answer(service, noise).fields
        if asked["text_pair"] and "next-sentence" in chosen.tasks:
            pair = NextSentenceRequest.model_validate(spec)
            found["next"] = next_sentence_answer(service, pair).fields
        return found

    there = {found.name for found in models}
    examples = [example for example in BLANKS if example.model in there]
    shown = {"models": models, "examples": examples, "ignored": [*unopened, *choice.ignored]}
    return await answered(service, FillPage, {**asked, **shown, "partners": PARTNERS}, answers)


def able(service: Service, task: str) -> list[ModelSummary]:
    """The models that have a task."""
    found = [model for model in service.summaries() if task in model.tasks]
    return some(found, f"does {task}")


def head_of(choice: Choice, model: ModelSummary, kind: str) -> dict[str, Any]:
    """The layer and the head shown: left out, the one that the card names; "mean" is of heads."""
    n_layer, n_head = model.shapes[kind]
    named = model.metrics.get("alignment_error_rate")
    found = named.detail.replace("L", "").split(" H") if named else []
    best = found if len(found) == 2 else [str(n_layer - 1), "mean"]
    layer = choice.of("layer", numbers(n_layer)) if choice.shown["layer"] else best[0]
    head = choice.of("head", [*numbers(n_head), "mean"]) if choice.shown["head"] else best[1]
    return {"layer": int(layer), "head": None if head == "mean" else int(head)}


async def answered(
    service: Service,
    content: type[Page],
    asked: dict[str, Any],
    answers: Callable[[], dict[str, Any]],
) -> Page:
    """The page with its answers, or with what was typed and why there are none."""
    try:
        return content.model_validate({**asked, **await service.compute(answers)})
    except ValidationError as error:
        problem = validation_problem(error)
    except errors.AppError as error:
        problem = errors.problem(error)
    typed = {key: printable(value) for key, value in asked.items() if isinstance(value, str)}
    return content.model_validate({**asked, **typed, "problem": problem})
