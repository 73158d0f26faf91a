"""Translations, greedy or by beam, step by step."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

from attention_atlas.app.api.common import (
    PREFIX,
    KindShape,
    Languages,
    Provenance,
    TokenOut,
    edits_of,
    kind_fields,
    labels,
    language_fields,
    links,
    provenance,
)
from attention_atlas.app.api.decoding import (
    DecodedEvent,
    DecodedOut,
    Decoding,
    decoded_fields,
    rows_of,
    step_event,
    steps_fields,
)
from attention_atlas.app.api.resource import stepwise
from attention_atlas.app.api.spec import Language, NBest, RunRequest, Text
from attention_atlas.app.service import Service
from attention_atlas.app.streaming import Emit
from attention_atlas.app.wire import Answer
from attention_atlas.model.analysis import decoding as work
from attention_atlas.model.analysis import translation
from attention_atlas.model.analysis.decoding import LabelledToken
from attention_atlas.model.analysis.translation import BeamUpdate, FinalHypothesis, Node, Source
from attention_atlas.model.generate import Beam, returned
from attention_atlas.model.spec import Spec
from attention_atlas.model.zoo import Loaded
from fastapi import APIRouter
from pydantic import BaseModel, Field, RootModel

router = APIRouter(prefix=PREFIX, tags=["API"])


class TranslateRequest(Decoding):
    source_lang: Language | None = Field(
        None, description="the text's language, by a code of the model's `languages`"
    )
    target_lang: Language | None = Field(None, description="the language of the translation")
    num_beams: int = Field(1, ge=1, le=8, description="hypotheses kept; 1 is greedy")
    length_penalty: float = Field(
        1.0, ge=0, le=5, description="score = log-probability / length ** length_penalty"
    )
    max_new_tokens: int | None = Field(
        None, ge=1, description="by default as many as the model takes"
    )
    reference: Text | None = Field(None, description="a translation to score by teacher forcing")
    top: NBest = 5


class NodeOut(BaseModel):
    """A hypothesis of a beam as it grows by one token."""

    id: int
    parent: int | None
    step: int
    token: TokenOut
    log_probability: float = Field(description="of the token")
    total: float = Field(description="of the hypothesis so far")
    ended: bool


class HypothesisOut(BaseModel):
    text: str
    score: float = Field(description="log_probability / length ** length_penalty")
    log_probability: float


class ReferenceOut(BaseModel):
    """A given translation, scored by teacher forcing."""

    text: str
    log_probability: float
    steps: list[DecodedOut]


class TranslationStart(BaseModel):
    source: list[TokenOut]
    provenance: Provenance


class BeamEvent(BaseModel):
    """A step of a beam search."""

    text: str = Field(description="of the best hypothesis so far")
    beams: list[NodeOut]
    attn: list[list[float]] = Field(description="(L, Tk): of the best one's query")


class TranslationToken(RootModel[DecodedEvent | BeamEvent]):
    """A token; with num_beams above 1 a step of the beam."""


class TranslateAnswer(Languages):
    model: str
    text: str
    num_beams: int
    length_penalty: float
    target: str
    finished: bool = Field(description="ends with </s>; false if the limit cut it off")
    tokens: list[TokenOut] = Field(description="of the target, </s> included, <s> not")
    log_probabilities: list[float]
    log_probability: float = Field(description="their sum")
    steps: list[DecodedOut]
    hypotheses: list[HypothesisOut] = Field(description="the best first")
    tree: list[NodeOut] = Field(description="of the beam; empty if num_beams is 1")
    reference: ReferenceOut | None
    sequences: dict[str, list[TokenOut]] = Field(description="source and target as /run has them")
    kinds: list[KindShape]
    provenance: Provenance
    links: dict[str, str]


@stepwise(
    router,
    "/translate",
    TranslateRequest,
    TranslateAnswer,
    start=TranslationStart,
    token=TranslationToken,
)
def translate(service: Service, request: TranslateRequest, loaded: Loaded, emit: Emit) -> Answer:
    """A translation, greedy or by beam, token by token; a reference scored by teacher forcing."""
    work.check_head(loaded, request.head)
    spec = Spec(
        request.text,
        source_lang=request.source_lang,
        target_lang=request.target_lang,
        edits=edits_of(request.edits),
    )
    steps = translation.translate(
        loaded,
        spec,
        Beam(request.num_beams, request.length_penalty),
        max_new_tokens=request.max_new_tokens,
        reference=request.reference,
        top=request.top,
    )
    translated = returned(steps, partial(_tell, request, loaded, emit))
    best = translated.hypotheses[0]
    fields = {
        "model": request.model,
        "text": request.text,
        **language_fields(loaded, spec),
        "num_beams": request.num_beams,
        "length_penalty": request.length_penalty,
        "target": best.text,
        "finished": translated.finished,
        **steps_fields(translated.steps, translated.tokens),
        "log_probability": sum(step.log_probability for step in translated.steps),
        "hypotheses": [hypothesis_fields(each) for each in translated.hypotheses],
        "tree": [node_fields(node) for node in translated.tree],
        "reference": reference_fields(request.reference, translated.reference),
        "sequences": {name: labels(tokens) for name, tokens in translated.sequences.items()},
        "kinds": kind_fields(loaded, translated.sequences),
        "provenance": provenance(loaded).model_dump(),
        "links": links(_run_request(request, best)),
    }
    return Answer(fields, {})


def _tell(
    request: TranslateRequest, loaded: Loaded, emit: Emit, step: Source | LabelledToken | BeamUpdate
) -> None:
    """A step of the translation as an event."""
    if isinstance(step, Source):
        source = labels(step.tokens)
        emit("start", {"source": source, "provenance": provenance(loaded).model_dump()})
    elif isinstance(step, LabelledToken):
        emit("token", step_event(step, request.head))
    else:
        nodes = [node_fields(node) for node in step.nodes]
        rows = rows_of(step.attn, request.head)
        emit("token", {"text": step.text, "beams": nodes, "attn": rows})


def _run_request(request: TranslateRequest, best: FinalHypothesis) -> RunRequest:
    """The run of this translation. A complete greedy one is what /run decodes by default."""
    spec = request.model_dump(include={"model", "text", "source_lang", "target_lang"})
    is_greedy = request.num_beams == 1 and request.max_new_tokens is None
    target = {} if is_greedy else {"target": best.text, "target_ids": best.ids}
    return RunRequest.model_validate({**spec, **target, "edits": request.edits})


def hypothesis_fields(hypothesis: FinalHypothesis) -> dict[str, Any]:
    return {
        "text": hypothesis.text,
        "score": hypothesis.score,
        "log_probability": hypothesis.log_probability,
    }


def reference_fields(text: str | None, read: Sequence[LabelledToken]) -> dict[str, Any] | None:
    if not read:
        return None
    total = sum(token.log_probability for token in read)
    return {
        "text": text,
        "log_probability": total,
        "steps": [decoded_fields(each) for each in read],
    }


def node_fields(node: Node) -> dict[str, Any]:
    return {**node._asdict(), "token": node.token._asdict()}
