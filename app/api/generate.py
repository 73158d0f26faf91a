"""Continuations of a text, step by step, and the next token alone."""

from __future__ import annotations

from attention_atlas.app.api.common import (
    PREFIX,
    Provenance,
    TokenOut,
    edits_of,
    labels,
    links,
    provenance,
)
from attention_atlas.app.api.decoding import (
    CandidateOut,
    DecodedEvent,
    DecodedOut,
    Decoding,
    step_event,
    steps_fields,
)
from attention_atlas.app.api.resource import resource, stepwise
from attention_atlas.app.api.spec import Edits, Ids, NBest, RunRequest, Seed, TextRequest
from attention_atlas.app.service import Service
from attention_atlas.app.streaming import Emit
from attention_atlas.app.wire import Answer
from attention_atlas.model.analysis import decoding as work
from attention_atlas.model.analysis.decoding import LabelledToken
from attention_atlas.model.generate import Sampling, returned
from attention_atlas.model.record import Token
from attention_atlas.model.zoo import Loaded
from fastapi import APIRouter
from pydantic import BaseModel, Field

router = APIRouter(prefix=PREFIX, tags=["API"])


class GenerateRequest(Decoding):
    max_new_tokens: int = Field(
        40, ge=1, le=1_000_000, description="the prompt and these must fit in n_ctx"
    )
    temperature: float = Field(1.0, ge=0, le=10, description="0 takes the most probable token")
    top_k: int = Field(0, ge=0, le=1_000_000, description="only the k most probable; 0 keeps all")
    top_p: float = Field(
        1.0, gt=0, le=1, description="only the fewest whose probabilities reach this sum"
    )
    seed: Seed = Field(0, description="of sampling")
    forced: Ids = Field((), description="ids that the continuation begins with, for another branch")
    top: NBest = 10


class NextTokenRequest(TextRequest):
    edits: Edits = Field((), description="changes inside the forward pass; JSON in a query string")
    top: NBest = 10


class GenerationStart(BaseModel):
    prompt: list[TokenOut]
    provenance: Provenance


class GenerateAnswer(BaseModel):
    model: str
    text: str
    continuation: str
    finished: str = Field(description="end: of the text; length: max_new_tokens")
    prompt: list[TokenOut]
    tokens: list[TokenOut] = Field(description="new ones, with their spans in the continuation")
    log_probabilities: list[float]
    steps: list[DecodedOut]
    provenance: Provenance
    links: dict[str, str]


class NextTokenAnswer(BaseModel):
    """The distribution after a text, and the model's surprise at each of its tokens."""

    model: str
    text: str
    candidates: list[CandidateOut]
    entropy: float = Field(description="of the distribution after the text, in nats")
    tokens: list[TokenOut]
    log_probabilities: list[float | None] = Field(description="null for the first token")
    entropies: list[float | None] = Field(description="of the distribution before each token")
    ranks: list[int | None] = Field(description="0: the most probable")
    provenance: Provenance


@stepwise(
    router,
    "/generate",
    GenerateRequest,
    GenerateAnswer,
    start=GenerationStart,
    token=DecodedEvent,
)
def generate(service: Service, request: GenerateRequest, loaded: Loaded, emit: Emit) -> Answer:
    """A continuation, token by token, and what each filter leaves of each distribution."""

    def tell(step: tuple[Token, ...] | LabelledToken) -> None:
        if isinstance(step, LabelledToken):
            emit("token", step_event(step, request.head))
        else:
            prompt = labels(step)
            emit("start", {"prompt": prompt, "provenance": provenance(loaded).model_dump()})

    work.check_head(loaded, request.head)
    steps = work.generate(
        loaded,
        request.text,
        sampling=Sampling(request.temperature, request.top_k, request.top_p, request.seed),
        max_new_tokens=request.max_new_tokens,
        forced=request.forced,
        edits=edits_of(request.edits),
        top=request.top,
    )
    generated = returned(steps, tell)
    whole = {"model": request.model, "text": request.text + generated.text, "edits": request.edits}
    fields = {
        "model": request.model,
        "text": request.text,
        "continuation": generated.text,
        "finished": "end" if generated.finished else "length",
        "prompt": labels(generated.prompt),
        **steps_fields(generated.steps, generated.tokens),
        "provenance": provenance(loaded).model_dump(),
        "links": links(RunRequest.model_validate(whole)),
    }
    return Answer(fields, {})


@resource(router, "/next-token", NextTokenRequest, NextTokenAnswer)
def next_token(service: Service, request: NextTokenRequest, loaded: Loaded) -> Answer:
    """The distribution after a text, and the probability of each of its tokens."""
    read = work.surprise(loaded, request.text, edits_of(request.edits), request.top)
    fields = {
        "model": request.model,
        "text": request.text,
        **read.following._asdict(),
        "tokens": labels(read.tokens),
        "log_probabilities": [None, *read.log_probabilities],
        "entropies": [None, *read.entropies],
        "ranks": [None, *read.ranks],
        "provenance": provenance(loaded).model_dump(),
    }
    return Answer(fields, {})
