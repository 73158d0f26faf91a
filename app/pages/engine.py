"""What all pages share: HTML and its JSON twin, the address, problems."""

# No `from __future__ import annotations`: FastAPI reads the annotations of the closures below.

from collections.abc import Awaitable, Callable, Sequence
from typing import Annotated, Any, TypeVar
from urllib.parse import quote

from attention_atlas.app import errors, language, wire
from attention_atlas.app.api.models import ModelSummary, summaries
from attention_atlas.app.errors import FieldError, Problem
from attention_atlas.app.service import Service
from fastapi import APIRouter, Depends, Request, Response
from fastapi.responses import HTMLResponse
from fastapi.templating import Jinja2Templates
from pydantic import BaseModel, Field, TypeAdapter, ValidationError


class Content(BaseModel):
    """What a page shows, and what it says when it cannot."""

    ignored: list[FieldError] = []
    problem: Problem | None = None


Build = Callable[..., Awaitable[Content]]
Responses = dict[int | str, dict[str, Any]]
LONGEST_HEADER = 8000  # clients refuse longer ones; the page itself names its twin too


def twin(path: str) -> str:
    """The address of a page's JSON twin: /explore -> /explore.json"""
    return f"{path}index.json" if path.endswith("/") else f"{path}.json"


def twin_url(request: Request) -> str:
    """This page's twin, query string and all; still percent-encoded, so safe in a header."""
    path = twin(request.scope["raw_path"].decode("ascii"))
    query = quote(request.scope["query_string"], safe="%&=+:/?@!$'()*,-._~")
    return f"{path}?{query}" if query else path


def page(
    path: str, template: str, answer: type[Content], router: APIRouter
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
    """What the address says of the picture; what does not exist is ignored, and said so."""

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
            self.ignore(field, value, f"does not exist: {names}")
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


Page = TypeVar("Page", bound=Content)
NO_EVENTS: Callable[[str, Any], None] = lambda name, data: None  # noqa: E731


def able(service: Service, task: str) -> list[ModelSummary]:
    """The models that have a task."""
    found = [model for model in summaries(service) if task in model.tasks]
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


class WorkExample(BaseModel):
    label: str
    model: str
    text: str
    text_pair: str | None = None
    words: str = Field("", description="fill: numbers of the words to hide, by comma")
