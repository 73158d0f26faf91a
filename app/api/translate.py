"""Translations, greedy or by beam, step by step."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

from attention_atlas.app.api.common import (
    PREFIX,
    KindShape,
    Provenance,
    TokenOut,
    edits_of,
    kind_shapes,
    labels,
    links,
    provenance,
)
from attention_atlas.app.api.decoding import (
    Decoding,
    SaidOut,
    rows_of,
    said_fields,
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
from attention_atlas.model.analysis.decoding import Said
from attention_atlas.model.analysis.translation import Ended, Grown, Node, Source
from attention_atlas.model.generate import returned
from attention_atlas.model.zoo import Loaded
from fastapi import APIRouter
from pydantic import BaseModel, Field

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
    max_new_tokens: int | None = Field(None, ge=1, description="all that the model takes")
    reference: Text | None = Field(None, description="a translation to be read: teacher forcing")
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
    """A translation that was typed, read by teacher forcing."""

    text: str
    log_probability: float
    steps: list[SaidOut]


class TranslateAnswer(BaseModel):
    model: str
    text: str
    num_beams: int
    length_penalty: float
    target: str
    finished: bool = Field(description="it ends with </s>; else the limit cut it off")
    tokens: list[TokenOut] = Field(description="of the target, </s> included, <s> not")
    log_probabilities: list[float]
    log_probability: float = Field(description="their sum")
    steps: list[SaidOut]
    hypotheses: list[HypothesisOut] = Field(description="the best first")
    tree: list[NodeOut] = Field(description="of the beam; empty if num_beams is 1")
    reference: ReferenceOut | None
    sequences: dict[str, list[TokenOut]] = Field(description="source and target as /run has them")
    kinds: list[KindShape]
    provenance: Provenance
    links: dict[str, str]


@stepwise(router, "/translate", TranslateRequest, TranslateAnswer)
def translate(service: Service, request: TranslateRequest, loaded: Loaded, emit: Emit) -> Answer:
    """A translation, greedy or by beam, token by token; a reference read by teacher forcing."""
    work.check_head(loaded, request.head)
    steps = translation.translate(
        loaded,
        request.text,
        n_beam=request.num_beams,
        length_penalty=request.length_penalty,
        max_new_tokens=request.max_new_tokens,
        reference=request.reference,
        languages=(request.source_lang, request.target_lang),
        edits=edits_of(request.edits),
        top=request.top,
    )
    found = returned(steps, partial(_tell, request, loaded, emit))
    best = found.hypotheses[0]
    fields = {
        "model": request.model,
        "text": request.text,
        "num_beams": request.num_beams,
        "length_penalty": request.length_penalty,
        "target": best.text,
        "finished": found.finished,
        **steps_fields(found.steps, found.tokens),
        "log_probability": sum(step.log_probability for step in found.steps),
        "hypotheses": [hypothesis_fields(each) for each in found.hypotheses],
        "tree": [node_fields(node) for node in found.tree],
        "reference": reference_fields(request.reference, found.reference),
        "sequences": {name: labels(tokens) for name, tokens in found.sequences.items()},
        "kinds": [shape.model_dump() for shape in kind_shapes(loaded, found.sequences)],
        "provenance": provenance(loaded).model_dump(),
        "links": links(_run_request(request, best)),
    }
    return Answer(fields, {})


def _tell(
    request: TranslateRequest, loaded: Loaded, emit: Emit, step: Source | Said | Grown
) -> None:
    """A step of the translation as an event."""
    if isinstance(step, Source):
        source = labels(step.tokens)
        emit("start", {"source": source, "provenance": provenance(loaded).model_dump()})
    elif isinstance(step, Said):
        emit("token", step_event(step, request.head))
    else:
        nodes = [node_fields(node) for node in step.nodes]
        rows = rows_of(step.attn, request.head)
        emit("token", {"text": step.text, "beams": nodes, "attn": rows})


def _run_request(request: TranslateRequest, best: Ended) -> RunRequest:
    """The run of this translation; a greedy one to its end is what /run decodes anyway."""
    spec = request.model_dump(include={"model", "text", "source_lang", "target_lang"})
    is_greedy = request.num_beams == 1 and request.max_new_tokens is None
    target = {} if is_greedy else {"target": best.text, "target_ids": best.ids}
    return RunRequest.model_validate({**spec, **target, "edits": request.edits})


def hypothesis_fields(hypothesis: Ended) -> dict[str, Any]:
    return {
        "text": hypothesis.text,
        "score": hypothesis.score,
        "log_probability": hypothesis.log_probability,
    }


def reference_fields(text: str | None, read: Sequence[Said]) -> dict[str, Any] | None:
    if not read:
        return None
    total = sum(said.log_probability for said in read)
    return {"text": text, "log_probability": total, "steps": [said_fields(each) for each in read]}


def node_fields(node: Node) -> dict[str, Any]:
    return {**node._asdict(), "token": node.token._asdict()}
