"""Opening a model from the page: who may do that, and its progress as server-sent events."""

from __future__ import annotations

import asyncio
import hmac
import threading
from collections.abc import AsyncIterator
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from attention_atlas.app import errors, streaming
from attention_atlas.app.api.common import PREFIX
from attention_atlas.app.api.models import ModelSummary, summary
from attention_atlas.app.api.spec import Closed, clean
from attention_atlas.app.security import check_proxy
from attention_atlas.app.service import Service
from attention_atlas.app.settings import Settings
from attention_atlas.model.hub.progress import Step
from attention_atlas.model.hub.reasons import BadModel, Reason
from attention_atlas.model.messages import Message
from fastapi import APIRouter, Request
from fastapi.responses import StreamingResponse
from fastapi.sse import EventSourceResponse
from pydantic import AfterValidator, BaseModel, Field

router = APIRouter(prefix=PREFIX, tags=["API"])


class OpenRequest(Closed):
    model: Annotated[str, Field(min_length=1, max_length=1000), AfterValidator(clean)] = Field(
        description="a Hub name or a folder", examples=["prajjwal1/bert-tiny"]
    )


class OpenProgress(BaseModel):
    """How far the opening of a model is."""

    stage: Literal["looking", "downloading", "converting", "loading", "trying"]
    file: str
    bytes: int = Field(description="done of the total")
    total: int


class OpenProblem(errors.Problem):
    """Why a model could not be opened."""

    reason: Reason | Literal["busy"]
    template: str = Field(description="the detail without its values")
    values: dict[str, str]


STATUS = {"not-found": 404}  # of a BadModel's reason; else 422
EVENTS: dict[str, type[BaseModel]] = {
    "progress": OpenProgress,
    "done": ModelSummary,
    "problem": OpenProblem,
}
OPENING: dict[int | str, dict[str, Any]] = {
    200: {
        "content": {streaming.MEDIA_TYPE: {"itemSchema": streaming.schema(EVENTS)}},
        "description": "progress; at last done, or problem",
    },
    401: {"description": "OPEN_TOKEN is set, and was not sent as a bearer token"},
    403: {"description": "opening this model is not allowed; says why"},
    422: {"description": "a field cannot be taken; says why, and the limit"},
    503: {"description": "other models are being opened"},
}


@router.post("/models", response_class=StreamingResponse, responses=OPENING)
async def open_model(request: Request, body: OpenRequest) -> EventSourceResponse:
    """Open a model of the Hub or of a folder: events `progress`, then `done` or `problem`."""
    service: Service = request.app.state.service
    check_sender(request, service)
    check_token(request, service.settings)
    return await opening(service, body.model)


def check_sender(request: Request, service: Service) -> None:
    """Refuse requests from another site's page in the user's browser.

    A form can send no JSON, and a script says where it comes from. security.py checks the Host.
    """
    if request.headers.get("content-type", "").split(";")[0].strip() != "application/json":
        raise errors.NotAllowed(
            Message("not-json", "send the request as application/json"), "content-type"
        )
    check_origin(request, service)


def check_origin(request: Request, service: Service) -> None:
    """Refuse requests from a page of another site."""
    host, origin = request.headers.get("host", ""), request.headers.get("origin")
    if origin is not None and _host(origin) != host:
        raise errors.NotAllowed(
            Message(
                "origin-not-allowed",
                "pages of {origin} may not open models here",
                origin=origin[:60],
            ),
            "origin",
        )
    check_proxy(request, service.settings)


def check_token(request: Request, settings: Settings) -> None:
    """Refuse who does not send the operator's token, where there is one."""
    token = settings.open_token.get_secret_value()
    sent = request.headers.get("authorization", "").encode()
    if token and not hmac.compare_digest(sent, f"Bearer {token}".encode()):
        wrong = Message("wrong-token", "this is not the operator's token for opening models")
        none = Message("no-token", "opening a model here needs the operator's token")
        raise errors.NoToken(wrong if sent else none, "authorization")


def _host(origin: str) -> str | None:
    """Host and port of an origin; None if it is not an address."""
    try:
        return urlsplit(origin).netloc
    except ValueError:  # an open bracket
        return None


async def opening(service: Service, source: str) -> EventSourceResponse:
    """Events `progress` while a model is opened, then `done` with its summary, or `problem`."""
    if not service.may_open(source):
        raise errors.NotAllowed(
            Message(
                "opening-not-allowed",
                "this server does not open {source} for its pages; LOAD_MODELS says what it may",
                source=source[:100],
            ),
            "model",
        )
    loop = asyncio.get_running_loop()
    steps: asyncio.Queue[Step | None] = asyncio.Queue()

    def tell(step: Step) -> None:
        loop.call_soon_threadsafe(steps.put_nowait, step)

    gone = threading.Event()  # the client, who waits for the model
    work = asyncio.ensure_future(service.open(source, tell, lambda: not gone.is_set()))
    work.add_done_callback(lambda _: steps.put_nowait(None))

    async def events() -> AsyncIterator[bytes]:
        try:
            async for each in _events(service, work, steps):
                yield each
        finally:
            gone.set()
            work.add_done_callback(lambda done: done.cancelled() or done.exception())

    return EventSourceResponse(events(), headers=streaming.HEADERS)


async def _events(
    service: Service, work: asyncio.Future[str], steps: asyncio.Queue[Step | None]
) -> AsyncIterator[bytes]:
    while (step := await steps.get()) is not None:
        progress = OpenProgress(
            stage=step.stage, file=step.file, bytes=step.bytes, total=step.total
        )
        yield _event("progress", progress)
    try:
        yield _event("done", summary(service.models[await work]))
    except (BadModel, errors.AppError) as error:
        yield _event("problem", problem(error))
    except Exception:
        errors.log.exception("a model could not be opened")
        yield _event(
            "problem",
            problem(
                errors.AppError(
                    Message("internal-error", "a mistake of ours; see the server's log")
                )
            ),
        )


def problem(error: BadModel | errors.AppError) -> OpenProblem:
    """Why a model cannot be opened: the one shape of errors, and the reason as a word."""
    if isinstance(error, BadModel):
        known = errors.CannotOpen(error.message, "model")
        described = errors.problem(known, STATUS.get(error.reason, 422))
        values = {key: str(value) for key, value in error.values.items()}
        return OpenProblem(
            **described.model_dump(), reason=error.reason, template=error.template, values=values
        )
    return OpenProblem(
        **errors.problem(error).model_dump(),
        reason="busy" if isinstance(error, errors.Busy) else "failed",
        template=error.message,
        values={},
    )


def _event(name: str, data: BaseModel) -> bytes:
    return streaming.event(name, data.model_dump(mode="json"))
