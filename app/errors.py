"""Everything that can go wrong for a user, and the one shape it is reported in (RFC 9457).

AppError
  Invalid        422  a field that is invalid, and why
  UnknownModel   404  no model of that name
  UnknownStep    404  no chapter or step of that name
  NotAllowed     403  opening a model, where the server does not
  CannotOpen     422  a model that cannot be opened, and why
  BodyTooLarge   413  the request body is over the limit
  AddressTooLong     414  the address is over the limit
  TooManyParameters  400  the address has too many parameters
  BadRange           400  a Range header that is none
  NoSuchRange        416  a range that the file does not have
  BadRequest         400  what was sent is not HTTP
  NoToken            401  opening a model without the operator's token
  TooManyRequests    429  a client asks too often
  Busy           503  every worker is busy and the queue is full, or the wait too long
  NotReady       503  a model could not be loaded
"""

from __future__ import annotations

import logging
import math
from collections.abc import Awaitable, Callable, Mapping, Sequence
from http import HTTPStatus
from pathlib import PurePath
from typing import Any

from attention_atlas.app.access import request_id
from attention_atlas.app.language import in_words
from attention_atlas.app.validation import in_our_words
from attention_atlas.model.hub.locate import canonical, is_path
from attention_atlas.model.messages import Message
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException
from starlette.routing import Match

log = logging.getLogger("app")
MEDIA_TYPE = "application/problem+json"


MOST_ERRORS = 20  # of one problem
Value = str | int | float | bool | None


class FieldError(BaseModel):
    """A field that cannot be taken: `code` is stable, `message` in the language of the request."""

    field: str
    message: str
    code: str = ""
    limit: Value = None
    value: Value = None


class Problem(BaseModel):
    """RFC 9457. `code` is stable: programs tell problems apart by it, not by `detail`."""

    type: str
    title: str
    status: int
    detail: str
    code: str = ""
    request_id: str = Field("", description="of the request, as in the log and X-Request-ID")
    errors: list[FieldError]


class AppError(Exception):
    status = 500
    headers: Mapping[str, str] = {}

    def __init__(self, message: str, field: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.field = field


class Invalid(AppError):
    status = 422


class UnknownModel(AppError):
    status = 404


class UnknownStep(AppError):
    status = 404


class NotAllowed(AppError):
    status = 403


class CannotOpen(AppError):
    status = 422


class BodyTooLarge(AppError):
    status = 413


class AddressTooLong(AppError):
    status = 414


class TooManyParameters(AppError):
    status = 400


class BadRange(AppError):
    status = 400


class NoSuchRange(AppError):
    status = 416


class BadRequest(AppError):
    status = 400


class NoToken(AppError):
    status = 401
    headers = {"WWW-Authenticate": "Bearer"}


class TooManyRequests(AppError):
    status = 429


class Busy(AppError):
    status = 503

    def __init__(self, message: str, field: str | None = None, after: int = 1) -> None:
        super().__init__(message, field)
        self.headers = {"Retry-After": str(after)}


class NotReady(AppError):
    status = 503


def problem(error: AppError, status: int | None = None) -> Problem:
    """An error as the body of its answer."""
    errors = [field_error(error.field, error.message)] if error.field else []
    return _problem(status or error.status, error.message, errors)


def field_error(field: str, message: str) -> FieldError:
    """What is wrong with a field, with the limit and the value that the message names."""
    code, values = (message.code, message.values) if isinstance(message, Message) else ("", {})
    limit, value = _plain(values.get("limit")), _plain(values.get("value"))
    return FieldError(field=field, message=in_words(message), code=code, limit=limit, value=value)


def _plain(value: object) -> Value:
    """A value as JSON can hold it: what is not finite is text."""
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value if isinstance(value, str | int | float | bool) else None


def validation_problem(rows: Sequence[Mapping[str, Any]]) -> Problem:
    """Fields that cannot be taken, from Pydantic's or FastAPI's errors, in our own words."""
    field_errors = [
        field_error(".".join(map(str, _field(row["loc"]))) or "body", in_our_words(row))
        for row in rows[:MOST_ERRORS]
    ]
    detail = "; ".join(f"{error.field}: {error.message}" for error in field_errors)
    problem = _problem(422, detail, field_errors)
    return problem.model_copy(update={"code": field_errors[0].code if field_errors else "invalid"})


def _field(loc: Sequence[int | str]) -> Sequence[int | str]:
    """The path of the field; empty for a body that is not JSON."""
    inside = loc[1:] if loc[:1] and loc[0] in ("query", "body") else loc
    return inside if inside and isinstance(inside[0], str) else ()


def install(app: FastAPI, page: Callable[[Request, Problem], Awaitable[Response]]) -> None:
    """Answer every error of the app as a problem, or as a page to a client that wants HTML."""

    async def answer(
        request: Request, problem: Problem, headers: Mapping[str, str] | None = None
    ) -> Response:
        if not wants_html(request):
            return respond(problem, headers)
        response = await page(request, problem)
        response.headers.update(headers or {})
        return response

    async def ours(request: Request, error: Exception) -> Response:
        assert isinstance(error, AppError)
        return await answer(request, problem(error), error.headers)

    async def validation(request: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)
        return await answer(request, validation_problem(error.errors()))

    async def http(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        headers = dict(error.headers or {})
        if error.status_code == 405:
            headers["Allow"] = ", ".join(methods(request))
        described = _problem(error.status_code, in_our_name(error, headers), [])
        return await answer(request, described, headers)

    async def ours_alone(request: Request, error: Exception) -> Response:
        return await answer(request, bug())

    app.add_exception_handler(AppError, ours)
    app.add_exception_handler(RequestValidationError, validation)
    app.add_exception_handler(HTTPException, http)
    app.add_exception_handler(Exception, ours_alone)


def methods(request: Request) -> list[str]:
    """The methods that an address takes. Each is a route of its own, which names itself alone."""
    routes, scope = request.app.router.routes, request.scope
    taken = [
        method
        for method in ("GET", "POST")
        if any(route.matches({**scope, "method": method})[0] is Match.FULL for route in routes)
    ]
    return ["GET", "HEAD", *taken[1:]] if "GET" in taken else taken


def in_our_name(error: HTTPException, headers: Mapping[str, str]) -> str:
    """What an error of the framework says, as a message of ours."""
    if isinstance(error.detail, Message):
        return error.detail
    if error.status_code == 404:
        return Message("not-found", "there is nothing at this address")
    if error.status_code == 405:
        return Message(
            "method-not-allowed", "this address takes {methods}", methods=headers["Allow"]
        )
    return Message(
        "refused",
        "the request cannot be answered: {reason}",
        reason=HTTPStatus(error.status_code).phrase,
    )


def wants_html(request: Request) -> bool:
    """Whether a browser opens a page: not a request to the API or for a page's twin."""
    path = request.url.path
    is_page = not path.startswith(("/api/", "/static/")) and not path.endswith(".json")
    return is_page and "text/html" in request.headers.get("accept", "")


def bug() -> Problem:
    """The problem of an error in this program."""
    return _problem(
        500, Message("internal-error", "a mistake of ours; the server's log has the details"), []
    )


def respond(problem: Problem, headers: Mapping[str, str] | None = None) -> JSONResponse:
    """A problem as a response with its status."""
    return JSONResponse(
        problem.model_dump(), problem.status, headers=dict(headers or {}), media_type=MEDIA_TYPE
    )


def _problem(status: int, detail: str, errors: list[FieldError]) -> Problem:
    title = HTTPStatus(status).phrase
    code = detail.code if isinstance(detail, Message) else title.lower().replace(" ", "-")
    return Problem(
        type="about:blank",
        title=title,
        status=status,
        detail=in_words(detail),
        code=code,
        request_id=request_id.get(),
        errors=errors,
    )


def shown(source: str) -> str:
    """A model as /readyz names it: of a folder its name alone, not where it is."""
    return PurePath(source).name if is_path(source) else source


def without_path(text: str, source: str) -> str:
    """A reason without the path of the folder that it is about."""
    for path in (canonical(source), source):
        text = text.replace(path, shown(source)) if is_path(source) else text
    return text
