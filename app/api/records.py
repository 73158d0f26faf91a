"""Attention of one's own, sent as a file and kept in memory: a model of one text."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode

from attention_atlas.app import errors
from attention_atlas.app.api.common import PREFIX
from attention_atlas.app.api.models import ModelSummary, summary
from attention_atlas.app.api.opening import check_origin, check_token
from attention_atlas.app.root import rooted
from attention_atlas.app.service import Service
from attention_atlas.model import record_files
from attention_atlas.model.arrays import BadRecord
from attention_atlas.model.messages import Message
from attention_atlas.model.recorded import text_of
from attention_atlas.model.zoo import Loaded
from fastapi import APIRouter, Request
from pydantic import BaseModel, Field

router = APIRouter(prefix=PREFIX, tags=["API"])
BINARY = {"schema": {"type": "string", "contentMediaType": "application/octet-stream"}}
TYPES = ("application/octet-stream", "application/vnd.safetensors", "application/x-npz")


class RecordAnswer(BaseModel):
    """What was sent, as a model of one text."""

    record: str = Field(description="its name: `model` of every resource that needs attention only")
    text: str = Field(description="its tokens as a text: the only one that this model takes")
    model: ModelSummary
    links: dict[str, str]


REFUSED: dict[int | str, dict[str, Any]] = {
    401: {"description": "OPEN_TOKEN is set, and was not sent as a bearer token"},
    403: {"description": "LOAD_MODELS is off, or it is not sent as a file of one of these types"},
    413: {"description": "the file is larger than MAX_RECORD"},
    422: {"description": "the file cannot be shown; says why, and names attn or tokens"},
}


@router.post(
    "/records",
    responses=REFUSED,
    openapi_extra={"requestBody": {"required": True, "content": dict.fromkeys(TYPES, BINARY)}},
)
async def records(request: Request) -> RecordAnswer:
    """Attention and tokens from any library, as safetensors or npz: attn with tokens; with
    target_tokens, cross-attention; or encoder, decoder and cross. Kept in memory only, as many as
    models, the last used."""
    service: Service = request.app.state.service
    check_origin(request, service)
    check_token(request, service.settings)
    if not service.settings.opens:
        message = Message("records-not-allowed", "this server keeps no files; LOAD_MODELS is off")
        raise errors.NotAllowed(message, "content-type")
    if request.headers.get("content-type", "").split(";")[0].strip() not in TYPES:
        message = Message("not-a-file", "send the file as {types}", types=", ".join(TYPES))
        raise errors.NotAllowed(message, "content-type")
    body = await request.body()

    def work() -> Loaded:
        try:
            opened = record_files.loaded(body, service.settings.max_record)
        except BadRecord as error:
            raise errors.Invalid(error.message, error.field) from None
        return service.library.keep(opened)

    loaded = await service.compute(work, "/records")
    text = text_of(loaded)
    query = urlencode({"model": loaded.name, "text": text})
    return RecordAnswer(
        record=loaded.name,
        text=text,
        model=summary(loaded),
        links={
            "attention": rooted(f"{PREFIX}/attention?{query}"),
            "explore": rooted(f"/explore?{query}"),
        },
    )
