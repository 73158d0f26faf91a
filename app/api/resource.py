"""How the API serves a resource: GET and POST, formats, ETags, and work on a worker thread."""

# No `from __future__ import annotations`: FastAPI reads the annotations of the closures below.

import hashlib
from collections.abc import Awaitable, Callable
from typing import Annotated, Any, NamedTuple, TypeVar

from attention_atlas.app import errors, wire
from attention_atlas.app.api.common import Provenance
from attention_atlas.app.api.spec import Asked
from attention_atlas.app.service import Service
from attention_atlas.app.wire import Answer
from fastapi import APIRouter, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, Field, ValidationError, create_model

from attention_atlas import __version__

Asking = TypeVar("Asking", bound=Asked)
Make = Callable[[Service, Asking], Answer]
Made = TypeVar("Made", bound=Callable[..., Answer])

TEXT = (
    "layer",
    "head",
    "edits",
    "a",
    "b",
    "align",
    "texts",
    "off",
    "forced",
    "words",
    "words_pair",
    "target_ids",
)  # in a query string
PROBLEM = {"$ref": f"#/components/schemas/{errors.Problem.__name__}"}
PROBLEMS: dict[int | str, dict[str, Any]] = {
    status: {"description": description, "content": {errors.MEDIA_TYPE: {"schema": PROBLEM}}}
    for status, description in (
        (400, "the body is not text in UTF-8"),
        (403, "opening a model is not allowed; says why"),
        (404, "no model of that name"),
        (413, "the body is over the limit"),
        (422, "a field cannot be taken; says why, and the limit"),
        (503, "every worker is busy; Retry-After says when to ask again"),
    )
}
REFUSED: dict[int | str, dict[str, Any]] = {n: PROBLEMS[n] for n in (400, 404, 413, 422, 503)}


def resource(
    router: APIRouter, path: str, asking: type[Asking], answer: type[BaseModel]
) -> Callable[[Make[Asking]], Make[Asking]]:
    """Serve what `make` returns: GET with a query string, POST with the same fields as JSON."""
    return served(router, path, asking, answer, respond)


def served(
    router: APIRouter,
    path: str,
    asking: type[Asking],
    answer: type[BaseModel],
    respond: Callable[[Request, Asking, Any], Awaitable[Response]],
) -> Callable[[Made], Made]:
    """Serve what `respond` makes of a request and the function it is put on."""

    def register(make: Made) -> Made:
        async def get(request: Request, query: Any) -> Response:
            try:
                body = asking.model_validate(query.model_dump(exclude_unset=True))
            except ValidationError as error:
                raise RequestValidationError(error.errors()) from None
            return await respond(request, body, make)

        async def post(request: Request, body: Any) -> Response:
            return await respond(request, body, make)

        get.__annotations__["query"] = Annotated[query_form(asking), Query()]
        post.__annotations__["body"] = asking
        for method, endpoint in (("GET", get), ("POST", post)):
            router.add_api_route(
                path,
                endpoint,
                methods=[method],
                operation_id=f"{method.lower()}_{make.__name__}",
                summary=make.__name__.replace("_", " ").capitalize(),
                description=make.__doc__ or "",
                responses={200: {"model": answer, "content": other_formats(asking)}, **REFUSED},
            )
        return make

    return register


def other_formats(asking: type[Asked]) -> dict[str, Any]:
    """The media types of an answer beside JSON, for the OpenAPI schema."""
    events: dict[str, Any] = {"text/event-stream": {}} if "stream" in asking.model_fields else {}
    return {wire.MEDIA_TYPES[name]: {} for name in asking.formats if name != "json"} | events


def query_form(asking: type[Asked]) -> type[BaseModel]:
    """A request's fields as a query string can carry them."""
    fields: dict[str, Any] = {
        name: (
            str if field.is_required() else str | None,
            Field(... if field.is_required() else None, description=field.description),
        )
        if name in TEXT
        else (field.annotation, field)
        for name, field in asking.model_fields.items()
    }
    return create_model(f"{asking.__name__}Query", __config__=asking.model_config, **fields)


class Named(NamedTuple):
    """An answer before it is made: its format, and the headers that name it."""

    format: str
    headers: dict[str, str]
    known: bool  # the client has it already


async def named(request: Request, body: Asked) -> Named:
    """What a request asks for, by its ETag. UnknownModel if there is no such model."""
    service: Service = request.app.state.service
    wanted, accept = getattr(body, "format", None), request.headers.get("accept", "")
    format = wire.chosen_format(wanted, accept, body.formats)
    await service.ready(*body.models())
    sources = [service.provenance(model) for model in body.models()]
    etag = tag(request.url.path, body, sources, format)
    vary = "Accept, Accept-Encoding"
    headers = {"ETag": etag, "Cache-Control": "no-cache", "Vary": vary}
    return Named(format, headers, has(request, etag))


async def respond(request: Request, body: Asking, make: Make[Asking]) -> Response:
    """An answer, or that it is what the client has already."""
    service: Service = request.app.state.service
    format, headers, known = await named(request, body)
    if known:
        return Response(status_code=304, headers=headers)
    content, coding = await service.compute(
        lambda: packed(request, service, make(service, body), format)
    )
    return Response(content, media_type=wire.MEDIA_TYPES[format], headers=headers | coding)


def packed(
    request: Request, service: Service, found: Answer, format: str
) -> tuple[bytes, dict[str, str]]:
    """An answer as bytes that the client takes, and the headers that say so: work."""
    check_size(found, format, service.settings.max_json_numbers)
    coding = request.headers.get("accept-encoding", "")
    return wire.compressed(wire.encode(found, format), coding)


def tag(path: str, body: BaseModel, sources: list[Provenance], format: str) -> str:
    """A weak ETag: an answer is a pure function of its request, the weights and the versions."""
    asked = body.model_dump_json(exclude={"format"}, by_alias=True)
    parts = (path, asked, __version__, [source.model_dump_json() for source in sources], format)
    return f'W/"{hashlib.sha256(repr(parts).encode()).hexdigest()[:32]}"'


def has(request: Request, etag: str) -> bool:
    """Whether If-None-Match names this answer, compared weakly: only a 200 gave it that name."""
    sent = [part.strip() for part in request.headers.get("if-none-match", "").split(",")]
    return etag.removeprefix("W/") in [part.removeprefix("W/") for part in sent]


def check_size(answer: Answer, format: str, limit: int) -> None:
    """JSON and CSV are for people: many numbers go as safetensors."""
    attn = answer.tensors.get("attn")
    if attn is None or format not in ("json", "csv"):
        return
    if attn.size > limit:
        raise errors.Invalid(
            f"{attn.size} numbers are too many for {format}, which takes {limit}. "
            "Ask for one layer and head, or for format=safetensors",
            "format",
        )
    if format == "csv" and attn.shape[:2] != (1, 1):
        L, H = attn.shape[:2]
        raise errors.Invalid(f"csv holds one head; this has {L} layers, {H} heads", "format")
