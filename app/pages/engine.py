"""The pages, each one function served as HTML and, at its twin, as JSON."""

# No `from __future__ import annotations`: FastAPI reads the annotations of the closures below.

import re
from collections.abc import Awaitable, Callable, Sequence
from typing import Annotated, Any, get_args
from urllib.parse import quote, urlencode

from attention_atlas.app import errors, language, wire
from attention_atlas.app.api.common import attention_record, labels, run_answer
from attention_atlas.app.api.spec import (
    AttentionRequest,
    Content,
    Example,
    ExplorePage,
    FieldError,
    Forming,
    Limits,
    ModelCard,
    ModelPage,
    ModelsPage,
    ModelSummary,
    Problem,
    RunRequest,
    Top,
)
from attention_atlas.app.service import Service
from attention_atlas.model.record import AttentionRecord
from fastapi import APIRouter, Depends, Request, Response
from fastapi.responses import HTMLResponse, RedirectResponse
from fastapi.templating import Jinja2Templates
from pydantic import BaseModel, TypeAdapter, ValidationError

Build = Callable[..., Awaitable[Content]]
Responses = dict[int | str, dict[str, Any]]
router = APIRouter(tags=["pages"])

TWICE = "The river bank is closed. The river bank is closed."  # where induction heads look back
EXAMPLES = (
    Example(
        label="river bank", model="bert", text="He sat on the river bank and watched the water."
    ),
    Example(
        label="financial bank",
        model="bert",
        text="She opened an account at the bank to save money.",
    ),
    Example(
        label="two sentences",
        model="bert",
        text="The children went to the river.",
        text_pair="They played in the water all day.",
    ),
    Example(label="Bob cashed a check", model="gpt", text="Bob cashed a check at the bank"),
    Example(label="said twice", model="gpt", text=TWICE),
    Example(label="El banco está cerrado", model="translator", text="El banco está cerrado."),
    Example(label="the same, recurrent", model="recurrent", text="El banco está cerrado."),
)
HEADLINES = ("bleu", "masked_word_accuracy", "bits_per_byte_vital_wiki")
SPECIAL: tuple[str, ...] = get_args(AttentionRequest.model_fields["special"].annotation)
MERGE: tuple[str, ...] = get_args(AttentionRequest.model_fields["merge"].annotation)
LONGEST_HEADER = 8000  # clients refuse longer ones; the page itself names its twin too
SIDES = ("query", "key")  # of the locked token
VIEWS = ("lines", "matrix", "tokens", "anatomy", "table")


def twin(path: str) -> str:
    """The address of a page's JSON twin: /explore -> /explore.json"""
    return f"{path}index.json" if path.endswith("/") else f"{path}.json"


def twin_url(request: Request) -> str:
    """This page's twin, query string and all; still percent-encoded, so safe in a header."""
    path = twin(request.scope["raw_path"].decode("ascii"))
    query = quote(request.scope["query_string"], safe="%&=+:/?@!$'()*,-._~")
    return f"{path}?{query}" if query else path


def page(
    path: str, template: str, answer: type[Content], router: APIRouter = router
) -> Callable[[Build], Build]:
    """Serve what `build` returns as HTML at `path`, and as JSON at its twin, problems included."""

    def register(build: Build) -> Build:
        def status(content: Content) -> int:
            return content.problem.status if content.problem else 200

        async def html(request: Request, content: Content = Depends(build)) -> HTMLResponse:
            templates: Jinja2Templates = request.app.state.templates
            json_url = twin_url(request)
            link = f'<{json_url}>; rel="alternate"; type="application/json"'
            return templates.TemplateResponse(
                request,
                template,
                {"page": content, "json_url": json_url, **language.context(request)},
                status_code=status(content),
                headers={
                    "Content-Language": language.chosen(request).tag,
                    "Vary": "Accept-Language",
                    **({"Link": link} if len(link) < LONGEST_HEADER else {}),
                },
            )

        async def json(content: Content = Depends(build)) -> Response:
            body = wire.json_bytes(content.model_dump(mode="json"))
            return Response(body, status(content), media_type="application/json")

        text = build.__doc__ or ""
        refused = {404: "no such model", 422: "a text it cannot take", 503: "too busy"}
        as_json: Responses = {
            status: {"model": answer, "description": why}
            for status, why in {200: "The page's content", **refused}.items()
        }
        as_html: Responses = {status: {"description": why} for status, why in refused.items()}
        summary = build.__name__.replace("_", " ").capitalize()
        options: dict[str, Any] = {"description": text, "summary": summary}
        router.add_api_route(twin(path), json, responses=as_json, **options)
        router.add_api_route(path, html, response_class=HTMLResponse, responses=as_html, **options)
        return build

    return register


def problem_page(request: Request, problem: Problem) -> HTMLResponse:
    """What went wrong, to who has come to a page that cannot be."""
    templates: Jinja2Templates = request.app.state.templates
    content = {"page": Content(problem=problem), "json_url": twin_url(request)}
    context = {**content, **language.context(request)}
    return templates.TemplateResponse(request, "problem.html", context, problem.status)


@router.get("/", include_in_schema=False)
def home() -> RedirectResponse:
    """The explorer is the first page."""
    return RedirectResponse("/explore")


@page("/models", "models.html", ModelsPage)
async def all_models(request: Request) -> ModelsPage:
    """The models there are, and how good they are."""
    service: Service = request.app.state.service
    models = service.summaries()
    best = {m.name: next((name for name in HEADLINES if name in m.metrics), None) for m in models}
    headlines = {name: measure for name, measure in best.items() if measure}
    return ModelsPage(
        models=models,
        headlines=headlines,
        missing=service.missing,
        ready_to_open=service.library.ready_to_open,
    )


@page("/models/{name:path}", "model.html", ModelPage)
async def one_model(request: Request, name: str, kind: str = "", metric: str = "") -> ModelPage:
    """A model's card: what it can do, how it learned, its texts; how one metric's heads formed."""
    service: Service = request.app.state.service
    try:
        await service.ready(name)
        card = service.card(name)
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


@page("/explore", "explore.html", ExplorePage)
async def explore(
    request: Request,
    model: str = "",
    text: str | None = None,
    text_pair: str | None = None,
    target: str | None = None,
    kind: str = "",
    layer: str = "",
    head: str = "",
    query: str = "",
    side: str = "",
    view: str = "",
    special: str = "",
    merge: str = "",
) -> ExplorePage:
    """A text, its tokens, and one head's numbers; what is not in the address has a default."""
    service: Service = request.app.state.service
    sent = {"text": text, "text_pair": text_pair or None, "target": target or None}
    there = {found.name for found in service.summaries()}
    first = next((example for example in EXAMPLES if example.model in there), EXAMPLES[0])
    asked = {"model": model or first.model, **sent}
    if text is None:
        asked["text"] = next((e.text for e in EXAMPLES if e.model == asked["model"]), first.text)
    shown = {"kind": kind, "layer": layer, "head": head, "query": query}
    shown |= {"side": side, "view": view, "special": special, "merge": merge}
    try:
        await service.ready(asked["model"])
        return await service.compute(lambda: _explored(service, asked, shown))
    except ValidationError as error:
        return _refused(service, asked, validation_problem(error))
    except errors.AppError as error:
        return _refused(service, asked, errors.problem(error))


def _explored(service: Service, asked: dict[str, Any], shown: dict[str, str]) -> ExplorePage:
    request = RunRequest.model_validate(asked)
    run = run_answer(service, request)
    choice = Choice(shown)
    kind = choice.of("kind", [found.kind for found in run.kinds])
    L, H = next(found.shape[:2] for found in run.kinds if found.kind == kind)
    chosen: dict[str, Any] = {
        "kind": kind,
        "layer": int(choice.of("layer", numbers(L))),
        "head": int(choice.of("head", numbers(H))),
        "special": choice.of("special", SPECIAL),
        "merge": choice.of("merge", MERGE),
    }
    _, record = attention_record(service, AttentionRequest.model_validate({**asked, **chosen}))
    chosen["side"] = choice.of("side", SIDES)
    tokens = record.q_tokens if chosen["side"] == "query" else record.k_tokens
    query = choice.of("query", ["", *numbers(len(tokens))])
    rest: dict[str, Any] = {
        "query": int(query) if query else None,
        "view": choice.of("view", VIEWS),
        "run": run,
        "q_tokens": labels(record.q_tokens),
        "k_tokens": labels(record.k_tokens),
        "top": top(record),
        "ignored": choice.ignored,
    }
    return _page(service, asked, **chosen, **rest)


def top(record: AttentionRecord) -> list[Top]:
    """For each query of a single head the key it looks at most."""
    attn = record.attn[0, 0]
    if not attn.numel():
        return []
    best = attn.max(-1)
    found = zip(best.indices.tolist(), best.values.tolist(), strict=True)
    return [Top(query=q, key=k, attn=a) for q, (k, a) in enumerate(found)]


def _refused(service: Service, asked: dict[str, Any], problem: Problem) -> ExplorePage:
    """The page with what was typed, and why there is no picture."""
    asked = {**asked, "text": printable(asked["text"] or "")}
    first = {"kind": "", "layer": 0, "head": 0, "query": None}
    first |= {"special": SPECIAL[0], "merge": MERGE[0], "side": SIDES[0], "view": VIEWS[0]}
    nothing: dict[str, Any] = {"q_tokens": [], "k_tokens": [], "top": [], "ignored": []}
    return _page(service, asked, run=None, problem=problem, **first, **nothing)


def _page(service: Service, asked: dict[str, Any], **rest: Any) -> ExplorePage:
    models: list[ModelSummary] = service.summaries()
    limits = Limits(max_characters=service.settings.max_characters)
    ready = {"ready_to_open": service.library.ready_to_open, "opens": service.settings.opens}
    there = {model.name for model in models}
    examples = [example for example in EXAMPLES if example.model in there]
    return ExplorePage.model_validate(
        {"models": models, "examples": examples, "limits": limits, "problem": None}
        | {**ready, **asked, **rest}
    )


def some(models: list[ModelSummary], what: str) -> list[ModelSummary]:
    """The models that a page is for. NotReady if there is none."""
    if not models:
        raise errors.NotReady(f"no model that is loaded {what}; /models has those there are")
    return models


async def opened(service: Service, *names: str) -> list[FieldError]:
    """Models of an address that were put aside, in memory again; what could not be is named."""
    try:
        await service.ready(*names)
    except errors.AppError as error:
        return [FieldError(field="model", message=error.message)]
    return []


class Choice:
    """What the address says of the picture; what is not there is ignored, and said so."""

    def __init__(self, shown: dict[str, str]) -> None:
        self.shown = shown
        self.ignored: list[FieldError] = []

    def of(self, field: str, allowed: Sequence[str]) -> str:
        """The address's value if it is one of those allowed, else the first of them."""
        value = self.shown[field]
        if value in allowed:
            return value
        if value:
            there = [name for name in allowed if name]
            names = ", ".join(there) if len(there) < 4 else f"{there[0]} to {there[-1]}"
            self.ignore(field, value, f"is not there: {names}")
        return allowed[0]

    def of_model(self, models: Sequence[ModelSummary], others: dict[str, str]) -> str:
        """The address's model if the page is for it; of the others it says why it is not."""
        asked = self.shown["model"]
        names = [model.name for model in models]
        if asked in others and asked not in names:
            self.ignore("model", asked, others[asked])
            return names[0]
        return self.of("model", names)

    def taken(self, field: str, asking: type[BaseModel], first: Any) -> Any:
        """The address's value if a request takes it, else the first, and the limits said."""
        value, info = self.shown[field], asking.model_fields[field]
        if not value:
            return first
        try:
            kind: Any = Annotated[info.annotation, info]
            return TypeAdapter(kind).validate_python(value)
        except ValidationError as error:
            why = str(error.errors()[0]["msg"]).removeprefix("Value error, ")
            self.ignore(field, value, f"is not taken: {why[0].lower()}{why[1:]}")
            return first

    def ignore(self, field: str, value: str, why: str) -> None:
        """A part of the address that is left aside, and why."""
        message = f"{field} {printable(value)[:40]} {why}"
        self.ignored.append(FieldError(field=field, message=message))


def validation_problem(error: ValidationError) -> Problem:
    """Fields of an address that cannot be taken, as a problem."""
    found = [
        (".".join(map(str, row["loc"])), str(row["msg"]).removeprefix("Value error, "))
        for row in error.errors()
    ]
    return errors.validation_problem(found)


def numbers(n: int) -> list[str]:
    return [str(i) for i in range(n)]


def printable(text: str) -> str:
    """Text that can be sent back: what UTF-8 cannot hold is replaced."""
    return text.encode("utf-8", "replace").decode("utf-8")
