"""The Fill page: words hidden and guessed."""

# No `from __future__ import annotations`: FastAPI reads the annotations of the closures below.

from typing import Any

from attention_atlas.app.api.fill import (
    CorruptionAnswer,
    CorruptionRequest,
    FillMaskAnswer,
    FillMaskRequest,
    NextSentenceAnswer,
    NextSentenceRequest,
    corruption_answer,
    fill_mask_answer,
    next_sentence_answer,
)
from attention_atlas.app.api.models import ModelSummary
from attention_atlas.app.pages.engine import (
    Choice,
    Content,
    WorkExample,
    able,
    answered,
    head_of,
    opened,
    page,
)
from attention_atlas.app.service import Service
from fastapi import APIRouter, Request
from pydantic import Field

router = APIRouter(tags=["pages"])


class FillPage(Content):
    models: list[ModelSummary] = Field(description="those that fill in blanks")
    examples: list[WorkExample]
    partners: list[str] = Field(description="sentences that follow nothing in particular")
    model: str
    text: str
    text_pair: str
    words: str
    words_pair: str
    layer: int
    head: int | None = Field(description="null is the mean of heads")
    seed: int
    filled: FillMaskAnswer | None = None
    next: NextSentenceAnswer | None = None
    corruption: CorruptionAnswer | None = None


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
