"""What all pages share: HTML and its JSON twin, the choices of an address, problems."""

# No `from __future__ import annotations`: FastAPI reads the annotations of the closures below.

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Annotated, Any, Literal, TypeVar
from urllib.parse import quote

from attention_atlas.app import errors, language, wire
from attention_atlas.app.api.models import ModelSummary
from attention_atlas.app.errors import FieldError, Problem
from attention_atlas.app.examples import catalogue
from attention_atlas.app.examples.sentences import sentence
from attention_atlas.app.pages.beside import beside
from attention_atlas.app.pages.shared import shared
from attention_atlas.app.pages.stand_in import (
    IGNORED,
    MEAN,
    NOT_THERE,
    UNKNOWN,
    listed,
    other_language,
    shown_instead,
    used_instead,
    with_taken,
)
from attention_atlas.app.service import Service
from attention_atlas.app.validation import in_our_words
from attention_atlas.model.messages import Message
from fastapi import APIRouter, Depends, Request, Response
from fastapi.responses import HTMLResponse
from fastapi.templating import Jinja2Templates
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

Responses = dict[int | str, dict[str, Any]]
LONGEST_HEADER = 8000  # clients refuse longer ones; the page itself names its twin too
REFUSED = {404: "no such model", 422: "a text it cannot take", 503: "too busy"}
AS_HTML: Responses = {
    status: {"description": why, "content": {"text/html": {}}} for status, why in REFUSED.items()
}


class PageQuery(BaseModel):
    """The query string of a page. Every field is text; values that are not accepted are named."""

    model_config = ConfigDict(frozen=True)

    model: str = ""


class Example(BaseModel):
    """An example that a page offers."""

    label: str
    model: str
    text: str = ""
    text_pair: str | None = None
    words: str = Field("", description="fill: numbers of the words to hide, by comma")
    model_b: str | None = None
    text_b: str = ""
    word: str = ""
    word_b: str | None = None
    off: str = ""
    address: dict[str, str | int] = Field(description="the fields of the address it opens at")
    observation: str = Field(description="what is seen there, in the language of the request")


class Content(BaseModel):
    """The content of a page, or its problem."""

    examples: list[Example] = []
    example: int | None = Field(None, description="which of the examples a bare address opened at")
    observation: str = Field("", description="what the picture shows, if it is an example's")
    ignored: list[FieldError] = []
    problem: Problem | None = None


ContentT = TypeVar("ContentT", bound=Content)
QueryT = TypeVar("QueryT", bound=PageQuery)
Build = Callable[..., Awaitable[Content]]


# Page and twin.


def page(
    path: str, template: str, answer: type[Content], router: APIRouter
) -> Callable[[Build], Build]:
    """Serve what `build` returns as HTML at `path`, and as JSON at its twin, problems included."""

    def register(build: Build) -> Build:
        async def html(request: Request, content: Content = Depends(build)) -> HTMLResponse:
            return await beside(request, rendered, template, content)

        async def json(content: Content = Depends(build)) -> Response:
            body = wire.json_bytes(content.model_dump(mode="json"))
            return Response(body, _status(content), media_type="application/json")

        as_json: Responses = {
            status: {"model": answer, "description": why}
            for status, why in {200: "The page's content", **REFUSED}.items()
        }
        summary = build.__name__.replace("_", " ").capitalize()
        options: dict[str, Any] = {"description": build.__doc__ or "", "summary": summary}
        router.add_api_route(twin(path), json, responses=as_json, **options)
        router.add_api_route(path, html, response_class=HTMLResponse, responses=AS_HTML, **options)
        return build

    return register


def rendered(request: Request, template: str, content: Content) -> HTMLResponse:
    """The page as HTML, which names its twin."""
    templates: Jinja2Templates = request.app.state.templates
    json_url = twin_url(request)
    link = f'<{json_url}>; rel="alternate"; type="application/json"'
    return templates.TemplateResponse(
        request,
        template,
        {"page": content, "json_url": json_url, **shared(request, content)},
        status_code=_status(content),
        headers={
            "Content-Language": language.chosen(request).tag,
            "Vary": "Accept-Language",
            **({"Link": link} if len(link) < LONGEST_HEADER else {}),
        },
    )


async def problem_page(request: Request, problem: Problem) -> HTMLResponse:
    """A problem as a page, for example for an address that does not exist."""
    return await beside(request, _problem_page, problem)


def _problem_page(request: Request, problem: Problem) -> HTMLResponse:
    templates: Jinja2Templates = request.app.state.templates
    page = Content(problem=problem)
    content = {"page": page, "json_url": twin_url(request), **shared(request, page)}
    return templates.TemplateResponse(request, "problem.html", content, problem.status)


def twin(path: str) -> str:
    """The address of a page's JSON twin: /explore -> /explore.json"""
    return f"{path}index.json" if path.endswith("/") else f"{path}.json"


def twin_url(request: Request) -> str:
    """This page's twin, query string and all; still percent-encoded, so safe in a header."""
    path = twin(request.scope["raw_path"].decode("ascii"))
    query = quote(request.scope["query_string"], safe="%&=+:/?@!$'()*,-._~")
    return f"{path}?{query}" if query else path


def _status(content: Content) -> int:
    return content.problem.status if content.problem else 200


# A page's answers, or its problem.


async def answered(
    content: type[ContentT], fields: dict[str, Any], answers: Awaitable[dict[str, Any]]
) -> ContentT:
    """The page's fields and its answers; or the fields and why there are no answers."""
    try:
        page = content.model_validate({**fields, **await answers})
        page = page.model_copy(update={"ignored": [with_taken(e, page) for e in page.ignored]})
        shown = (each for each in page.examples if is_shown(each, page))
        return page.model_copy(update={"observation": next((e.observation for e in shown), "")})
    except ValidationError as error:
        problem = errors.validation_problem(error.errors())
    except errors.AppError as error:
        problem = errors.problem(error)
    typed = {name: printable(value) for name, value in fields.items()}
    return content.model_validate({**typed, "problem": problem})


def printable(value: Any) -> Any:
    """Text, or a list of texts, with what UTF-8 cannot encode replaced."""
    if isinstance(value, list):
        return [printable(item) for item in value]
    return value.encode("utf-8", "replace").decode("utf-8") if isinstance(value, str) else value


# The models and the examples of a page.


async def opened(service: Service, *names: str) -> list[FieldError]:
    """Load models of an address that are no longer in memory; those that fail are named."""
    try:
        await service.ready(*names)
    except errors.AppError as error:
        return [errors.field_error("model", error.message)]
    return []


def examples_for(models: Sequence[ModelSummary], page: str) -> list[Example]:
    """The examples of a page whose models are there."""
    names = {model.name for model in models}
    return [_example(each) for each in catalogue.offered(page) if each.models <= names]


def _example(example: catalogue.Example) -> Example:
    note = Message("note", example.note) if example.note else ""
    seen = (sentence(example), note)
    return Example(
        label=example.label,
        address=example.opens_at,
        observation=" ".join(language.in_words(text) for text in seen if text),
        **{name: value for name, value in example.inputs.items() if name in Example.model_fields},
    )


def placed(
    query: QueryT, examples: Sequence[Example], typed: Sequence[str] = ("text",)
) -> tuple[QueryT, int | None]:
    """The query as its model's first example has it, if nothing was typed; and which that is."""
    left_out = {field: type(query).model_fields[field].default for field in typed}
    if any(getattr(query, field) != value for field, value in left_out.items()):
        return query, None  # an empty text is typed too
    for i, example in enumerate(examples):
        if query.model in ("", example.model):
            fields = type(query).model_fields
            given = {k: str(v) for k, v in example.address.items() if k in fields}
            missing = {k: v for k, v in given.items() if getattr(query, k) in (None, "")}
            return query.model_copy(update=missing), i
    return query, None


def is_shown(example: Example, page: Content) -> bool:
    """Whether the page's picture is the example's, whichever token is locked."""
    address = {**dict.fromkeys(NO_OTHERS, ""), **example.address}
    return all(
        _same(getattr(page, name), value)
        for name, value in address.items()
        if name not in ("query", "step") and hasattr(page, name)
    )


NO_OTHERS = (  # but the example's
    *("text_pair", "target", "words", "words_pair", "off", "fill", "edits"),
)


def _same(value: Any, wanted: str | int) -> bool:
    if isinstance(value, list):
        value = ("," if "\n" not in str(wanted) else "\n").join(value)
    if isinstance(value, float):
        return value == float(wanted or "nan")
    return str("" if value is None else value) == str(wanted)


def numbers(n: int) -> list[str]:
    return [str(i) for i in range(n)]


class Choice:
    """The choices of an address. Values that do not exist are ignored, and named."""

    def __init__(self, query: PageQuery, ignored: Sequence[FieldError] = ()) -> None:
        self.query = query
        self.instead: ModelSummary | None = None  # the model in place of the address's
        self.text_field = "texts" if "texts" in type(query).model_fields else "text"
        self.ignored = list(ignored)

    def sent(self, field: str) -> str:
        """The address's value of a field; empty if it has none."""
        return getattr(self.query, field) or ""

    def among(self, field: str, allowed: Sequence[str]) -> str:
        """The address's value if it is one of those allowed, else the first of them."""
        value = self.sent(field)
        if value in allowed:
            return value
        if value:
            names = [name for name in allowed if name]
            self.ignore(field, value, listed(names), UNKNOWN)
        return allowed[0]

    def number(self, field: str, n: int) -> int:
        """The address's value if it is one of 0 to n - 1, else 0."""
        return int(self.among(field, numbers(n)))

    def model(
        self, models: Sequence[ModelSummary], reasons: Mapping[str, str] | None = None
    ) -> ModelSummary:
        """The address's model if the page is for it, else the first; `reasons`: why not others."""
        by_name = {model.name: model for model in models}
        value = self.sent("model")
        if reasons and value in reasons and value not in by_name:
            self.instead = models[0]
            self.ignore("model", value, shown_instead(reasons[value], models[0].name))
            return models[0]
        return by_name[self.among("model", list(by_name))]

    def sentence(self, text: str | None, example: str, every: Sequence[ModelSummary]) -> str:
        """The address's text; the example if another model is shown, of another language."""
        if text is None:
            return example
        before = next((model for model in every if model.name == self.sent("model")), None)
        why = self.instead and other_language(before, self.instead)
        if why:
            self.ignore(self.text_field, text, why)
        return example if why else text

    def take_example(
        self,
        query: QueryT,
        examples: Sequence[Example],
        every: Sequence[ModelSummary],
        typed: Sequence[str] = (),
    ) -> tuple[QueryT, int | None]:
        """The query, read on as if it were the model's first example's, and which that is.

        So it is where nothing is typed, and where another model stands in that does not read the
        language of the text. None, and the same query, where something is typed.
        """
        text = getattr(query, self.text_field)
        taken = {"model": self.instead.name} if self.instead else {}
        if text is not None and self.sentence(text, "", every) != text:
            query = type(query).model_validate(taken)
        placed_query, example = placed(
            query.model_copy(update=taken), examples, typed or (self.text_field,)
        )
        query = query if example is None else placed_query
        self.query = query
        return query, example

    def languages(self, model: ModelSummary) -> dict[str, str | None]:
        """The address's languages, or the model's own; None where it has none to choose."""
        return {f"{side}_lang": self._language(side, model) for side in ("source", "target")}

    def _language(self, side: Literal["source", "target"], model: ModelSummary) -> str | None:
        field, known = f"{side}_lang", model.languages
        codes = getattr(known, side) if known else []
        value = self.sent(field)
        if value in codes:
            return value
        if value and codes:
            self.ignore(field, value, listed(codes), UNKNOWN)
        elif value:
            none = Message(
                "no-languages", "{model} has no {value} languages", model=model.name, value=side
            )
            self.ignore(field, value, none)
        return known.default[side] if known else None

    def accepted(self, field: str, request_type: type[BaseModel], default: Any) -> Any:
        """The address's value if a request takes it, else the default, and its limits named."""
        value, info = self.sent(field), request_type.model_fields[field]
        if not value:
            return default
        try:
            annotation: Any = Annotated[info.annotation, info]
            return TypeAdapter(annotation).validate_python(value)
        except ValidationError as error:
            self.ignore(field, value, used_instead(in_our_words(error.errors()[0]), default))
            return default

    def layer_and_head(self, model: ModelSummary, kind: str) -> dict[str, int | None]:
        """The address's layer and head, else the card's best aligner; None is the mean of heads.

        The first aligner is read as output, as pages show a step, if the card has that.
        """
        n_layer, n_head = model.shapes[kind]
        places = [(each.layer, each.head) for each in model.aligners if kind == "cross"]
        layer, head = [*places, (n_layer - 1, None)][0]
        if self.sent("layer"):
            layer = self.number("layer", n_layer)
        if self.sent("head"):
            chosen = self.among("head", [*numbers(n_head), MEAN])
            head = None if chosen == MEAN else int(chosen)
        return {"layer": layer, "head": head}

    def ignore(self, field: str, value: str, why: str, template: str = IGNORED) -> None:
        """A part of the address that is ignored, and why."""
        value = printable(value)[:40]
        code = NOT_THERE if template == UNKNOWN else "ignored"
        message = Message(code, template, field=field, value=value, why=why)
        self.ignored.append(errors.field_error(field, message))
