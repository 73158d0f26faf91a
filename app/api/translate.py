"""Translations, greedy or by beam, step by step."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from attention_atlas.app.api.common import (
    PREFIX,
    KindShape,
    Provenance,
    TokenOut,
    kind_shape,
    labels,
    links,
)
from attention_atlas.app.api.decoding import (
    Decoding,
    SaidOut,
    provenance,
    rows_of,
    said_fields,
    spoken_fields,
    step_event,
    steps_fields,
)
from attention_atlas.app.api.spec import Language, NBest, RunRequest, Text
from attention_atlas.app.service import Service, edits_of
from attention_atlas.app.streaming import Emit, stepwise
from attention_atlas.app.wire import Answer
from attention_atlas.model.analysis import decoding as work
from attention_atlas.model.analysis import translation
from attention_atlas.model.analysis.decoding import Said
from attention_atlas.model.analysis.translation import Grown, Node, Source
from attention_atlas.model.generate import returned
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
def translate(service: Service, asked: TranslateRequest, emit: Emit) -> Answer:
    """A translation, greedy or by beam, token by token; a reference read by teacher forcing."""
    return translate_answer(service, asked, emit)


def translate_answer(service: Service, asked: TranslateRequest, emit: Emit) -> Answer:
    """A translation, greedy or by beam, and a reference that was typed, read the same way."""

    def watch(step: Source | Said | Grown) -> None:
        if isinstance(step, Source):
            tokens = labels(step.tokens)
            emit("start", {"source": tokens, "provenance": provenance(service, asked)})
        elif isinstance(step, Said):
            emit("token", step_event(step, asked.head))
        else:
            nodes = [node_fields(node) for node in step.nodes]
            rows = rows_of(step.attn, asked.head)
            emit("token", {"text": step.text, "beams": nodes, "attn": rows})

    with service.lent(asked.model, text=asked.text, reference=asked.reference) as loaded:
        work.check_head(loaded, asked.head)
        steps = translation.translate(
            loaded,
            asked.text,
            n_beam=asked.num_beams,
            length_penalty=asked.length_penalty,
            max_new_tokens=asked.max_new_tokens,
            reference=asked.reference,
            languages=(asked.source_lang, asked.target_lang),
            edits=edits_of(asked.edits),
            top=asked.top,
        )
        found = returned(steps, watch)
        shapes = [(kind, loaded.shape(kind)) for kind in loaded.kinds]
    best = found.hypotheses[0]
    kinds = [kind_shape(kind, found.sequences, *shape).model_dump() for kind, shape in shapes]
    spec = asked.model_dump(include={"model", "text", "source_lang", "target_lang"})
    is_a_runs = asked.num_beams == 1 and asked.max_new_tokens is None  # greedy, to the end
    given = {} if is_a_runs else {"target": best.text, "target_ids": best.ids}
    fields = {
        **spoken_fields(asked),
        "num_beams": asked.num_beams,
        "length_penalty": asked.length_penalty,
        "target": best.text,
        "finished": found.finished,
        **steps_fields(found.steps, found.tokens),
        "log_probability": sum(step.log_probability for step in found.steps),
        "hypotheses": [
            {"text": each.text, "score": each.score, "log_probability": each.log_probability}
            for each in found.hypotheses
        ],
        "tree": [node_fields(node) for node in found.tree],
        "reference": reference_fields(asked.reference, found.reference),
        "sequences": {name: labels(tokens) for name, tokens in found.sequences.items()},
        "kinds": kinds,
        "provenance": provenance(service, asked),
        "links": links(RunRequest.model_validate({**spec, **given, "edits": asked.edits})),
    }
    return Answer(fields, {})


def reference_fields(text: str | None, read: Sequence[Said]) -> dict[str, Any] | None:
    if not read:
        return None
    total = sum(said.log_probability for said in read)
    return {"text": text, "log_probability": total, "steps": [said_fields(each) for each in read]}


def node_fields(node: Node) -> dict[str, Any]:
    return {**node._asdict(), "token": node.token._asdict()}
