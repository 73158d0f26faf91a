"""How the API serves a resource: GET and POST, formats, ETags, and work on a worker thread."""

# No `from __future__ import annotations`: FastAPI reads the annotations of the closures below.

import asyncio
import hashlib
import json
from collections.abc import Awaitable, Callable, Coroutine, Hashable, Mapping
from typing import Annotated, Any, Concatenate, NamedTuple, TypeVar

from attention_atlas.app import errors, streaming, wire
from attention_atlas.app.answers import Packed
from attention_atlas.app.api.common import Provenance, provenance
from attention_atlas.app.api.spec import (
    NUMBERS,
    PAIRS,
    ApiRequest,
    StreamRequest,
    of_type,
    scalar,
    texts_in,
)
from attention_atlas.app.language import of_request
from attention_atlas.app.service import Service, refusing
from attention_atlas.app.streaming import CLIENT_GONE, Client, Emit, Gone, done_or_gone, streamed
from attention_atlas.app.wire import Answer
from attention_atlas.model.messages import Message
from attention_atlas.model.zoo import Loaded
from fastapi import APIRouter, HTTPException, Query, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from pydantic import BaseModel, Field, ValidationError, create_model
from pydantic_core import PydanticKnownError

from attention_atlas import __version__

RequestT = TypeVar("RequestT", bound=ApiRequest)
StreamT = TypeVar("StreamT", bound=StreamRequest)
# A resource: (service, request, its models in the order of request.models(), emit if it streams).
Make = Callable[Concatenate[Service, RequestT, ...], Answer]

COMMA = {"pattern": f"^{NUMBERS}$"}
JSON = {"contentMediaType": "application/json"}
TEXT: dict[str, dict[str, Any]] = {  # how a field that is no text is written in a query string
    **dict.fromkeys(("layer", "head", "target_ids", "forced", "words", "words_pair"), COMMA),
    **dict.fromkeys(("edits", "a", "b", "texts", "first_sense", "second_sense"), JSON),
    **dict.fromkeys(("clean", "corrupted", "metric", "reference"), JSON),
    **dict.fromkeys(("interventions", "ablations", "choices"), JSON),
    "align": {"pattern": f"^({PAIRS})?$"},
    "off": {"pattern": "^(causal|padding)(,(causal|padding))?$"},
}
BYTES = {"schema": {"type": "string", "contentEncoding": "binary"}}
SMALL_BODY = 20_000  # bytes that are parsed at once
# What else may be answered: app/openapi.py adds what every address has in common.
REFUSED: dict[int | str, dict[str, Any]] = {
    304: {"description": "the client has this answer: its ETag is that of If-None-Match"},
    404: {"description": "no model of that name"},
    422: {"description": "a field cannot be taken; says why, and the limit"},
    503: {"description": "every worker is busy; Retry-After says when to ask again"},
}


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
    router: APIRouter,
    path: str,
    request_type: type[StreamT],
    answer_type: type[BaseModel],
    **events: type[BaseModel],
) -> Callable[[Make[StreamT]], Make[StreamT]]:
    """A resource whose function also emits events, which `stream=true` sends as they come.

    The last event, `result`, holds what a request without `stream` is answered.
    """
    events |= {"result": answer_type, "problem": errors.Problem}

    def register(make: Make[StreamT]) -> Make[StreamT]:
        async def respond(request: Request, body: StreamT) -> Response:
            return await in_steps(request, body, make)

        serve(router, path, (request_type, answer_type), make, respond, events)
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
    events: Mapping[str, type[BaseModel]] | None = None,
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
        check_types(request_type, await request.json())
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
                200: {"model": answer_type, "content": other_formats(request_type, events)},
                **REFUSED,
            },
        )


def check_types(request_type: type[ApiRequest], body: dict[str, Any]) -> None:
    """Refuse JSON whose types Pydantic would turn into others: in a query string it has to."""
    for name, value in body.items():
        try:
            of_type(scalar(request_type, name), value)
        except PydanticKnownError as error:
            row = {"type": error.type, "loc": ("body", name), "input": value}
            raise RequestValidationError([row]) from None


def other_formats(
    request_type: type[ApiRequest], events: Mapping[str, type[BaseModel]] | None
) -> dict[str, Any]:
    """The media types of an answer beside JSON, for the OpenAPI schema."""
    names = [name for name in request_type.formats if name != "json"]
    formats: dict[str, Any] = {wire.MEDIA_TYPES[name].split(";")[0]: BYTES for name in names}
    if events:
        formats[streaming.MEDIA_TYPE] = {"itemSchema": streaming.schema(events)}
    return formats


def query_form(request_type: type[ApiRequest]) -> type[BaseModel]:
    """A request's fields, as they are sent in a query string."""
    fields: dict[str, Any] = {}
    for name, field in request_type.model_fields.items():
        if name not in TEXT or scalar(request_type, name):
            fields[name] = (field.annotation, field)
            continue
        written = Annotated[str, Field(json_schema_extra=TEXT[name])]
        is_required, description = field.is_required(), field.description
        fields[name] = (
            written if is_required else written | None,
            Field(... if is_required else None, description=description),
        )
    return create_model(
        f"{request_type.__name__}Query", __config__=request_type.model_config, **fields
    )


class Call(NamedTuple):
    """A request before it is answered: its models, the format, the headers of the answer."""

    models: list[Loaded]
    format: str
    headers: dict[str, str]
    known: bool  # the client has the answer already
    key: Hashable  # all that the bytes of the answer depend on


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
    coding = wire.chosen_coding(request.headers.get("accept-encoding", ""))
    key = (etag, coding, of_request.get())
    return Call([models[name] for name in names], format, headers, has(request, etag), key)


async def whole(request: Request, body: RequestT, make: Make[RequestT]) -> Response:
    """The answer, or 304 if the client has it already."""
    service: Service = request.app.state.service
    call = await called(request, body)
    if response := at_once(service, call):
        return response

    def work() -> Packed:
        with refusing():
            answer = make(service, body, *call.models)
        return packed(request, service, answer, call)

    return _response(call, await service.compute(work, kind_of(request, body)))


async def in_steps(request: Request, body: StreamT, make: Make[StreamT]) -> Response:
    """The events, or the whole answer; when the client goes, the work stops at its next event."""
    service: Service = request.app.state.service
    call = await called(request, body)
    client = Client()

    def decoded(emit: Emit) -> Answer:
        with refusing(), service.meters.passing(body.models()[0]):
            return make(service, body, *call.models, emit)

    def streaming() -> Answer:
        return decoded(client.emit)

    def work() -> Packed:
        return packed(request, service, decoded(client.check), call)

    kind = kind_of(request, body)
    if body.stream:
        return await streamed(client, asyncio.ensure_future(service.compute(streaming, kind)))
    if response := at_once(service, call):
        return response
    working = asyncio.ensure_future(service.compute(work, kind))
    await done_or_gone(request, client, working)
    try:
        return _response(call, await working)
    except Gone:
        return Response(status_code=CLIENT_GONE)


def at_once(service: Service, call: Call) -> Response | None:
    """What needs no worker: the client has the answer, or the server still has its bytes."""
    if call.known:
        return Response(status_code=304, headers=call.headers)
    kept = service.answers.get(call.key)
    return _response(call, kept) if kept else None


def kind_of(request: Request, body: ApiRequest) -> tuple[str | None, ...]:
    """What takes about as long: one resource of the same models."""
    return request.url.path, *body.models()


def _response(call: Call, packed: Packed) -> Response:
    media_type = wire.MEDIA_TYPES[call.format]
    return Response(packed.content, media_type=media_type, headers=call.headers | packed.headers)


def packed(request: Request, service: Service, answer: Answer, call: Call) -> Packed:
    """An answer as bytes in a coding that the client accepts, and its headers; they are kept for
    who asks again. Runs on a worker."""
    check_size(answer, call.format, service.settings.max_json_numbers)
    coding = request.headers.get("accept-encoding", "")
    content, headers = wire.compressed(wire.encode(answer, call.format), coding)
    if call.format != "json":
        name = wire.file_name(request.url.path, answer.fields, call.format)
        headers["Content-Disposition"] = f'attachment; filename="{name}"'
    result = Packed(content, headers)
    service.answers.keep(call.key, result)
    return result


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
