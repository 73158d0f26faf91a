"""The Explore page: a text, its tokens, and one head's numbers."""

# No `from __future__ import annotations`: FastAPI reads the annotations of the closures below.

from typing import Annotated, Any, get_args

from attention_atlas.app.api.attention import AttentionRequest, attention_record
from attention_atlas.app.api.common import TokenOut, labels, spec_of
from attention_atlas.app.api.models import ModelSummary, summaries, summary
from attention_atlas.app.api.run import RunAnswer, run_fields
from attention_atlas.app.api.spec import RunRequest
from attention_atlas.app.examples import catalogue
from attention_atlas.app.pages.engine import (
    Choice,
    Content,
    PageQuery,
    answered,
    examples_for,
    numbers,
    page,
    placed,
)
from attention_atlas.app.pages.stand_in import SIDES
from attention_atlas.app.service import Service
from attention_atlas.model.reductions import largest_keys
from fastapi import APIRouter, Query, Request
from pydantic import BaseModel, Field

router = APIRouter(tags=["pages"])


class Limits(BaseModel):
    max_characters: int


class Top(BaseModel):
    query: int
    key: int
    attn: float


class ExplorePage(Content):
    ready_to_open: list[str] = Field(description="models that are opened when chosen")
    opens: bool = Field(description="whether the page may open models by name")
    models: list[ModelSummary]
    limits: Limits
    model: str
    text: str
    text_pair: str | None
    target: str | None
    source_lang: str | None = Field(description="null where the model has none to choose")
    target_lang: str | None
    kind: str
    layer: int
    head: int
    query: int | None = Field(description="index of the locked token, on its axis")
    side: str
    view: str
    special: str
    merge: str
    run: RunAnswer | None
    q_tokens: list[TokenOut] = Field(description="of the head shown: pieces or words")
    k_tokens: list[TokenOut]
    top: list[Top]


TWICE = "The river bank is closed. The river bank is closed."  # where induction heads look back
SPECIAL: tuple[str, ...] = get_args(AttentionRequest.model_fields["special"].annotation)
MERGE: tuple[str, ...] = get_args(AttentionRequest.model_fields["merge"].annotation)
VIEWS = ("lines", "matrix", "tokens", "anatomy", "table")
NOTHING: dict[str, Any] = {  # where there is a problem
    **{"kind": "", "layer": 0, "head": 0, "query": None, "run": None},
    **{"special": SPECIAL[0], "merge": MERGE[0], "side": SIDES[0], "view": VIEWS[0]},
    **{"q_tokens": [], "k_tokens": [], "top": []},
}


class ExploreQuery(PageQuery):
    text: str | None = None
    text_pair: str | None = None
    target: str | None = None
    source_lang: str = ""
    target_lang: str = ""
    kind: str = ""
    layer: str = ""
    head: str = ""
    query: str = ""
    side: str = ""
    view: str = ""
    special: str = ""
    merge: str = ""


@page("/explore", "explore.html", ExplorePage, router)
async def explore(request: Request, query: Annotated[ExploreQuery, Query()]) -> ExplorePage:
    """A text, its tokens, and one head's numbers; missing fields have defaults."""
    service: Service = request.app.state.service
    query, example = placed(query, examples_for(summaries(service), "explore"))
    first = catalogue.stored("explore")[0].inputs  # where no model of an example is there
    model = query.model or first["model"]
    text = first["text"] if query.text is None else query.text
    typed = {"model": model, "text": text, "text_pair": query.text_pair or None}
    typed["target"] = query.target or None
    languages = {"source_lang": query.source_lang or None, "target_lang": query.target_lang or None}
    fields = {**typed, **languages, **NOTHING, **_offered(service), "example": example}
    return await answered(ExplorePage, fields, _explored(service, typed, Choice(query)))


def _offered(service: Service) -> dict[str, Any]:
    """The choices that the page offers."""
    models = summaries(service)
    return {
        "models": models,
        "examples": examples_for(models, "explore"),
        "limits": Limits(max_characters=service.settings.max_characters),
        "ready_to_open": [*service.library.ready_to_open, *service.library.snapshots_to_open],
        "opens": service.settings.opens,
    }


async def _explored(
    service: Service, typed: dict[str, str | None], choice: Choice
) -> dict[str, Any]:
    await service.ready(typed["model"])
    answers = await service.compute(lambda: _shown(service, typed, choice))
    return answers | _offered(service)  # which has the model, if it has just been opened


def _shown(service: Service, typed: dict[str, str | None], choice: Choice) -> dict[str, Any]:
    request = RunRequest.model_validate(typed)
    texts = request.model_dump(include={"text", "text_pair", "target"})
    with service.lent(request.model, **texts) as loaded:
        languages = choice.languages(summary(loaded))
        request = request.model_copy(update=languages)
        spec = spec_of(request)
        run = service.run(loaded, spec)
        kind = choice.among("kind", loaded.kinds)
        n_layer, n_head = loaded.shape(next(k for k in loaded.kinds if k == kind))
        chosen: dict[str, Any] = {
            "kind": kind,
            "layer": choice.number("layer", n_layer),
            "head": choice.number("head", n_head),
            "special": choice.among("special", SPECIAL),
            "merge": choice.among("merge", MERGE),
        }
        one_head = AttentionRequest.model_validate({**typed, **languages, **chosen})
        _, record = attention_record(service, one_head, loaded, spec)
    largest = enumerate(largest_keys(record.attn[0, 0]))
    top = [{"query": query, "key": key, "attn": attn} for query, (key, attn) in largest]
    side = choice.among("side", SIDES)
    n_token = len(record.q_tokens if side == "query" else record.k_tokens)
    query = choice.among("query", ["", *numbers(n_token)])
    return {
        **languages,
        **chosen,
        "side": side,
        "query": int(query) if query else None,
        "view": choice.among("view", VIEWS),
        "run": run_fields(request, loaded, run),
        "q_tokens": labels(record.q_tokens),
        "k_tokens": labels(record.k_tokens),
        "top": top,
        "ignored": choice.ignored,
    }
