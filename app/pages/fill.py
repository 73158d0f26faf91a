"""The Fill page: words hidden and predicted."""

# No `from __future__ import annotations`: FastAPI reads the annotations of the closures below.

from typing import Annotated, Any

from attention_atlas.app.api.fill import (
    CorruptionAnswer,
    CorruptionRequest,
    FillMaskAnswer,
    FillMaskRequest,
    NextSentenceAnswer,
    NextSentenceRequest,
    corruption,
    fill_mask,
    next_sentence,
)
from attention_atlas.app.api.models import ModelSummary
from attention_atlas.app.examples import catalogue
from attention_atlas.app.pages.engine import Choice, Content, PageQuery, answered, page
from attention_atlas.app.pages.stand_in import SIDES, lock
from attention_atlas.app.pages.start import for_task, started
from attention_atlas.app.service import Service
from fastapi import APIRouter, Query, Request
from pydantic import Field

router = APIRouter(tags=["pages"])


class FillPage(Content):
    models: list[ModelSummary] = Field(description="those that fill in blanks")
    partners: list[str] = Field(description="unrelated second sentences")
    model: str
    text: str
    text_pair: str
    words: str
    words_pair: str
    layer: int
    head: int | None = Field(description="null is the mean of heads")
    seed: int
    query: int | None = Field(None, description="of the pair, the locked token")
    side: str = SIDES[0]
    filled: FillMaskAnswer | None = None
    next: NextSentenceAnswer | None = None
    corruption: CorruptionAnswer | None = None


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
AUDIENCE = for_task("fill", "fill-mask")


class FillQuery(PageQuery):
    text: str | None = None
    text_pair: str | None = None
    words: str | None = None
    words_pair: str = ""
    layer: str = ""
    head: str = ""
    seed: str = ""
    query: str = ""
    side: str = ""


@page("/fill", "fill.html", FillPage, router)
async def fill_page(request: Request, query: Annotated[FillQuery, Query()]) -> FillPage:
    """Words hidden and predicted, BERT's masking procedure, next-sentence prediction."""
    service: Service = request.app.state.service
    start = await started(service, query, AUDIENCE)
    query, choice = start.query, start.choice
    words = ",".join(map(str, choice.accepted("words", FillMaskRequest, ())))
    fields: dict[str, Any] = {
        **start.fields,
        "text": catalogue.first_text("fill") if query.text is None else query.text,
        "text_pair": query.text_pair or "",
        "words": words,
        "words_pair": ",".join(map(str, choice.accepted("words_pair", FillMaskRequest, ()))),
        **choice.layer_and_head(start.model, "encoder"),
        "seed": choice.accepted("seed", CorruptionRequest, 0),
        "partners": PARTNERS,
    }
    return await answered(
        FillPage, fields, service.compute(lambda: _answers(service, fields, choice))
    )


def _answers(service: Service, fields: dict[str, Any], choice: Choice) -> dict[str, Any]:
    """Predictions of hidden words; the masking procedure; whether the second sentence follows."""
    text, text_pair = fields["text"], fields["text_pair"]
    spec = {"model": fields["model"], "text": text, "text_pair": text_pair or None}
    noise = CorruptionRequest.model_validate({**spec, "seed": fields["seed"]})
    hidden = {name: fields[name] or None for name in ("words", "words_pair")}
    answers: dict[str, Any] = {}
    with service.lent(noise.model, text=noise.text, text_pair=noise.text_pair) as loaded:
        if (loaded.mask or "[MASK]") in text + text_pair or any(hidden.values()):
            blank = FillMaskRequest.model_validate({**spec, **hidden})
            answers["filled"] = fill_mask(service, blank, loaded).fields
        answers["corruption"] = corruption(service, noise, loaded).fields
        if text_pair and "next-sentence" in loaded.tasks:
            pair = NextSentenceRequest.model_validate(spec)
            answers["next"] = next_sentence(service, pair, loaded).fields
    return answers | lock(choice.among, len(answers["corruption"]["tokens"]))
