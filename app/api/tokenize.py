"""A text as the model's tokens."""

from __future__ import annotations

from attention_atlas.app.api.common import PREFIX, TokenOut, labels
from attention_atlas.app.api.resource import resource
from attention_atlas.app.api.spec import TokenizeRequest
from attention_atlas.app.service import Service
from attention_atlas.app.wire import Answer
from attention_atlas.model.spec import direction_of
from attention_atlas.model.spec import tokenize as tokens_of
from attention_atlas.model.zoo import Loaded
from fastapi import APIRouter
from pydantic import BaseModel

router = APIRouter(prefix=PREFIX, tags=["API"])


class Tokenized(BaseModel):
    model: str
    text: str
    text_pair: str | None
    tokens: list[TokenOut]
    n_ctx: int


@resource(router, "/tokenize", TokenizeRequest, Tokenized)
def tokenize(service: Service, request: TokenizeRequest, loaded: Loaded) -> Answer:
    """The text as the model sees it: id, spelling, character span and word of each token."""
    languages = request.source_lang, request.target_lang
    direction = direction_of(loaded, request.text, *languages)
    fields = {
        "model": request.model,
        "text": request.text,
        "text_pair": request.text_pair,
        "tokens": labels(tokens_of(loaded, request.text, request.text_pair, direction)),
        "n_ctx": loaded.config.n_ctx,
    }
    return Answer(fields, {})
