"""How the API serves a resource: GET and POST, formats, ETags, and work on a worker thread."""

# No `from __future__ import annotations`: FastAPI reads the annotations of the closures below.

import asyncio
import hashlib
import json
from collections.abc import Awaitable, Callable, Coroutine
from typing import Annotated, Any, Concatenate, NamedTuple, TypeVar

from attention_atlas.app import errors, streaming, wire
from attention_atlas.app.api.common import Provenance, provenance
from attention_atlas.app.api.spec import ApiRequest, StreamRequest, texts_in
from attention_atlas.app.service import Service, refusing
from attention_atlas.app.streaming import CLIENT_GONE, Client, Gone, done_or_gone, streamed
from attention_atlas.app.wire import Answer
from attention_atlas.model.messages import Message
from attention_atlas.model.zoo import Loaded
from fastapi import APIRouter, HTTPException, Query, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from pydantic import BaseModel, Field, ValidationError, create_model

from attention_atlas import __version__

RequestT = TypeVar("RequestT", bound=ApiRequest)
StreamT = TypeVar("StreamT", bound=StreamRequest)
# A resource: (service, request, its models in the order of request.models(), emit if it streams).
Make = Callable[Concatenate[Service, RequestT, ...], Answer]

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
    "first_sense",
    "second_sense",
)  # in a query string
SMALL_BODY = 20_000  # bytes that are parsed at once
PROBLEM = {"$ref": f"#/components/schemas/{errors.Problem.__name__}"}
PROBLEMS: dict[int | str, dict[str, Any]] = {
    status: {"description": description, "content": {errors.MEDIA_TYPE: {"schema": PROBLEM}}}
    for status, description in (
        (400, "the body is not text in UTF-8, or the address has too many parameters"),
        (403, "opening a model is not allowed; says why"),
        (404, "no model of that name"),
        (413, "the body is over the limit"),
        (414, "the address is over the limit"),
        (422, "a field cannot be taken; says why, and the limit"),
        (503, "every worker is busy; Retry-After says when to ask again"),
    )
}
REFUSED: dict[int | str, dict[str, Any]] = {n: PROBLEMS[n] for n in (400, 404, 413, 414, 422, 503)}


def resource(
    router: APIRouter, path: str, request_type: type[RequestT], answer_type: type[BaseModel]
) -> Callable[[Make[RequestT]], Make[RequestT]]:
    """Serve what `make` returns: GET with a query string, POST with the same fields as JSON."""

    def register(make: Make[RequestT]) -> Make[RequestT]:
        async def respond(request: Request, body: RequestT) -> Response:
            return await whole(request, body, make)

        serve(router, path, (request_type, answer_type), make, respond)
        return make

    return register


def stepwise(
    router: APIRouter, path: str, request_type: type[StreamT], answer_type: type[BaseModel]
) -> Callable[[Make[StreamT]], Make[StreamT]]:
    """A resource whose function also emits events, which `stream=true` sends as they come.

    The last event, `result`, holds what a request without `stream` is answered.
    """

    def register(make: Make[StreamT]) -> Make[StreamT]:
        async def respond(request: Request, body: StreamT) -> Response:
            return await in_steps(request, body, make)

        serve(router, path, (request_type, answer_type), make, respond)
        return make

    return register


class ParsedElsewhere(Request):
    """A request whose body, if it is long, is parsed on a thread: the event loop goes on."""

    async def json(self) -> Any:
        if not hasattr(self, "_json"):
            body = await self.body()
            if len(body) < SMALL_BODY:
                self._json = parsed(body)
            else:
                self._json = await run_in_threadpool(parsed, body)
        return self._json


def parsed(body: bytes) -> Any:
    """A body as JSON. ValueError of json itself is answered 422; all else is worded here."""
    try:
        return json.loads(body)
    except UnicodeDecodeError:
        message = Message("not-utf-8", "the body is not text in UTF-8")
        raise HTTPException(400, message) from None
    except RecursionError:
        message = Message("too-deep", "the body is nested too deeply")
        raise HTTPException(400, message) from None


class Route(APIRoute):
    """A route whose request is `ParsedElsewhere`."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handler = super().get_route_handler()

        async def handle(request: Request) -> Response:
            return await handler(ParsedElsewhere(request.scope, request.receive))

        return handle


def serve(
    router: APIRouter,
    path: str,
    types: tuple[type[RequestT], type[BaseModel]],
    make: Make[RequestT],
    respond: Callable[[Request, RequestT], Awaitable[Response]],
) -> None:
    """Add the two routes of a resource, named and described as the function that makes it."""
    request_type, answer_type = types

    async def get(request: Request, query: Any) -> Response:
        try:
            body = request_type.model_validate(query.model_dump(exclude_unset=True))
        except ValidationError as error:
            raise RequestValidationError(error.errors()) from None
        return await respond(request, body)

    async def post(request: Request, body: Any) -> Response:
        return await respond(request, body)

    get.__annotations__["query"] = Annotated[query_form(request_type), Query()]
    post.__annotations__["body"] = request_type
    for method, endpoint in (("GET", get), ("POST", post)):
        router.add_api_route(
            path,
            endpoint,
            methods=[method],
            operation_id=f"{method.lower()}_{make.__name__}",
            summary=make.__name__.replace("_", " ").capitalize(),
            description=make.__doc__ or "",
            route_class_override=Route,
            responses={
                200: {"model": answer_type, "content": other_formats(request_type)},
                **REFUSED,
            },
        )


def other_formats(request_type: type[ApiRequest]) -> dict[str, Any]:
    """The media types of an answer beside JSON, for the OpenAPI schema."""
    others = [wire.MEDIA_TYPES[name] for name in request_type.formats if name != "json"]
    if issubclass(request_type, StreamRequest):
        others.append(streaming.MEDIA_TYPE)
    return {media_type: {} for media_type in others}


def query_form(request_type: type[ApiRequest]) -> type[BaseModel]:
    """A request's fields, as they are sent in a query string."""
    fields: dict[str, Any] = {
        name: (
            str if field.is_required() else str | None,
            Field(... if field.is_required() else None, description=field.description),
        )
        if name in TEXT
        else (field.annotation, field)
        for name, field in request_type.model_fields.items()
    }
    return create_model(
        f"{request_type.__name__}Query", __config__=request_type.model_config, **fields
    )


class Call(NamedTuple):
    """A request before it is answered: its models, the format, the headers of the answer."""

    models: list[Loaded]
    format: str
    headers: dict[str, str]
    known: bool  # the client has the answer already


async def called(request: Request, body: ApiRequest) -> Call:
    """Look up a request's models and name its answer, once. Raises UnknownModel."""
    service: Service = request.app.state.service
    names = body.models()
    wanted, accept = getattr(body, "format", None), request.headers.get("accept", "")
    format = wire.chosen_format(wanted, accept, body.formats)
    await service.ready(*names)
    models = {name: service.loaded(name) for name in dict.fromkeys(names)}
    service.check_lengths(texts_in(body))
    etag = tag(request.url.path, body, [provenance(model) for model in models.values()], format)
    vary = "Accept, Accept-Encoding"
    headers = {"ETag": etag, "Cache-Control": "no-cache", "Vary": vary}
    return Call([models[name] for name in names], format, headers, has(request, etag))


async def whole(request: Request, body: RequestT, make: Make[RequestT]) -> Response:
    """The answer, or 304 if the client has it already."""
    service: Service = request.app.state.service
    call = await called(request, body)
    if call.known:
        return Response(status_code=304, headers=call.headers)

    def work() -> tuple[bytes, dict[str, str]]:
        with refusing():
            answer = make(service, body, *call.models)
        return packed(request, service, answer, call.format)

    return _response(call, await service.compute(work))


async def in_steps(request: Request, body: StreamT, make: Make[StreamT]) -> Response:
    """The events, or the whole answer; when the client goes, the work stops at its next event."""
    service: Service = request.app.state.service
    call = await called(request, body)
    client = Client()

    def streaming() -> Answer:
        with refusing():
            return make(service, body, *call.models, client.emit)

    def work() -> tuple[bytes, dict[str, str]]:
        with refusing():
            answer = make(service, body, *call.models, client.check)
        return packed(request, service, answer, call.format)

    if body.stream:
        return await streamed(client, asyncio.ensure_future(service.compute(streaming)))
    if call.known:
        return Response(status_code=304, headers=call.headers)
    working = asyncio.ensure_future(service.compute(work))
    await done_or_gone(request, client, working)
    try:
        return _response(call, await working)
    except Gone:
        return Response(status_code=CLIENT_GONE)


def _response(call: Call, body: tuple[bytes, dict[str, str]]) -> Response:
    content, coding = body
    media_type = wire.MEDIA_TYPES[call.format]
    return Response(content, media_type=media_type, headers=call.headers | coding)


def packed(
    request: Request, service: Service, answer: Answer, format: str
) -> tuple[bytes, dict[str, str]]:
    """An answer as bytes in a coding that the client accepts, and its headers. Runs on a worker."""
    check_size(answer, format, service.settings.max_json_numbers)
    coding = request.headers.get("accept-encoding", "")
    content, headers = wire.compressed(wire.encode(answer, format), coding)
    if format == "json":
        return content, headers
    name = wire.file_name(request.url.path, answer.fields, format)
    return content, {**headers, "Content-Disposition": f'attachment; filename="{name}"'}


def tag(path: str, body: BaseModel, sources: list[Provenance], format: str) -> str:
    """A weak ETag: an answer is a pure function of its request, the weights and the versions."""
    sent = body.model_dump_json(exclude={"format"}, by_alias=True)
    parts = (path, sent, __version__, [source.model_dump_json() for source in sources], format)
    return f'W/"{hashlib.sha256(repr(parts).encode()).hexdigest()[:32]}"'


def has(request: Request, etag: str) -> bool:
    """Whether If-None-Match names this answer, by weak comparison."""
    sent = [part.strip() for part in request.headers.get("if-none-match", "").split(",")]
    return etag.removeprefix("W/") in [part.removeprefix("W/") for part in sent]


def check_size(answer: Answer, format: str, limit: int) -> None:
    """Refuse too many numbers in JSON or CSV, and more than one head in CSV."""
    attn = answer.tensors.get("attn")
    if attn is None or format not in ("json", "csv"):
        return
    if attn.size > limit:
        raise errors.Invalid(
            Message(
                "answer-too-large",
                "{value} numbers are too many for {format}, which takes {limit}. "
                "Ask for one layer and head, or for format=safetensors",
                value=attn.size,
                format=format,
                limit=limit,
            ),
            "format",
        )
    if format == "csv" and attn.shape[:2] != (1, 1):
        L, H = attn.shape[:2]
        raise errors.Invalid(
            Message(
                "csv-holds-one-head", "csv holds one head; this has {L} layers, {H} heads", L=L, H=H
            ),
            "format",
        )
